"""Sizes and items of program values: what is measured before the host may compare, hash, write or copy them.

Shared or cyclic structure makes equality, order, hashing and text of a small list unbounded; counting comes first.
"""

from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from overopt.envs.program.limits import BudgetExceeded, Meter
from overopt.envs.program.values import (
    MISSING,
    ApproxValue,
    InertValue,
    IteratorValue,
    ModuleValue,
    SetValue,
    UnsupportedConstruct,
    Value,
    type_name,
)

VALUE_DEPTH = 30


_LONG_KEY_BITS = 60


class Host(Protocol):
    """What operations need of a run."""

    meter: Meter

    def fail(self, kind: str, message: Value) -> NoReturn:
        """Raise an exception inside the program."""


def native(host: Host, function: Callable[..., Value], *arguments: Value) -> Value:
    """Call an operation of the host, turning its refusal into the program's exception."""
    try:
        return function(*arguments)
    except (RecursionError, MemoryError):
        raise BudgetExceeded("depth") from None
    except KeyError as error:
        host.fail("KeyError", error.args[0] if error.args else "")
    except UnicodeError as error:
        host.fail("UnicodeError", str(error))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, IndexError, RuntimeError) as error:
        host.fail(type(error).__name__, str(error))


def measure(meter: Meter, value: Value, depth: int = 0) -> int:
    """Characters and items in ``value``, counting shared parts each time, charged as they are counted."""
    kind = type(value)
    if kind is str:
        meter.charge(1 + len(value) // 8)
        return len(value) + 2
    if kind in (list, tuple, dict, SetValue):
        if depth > VALUE_DEPTH:
            raise BudgetExceeded("depth")
        parts = value.items if kind is SetValue else value
        meter.charge(1 + len(parts))
        total = 2 + len(parts)
        for part in parts:
            total += measure(meter, part, depth + 1)
        if kind is dict:
            for part in value.values():
                total += measure(meter, part, depth + 1)
        return total
    if kind is int:
        return 1 + int(value.bit_length()) // 3
    return 24


def key(host: Host, value: Value) -> Value:
    """``value``, once it is known to be usable as a key of a dict or set."""
    kind = type(value)
    if kind is int:
        # Python hashes integers modulo a prime; longer ones can be made to collide, which makes a dict quadratic.
        if value.bit_length() > _LONG_KEY_BITS:
            raise UnsupportedConstruct("an integer of more than 60 bits as a key")
    elif kind is tuple:
        measure(host.meter, value)
        for part in value:
            key(host, part)
    elif kind in (list, dict, SetValue, ApproxValue):
        host.fail("TypeError", f"unhashable type: '{type_name(value)}'")
    elif kind is str:
        host.meter.charge(1 + len(value) // 8)
    return value


def advance(host: Host, items: Iterator[Value]) -> Value:
    """The next item, or ``MISSING`` at the end."""
    try:
        return next(items, MISSING)
    except RecursionError:
        raise
    except (RuntimeError, ValueError) as error:
        # A dict that changed its size, or a generator that asks for its own next item.
        host.fail(type(error).__name__, str(error))


def iterate(host: Host, value: Value) -> Iterator[Value]:
    """The items of ``value`` one by one; whoever consumes them pays a step for each."""
    if isinstance(value, str | list | tuple | dict | range):
        return iter(value)
    if isinstance(value, SetValue):
        return iter(value.items)
    if isinstance(value, IteratorValue):
        return value.items
    refuse_inert(value)
    host.fail("TypeError", f"'{type_name(value)}' object is not iterable")


def collect(host: Host, value: Value) -> list[Value]:
    """The items of ``value`` as a new list, stopped at the limit and not after it."""
    if isinstance(value, list | tuple | dict | str):
        host.meter.items(len(value))
        return list(value)
    found: list[Value] = []
    meter = host.meter
    source = iterate(host, value)
    while True:
        item = advance(host, source)
        if item is MISSING:
            break
        if len(found) >= meter.limits.items:
            raise BudgetExceeded("items")
        meter.charge(1)
        found.append(item)
    return found


def refuse_inert(*values: Value) -> None:
    for value in values:
        if isinstance(value, InertValue):
            raise UnsupportedConstruct(value.name)
        if isinstance(value, ModuleValue) and value.inert:
            raise UnsupportedConstruct(f"module {value.name}")
