"""Pictures of ``bon`` and ``fit``: gold against distance with its fitted law.

Each figure is a whole Vega-Lite specification made from the command's JSON object. Scores keep the units of the table;
d = sqrt(KL), KL in nats. Unknown numbers are left out, never drawn as 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from overopt.reports.charts import Values, inline_chart, interval_end, layered
from overopt.reports.command_marks import (
    DISTANCE_AXIS,
    LABEL_PIXELS,
    PRINT,
    Ground,
    Report,
    Spec,
    distance_scale,
    framed,
    group_encodings,
    group_name,
    rings,
    titled_zero_rule,
    value_range,
    vertical_rule,
)
from overopt.reports.command_words import (
    coefficients_words,
    interval_words,
    misgivings,
    peak_words,
    plain_words,
    shared_sentence,
    tally,
    value_words,
    with_interval,
)
from overopt.reports.figures import STATIC_WIDTH
from overopt.reports.numbers import count, decimal, is_known, percent
from overopt.reports.palette import CATEGORIES, INK
from overopt.reports.results import METHOD_NAMES, capitalized, distance
from overopt.stats.laws import AnyLaw, law_value

GAIN, ORACLE, LAW = "gold", "best possible (chosen by gold)", "fitted law of gold"

_GAIN_AXIS, _GOLD_AXIS = "gold over n = 1", "gold over its value at d = 0"
_LAW_POINTS = 60
_PROXY_HEIGHT = 110
_FEWEST_ORACLE_POINTS = 3
_NAMED_GROUPS = 8
"""With more, the legend gives names alone."""


def bon_figure(report: Report, ground: Ground = PRINT) -> Spec:
    """Gold gained over n = 1 against d, with interval, fitted law and best possible gain, below the proxy's own gain.

    ``report`` is an ``overopt.bon/1`` object. Proxy and gold may have different units, hence two panels.
    """
    curve = _curve(report)
    points: Values = [
        {"d": point["d"], "value": point["gain"], "low": interval_end(point.get("gain_ci"), 0),
         "high": interval_end(point.get("gain_ci"), 1), "series": GAIN, "n": count(point.get("n")),
         "KL": decimal(point.get("kl")), "Gain": _signed(point["gain"], point.get("gain_ci"))}
        for point in curve
        if is_known(point.get("gain"))
    ]  # fmt: skip
    # Gold at n = 1, which need not be among the points.
    base = next((p["gold"] - p["gain"] for p in curve if is_known(p.get("gold")) and is_known(p.get("gain"))), None)
    oracle: Values = [
        {"d": point["d"], "value": point["oracle"] - base, "series": ORACLE}
        for point in curve
        if base is not None and is_known(point.get("oracle"))
    ]
    fit: Report = report.get("fit") or {}
    law = [row | {"series": LAW} for row in _law_line(fit, [point["d"] for point in points])]
    low, high = value_range([*points, *({"value": row["value"]} for row in law)] if points else [])
    beyond = oracle[-1]["value"] if oracle and max(row["value"] for row in oracle) > high else None
    if sum(row["value"] <= high for row in oracle) < _FEWEST_ORACLE_POINTS:
        oracle = []
    peak = _peak_inside(fit)
    peaks = [] if peak is None else [{"d": peak["d"]}]

    scale = distance_scale(point["d"] for point in curve)
    x = alt.X("d:Q", title=DISTANCE_AXIS, scale=scale)
    y = alt.Y("value:Q", title=_GAIN_AXIS, scale=alt.Scale(domain=[low, high], nice=False))
    present = [name for name, rows in ((GAIN, points), (ORACLE, oracle), (LAW, law)) if rows]
    legend = alt.Legend(title=None, values=present, symbolType="stroke", symbolSize=300, symbolOpacity=1)
    dashes = alt.Scale(domain=[GAIN, ORACLE, LAW], range=[[1, 0], [6, 4], [1.5, 3]])
    colours = alt.Scale(domain=[GAIN, ORACLE, LAW], range=list(CATEGORIES[ground.scheme][:3]))
    colour = alt.Color("series:N", scale=colours, legend=legend)
    dash = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    layers = [
        titled_zero_rule(_GAIN_AXIS),
        vertical_rule(peaks, ground).encode(x=x),
        _band(points).encode(x=x, y=y, y2="high:Q", color=colour),
        *(
            inline_chart(rows).mark_line(clip=True, strokeWidth=width).encode(x=x, y=y, color=colour, strokeDash=dash)
            for rows, width in ((oracle, 1.4), (points, 2.2), (law, 1.8))
        ),
        inline_chart(points).mark_point(filled=True, size=40, clip=True, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["n:N", "KL:N", "Gain:N"]
        ),
    ]  # fmt: skip
    gold = layered(layers, "Gold gained by best-of-n against distance, with the fitted law.")
    panels = [_proxy_panel(curve, peaks, scale, ground), gold.properties(width=STATIC_WIDTH)]
    lines = []
    if any(row["low"] is not None for row in points[1:]):
        level = f"{percent(report['level'], 0)} interval" if is_known(report.get("level")) else "interval"
        lines.append(f"Band: {level} over prompts.{' Vertical line: peak of the law.' if peaks else ''}")
    if beyond is not None:
        lines.append(f"The best possible gain rises to {value_words(beyond, signed=True)}, above the picture.")
    chart = alt.VConcatChart(vconcat=[panel for panel in panels if panel is not None], spacing=14)
    return framed(chart, f"Best-of-n: {plain_words(report.get('verdict'))}", lines, _fit_lines(fit), ground)


def _curve(report: Report) -> list[dict[str, Any]]:
    """The points by distance, started at n = 1, where by definition nothing is gained."""
    found: list[dict[str, Any]] = [
        dict(point) | {"d": d} for point in report.get("curve") or [] if (d := distance(point.get("kl"))) is not None
    ]
    found.sort(key=lambda point: float(point["d"]))
    if found and found[0].get("n") != 1 and any(is_known(point.get("gain")) for point in found):
        found.insert(0, {"n": 1, "kl": 0.0, "d": 0.0, "gain": 0.0, "gain_ci": [0.0, 0.0]})
    return found


def _proxy_panel(curve: Sequence[Report], peaks: Values, scale: alt.Scale, ground: Ground) -> alt.LayerChart | None:
    """The proxy against the same distances, from its value at n = 1 where that is among the points."""
    base = next((point["proxy"] for point in curve if point.get("n") == 1 and is_known(point.get("proxy"))), None)
    axis = "proxy" if base is None else "proxy over n = 1"
    rows = [
        {"d": point["d"], "value": point["proxy"] - (base or 0.0), "n": count(point.get("n")),
         "Proxy": value_words(point["proxy"])}
        for point in curve
        if is_known(point.get("proxy"))
    ]  # fmt: skip
    if not rows:
        return None
    x = alt.X("d:Q", title=None, scale=scale, axis=alt.Axis(labels=False))
    y = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False, padding=8, nice=False), axis=alt.Axis(tickCount=4))
    ink = INK[ground.scheme]
    layers = [
        vertical_rule(peaks, ground).encode(x=x),
        inline_chart(rows).mark_line(strokeWidth=1.8, color=ink).encode(x=x, y=y),
        inline_chart(rows).mark_point(filled=True, size=30, opacity=1, color=ink).encode(
            x=x, y=y, tooltip=["n:N", "Proxy:N"]
        ),
        inline_chart(_n_labels(curve, ground.room)).mark_text(baseline="bottom", fontSize=11).encode(
            x=x, y=alt.value(-8), text="text:N"
        ),
    ]  # fmt: skip
    chart = layered(layers, "The proxy's own score against distance.", height=_PROXY_HEIGHT)
    return chart.properties(width=STATIC_WIDTH)


def fit_figure(report: Report, points: Iterable[Mapping[str, Any]], ground: Ground = PRINT) -> Spec:
    """Each group's gold against d with its fitted law; the best point seen ringed, the law's peak marked by a cross.

    ``report`` is an ``overopt.fit/1`` object; ``points`` hold ``group``, ``d``, ``gold`` relative to d = 0 and, where
    it is known, ``gold_se``. The peak of a law that is not ``ok`` is left out.
    """
    fits: list[Report] = list(report.get("groups") or [])
    rows: Values = [
        {"d": point["d"], "value": point["gold"], "group": group_name(point.get("group")),
         "se": point.get("gold_se"), "Gold": value_words(point["gold"], signed=True)}
        for point in points
        if is_known(point.get("d")) and point["d"] >= 0 and is_known(point.get("gold"))
    ]  # fmt: skip
    names = list(dict.fromkeys([*(group_name(fit.get("group")) for fit in fits), *(row["group"] for row in rows)]))
    laws: Values = []
    for fit in fits:
        name = group_name(fit.get("group"))
        laws += [row | {"group": name} for row in _law_line(fit, [row["d"] for row in rows if row["group"] == name])]
    peaks: Values = [
        {"d": peak["d"], "value": peak["gold"], "group": group_name(fit.get("group")),
         "Peak": f"d = {with_interval(decimal(peak['d']), interval_words(peak.get('d_ci')))}"}
        for fit in fits
        if (peak := _peak_inside(fit)) is not None and is_known(peak.get("gold"))
    ]  # fmt: skip
    best = [
        max(found, key=lambda row: float(row["value"]))
        for name in names
        if (found := [row for row in rows if row["group"] == name])
    ]
    bars = [
        {"d": row["d"], "value": row["value"], "group": row["group"], "low": row["value"] - row["se"],
         "high": row["value"] + row["se"]}
        for row in rows
        if is_known(row["se"])
    ]  # fmt: skip
    labels = {name: name for name in names}
    if 1 < len(fits) <= _NAMED_GROUPS and not ground.is_page:
        labels |= {
            group_name(fit.get("group")): f"{group_name(fit.get('group'))}: {_legend_words(fit)}" for fit in fits
        }
    for row in (*rows, *laws, *peaks, *bars):
        row["group"] = labels[row["group"]]
    best = [row | {"group": labels.get(row["group"], row["group"])} for row in best]
    x = alt.X("d:Q", title=DISTANCE_AXIS, scale=distance_scale(row["d"] for row in rows))
    y = alt.Y("value:Q", title=_GOLD_AXIS, scale=alt.Scale(domain=value_range([*rows, *bars]), nice=False))
    colour, shape = group_encodings(list(labels.values()), ground)
    layers = [
        titled_zero_rule(_GOLD_AXIS),
        inline_chart(bars).mark_rule(clip=True, opacity=0.5).encode(
            x=x, y=alt.Y("low:Q", title=_GOLD_AXIS), y2="high:Q", color=colour
        ),
        inline_chart(laws).mark_line(clip=True, strokeWidth=1.8).encode(x=x, y=y, color=colour),
        inline_chart(rows).mark_point(filled=True, size=36, clip=True, opacity=0.9).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=["group:N", "d:Q", "Gold:N"]
        ),
        rings(best).encode(x=x, y=y, color=colour, tooltip=["group:N", "d:Q", "Gold:N"]),
        inline_chart(peaks).mark_point(shape="cross", size=150, strokeWidth=1.6, filled=False, opacity=1, clip=True)
        .encode(x=x, y=y, color=colour, tooltip=["group:N", "Peak:N"]),
    ]  # fmt: skip
    chart = layered(layers, "Gold against distance with the fitted laws, by group.").properties(width=STATIC_WIDTH)
    marks = ["lines: fitted laws", *(["bars: ± one standard error"] if bars else [])]
    marks += [*(["rings: best point seen"] if best else []), *(["crosses: peak of the law"] if peaks else [])]
    lines = [f"Points: gold; {'; '.join(marks)}."]
    if len(fits) == 1:
        title = "Law of gold" + ("" if fits[0].get("group") is None else f", {fits[0]['group']}")
        results = _fit_lines(fits[0])
    else:
        title = f"Laws of gold, {count(len(fits))} groups"
        results = [f"Fits: {tally(plain_words(fit.get('status') or 'no fit') for fit in fits)}."]
    shared: Report = report.get("shared") or {}
    if is_known(shared.get("alpha")):
        results.append(f"{capitalized(shared_sentence(shared))}.")
    return framed(chart, title, lines, results, ground, list(labels.values()))


def _legend_words(fit: Report) -> str:
    if fit.get("status") == "ok":
        peak: Report = fit.get("peak") or {}
        d = with_interval(decimal(peak.get("d")), interval_words(peak.get("d_ci")))
        return f"{coefficients_words(fit)}, " + (f"peak d {d}" if is_known(peak.get("d")) else "no turn")
    return f"{coefficients_words(fit)}, {plain_words(fit.get('status') or 'no fit')}"


def _fit_lines(fit: Report) -> list[str]:
    if fit.get("law") is None:
        return ["No law was fitted."]
    name = METHOD_NAMES.get(fit["law"], fit["law"])
    if fit.get("status") == "too_few_points":
        return [f"Law of {name}: too few points to fit."]
    lines = [f"Law of {name}: {coefficients_words(fit)}."]
    if fit.get("status") == "ok":
        lines.append(f"{capitalized(peak_words(fit))}.")
    return lines + [f"{capitalized(words)}." for words in misgivings(fit)]


def _signed(value: float, bounds: object) -> str:
    return with_interval(value_words(value, signed=True), interval_words(bounds, signed=True))


def _law_line(fit: Report, distances: list[float]) -> Values:
    """The fitted law from d = 0 to the last point; nothing when it is unknown."""
    law: AnyLaw | None = fit.get("law")
    far = max(distances, default=0.0)
    if law is None or not (is_known(fit.get("alpha")) and is_known(fit.get("beta")) and far > 0):
        return []
    # Closer together near 0, where the law of RL is steepest.
    grid = far * np.linspace(0.0, 1.0, _LAW_POINTS) ** 2
    values = law_value(law, grid, fit["alpha"], fit["beta"])
    return [{"d": float(d), "value": float(value)} for d, value in zip(grid, values, strict=True)]


def _peak_inside(fit: Report) -> Report | None:
    """The peak of a law to believe in, within the data."""
    peak: Report = fit.get("peak") or {}
    return peak if fit.get("status") == "ok" and peak.get("inside_data") and is_known(peak.get("d")) else None


def _band(points: Values) -> alt.Chart:
    bounded = [row | {"value": row["low"]} for row in points if row["low"] is not None and row["high"] is not None]
    band: alt.Chart = inline_chart(bounded).mark_area(clip=True, opacity=0.16)
    return band


def _n_labels(curve: Sequence[Report], room: int) -> Values:
    """The n of the points, above the picture, as many as fit into ``room`` pixels; the last one always."""
    labels: Values = []
    right = math.inf
    scale = room / max((point["d"] for point in curve), default=1.0) if curve and curve[-1]["d"] > 0 else 1.0
    for point in reversed(curve):
        text = count(point.get("n"))
        half = LABEL_PIXELS * (len(text) + 1) / 2
        if is_known(point.get("n")) and scale * point["d"] + half < right:
            labels.append({"d": point["d"], "text": text})
            right = scale * point["d"] - half
    if labels:
        labels[-1]["text"] = f"n = {labels[-1]['text']}"
    return labels[::-1]
