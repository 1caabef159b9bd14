"""Built-in functions and types of a program, by name. A name that is not here does nothing on the host."""

import ast
from collections.abc import Callable, Iterator, Mapping

from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import advance, collect, iterate, native
from overopt.envs.program.methods import ordered, pairs_of, set_of
from overopt.envs.program.operations import as_float, as_integer, binary, compare, length, rounded, total
from overopt.envs.program.run import Run
from overopt.envs.program.texts import formatted, represent, show
from overopt.envs.program.values import (
    EXCEPTIONS,
    MISSING,
    ClassValue,
    InertValue,
    InstanceValue,
    IteratorValue,
    NativeFunction,
    NativeType,
    SetValue,
    UnsupportedConstruct,
    Value,
    truth,
    type_name,
)

Builtin = Callable[[Run, list[Value], dict[str, Value]], Value]

_KNOWN_ELSEWHERE_WORDS = """
    aiter anext ascii bin breakpoint bytearray bytes callable classmethod compile complex copyright credits
    delattr dir eval exec exit frozenset getattr globals hasattr hash help hex id input issubclass iter license
    locals memoryview object oct open property quit setattr slice staticmethod super type vars __import__
    Ellipsis NotImplemented BaseExceptionGroup BlockingIOError BrokenPipeError BufferError BytesWarning
    ChildProcessError ConnectionError DeprecationWarning EnvironmentError ExceptionGroup FileExistsError
    FloatingPointError FutureWarning GeneratorExit IOError ImportWarning InterruptedError IsADirectoryError
    MemoryError NotADirectoryError PermissionError ProcessLookupError ReferenceError ResourceWarning
    RuntimeWarning StopAsyncIteration SyntaxWarning SystemError TabError TimeoutError UnicodeDecodeError
    UnicodeEncodeError UserWarning
"""
KNOWN_ELSEWHERE = frozenset(_KNOWN_ELSEWHERE_WORDS.split())
"""Built-ins of Python outside the subset: using one is unsupported, where an unknown name is a NameError."""


def arity(run: Run, name: str, arguments: list[Value], low: int, high: int) -> None:
    """Refuse a wrong number of arguments as Python does."""
    count = len(arguments)
    if count < low:
        run.fail("TypeError", f"{name} expected at least {low} argument{'' if low == 1 else 's'}, got {count}")
    if count > high:
        run.fail("TypeError", f"{name} expected at most {high} argument{'' if high == 1 else 's'}, got {count}")


def simple(name: str, low: int, high: int, function: Callable[..., Value]) -> Builtin:
    """A built-in of positional arguments only: ``function(run, *arguments)``."""

    def call(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        if keywords:
            run.fail("TypeError", f"{name}() takes no keyword arguments")
        arity(run, name, arguments, low, high)
        return function(run, *arguments)

    return call


def _range(run: Run, *arguments: Value) -> Value:
    return native(run, range, *arguments)


def _extreme(name: str, operator: type[ast.cmpop]) -> Builtin:
    def call(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        if set(keywords) - {"key", "default"}:
            run.fail("TypeError", f"{name}() got an unexpected keyword argument")
        if not arguments:
            run.fail("TypeError", f"{name} expected at least 1 argument, got 0")
        items = collect(run, arguments[0]) if len(arguments) == 1 else arguments
        if not items:
            if "default" in keywords:
                return keywords["default"]
            run.fail("ValueError", f"{name}() arg is an empty sequence")
        function = keywords.get("key")
        best = items[0]
        best_mark = best if function is None else run.call(function, [best])
        for item in items[1:]:
            run.meter.step()
            mark = item if function is None else run.call(function, [item])
            if compare(run, operator, mark, best_mark):
                best, best_mark = item, mark
        return best

    return call


def _sum(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    arity(run, "sum", arguments, 1, 2)
    if set(keywords) - {"start"}:
        run.fail("TypeError", "sum() got an unexpected keyword argument")
    start = arguments[1] if len(arguments) > 1 else keywords.get("start", 0)
    if isinstance(start, str):
        run.fail("TypeError", "sum() can't sum strings [use ''.join(seq) instead]")
    return total(run, iterate(run, arguments[0]), start)


def _sorted(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    arity(run, "sorted", arguments, 1, 1)
    return ordered(run, collect(run, arguments[0]), keywords)


def _absolute(run: Run, value: Value) -> Value:
    if not isinstance(value, int | float):
        run.fail("TypeError", f"bad operand type for abs(): '{type_name(value)}'")
    return abs(value)


def _round(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    given = arguments + ([keywords["ndigits"]] if "ndigits" in keywords else [])
    if set(keywords) - {"ndigits"}:
        run.fail("TypeError", "round() got an unexpected keyword argument")
    arity(run, "round", given, 1, 2)
    return rounded(run, *given)


def _enumerate(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    given = arguments + ([keywords["start"]] if "start" in keywords else [])
    arity(run, "enumerate", given, 1, 2)
    source, first = iterate(run, given[0]), given[1] if len(given) > 1 else 0
    if not isinstance(first, int):
        run.fail("TypeError", f"'{type_name(first)}' object cannot be interpreted as an integer")

    def numbered() -> Iterator[Value]:
        index = first
        while (item := advance(run, source)) is not MISSING:
            yield (index, item)
            index += 1

    return IteratorValue("enumerate", numbered())


def _zip(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    strict = truth(keywords.get("strict", False))
    if set(keywords) - {"strict"}:
        run.fail("TypeError", "zip() got an unexpected keyword argument")
    sources = [iterate(run, argument) for argument in arguments]

    def zipped() -> Iterator[Value]:
        while sources:
            row: list[Value] = []
            for index, source in enumerate(sources):
                item = advance(run, source)
                if item is MISSING:
                    if strict and (index or any(advance(run, other) is not MISSING for other in sources[1:])):
                        run.fail("ValueError", "zip() arguments have different lengths")
                    return
                row.append(item)
            yield tuple(row)

    return IteratorValue("zip", zipped())


def _map(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    if len(arguments) < 2:
        run.fail("TypeError", "map() must have at least two arguments.")
    rows = _zip(run, arguments[1:], {}).items
    function = arguments[0]

    def mapped() -> Iterator[Value]:
        while (row := advance(run, rows)) is not MISSING:
            yield run.call(function, list(row))

    return IteratorValue("map", mapped())


def _filter(run: Run, function: Value, values: Value) -> Value:
    source = iterate(run, values)

    def kept() -> Iterator[Value]:
        while (item := advance(run, source)) is not MISSING:
            run.meter.step()
            if truth(item if function is None else run.call(function, [item])):
                yield item

    return IteratorValue("filter", kept())


def _reversed(run: Run, value: Value) -> Value:
    if not isinstance(value, str | list | tuple | dict | range):
        run.fail("TypeError", f"'{type_name(value)}' object is not reversible")
    return IteratorValue("reversed", native(run, reversed, value))


def _next(run: Run, source: Value, default: Value = MISSING) -> Value:
    if not isinstance(source, IteratorValue):
        run.fail("TypeError", f"'{type_name(source)}' object is not an iterator")
    item = advance(run, source.items)
    if item is not MISSING:
        return item
    if default is MISSING:
        raise run.raised(InstanceValue(EXCEPTIONS["StopIteration"]))
    return default


def _any_or_all(stop_at: bool) -> Callable[[Run, Value], Value]:
    def call(run: Run, values: Value) -> Value:
        source = iterate(run, values)
        while (item := advance(run, source)) is not MISSING:
            run.meter.step()
            if truth(item) is stop_at:
                return stop_at
        return not stop_at

    return call


def _print(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    for name, value in keywords.items():
        if name in ("sep", "end") and isinstance(value, str | None):
            continue
        if name == "flush":
            continue
        if name == "file" and isinstance(value, InertValue) and value.name in ("sys.stdout", "sys.stderr"):
            continue
        raise UnsupportedConstruct(f"print({name}=…)")
    separator, end = keywords.get("sep"), keywords.get("end")
    texts = [show(run, argument) for argument in arguments]
    separator = " " if separator is None else separator
    if sum(len(text) + len(separator) for text in texts) > run.limits.output:
        raise BudgetExceeded("output")
    target = keywords.get("file")
    text = separator.join(texts) + ("\n" if end is None else end)
    run.write(text, error=isinstance(target, InertValue) and target.name == "sys.stderr")
    return None


def _is_instance(run: Run, value: Value, expected: Value) -> bool:
    if isinstance(expected, tuple):
        return any(_is_instance(run, value, one) for one in expected)
    if isinstance(expected, NativeType):
        return isinstance(value, expected.members)
    if isinstance(expected, ClassValue):
        return isinstance(value, InstanceValue) and value.cls.descends_from(expected)
    raise UnsupportedConstruct(f"isinstance() with a {type_name(expected)}")


def _character(run: Run, code: Value) -> str:
    text = str(native(run, chr, code))
    if "\ud800" <= text <= "\udfff":
        raise UnsupportedConstruct("surrogate characters")
    return text


def _pow(run: Run, base: Value, exponent: Value) -> Value:
    return binary(run, ast.Pow, base, exponent)


def _divmod(run: Run, left: Value, right: Value) -> Value:
    return binary(run, ast.FloorDiv, left, right), binary(run, ast.Mod, left, right)


def _int(run: Run, value: Value = 0, base: Value = None) -> Value:
    return as_integer(run, value, base)


def _dict(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    arity(run, "dict", arguments, 0, 1)
    table = pairs_of(run, arguments[0]) if arguments else {}
    run.meter.items(len(table) + len(keywords))
    return {**table, **keywords}


def _listed(run: Run, values: Value = ()) -> Value:
    return collect(run, values)


def _tuple(run: Run, values: Value = ()) -> Value:
    return tuple(collect(run, values))


def _set(run: Run, values: Value = ()) -> Value:
    return set_of(run, values)


def _string(run: Run, value: Value = "") -> Value:
    return show(run, value)


_SIMPLE: Mapping[str, tuple[int, int, Callable[..., Value]]] = {
    "len": (1, 1, length),
    "range": (1, 3, _range),
    "abs": (1, 1, _absolute),
    "any": (1, 1, _any_or_all(True)),
    "all": (1, 1, _any_or_all(False)),
    "filter": (2, 2, _filter),
    "reversed": (1, 1, _reversed),
    "next": (1, 2, _next),
    "repr": (1, 1, represent),
    "isinstance": (2, 2, _is_instance),
    "ord": (1, 1, lambda run, text: native(run, ord, text)),
    "chr": (1, 1, _character),
    "pow": (2, 2, _pow),
    "divmod": (2, 2, _divmod),
    "format": (1, 2, lambda run, value, spec="": _format(run, value, spec)),
}
_WITH_KEYWORDS: Mapping[str, Builtin] = {
    "min": _extreme("min", ast.Lt),
    "max": _extreme("max", ast.Gt),
    "sum": _sum,
    "sorted": _sorted,
    "round": _round,
    "enumerate": _enumerate,
    "zip": _zip,
    "map": _map,
    "print": _print,
}
_TYPES: Mapping[str, tuple[tuple[type, ...], Builtin]] = {
    "int": ((int,), simple("int", 0, 2, _int)),
    "float": ((float,), simple("float", 0, 1, lambda run, value=0.0: as_float(run, value))),
    "str": ((str,), simple("str", 0, 1, _string)),
    "bool": ((bool,), simple("bool", 0, 1, lambda run, value=False: truth(value))),
    "list": ((list,), simple("list", 0, 1, _listed)),
    "tuple": ((tuple,), simple("tuple", 0, 1, _tuple)),
    "set": ((SetValue,), simple("set", 0, 1, _set)),
    "dict": ((dict,), _dict),
}


def _format(run: Run, value: Value, spec: Value) -> Value:
    if not isinstance(spec, str):
        run.fail("TypeError", f"format() argument 2 must be str, not {type_name(spec)}")
    return formatted(run, value, spec)


def _table() -> dict[str, Value]:
    table: dict[str, Value] = {name: NativeFunction(name, simple(name, *rest)) for name, rest in _SIMPLE.items()}
    table |= {name: NativeFunction(name, call) for name, call in _WITH_KEYWORDS.items()}
    table |= {name: NativeType(name, members, call) for name, (members, call) in _TYPES.items()}
    table |= {name: cls for name, cls in EXCEPTIONS.items() if name != "SkipTest"}
    return table


FUNCTIONS: Mapping[str, Value] = _table()
