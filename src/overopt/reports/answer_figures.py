"""The figures of an answer as Vega-Lite specifications: one chart for each width that a figure is drawn in.

Nothing here depends on the ground a figure is seen on: a picture is drawn in light colours, and
:mod:`overopt.reports.answer_pictures` replaces them where a page may be dark.
"""

import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overopt.records.answers import Axis, Channel
from overopt.reports.answer_drawings import ON_CELLS, Drawing
from overopt.reports.answer_scales import FEW_TICKS, MANY_TICKS, TICK_WORDS, Range, dodged, label, root_ticks
from overopt.reports.charts import SHAPES
from overopt.reports.figures import STATIC_FONT
from overopt.reports.numbers import decimal, is_known
from overopt.reports.palette import CATEGORIES, GRID, INK, MUTED, cell_colours, chart_config

Spec = dict[str, Any]  # Any: a Vega-Lite specification is JSON

N_COLOURS = len(CATEGORIES["light"])
DASHES = [[1, 0], [6, 4], [2, 3], [10, 3, 2, 3]]
LETTER_PIXELS = 6.6
LONGEST_NAME = 100
LEGEND_SYMBOL_PIXELS = 40
GUTTER = 58
"""Pixels that the labels and the title of a y axis take."""


@dataclass(frozen=True, slots=True)
class Look:
    """For which place a figure is drawn."""

    width: int
    """Pixels of the whole picture."""
    columns: int
    """Panels side by side."""
    height: int
    """Pixels of one panel."""
    is_export: bool = False
    """Whether the picture stands alone, with its title and caption on white."""
    is_preview: bool = False
    """Whether the picture is small and without a legend."""


WIDE = Look(width=800, columns=3, height=300)
NARROW = Look(width=312, columns=1, height=230)
PREVIEW = Look(width=300, columns=1, height=150, is_preview=True)
EXPORT = Look(width=760, columns=3, height=300, is_export=True)


def figure_spec(drawing: Drawing, look: Look) -> Spec:
    """The Vega-Lite specification of a drawing at one width, in light colours."""
    return _Chart(drawing, look).spec()


class _Chart:
    """One drawing at one width."""

    def __init__(self, drawing: Drawing, look: Look) -> None:
        self.drawing, self.figure, self.look = drawing, drawing.figure, look
        panel = self.figure.panel
        panels = drawing.domains[panel.field] if panel else []
        self.panels = (
            [value for value in panels if any(row.get(panel.field) == value for row in drawing.rows)] if panel else []
        )
        self.rows = drawing.rows
        self.columns = _columns(len(self.panels), look.columns)
        self.inner = (
            look.width - (GUTTER if self.columns == 1 else GUTTER + 6) - 20 * (self.columns - 1)
        ) // self.columns
        # A channel has its legend's column; channels of one field share it, and so their legend.
        channels = (self.figure.colour, self.figure.shape, self.figure.dash, panel)
        fields = list(dict.fromkeys(channel.field for channel in channels if channel))
        self.keys = {field: f"k{index}" for index, field in enumerate(fields)}
        self.has_bars = bool(self.figure.low and self.figure.high) and "band" not in self.figure.marks
        self.is_flipped = self._is_flipped()
        self.is_dodged = self._is_dodged()
        self.places: list[float] | None = None
        if self.is_dodged and isinstance(drawing.x, Range):
            places = [(row[self.figure.x.field], self._kind(row)) for row in self.rows]
            self.places = dodged(drawing.x, places, self._kinds(), self.inner)
        if self.is_flipped:
            self.inner -= int(min(self._longest_x() * LETTER_PIXELS, look.width // 3)) - GUTTER // 2

    def spec(self) -> Spec:
        data: Spec = {"data": {"values": self._values()}}
        view: Spec = {"layer": self._layers(), "width": self.inner, "height": self._height()}
        if self.panels and self.figure.panel:
            header = {
                "title": None, "labelFontSize": 12, "labelFontWeight": 600, "labelAnchor": "start",
                "labelColor": INK["light"], "labelPadding": 6, "labelLimit": self.inner, "labelFont": STATIC_FONT,
            }  # fmt: skip
            facet = {
                "field": self.keys[self.figure.panel.field], "type": "nominal", "header": header,
                "sort": self._labels(self.figure.panel),
            }  # fmt: skip
            view = {"facet": facet, "columns": self.columns, "spec": view, "spacing": {"column": 20, "row": 24}}
            if len(self.panels) % self.columns:
                view["resolve"] = {"axis": {"x": "independent"}}  # else an axis stands under the empty place
        columns = max((self._legend_columns(channel) for channel in self._shown_channels()), default=1)
        config = chart_config("light", 1, font=STATIC_FONT, legend_columns=columns)
        config["axis"] |= {"labelOverlap": "greedy", "tickCount": 5, "labelLimit": self.look.width // 2}
        framed = data | view | {"config": config, "description": label(self.figure.title)}
        if not self.look.is_export:
            return framed | {"padding": {"left": 2, "top": 4, "right": 14, "bottom": 2}}
        lines = [*textwrap.wrap(label(self.figure.caption), 112), *self.drawing.notes]
        title = {
            "text": textwrap.wrap(label(self.figure.title), 84), "subtitle": lines, "subtitleFontSize": 12,
            "subtitleColor": MUTED["light"], "subtitlePadding": 6, "offset": 14, "anchor": "start",
        }  # fmt: skip
        return framed | {
            "title": title,
            "padding": 14,
            "background": "white",
            "config": config | {"background": "white"},
        }

    # --- rows

    def _values(self) -> list[dict[str, Any]]:
        """The rows under short names, with positions moved apart and intervals held inside of the frame."""
        figure, drawing = self.figure, self.drawing
        kinds = [self._kind(row) for row in self.rows]
        places = self.places or [row[figure.x.field] for row in self.rows]
        found = []
        for row, place, kind in zip(self.rows, places, kinds, strict=True):
            value: dict[str, Any] = {key: _name(row.get(field)) for field, key in self.keys.items()}
            value["x"] = _rounded(place) if isinstance(drawing.x, Range) else self._step("x", place)
            height = row[figure.y.field]
            value["y"] = _rounded(height) if isinstance(drawing.y, Range) else self._step("y", height)
            if figure.low and figure.high and isinstance(drawing.y, Range):
                low, high = row.get(figure.low), row.get(figure.high)
                if is_known(low) and is_known(high):
                    value["low"], value["high"] = (_rounded(drawing.y.held(end)) for end in (low, high))
            if figure.order is not None:
                value["order"] = row.get(figure.order)
            if figure.value is not None:
                self._show_value(value, row.get(figure.value))
            if figure.written is not None:
                value["text"] = [label(line) for line in str(row.get(figure.written)).split("\n")]
            value["kind"], value["words"] = kind, self._words(row)
            found.append(value)
        groups = [(value["kind"], value.get(self._panel_key)) for value in found]
        sizes = Counter(groups)
        for value, group in zip(found, groups, strict=True):
            value["alone"] = sizes[group] == 1
        return found

    @property
    def _panel_key(self) -> str:
        return self.keys[self.figure.panel.field] if self.figure.panel else ""

    def _show_value(self, shown: dict[str, Any], value: object) -> None:
        steps = self.drawing.steps
        if steps is None or not is_known(value):
            shown["text"] = f"{value:.3g}" if isinstance(value, float) and is_known(value) else label(value)
            return
        shown["value"], shown["text"] = (
            value,
            decimal(
                value,
                0
                if float(value).is_integer()
                and steps.limits
                and all(float(limit).is_integer() for limit in steps.limits)
                else steps.digits,
            ),
        )
        on = [
            _wants_light(cell_colours(scheme, steps.n, is_signed=steps.is_signed)[steps.index(value)])
            for scheme in ("light", "dark")
        ]
        shown["ink"] = ON_CELLS[on[0], on[1]][0]

    def _words(self, row: Mapping[str, Any]) -> str:
        """What a screen reader says, and the page shows under a pointer."""
        figure = self.figure
        parts = [
            f"{channel.title}: {_name(row.get(channel.field))}"
            for channel in (figure.colour, figure.shape, figure.dash, figure.panel) if channel
        ]  # fmt: skip
        parts += [f"{axis.title}: {_number(row.get(axis.field))}" for axis in (figure.x, figure.y)]
        if figure.low and figure.high and is_known(row.get(figure.low)) and is_known(row.get(figure.high)):
            parts[-1] += f" [{_number(row[figure.low])}, {_number(row[figure.high])}]"
        if figure.value is not None:
            parts.append(f"{_spaced(figure.value)}: {_number(row.get(figure.value))}")
        return label("; ".join(dict.fromkeys(parts)))

    # --- kinds: what shares a colour, a shape and a dash

    def _marking(self) -> list[Channel]:
        return [channel for channel in (self.figure.colour, self.figure.shape, self.figure.dash) if channel]

    def _kind(self, row: Mapping[str, Any]) -> str:
        return " · ".join(_name(row.get(channel.field)) for channel in self._marking())

    def _kinds(self) -> list[str]:
        """In the order of the legends."""
        domains = self.drawing.domains
        rows = sorted(
            self.rows,
            key=lambda row: tuple(domains[channel.field].index(row.get(channel.field)) for channel in self._marking()),
        )
        return list(dict.fromkeys(self._kind(row) for row in rows))

    def _is_dodged(self) -> bool:
        if "heat" in self.figure.marks or not (
            ("bar" in self.figure.marks) or (self.has_bars and "point" in self.figure.marks)
        ):
            return False
        panel = self.figure.panel
        taken = [(row.get(panel.field) if panel else None, row[self.figure.x.field]) for row in self.rows]
        return len(self._kinds()) > 1 and len(set(taken)) < len(taken)

    def _is_flipped(self) -> bool:
        """Whether long names on the x axis read better from top to bottom."""
        if isinstance(self.drawing.x, Range) or not isinstance(self.drawing.y, Range):
            return False
        if {"line", "band"} & set(self.figure.marks):
            return False
        return len(self.drawing.x) * (self._longest_x() * LETTER_PIXELS + 12) > self.inner

    def _step(self, field: str, value: object) -> str:
        """The name of a step of a discrete axis, in lines where words stand beside words."""
        upright = (field == "y") != self.is_flipped
        steps = 1 if upright or isinstance(self.drawing.x, Range) else len(self.drawing.x)
        room = self.look.width / 3 if upright else self.inner / steps - 8
        lines = textwrap.wrap(_name(value), max(int(room / LETTER_PIXELS), 8), break_long_words=False)
        return "\n".join(lines) or " "

    def _longest_x(self) -> int:
        return 0 if isinstance(self.drawing.x, Range) else max(len(_name(value)) for value in self.drawing.x)

    def _height(self) -> int:
        if self.is_flipped and not isinstance(self.drawing.x, Range):
            lines = max(self._step("x", value).count("\n") + 1 for value in self.drawing.x)
            kinds = len(self._kinds()) if self.is_dodged else 1
            return max(len(self.drawing.x) * (max(13 * lines, 13 * kinds) + 12), 90)
        if "heat" in self.figure.marks and not isinstance(self.drawing.y, Range):
            if self.figure.written is not None:
                return max((16 * self._lines + 10) * len(self.drawing.y), 60)
            return min(max(34 * len(self.drawing.y), 100), self.look.height)
        if self.columns == 1:
            return round(self.look.height * (0.7 if len(self.panels) > 2 else 1))
        return round(self.look.height * (0.85 if self.columns == 2 else 0.72))

    @property
    def _lines(self) -> int:
        """Of what is written on a cell."""
        if self.figure.written is None:
            return 1
        return max(str(row.get(self.figure.written)).count("\n") + 1 for row in self.rows)

    # --- encodings

    def _axes(self) -> Spec:
        across, up = ("y", "x") if self.is_flipped else ("x", "y")
        x, y = self.drawing.x, self.drawing.y
        found = {across: self._axis("x", self.figure.x, x), up: self._axis("y", self.figure.y, y)}
        if self.is_dodged and not isinstance(x, Range):
            found[f"{across}Offset"] = {
                "field": "kind",
                "type": "nominal",
                "sort": self._kinds(),
                "scale": {"domain": self._kinds()},
            }
        if self.figure.order is not None and not {"line"}.isdisjoint(self.figure.marks):
            found["order"] = {"field": "order", "type": "quantitative"}
        return found

    def _axis(self, field: str, axis: Axis, place: Range | list[object]) -> Spec:
        is_upright = (field == "y") != self.is_flipped
        title = textwrap.wrap(
            label(axis.title), max(int((self._height() if is_upright else self.inner) / LETTER_PIXELS), 24)
        )
        if not isinstance(place, Range):
            names = [self._step(field, value) for value in place]
            longest = max(len(line) for name in names for line in name.split("\n"))
            is_crowded = field == "x" and not self.is_flipped and longest * LETTER_PIXELS + 4 > self.inner / len(names)
            look: Spec = {
                "labelAngle": -40 if is_crowded else 0, "grid": False, "labelOverlap": False, "labelLineHeight": 13,
                "labelExpr": "split(datum.value, '\\n')",
            }  # fmt: skip
            if "bar" in self.figure.marks or self.is_dodged or "heat" in self.figure.marks:
                look["ticks"] = False
            scale: Spec = {"paddingInner": 0.04, "paddingOuter": 0.02} if "heat" in self.figure.marks else {}
            return {"field": field, "type": "nominal", "sort": names, "title": title, "axis": look, "scale": scale}
        look = {"labelExpr": TICK_WORDS, "grid": field == "y"}
        distinct = sorted({row[axis.field] for row in self.rows})
        if field == "x" and 1 < len(distinct) <= (MANY_TICKS if axis.scale == "log" else FEW_TICKS):
            look["values"] = distinct
        elif axis.scale == "sqrt":
            look["values"] = root_ticks(place)
        elif self.inner < 260:
            look["tickCount"] = 4
        moved = self.places if field == "x" and self.places else []
        ends = [min([place.low, *moved]), max([place.high, *moved])]
        scale = {"type": axis.scale, "domain": ends, "nice": False, "padding": 6 if moved else 0}
        if axis.scale != "log":
            scale["zero"] = False
        return {"field": field, "type": "quantitative", "title": title, "axis": look, "scale": scale}

    def _labels(self, channel: Channel) -> list[str]:
        return [_name(value) for value in self.drawing.domains[channel.field]]

    def _shown_channels(self) -> list[Channel]:
        """Channels that need a legend: the axis names those that repeat it."""
        taken = {self.figure.x.field, self.figure.y.field}
        return [channel for channel in self._marking() if channel.field not in taken]

    def _legend_columns(self, channel: Channel) -> int:
        longest = max(len(name) for name in self._labels(channel))
        return max(1, int(self.look.width // (longest * LETTER_PIXELS + LEGEND_SYMBOL_PIXELS)))

    def _legend(self, channel: Channel, **more: object) -> Spec | None:
        if self.look.is_preview or channel not in self._shown_channels():
            return None
        present = {_name(row.get(channel.field)) for row in self.rows}
        values = [name for name in self._labels(channel) if name in present]
        return {
            "title": label(channel.title), "values": values, "symbolOpacity": 1,
            "columns": self._legend_columns(channel), "labelLimit": self.look.width - LEGEND_SYMBOL_PIXELS, **more,
        }  # fmt: skip

    def _coloured(self) -> Spec:
        channel = self.figure.colour
        if channel is None:
            return {"color": {"value": self.drawing.colours("light")[0]}}
        only_lines = not {"point", "bar"} & set(self.figure.marks)
        more = {"symbolType": "stroke", "symbolSize": 300} if only_lines else {}
        scale = {"domain": self._labels(channel), "range": self.drawing.colours("light")}
        field = {"field": self.keys[channel.field], "type": "nominal", "scale": scale}
        return {"color": field | {"legend": self._legend(channel, **more)}}

    def _shaped(self) -> Spec:
        channel = self.figure.shape or self.figure.colour
        if channel is None:
            return {}
        names = self._labels(channel)
        # One further at each turn: kinds of one colour have two shapes.
        shapes = [SHAPES[(index + index // len(SHAPES)) % len(SHAPES)] for index in range(len(names))]
        scale = {"domain": names, "range": shapes}
        own = self.figure.shape is not None and self.figure.shape != self.figure.colour
        legend = self._legend(
            channel, **({"symbolFillColor": MUTED["light"], "symbolStrokeColor": MUTED["light"]} if own else {})
        )
        return {"shape": {"field": self.keys[channel.field], "type": "nominal", "scale": scale, "legend": legend}}

    def _dashed(self) -> Spec:
        channel, turn = self.figure.dash, 1
        if channel is None and self._are_colours_shared():
            # Kinds of one colour have two dashes.
            channel, turn = self.figure.colour, N_COLOURS
        if channel is None:
            return {}
        names = self._labels(channel)
        scale = {"domain": names, "range": [DASHES[index // turn % len(DASHES)] for index in range(len(names))]}
        named = [other.field for other in (self.figure.colour, self.figure.shape) if other]
        more = {} if channel.field in named else {"symbolStrokeColor": MUTED["light"]}
        legend = self._legend(channel, symbolType="stroke", symbolSize=400, **more)
        if channel.field in named and "point" in self.figure.marks:
            legend = None  # a dashed outline of a point says nothing
        return {"strokeDash": {"field": self.keys[channel.field], "type": "nominal", "scale": scale, "legend": legend}}

    def _are_colours_shared(self) -> bool:
        channel = self.figure.colour
        return channel is not None and not channel.is_ordered and len(self._labels(channel)) > N_COLOURS

    # --- marks

    def _layers(self) -> list[Spec]:
        marks, axes, colour = self.figure.marks, self._axes(), self._coloured()
        up, end = ("x", "x2") if self.is_flipped else ("y", "y2")
        words = {"description": {"field": "words"}}
        apart = {"detail": {"field": "kind"}}
        layers: list[Spec] = []

        def add(mark: Spec, *encodings: Spec, where: str | None = None) -> None:
            merged: Spec = {}
            for encoding in encodings:
                merged |= encoding
            layers.append(({"transform": [{"filter": where}]} if where else {}) | {"mark": mark, "encoding": merged})

        interval = {up: axes[up] | {"field": "low"}, end: {"field": "high"}}
        unordered = {name: axis for name, axis in axes.items() if name != "order"}
        known = "isValid(datum.low) && isValid(datum.high)"
        if self.figure.reference is not None and isinstance(self.drawing.y, Range):
            rule = {name: axes[up][name] for name in ("type", "scale", "title", "axis")}
            add({"type": "rule", "strokeWidth": 1.2, "aria": False}, {up: rule | {"datum": self.figure.reference}})
        if "heat" in marks:
            add({"type": "rect"}, unordered, self._cells(), words)
        if "band" in marks and self.figure.low:
            add(
                {"type": "area", "opacity": 0.15, "aria": False, "line": False},
                unordered,
                interval,
                colour,
                apart,
                where=known,
            )
        if "bar" in marks:
            add({"type": "bar", "opacity": 0.75 if self.has_bars else 0.9}, unordered, colour, words)
        if self.has_bars and {"point", "bar"} & set(marks):
            ink = {"color": {"value": INK["light"]}} if "bar" in marks and "point" not in marks else colour
            add({"type": "rule", "strokeWidth": 1.6, "aria": False}, unordered, interval, ink, where=known)
        if "line" in marks:
            line = {"description": {"field": "kind"}} if self._marking() else {}
            add({"type": "line", "strokeWidth": 2, "opacity": 1}, axes, colour, self._dashed(), apart, line)
        if "point" in marks:
            add({"type": "point", "filled": True, "size": 52, "opacity": 1}, unordered, colour, self._shaped(), words)
        elif "line" in marks:
            # A line of one point is no line.
            add(
                {"type": "point", "filled": True, "size": 40, "opacity": 1},
                unordered,
                colour,
                words,
                where="datum.alone",
            )
        if "text" in marks:
            on_cells = "heat" in marks
            written = {"text": {"field": "text"}}
            size = 12 if on_cells and self.inner > 400 else 11
            place: Spec = {"fontSize": size} if on_cells else {"dy": -11, "fontSize": size}
            if on_cells and self._lines > 1:
                # Vega puts the first line into the middle.
                place["dy"] = -(size + 2) * (self._lines - 1) / 2
            for shade in [light for light, _ in ON_CELLS.values()] if on_cells else [MUTED["light"]]:
                where = f"datum.ink == '{shade}'" if on_cells else None
                add({"type": "text", "aria": False, "color": shade, **place}, unordered, written, where=where)
        return layers

    def _cells(self) -> Spec:
        steps = self.drawing.steps
        assert steps is not None
        colours = cell_colours("light", steps.n, is_signed=steps.is_signed)
        if not steps.limits:
            return {"color": {"value": colours[0]}}
        legend = None
        if not self.look.is_preview:
            legend = {
                "title": _spaced(self.figure.value or ""), "direction": "horizontal", "format": ",.5~g",
                "gradientLength": min(self.inner, 300), "gradientThickness": 10, "gradientStrokeColor": GRID["light"],
            }  # fmt: skip
        scale = {"type": "threshold", "domain": steps.limits, "range": colours}
        return {"color": {"field": "value", "type": "quantitative", "scale": scale, "legend": legend}}


def _columns(n_panels: int, most: int) -> int:
    """Panels side by side, so that rows are equally long where that is possible."""
    if n_panels <= most:
        return max(n_panels, 1)
    return next((columns for columns in range(most, 1, -1) if n_panels % columns == 0), most)


def _name(value: object) -> str:
    """A value as it stands in a legend, in a panel's heading or below an axis, where no text is endless."""
    text = label(value)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def _wants_light(colour: str) -> bool:
    """Whether white stands out from a colour more than black does: below a luminance of √(1.05 · 0.05) − 0.05."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    luminance: float = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return luminance < 0.179


def _rounded(value: float) -> float:
    """Seven digits are more than a picture shows."""
    return float(f"{value:.7g}")


def _number(value: object) -> str:
    return label(float(f"{value:.4g}")) if isinstance(value, float) and is_known(value) else label(value)


def _spaced(name: str) -> str:
    return label(name.replace("_", " "))
