"""The numbers of one RL run of a user's own policy, in the shape of a study's ``results.json``."""

from pathlib import Path
from typing import Any

import polars as pl

from overopt.errors import DataError
from overopt.measure.intervals import LEVEL
from overopt.measure.ladder import rl_ladder
from overopt.measure.plain import plain
from overopt.measure.pools import as_matrices
from overopt.measure.rl import rl_record
from overopt.records.tables import read_table, settings_of
from overopt.stats.calibration import Recalibration, recalibrate_gold
from overopt.stats.estimate import mean_over_units

SCHEMA = "overopt.study/1"
RL_RUN = "rl"


def measure_rl_run(header: dict[str, Any], tables: Path) -> dict[str, Any]:
    """Curve, law, verdict and texts of the run in ``tables``; gold in its standard deviations before training.

    Raises
    ------
    DataError
        If the run was not scored by a gold.
    """
    table = read_table(tables / "rl.parquet", "rl_replies")
    settings = settings_of(tables / "rl.parquet", "rl_replies")
    if table["gold"].null_count():
        raise DataError(f"{tables / 'rl.parquet'} has no gold: there is no law or verdict without one")
    base = as_matrices(
        table.filter(pl.col("step") == table["step"].min()), ["gold", "proxy", "length", "finished", "entropy"]
    )
    gold_map = recalibrate_gold(base.columns["gold"])
    proxy_map = Recalibration(shift=float(base.columns["proxy"].mean()))
    group = str(settings["scorer"])
    record = rl_record(
        table,
        prompt_ids=base.prompt_ids,
        proxy_map=proxy_map,
        gold_map=gold_map,
        base_proxy=proxy_map.apply(base.columns["proxy"]).mean(axis=1),
        base_gold=gold_map.apply(base.columns["gold"]).mean(axis=1),
        group=group,
        seed=header["seed"],
    )
    found = plain(
        {
            "schema": SCHEMA,
            **{key: header[key] for key in ("study", "preset", "seed", "settings")},
            "level": LEVEL,
            "data": {"prompts": len(base.prompt_ids), "samples_per_prompt": base.columns["gold"].shape[1]},
            "base": {
                "policy": settings["policy"],
                "parameters": settings["parameters"],
                "sampler": settings["sampler"],
                "gold_mean": gold_map.shift,
                "gold_sd": gold_map.scale,
                **{
                    name: mean_over_units(base.columns[name].mean(axis=1), unit="prompt")
                    for name in ("length", "entropy")
                },
                "truncation": mean_over_units(1 - base.columns["finished"].mean(axis=1), unit="prompt"),
            },
            "proxies": [],
            "bon": [],
            "rl": [{"group": group, **record}],
            "trends": [],
            "ladder": rl_ladder({group: table}, {group: proxy_map}, gold_map, base.prompt_ids),
        }
    )
    assert isinstance(found, dict)
    return found
