"""All numbers of a study, computed from the tables in its folder: ``results.json`` without timings."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from overopt.errors import DataError
from overopt.measure.bon import best_of_n_record, powers_of_two
from overopt.measure.intervals import LEVEL
from overopt.measure.ladder import best_of_n_ladder, rl_ladder
from overopt.measure.plain import plain
from overopt.measure.pools import Pool, as_matrices
from overopt.measure.reward_models import proxy_recalibration, proxy_record
from overopt.measure.rl import rl_record
from overopt.measure.rl_run import RL_RUN, SCHEMA, measure_rl_run
from overopt.records.tables import GOLD_PARTS, check_tables, read_table, settings_of
from overopt.stats.bon import tie_rate
from overopt.stats.calibration import Recalibration, recalibrate_gold
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units
from overopt.stats.trends import log_trend


def measure_study(folder: Path) -> dict[str, Any]:
    """Read ``study.json`` and ``tables/`` of a study's folder; every number that the report shows.

    Raises
    ------
    DataError
        If the folder holds no study, or a table is not what its name says.
    ArtifactError
        If a table is damaged, missing or new.
    """
    header = read_header(folder)
    tables = folder / "tables"
    check_tables(tables)
    if header["study"] == RL_RUN:
        return measure_rl_run(header, tables)
    pool_table = read_table(tables / "pool.parquet", "samples")
    preferences = read_table(tables / "preferences.parquet", "preferences")
    labelling = settings_of(tables / "preferences.parquet", "preferences")
    sampling = settings_of(tables / "pool.parquet", "samples")
    pool = as_matrices(pool_table, ["gold", "length", "finished", "entropy", *GOLD_PARTS.values()])
    gold_map = recalibrate_gold(pool.columns["gold"])
    gold = gold_map.apply(pool.columns["gold"])
    ns = powers_of_two(gold.shape[1])

    proxies: dict[str, dict[str, Any]] = {}
    maps: dict[str, Recalibration] = {}
    scores: dict[str, FloatArray] = {}
    for path in sorted((tables / "pair_scores").glob("*.parquet")):
        name = path.stem
        score_pool = as_matrices(read_table(tables / "scores" / path.name, "scores"), ["proxy"])
        if score_pool.columns["proxy"].shape != gold.shape or (score_pool.prompt_ids != pool.prompt_ids).any():
            raise DataError(f"{tables / 'scores' / path.name} does not score the samples of pool.parquet")
        raw = score_pool.columns["proxy"]
        pair_scores = read_table(path, "pair_scores")
        maps[name], is_calibrated = proxy_recalibration(pair_scores, preferences, raw, gold_map.scale)
        scores[name] = maps[name].apply(raw)
        training = settings_of(path, "pair_scores")
        proxies[name] = {
            "id": name,
            **{key: training[key] for key in ("width", "parameters", "pairs")},
            "seed": int(name.rsplit("-s", 1)[1]),
            **proxy_record(pair_scores, preferences, raw, gold, maps[name], is_calibrated),
            "tie_rate": tie_rate(raw),
        }
    order = sorted(proxies, key=lambda name: [proxies[name][key] for key in ("pairs", "width", "seed")])

    bon = []
    for group in dict.fromkeys(name.rsplit("-s", 1)[0] for name in order):
        members = [name for name in order if name.rsplit("-s", 1)[0] == group]
        stacked = np.stack([scores[name] for name in members])
        of_all = best_of_n_record(stacked, gold, ns, group=group, seed=header["seed"])
        singles = [best_of_n_record(scores[name][None], gold, ns, group=name, seed=header["seed"]) for name in members]
        bon.append(
            {
                "group": group,
                **{key: proxies[members[0]][key] for key in ("width", "parameters", "pairs")},
                "seeds": [proxies[name]["seed"] for name in members],
                **of_all,
                "verdict": of_all["drop"]["verdict"],
                "per_seed": [
                    {"seed": proxies[name]["seed"], **{key: single[key] for key in ("curve", "fit", "drop")}}
                    for name, single in zip(members, singles, strict=True)
                ],
            }
        )

    rl = []
    rl_tables = {path.stem: read_table(path, "rl_steps") for path in sorted((tables / "rl").glob("*.parquet"))}
    for name in [name for name in order if name in rl_tables]:
        record = rl_record(
            rl_tables[name],
            prompt_ids=pool.prompt_ids,
            proxy_map=maps[name],
            gold_map=gold_map,
            base_proxy=scores[name].mean(axis=1),
            base_gold=gold.mean(axis=1),
            group=name,
            seed=header["seed"],
        )
        rl.append(
            {"group": name, **{key: proxies[name][key] for key in ("width", "parameters", "pairs", "seed")}, **record}
        )

    shown = [name for name in order if name in rl_tables and proxies[name]["seed"] == 0]
    ladder = best_of_n_ladder(pool_table, {name: scores[name] for name in shown}, gold_map, pool.prompt_ids, ns)
    ladder += rl_ladder({name: rl_tables[name] for name in shown}, maps, gold_map, pool.prompt_ids)

    results = {
        "schema": SCHEMA,
        **{key: header[key] for key in ("study", "preset", "seed", "settings")},
        "level": LEVEL,
        "data": {
            "prompts": len(gold),
            "samples_per_prompt": gold.shape[1],
            "comparisons": labelling["comparisons"],
            "gold_ties": labelling["gold_ties"],
            "train_pairs": int((~preferences["held_out"]).sum()),
            "held_out_pairs": int(preferences["held_out"].sum()),
        },
        "base": base_record(pool, gold_map, sampling),
        "proxies": [proxies[name] for name in order],
        "bon": bon,
        "rl": rl,
        "trends": _trends("bon", bon) + _trends("rl", rl),
        "ladder": ladder,
    }
    found = plain(results)
    assert isinstance(found, dict)
    return found


def read_header(folder: Path) -> dict[str, Any]:
    """``study.json`` of a folder.

    Raises
    ------
    DataError
        If there is none, or it is not one.
    """
    path = folder / "study.json"
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in ("schema", "study", "preset", "seed", "settings") if key not in header]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder} holds no study that can be read: {path.name}: {error}") from error
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; it is not the settings of a study")
    return header


def base_record(pool: Pool, gold_map: Recalibration, sampling: dict[str, Any]) -> dict[str, Any]:
    """What the base policy says, from its pool and the settings of that table; parts of gold where they are known."""

    def by_prompt(values_PN: FloatArray) -> Estimate:
        return mean_over_units(values_PN.mean(axis=1), unit="prompt")

    return {
        "policy": sampling["policy"],
        "parameters": sampling["policy_parameters"],
        "held_out_nats_per_token": sampling["policy_held_out_nats_per_token"],
        "sampler": sampling["sampler"],
        "gold_mean": gold_map.shift,
        "gold_sd": gold_map.scale,
        "length": by_prompt(pool.columns["length"]),
        "entropy": by_prompt(pool.columns["entropy"]),
        "truncation": by_prompt(1 - pool.columns["finished"]),
        "parts": {
            part: float(pool.columns[column].mean()) for part, column in GOLD_PARTS.items() if column in pool.columns
        },
    }


def _trends(law: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each coefficient against the proxy's parameters, at each data size; fits without coefficients are left out."""
    found = []
    for pairs in sorted({record["pairs"] for record in records}):
        fitted = [r for r in records if r["pairs"] == pairs and r["fit"]["alpha"] is not None]
        for coefficient in ("alpha", "beta"):
            if not fitted:
                continue
            line = log_trend([r["parameters"] for r in fitted], [r["fit"][coefficient] for r in fitted])
            found.append(
                {
                    "law": law,
                    "coefficient": coefficient,
                    "pairs": pairs,
                    "intercept": line.intercept,
                    "slope": line.slope,
                    "slope_se": line.slope_stderr,
                    "r2": line.r2,
                    "points": [
                        {
                            "group": r["group"],
                            "parameters": r["parameters"],
                            "value": r["fit"][coefficient],
                            "ci": r["fit"][f"{coefficient}_ci"],
                        }
                        for r in fitted
                    ],
                }
            )
    return found
