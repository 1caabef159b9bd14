"""Arithmetic, comparison and lookup of program values, each bounded before it is computed.

No function here calls back into the program.
"""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import (
    Host,
    advance,
    collect,
    key,
    measure,
    native,
    refuse_inert,
)
from overopt.envs.program.texts import percent
from overopt.envs.program.values import (
    MISSING,
    ClassValue,
    InstanceValue,
    IteratorValue,
    SetValue,
    UnsupportedConstruct,
    Value,
    type_name,
)

_NUMBERS = (int, float)


def _is_number(value: Value) -> bool:
    return isinstance(value, _NUMBERS)


def _bits(value: Value) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _checked(host: Host, value: Value) -> Value:
    if type(value) is int:
        host.meter.bits(value.bit_length())
    elif type(value) is complex:
        raise UnsupportedConstruct("complex numbers")
    return value


def _add(left: Value, right: Value) -> Value:
    return left + right


def _subtract(left: Value, right: Value) -> Value:
    return left - right


def _multiply(left: Value, right: Value) -> Value:
    return left * right


_ARITHMETIC: Mapping[type[ast.operator], tuple[str, Callable[[Value, Value], Value]]] = {
    ast.Add: ("+", _add),
    ast.Sub: ("-", _subtract),
    ast.Mult: ("*", _multiply),
    ast.Div: ("/", lambda a, b: a / b),
    ast.FloorDiv: ("//", lambda a, b: a // b),
    ast.Mod: ("%", lambda a, b: a % b),
    ast.Pow: ("** or pow()", lambda a, b: a**b),
    ast.BitAnd: ("&", lambda a, b: a & b),
    ast.BitOr: ("|", lambda a, b: a | b),
    ast.BitXor: ("^", lambda a, b: a ^ b),
    ast.LShift: ("<<", lambda a, b: a << b),
    ast.RShift: (">>", lambda a, b: a >> b),
}


def binary(host: Host, operator: type[ast.operator], left: Value, right: Value) -> Value:
    """``left operator right``."""
    meter = host.meter
    if operator not in _ARITHMETIC:
        raise UnsupportedConstruct(f"operator {operator.__name__}")
    symbol, function = _ARITHMETIC[operator]
    if _is_number(left) and _is_number(right):
        if operator is ast.Mult:
            meter.bits(_bits(left) + _bits(right) - 1)
        elif operator is ast.Pow and isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
            meter.bits((_bits(left) - 1) * right)
        elif operator is ast.LShift and isinstance(left, int) and isinstance(right, int) and left:
            meter.bits(_bits(left) + right)
        return _checked(host, native(host, function, left, right))
    if operator is ast.Add:
        if isinstance(left, str) and isinstance(right, str):
            meter.text(len(left) + len(right))
            return left + right
        if isinstance(left, list | tuple) and type(left) is type(right):
            meter.items(len(left) + len(right))
            return native(host, function, left, right)
    if operator is ast.Mult:
        if isinstance(left, int) and isinstance(right, str | list | tuple):
            left, right = right, left
        if isinstance(left, str | list | tuple) and isinstance(right, int):
            size = len(left) * max(int(right), 0)
            (meter.text if isinstance(left, str) else meter.items)(size)
            return left * (int(right) if left else 0)
    if operator is ast.Mod and isinstance(left, str):
        return percent(host, left, right)
    if isinstance(left, SetValue) and isinstance(right, SetValue):
        combined = combine_sets(host, operator, left, right)
        if combined is not None:
            return combined
    if operator is ast.BitOr and isinstance(left, dict) and isinstance(right, dict):
        meter.items(len(left) + len(right))
        return {**left, **right}
    refuse_inert(left, right)
    if isinstance(left, InstanceValue | ClassValue) or isinstance(right, InstanceValue | ClassValue):
        symbol = symbol.replace("** or pow()", "**")
    host.fail("TypeError", f"unsupported operand type(s) for {symbol}: '{type_name(left)}' and '{type_name(right)}'")


def combine_sets(host: Host, operator: type[ast.operator], left: SetValue, right: SetValue) -> SetValue | None:
    """Union, intersection, difference or symmetric difference; ``None`` for another operator."""
    host.meter.items(len(left.items) + len(right.items))
    if operator is ast.BitOr:
        return SetValue({**left.items, **right.items})
    if operator is ast.BitAnd:
        return SetValue({item: None for item in left.items if item in right.items})
    if operator is ast.Sub:
        return SetValue({item: None for item in left.items if item not in right.items})
    if operator is ast.BitXor:
        only_left = {item: None for item in left.items if item not in right.items}
        return SetValue({**only_left, **{item: None for item in right.items if item not in left.items}})
    return None


def unary(host: Host, operator: type[ast.unaryop], value: Value) -> Value:
    """``-x``, ``+x`` or ``~x``."""
    symbol = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}[operator]
    if _is_number(value) and not (operator is ast.Invert and isinstance(value, float)):
        # int() first: the host warns when it inverts a bool.
        number = int(value) if isinstance(value, bool) else value
        return -number if operator is ast.USub else +number if operator is ast.UAdd else ~number
    refuse_inert(value)
    host.fail("TypeError", f"bad operand type for unary {symbol}: '{type_name(value)}'")


def equal(host: Host, left: Value, right: Value) -> bool:
    """``left == right``."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        return bool(left == right)
    refuse_inert(left, right)
    measure(host.meter, left)
    measure(host.meter, right)
    return bool(native(host, lambda: left == right))


def same(left: Value, right: Value) -> bool:
    """``left is right``, where equal numbers and strings of one type count as one object."""
    if type(left) is type(right) and isinstance(left, int | float | str):
        return bool(left == right)
    return left is right


_ORDER: Mapping[type[ast.cmpop], tuple[str, Callable[[Value, Value], bool]]] = {
    ast.Lt: ("<", lambda a, b: bool(a < b)),
    ast.LtE: ("<=", lambda a, b: bool(a <= b)),
    ast.Gt: (">", lambda a, b: bool(a > b)),
    ast.GtE: (">=", lambda a, b: bool(a >= b)),
}


def compare(host: Host, operator: type[ast.cmpop], left: Value, right: Value) -> bool:
    """One comparison."""
    if operator is ast.Eq:
        return equal(host, left, right)
    if operator is ast.NotEq:
        return not equal(host, left, right)
    if operator is ast.Is:
        return same(left, right)
    if operator is ast.IsNot:
        return not same(left, right)
    if operator is ast.In:
        return contains(host, right, left)
    if operator is ast.NotIn:
        return not contains(host, right, left)
    symbol, function = _ORDER[operator]
    if _is_number(left) and _is_number(right):
        return function(left, right)
    if isinstance(left, str | list | tuple) and type(left) is type(right):
        measure(host.meter, left)
        measure(host.meter, right)
        return bool(native(host, function, left, right))
    if isinstance(left, SetValue) and isinstance(right, SetValue):
        host.meter.charge(len(left.items) + len(right.items))
        return function(left.items.keys(), right.items.keys())
    refuse_inert(left, right)
    host.fail(
        "TypeError",
        f"'{symbol}' not supported between instances of '{type_name(left)}' and '{type_name(right)}'",
    )


def charge_search(host: Host, text: str, wanted: str) -> None:
    """Pay for a search whose worst case grows with both lengths."""
    host.meter.charge(1 + len(text) // 8 * (1 + len(wanted) // 64))


def contains(host: Host, container: Value, item: Value) -> bool:
    """``item in container``."""
    if isinstance(container, str):
        if not isinstance(item, str):
            host.fail("TypeError", f"'in <string>' requires string as left operand, not {type_name(item)}")
        charge_search(host, container, item)
        return item in container
    if isinstance(container, dict):
        return key(host, item) in container
    if isinstance(container, SetValue):
        return key(host, item) in container.items
    if isinstance(container, list | tuple):
        measure(host.meter, item)
        return any(part is item or equal(host, part, item) for part in container)
    if isinstance(container, range):
        # The host searches a range item by item for anything but a whole number.
        if isinstance(item, float):
            return item.is_integer() and int(item) in container
        return isinstance(item, int) and item in container
    if isinstance(container, IteratorValue):
        while (part := advance(host, container.items)) is not MISSING:
            host.meter.charge(1)
            if part is item or equal(host, part, item):
                return True
        return False
    refuse_inert(container)
    host.fail("TypeError", f"argument of type '{type_name(container)}' is not iterable")


def item_of(host: Host, container: Value, index: Value) -> Value:
    """``container[index]``; ``index`` may be a slice."""
    if isinstance(container, dict):
        return native(host, lambda: container[key(host, index)])
    if isinstance(container, str | list | tuple | range):
        found = native(host, lambda: container[index])
        if isinstance(index, slice) and not isinstance(found, range):
            host.meter.charge(len(found))
        return found
    refuse_inert(container)
    host.fail("TypeError", f"'{type_name(container)}' object is not subscriptable")


def set_item(host: Host, container: Value, index: Value, value: Value) -> None:
    """``container[index] = value``."""
    if isinstance(container, dict):
        checked = key(host, index)
        if checked not in container:
            if len(container) >= host.meter.limits.items:
                raise BudgetExceeded("items")
            host.meter.charge(1)
        container[checked] = value
    elif isinstance(container, list):
        if isinstance(index, slice):
            new = collect(host, value)
            host.meter.items(len(container) + len(new))
            native(host, container.__setitem__, index, new)
        else:
            native(host, container.__setitem__, index, value)
    else:
        host.fail("TypeError", f"'{type_name(container)}' object does not support item assignment")


def delete_item(host: Host, container: Value, index: Value) -> None:
    """``del container[index]``."""
    if not isinstance(container, dict | list):
        host.fail("TypeError", f"'{type_name(container)}' object doesn't support item deletion")
    host.meter.charge(len(container) // 8)
    native(host, container.__delitem__, key(host, index) if isinstance(container, dict) else index)


def length(host: Host, value: Value) -> int:
    """``len(value)``."""
    if isinstance(value, str | list | tuple | dict | range):
        return int(native(host, len, value))
    if isinstance(value, SetValue):
        return len(value.items)
    refuse_inert(value)
    host.fail("TypeError", f"object of type '{type_name(value)}' has no len()")


def total(host: Host, items: Iterator[Value], start: Value) -> Value:
    """``sum(items, start)``."""
    result = start
    while (item := advance(host, items)) is not MISSING:
        host.meter.step()
        result = binary(host, ast.Add, result, item)
    return result


def as_integer(host: Host, value: Value, base: Value = None) -> int:
    """``int(value)`` or ``int(text, base)``."""
    if isinstance(value, str):
        host.meter.charge(len(value))
        # A digit of base 2 is one bit and one of base 36 at most six; the limit is checked before converting.
        if len(value) > host.meter.limits.bits:
            raise BudgetExceeded("bits")
        number = native(host, int, value) if base is None else native(host, int, value, base)
    elif _is_number(value):
        if base is not None:
            host.fail("TypeError", "int() can't convert non-string with explicit base")
        number = native(host, int, value)
    else:
        refuse_inert(value)
        host.fail(
            "TypeError",
            f"int() argument must be a string, a bytes-like object or a real number, not '{type_name(value)}'",
        )
    return int(_checked(host, number))


def as_float(host: Host, value: Value) -> float:
    """``float(value)``."""
    if isinstance(value, str):
        host.meter.charge(len(value))
    elif not _is_number(value):
        refuse_inert(value)
        host.fail("TypeError", f"float() argument must be a string or a real number, not '{type_name(value)}'")
    return float(native(host, float, value))


def rounded(host: Host, value: Value, digits: Value = None) -> Value:
    """``round(value, digits)``."""
    if not _is_number(value):
        host.fail("TypeError", f"type {type_name(value)} doesn't define __round__ method")
    if digits is None:
        return _checked(host, native(host, round, value))
    if not isinstance(digits, int):
        host.fail("TypeError", f"'{type_name(digits)}' object cannot be interpreted as an integer")
    # round(5, -10**9) would compute 10**10**9 first.
    if abs(digits) > 400:
        raise BudgetExceeded("bits")
    return native(host, round, value, digits)


def mathematics(name: str) -> Callable[[Host, list[Value]], Value]:
    """The function of the host's ``math`` of that name, for finite work on one or two floats."""
    function = _MATH[name]

    def call(host: Host, arguments: list[Value]) -> Value:
        if not 1 <= len(arguments) <= 2 or not all(_is_number(value) for value in arguments):
            host.fail("TypeError", "must be real number")
        return _checked(host, native(host, function, *arguments))

    return call


_MATH: Mapping[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "tanh": math.tanh,
    "sin": math.sin,
    "cos": math.cos,
    "floor": math.floor,
    "ceil": math.ceil,
    "fabs": math.fabs,
    "pow": math.pow,
    "isnan": math.isnan,
    "isinf": math.isinf,
    "isfinite": math.isfinite,
    "isclose": math.isclose,
}


MATH_NAMES = tuple(_MATH)
