"""Texts of program values: ``str``, ``repr``, ``format`` and ``%``, bounded before they are built."""

from typing import Any

from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import VALUE_DEPTH, Host, measure, native
from overopt.envs.program.values import (
    ApproxValue,
    BoundMethod,
    ClassValue,
    FunctionValue,
    InstanceValue,
    ModuleValue,
    NativeFunction,
    NativeType,
    SetValue,
    UnsupportedConstruct,
    Value,
    type_name,
)

_FORMAT_NUMBER = 1_000


def show(host: Host, value: Value) -> str:
    """``str(value)``."""
    if type(value) is str:
        return str(value)
    if isinstance(value, InstanceValue) and _is_exception(value):
        arguments = value.arguments
        if value.cls.name == "KeyError" and len(arguments) == 1:
            return represent(host, arguments[0])
        if len(arguments) < 2:
            return show(host, arguments[0]) if arguments else ""
        return represent(host, tuple(arguments))
    return represent(host, value)


def _is_exception(value: InstanceValue) -> bool:
    cls: ClassValue | None = value.cls
    while cls is not None:
        if cls.name == "BaseException":
            return True
        cls = cls.base
    return False


def represent(host: Host, value: Value) -> str:
    """``repr(value)``; objects have no address, so that the text is the same everywhere."""
    if isinstance(value, str | list | tuple | dict | SetValue):
        size = measure(host.meter, value)
        host.meter.text(size)
    text = _represent(value, 0)
    if len(text) > host.meter.limits.text:
        raise BudgetExceeded("text")
    return text


def _represent(value: Value, depth: int) -> str:
    if depth > VALUE_DEPTH:
        raise BudgetExceeded("depth")
    if isinstance(value, str | int | float | range | None):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_represent(part, depth + 1) for part in value) + "]"
    if isinstance(value, tuple):
        inside = ", ".join(_represent(part, depth + 1) for part in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        pairs = (f"{_represent(k, depth + 1)}: {_represent(v, depth + 1)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, SetValue):
        return "{" + ", ".join(_represent(part, depth + 1) for part in value.items) + "}" if value.items else "set()"
    if isinstance(value, ApproxValue):
        return f"approx({value.expected!r})"
    if isinstance(value, InstanceValue) and _is_exception(value):
        return value.cls.name + _represent(tuple(value.arguments), depth + 1).replace(",)", ")")
    if isinstance(value, NativeType | ClassValue):
        return f"<class '{value.name}'>"
    if isinstance(value, FunctionValue | NativeFunction):
        return f"<function {value.name}>"
    if isinstance(value, BoundMethod):
        return f"<bound method {value.function.name}>"
    if isinstance(value, ModuleValue):
        return f"<module '{value.name}'>"
    return f"<{type_name(value)} object>"


def formatted(host: Host, value: Value, spec: str) -> str:
    """``format(value, spec)``."""
    if not spec:
        return show(host, value)
    run = ""
    for char in spec + " ":
        if char.isdigit():
            run += char
        else:
            if run and (len(run) > 4 or int(run) > _FORMAT_NUMBER):
                raise BudgetExceeded("text")
            run = ""
    if spec[-1] == "n":
        raise UnsupportedConstruct("locale-dependent format 'n'")
    if not isinstance(value, str | int | float):
        host.fail("TypeError", f"unsupported format string passed to {type_name(value)}.__format__")
    text = str(native(host, format, value, spec))
    host.meter.text(len(text))
    return text


def percent(host: Host, template: str, values: Value) -> str:
    """``template % values`` for the plain conversions."""
    given = list(values) if isinstance(values, tuple) else [values]
    pieces: list[str] = []
    position = 0
    while True:
        found = template.find("%", position)
        if found < 0:
            pieces.append(template[position:])
            break
        pieces.append(template[position:found])
        end = found + 1
        while end < len(template) and template[end] in "-+ #0123456789.":
            end += 1
        if end >= len(template):
            host.fail("ValueError", "incomplete format")
        conversion = template[end]
        flags = template[found + 1 : end]
        position = end + 1
        if conversion == "%":
            pieces.append("%")
            continue
        if conversion not in "sdifgGeErxXo":
            raise UnsupportedConstruct(f"conversion %{conversion}")
        if not given:
            host.fail("TypeError", "not enough arguments for format string")
        if any(len(run) > 3 for run in "".join(c if c.isdigit() else " " for c in flags).split()):
            raise BudgetExceeded("text")
        value: Any = given.pop(0)
        if conversion in "sr":
            value = show(host, value) if conversion == "s" else represent(host, value)
            conversion = "s"
        elif not isinstance(value, int | float):
            host.fail("TypeError", f"%{conversion} format: a real number is required, not {type_name(value)}")
        piece = native(host, lambda f=f"%{flags}{conversion}", v=value: f % (v,))
        host.meter.text(len(piece))
        pieces.append(piece)
    if given and not isinstance(values, dict | list):
        host.fail("TypeError", "not all arguments converted during string formatting")
    text = "".join(pieces)
    host.meter.text(len(text))
    return text
