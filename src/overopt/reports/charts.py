"""Building blocks of the figures: shared encodings, so that a size or a number of pairs looks the same everywhere.

Colours, fonts and the ground are not part of a chart but of ``palette.chart_config``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from overopt.reports.numbers import is_known
from overopt.reports.results import Row, Sizes, pair_counts

Section = Literal["bon", "rl", "laws", "proxies"]
SECTIONS: tuple[Section, ...] = ("bon", "rl", "laws", "proxies")
Values = list[dict[str, Any]]  # Any: the cells of a table in JSON

HEIGHT = 300
SMALL_HEIGHT = 220
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
SIZE_LEGEND = "proxy width (parameters)"
PAIRS_LEGEND = "training pairs"


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what a reader needs to read it."""

    name: str
    """Anchor and file name."""
    section: Section
    title: str
    caption: str
    chart: alt.LayerChart
    is_small: bool = False
    """Whether several stand side by side on a wide page."""

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification, as wide as its container."""
        # Not validated here: it would take half a second a page, and the tests compile every chart.
        spec: dict[str, Any] = self.chart.to_dict(validate=False)  # Any: a Vega-Lite specification is JSON
        spec.pop("config", None)  # Altair's own theme
        return spec


def inline_chart(values: Iterable[dict[str, Any]]) -> alt.Chart:
    """A chart of rows that travel inside its specification."""
    return alt.Chart(alt.InlineData(values=[{key: _rounded(value) for key, value in row.items()} for row in values]))


def _rounded(value: object) -> object:
    """Seven digits are more than a picture shows, and half the size of all that a float has."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def layered(layers: list[alt.Chart], description: str, *, height: int = HEIGHT) -> alt.LayerChart:
    """The layers that hold data, as wide as their container."""
    kept = [layer for layer in layers if layer.data.values]
    return alt.LayerChart(layer=kept).properties(width="container", height=height, description=description)


def zero_rule() -> alt.Chart:
    """A quiet line at the base policy's score."""
    rule: alt.Chart = inline_chart([{"zero": 0}]).mark_rule(strokeWidth=1).encode(y=alt.Y("zero:Q"))
    return rule


def size_colour(sizes: Sizes, present: list[str]) -> alt.Color:
    """Colour by size; the legend names the sizes of this figure, the scale all sizes of the study."""
    return alt.Color("size:O", scale=alt.Scale(domain=list(sizes.labels.values())), legend=_size_legend(sizes, present))


def size_shape(sizes: Sizes, present: list[str]) -> alt.Shape:
    """The shape that goes with a colour, in the same legend."""
    scale = alt.Scale(domain=list(sizes.labels.values()), range=SHAPES)
    return alt.Shape("size:N", scale=scale, legend=_size_legend(sizes, present))


def _size_legend(sizes: Sizes, present: list[str]) -> alt.Legend:
    has_widths = any(isinstance(key, int) for key in sizes.labels)
    return alt.Legend(title=SIZE_LEGEND if has_widths else "proxy", values=present, symbolOpacity=1)


def pairs_colour(all_pairs: list[str], present: set[str]) -> alt.Color:
    """Colour by number of training pairs; the legend names those of this figure."""
    return alt.Color("pairs:N", scale=alt.Scale(domain=all_pairs), legend=_pairs_legend(all_pairs, present))


def pairs_shape(all_pairs: list[str], present: set[str]) -> alt.Shape:
    """The shape that goes with a colour, in the same legend."""
    scale = alt.Scale(domain=all_pairs, range=SHAPES)
    return alt.Shape("pairs:N", scale=scale, legend=_pairs_legend(all_pairs, present))


def _pairs_legend(all_pairs: list[str], present: set[str]) -> alt.Legend:
    values = [pairs for pairs in all_pairs if pairs in present]
    return alt.Legend(title=PAIRS_LEGEND, values=values, symbolOpacity=1)


def side_by_side(points: Values, key: str, *, step: float = 6.0) -> list[tuple[float, Values]]:
    """Points that share a size, by ``key``, each with an offset in pixels that keeps them from covering each other."""
    keys = list(dict.fromkeys(point[key] for point in points))
    return [
        (step * (index - (len(keys) - 1) / 2), [point for point in points if point[key] == value])
        for index, value in enumerate(keys)
    ]


def line_legend(present: list[str]) -> alt.Legend:
    """The legend of solid and dashed lines, in no size's colour."""
    return alt.Legend(title=None, values=present, symbolStrokeColor="gray", symbolType="stroke", symbolSize=300)


def parameters_axis(points: Values) -> alt.X:
    """The size of the proxy in logarithmic steps, with a tick at each size."""
    values = sorted({point["parameters"] for point in points})
    domain = [values[0] / 1.25, values[-1] * 1.25]
    return alt.X(
        "parameters:Q",
        title="parameters of the proxy",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(format=".3~s", values=values),
    )


def number_or_none(value: object) -> float | None:
    """The value, or ``None`` if it is not a finite number."""
    return value if is_known(value) else None


def interval_end(bounds: Sequence[float | None] | None, index: int) -> float | None:
    """One end of an interval; ``None`` when it is unknown."""
    return number_or_none(bounds[index]) if bounds is not None and len(bounds) == 2 else None


def above_zero(row: Row, key: str) -> bool:
    """Whether the number is known and may stand on a logarithmic axis."""
    value = row.get(key)
    return is_known(value) and value > 0


def by_pairs(rows: list[Row]) -> list[tuple[int, list[Row]]]:
    """The rows of each number of training pairs, from few to many."""
    return [(pairs, [row for row in rows if row.get("pairs") == pairs]) for pairs in pair_counts(rows)]
