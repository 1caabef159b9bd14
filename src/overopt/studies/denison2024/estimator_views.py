"""The figures and tables of the page of estimators: counts beside bounds, and the rare fact by every estimator."""

from collections.abc import Callable

import numpy as np
import polars as pl

from overopt.records.answers import Axis, Channel, FigureData, TableData
from overopt.stats.estimate import FloatArray
from overopt.stats.rates import rate
from overopt.studies.claims import Interval, known
from overopt.studies.denison2024.words import mean_interval
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds

RARE = {"weighted": "weighted", "split": "split", "counted": "counted on the same budget"}
SHOWN = ("attempted", "raised", "gamed", "both")
PER = 100_000


def estimator_figures(worlds: Worlds, cells: pl.DataFrame, draws: pl.DataFrame) -> list[FigureData]:
    """Counts over the enumeration, and the rare fact by every estimator."""
    overlay, ratios = [], []
    for one in cells.filter(pl.col("fact").is_in(SHOWN)).iter_rows(named=True):
        count = rate(int(one["successes"]), one["episodes"])
        kind = "counted" if count.successes else "none counted: upper end"
        # No count has no place on a logarithmic axis; its upper end has.
        shown = count.value if count.successes else count.high
        ends = (count.low, count.high) if count.successes else (None, None)
        if one["environment"] == HELD_OUT:
            where = {"stage": one["stage"], "fact": one["fact"]}
            bounds = {"low": 100 * one["exact_low"], "high": 100 * one["exact_high"]}
            overlay.append({**where, "rate": 100 * one["exact_low"], **bounds, "kind": "enumerated"})
            scaled = [None if end is None else 100 * end for end in ends]
            overlay.append({**where, "rate": 100 * shown, "low": scaled[0], "high": scaled[1], "kind": kind})
        if one["exact_low"] > 0:
            low, high = (None if end is None else end / one["exact_low"] for end in ends)
            ratios.append(
                {
                    "exact": 100 * one["exact_low"], "ratio": shown / one["exact_low"], "low": low, "high": high,
                    "kind": kind, "environment": one["environment"], "stage": one["stage"], "fact": one["fact"],
                }
            )  # fmt: skip
    kinds = ("enumerated", "counted", "none counted: upper end")
    has_none = any(row["kind"] == kinds[-1] for row in ratios)
    figures = [
        FigureData(
            name="estimators-overlay",
            title=f"Rates of {HELD_OUT}, enumerated and counted",
            caption=f"Per cent, the first seed of rho 1. Bars: of counts, of {worlds.config.counted:,} episodes, 95 % "
            "(Clopper and Pearson); of enumeration, what was left out.",
            rows=overlay,
            x=Axis(field="stage", title="after"),
            y=Axis(field="rate", title="rate (per cent)", scale="log"),
            marks=("point",),
            low="low",
            high="high",
            colour=Channel(field="kind", title="", values=kinds),
            shape=Channel(field="kind", title="", values=kinds),
            panel=Channel(field="fact", title="", values=SHOWN),
        )
    ]
    if ratios:
        figures.append(
            FigureData(
                name="estimators-ratio",
                title="Counted over enumerated, all policies and environments",
                caption="Each point is a fact of a policy in an environment; bars are 95 % (Clopper and Pearson).",
                rows=ratios,
                x=Axis(field="exact", title="enumerated rate (per cent)", scale="log"),
                y=Axis(field="ratio", title="counted over enumerated", scale="log"),
                marks=("point",),
                low="low",
                high="high",
                colour=Channel(field="environment", title=""),
                shape=Channel(field="kind", title="", values=kinds[1:]) if has_none else None,
                reference=1.0,
            )
        )
    rare = _rare_rows(worlds, draws)
    if any(row["rate"] for row in rare):
        figures.append(
            FigureData(
                name="estimators-rare",
                title="The rare fact: reward raised and guard neutralised",
                caption=f"Of {PER:,} episodes. Means of {worlds.config.rare_draws} independent draws with 95 % "
                "intervals over them; of enumeration, its bounds.",
                rows=[row for row in rare if row["rate"]],
                x=Axis(field="stage", title="after"),
                y=Axis(field="rate", title=f"of {PER:,}", scale="log"),
                marks=("point",),
                low="low",
                high="high",
                colour=Channel(field="estimator", title="", values=("enumerated", *RARE.values())),
                shape=Channel(field="estimator", title="", values=("enumerated", *RARE.values())),
            )
        )
    return figures


def _rare_rows(worlds: Worlds, draws: pl.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (_, stage), own in draws.group_by("place", "stage", maintain_order=True):
        low, high = (PER * float(own[end][0]) for end in ("exact_low", "exact_high"))
        rows.append({"stage": stage, "estimator": "enumerated", "rate": low, "low": low, "high": high})
        for estimator, words in RARE.items():
            value, ends = _not_negative(mean_interval(PER * own.filter(estimator=estimator)["value"].to_numpy()))
            rows.append({"stage": stage, "estimator": words, "rate": value, "low": ends[0], "high": ends[1]})
    return rows


def cell_table(cells: pl.DataFrame) -> TableData:
    """Counts and bounds of the shown facts."""
    rows = []
    for one in cells.iter_rows(named=True):
        is_held_out = one["environment"] == HELD_OUT
        if one["fact"] not in (SHOWN if is_held_out else ("gamed",)):
            continue
        count = rate(int(one["successes"]), one["episodes"])
        rows.append(
            {
                "stage": one["stage"], "what": f"{one['environment']}: {one['fact']}",
                "counts": f"{count.successes:,}/{count.trials:,}", "counted": 100 * count.value,
                "counted_ci": [100 * count.low, 100 * count.high], "exact": 100 * one["exact_low"],
                "exact_ci": [100 * one["exact_low"], 100 * one["exact_high"]], "z": one["z"],
                "missing": f"{one['missing']:.1e}",
            }
        )  # fmt: skip
    return TableData(
        name="estimators-cells",
        title="Counted beside enumerated, per cent, the first seed of rho 1",
        columns={
            "stage": "After",
            "what": "Environment",
            "counts": "k/n",
            "counted": "Counted",
            "exact": "Enumerated",
            "z": "Deviation",
            "missing": "Not covered",
        },
        rows=rows,
        digits=4,
        note="Counted: 95 % intervals of Clopper and Pearson; where none was counted the upper end is what as many "
        "episodes can rule out. Enumerated: bounds that hold for certain. Deviation: standard deviations of a normal "
        "variable, from the binomial tail; 0 inside of the bounds.",
    )


def rare_table(worlds: Worlds, draws: pl.DataFrame) -> list[TableData]:
    """The rare fact by every estimator; nothing without draws."""
    rows = []
    for (_, stage), own in draws.group_by("place", "stage", maintain_order=True):
        exact = [PER * float(own[end][0]) for end in ("exact_low", "exact_high")]
        for estimator, words in RARE.items():
            found = own.filter(estimator=estimator)
            values = found["value"].to_numpy()
            value, ends = _not_negative(mean_interval(PER * values))
            is_counted = estimator == "counted"
            k, n = found["successes"].fill_nan(0).sum(), int(found["episodes"].sum())
            if is_counted:
                # The draws together are as many independent episodes.
                together = rate(int(k), n)
                ends = (PER * together.low, PER * together.high)
            elif not values.any():
                ends = (0.0, PER * float(found["high"].min()))  # type: ignore[arg-type]
            rows.append(
                {
                    "stage": stage, "estimator": words, "exact": exact[0], "exact_ci": exact, "rate": value,
                    "rate_ci": list(ends), "counts": f"{int(k):,}/{n:,}" if is_counted else None,
                    "none": int((values == 0).sum()), "error": _of(found, "relative_error", np.mean, 100),
                    "actual": 100 * float(np.sqrt(((PER * values / exact[0] - 1) ** 2).mean())) if exact[0] else None,
                    "z": _of(found.with_columns(pl.col("deviation").abs()), "deviation", np.max),
                    "episodes": int(found["episodes"][0]), "effective": _of(found, "effective", np.min),
                    "largest": _of(found, "largest_weight", np.max),
                }
            )  # fmt: skip
    if not rows:
        return []
    return [
        TableData(
            name="estimators-rare-rates",
            title=f"The rare fact, of {PER:,} episodes",
            columns={
                "stage": "After",
                "estimator": "Estimator",
                "exact": "Enumerated",
                "rate": "Mean of draws",
                "counts": "k/n of all draws",
                "none": "Draws without one",
                "error": "Reported error (%)",
                "actual": "Actual error (%)",
                "z": "Largest deviation",
                "episodes": "Episodes of a draw",
                "effective": "Least ESS",
                "largest": "Largest weight",
            },
            rows=rows,
            digits=2,
            note=f"{worlds.config.rare_draws} independent draws of each. Enumerated: bounds that hold for certain. "
            "Intervals of weighted and split rates are over draws, or the bound of one draw where none met it; of "
            "counts, Clopper and Pearson's of all draws together. Reported error: relative, the mean of what draws "
            "say of themselves; actual: the root mean square of how far they are from the enumeration. Deviation: from "
            "the enumeration, in the draw's own standard errors. ESS: effective sample size of the weighted episodes.",
        )
    ]


def _not_negative(found: tuple[float | None, Interval]) -> tuple[float | None, Interval]:
    """A mean of rates with its interval, which Student's t may have taken below 0."""
    value, (low, high) = found
    return value, (None if low is None else max(low, 0.0), high)


def _of(found: pl.DataFrame, column: str, how: Callable[[FloatArray], float], scale: float = 1.0) -> float | None:
    """Of the draws that have such a number."""
    values = found[column].to_numpy()
    values = values[np.isfinite(values)]
    return known(scale * float(how(values))) if values.size else None
