"""Proxies in gold's units: the temperature of each, what it mends, and what it cannot (Gao et al. 2022, section 2.2).

Axes: B held-out pairs, P prompts, N replies of the pool, K values of n.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from overopt.errors import EstimationError
from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import curve_intervals
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, kl_bound
from overopt.stats.calibration import (
    TemperatureEstimate,
    estimate_temperature,
    expected_calibration_error,
    fit_temperature,
)
from overopt.stats.estimate import FloatArray
from overopt.stats.trends import log_trend
from overopt.studies.claims import UNKNOWN, Interval, known, over_units, slope_over_sizes
from overopt.studies.gao2022.coefficients import gold_gains, largest_n
from overopt.studies.gao2022.held_out import held_out_pairs, soft_labels
from overopt.studies.gao2022.leaving_out import without_prompts
from overopt.studies.gao2022.main_proxies import is_main, main_proxies
from overopt.studies.study_tables import ProxyTable, StudyTables

SECTION = "Gao et al. 2022, section 2.2"
FOLDS = 2
MIN_PAIRS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A proxy with its margins of held-out pairs and the temperature that fits them to gold's soft labels."""

    proxy: ProxyTable
    margin_B: FloatArray
    label_B: FloatArray
    """Soft, of the chosen reply."""
    temperature: TemperatureEstimate | None
    """``None`` for a proxy at chance, which has none."""


def answer(tables: StudyTables) -> Answer:
    """Temperatures by size and data, calibration before and after, and the proxy's curve in both units."""
    proxies = [_calibrated(tables, name) for name in _names(tables)]
    at_all = [one for one in proxies if one.proxy.pairs == tables.settings["pairs"]]
    return Answer(
        id="recalibration",
        title="Recalibration",
        question="What puts a proxy into gold's units, and is its score then worth its face value?",
        how=(
            "Gold is divided by its standard deviation on the base policy. A proxy's scores are multiplied by a "
            "temperature, the factor for which the sigmoid of its margin has the least cross-entropy with gold's soft "
            "labels, sigmoid of gold's difference in its units, on held-out pairs. Calibration error: mean distance of "
            "forecast and soft label over ten equal bins of the forecast, each pair both ways round; afterwards with "
            f"the temperature of the other half of the pairs. Best-of-n over {largest_n(tables):,} replies a prompt. "
            "Proxies at chance have no temperature and are left out: "
            f"{sum(one.temperature is None for one in proxies)} of {len(proxies)}."
        ),
        claims=[
            _error_claim(tables, at_all),
            _gap_claim(tables),
            _kept_claim(tables),
            _size_claim(at_all),
            _pairs_claim(tables, proxies),
        ],
        figures=[*_temperature_figure(proxies), *_error_figure(at_all), *_curve_figure(tables)],
        tables=_tables(at_all),
        caveats=[
            "A temperature is one factor: it cannot mend a proxy that is right for ordinary replies and wrong for the "
            "ones it likes best.",
            "Soft labels make a proxy timid: where gold is uncertain given the proxy, the mean of probabilities is "
            "nearer to one half than the probability of the mean, so a calibrated proxy promises less gold than there "
            "is at small n.",
            "The number of bins decides the size of a calibration error; only its change is compared.",
        ],
    )


def _names(tables: StudyTables) -> list[str]:
    """Proxies of clean labels and usual passes, of every number of pairs."""
    counts = {int(pairs) for pairs in (*tables.settings["fewer_pairs"], tables.settings["pairs"])}
    found = [proxy for proxy in tables.proxies() if proxy.pairs in counts and is_main(proxy, proxy.pairs)]
    return [proxy.name for proxy in found if tables.has(f"scores/{proxy.name}")]


def _calibrated(tables: StudyTables, name: str) -> Calibrated:
    proxy = tables.proxy(name)
    pairs = held_out_pairs(tables, proxy)
    label_B = soft_labels(pairs.gold_margin, tables.gold_map)
    try:
        temperature = estimate_temperature(pairs.margin, label_B)
    except EstimationError:
        temperature = None
    return Calibrated(proxy=proxy, margin_B=pairs.margin, label_B=label_B, temperature=temperature)


def _error(margin_B: FloatArray, label_B: FloatArray) -> float:
    """Calibration error of pairs both ways round: which reply comes first means nothing."""
    forecast = 1 / (1 + np.exp(-np.concatenate([margin_B, -margin_B])))
    return expected_calibration_error(forecast, np.concatenate([label_B, 1 - label_B]))


def _errors(one: Calibrated, rows: npt.NDArray[np.int64], fold_B: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Before and after, the temperature of each half from the other; nan where a half has none."""
    margin, label, fold = one.margin_B[rows], one.label_B[rows], fold_B[rows]
    scaled = np.empty_like(margin)
    for k in range(FOLDS):
        try:
            scaled[fold == k] = margin[fold == k] * fit_temperature(margin[fold != k], label[fold != k])
        except EstimationError:
            return _error(margin, label), math.nan
    return _error(margin, label), _error(scaled, label)


def _error_claim(tables: StudyTables, proxies: list[Calibrated]) -> Claim:
    value, ci = None, UNKNOWN
    known = [one for one in proxies if one.temperature is not None]
    pairs = known[0].margin_B.size if known else 0
    if pairs >= MIN_PAIRS:
        fold_B = stream(tables.seed, "recalibration", "folds").permutation(pairs) % FOLDS

        def change(rows: npt.NDArray[np.int64]) -> FloatArray:
            before_after = np.array([_errors(one, rows, fold_B) for one in known])
            return np.array([np.mean(before_after[:, 1] - before_after[:, 0])])

        ((value, ci),) = without_prompts(change, pairs, stream(tables.seed, "recalibration", "error"))
    return Claim(
        id="recalibration-error",
        what="change of the calibration error by a proxy's own temperature, mean over proxies",
        value=value,
        ci=ci,
        counted=f"{pairs} held-out pairs, left out in groups; mean over {len(known)} proxies",
        digits=3,
        sentences={
            "above": "One temperature a proxy raises its calibration error by {size} {ci}.",
            "below": "One temperature a proxy lowers its calibration error by {size} {ci}.",
            "open": "Whether one temperature a proxy lowers its calibration error is not decided: {value} {ci}.",
        },
        published=Published(
            finding="proxies are rescaled to least cross-entropy with gold's soft labels; the change is not reported",
            source=SECTION,
            why_not="no calibration error is given",
        ),
        note="" if None not in ci else "a half of the held-out pairs is too few for some proxy to have a temperature",
    )


def _gap_claim(tables: StudyTables) -> Claim:
    value, ci = None, UNKNOWN
    names, n = _main_names(tables), largest_n(tables)
    if names:
        gap_SP = np.stack([_proxy_gain(tables, name, n) for name in names]) - gold_gains(tables, names)
        value, ci = over_units(gap_SP.mean(axis=0), stream(tables.seed, "recalibration", "gap"))
    return Claim(
        id="recalibration-gap",
        what=f"gain of the recalibrated proxy less that of gold at n = {n:,}, mean over proxies",
        value=value,
        ci=ci,
        counted=f"{len(tables.prompt_ids)} prompts, mean over {len(names)} proxies",
        unit="sd",
        sentences={
            "above": f"In common units the proxy promises {{size}} {{ci}} more than gold keeps at n = {n:,}.",
            "below": f"In common units the proxy promises {{size}} {{ci}} less than gold keeps at n = {n:,}.",
            "open": f"Whether the proxy promises more than gold keeps at n = {n:,} is not decided: {{value}} {{ci}}.",
        },
        published=Published(
            finding="in common units the proxy exceeds gold, more so the further one optimises",
            source="Gao et al. 2022, figures 1 and 8",
            outcomes=("above",),
        ),
        note="" if names else "no proxy has a temperature",
    )


def _kept_claim(tables: StudyTables) -> Claim:
    names, n = _main_names(tables), largest_n(tables)
    value, ci = None, UNKNOWN
    if names and n > 2:
        proxy_P2 = np.stack([np.mean([_proxy_gain(tables, name, k) for name in names], axis=0) for k in (2, n)], axis=1)
        gold_P2 = np.stack([gold_gains(tables, names, k).mean(axis=0) for k in (2, n)], axis=1)

        def change(rows: npt.NDArray[np.int64]) -> FloatArray:
            few, all_ = gold_P2[rows].mean(axis=0) / proxy_P2[rows].mean(axis=0)
            return np.array([all_ - few])

        ((value, ci),) = without_prompts(change, len(gold_P2), stream(tables.seed, "recalibration", "kept"))
    return Claim(
        id="recalibration-kept",
        what=f"gold gained for each unit of proxy at n = {n:,} less that at n = 2, mean over proxies",
        value=value,
        ci=ci,
        counted=f"{len(tables.prompt_ids)} prompts left out in groups, mean over {len(names)} proxies",
        sentences={
            "above": f"Gold keeps more of the proxy's gain at n = {n:,} than at n = 2, by {{size}} {{ci}}.",
            "below": f"Gold keeps less of the proxy's gain at n = {n:,} than at n = 2, by {{size}} {{ci}}.",
            "open": f"Whether gold keeps less of the proxy's gain at n = {n:,} than at n = 2 is not decided: {{value}} "
            "{ci}.",
        },
        published=Published(
            finding="the proxy leaves gold behind as optimisation goes on",
            source="Gao et al. 2022, figures 1 and 8",
            outcomes=("below",),
        ),
        note="" if value is not None else "no proxy has a temperature",
    )


def _main_names(tables: StudyTables) -> list[str]:
    """Proxies of all pairs that have a temperature."""
    return [name for of_size in main_proxies(tables).values() for name in of_size if tables.is_calibrated(name)]


def _proxy_gain(tables: StudyTables, name: str, n: int) -> FloatArray:
    scores = tables.scores(name)
    return np.asarray(best_of_n_curve(scores, scores, [n])[:, 0] - scores.mean(axis=1))


def _size_claim(proxies: list[Calibrated]) -> Claim:
    by_base: dict[str, list[Calibrated]] = {}
    for one in proxies:
        if one.temperature is not None:
            by_base.setdefault(one.proxy.base, []).append(one)
    parameters = [of_size[0].proxy.parameters for of_size in by_base.values()]
    logs = [float(np.mean([_log_temperature(one) for one in of_size])) for of_size in by_base.values()]
    value, ci = slope_over_sizes(parameters, logs) if logs else (None, UNKNOWN)
    return Claim(
        id="recalibration-size",
        what="exponent of the temperature against the parameters, at all pairs",
        value=value,
        ci=ci,
        counted=f"{len(logs)} sizes about a straight line of logarithms, seeds of a size averaged",
        sentences={
            "above": "Larger proxies are less confident for what they know: temperature grows with the parameters to "
            "the power {value} {ci}.",
            "below": "Larger proxies are more confident for what they know: temperature falls with the parameters, to "
            "the power {value} {ci}.",
            "open": "Whether temperature depends on the proxy's size is not decided: exponent {value} {ci}.",
        },
        note="" if len(logs) > 2 else "an interval takes three sizes with a temperature",
    )


def _pairs_claim(tables: StudyTables, proxies: list[Calibrated]) -> Claim:
    slopes = []
    for base in dict.fromkeys(one.proxy.base for one in proxies):
        known = [one for one in proxies if one.proxy.base == base and one.temperature is not None]
        if len({one.proxy.pairs for one in known}) > 1:
            trend = log_trend([one.proxy.pairs for one in known], [_log_temperature(one) for one in known])
            slopes.append(trend.slope)
    value, ci = over_units(slopes, stream(tables.seed, "recalibration", "pairs")) if slopes else (None, UNKNOWN)
    return Claim(
        id="recalibration-pairs",
        what="exponent of the temperature against the number of pairs, mean over sizes",
        value=value,
        ci=ci,
        counted=f"{len(slopes)} sizes",
        sentences={
            "above": "With more pairs proxies become less confident for what they know: temperature grows with their "
            "number to the power {value} {ci}.",
            "below": "With more pairs proxies become more confident for what they know: temperature falls with their "
            "number, to the power {value} {ci}.",
            "open": "Whether temperature depends on the number of pairs is not decided: exponent {value} {ci}.",
        },
        note="" if len(slopes) > 3 else "an interval takes four sizes with temperatures at two numbers of pairs",
    )


def _log_temperature(one: Calibrated) -> float:
    assert one.temperature is not None
    return math.log10(one.temperature.factor)


def _temperature_figure(proxies: list[Calibrated]) -> list[FigureData]:
    rows = [
        {
            "parameters": one.proxy.parameters, "pairs": one.proxy.pairs, "temperature": one.temperature.factor,
            "low": _positive(one.temperature.low), "high": _positive(one.temperature.high),
        }
        for one in proxies
        if one.temperature is not None
    ]  # fmt: skip
    if not rows:
        return []
    return [
        FigureData(
            name="recalibration-temperature",
            title="Temperature against size, by number of pairs",
            caption="Factor on a proxy's scores, one point a proxy; below 1 it is overconfident. 95 % intervals over "
            "held-out pairs, those of all proxies alike.",
            rows=rows,
            x=Axis(field="parameters", title="parameters of the proxy", scale="log"),
            y=Axis(field="temperature", title="temperature", scale="log"),
            marks=("point",),
            low="low",
            high="high",
            colour=Channel(field="pairs", title="training pairs", is_ordered=True),
            reference=1.0,
        )
    ]


def _error_figure(proxies: list[Calibrated]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for one in proxies:
        before, after = _whole_errors(one)
        at = {"proxy": one.proxy.name, "parameters": one.proxy.parameters}
        rows.append({**at, "scores": "raw", "error": before})
        rows += [{**at, "scores": "recalibrated", "error": after}] if after is not None else []
    if not rows:
        return []
    return [
        FigureData(
            name="recalibration-error",
            title="Calibration error before and after",
            caption="Against gold's soft labels on held-out pairs, one point a proxy; afterwards with the temperature "
            "of the other half of the pairs.",
            rows=rows,
            x=Axis(field="parameters", title="parameters of the proxy", scale="log"),
            y=Axis(field="error", title="expected calibration error", from_zero=True),
            marks=("point",),
            colour=Channel(field="scores", title="scores", values=("raw", "recalibrated")),
            shape=Channel(field="scores", title="scores", values=("raw", "recalibrated")),
        )
    ]


def _curve_figure(tables: StudyTables) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    ns = powers_of_two(largest_n(tables))
    d_K = np.sqrt(np.asarray(kl_bound(ns)))
    for base, names in main_proxies(tables).items():
        if not all(tables.is_calibrated(name) for name in names):
            continue
        parameters, gold = tables.proxy(names[0]).parameters, tables.gold()
        curves = {
            "raw proxy": [(s, s) for s in (tables.raw_scores(name) for name in names)],
            "recalibrated proxy": [(s, s) for s in (tables.scores(name) for name in names)],
            "gold": [(tables.scores(name), gold) for name in names],
        }
        for kind, pairs in curves.items():
            gains_SPK = np.stack([best_of_n_curve(by, of, ns) - of.mean(axis=1)[:, None] for by, of in pairs])
            curve = curve_intervals(gains_SPK, stream(tables.seed, "recalibration", "curve", base))
            rows += [
                {
                    "parameters": parameters, "kind": kind, "n": n, "d": float(d), "value": float(curve.mean[k]),
                    "low": known(curve.low[k]), "high": known(curve.high[k]),
                }
                for k, (n, d) in enumerate(zip(ns, d_K, strict=True))
            ]  # fmt: skip
    if not rows:
        return []
    return [
        FigureData(
            name="recalibration-curves",
            title="Best-of-n in raw scores, in gold's units, and in gold",
            caption="One panel a size of the proxy; raw scores are log-odds of a preference. 95 % intervals over "
            "prompts and seeds. Recalibration stretches the proxy's curve and leaves gold's alone.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the base policy (√nats)", from_zero=True),
            y=Axis(field="value", title="gain (log-odds, or sd of gold)"),
            marks=("band", "line"),
            low="low",
            high="high",
            colour=Channel(field="kind", title="", values=("raw proxy", "recalibrated proxy", "gold")),
            panel=Channel(field="parameters", title="parameters"),
            reference=0.0,
        )
    ]


def _tables(proxies: list[Calibrated]) -> list[TableData]:
    rows = []
    for one in proxies:
        before, after = _whole_errors(one)
        found = one.temperature
        ends: Interval = UNKNOWN if found is None else (known(found.low), known(found.high))
        rows.append(
            {
                "proxy": one.proxy.name, "parameters": one.proxy.parameters,
                "temperature": None if found is None else found.factor, "temperature_ci": list(ends),
                "p_value": None if found is None else known(found.p_value), "before": before, "after": after,
            }
        )  # fmt: skip
    if not rows:
        return []
    return [
        TableData(
            name="recalibration-proxies",
            title="Temperatures and calibration errors, all pairs",
            columns={
                "proxy": "proxy", "parameters": "parameters", "temperature": "temperature",
                "p_value": "p (temperature is 1)", "before": "calibration error, raw", "after": "recalibrated",
            },
            rows=rows,
        )
    ]  # fmt: skip


def _whole_errors(one: Calibrated) -> tuple[float | None, float | None]:
    rows = np.arange(one.margin_B.size)
    if rows.size < MIN_PAIRS:
        return None, None
    before, after = _errors(one, rows, rows % FOLDS)
    return known(before), known(after)


def _positive(value: float) -> float | None:
    return float(value) if 0 < value < math.inf else None
