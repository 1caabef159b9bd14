"""Numbers as a reader sees them; what is unknown (``None``, ``nan``) is a dash, never 0."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

UNKNOWN = "–"
MINUS = "−"


def is_known(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number.

    >>> is_known(0.0), is_known(None), is_known(float("nan"))
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimal(value: object, digits: int = 2, *, signed: bool = False) -> str:
    """A fixed number of decimals and a true minus sign; a value that rounds to 0 has no sign.

    >>> decimal(-0.314), decimal(0.5, 1, signed=True), decimal(-0.001), decimal(None)
    ('−0.31', '+0.5', '0.00', '–')
    """
    if not is_known(value):
        return UNKNOWN
    text = f"{abs(value):,.{digits}f}"
    if not any(character in "123456789" for character in text):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def score(value: object) -> str:
    """A gold or proxy score, in standard deviations of gold, relative to the base policy."""
    return decimal(value, 2, signed=True)


def coefficient(value: object) -> str:
    """alpha, beta, a slope or a correlation: three decimals."""
    return decimal(value, 3)


def percent(value: object, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.666), percent(None)
    ('66.6 %', '–')
    """
    return f"{decimal(100 * value, digits)} %" if is_known(value) else UNKNOWN


def nats(value: object) -> str:
    """A KL without its unit; one decimal is enough from 10 nats on."""
    return decimal(value, 1 if is_known(value) and abs(value) >= 10 else 2)


def count(value: object) -> str:
    """A whole number with thousands separated.

    >>> count(10000), count(2.5), count(None)
    ('10,000', '2.50', '–')
    """
    if not is_known(value):
        return UNKNOWN
    return decimal(value, 0 if float(value).is_integer() else 2)


def short_count(value: object) -> str:
    """A number of parameters, to three digits.

    >>> short_count(37_000), short_count(1_053_824), short_count(740), short_count(2.5e9)
    ('37k', '1.05M', '740', '2.5B')
    """
    if not is_known(value):
        return UNKNOWN
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def seconds(value: object) -> str:
    """A duration.

    >>> seconds(3.21), seconds(125), seconds(7322), seconds(None)
    ('3.2 s', '2 min 05 s', '2 h 02 min', '–')
    """
    if not is_known(value):
        return UNKNOWN
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def interval(bounds: object, digits: int = 2, *, signed: bool = False) -> str:
    """Both ends of an interval in brackets; a dash for an end that is unknown or unbounded.

    >>> interval([0.1, None]), interval(None)
    ('[0.10, –]', '[–]')
    """
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return f"[{UNKNOWN}]"
    low, high = (decimal(bound, digits, signed=signed) for bound in bounds)
    return f"[{UNKNOWN}]" if low == high == UNKNOWN else f"[{low}, {high}]"


def score_interval(bounds: object) -> str:
    """The interval of a score."""
    return interval(bounds, 2, signed=True)


def percent_interval(bounds: object) -> str:
    """The interval of a share, in per cent."""
    if isinstance(bounds, Sequence) and not isinstance(bounds, str):
        return interval([100 * bound if is_known(bound) else None for bound in bounds], 1)
    return interval(None)


def with_error(estimate: object, digits: int = 1) -> str:
    """An estimate as ``value ± standard error``; takes the object that ``Estimate`` becomes in JSON, or a number.

    >>> with_error({"value": 12.34, "stderr": 0.56}), with_error(3), with_error(None)
    ('12.3 ± 0.6', '3.0 ± –', '–')
    """
    value, error = (
        (estimate.get("value"), estimate.get("stderr")) if isinstance(estimate, Mapping) else (estimate, None)
    )
    return f"{decimal(value, digits)} ± {decimal(error, digits)}" if is_known(value) else UNKNOWN
