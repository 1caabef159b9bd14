"""Pictures of ``diagnose`` and ``eval-rm scores``: runs by step, accuracies by category.

Each figure is a whole Vega-Lite specification made from the command's JSON object. Scores keep the units of the table.
Unknown numbers are left out, never drawn as 0.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt

from overopt.reports.charts import SMALL_HEIGHT, Values, inline_chart, interval_end, layered
from overopt.reports.command_marks import (
    PRINT,
    Ground,
    Report,
    Spec,
    framed,
    group_encodings,
    group_name,
    rings,
    titled_zero_rule,
    vertical_rule,
)
from overopt.reports.command_words import accuracy_sentence, plain_words, run_sentence, share_interval_words, tally
from overopt.reports.figures import STATIC_WIDTH
from overopt.reports.numbers import count, is_known, percent
from overopt.reports.palette import AXIS, CATEGORIES, INK
from overopt.reports.results import capitalized

ALL_PAIRS = "all pairs"
_ACCURACY_WIDTH = 420


def diagnose_figure(report: Report, points: Iterable[Mapping[str, Any]], ground: Ground = PRINT) -> Spec:
    """Gold above proxy by step, one line a group, ringed where gold peaks.

    ``report`` is an ``overopt.diagnose/1`` object; ``points`` hold ``group``, ``step``, ``gold`` and ``proxy``.
    """
    groups: list[Report] = list(report.get("groups") or [])
    rows = [dict(point) | {"group": group_name(point.get("group"))} for point in points if is_known(point.get("step"))]
    labels = {name: name for name in dict.fromkeys(row["group"] for row in rows)} | {
        group_name(group.get("group")): f"{group_name(group.get('group'))}: {plain_words(group.get('verdict'))}"
        for group in groups
    }
    if len(labels) == 1:
        labels = {name: name for name in labels}
    peaks = [
        dict(group["gold_peak"]) | {"group": group_name(group.get("group"))}
        for group in groups
        if is_known((group.get("gold_peak") or {}).get("step"))
    ]
    steps = [row["step"] for row in rows]
    scale = alt.Scale(domain=[min(steps), max(steps)], nice=False, padding=8) if len(set(steps)) > 1 else alt.Scale()
    colour, shape = group_encodings(list(labels.values()), ground)

    def panel(key: str, title: str | None) -> alt.LayerChart:
        drawn, ringed = (
            [{"step": row["step"], "value": row[key], "group": labels[row["group"]]} for row in found
             if is_known(row.get(key))]
            for found in (rows, peaks)
        )  # fmt: skip
        x = alt.X("step:Q", title=title, scale=scale, axis=alt.Axis(labels=title is not None))
        y = alt.Y("value:Q", title=key, scale=alt.Scale(zero=False, padding=8, nice=False))
        single = ringed if len(labels) == 1 else []
        layers = [
            vertical_rule(single, ground).encode(x=x),
            inline_chart(drawn).mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, order="step:Q"),
            inline_chart(drawn).mark_point(filled=True, size=26, opacity=1).encode(
                x=x, y=y, color=colour, shape=shape, tooltip=["group:N", "step:Q", "value:Q"]
            ),
            rings(ringed).encode(x=x, y=y, color=colour),
        ]  # fmt: skip
        chart = layered(
            layers if drawn or ringed else [titled_zero_rule(key)], f"{capitalized(key)} by step.", height=SMALL_HEIGHT
        )
        return chart.properties(width=STATIC_WIDTH)

    chart = alt.VConcatChart(vconcat=[panel("gold", None), panel("proxy", "step")], spacing=14)
    lines = ["Rings: where gold peaks."] if peaks else []
    if len(groups) == 1:
        group = groups[0]
        words = plain_words(group.get("verdict"))
        title = capitalized(words) if group.get("group") is None else f"{group['group']}: {words}"
        results = [f"{capitalized(run_sentence(group).partition(': ')[2] or words)}."]
    else:
        title = f"{count(len(groups))} runs"
        results = [f"Runs: {tally(plain_words(group.get('verdict')) for group in groups)}."]
    return framed(chart, title, lines, results, ground, list(labels.values()))


def eval_rm_figure(report: Report, ground: Ground = PRINT) -> Spec:
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
         "Interval": share_interval_words(entry.get("ci"))}
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
    ink, dot = INK[ground.scheme], CATEGORIES[ground.scheme][0]
    colour = alt.condition("datum.row === 0", alt.value(ink), alt.value(dot))
    layers = [
        vertical_rule([{"accuracy": 0.5}], ground).encode(x=x),
        inline_chart(known[:1] if whole["accuracy"] is not None else []).mark_rule(color=AXIS[ground.scheme]).encode(
            x=x
        ),
        inline_chart(bounded).mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title="accuracy"), x2="high:Q", y=y, color=colour
        ),
        inline_chart(known).mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["category:N", "text:N", "Interval:N"]
        ),
        inline_chart(rows).mark_text(align="left", dx=10).encode(x=alt.value("width"), y=y, text="text:N"),
    ]  # fmt: skip
    chart = layered(layers, "Accuracy on preference pairs by category.").properties(
        height={"step": 24}, width=_ACCURACY_WIDTH
    )
    lines = ["Thin line: accuracy over all pairs; dashed: 50 %. Bars: intervals."]
    return framed(chart, capitalized(accuracy_sentence(report)), lines, [], ground)
