"""Test files: collecting and running ``def test_…`` and TestCase-like classes, as pytest would."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from overopt.envs.program.execute import Result, Status, finish, prepare, run_file, traceback
from overopt.envs.program.imports import load
from overopt.envs.program.library import TEST_CASE
from overopt.envs.program.limits import DEFAULT_LIMITS, BudgetExceeded, Limits
from overopt.envs.program.measuring import collect
from overopt.envs.program.names import folder_of, inside, join
from overopt.envs.program.run import Frame, Run
from overopt.envs.program.values import (
    MISSING,
    ClassValue,
    FunctionValue,
    MarkValue,
    ModuleValue,
    ProgramError,
    UnsupportedConstruct,
    Value,
    truth,
)

_FIXTURES_WORDS = """
    capsys capfd monkeypatch tmp_path tmpdir request recwarn caplog mocker
"""
_FIXTURES = frozenset(_FIXTURES_WORDS.split())
SETTINGS = {
    "pytest.ini": "[pytest]",
    ".pytest.ini": "[pytest]",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""Files by which a run of pytest is set up, with the section that does it."""


class Outcome(StrEnum):
    """What became of one test."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    """It could not be called as written."""
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    """Its failure was declared to be expected."""
    BLOCKED = "blocked"
    """The evaluator does not support what it does, or a budget ended."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test; ``text`` is its traceback or the reason why it was blocked."""

    __test__ = False
    name: str
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """A test file's run."""

    __test__ = False
    name: str
    """Of the file, as it was given."""
    loading: Result
    """How the file itself was executed before its tests."""
    tests: tuple[TestResult, ...]
    spent: float = 0.0
    """Share of the budget of steps or of work that the file and its tests used, whichever is larger; 0 to 1."""

    @property
    def output(self) -> str:
        """A text like pytest's, without times; made when it is asked for, as judges never read it."""
        return self.loading.error if self.exit_code == 4 else _text(self.name, self.loading, self.tests)

    @property
    def blocked(self) -> str:
        """Why the evaluator could not tell the outcome; empty when it could."""
        if self.loading.status in (Status.UNSUPPORTED, Status.OVER_BUDGET):
            return self.loading.reason
        return next((test.text for test in self.tests if test.outcome is Outcome.BLOCKED), "")

    @property
    def passed(self) -> bool:
        """Nothing failed: true for a file without any test too, as a check that looks only for failures sees it."""
        bad = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)
        return self.loading.status is Status.OK and not any(test.outcome in bad for test in self.tests)

    @property
    def exit_code(self) -> int:
        """Of pytest: 0 passed, 1 failed, 2 not collected, 3 blocked, 4 no such file, 5 no test."""
        if self.blocked:
            return 3
        if self.loading.status is not Status.OK:
            return 4 if self.loading.exit_code == 4 else 2
        if not self.passed:
            return 1
        return 0 if self.tests else 5


def run_tests(
    files: Mapping[str, str],
    name: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    folder: str = "/",
    parsed: dict[str, ast.Module] | None = None,
    replaced: Mapping[str, Mapping[str, Value]] | None = None,
) -> TestReport:
    """``pytest name`` in ``folder``: all tests of one file, sharing one set of budgets and one state of the modules.

    ``replaced`` overwrites names of a module once it has been imported, to see what a test makes of other values.
    A ``conftest.py`` of a folder on the way to the file is executed first; hooks in it and files with options for
    pytest, which could change or leave out any test, are unsupported.
    """
    run = prepare(files, limits, folder=folder, parsed=parsed, replaced=replaced)
    file = join(folder, name)
    run.search.extend([folder_of(file), folder])
    if file not in run.files:
        message = f"ERROR: file or directory not found: {name}\n"
        absent = Result(status=Status.ERROR, error=message, error_type="FileNotFoundError", exit_code=4)
        return TestReport(name, absent, ())
    module_name = file.rpartition("/")[2].removesuffix(".py")

    def load_all() -> None:
        _set_up(run, folder, file)
        load(run, file, module_name)

    loading = finish(run, load_all, shown={file: name})
    tests: tuple[TestResult, ...] = ()
    if loading.error_type == "SkipTest":
        loading = Result(status=Status.OK, output=loading.output, steps=loading.steps)
        tests = (TestResult(module_name, Outcome.SKIPPED),)
    elif loading.error_type == "SystemExit" or (loading.status is Status.OK and file not in run.modules):
        # Leaving while the tests are collected is an error for pytest, whatever the exit code.
        loading = Result(status=Status.ERROR, error="SystemExit\n", error_type="SystemExit", exit_code=2)
    elif loading.status is Status.OK:
        tests = tuple(_outcomes(run, run.modules[file], {file: name}))
    return TestReport(name, loading, tests, run.meter.spent)


def run_test_file(
    files: Mapping[str, str],
    name: str,
    arguments: Sequence[str] = (),
    *,
    limits: Limits = DEFAULT_LIMITS,
    folder: str = "/",
) -> Result:
    """``python name arguments``, where ``unittest.main()`` and ``pytest.main()`` run the file's own tests."""

    def run_main_tests(run: Run) -> Value:
        assert run.main is not None
        tests = tuple(_outcomes(run, run.main, {join(folder, name): name}))
        blocked = [test.text for test in tests if test.outcome is Outcome.BLOCKED]
        if blocked:
            raise UnsupportedConstruct(blocked[0])
        bad = [test for test in tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
        marks = {Outcome.PASSED: ".", Outcome.FAILED: "F", Outcome.ERROR: "E", Outcome.SKIPPED: "s"}
        rule = "-" * 70
        pieces = ["".join(marks.get(test.outcome, "x") for test in tests)]
        for test in bad:
            pieces += ["=" * 70, f"FAIL: {test.name}", rule, test.text]
        pieces += [rule, f"Ran {len(tests)} test{'' if len(tests) == 1 else 's'}", ""]
        pieces.append(f"FAILED (failures={len(bad)})" if bad else "OK")
        run.write("\n".join(pieces) + "\n", error=True)
        return 1 if bad else 0

    return run_file(files, name, arguments, limits=limits, folder=folder, run_main_tests=run_main_tests)


def _set_up(run: Run, folder: str, file: str) -> None:
    """What pytest does before it collects ``file`` when it is started in ``folder``."""
    places = [folder_of(file)]
    while places[-1] != folder and places[-1] != "/":
        places.append(folder_of(places[-1]))
    for place in reversed(places):
        for name, section in SETTINGS.items():
            if section in run.files.get(inside(place, name), ""):
                raise UnsupportedConstruct(f"options in {name}")
        path = inside(place, "conftest.py")
        if path in run.files and path != file:
            module = load(run, path, "conftest")
            hook = next((name for name in module.names if name.startswith("pytest_")), "")
            if hook:
                raise UnsupportedConstruct(f"{hook} in conftest.py")


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    function: FunctionValue
    owner: ClassValue | None
    marks: tuple[MarkValue, ...]


def _collected(module: ModuleValue) -> Iterator[_Found]:
    """Test functions and methods in the order in which they were defined."""
    own_marks = module.names.get("pytestmark", [])
    shared = tuple(mark for mark in (own_marks if isinstance(own_marks, list) else [own_marks]) if _is_mark(mark))
    for name, value in list(module.names.items()):
        if isinstance(value, FunctionValue) and name.startswith("test"):
            yield _Found(name, value, None, (*shared, *value.marks))
        elif isinstance(value, ClassValue) and not value.sealed:
            if not value.descends_from(TEST_CASE) and not name.startswith("Test"):
                continue
            if value.find("__init__") is not MISSING:
                continue
            seen: dict[str, Value] = {}
            cls: ClassValue | None = value
            while cls is not None:
                seen = {**cls.names, **seen}
                cls = cls.base
            for method, function in seen.items():
                if method.startswith("test") and isinstance(function, FunctionValue):
                    yield _Found(f"{name}::{method}", function, value, (*shared, *value.marks, *function.marks))


def _is_mark(value: Value) -> bool:
    return isinstance(value, MarkValue)


def _outcomes(run: Run, module: ModuleValue, shown: Mapping[str, str]) -> Iterator[TestResult]:
    for found in _collected(module):
        try:
            yield from _one(run, found, shown)
        except UnsupportedConstruct as unsupported:
            yield TestResult(found.name, Outcome.BLOCKED, unsupported.what)
        except BudgetExceeded as exceeded:
            yield TestResult(found.name, Outcome.BLOCKED, exceeded.budget)
        except (RecursionError, MemoryError):
            yield TestResult(found.name, Outcome.BLOCKED, "depth")


def _one(run: Run, found: _Found, shown: Mapping[str, str]) -> Iterator[TestResult]:
    expected_to_fail = False
    cases: list[dict[str, Value]] = [{}]
    for mark in found.marks:
        if mark.kind == "skip" or (mark.kind == "skipif" and _holds(mark)):
            yield TestResult(found.name, Outcome.SKIPPED)
            return
        if mark.kind == "xfail":
            expected_to_fail = not mark.arguments or _holds(mark)
        elif mark.kind == "parametrize":
            cases = [case | more for case in cases for more in _parameters(run, mark)]
            run.meter.items(len(cases))
        elif mark.kind in ("usefixtures", "filterwarnings"):
            raise UnsupportedConstruct(f"pytest.mark.{mark.kind}")
    for index, case in enumerate(cases):
        name = found.name if len(cases) == 1 else f"{found.name}[{index}]"
        unknown = _parameters_without_value(found, case)
        if unknown:
            if unknown in _FIXTURES:
                raise UnsupportedConstruct(f"fixture {unknown}")
            yield TestResult(name, Outcome.ERROR, f"fixture '{unknown}' not found\n")
            continue
        yield _called(run, name, _caller(run, found, case), shown, expected_to_fail)


def _holds(mark: MarkValue) -> bool:
    condition = mark.arguments[0] if mark.arguments else mark.keywords.get("condition", True)
    if isinstance(condition, str):
        raise UnsupportedConstruct("a condition given as text")
    return truth(condition)


def _parameters(run: Run, mark: MarkValue) -> list[dict[str, Value]]:
    if len(mark.arguments) != 2 or mark.keywords:
        raise UnsupportedConstruct("parametrize() with further options")
    names, rows = mark.arguments
    wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else collect(run, names)
    if not all(isinstance(name, str) for name in wanted):
        raise UnsupportedConstruct("parametrize() without names")
    cases = []
    for row in collect(run, rows):
        values = [row] if len(wanted) == 1 else collect(run, row)
        if len(values) != len(wanted):
            raise UnsupportedConstruct("parametrize() with rows of another length")
        cases.append(dict(zip(wanted, values, strict=True)))
    return cases


def _parameters_without_value(found: _Found, case: Mapping[str, Value]) -> str:
    spec = found.function.arguments
    names = [parameter.arg for parameter in [*spec.posonlyargs, *spec.args]]
    names = names[1:] if found.owner is not None else names
    required = names[: len(names) - len(found.function.defaults)] if found.function.defaults else names
    return next((name for name in required if name not in case), "")


def _caller(run: Run, found: _Found, case: dict[str, Value]) -> Callable[[], None]:
    def call() -> None:
        if found.owner is None:
            run.call(found.function, [], case)
            return
        receiver = run.call(found.owner, [])
        for before in ("setUp", "setup_method"):
            _hook(run, found.owner, before, receiver)
        run.call(found.function, [receiver], case)
        for after in ("tearDown", "teardown_method"):
            _hook(run, found.owner, after, receiver)

    return call


def _hook(run: Run, owner: ClassValue, name: str, receiver: Value) -> None:
    function = owner.find(name)
    if isinstance(function, FunctionValue):
        # pytest gives the method to those that ask for it.
        takes = len(function.arguments.args) + len(function.arguments.posonlyargs)
        run.call(function, [receiver, None][: max(takes, 1)])


def _called(
    run: Run, name: str, call: Callable[[], None], shown: Mapping[str, str], expected_to_fail: bool
) -> TestResult:
    depth = run.meter.depth
    frames = list(run.frames)
    run.frames.append(Frame("<call>", 1, "<module>"))
    try:
        call()
    except ProgramError as error:
        run.meter.depth = depth
        if error.value.cls.name == "SkipTest":
            return TestResult(name, Outcome.SKIPPED)
        if expected_to_fail:
            return TestResult(name, Outcome.XFAILED)
        return TestResult(name, Outcome.FAILED, traceback(run, error, shown))
    finally:
        run.frames[:] = frames
    return TestResult(name, Outcome.PASSED)


def _text(file: str, loading: Result, tests: tuple[TestResult, ...]) -> str:
    marks = {Outcome.PASSED: ".", Outcome.FAILED: "F", Outcome.SKIPPED: "s", Outcome.XFAILED: "x"}
    lines = [" test session starts ".center(80, "=")]
    counts = {outcome: sum(test.outcome is outcome for test in tests) for outcome in Outcome}
    if loading.status is not Status.OK:
        what = loading.error or f"unsupported: {loading.reason}\n"
        lines += ["collected 0 items / 1 error", "", " ERRORS ".center(80, "=")]
        lines += [f" ERROR collecting {file} ".center(80, "_"), what.rstrip("\n")]
        lines.append(" 1 error ".center(80, "="))
        return "\n".join(lines) + "\n"
    lines.append(f"collected {len(tests)} item{'' if len(tests) == 1 else 's'}")
    lines.append("")
    if tests:
        lines += [f"{file} {''.join(marks.get(test.outcome, 'E') for test in tests)}", ""]
    bad = [test for test in tests if test.outcome in (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)]
    if bad:
        lines.append(" FAILURES ".center(80, "="))
    for test in bad:
        lines += [f" {test.name} ".center(80, "_"), test.text.rstrip("\n")]
    if bad:
        lines.append(" short test summary info ".center(80, "="))
        lines += [f"{test.outcome.upper()} {file}::{test.name}" for test in bad]
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "no tests ran"
    lines.append(f" {said} ".center(80, "="))
    return "\n".join(lines) + "\n"
