"""A figure of an answer made ready to be drawn: which rows have a place, how far the axes reach, which colours occur.

Rows without a position are left out and counted. Channels keep the order of their values, so that a value has one
colour however many panels and widths a figure is drawn in.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.errors import DataError
from overopt.records.answers import Axis, Channel, FigureData
from overopt.reports.answer_scales import Range, Steps, has_place, label, ordered_values, steps_of, x_range, y_range
from overopt.reports.numbers import is_known
from overopt.reports.palette import AXIS, GRID, INK, MUTED, Scheme, cell_colours, kind_colours, size_colours

# Words on a cell are dark or light on either ground; four nearly equal pairs keep the four cases apart.
ON_CELLS = {
    (False, False): ("#1c2127", "#14171a"), (False, True): ("#1c2128", "#f4f6f8"),
    (True, False): ("#fefefe", "#14171b"), (True, True): ("#fefeff", "#f4f6f9"),
}  # fmt: skip


def figure_from(found: Mapping[str, Any]) -> FigureData:
    """The figure that a JSON object describes.

    Raises
    ------
    DataError
        If it names columns that its rows do not have, or marks that there are not.
    """
    if absent := [name for name in ("x", "y") if not (found.get(name) or {}).get("field")]:
        raise DataError(f"figure {found.get('name')} has no column for {' and '.join(absent)}")
    axes = {name: Axis(**{"title": "", **_known(Axis, found[name])}) for name in ("x", "y")}
    channels = {
        name: Channel(**{"title": "", **_known(Channel, found[name]), "values": tuple(found[name].get("values") or ())})
        for name in ("colour", "shape", "dash", "panel")
        if found.get(name)
    }
    return FigureData(
        **{
            "title": "",
            "caption": "",
            **_known(FigureData, found),
            **axes,
            **channels,
            "marks": tuple(found.get("marks") or ()),
        }
    )


def _known(kind: type, found: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in found.items() if name in names and value is not None}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with what is needed to draw it at any width."""

    figure: FigureData
    rows: list[Mapping[str, Any]]
    """Those that have a position."""
    domains: dict[str, list[object]]
    """Values of each channel, by column, in the order of the legend."""
    x: Range | list[object]
    y: Range | list[object]
    steps: Steps | None
    n_left_out: int
    is_cut: bool
    """Whether an interval reaches beyond the frame."""

    @classmethod
    def of(cls, figure: FigureData) -> "Drawing | None":
        """``None`` when no row can be drawn."""
        rows = list(figure.rows)
        is_heat = "heat" in figure.marks
        x_steps = is_heat or "bar" in figure.marks or _has_words(rows, figure.x.field)
        y_steps = is_heat or _has_words(rows, figure.y.field)
        kept = [
            row for row in rows
            if (x_steps or has_place(row.get(figure.x.field), figure.x.scale))
            and (y_steps or has_place(row.get(figure.y.field), figure.y.scale))
        ]  # fmt: skip
        if is_heat:
            kept = [row for row in kept if is_known(row.get(figure.value or ""))]
        if not kept:
            return None
        domains = {
            channel.field: list(channel.values) + [
                value for value in ordered_values(rows, channel.field) if value not in channel.values
            ]
            for channel in (figure.colour, figure.shape, figure.dash, figure.panel) if channel
        }  # fmt: skip
        values = {"x": [row[figure.x.field] for row in kept], "y": [row[figure.y.field] for row in kept]}
        from_zero = figure.y if "bar" not in figure.marks else dataclasses.replace(figure.y, from_zero=True)
        ends = [row.get(end) for row in kept for end in (figure.low, figure.high) if end]
        x = ordered_values(kept, figure.x.field) if x_steps else x_range(figure.x, values["x"])
        y = (
            ordered_values(kept, figure.y.field)[:: -1 if is_heat else 1]
            if y_steps
            else y_range(from_zero, values["y"], [end for end in ends if end is not None], figure.reference)
        )
        steps = steps_of([row[figure.value or ""] for row in kept]) if is_heat else None
        is_cut = isinstance(y, Range) and any(y.held(end) != end for end in ends if is_known(end))
        return cls(figure, kept, domains, x, y, steps, len(rows) - len(kept), is_cut)

    @property
    def notes(self) -> list[str]:
        """What the picture does not show."""
        found = []
        if self.n_left_out:
            rows = "1 row is" if self.n_left_out == 1 else f"{label(self.n_left_out)} rows are"
            found.append(f"{rows} not drawn: a number is unknown or has no place on the axis.")
        if self.is_cut:
            found.append("Intervals that touch the frame go on beyond it.")
        return found

    def first_panel(self) -> "Drawing":
        """The rows of the first panel alone, in the colours that they have among all."""
        panel = self.figure.panel
        if panel is None:
            return self
        first = next(
            value for value in self.domains[panel.field] if any(row.get(panel.field) == value for row in self.rows)
        )
        rows = [row for row in self.figure.rows if row.get(panel.field) == first]
        kept = {
            name: dataclasses.replace(channel, values=tuple(self.domains[channel.field]))
            for name in ("colour", "shape", "dash") if (channel := getattr(self.figure, name)) is not None
        }  # fmt: skip
        return Drawing.of(dataclasses.replace(self.figure, rows=rows, panel=None, **kept)) or self

    def colours(self, scheme: Scheme) -> list[str]:
        """One for each value of the colour channel; one for a figure without."""
        channel = self.figure.colour
        if channel is None:
            return kind_colours(scheme, 1)
        make = size_colours if channel.is_ordered else kind_colours
        return make(scheme, max(len(self.domains[channel.field]), 1))

    def pairs(self) -> dict[str, str]:
        """Each colour that may be drawn on a light ground → the one for a dark ground."""
        found = dict(zip(self.colours("light"), self.colours("dark"), strict=True))
        found |= {role["light"]: role["dark"] for role in (INK, MUTED, GRID, AXIS)}
        if self.steps is not None:
            cells = [cell_colours(scheme, self.steps.n, is_signed=self.steps.is_signed) for scheme in ("light", "dark")]
            found |= dict(zip(*cells, strict=True)) | dict(ON_CELLS.values())
        return found


def _has_words(rows: Sequence[Mapping[str, Any]], field: str) -> bool:
    return any(isinstance(row.get(field), str | bool) for row in rows)
