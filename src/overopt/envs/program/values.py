"""Values of an interpreted program that are not plain Python data, and the signals that end an evaluation.

Numbers, strings, None, lists, tuples, dicts and ranges of a program are Python's own. Everything that could lead
back to the host (functions, classes, modules, exceptions) is one of the types below, which have no route to it.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# The type of a program's value is known only when the program runs.
Value: TypeAlias = Any
Native: TypeAlias = Callable[..., Value]


class UnsupportedConstruct(Exception):
    """The program uses something outside the subset; it cannot catch this itself."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class ProgramError(Exception):
    """An exception raised inside the program."""

    def __init__(self, value: "InstanceValue", frames: tuple[tuple[str, int, str], ...]) -> None:
        super().__init__(value.cls.name)
        self.value = value
        self.frames = frames


@dataclass(eq=False, slots=True)
class Scope:
    """Names of one module, class body, call or comprehension.

    ``own`` holds the names that an assignment makes local, ``None`` where every assignment does (modules, classes).
    """

    names: dict[str, Value]
    module: "ModuleValue"
    parent: "Scope | None" = None
    own: frozenset[str] | None = None
    global_names: frozenset[str] = frozenset()
    outer_names: frozenset[str] = frozenset()
    is_comprehension: bool = False


@dataclass(eq=False, slots=True)
class FunctionValue:
    """A ``def`` or ``lambda`` of the program."""

    name: str
    arguments: ast.arguments
    body: "list[ast.stmt] | ast.expr"
    scope: Scope
    file: str
    defaults: list[Value]
    keyword_defaults: dict[str, Value]
    own: frozenset[str]
    global_names: frozenset[str]
    outer_names: frozenset[str]
    marks: list["MarkValue"] = field(default_factory=list)


@dataclass(eq=False, slots=True, frozen=True)
class NativeFunction:
    """A function of ours: ``call(run, arguments, keywords)``."""

    name: str
    call: Native


@dataclass(eq=False, slots=True, frozen=True)
class NativeType:
    """A built-in type: callable, and usable in ``isinstance``."""

    name: str
    members: tuple[type, ...]
    call: Native


@dataclass(eq=False, slots=True, frozen=True)
class BoundMethod:
    """A function of the program or of ours together with its first argument."""

    function: "FunctionValue | NativeFunction"
    receiver: Value


@dataclass(eq=False, slots=True)
class ClassValue:
    """A class with at most one base. Built-in classes are shared between runs and therefore sealed."""

    name: str
    base: "ClassValue | None"
    names: dict[str, Value]
    sealed: bool = False
    marks: list["MarkValue"] = field(default_factory=list)

    def find(self, name: str) -> Value:
        """The attribute from this class or its bases; ``MISSING`` if none has it."""
        cls: ClassValue | None = self
        while cls is not None:
            if name in cls.names:
                return cls.names[name]
            cls = cls.base
        return MISSING

    def descends_from(self, other: "ClassValue") -> bool:
        """Whether ``other`` is this class or one of its bases."""
        cls: ClassValue | None = self
        while cls is not None:
            if cls is other:
                return True
            cls = cls.base
        return False


@dataclass(eq=False, slots=True)
class InstanceValue:
    """An object of a class of the program, or an exception. ``arguments`` are those of an exception."""

    cls: ClassValue
    names: dict[str, Value] = field(default_factory=dict)
    arguments: tuple[Value, ...] = ()


@dataclass(eq=False, slots=True)
class ModuleValue:
    """A module. ``inert`` ones stand for libraries that are not there: importing is allowed, using is not."""

    name: str
    names: dict[str, Value]
    file: str = ""
    search: tuple[str, ...] = ()
    inert: bool = False


@dataclass(eq=False, slots=True, frozen=True)
class InertValue:
    """A name taken from an inert module; any use of it is unsupported."""

    name: str


@dataclass(eq=False, slots=True)
class IteratorValue:
    """A one-pass iterator: a generator expression, ``zip``, ``enumerate``, ``map``, ``filter``, ``reversed``."""

    name: str
    items: Iterator[Value]


@dataclass(eq=False, slots=True, frozen=True)
class MarkValue:
    """A decorator of the test frameworks: skip, xfail, parametrize."""

    kind: str
    arguments: tuple[Value, ...] = ()
    keywords: Mapping[str, Value] = field(default_factory=dict)


@dataclass(eq=False, slots=True, frozen=True)
class RaisesValue:
    """``pytest.raises(...)`` or ``assertRaises(...)``, for use in ``with``."""

    expected: Value


class SetValue:
    """A set that keeps the order of insertion: Python's own order differs from process to process."""

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("items",)

    def __init__(self, items: dict[Value, None]) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SetValue) and self.items.keys() == other.items.keys()


class ApproxValue:
    """``pytest.approx`` of one number."""

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("absolute", "expected", "relative")

    def __init__(self, expected: float, relative: float, absolute: float) -> None:
        self.expected = expected
        self.relative = relative
        self.absolute = absolute

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int | float):
            return False
        if other == self.expected:
            return True
        margin = max(self.relative * abs(self.expected), self.absolute)
        return bool(abs(other - self.expected) <= margin != float("inf"))


class Missing:
    """The absence of an attribute."""


MISSING = Missing()

_EXCEPTION_BASES = {
    "BaseException": None,
    "Exception": "BaseException",
    "SystemExit": "BaseException",
    "KeyboardInterrupt": "BaseException",
    "ArithmeticError": "Exception",
    "AssertionError": "Exception",
    "AttributeError": "Exception",
    "EOFError": "Exception",
    "ImportError": "Exception",
    "LookupError": "Exception",
    "NameError": "Exception",
    "OSError": "Exception",
    "RuntimeError": "Exception",
    "StopIteration": "Exception",
    "SyntaxError": "Exception",
    "TypeError": "Exception",
    "ValueError": "Exception",
    "Warning": "Exception",
    "SkipTest": "Exception",
    "FileNotFoundError": "OSError",
    "IndentationError": "SyntaxError",
    "IndexError": "LookupError",
    "KeyError": "LookupError",
    "ModuleNotFoundError": "ImportError",
    "NotImplementedError": "RuntimeError",
    "OverflowError": "ArithmeticError",
    "RecursionError": "RuntimeError",
    "UnboundLocalError": "NameError",
    "UnicodeError": "ValueError",
    "ZeroDivisionError": "ArithmeticError",
}


def _exception_classes() -> dict[str, ClassValue]:
    classes: dict[str, ClassValue] = {}
    for name, base in _EXCEPTION_BASES.items():
        classes[name] = ClassValue(name, None if base is None else classes[base], {}, sealed=True)
    return classes


EXCEPTIONS: Mapping[str, ClassValue] = _exception_classes()
"""Built-in exceptions by name; ``SkipTest`` is the test frameworks' own and no name of the program."""

_TYPE_NAMES: Mapping[type, str] = {
    type(None): "NoneType",
    FunctionValue: "function",
    NativeFunction: "builtin_function_or_method",
    NativeType: "type",
    BoundMethod: "method",
    ClassValue: "type",
    ModuleValue: "module",
    SetValue: "set",
    ApproxValue: "ApproxScalar",
    InertValue: "object",
    MarkValue: "MarkDecorator",
    RaisesValue: "RaisesContext",
}


def type_name(value: Value) -> str:
    """What the program would see as the name of the value's type."""
    if isinstance(value, InstanceValue):
        return value.cls.name
    if isinstance(value, IteratorValue):
        return value.name
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def truth(value: Value) -> bool:
    """Whether the value counts as true."""
    return bool(value.items) if isinstance(value, SetValue) else bool(value)
