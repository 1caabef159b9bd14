"""Figures and tables of the question of the proxy's size."""

import math
from typing import Any

import numpy as np
import polars as pl

from overopt.records.answers import Axis, Channel, FigureData, TableData
from overopt.seeding import stream
from overopt.stats.joint import SharedFit
from overopt.stats.laws import Law, law_value
from overopt.studies.claims import known
from overopt.studies.gao2022.coefficients import is_usable
from overopt.studies.gao2022.matched import curve_rows
from overopt.studies.gao2022.size_curves import (
    QUANTITIES,
    LeftOut,
    Size,
    interval,
    peaks,
    with_coefficient,
)  # fmt: skip
from overopt.studies.study_tables import StudyTables

LAW_POINTS = 24
MEASURED_POINTS = 12
DISTANCE = "d = √KL to the base policy (√nats)"


def gold_figures(tables: StudyTables, sizes: list[Size], shared: SharedFit | None) -> list[FigureData]:
    """Measured curves and fitted laws of best-of-n and of PPO, which go different ways."""
    shown = {
        "bon": (
            "Gold of best-of-n against distance, by size of the proxy",
            "",
            [row for size in sizes for row in _bon_rows(size)],
        ),
        "rl": (
            "Gold of PPO against distance, by size of the proxy",
            " Gold is where the runs of a size first reach a distance; a curve ends where the first of them does. The "
            "laws have one α.",
            [row for size in sizes for row in _rl_rows(tables, size, shared)],
        ),
    }
    return [
        FigureData(
            name=f"sizes-{name}-gold",
            title=title,
            caption="Gain over the base policy. Bands are 95 % intervals over prompts and seeds; broken lines are the "
            f"fitted laws.{more}",
            rows=rows,
            x=Axis(field="d", title=DISTANCE, from_zero=True),
            y=Axis(field="value", title="gold (standard deviations)"),
            marks=("band", "line"),
            low="low",
            high="high",
            colour=Channel(field="parameters", title="parameters of the proxy", is_ordered=True),
            dash=Channel(field="line", title="", values=("measured", "fitted law")),
            reference=0.0,
        )
        for name, (title, more, rows) in shown.items()
        if rows
    ]


def _bon_rows(size: Size) -> list[dict[str, Any]]:
    rows = []
    for point in size.bon["curve"]:
        low, high = point["gold_ci"]
        at = {"parameters": size.parameters, "d": math.sqrt(point["kl_bound"]), "n": point["n"]}
        ends = {"low": known(low), "high": known(high)}
        rows.append({**at, "line": "measured", "value": point["gold"], **ends})
    fit = size.bon["fit"]
    if is_usable(fit):
        rows += _law_rows("bon", fit["alpha"], fit["beta"], rows[-1]["d"], size.parameters)
    return rows


def _rl_rows(tables: StudyTables, size: Size, shared: SharedFit | None) -> list[dict[str, Any]]:
    runs = [tables.run(run) for run in size.runs]
    reach = min((float(run.d_K.max()) for run in runs), default=0.0)
    if not reach > 0:
        return []
    d_K = np.linspace(0, reach, MEASURED_POINTS + 1)[1:]
    rng = stream(tables.seed, "sizes", "figure", size.base)
    measured = curve_rows(runs, "gold", d_K, rng, parameters=size.parameters, line="measured")
    rows = [{**row, "n": None} for row in measured]
    if shared is not None and size.beta_rl is not None:
        rows += _law_rows("rl", shared.alpha, size.beta_rl, reach, size.parameters)
    return rows


def _law_rows(law: Law, alpha: float, beta: float, d_max: float, parameters: int) -> list[dict[str, Any]]:
    d_K = np.linspace(0, d_max, LAW_POINTS + 1)
    at = {"parameters": parameters, "line": "fitted law", "n": None, "low": None, "high": None}
    gold_K = law_value(law, d_K, alpha, beta)
    return [{**at, "d": float(d), "value": float(gold)} for d, gold in zip(d_K, gold_K, strict=True)]


def coefficient_figure(sizes: list[Size], predicted: dict[str, list[LeftOut]]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for quantity, name in QUANTITIES.items():
        usable, values = with_coefficient(sizes, quantity)
        for size, value in zip(usable, values, strict=True):
            low, high = interval(size, quantity)
            at = {"parameters": size.parameters, "coefficient": name}
            rows.append({**at, "source": "fitted", "value": value, "low": known(low), "high": known(high)})
            for left in predicted[quantity]:
                if left.base == size.base and None not in left.ci:
                    ends = {"low": left.ci[0], "high": left.ci[1]}
                    rows.append({**at, "source": "predicted from the other sizes", "value": left.predicted, **ends})
    if not rows:
        return []
    return [
        FigureData(
            name="sizes-coefficients",
            title="Coefficients against size, and what the other sizes predict",
            caption="Bars: 95 % intervals of the fit over prompts and seeds, and 95 % prediction intervals of one new "
            "proxy from the trend of all other sizes.",
            rows=rows,
            x=Axis(field="parameters", title="parameters of the proxy", scale="log"),
            y=Axis(field="value", title="coefficient"),
            marks=("point",),
            low="low",
            high="high",
            colour=Channel(field="source", title="", values=("fitted", "predicted from the other sizes")),
            shape=Channel(field="source", title="", values=("fitted", "predicted from the other sizes")),
            panel=Channel(field="coefficient", title="", values=tuple(QUANTITIES.values())),
        )
    ]


def peak_figure(sizes: list[Size], shared: SharedFit | None) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for size, peak in peaks(sizes):
        rows.append(_peak_row(size, "best-of-n", peak["kl"], peak["d_ci"], peak["inside_data"]))
    for size in sizes:
        for fit in () if shared is None else shared.fits:
            if fit.group in size.runs and is_usable(fit.to_dict()) and fit.peak is not None and fit.peak.d > 0:
                rows.append(_peak_row(size, "PPO", fit.peak.kl, fit.peak.d_ci, fit.peak.inside_data))
    if not rows:
        return []
    return [
        FigureData(
            name="sizes-peaks",
            title="KL at the fitted peak, by size",
            caption="95 % intervals; PPO one point a run. A peak beyond the data is an extrapolation.",
            rows=rows,
            x=Axis(field="parameters", title="parameters of the proxy", scale="log"),
            y=Axis(field="kl", title="KL at the peak (nats)", scale="log"),
            marks=("point",),
            low="low",
            high="high",
            colour=Channel(field="method", title="", values=("best-of-n", "PPO")),
            shape=Channel(field="place", title="", values=("inside the data", "beyond the data")),
        )
    ]


def _peak_row(size: Size, method: str, kl: float, d_ci: Any, is_inside: bool) -> dict[str, Any]:
    ends = [None if end is None or not math.isfinite(end) else float(end) ** 2 for end in d_ci]
    low, high = ends if None not in ends else (None, None)
    place = "inside the data" if is_inside else "beyond the data"
    return {"parameters": size.parameters, "method": method, "kl": kl, "low": low, "high": high, "place": place}


def kl_figure(tables: StudyTables, sizes: list[Size]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for size in sizes:
        logs = [tables.run(run).log.select("step", "kl") for run in size.runs]
        if logs:
            means = pl.concat(logs).group_by("step").agg(pl.col("kl").mean()).sort("step")
            rows += [{"parameters": size.parameters, **row} for row in means.to_dicts()]
    if not rows:
        return []
    return [
        FigureData(
            name="sizes-kl",
            title="KL by step of PPO, by size of the proxy",
            caption="Of the training batch before each step, mean over seeds; the axis is √KL, on which quadratic "
            "growth is a straight line (Gao et al. 2022, figure 16).",
            rows=rows,
            x=Axis(field="step", title="step", from_zero=True),
            y=Axis(field="kl", title="KL to the base policy (nats)", scale="sqrt"),
            marks=("line",),
            colour=Channel(field="parameters", title="parameters of the proxy", is_ordered=True),
        )
    ]


def verdict_table(tables: StudyTables, sizes: list[Size]) -> TableData:
    rows = []
    for size in sizes:
        drop, last = size.bon["drop"], size.bon["curve"][-1]
        records = [tables.run_record(run) for run in size.runs]
        verdicts = [record["verdict"] for record in records]
        rows.append(
            {
                "size": size.base, "parameters": size.parameters, "seeds": len(size.names), "gold": last["gold"],
                "gold_ci": [known(end) for end in last["gold_ci"]],
                "peak": drop["peak"], "drop": known(drop["drop"]),
                "drop_ci": [known(end) for end in drop["ci"]], "bon": _words(drop["verdict"]),
                "fit": size.bon["fit"]["status"], "rl_gold": _mean([r["curve"][-1]["gold"] for r in records]),
                "rl_drop": _mean([r["drop"]["drop"] for r in records]),
                "rl": ", ".join(f"{verdicts.count(v)} {_words(v)}" for v in dict.fromkeys(verdicts)),
                "beta_rl": size.beta_rl,
            }
        )  # fmt: skip
    return TableData(
        name="sizes-verdicts",
        title="Over-optimized or not, by size",
        columns={
            "size": "proxy", "parameters": "parameters", "seeds": "seeds", "gold": "gold at the largest n (sd)",
            "peak": "n of the peak", "drop": "fall from the peak (sd)", "bon": "best-of-n", "fit": "fit of best-of-n",
            "rl_gold": "gold at the end of PPO (sd)", "rl_drop": "fall from the peak, PPO (sd)", "rl": "PPO runs",
        },
        rows=rows,
        note="The fall is cross-fitted: one half of the prompts chooses the peak, the other half measures. PPO: means "
        "over runs.",
    )  # fmt: skip


def left_out_table(sizes: list[Size], predicted: dict[str, list[LeftOut]]) -> list[TableData]:
    parameters = {size.base: size.parameters for size in sizes}
    rows = [
        {
            "coefficient": name, "size": left.base, "parameters": parameters[left.base], "measured": left.measured,
            "predicted": left.predicted, "predicted_ci": list(left.ci),
            "held": {True: "yes", False: "no", None: "unknown"}[left.is_held],
        }
        for quantity, name in QUANTITIES.items()
        for left in predicted[quantity]
    ]  # fmt: skip
    if not rows:
        return []
    return [
        TableData(
            name="sizes-left-out",
            title="Each size predicted from the others",
            columns={
                "coefficient": "coefficient", "size": "size left out", "parameters": "parameters",
                "measured": "fitted", "predicted": "predicted", "held": "in the interval",
            },
            rows=rows,
            note="95 % prediction intervals of one new proxy, by Student's t over the other sizes.",
        )
    ]  # fmt: skip


def _words(verdict: str) -> str:
    return {
        "overoptimized": "over-optimized",
        "not_overoptimized": "not over-optimized",
        "undetermined": "undetermined",
        "collapsed": "collapsed",
    }[verdict]


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None
