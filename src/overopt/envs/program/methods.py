"""Methods of numbers, lists, tuples, dicts and sets. Each is named here; nothing is looked up on the host."""

import ast
from collections.abc import Callable, Mapping

from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import collect, key, measure, native
from overopt.envs.program.operations import combine_sets, compare, equal, set_item
from overopt.envs.program.run import Run
from overopt.envs.program.string_methods import STRING, Method, no_keywords
from overopt.envs.program.texts import represent
from overopt.envs.program.values import (
    SetValue,
    Value,
    truth,
    type_name,
)


def _arity(run: Run, name: str, arguments: list[Value], keywords: dict[str, Value], low: int, high: int) -> None:
    no_keywords(run, keywords)
    if not low <= len(arguments) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        run.fail("TypeError", f"{name}() takes {wanted} arguments ({len(arguments)} given)")


def _sized(name: str, low: int, high: int, function: Callable[[Run, Value, list[Value]], Value]) -> Method:
    def method(run: Run, receiver: Value, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        _arity(run, name, arguments, keywords, low, high)
        return function(run, receiver, arguments)

    return method


def _append(run: Run, items: list[Value], arguments: list[Value]) -> None:
    if len(items) >= run.meter.limits.items:
        raise BudgetExceeded("items")
    items.append(arguments[0])


def _extend(run: Run, items: list[Value], arguments: list[Value]) -> None:
    new = collect(run, arguments[0])
    run.meter.items(len(items) + len(new))
    items.extend(new)


def _insert(run: Run, items: list[Value], arguments: list[Value]) -> None:
    if len(items) >= run.meter.limits.items:
        raise BudgetExceeded("items")
    run.meter.charge(len(items) // 8)
    native(run, items.insert, *arguments)


def _pop(run: Run, items: list[Value], arguments: list[Value]) -> Value:
    run.meter.charge(len(items) // 8)
    return native(run, items.pop, *arguments)


def _position(run: Run, items: list[Value], arguments: list[Value]) -> int:
    for index, item in enumerate(items):
        if item is arguments[0] or equal(run, item, arguments[0]):
            return index
    run.fail("ValueError", f"{represent(run, arguments[0])} is not in {type_name(items)}")


def _remove(run: Run, items: list[Value], arguments: list[Value]) -> None:
    for index, item in enumerate(items):
        if item is arguments[0] or equal(run, item, arguments[0]):
            del items[index]
            return
    run.fail("ValueError", "list.remove(x): x not in list")


def _count(run: Run, items: list[Value], arguments: list[Value]) -> int:
    return sum(1 for item in items if item is arguments[0] or equal(run, item, arguments[0]))


def ordered(run: Run, values: list[Value], keywords: dict[str, Value]) -> list[Value]:
    """``sorted(values, key=…, reverse=…)``: a stable merge by the program's own order."""
    if set(keywords) - {"key", "reverse"}:
        run.fail("TypeError", "sort() got an unexpected keyword argument")
    function = keywords.get("key")
    pairs = [(value if function is None else run.call(function, [value]), value) for value in values]
    backwards = truth(keywords.get("reverse", False))
    if all(type(mark) in (int, float, bool) for mark, _ in pairs) or all(type(mark) is str for mark, _ in pairs):
        run.meter.charge(sum(measure(run.meter, mark) for mark, _ in pairs) // 4)
        return [value for _, value in sorted(pairs, key=lambda pair: pair[0], reverse=backwards)]

    def merged(part: list[tuple[Value, Value]]) -> list[tuple[Value, Value]]:
        if len(part) < 2:
            return part
        middle = len(part) // 2
        left, right = merged(part[:middle]), merged(part[middle:])
        result: list[tuple[Value, Value]] = []
        i = j = 0
        while i < len(left) and j < len(right):
            run.meter.step()
            # The right item goes first only if it must: equal items keep their order, backwards too.
            low, high = (right[j], left[i]) if not backwards else (left[i], right[j])
            take_left = not compare(run, ast.Lt, low[0], high[0])
            if take_left:
                result.append(left[i])
                i += 1
            else:
                result.append(right[j])
                j += 1
        return [*result, *left[i:], *right[j:]]

    return [value for _, value in merged(pairs)]


def _sort(run: Run, items: list[Value], arguments: list[Value], keywords: dict[str, Value]) -> None:
    if arguments:
        run.fail("TypeError", "sort() takes no positional arguments")
    items[:] = ordered(run, list(items), keywords)


def _copied(run: Run, value: Value, _: list[Value]) -> Value:
    run.meter.charge(len(value))
    return value.copy()


LIST: Mapping[str, Method] = {
    "append": _sized("append", 1, 1, _append),
    "extend": _sized("extend", 1, 1, _extend),
    "insert": _sized("insert", 2, 2, _insert),
    "pop": _sized("pop", 0, 1, _pop),
    "remove": _sized("remove", 1, 1, _remove),
    "index": _sized("index", 1, 1, _position),
    "count": _sized("count", 1, 1, _count),
    "reverse": _sized("reverse", 0, 0, lambda run, items, _: items.reverse()),
    "clear": _sized("clear", 0, 0, lambda run, items, _: items.clear()),
    "copy": _sized("copy", 0, 0, _copied),
    "sort": _sort,
}
TUPLE: Mapping[str, Method] = {
    "index": _sized("index", 1, 1, _position),
    "count": _sized("count", 1, 1, _count),
}


def _listed(select: Callable[[dict[Value, Value]], list[Value]]) -> Method:
    def function(run: Run, table: dict[Value, Value], _: list[Value]) -> list[Value]:
        run.meter.charge(len(table))
        return select(table)

    return _sized("view", 0, 0, function)


def _get(run: Run, table: dict[Value, Value], arguments: list[Value]) -> Value:
    return table.get(key(run, arguments[0]), arguments[1] if len(arguments) > 1 else None)


def _dict_pop(run: Run, table: dict[Value, Value], arguments: list[Value]) -> Value:
    return native(run, table.pop, key(run, arguments[0]), *arguments[1:])


def _set_default(run: Run, table: dict[Value, Value], arguments: list[Value]) -> Value:
    checked = key(run, arguments[0])
    if checked not in table:
        set_item(run, table, checked, arguments[1] if len(arguments) > 1 else None)
    return table[checked]


def pairs_of(run: Run, value: Value) -> dict[Value, Value]:
    """What ``dict(value)`` holds."""
    if isinstance(value, dict):
        run.meter.charge(len(value))
        return dict(value)
    table: dict[Value, Value] = {}
    for index, pair in enumerate(collect(run, value)):
        parts = collect(run, pair)
        if len(parts) != 2:
            run.fail(
                "ValueError",
                f"dictionary update sequence element #{index} has length {len(parts)}; 2 is required",
            )
        table[key(run, parts[0])] = parts[1]
    return table


def _update(run: Run, table: dict[Value, Value], arguments: list[Value], keywords: dict[str, Value]) -> None:
    if len(arguments) > 1:
        run.fail("TypeError", f"update expected at most 1 argument, got {len(arguments)}")
    new = pairs_of(run, arguments[0]) if arguments else {}
    run.meter.items(len(table) + len(new) + len(keywords))
    table.update(new)
    table.update(keywords)


DICT: Mapping[str, Method] = {
    "get": _sized("get", 1, 2, _get),
    "keys": _listed(list),
    "values": _listed(lambda table: list(table.values())),
    "items": _listed(lambda table: list(table.items())),
    "pop": _sized("pop", 1, 2, _dict_pop),
    "popitem": _sized("popitem", 0, 0, lambda run, table, _: native(run, table.popitem)),
    "setdefault": _sized("setdefault", 1, 2, _set_default),
    "clear": _sized("clear", 0, 0, lambda run, table, _: table.clear()),
    "copy": _sized("copy", 0, 0, _copied),
    "update": _update,
}


def set_of(run: Run, value: Value) -> SetValue:
    """``set(value)``."""
    return SetValue({key(run, item): None for item in collect(run, value)})


def _set_operation(operator: type[ast.operator], update: bool = False) -> Method:
    def function(run: Run, receiver: SetValue, arguments: list[Value]) -> Value:
        result = SetValue(dict(receiver.items))
        for argument in arguments:
            combined = combine_sets(run, operator, result, set_of(run, argument))
            assert combined is not None
            result = combined
        if update:
            receiver.items = result.items
            return None
        return result

    return _sized("set operation", 0, 8, function)


def _add(run: Run, receiver: SetValue, arguments: list[Value]) -> None:
    run.meter.charge(1)
    if len(receiver.items) >= run.meter.limits.items:
        raise BudgetExceeded("items")
    receiver.items.setdefault(key(run, arguments[0]))


def _discard(run: Run, receiver: SetValue, arguments: list[Value]) -> None:
    receiver.items.pop(key(run, arguments[0]), None)


def _set_remove(run: Run, receiver: SetValue, arguments: list[Value]) -> None:
    native(run, receiver.items.pop, key(run, arguments[0]))


def _clear_set(run: Run, receiver: SetValue, arguments: list[Value]) -> None:
    receiver.items = {}


SET: Mapping[str, Method] = {
    "add": _sized("add", 1, 1, _add),
    "discard": _sized("discard", 1, 1, _discard),
    "remove": _sized("remove", 1, 1, _set_remove),
    "clear": _sized("clear", 0, 0, _clear_set),
    "copy": _set_operation(ast.BitOr),
    "union": _set_operation(ast.BitOr),
    "update": _set_operation(ast.BitOr, update=True),
    "intersection": _set_operation(ast.BitAnd),
    "difference": _set_operation(ast.Sub),
    "symmetric_difference": _set_operation(ast.BitXor),
    "issubset": _sized("issubset", 1, 1, lambda run, a, b: compare(run, ast.LtE, a, set_of(run, b[0]))),
    "issuperset": _sized("issuperset", 1, 1, lambda run, a, b: compare(run, ast.GtE, a, set_of(run, b[0]))),
    "isdisjoint": _sized(
        "isdisjoint", 1, 1, lambda run, a, b: not any(item in a.items for item in set_of(run, b[0]).items)
    ),
}
FLOAT: Mapping[str, Method] = {
    "is_integer": _sized("is_integer", 0, 0, lambda run, value, _: float(value).is_integer()),
}
INTEGER: Mapping[str, Method] = {
    "bit_length": _sized("bit_length", 0, 0, lambda run, value, _: int(value).bit_length()),
}


def methods_of(value: Value) -> Mapping[str, Method]:
    """The methods of a value of plain data; empty for other values."""
    if isinstance(value, SetValue):
        return SET
    return _TABLES.get(type(value), {})


_TABLES: Mapping[type, Mapping[str, Method]] = {
    str: STRING,
    list: LIST,
    tuple: TUPLE,
    dict: DICT,
    float: FLOAT,
    int: INTEGER,
    bool: INTEGER,
}
