"""Attributes of program values: their own names and the methods that are listed, never one of the host's."""

from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.methods import methods_of
from overopt.envs.program.run import Run
from overopt.envs.program.string_methods import Method
from overopt.envs.program.values import (
    MISSING,
    BoundMethod,
    ClassValue,
    FunctionValue,
    InertValue,
    InstanceValue,
    MarkValue,
    ModuleValue,
    NativeFunction,
    UnsupportedConstruct,
    Value,
    type_name,
)


def _bound(name: str, method: Method, receiver: Value) -> NativeFunction:
    return NativeFunction(name, lambda run, arguments, keywords: method(run, receiver, arguments, keywords))


def attribute(run: Run, value: Value, name: str) -> Value:
    """``value.name``. No name with two underscores in front is an attribute of anything here."""
    if name.startswith("__") and name != "__init__":
        raise UnsupportedConstruct(f"attribute {name}")
    methods = methods_of(value)
    if name in methods:
        return _bound(name, methods[name], value)
    if isinstance(value, ModuleValue):
        if name in value.names:
            return value.names[name]
        if value.inert:
            raise UnsupportedConstruct(f"{value.name}.{name}")
        run.fail("AttributeError", f"module '{value.name}' has no attribute '{name}'")
    if isinstance(value, InstanceValue):
        if name in value.names:
            return value.names[name]
        found = value.cls.find(name)
        if isinstance(found, FunctionValue | NativeFunction):
            return BoundMethod(found, value)
        if found is not MISSING:
            return found
        if name == "args" and (value.arguments or not value.names):
            return value.arguments
    elif isinstance(value, ClassValue):
        found = value.find(name)
        if found is not MISSING:
            return found
        run.fail("AttributeError", f"type object '{value.name}' has no attribute '{name}'")
    elif isinstance(value, InertValue):
        raise UnsupportedConstruct(f"{value.name}.{name}")
    elif isinstance(value, MarkValue) and value.kind == "mark":
        return MarkValue(name)
    if methods:
        raise_if_known(value, name)
    run.fail("AttributeError", f"'{type_name(value)}' object has no attribute '{name}'")


_OTHER_METHODS_WORDS = """
    encode expandtabs format_map isascii isprintable maketrans translate fromkeys conjugate denominator
    from_bytes imag numerator real to_bytes as_integer_ratio bit_count fromhex hex difference_update
    intersection_update pop symmetric_difference_update
"""
_OTHER_METHODS = frozenset(_OTHER_METHODS_WORDS.split())


def raise_if_known(value: Value, name: str) -> None:
    """A method that Python has and the subset has not is unsupported, no error of the program."""
    if name in _OTHER_METHODS:
        raise UnsupportedConstruct(f"{type_name(value)}.{name}")


def set_attribute(run: Run, value: Value, name: str, new: Value) -> None:
    """``value.name = new`` for objects, modules and classes of the program."""
    if name.startswith("__"):
        raise UnsupportedConstruct(f"attribute {name}")
    if isinstance(value, InstanceValue | ModuleValue) or (isinstance(value, ClassValue) and not value.sealed):
        if isinstance(value, ModuleValue) and not value.file:
            raise UnsupportedConstruct(f"assignment to {value.name}.{name}")
        if len(value.names) >= run.limits.items:
            raise BudgetExceeded("items")
        value.names[name] = new
        return
    if isinstance(value, InertValue | FunctionValue | ClassValue):
        raise UnsupportedConstruct(f"assignment to an attribute of {value.name}")
    run.fail("AttributeError", f"'{type_name(value)}' object has no attribute '{name}'")
