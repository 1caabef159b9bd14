"""Pictures for the commands that analyse a table: ``bon``, ``fit``, ``diagnose`` and ``eval-rm scores``.

Each figure is a whole Vega-Lite specification made from the command's JSON object, and one writer puts it into a file.
Scores keep the units of the table; d = sqrt(KL), KL in nats. Unknown numbers are left out, never drawn as 0.
"""

import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from overopt.errors import ConfigError, StorageError
from overopt.reports.charts import SHAPES, SMALL_HEIGHT, Values, inline_chart, interval_end, layered, zero_rule
from overopt.reports.curve_figures import DISTANCE_AXIS
from overopt.reports.figures import PNG_SCALE, STATIC_FONT, STATIC_LEGEND_COLUMNS, STATIC_WIDTH
from overopt.reports.findings import status_words, verdict_words
from overopt.reports.numbers import (
    coefficient,
    count,
    decimal,
    interval,
    is_known,
    percent,
    percent_interval,
    score,
    score_interval,
)  # fmt: skip
from overopt.reports.palette import AXIS, CATEGORIES, INK, MUTED, chart_config, size_colours
from overopt.reports.results import METHOD_NAMES, capitalized, distance
from overopt.reports.writing import write_atomically
from overopt.stats.laws import AnyLaw, law_value

Report = Mapping[str, Any]  # Any: the values of a JSON object
Spec = dict[str, Any]  # Any: a Vega-Lite specification is JSON

SUFFIXES = (".html", ".svg", ".png")
GAIN, ORACLE, LAW = "gold", "best possible (chosen by gold)", "fitted law of gold"
ALL_PAIRS = "all pairs"

_GAIN_AXIS, _GOLD_AXIS = "gold over n = 1", "gold over its value at d = 0"
_LAW_POINTS = 60
_LABEL_PIXELS = 7
_LEGEND_SYMBOL_PIXELS = 40
_ACCURACY_WIDTH = 420
_ORACLE_ROOM = 2.0
_HTML_PLACE = "figure"


def check_plot_path(path: Path) -> None:
    """Refuse a file that ``write_figure`` could not write, before any work is done.

    Raises
    ------
    ConfigError
        If the suffix is none of .html, .svg and .png.
    StorageError
        If the folder does not exist, or the path is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot must end in .html, .svg or .png; got {path}")
    if not path.parent.is_dir():
        raise StorageError(f"--plot needs an existing folder; {path.parent} is none")
    if path.is_dir():
        raise StorageError(f"--plot must name a file; {path} is a folder")


def write_figure(spec: Spec, path: Path) -> None:
    """Write a specification as a picture, or as a page that needs no network; the suffix decides.

    Raises
    ------
    ConfigError, StorageError
        As ``check_plot_path``; StorageError also if the folder cannot be written to.
    """
    check_plot_path(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        content = _page(spec).encode()
    elif suffix == ".svg":
        content = vl_convert.vegalite_to_svg(spec).encode()
    else:
        content = vl_convert.vegalite_to_png(spec, scale=PNG_SCALE)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _page(spec: Spec) -> str:
    """A page that holds Vega itself. The menu keeps saving a picture and drops what would open another site."""
    shown = spec | {"usermeta": {"embedOptions": {"actions": {"export": True, "editor": False}}}}
    # The converter writes a specification into its script as it is, so that "</script>" in a name would end it.
    safe = json.dumps(shown).replace("<", "\\u003c")
    place = f'const spec = {{"description":"{_HTML_PLACE}"}}'
    page: str = vl_convert.vegalite_to_html({"description": _HTML_PLACE}, bundle=True)
    before, found, after = page.partition(place)
    assert found, "the converter's page has changed"
    title = f"<title>{html.escape(spec['title']['text'])}</title>"
    return before.replace("<head>", f"<head>\n    {title}", 1) + f"const spec = {safe}" + after


def bon_figure(report: Report) -> Spec:
    """Gold gained over n = 1 against d, with its interval, the best possible gain, and the fitted law.

    ``report`` is an ``overopt.bon/1`` object. The proxy is in units of its own and stays out of the picture.
    """
    curve = sorted(
        (dict(point) | {"d": d} for point in report.get("curve") or [] if (d := distance(point.get("kl"))) is not None),
        key=lambda point: float(point["d"]),
    )
    # Gold at n = 1, which need not be among the points.
    base = next((p["gold"] - p["gain"] for p in curve if is_known(p.get("gold")) and is_known(p.get("gain"))), None)
    points = [
        {"d": point["d"], "value": point["gain"], "low": interval_end(point.get("gain_ci"), 0),
         "high": interval_end(point.get("gain_ci"), 1), "series": GAIN, "n": count(point.get("n")),
         "KL": decimal(point.get("kl")), "Gain": f"{score(point['gain'])} {score_interval(point.get('gain_ci'))}"}
        for point in curve
        if is_known(point.get("gain"))
    ]  # fmt: skip
    oracle = [
        {"d": point["d"], "value": point["oracle"] - base, "series": ORACLE}
        for point in curve
        if base is not None and is_known(point.get("oracle"))
    ]
    fit: Report = report.get("fit") or {}
    law = [row | {"series": LAW} for row in _law_line(fit, [point["d"] for point in points])]
    peak = _peak_inside(fit)
    peaks = [] if peak is None else [{"d": peak["d"]}]

    x = alt.X("d:Q", title=DISTANCE_AXIS, scale=_distance_scale(point["d"] for point in curve))
    low, high = _value_range(points)
    # Gold keeps a good part of the height, however much could have been gained.
    top = max(high, min(low + _ORACLE_ROOM * (high - low), 1.05 * max((row["value"] for row in oracle), default=high)))
    y = alt.Y("value:Q", title=_GAIN_AXIS, scale=alt.Scale(domain=[low, top], nice=False))
    present = [name for name, rows in ((GAIN, points), (ORACLE, oracle[1:]), (LAW, law)) if rows]
    legend = alt.Legend(title=None, values=present, symbolType="stroke", symbolSize=300, symbolOpacity=1)
    dashes = alt.Scale(domain=[GAIN, ORACLE, LAW], range=[[1, 0], [6, 4], [1.5, 3]])
    colour = alt.Color("series:N", scale=alt.Scale(domain=[GAIN, ORACLE, LAW]), legend=legend)
    dash = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    layers = [
        _zero_rule(_GAIN_AXIS),
        _rule(peaks).encode(x=x),
        _band(points).encode(x=x, y=y, y2="high:Q", color=colour),
        *(
            inline_chart(rows).mark_line(clip=True, strokeWidth=width).encode(x=x, y=y, color=colour, strokeDash=dash)
            for rows, width in ((oracle, 1.4), (points, 2.2), (law, 1.8))
        ),
        inline_chart(points).mark_point(filled=True, size=40, clip=True, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["n:N", "KL:N", "Gain:N"]
        ),
        inline_chart(_n_labels(curve)).mark_text(baseline="bottom", fontSize=11).encode(
            x=x, y=alt.value(-8), text="text:N"
        ),
    ]  # fmt: skip
    chart = layered(layers, "Gold gained by best-of-n against distance, with the fitted law.")
    words = []
    if len(points) > 1 and any(row["low"] is not None for row in points):
        level = f"{percent(report['level'], 0)} interval" if is_known(report.get("level")) else "interval"
        words.append(f"Band: {level} over prompts.")
    if peaks:
        words.append("Vertical line: peak of the law.")
    lines = [" ".join(words)] if words else []
    if oracle and max(row["value"] for row in oracle) > top:
        lines.append(f"The best possible gain rises to {score(oracle[-1]['value'])}, above the picture.")
    lines += _fit_lines(fit)
    return _picture(chart, f"Best-of-n: {verdict_words(report.get('verdict'))}", lines) | {"width": STATIC_WIDTH}


def fit_figure(report: Report, points: Iterable[Mapping[str, Any]]) -> Spec:
    """Each group's gold against d with its fitted law and, inside the data, the law's peak.

    ``report`` is an ``overopt.fit/1`` object; ``points`` hold ``group``, ``d`` and ``gold`` relative to d = 0.
    """
    fits: list[Report] = list(report.get("groups") or [])
    rows = [
        {"d": point["d"], "value": point["gold"], "group": _name(point.get("group")), "Gold": score(point["gold"])}
        for point in points
        if is_known(point.get("d")) and point["d"] >= 0 and is_known(point.get("gold"))
    ]
    names = list(dict.fromkeys([*(_name(fit.get("group")) for fit in fits), *(row["group"] for row in rows)]))
    laws: Values = []
    for fit in fits:
        name = _name(fit.get("group"))
        laws += [row | {"group": name} for row in _law_line(fit, [row["d"] for row in rows if row["group"] == name])]
    peaks = [
        {"d": peak["d"], "value": peak["gold"], "group": _name(fit.get("group")),
         "Peak": f"d = {decimal(peak['d'])} {interval(peak.get('d_ci'))}"}
        for fit in fits
        if (peak := _peak_inside(fit)) is not None and is_known(peak.get("gold"))
    ]  # fmt: skip
    x = alt.X("d:Q", title=DISTANCE_AXIS, scale=_distance_scale(row["d"] for row in rows))
    y = alt.Y("value:Q", title=_GOLD_AXIS, scale=alt.Scale(domain=_value_range(rows), nice=False))
    colour, shape = _group_encodings(names)
    layers = [
        _zero_rule(_GOLD_AXIS),
        inline_chart(laws).mark_line(clip=True, strokeWidth=1.8).encode(x=x, y=y, color=colour),
        inline_chart(rows).mark_point(filled=True, size=36, clip=True, opacity=0.9).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=["group:N", "d:Q", "Gold:N"]
        ),
        _rings(peaks).encode(x=x, y=y, color=colour, tooltip=["group:N", "Peak:N"]),
    ]  # fmt: skip
    chart = layered(layers, "Gold against distance with the fitted laws, by group.")
    shared: Report = report.get("shared") or {}
    lines = ["Points: gold; lines: fitted laws" + ("; rings: peaks of the laws inside the data." if peaks else ".")]
    if len(fits) == 1:
        title = "Law of gold" + ("" if fits[0].get("group") is None else f", {fits[0]['group']}")
        lines += _fit_lines(fits[0])
    else:
        title = f"Laws of gold, {count(len(fits))} groups"
        lines.append(_tally("Fits", (str(fit.get("status") or "no fit").replace("_", " ") for fit in fits)))
    if is_known(shared.get("alpha")):
        lines.append(f"One α for all groups: {coefficient(shared['alpha'])} (R² {coefficient(shared.get('r2'))}).")
    return _picture(chart, title, lines, names) | {"width": STATIC_WIDTH}


def diagnose_figure(report: Report, points: Iterable[Mapping[str, Any]]) -> Spec:
    """Gold above proxy by step, one line a group, ringed where gold peaks.

    ``report`` is an ``overopt.diagnose/1`` object; ``points`` hold ``group``, ``step``, ``gold`` and ``proxy``.
    """
    groups: list[Report] = list(report.get("groups") or [])
    rows = [dict(point) | {"group": _name(point.get("group"))} for point in points if is_known(point.get("step"))]
    labels = {name: name for name in dict.fromkeys(row["group"] for row in rows)} | {
        _name(group.get("group")): f"{_name(group.get('group'))}: {verdict_words(group.get('verdict'))}"
        for group in groups
    }
    if len(labels) == 1:
        labels = {name: name for name in labels}
    peaks = [
        dict(group["gold_peak"]) | {"group": _name(group.get("group"))}
        for group in groups
        if is_known((group.get("gold_peak") or {}).get("step"))
    ]
    steps = [row["step"] for row in rows]
    scale = alt.Scale(domain=[min(steps), max(steps)], nice=False, padding=8) if len(set(steps)) > 1 else alt.Scale()
    colour, shape = _group_encodings(list(labels.values()))

    def panel(key: str, title: str | None) -> alt.LayerChart:
        drawn, rings = (
            [{"step": row["step"], "value": row[key], "group": labels[row["group"]]} for row in found
             if is_known(row.get(key))]
            for found in (rows, peaks)
        )  # fmt: skip
        x = alt.X("step:Q", title=title, scale=scale, axis=alt.Axis(labels=title is not None))
        y = alt.Y("value:Q", title=key, scale=alt.Scale(zero=False, padding=8, nice=False))
        single = rings if len(labels) == 1 else []
        layers = [
            _rule(single).encode(x=x),
            inline_chart(drawn).mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, order="step:Q"),
            inline_chart(drawn).mark_point(filled=True, size=26, opacity=1).encode(
                x=x, y=y, color=colour, shape=shape, tooltip=["group:N", "step:Q", "value:Q"]
            ),
            _rings(rings).encode(x=x, y=y, color=colour),
        ]  # fmt: skip
        chart = layered(
            layers if drawn or rings else [_zero_rule(key)], f"{capitalized(key)} by step.", height=SMALL_HEIGHT
        )
        return chart.properties(width=STATIC_WIDTH)

    chart = alt.VConcatChart(vconcat=[panel("gold", None), panel("proxy", "step")], spacing=14)
    lines = ["Rings: where gold peaks."] if peaks else []
    if len(groups) == 1:
        group = groups[0]
        verdict = verdict_words(group.get("verdict"))
        title = capitalized(verdict) if group.get("group") is None else f"{group['group']}: {verdict}"
        lines.append(
            f"Gold has dropped {decimal(group.get('drop'))} from its peak; a drop above "
            f"{decimal(group.get('threshold'))} is more than noise."
        )
    else:
        title = f"{count(len(groups))} runs"
        lines.append(_tally("Runs", (verdict_words(group.get("verdict")) for group in groups)))
    return _picture(chart, title, lines, list(labels.values()))


def eval_rm_figure(report: Report) -> Spec:
    """Accuracy of a reward model with its interval, over all pairs and by category, best first.

    ``report`` is an ``overopt.eval_rm/1`` object.
    """
    by: Mapping[str, Report] = report.get("by") or {}
    best_first = sorted(by.items(), key=lambda item: -item[1]["accuracy"] if is_known(item[1].get("accuracy")) else 1)
    whole = {"accuracy": report.get("accuracy"), "ci": report.get("accuracy_ci"), "pairs": report.get("pairs")}
    # By number, since a category may be called what another row is called.
    rows: Values = [
        {"row": index, "accuracy": entry.get("accuracy"), "low": interval_end(entry.get("ci"), 0),
         "high": interval_end(entry.get("ci"), 1), "category": name,
         "text": f"{percent(entry.get('accuracy'))} of {count(entry.get('pairs'))}",
         "Interval": percent_interval(entry.get("ci"))}
        for index, (name, entry) in enumerate([(ALL_PAIRS, whole), *best_first])
    ]  # fmt: skip
    known = [row for row in rows if is_known(row["accuracy"])]
    bounded = [row for row in known if row["low"] is not None and row["high"] is not None]
    ends = [0.5, *(row[key] for row in known for key in ("accuracy", "low", "high") if row[key] is not None)]
    domain = [min(ends), max(ends)] if max(ends) > min(ends) else [0.0, 1.0]
    names = json.dumps([row["category"] for row in rows])
    x = alt.X(
        "accuracy:Q",
        title="accuracy",
        scale=alt.Scale(domain=domain, nice=False, padding=12),
        axis=alt.Axis(format=".0%"),
    )
    y = alt.Y(
        "row:O", title=None, scale=alt.Scale(domain=list(range(len(rows)))),
        axis=alt.Axis(labelExpr=f"{names}[datum.value]", labelLimit=200, labelOverlap=False),
    )  # fmt: skip
    ink, dot = INK["light"], CATEGORIES["light"][0]
    colour = alt.condition("datum.row === 0", alt.value(ink), alt.value(dot))
    layers = [
        _rule([{"accuracy": 0.5}]).encode(x=x),
        inline_chart(known[:1] if whole["accuracy"] is not None else []).mark_rule(color=AXIS["light"]).encode(x=x),
        inline_chart(bounded).mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title="accuracy"), x2="high:Q", y=y, color=colour
        ),
        inline_chart(known).mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["category:N", "text:N", "Interval:N"]
        ),
        inline_chart(rows).mark_text(align="left").encode(x=alt.value(_ACCURACY_WIDTH + 10), y=y, text="text:N"),
    ]  # fmt: skip
    chart = layered(layers, "Accuracy on preference pairs by category.").properties(height={"step": 24})
    title = f"Accuracy {percent(whole['accuracy'])} {percent_interval(whole['ci'])}, {count(whole['pairs'])} pairs"
    lines = ["Thin line: accuracy over all pairs; dashed: 50 %. Bars: intervals."]
    return _picture(chart, title, lines) | {"width": _ACCURACY_WIDTH}


def _picture(
    chart: alt.LayerChart | alt.VConcatChart, title: str, lines: Sequence[str], groups: Sequence[str] = ()
) -> Spec:
    """The chart with its title inside, in light colours on white; the legend has as many columns as its names allow."""
    longest = max((len(name) for name in groups), default=0)
    columns = STATIC_WIDTH // (_LABEL_PIXELS * longest + _LEGEND_SYMBOL_PIXELS)
    config = chart_config(
        "light", 1, font=STATIC_FONT, legend_columns=min(max(columns, 1), STATIC_LEGEND_COLUMNS)
    )  # fmt: skip
    spec: Spec = chart.to_dict(validate=False)
    heading = {"text": title, "subtitle": list(lines), "limit": STATIC_WIDTH, "subtitleColor": MUTED["light"],
               "subtitleFontSize": 12, "subtitlePadding": 6, "offset": 14}  # fmt: skip
    return spec | {
        "title": heading, "background": "white", "padding": 12, "config": config | {"background": "white"},
    }  # fmt: skip


def _name(group: object) -> str:
    return "all rows" if group is None else str(group)


def _tally(what: str, words: Iterable[str]) -> str:
    found = Counter(words).most_common()
    return f"{what}: {', '.join(f'{count(number)} {word}' for word, number in found) or 'none'}."


def _group_encodings(names: list[str]) -> tuple[alt.Color, alt.Shape]:
    """A colour and a shape a group, in one legend; none for a single group."""
    few = CATEGORIES["light"]
    colours = list(few[: len(names)]) if len(names) <= len(few) else size_colours("light", len(names))
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(names))]
    legend = alt.Legend(title=None, symbolOpacity=1, labelLimit=STATIC_WIDTH - 40) if len(names) > 1 else None
    return (
        alt.Color("group:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        alt.Shape("group:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
    )


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
    peak: Report = fit.get("peak") or {}
    return peak if peak.get("inside_data") and is_known(peak.get("d")) else None


def _fit_lines(fit: Report) -> list[str]:
    if fit.get("law") is None:
        return ["No law was fitted."]
    name = METHOD_NAMES.get(fit["law"], fit["law"])
    words = [f"α = {coefficient(fit.get('alpha'))}", f"β = {coefficient(fit.get('beta'))}"]
    peak: Report = fit.get("peak") or {}
    if is_known(peak.get("d")):
        words.append(
            f"peak at d = {decimal(peak['d'])} {interval(peak.get('d_ci'))}"
            if peak.get("inside_data")
            else f"peak outside the data, at d = {decimal(peak['d'])}"
        )
    elif fit.get("status") in ("ok", "poor_fit"):
        words.append("no peak")
    return [f"Law of {name}: {', '.join(words)}.", f"{capitalized(status_words(fit))}."]


def _zero_rule(axis: str) -> alt.Chart:
    rule: alt.Chart = zero_rule().encode(y=alt.Y("zero:Q", title=axis))
    return rule


def _rule(places: Values) -> alt.Chart:
    rule: alt.Chart = inline_chart(places).mark_rule(
        strokeWidth=1.2, strokeDash=[3, 3], color=MUTED["light"], clip=True
    )
    return rule


def _rings(peaks: Values) -> alt.Chart:
    rings: alt.Chart = inline_chart(peaks).mark_point(shape="circle", size=190, strokeWidth=1.6, clip=True, opacity=1)
    return rings


def _band(points: Values) -> alt.Chart:
    bounded = [row | {"value": row["low"]} for row in points if row["low"] is not None and row["high"] is not None]
    band: alt.Chart = inline_chart(bounded).mark_area(clip=True, opacity=0.16)
    return band


def _distance_scale(distances: Iterable[float]) -> alt.Scale:
    return alt.Scale(domain=[0.0, max(distances, default=0.0) or 1.0], nice=False, padding=8)


def _value_range(rows: Values) -> list[float]:
    """Range of the values, 0 included; of the intervals at most half as much again, so that one wide interval does not
    flatten the curve."""
    values = [0.0, *(row["value"] for row in rows)]
    low, high = min(values), max(values)
    span = high - low or 1.0
    ends = [row[end] for row in rows for end in ("low", "high") if row.get(end) is not None]
    low, high = max(min([low, *ends]), low - span / 2), min(max([high, *ends]), high + span / 2)
    if low == high:
        return [-1.0, 1.0]
    return [low - 0.04 * span, high + 0.04 * span]


def _n_labels(curve: Sequence[Report]) -> Values:
    """The n of the points, above the picture, as many as fit; the last one always."""
    labels: Values = []
    right = math.inf
    scale = STATIC_WIDTH / max((point["d"] for point in curve), default=1.0) if curve and curve[-1]["d"] > 0 else 1.0
    for point in reversed(curve):
        text = count(point.get("n"))
        half = _LABEL_PIXELS * (len(text) + 1) / 2
        if is_known(point.get("n")) and scale * point["d"] + half < right:
            labels.append({"d": point["d"], "text": text})
            right = scale * point["d"] - half
    if labels:
        labels[-1]["text"] = f"n = {labels[-1]['text']}"
    return labels[::-1]
