"""Marks, scales and the frame that the pictures of ``bon``, ``fit``, ``diagnose`` and ``eval-rm scores`` share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from overopt.reports.charts import SHAPES, Values, inline_chart, zero_rule
from overopt.reports.figures import STATIC_FONT, STATIC_LEGEND_COLUMNS, STATIC_WIDTH
from overopt.reports.palette import CATEGORIES, MUTED, Scheme, chart_config, size_colours

Report = Mapping[str, Any]  # Any: the values of a JSON object
Spec = dict[str, Any]  # Any: a Vega-Lite specification is JSON

DISTANCE_AXIS = "distance d = √KL (√nats)"
LABEL_PIXELS = 7
LEGEND_SYMBOL_PIXELS = 40


@dataclass(frozen=True, slots=True)
class Ground:
    """What a picture is drawn on."""

    scheme: Scheme = "light"
    is_page: bool = False
    """Whether a page gives the title, the captions and, by its script, the width."""
    font: str = STATIC_FONT

    @property
    def room(self) -> int:
        """Pixels of width to count on."""
        return 360 if self.is_page else STATIC_WIDTH


PRINT = Ground()


def framed(
    chart: alt.LayerChart | alt.VConcatChart,
    title: str,
    marks: Sequence[str],
    results: Sequence[str],
    ground: Ground,
    groups: Sequence[str] = (),
) -> Spec:
    """The chart with its title and captions inside, on white; or for a page, which shows both itself.

    ``marks`` say what is drawn, ``results`` what came out; a page has the latter in its own sentences. The legend has
    as many columns as the names ``groups`` allow; the page counts them anew for the width it finds.
    """
    entry = LABEL_PIXELS * max((len(name) for name in groups), default=0) + LEGEND_SYMBOL_PIXELS
    columns = min(max(STATIC_WIDTH // entry, 1), STATIC_LEGEND_COLUMNS)
    config = chart_config(ground.scheme, 1, font=ground.font, legend_columns=columns)
    heading = {"text": title, "subtitle": [*marks, *results], "limit": STATIC_WIDTH, "subtitleFontSize": 12,
               "subtitleColor": MUTED[ground.scheme], "subtitlePadding": 6, "offset": 14}  # fmt: skip
    spec: Spec = chart.to_dict(validate=False)
    if ground.is_page:
        return spec | {"config": config, "usermeta": {"captions": list(marks), "legendEntry": entry}}
    return spec | {
        "title": heading, "background": "white", "padding": 12, "config": config | {"background": "white"},
    }  # fmt: skip


def group_name(group: object) -> str:
    """What a group is called; a file without groups has one."""
    return "all rows" if group is None else str(group)


def group_encodings(names: list[str], ground: Ground) -> tuple[alt.Color, alt.Shape]:
    """A colour and a shape a group, in one legend; none for a single group."""
    few = CATEGORIES[ground.scheme]
    colours = list(few[: len(names)]) if len(names) <= len(few) else size_colours(ground.scheme, len(names))
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(names))]
    legend = alt.Legend(title=None, symbolOpacity=1, labelLimit=STATIC_WIDTH - 40) if len(names) > 1 else None
    return (
        alt.Color("group:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        alt.Shape("group:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
    )


def titled_zero_rule(axis: str) -> alt.Chart:
    """A quiet line at 0 that names the axis even where there is nothing else."""
    rule: alt.Chart = zero_rule().encode(y=alt.Y("zero:Q", title=axis))
    return rule


def vertical_rule(places: Values, ground: Ground) -> alt.Chart:
    """Dashed lines at places of the x axis."""
    rule: alt.Chart = inline_chart(places).mark_rule(
        strokeWidth=1.2, strokeDash=[3, 3], color=MUTED[ground.scheme], clip=True
    )
    return rule


def rings(places: Values) -> alt.Chart:
    """Open circles around points."""
    found: alt.Chart = inline_chart(places).mark_point(shape="circle", size=190, strokeWidth=1.6, clip=True, opacity=1)
    return found


def distance_scale(distances: Iterable[float]) -> alt.Scale:
    """From 0 to the largest distance."""
    return alt.Scale(domain=[0.0, max(distances, default=0.0) or 1.0], nice=False, padding=8)


def value_range(rows: Values) -> list[float]:
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
