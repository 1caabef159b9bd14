"""Axes of an answer's figures: which positions a row can take, how far they reach, and how their numbers read.

A position is a number on a linear, root or logarithmic scale, or a step of a discrete one. Points that share a place
are set side by side here, in the units of the scale, so that a line goes through its own points.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.records.answers import Axis, Scale
from overopt.reports.numbers import count, is_known

DODGE_PIXELS = 10.0
TICK_WORDS = "abs(datum.value) >= 10000 ? replace(format(datum.value, '.3~s'), 'G', 'B') : format(datum.value, ',.5~g')"
MANY_TICKS = 10
FEW_TICKS = 6
"""Up to so many values have a tick each, on a logarithmic axis and on others."""
_PADDING = 0.04


@dataclass(frozen=True, slots=True)
class Range:
    """A quantitative axis and what it covers."""

    scale: Scale
    low: float
    high: float

    def place(self, value: float) -> float:
        """0 at ``low``, 1 at ``high``."""
        low, high = _forward(self.scale, self.low), _forward(self.scale, self.high)
        return (_forward(self.scale, value) - low) / (high - low)

    def shifted(self, value: float, share: float) -> float:
        """The value that lies ``share`` of the axis to the right."""
        low, high = _forward(self.scale, self.low), _forward(self.scale, self.high)
        return _backward(self.scale, _forward(self.scale, value) + share * (high - low))

    def held(self, value: float) -> float:
        """The value, or the end of the axis that it lies beyond."""
        return min(max(value, self.low), self.high)


def has_place(value: object, scale: Scale) -> bool:
    """Whether a number can stand on the scale: a logarithm needs it above 0, a root not below."""
    return is_known(value) and (value > 0 if scale == "log" else value >= 0 if scale == "sqrt" else True)


def x_range(axis: Axis, values: Sequence[float]) -> Range:
    """What the values cover, with a little room."""
    return _padded(axis, values)


def y_range(axis: Axis, values: Sequence[float], ends: Iterable[float], reference: float | None) -> Range:
    """The values and the reference; of their intervals at most half as much again, lest one wide one flatten all."""
    known = [*values, *([reference] if has_place(reference, axis.scale) and reference is not None else [])]
    if axis.from_zero and axis.scale != "log":
        known.append(0.0)
    places = [_forward(axis.scale, value) for value in known]
    low, high = min(places), max(places)
    reach = [_forward(axis.scale, end) for end in ends if has_place(end, axis.scale)]
    room = (high - low) / 2 or math.inf
    low, high = max(min([low, *reach]), low - room), min(max([high, *reach]), high + room)
    return _padded(axis, [_backward(axis.scale, low), _backward(axis.scale, high)])


def _padded(axis: Axis, values: Sequence[float]) -> Range:
    places = [_forward(axis.scale, value) for value in values]
    if axis.from_zero and axis.scale != "log":
        places.append(0.0)
    low, high = min(places), max(places)
    room = _PADDING * (high - low) or abs(low) / 10 or 1.0
    if axis.scale == "log" and low == high:
        room = math.log(2)
    starts_at_zero = (low >= 0 and axis.scale == "sqrt") or (low == 0 and axis.from_zero)
    low = 0.0 if starts_at_zero and low - room < 0 else low - room
    high = 0.0 if high == 0 and axis.from_zero and low < 0 else high + room
    return Range(axis.scale, _backward(axis.scale, low), _backward(axis.scale, high))


def _forward(scale: Scale, value: float) -> float:
    return math.log(value) if scale == "log" else math.sqrt(max(value, 0.0)) if scale == "sqrt" else value


def _backward(scale: Scale, place: float) -> float:
    return math.exp(place) if scale == "log" else max(place, 0.0) ** 2 if scale == "sqrt" else place


def dodged(axis: Range, places: Sequence[tuple[float, str]], order: Sequence[str], pixels: float) -> list[float]:
    """Each x moved sideways by its kind, so that intervals at one x stand beside each other.

    Parameters
    ----------
    places : sequence of (x, kind)
        One a row.
    order : sequence of str
        Kinds from left to right.
    pixels : float
        Length of the axis.
    """
    present = [kind for kind in order if any(kind == name for _, name in places)]
    distinct = sorted({axis.place(x) for x, _ in places})
    gap = min((right - left for left, right in itertools.pairwise(distinct)), default=1.0)
    step = min(DODGE_PIXELS / pixels, 0.7 * gap / max(len(present), 1))
    middle = (len(present) - 1) / 2
    return [axis.shifted(x, step * (present.index(kind) - middle)) for x, kind in places]


def root_ticks(axis: Range) -> list[float]:
    """Round numbers that stand apart on a root axis: 0, 1, 5, 10, 20, 50."""
    top = 10.0 ** math.ceil(math.log10(axis.high))
    candidates = [*(top * factor / 10**power for power in range(6, -1, -1) for factor in (1, 2, 5))]
    found: list[float] = []
    for value in reversed([value for value in candidates if axis.low <= value <= axis.high]):
        ends = [axis.place(found[-1])] if found else []
        if all(end - axis.place(value) > 0.1 for end in ends) and axis.place(value) > 0.08:
            found.append(float(f"{value:.6g}"))
    return [*([0.0] if axis.low <= 0 else []), *found[::-1]]


def label(value: object) -> str:
    """A value of a channel or a discrete axis in words: ``1,024``, ``0.05``, ``yes``, ``unknown``.

    >>> label(1024.0), label(0.05), label(None), label("a\\x1bb")
    ('1,024', '0.05', 'unknown', 'a�b')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if not is_known(value):
            return "unknown"
        return count(value) if float(value).is_integer() else f"{value:.6g}".replace("-", "−")
    if value is None:
        return "unknown"
    # A picture is XML, which has no control characters, and its texts stand in one line.
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in str(value)
    )


def ordered_values(rows: Iterable[Mapping[str, Any]], field: str) -> list[object]:
    """The distinct values of a column: numbers by size, anything else as it comes, what is unknown last."""
    found = list(dict.fromkeys(row.get(field) for row in rows))
    known = [value for value in found if value is not None]
    if all(isinstance(value, int | float) for value in known):
        known.sort(key=float)
    return known + [None] * (None in found)


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a heat map's colour."""

    limits: list[float]
    """Where one colour ends and the next begins."""
    is_signed: bool
    digits: int
    """Decimals that tell two steps apart."""

    @property
    def n(self) -> int:
        """Number of colours."""
        return len(self.limits) + 1

    def index(self, value: float) -> int:
        """Place of a value's colour, 0 for the lowest."""
        return sum(value >= limit for limit in self.limits)


def steps_of(values: Sequence[float]) -> Steps:
    """At most eleven steps of a round width; steps of values on both sides of 0 are alike on both."""
    low, high = min(values), max(values)
    is_signed = low < 0 < high
    span = 2 * max(-low, high) if is_signed else high - low
    if span == 0:
        return Steps([], False, _digits(abs(high) or 1.0))
    power = 10.0 ** math.floor(math.log10(span / 9))
    width = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span / 9 * (1 - 1e-9))
    if is_signed:
        # The middle step holds 0, so that a value of no size has no colour.
        half = max(math.ceil((max(-low, high) - width / 2) / width), 1)
        limits = [(index - half + 0.5) * width for index in range(2 * half)]
    else:
        first, last = math.floor(low / width + 1e-9) + 1, math.ceil(high / width - 1e-9) - 1
        limits = [index * width for index in range(first, last + 1)]
    return Steps([float(f"{limit:.10g}") for limit in limits], is_signed, _digits(width))


def _digits(width: float) -> int:
    """One more decimal than the width of a step needs."""
    return min(max(0, 1 - math.floor(math.log10(width) + 1e-9)), 6)
