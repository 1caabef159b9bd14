"""State of one run: budgets, files, loaded modules, the call stack and what was printed; and calling a function."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from overopt.envs.program.limits import BudgetExceeded, Limits, Meter
from overopt.envs.program.source import parse
from overopt.envs.program.values import (
    EXCEPTIONS,
    MISSING,
    BoundMethod,
    ClassValue,
    FunctionValue,
    InertValue,
    InstanceValue,
    MarkValue,
    ModuleValue,
    NativeFunction,
    NativeType,
    ProgramError,
    Scope,
    UnsupportedConstruct,
    Value,
    type_name,
)


@dataclass(slots=True)
class Frame:
    """One line of a traceback."""

    file: str
    line: int
    name: str


@dataclass(eq=False, slots=True)
class Returned:
    """The end of a function body, with its value."""

    value: Value


class Evaluate(Protocol):
    """Value of an expression."""

    def __call__(self, run: "Run", node: ast.expr, scope: Scope) -> Value: ...


class Execute(Protocol):
    """Effect of statements: ``None`` at the end, or what left them early."""

    def __call__(self, run: "Run", body: list[ast.stmt], scope: Scope) -> object: ...


_NATIVE = (NativeFunction, NativeType)


@dataclass(eq=False, slots=True)
class Run:
    """One run of one program.

    ``files`` maps absolute names in the program's own tree to texts; ``replaced`` maps a file to names that are
    overwritten once it has been executed as a module. The two functions are the evaluator's own: they come in here
    so that calling does not depend on how bodies are carried out.
    """

    files: Mapping[str, str]
    limits: Limits
    evaluate: Evaluate
    execute: Execute
    parsed: dict[str, ast.Module] = field(default_factory=dict)
    replaced: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    folder: str = "/"
    modules: dict[str, ModuleValue] = field(default_factory=dict)
    search: list[Value] = field(default_factory=list)
    arguments: list[Value] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    handled: list[InstanceValue] = field(default_factory=list)
    main: ModuleValue | None = None
    run_main_tests: "Callable[[Run], Value] | None" = None
    printed: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    printed_length: int = 0
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.limits)

    def raised(self, value: InstanceValue) -> ProgramError:
        """The signal for an exception raised where the program stands now."""
        return ProgramError(value, tuple((frame.file, frame.line, frame.name) for frame in self.frames))

    def fail(self, kind: str, message: Value) -> NoReturn:
        """Raise a built-in exception inside the program."""
        raise self.raised(InstanceValue(EXCEPTIONS[kind], {}, (message,)))

    def write(self, text: str, *, error: bool = False) -> None:
        """Append to the captured output, or to the captured error output."""
        self.printed_length += len(text)
        if self.printed_length > self.limits.output:
            raise BudgetExceeded("output")
        (self.complaints if error else self.printed).append(text)

    def tree(self, file: str) -> ast.Module:
        """The syntax tree of a file, parsed once for all runs that share ``parsed``."""
        return self.tree_of(self.files[file])

    def tree_of(self, text: str) -> ast.Module:
        """The syntax tree of a text."""
        if text not in self.parsed:
            self.parsed[text] = parse(text, self.limits)
        return self.parsed[text]

    def call(self, function: Value, arguments: list[Value], keywords: Mapping[str, Value] | None = None) -> Value:
        """Call any callable value."""
        given = dict(keywords or {})
        if isinstance(function, FunctionValue):
            return self._call_function(function, arguments, given)
        if isinstance(function, _NATIVE):
            return function.call(self, arguments, given)
        if isinstance(function, BoundMethod):
            return self.call(function.function, [function.receiver, *arguments], given)
        if isinstance(function, ClassValue):
            return self._construct(function, arguments, given)
        if isinstance(function, MarkValue):
            return self._apply_mark(function, arguments, given)
        if isinstance(function, InertValue):
            raise UnsupportedConstruct(function.name)
        self.fail("TypeError", f"'{type_name(function)}' object is not callable")

    def _call_function(self, function: FunctionValue, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        meter = self.meter
        if meter.depth + 4 > self.limits.depth:
            raise BudgetExceeded("depth")
        names = bind(self, function, arguments, keywords)
        scope = Scope(
            names,
            function.scope.module,
            function.scope,
            function.own,
            function.global_names,
            function.outer_names,
        )
        depth = meter.depth
        meter.depth = depth + 3
        self.frames.append(Frame(function.file, 0, function.name))
        try:
            if isinstance(function.body, list):
                outcome = self.execute(self, function.body, scope)
                result = outcome.value if isinstance(outcome, Returned) else None
            else:
                self.frames[-1].line = function.body.lineno
                result = self.evaluate(self, function.body, scope)
        finally:
            self.frames.pop()
        meter.depth = depth
        return result

    def _construct(self, cls: ClassValue, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        if cls.descends_from(EXCEPTIONS["BaseException"]):
            made = InstanceValue(cls, {}, tuple(arguments))
        else:
            made = InstanceValue(cls)
        initialise = cls.find("__init__")
        if initialise is not MISSING:
            self.call(initialise, [made, *arguments], keywords)
        elif keywords or (arguments and not cls.descends_from(EXCEPTIONS["BaseException"])):
            self.fail("TypeError", f"{cls.name}() takes no arguments")
        return made

    def _apply_mark(self, mark: MarkValue, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """A mark decorates one function or class, or takes its own arguments first."""
        if len(arguments) == 1 and not keywords and isinstance(arguments[0], FunctionValue | ClassValue):
            target = arguments[0]
            if isinstance(target, ClassValue) and target.sealed:
                self.fail("TypeError", "cannot mark a built-in class")
            target.marks.append(mark)
            return target
        return MarkValue(mark.kind, tuple(arguments), keywords)


def bind(run: Run, function: FunctionValue, arguments: list[Value], keywords: dict[str, Value]) -> dict[str, Value]:
    """Names of a call's parameters with their values, with the messages that Python gives."""
    spec = function.arguments
    positional = [*spec.posonlyargs, *spec.args]
    names: dict[str, Value] = {}
    taken = len(positional)
    if not (keywords or spec.kwonlyargs) and len(arguments) == taken and spec.vararg is None and spec.kwarg is None:
        for parameter, value in zip(positional, arguments, strict=True):
            names[parameter.arg] = value
        return names
    if len(arguments) > taken and spec.vararg is None:
        plural = "" if taken == 1 else "s"
        was = "was" if len(arguments) == 1 else "were"
        run.fail(
            "TypeError",
            f"{function.name}() takes {taken} positional argument{plural} but {len(arguments)} {was} given",
        )
    for parameter, value in zip(positional, arguments, strict=False):
        names[parameter.arg] = value
    if spec.vararg is not None:
        names[spec.vararg.arg] = tuple(arguments[taken:])
    accepted = {parameter.arg for parameter in [*spec.args, *spec.kwonlyargs]}
    extra: dict[str, Value] = {}
    for name, value in keywords.items():
        if name in accepted:
            if name in names:
                run.fail("TypeError", f"{function.name}() got multiple values for argument '{name}'")
            names[name] = value
        elif spec.kwarg is not None:
            extra[name] = value
        else:
            run.fail("TypeError", f"{function.name}() got an unexpected keyword argument '{name}'")
    if spec.kwarg is not None:
        names[spec.kwarg.arg] = extra
    without_default = taken - len(function.defaults)
    for index, parameter in enumerate(positional):
        if parameter.arg not in names and index >= without_default:
            names[parameter.arg] = function.defaults[index - without_default]
    missing = [parameter.arg for parameter in positional if parameter.arg not in names]
    if missing:
        run.fail("TypeError", f"{function.name}() missing {_counted(missing, 'positional')}")
    for parameter in spec.kwonlyargs:
        if parameter.arg not in names and parameter.arg in function.keyword_defaults:
            names[parameter.arg] = function.keyword_defaults[parameter.arg]
    missing = [parameter.arg for parameter in spec.kwonlyargs if parameter.arg not in names]
    if missing:
        run.fail("TypeError", f"{function.name}() missing {_counted(missing, 'keyword-only')}")
    return names


def _counted(names: list[str], kind: str) -> str:
    quoted = [f"'{name}'" for name in names]
    if len(quoted) == 1:
        listed = quoted[0]
    elif len(quoted) == 2:
        listed = " and ".join(quoted)
    else:
        listed = ", ".join(quoted[:-1]) + ", and " + quoted[-1]
    return f"{len(names)} required {kind} argument{'' if len(names) == 1 else 's'}: {listed}"
