"""No text reaches the host: by what the modules can name, and by what Python reports while scripts run."""

import ast
import random
from pathlib import Path

import pytest

import overopt.envs.machine

from .fuzz import fuzz_machine, script
from .host_events import host_events

FILES = sorted(Path(overopt.envs.machine.__file__).parent.rglob("*.py"))
IMPORTABLE = {"collections.abc", "dataclasses", "datetime", "hashlib", "math", "re", "typing", "overopt.errors"}
FORBIDDEN = frozenset(
    {"open", "eval", "exec", "compile", "__import__", "getattr", "setattr", "delattr", "vars", "globals", "locals"}
    | {"dir", "input", "breakpoint", "print", "memoryview", "id"}
)
SPECIAL = {"__init__", "__new__"}
FAST, FULL = 3_000, 20_000


def names_of_the_host(source: str) -> list[str]:
    """Imports, built-ins and special attributes that the machine has no business with."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name not in IMPORTABLE]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module not in IMPORTABLE and not module.startswith("overopt.envs.machine"):
                found.append(module)
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN:
            found.append(node.id)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr not in SPECIAL:
            found.append(node.attr)
    return found


def patterns_made_while_running(source: str) -> list[int]:
    """Lines on which ``re`` is called inside a function, where a model's text could become a pattern."""
    return [
        node.lineno
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_module_can_name_the_host(path):
    assert names_of_the_host(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_text_of_a_model_becomes_a_pattern_of_the_backtracking_engine(path):
    assert patterns_made_while_running(path.read_text(encoding="utf-8")) == []


def test_the_checks_see_ways_to_the_host():
    source = "import os\nfrom pathlib import Path\nimport re\ndef f(x):\n    import ctypes\n    re.compile(x)\n"
    source += "    return open, x.__class__\n"
    assert sorted(names_of_the_host(source)) == ["__class__", "ctypes", "open", "os", "pathlib"]
    assert patterns_made_while_running(source) == [6]


def test_the_hook_sees_files_and_compiled_text():
    with host_events() as events:
        Path(__file__).read_bytes()
        exec(compile("1", "<test>", "eval"))
    assert {event.split("(")[0] for event in events} >= {"open", "compile", "exec"}


def events_and_errors(scripts: int, seed: int) -> tuple[list[str], list[str]]:
    """What the host saw and what was raised while random scripts ran, five on each machine."""
    events: list[str] = []
    errors: list[str] = []
    base = fuzz_machine()
    for number in range(scripts):
        text = script(random.Random(f"{seed}-{number}"))
        if number % 5 == 0:
            machine = base.copy()
        with host_events() as seen:
            try:
                machine.run(text)
            except BaseException as error:
                errors.append(f"{text!r} raised {error!r}")
        events += [f"{text!r}: {event}" for event in seen]
    return events, errors


def test_random_scripts_cause_no_host_event_and_no_exception():
    assert events_and_errors(FAST, seed=0) == ([], [])


@pytest.mark.slow
def test_many_random_scripts_cause_no_host_event_and_no_exception():
    assert events_and_errors(FULL, seed=1) == ([], [])
