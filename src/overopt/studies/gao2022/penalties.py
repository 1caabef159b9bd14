"""Does a KL penalty move gold against distance (Gao et al. 2022, section 3.6, figures 9 and 14)?"""

from typing import Any

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import UNKNOWN, Interval, crossed
from overopt.studies.gao2022.matched import Quantity, at_distances, curve_rows, shared_distances
from overopt.studies.gao2022.runs import Penalised, penalised_runs, several
from overopt.studies.study_tables import StudyTables

MARGIN = 0.1
QUANTITIES: dict[Quantity, str] = {"gold": "gold", "proxy": "proxy", "gap": "proxy less gold"}
SOURCE = "Gao et al. 2022, section 3.6, figure 9"


def answer(tables: StudyTables) -> Answer:
    """Gold, proxy and their gap with a penalty less without, at equal distance."""
    pairs = penalised_runs(tables)
    differences = {
        quantity: [_difference(one, quantity) for one in pairs] for quantity in QUANTITIES
    }  # each (S, P), a penalty at a time
    return Answer(
        id="penalties",
        title="KL penalties",
        question="Does a KL penalty buy gold that stopping early would not?",
        how=(
            f"PPO against one proxy with a KL penalty of weight {_listed(tables)} and without one, from the same "
            "seeds, so that the same prompts come in the same order. The penalty is the exact KL of whole replies, "
            "earned with each token and differentiated, in standard deviations of the proxy per nat. Runs are "
            "compared where each first reaches a distance, straight between measurements (before the first one gold "
            "follows the law), at five equal steps from their first measurements to the largest distance that all "
            "runs with and without that penalty reach, on the same held-out prompts. Distances are taken as "
            "measured; their own error moves gold by much less than gold's."
        ),
        claims=[
            _claim(tables, pairs, differences["gold"], "gold"),
            _claim(tables, pairs, differences["proxy"], "proxy"),
            _claim(tables, pairs, differences["gap"], "gap"),
        ],
        figures=_figures(tables, pairs),
        tables=_tables(tables, pairs, differences),
        caveats=[
            "All runs share one proxy: another one could answer a penalty differently.",
            "All runs have one learning rate. The page Penalty or early stopping holds penalised runs against "
            "slower free ones too.",
            "Gao et al. say that their finding may depend on hyper-parameters; ours are those of one setting too.",
        ],
    )


def _claim(tables: StudyTables, pairs: list[Penalised], differences: list[FloatArray], quantity: Quantity) -> Claim:
    value, ci = _mean_over_penalties(tables, pairs, differences, quantity)
    name = QUANTITIES[quantity]
    others = "at the distances that both reach, averaged over penalties, distances, seeds and prompts"
    published = {
        "gold": Published(
            finding="a KL penalty does not move gold against KL: it acts like stopping early",
            source=SOURCE,
            outcomes=("equal",),
        ),
        "proxy": Published(
            finding="with a penalty the proxy is higher at a given KL", source=SOURCE, outcomes=("above",)
        ),
        "gap": Published(
            finding="with a penalty the gap between proxy and gold is larger at a given KL",
            source=SOURCE,
            outcomes=("above",),
        ),
    }
    return Claim(
        id={"gold": "penalties-frontier", "proxy": "penalties-proxy", "gap": "penalties-gap"}[quantity],
        what=f"{name} with a KL penalty less without one {others}, equal within {MARGIN} sd",
        value=value,
        ci=ci,
        counted=_counted(pairs, differences),
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": f"At equal distance a KL penalty raises {name} by {{size}} {{ci}}.",
            "below": f"At equal distance a KL penalty lowers {name} by {{size}} {{ci}}.",
            "equal": f"At equal distance {name} is the same with a KL penalty as without: {{value}} {{ci}}, within "
            f"{MARGIN} sd.",
            "open": f"Whether a KL penalty changes {name} at equal distance is not decided: {{value}} {{ci}}.",
        },
        published=published[quantity],
        note=_note(pairs, differences)
        if value is not None
        else "no run with a penalty moved together with one without it",
    )


def _difference(pair: Penalised, quantity: Quantity) -> FloatArray:
    """With the penalty less without (S, P), mean over shared distances; nan where one of the runs never moved."""
    d_K = shared_distances([*pair.held, *pair.free])
    if not d_K.size:
        return np.full((len(pair.held), len(pair.held[0].gold_PK)), np.nan)
    both = at_distances(pair.held, quantity, d_K) - at_distances(pair.free, quantity, d_K)
    return np.asarray(both.mean(axis=2))


def _mean_over_penalties(
    tables: StudyTables, pairs: list[Penalised], differences: list[FloatArray], quantity: str
) -> tuple[float | None, Interval]:
    seeds = sorted(set.intersection(*(set(pair.seeds) for pair in pairs))) if pairs else []
    moved = [
        values_SP[[pair.seeds.index(seed) for seed in seeds]]
        for pair, values_SP in zip(pairs, differences, strict=True)
        if _is_used(values_SP)
    ]
    if not moved or not seeds:
        return None, UNKNOWN
    return crossed(np.mean(moved, axis=0), stream(tables.seed, "penalties", quantity))


def _figures(tables: StudyTables, pairs: list[Penalised]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for quantity, name in QUANTITIES.items():
        for pair in pairs:
            d_K = shared_distances(pair.held)
            rng = stream(tables.seed, "penalties", "figure", quantity, f"{pair.weight:g}")
            rows += curve_rows(pair.held, quantity, d_K, rng, penalty=f"{pair.weight:g}", quantity=name)
        longest = max(pairs, key=lambda pair: len(pair.seeds), default=None)
        if longest is not None:
            rng = stream(tables.seed, "penalties", "figure", quantity, "0")
            rows += curve_rows(
                longest.free, quantity, shared_distances(longest.free), rng, penalty="0", quantity=name
            )  # fmt: skip
    if not rows:
        return []
    return [
        FigureData(
            name="penalties-frontier",
            title="Gold, proxy and their gap against distance, by penalty",
            caption="Mean over seeds and prompts where each run first reaches the distance; bands are 95 % intervals "
            "over both. A curve ends where the first of its seeds does.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the base policy (√nats)", from_zero=True),
            y=Axis(field="value", title="gain (standard deviations of gold)"),
            marks=("band", "line", "point"),
            low="low",
            high="high",
            colour=Channel(
                field="penalty",
                title="KL penalty",
                is_ordered=True,
                values=("0", *(f"{pair.weight:g}" for pair in pairs)),
            ),
            panel=Channel(field="quantity", title="", values=tuple(QUANTITIES.values())),
            reference=0.0,
        )
    ]


def _tables(
    tables: StudyTables, pairs: list[Penalised], differences: dict[Quantity, list[FloatArray]]
) -> list[TableData]:
    rows = []
    for k, pair in enumerate(pairs):
        d_K = shared_distances([*pair.held, *pair.free])
        row: dict[str, Any] = {
            "penalty": pair.weight,
            "seeds": len(pair.seeds),
            "d": float(d_K[-1]) if d_K.size else None,
        }
        for quantity in QUANTITIES:
            rng = stream(tables.seed, "penalties", "table", quantity, f"{pair.weight:g}")
            row[quantity], row[f"{quantity}_ci"] = crossed(differences[quantity][k], rng)
        rows.append(row)
    if not rows:
        return []
    return [
        TableData(
            name="penalties-differences",
            title="With a penalty less without, at equal distance",
            columns={
                "penalty": "penalty (sd/nat)",
                "seeds": "seeds",
                "d": "compared up to d",
                "gold": "gold (sd)",
                "proxy": "proxy (sd)",
                "gap": "proxy less gold (sd)",
            },
            rows=rows,
            note="Means over five equal steps of d, over seeds and prompts.",
        )
    ]


def _counted(pairs: list[Penalised], differences: list[FloatArray]) -> str:
    if not pairs:
        return "nothing"
    seeds = len(set.intersection(*(set(pair.seeds) for pair in pairs)))
    used = sum(_is_used(values_SP) for values_SP in differences)
    return (
        f"{differences[0].shape[1]} prompts and {several(seeds, 'seed')}, crossed; {several(used, 'weight')} of the "
        "penalty in each"
    )


def _is_used(values_SP: FloatArray) -> bool:
    """Whether the runs with a penalty and those without moved, all of them, and can be compared."""
    return bool(np.isfinite(values_SP).all())


def _note(pairs: list[Penalised], differences: list[FloatArray]) -> str:
    unmoved = [f"{p.weight:g}" for p, values_SP in zip(pairs, differences, strict=True) if not _is_used(values_SP)]
    notes = [f"left out, since a run never moved: penalty {', '.join(unmoved)}"] if unmoved else []
    if min(len(pair.seeds) for pair in pairs) == 1:
        notes.append("one seed: what another would change is not in the interval")
    return "; ".join(notes)


def _listed(tables: StudyTables) -> str:
    return ", ".join(f"{weight:g}" for weight in sorted(tables.settings["penalties"]))
