"""A study: its settings, and the stages whose results are its tables and models."""

import copy
import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from overopt.errors import ConfigError
from overopt.workflow import Stage, plan

SCHEMA = "overopt.study_settings/1"


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder of a stage's result."""

    stage: Stage
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that is to be made; settings are resolved."""

    name: str
    preset: str
    seed: int
    settings: Mapping[str, Any]
    """As JSON; a study can be rerun from them."""
    tables: Mapping[str, Output]
    """Path below ``tables/`` → Parquet file."""
    models: Mapping[str, Output]
    """Path below ``models/`` → model folder, ready for ``from_pretrained``."""
    questions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the study asks, by the name that ``--only`` takes → the tables that the answer needs; empty for a study
    whose report is one page."""
    runs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Run of RL → its ``proxy``, and the ``pool`` and table of ``scores`` of the policy it started from."""
    caveat: str = ""
    """What must stand on top of every page, if anything."""

    def header(self) -> dict[str, Any]:
        """What ``study.json`` holds."""
        header = {
            "schema": SCHEMA,
            "study": self.name,
            "preset": self.preset,
            "seed": self.seed,
            "settings": dict(self.settings),
        }
        if not self.questions:
            return header
        header |= {"questions": dict(self.questions), "runs": dict(self.runs)}
        return {**header, "caveat": self.caveat} if self.caveat else header

    def stages(self) -> list[Stage]:
        """The stages that are asked for, each once."""
        return list(dict.fromkeys(output.stage for output in (*self.tables.values(), *self.models.values())))

    def selected(self, patterns: Sequence[str]) -> list[Stage]:
        """The stages that any of ``patterns`` names, each once, in the order of the plan.

        A pattern, in which ``*`` and ``?`` stand for any letters, names a stage by its label, the stages of a table or
        model by its path (``scores/w8*``), or those of all tables that a question needs.

        Raises
        ------
        ConfigError
            If a pattern names nothing; with the names that are nearest.
        """
        stages = plan(self.stages())
        named: dict[str, list[Stage]] = {}
        for stage in stages:
            named.setdefault(stage.label, []).append(stage)
        for path, output in (*self.tables.items(), *self.models.items()):
            named.setdefault(path, []).append(output.stage)
        for question, tables in self.questions.items():
            named.setdefault(question, []).extend(self.tables[table].stage for table in tables)
        chosen: set[Stage] = set()
        for pattern in patterns:
            found = [name for name in named if fnmatchcase(name, pattern)]
            if not found:
                near = difflib.get_close_matches(pattern, named, n=3, cutoff=0.4) or list(named)[:3]
                raise ConfigError(
                    f"no stage, table, model or question of {self.name} is called {pattern!r}; near are "
                    f"{', '.join(map(repr, near))}"
                )
            chosen.update(stage for name in found for stage in named[name])
        return [stage for stage in stages if stage in chosen]


C = TypeVar("C")


def with_settings(config: C, assignments: Sequence[str], *, stored: Mapping[str, Any] | None = None) -> C:
    """``config`` with each "key=value" applied; a dot reaches into a nested configuration, values are JSON.

    A group that is ``None`` is switched on by any setting of it, or by ``{}``, and off by ``null``.

    Parameters
    ----------
    stored : mapping, optional
        Settings that come before the assignments, nested as :func:`resolved` nests them.

    Raises
    ------
    ConfigError
        If a key is unknown, a value has another type than the setting, or the configuration refuses it.
    """
    changes: dict[str, Any] = copy.deepcopy(dict(stored or {}))
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set takes key=value; got {assignment!r}")
        value = _value(text)
        *groups, name = key.strip().split(".")
        level = changes
        for group in groups:
            level[group] = {} if level.get(group) is None else level[group]
            level = level[group]
            if not isinstance(level, dict):
                raise ConfigError(f"there is no setting {key.strip()!r}: {group!r} has no parts")
        level[name] = value
    # All at once: settings that belong together need not be valid one by one.
    changed: C = _changed(config, changes, "")
    return changed


def _value(text: str) -> Any:
    """JSON, or a number as people write it (``.05``, ``+1``), or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return float(text) if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", text, re.IGNORECASE) else text


def _changed(config: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name for field in dataclasses.fields(config)}
    types = typing.get_type_hints(type(config))
    values = {}
    for name, value in changes.items():
        key = prefix + name
        if name not in fields:
            raise ConfigError(f"there is no setting {key!r}; there are {', '.join(prefix + f for f in sorted(fields))}")
        old = getattr(config, name)
        optional = _optional_group(types[name])
        if old is None and optional is not None and value is not None:
            old = optional()
        if not dataclasses.is_dataclass(old) or (optional is not None and value is None):
            values[name] = _converted(value, types[name], key)
        elif isinstance(value, dict):
            values[name] = _changed(old, value, f"{key}.")
        else:
            parts = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(old))
            raise ConfigError(f"{key!r} is a group of settings; set one of {parts}")
    return dataclasses.replace(config, **values)


def _optional_group(expected: Any) -> Any:
    """The configuration that a setting of this type may hold besides ``None``, or ``None``."""
    kinds = typing.get_args(expected)
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None) if type(None) in kinds else None


def _converted(value: Any, expected: Any, key: str) -> Any:
    """``value`` as the type of a setting: a number, text, truth value, choice, list of these, or none where allowed."""
    kinds = [kind for kind in typing.get_args(expected) or (expected,) if kind is not Ellipsis]
    origin = typing.get_origin(expected)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if origin is typing.Literal and value in kinds:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _converted(value, next(kind for kind in kinds if kind is not type(None)), key)
    if origin is tuple and isinstance(value, list):
        return tuple(_converted(item, kinds[0], key) for item in value)
    if expected is float and is_number:
        return float(value)
    if expected is int and isinstance(value, int) and is_number:
        return value
    if expected in (str, bool) and isinstance(value, expected):
        return value
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if origin is typing.Literal:
        wanted = f"one of {', '.join(map(str, kinds))}"
    elif origin is tuple:
        wanted = "a list of texts" if kinds[0] is str else "a list of whole numbers such as [8,16]"
    else:
        wanted = names[expected]
    raise ConfigError(f"{key} takes {wanted}; got {json.dumps(value)}")


def resolved(config: Any) -> dict[str, Any]:
    """Settings as JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values
