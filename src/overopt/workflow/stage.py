"""What is to be done: a stage, its key, and the order of a set of stages.

The key of a stage is a sha256 over the name and version of its function, its parameters and the keys of its inputs.
Labels, cost hints, needs, the order of keyword arguments and the choice between a tuple and a list do not enter it.
The code of the function does not either: whoever changes the numbers of a stage raises its version. Defaults of the
function do enter, so a changed default is a changed stage.
"""

import dataclasses
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, final

from overopt.errors import ConfigError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
StageFunction = Callable[..., None]
F = TypeVar("F", bound=StageFunction)

KEY_SCHEMA = "overopt.stage/1"
_MARK = "__overopt_stage__"
# The name is part of a folder's name: a leading dot marks temporary folders, and most file systems stop at 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_ALLOWED = "a parameter is a number, a string, a list, a dict, a frozen dataclass or a stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a stage occupies while it runs, or what an executor has left."""

    cpus: float = 1.0
    """Cores, above 0. A stage computes with as many threads, at least one."""
    gpus: float = 0.0
    """Graphics processors; below 1 for a share of one."""
    memory_gb: float = 0.0
    """Main memory in 10^9 bytes; 0 when not worth a word."""

    def fits(self, free: "Needs") -> bool:
        """Whether all of it is in ``free``."""
        return self.cpus <= free.cpus and self.gpus <= free.gpus and self.memory_gb <= free.memory_gb

    def within(self, limit: "Needs") -> "Needs":
        """The smaller of both in each kind."""
        return Needs(
            cpus=min(self.cpus, limit.cpus),
            gpus=min(self.gpus, limit.gpus),
            memory_gb=min(self.memory_gb, limit.memory_gb),
        )

    def without(self, used: "Needs") -> "Needs":
        """What is left when ``used`` is taken away; below 0 when it was too much."""
        return Needs(cpus=self.cpus - used.cpus, gpus=self.gpus - used.gpus, memory_gb=self.memory_gb - used.memory_gb)

    def __str__(self) -> str:
        parts = [(self.cpus, "core"), (self.gpus, "GPU"), (self.memory_gb, "GB of memory")]
        names = [f"{n:g} {name}{'s' * (n != 1 and name != 'GB of memory')}" for n, name in parts if n]
        return ", ".join(names) or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage function gets besides its arguments."""

    out: Path
    """A fresh folder; everything the stage leaves here is its result."""
    label: str
    """The stage's name for people."""
    report: Callable[[float, float | None, str], None]
    """Where ``progress`` goes."""

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Say that ``done`` of ``total`` units are done; cheap enough to be called every step."""
        self.report(done, total, unit)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What ``stage_function`` notes about a function."""

    name: str
    version: int
    title: str


def stage_function(*, version: int = 1, title: str = "", name: str | None = None) -> Callable[[F], F]:
    """Mark a module-level function ``fn(ctx, **arguments) -> None`` as the body of a stage.

    The function writes files into ``ctx.out`` and may call ``ctx.progress``. Arguments that were stages arrive as the
    ``Path`` of that stage's finished folder, which it must not change. The function itself stays as it is.

    Parameters
    ----------
    version : int
        Enters the key. Raise it with every change of the function that changes its files.
    title : str
        The label of stages that have none of their own.
    name : str, optional
        Enters the key. Module and function name without ``overopt.`` unless given; give one to move the function
        later without losing its results.

    Raises
    ------
    ConfigError
        If the function cannot be found by name in another process, or its name or arguments cannot be used.
    """

    def mark(function: F) -> F:
        module, qualname = function.__module__, function.__qualname__
        if not qualname.isidentifier():
            raise ConfigError(f"a stage function is defined at the top of a module; {qualname} in {module} is not")
        if name is None and module == "__main__":
            raise ConfigError(f"give the stage function {qualname} a name= of its own; scripts share the name __main__")
        full_name = name if name is not None else f"{module}.{qualname}".removeprefix("overopt.")
        if not _NAME.fullmatch(full_name):
            raise ConfigError(
                f"the stage name {full_name!r} must be 1 to 120 letters, digits, '_', '-' and '.', the first a letter, "
                "a digit or '_'"
            )
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise ConfigError(f"the version of stage {full_name} must be a whole number from 1; got {version!r}")
        names = list(inspect.signature(function).parameters)
        if not names or {"label", "cost", "needs"} & set(names):
            raise ConfigError(
                f"stage {full_name}: the first argument is the context, and none is called label, cost or needs"
            )
        setattr(function, _MARK, StageSpec(full_name, version, title or full_name))
        return function

    return mark


_ONE_CORE = Needs()


@final
class Stage:
    """A piece of work: a stage function with its arguments.

    Parameters
    ----------
    function
        Marked by ``stage_function``.
    label : str, optional
        What people see; not in the key.
    cost : float
        Expected duration in any unit that the stages of a study share; not in the key. Costly stages start first.
    needs : Needs
        What it occupies while it runs; not in the key.
    **arguments
        None, booleans, whole and finite numbers, strings, frozen dataclasses of these, stages, and lists, tuples and
        dicts with string keys of all of them.

    Raises
    ------
    ConfigError
        If an argument is unknown to the function, missing, or not of these kinds.
    """

    __slots__ = ("_arguments", "cost", "function", "inputs", "key", "label", "name", "needs", "parameters", "version")

    def __init__(
        self,
        function: StageFunction,
        /,
        *,
        label: str | None = None,
        cost: float = 1.0,
        needs: Needs = _ONE_CORE,
        **arguments: object,
    ) -> None:
        spec = getattr(function, _MARK, None)
        if not isinstance(spec, StageSpec):
            raise ConfigError(f"{getattr(function, '__qualname__', function)!r} is not marked by stage_function")
        if not (math.isfinite(cost) and cost > 0):
            raise ConfigError(f"stage {spec.name}: cost must be above 0; got {cost}")
        if not (needs.cpus > 0 and needs.gpus >= 0 and needs.memory_gb >= 0):
            raise ConfigError(f"stage {spec.name} needs part of a core at least, and nothing below 0; got {needs!r}")
        inputs: dict[str, Stage] = {}
        bound = _bind(function, spec.name, arguments)
        self.function = function
        self.name = spec.name
        self.version = spec.version
        self.label = label if label is not None else spec.title
        self.cost = float(cost)
        self.needs = needs
        self.parameters: dict[str, Json] = {
            argument: _canonical(value, f"stage {spec.name}: {argument}", inputs) for argument, value in bound.items()
        }
        """The arguments as JSON; a stage among them is ``{"$stage": key}``, a dataclass names its class."""
        self.inputs: tuple[Stage, ...] = tuple(inputs.values())
        """The stages among the arguments, each once."""
        # A copy: a list that its owner changes later must not change work whose key is fixed now.
        self._arguments = {argument: _copy(value, _same) for argument, value in bound.items()}
        identity = {"schema": KEY_SCHEMA, "name": self.name, "version": self.version, "parameters": self.parameters}
        self.key = hashlib.sha256(_dump(identity).encode()).hexdigest()
        """64 hexadecimal digits; stages with equal keys are the same work."""

    @property
    def input_keys(self) -> list[str]:
        """The keys of the inputs, in the order of ``inputs``."""
        return [stage.key for stage in self.inputs]

    @property
    def identity(self) -> "Identity":
        """What a store has to know of the stage."""
        return Identity(
            name=self.name,
            version=self.version,
            key=self.key,
            label=self.label,
            parameters=self.parameters,
            input_keys=self.input_keys,
        )

    def task(self, attempt: int = 1) -> "Task":
        """The stage with each input replaced by its identity: small enough to be sent away for the nth ``attempt``."""
        inputs = {stage.key: stage.identity for stage in self.inputs}
        return Task(
            function=self.function,
            arguments={
                name: _copy(value, lambda leaf: inputs[leaf.key] if isinstance(leaf, Stage) else leaf)
                for name, value in self._arguments.items()
            },
            identity=self.identity,
            inputs=tuple(inputs.values()),
            attempt=attempt,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Stage {self.label!r} {self.name}-{self.key[:16]}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A stage as the store sees it."""

    name: str
    version: int
    key: str
    label: str
    parameters: dict[str, Json]
    input_keys: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A stage whose inputs are made: what a worker process receives."""

    function: StageFunction
    arguments: Mapping[str, object]
    """Inputs among them are identities."""
    identity: Identity
    inputs: tuple[Identity, ...]
    attempt: int = 1

    def bound(self, folders: Mapping[str, Path]) -> dict[str, object]:
        """The arguments, fresh down to their leaves, with each input's folder from ``folders``, by key."""
        return {
            name: _copy(value, lambda leaf: folders[leaf.key] if isinstance(leaf, Identity) else leaf)
            for name, value in self.arguments.items()
        }


def plan(targets: Iterable[Stage]) -> list[Stage]:
    """``targets`` and all that they need, each key once, inputs before the stages that read them.

    Raises
    ------
    ConfigError
        If two different functions carry one name: they would take each other's results for their own.
    """
    ordered: dict[str, Stage] = {}
    owners: dict[str, tuple[str, str]] = {}
    # A stack of our own instead of recursion: a curriculum may be hundreds of stages deep.
    stack = [(stage, False) for stage in reversed(list(targets))]
    while stack:
        stage, inputs_are_placed = stack.pop()
        if stage.key in ordered:
            continue
        if not inputs_are_placed:
            stack.append((stage, True))
            stack.extend((needed, False) for needed in reversed(stage.inputs))
            continue
        owner = (stage.function.__module__, stage.function.__qualname__)  # outlives a reload, unlike the function
        if owners.setdefault(stage.name, owner) != owner:
            raise ConfigError(f"two stage functions are called {stage.name}; give one of them another name=")
        ordered[stage.key] = stage
    return list(ordered.values())


def _bind(function: StageFunction, name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """All arguments of a call, defaults included, in the order of the signature."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(None, **arguments)
    except TypeError as error:
        raise ConfigError(f"stage {name}: {error}") from None
    bound.apply_defaults()
    values: dict[str, object] = {}
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            values.update(bound.arguments[parameter.name])
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            values[parameter.name] = bound.arguments[parameter.name]
    return values


def _canonical(value: object, where: str, inputs: dict[str, Stage] | None) -> Json:
    """``value`` as JSON that is equal exactly when the work is; stages found on the way are put into ``inputs``."""
    if value is None or isinstance(value, bool):
        return value
    # int(), float() and str() drop subclasses: numpy's float64 is a float, an enum may be a string.
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; a parameter is a finite number, so write None for 'not set'")
        return float(value)
    if isinstance(value, Stage):
        if inputs is None:
            raise ConfigError(f"{where} is a stage inside a dataclass; give it as an argument of its own")
        inputs.setdefault(value.key, value)
        return {"$stage": value.key}
    # Exact types: a function given a named tuple would find a plain one.
    if type(value) is list or type(value) is tuple:
        return [_canonical(item, f"{where}[{position}]", inputs) for position, item in enumerate(value)]
    if type(value) is dict:
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise ConfigError(f"{where} has the key {key!r}; keys are strings that do not start with '$'")
        return {str.__str__(key): _canonical(item, f"{where}.{key}", inputs) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__qualname__
        if not getattr(value, "__dataclass_params__").frozen:  # noqa: B009 - typeshed does not list it
            raise ConfigError(f"{where} is a {kind}, a dataclass that can change; declare it frozen=True")
        fields = [field.name for field in dataclasses.fields(value)]
        return {"$class": kind, **{name: _canonical(getattr(value, name), f"{where}.{name}", None) for name in fields}}
    raise ConfigError(f"{where} is a {type(value).__name__}; {_ALLOWED}")


def _copy(value: object, leaf: Callable[[Any], object]) -> object:  # Any: of whatever kind a leaf is
    """A copy of ``value``, fresh down to its leaves, each passed through ``leaf``."""
    if isinstance(value, list):
        return [_copy(item, leaf) for item in value]
    if isinstance(value, tuple):
        return tuple(_copy(item, leaf) for item in value)
    if isinstance(value, dict):
        return {key: _copy(item, leaf) for key, item in value.items()}
    return leaf(value)


def _same(leaf: object) -> object:
    return leaf


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
