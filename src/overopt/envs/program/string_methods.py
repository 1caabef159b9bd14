"""Methods of strings, each bounded before its result is built. Nothing is looked up on the host by name."""

from collections.abc import Callable, Mapping

from overopt.envs.program.measuring import collect, measure, native
from overopt.envs.program.operations import charge_search
from overopt.envs.program.run import Run
from overopt.envs.program.texts import formatted, represent, show
from overopt.envs.program.values import (
    UnsupportedConstruct,
    Value,
    type_name,
)

Method = Callable[[Run, Value, list[Value], dict[str, Value]], Value]


def no_keywords(run: Run, keywords: dict[str, Value]) -> None:
    """Refuse keyword arguments as Python does."""
    if keywords:
        run.fail("TypeError", "takes no keyword arguments")


def _plain(function: Callable[..., Value], growth: int = 1) -> Method:
    """A method of strings whose result is at most ``growth`` times as long as its receiver."""

    def method(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        no_keywords(run, keywords)
        run.meter.charge(1 + len(text))
        for argument in arguments:
            measure(run.meter, argument)
        result = native(run, function, text, *arguments)
        if growth > 1:
            run.meter.text(len(result))
        elif isinstance(result, list):
            run.meter.items(len(result))
        return result

    return method


def _searching(function: Callable[..., Value]) -> Method:
    def method(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        no_keywords(run, keywords)
        if arguments and isinstance(arguments[0], str):
            charge_search(run, text, arguments[0])
        return native(run, function, text, *arguments)

    return method


def _padding(function: Callable[..., Value]) -> Method:
    def method(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        no_keywords(run, keywords)
        if arguments and isinstance(arguments[0], int):
            run.meter.text(max(len(text), arguments[0]))
        return native(run, function, text, *arguments)

    return method


def _split(function: Callable[..., list[str]]) -> Method:
    def method(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        given = list(arguments)
        if set(keywords) - {"sep", "maxsplit"}:
            run.fail("TypeError", "split() got an unexpected keyword argument")
        separator = given[0] if given else keywords.get("sep")
        most = given[1] if len(given) > 1 else keywords.get("maxsplit", -1)
        charge_search(run, text, separator if isinstance(separator, str) else " ")
        run.meter.charge(len(text))
        found = native(run, function, text, separator, most)
        run.meter.items(len(found))
        return found

    return method


def _replace(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    no_keywords(run, keywords)
    if len(arguments) not in (2, 3) or not all(isinstance(part, str) for part in arguments[:2]):
        run.fail("TypeError", "replace() takes two strings and at most one count")
    old, new = arguments[:2]
    charge_search(run, text, old)
    count = text.count(old)
    run.meter.text(max(len(text), len(text) + count * (len(new) - len(old))))
    return native(run, text.replace, *arguments)


def _join(run: Run, text: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    no_keywords(run, keywords)
    if len(arguments) != 1:
        run.fail("TypeError", f"str.join() takes exactly one argument ({len(arguments)} given)")
    parts = collect(run, arguments[0])
    for index, part in enumerate(parts):
        if not isinstance(part, str):
            run.fail("TypeError", f"sequence item {index}: expected str instance, {type_name(part)} found")
    run.meter.text(sum(len(part) for part in parts) + len(text) * max(len(parts) - 1, 0))
    return text.join(parts)


_NUMBERINGS = {"automatic": "automatic field numbering", "manual": "manual field specification"}


def _format(run: Run, template: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    """``str.format`` without attributes and items in the fields: those walk from a value to the host."""
    pieces: list[str] = []
    numberings: set[str] = set()
    position = automatic = 0
    while position < len(template):
        char = template[position]
        if char in "{}" and template[position : position + 2] == char * 2:
            pieces.append(char)
            position += 2
            continue
        if char == "}":
            run.fail("ValueError", "Single '}' encountered in format string")
        if char != "{":
            pieces.append(char)
            position += 1
            continue
        end = template.find("}", position)
        if end < 0:
            run.fail("ValueError", "expected '}' before end of string")
        inside = template[position + 1 : end]
        position = end + 1
        if "{" in inside:
            raise UnsupportedConstruct("a nested field in a format string")
        name, _, spec = inside.partition(":")
        name, _, conversion = name.partition("!")
        if name == "" or name.isdigit():
            numbering = "automatic" if name == "" else "manual"
            if numberings - {numbering}:
                other = next(iter(numberings))
                message = f"cannot switch from {_NUMBERINGS[other]} to {_NUMBERINGS[numbering]}"
                run.fail("ValueError", message)
            numberings.add(numbering)
        if name == "":
            name = str(automatic)
            automatic += 1
        if name.isascii() and name.isdigit():
            if len(name) > 4 or int(name) >= len(arguments):
                run.fail("IndexError", "Replacement index out of range for positional args tuple")
            value = arguments[int(name)]
        elif name.isidentifier():
            if name not in keywords:
                run.fail("KeyError", name)
            value = keywords[name]
        else:
            raise UnsupportedConstruct("an attribute or item in a format string")
        if conversion not in ("", "s", "r"):
            raise UnsupportedConstruct(f"conversion !{conversion}")
        if conversion:
            value = represent(run, value) if conversion == "r" else show(run, value)
        pieces.append(formatted(run, value, spec))
    text = "".join(pieces)
    run.meter.text(len(text))
    return text


STRING: Mapping[str, Method] = {
    "lower": _plain(str.lower, 3),
    "upper": _plain(str.upper, 3),
    "title": _plain(str.title, 3),
    "capitalize": _plain(str.capitalize, 3),
    "swapcase": _plain(str.swapcase, 3),
    "casefold": _plain(str.casefold, 3),
    "strip": _plain(str.strip),
    "lstrip": _plain(str.lstrip),
    "rstrip": _plain(str.rstrip),
    "isdigit": _plain(str.isdigit),
    "isalpha": _plain(str.isalpha),
    "isalnum": _plain(str.isalnum),
    "isspace": _plain(str.isspace),
    "isupper": _plain(str.isupper),
    "islower": _plain(str.islower),
    "istitle": _plain(str.istitle),
    "isnumeric": _plain(str.isnumeric),
    "isdecimal": _plain(str.isdecimal),
    "isidentifier": _plain(str.isidentifier),
    "startswith": _plain(str.startswith),
    "endswith": _plain(str.endswith),
    "removeprefix": _plain(str.removeprefix),
    "removesuffix": _plain(str.removesuffix),
    "find": _searching(str.find),
    "rfind": _searching(str.rfind),
    "index": _searching(str.index),
    "rindex": _searching(str.rindex),
    "count": _searching(str.count),
    "partition": _searching(str.partition),
    "rpartition": _searching(str.rpartition),
    "split": _split(str.split),
    "rsplit": _split(str.rsplit),
    "splitlines": _plain(str.splitlines),
    "replace": _replace,
    "join": _join,
    "format": _format,
    "zfill": _padding(str.zfill),
    "ljust": _padding(str.ljust),
    "rjust": _padding(str.rjust),
    "center": _padding(str.center),
}
