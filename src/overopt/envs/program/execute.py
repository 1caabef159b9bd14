"""Running a program, a file or one function of a file: whatever the text, a result comes back and nothing is raised."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from overopt.envs.program.expressions import evaluate
from overopt.envs.program.imports import load
from overopt.envs.program.limits import DEFAULT_LIMITS, BudgetExceeded, Limits, Meter
from overopt.envs.program.measuring import measure
from overopt.envs.program.names import folder_of, join
from overopt.envs.program.run import Frame, Run
from overopt.envs.program.source import SourceError
from overopt.envs.program.statements import execute
from overopt.envs.program.texts import show
from overopt.envs.program.values import (
    InstanceValue,
    ModuleValue,
    ProgramError,
    Scope,
    UnsupportedConstruct,
    Value,
    type_name,
)


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"
    ERROR = "error"
    """The program raised an exception or is no Python."""
    UNSUPPORTED = "unsupported"
    """It used a construct outside the subset, which ``reason`` names."""
    OVER_BUDGET = "over-budget"
    """It used up a budget, which ``reason`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run gave."""

    status: Status
    value: Value = None
    """The value asked for, when it is plain data (numbers, strings, None, lists, tuples, dicts); else ``None``."""
    value_type: str = "NoneType"
    """Name of the value's type, as the program would see it."""
    output: str = ""
    """What was printed."""
    error: str = ""
    """Error output: a traceback like Python's, or what the test frameworks print."""
    error_type: str = ""
    """Name of the exception."""
    reason: str = ""
    """The unsupported construct or the budget; empty otherwise."""
    exit_code: int = 0
    """Of ``python FILE``: 0, 1, or what was given to ``sys.exit``."""
    steps: int = 0
    """Nodes evaluated."""
    spent: float = 0.0
    """Share of its budget of steps or of work that the run used, whichever is larger; 0 to 1."""


def prepare(
    files: Mapping[str, str],
    limits: Limits = DEFAULT_LIMITS,
    *,
    folder: str = "/",
    parsed: dict[str, ast.Module] | None = None,
    replaced: Mapping[str, Mapping[str, Value]] | None = None,
) -> Run:
    """A fresh run over a read-only view of a tree: names of files, relative to ``folder`` or absolute, and texts."""
    return Run(
        files={join(folder, name): text for name, text in files.items() if isinstance(text, str)},
        limits=limits,
        evaluate=evaluate,
        execute=execute,
        parsed={} if parsed is None else parsed,
        replaced={join(folder, name): names for name, names in (replaced or {}).items()},
        folder=folder,
    )


def run_file(
    files: Mapping[str, str],
    name: str,
    arguments: Sequence[str] = (),
    *,
    limits: Limits = DEFAULT_LIMITS,
    folder: str = "/",
    run_main_tests: Callable[[Run], Value] | None = None,
) -> Result:
    """``python name arguments`` in ``folder``."""
    run = prepare(files, limits, folder=folder)
    file = join(folder, name)
    if file not in run.files:
        message = f"python3: can't open file '{file}': [Errno 2] No such file or directory\n"
        return Result(status=Status.ERROR, error=message, error_type="FileNotFoundError", exit_code=2)
    run.search.append(folder_of(file))
    run.arguments.extend([name, *arguments])
    run.run_main_tests = run_main_tests
    return finish(run, lambda: load(run, file, "__main__") and None, shown={file: name})


def run_text(
    text: str,
    files: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    *,
    limits: Limits = DEFAULT_LIMITS,
    folder: str = "/",
) -> Result:
    """``python -c text`` in ``folder``."""
    run = prepare(files or {}, limits, folder=folder)
    run.search.append(folder)
    run.arguments.extend(["-c", *arguments])

    def program() -> None:
        tree = run.tree_of(text)
        module = ModuleValue("__main__", {"__name__": "__main__"}, "<string>")
        run.frames.append(Frame("<string>", 0, "<module>"))
        run.execute(run, tree.body, Scope(module.names, module))

    return finish(run, program, shown={"": "<string>"})


def call_function(
    files: Mapping[str, str],
    file: str,
    function: str,
    calls: Sequence[Sequence[Value]],
    *,
    limits: Limits = DEFAULT_LIMITS,
    folder: str = "/",
    parsed: dict[str, ast.Module] | None = None,
    allowance: float = math.inf,
) -> tuple[Result, ...]:
    """Results of calling ``function`` of a module with each of ``calls``, one after another in one module state.

    Each call has budgets of its own, the first together with the execution of the module. All of them may use
    ``allowance`` times the budgets of one run. After the first result that is not ``ok`` the later calls are left out,
    so the results may be fewer than the calls, but never none.
    """
    run = prepare(files, limits, folder=folder, parsed=parsed)
    absolute = join(folder, file)
    run.search.extend([folder_of(absolute), folder])
    name = absolute.rpartition("/")[2].removesuffix(".py")
    loaded = finish(run, lambda: load(run, absolute, name) and None, shown={absolute: file})
    if absolute not in run.modules:
        # A module that leaves while it is imported gives nothing to call, whatever its exit code.
        return (replace(loaded, status=Status.ERROR) if loaded.status is Status.OK else loaded,)
    module = run.modules[absolute]
    results: list[Result] = []
    spent = 0.0
    for number, arguments in enumerate(calls or ((),)):
        if number:
            run.meter = Meter(limits)

        def one(given: Sequence[Value] = arguments) -> Value:
            run.frames[:] = [Frame("<call>", 1, "<module>")]
            if function not in module.names:
                run.fail("AttributeError", f"module '{name}' has no attribute '{function}'")
            return run.call(module.names[function], list(given))

        results.append(finish(run, one, shown={absolute: file}))
        spent += results[-1].spent
        if spent > allowance:
            results[-1] = replace(results[-1], status=Status.OVER_BUDGET, value=None, reason="allowance")
        if results[-1].status is not Status.OK:
            break
    return tuple(results)


def finish(run: Run, action: Callable[[], Value], shown: Mapping[str, str]) -> Result:
    """Carry out ``action`` and say how it ended; ``shown`` maps absolute names to those for tracebacks."""
    status, reason, error_type, exit_code = Status.OK, "", "", 0
    value, value_type = None, "NoneType"
    try:
        try:
            value = action()
            value_type = type_name(value)
            measure(run.meter, value)
        except ProgramError as error:
            exit_code = _exit_code(run, error)
            status = Status.ERROR
            error_type = error.value.cls.name
            if error_type == "SystemExit":
                status = Status.OK if exit_code == 0 else Status.ERROR
            else:
                run.complaints.append(traceback(run, error, shown))
        except SourceError as error:
            status, error_type, exit_code = Status.ERROR, error.kind, 1
            run.complaints.append(_syntax_text(next(iter(shown.values()), "<string>"), error) + "\n")
    except UnsupportedConstruct as unsupported:
        status, reason, exit_code = Status.UNSUPPORTED, unsupported.what, 1
    except BudgetExceeded as exceeded:
        status, reason, exit_code = Status.OVER_BUDGET, exceeded.budget, 1
    except (RecursionError, MemoryError):
        # The caller's own stack was nearly full.
        status, reason, exit_code = Status.OVER_BUDGET, "depth", 1
    except Exception as defect:
        # A hostile text must not stop a batch of episodes through a defect of ours: it is reported as what it is.
        status, reason, exit_code = Status.UNSUPPORTED, f"internal {type(defect).__name__}: {defect}", 1
    if status is not Status.OK:
        value_type = "NoneType"
    if status is not Status.OK or not _is_plain(value):
        value = None
    return Result(
        status=status,
        value=value,
        value_type=value_type,
        output="".join(run.printed),
        error="".join(run.complaints),
        error_type=error_type,
        reason=reason,
        exit_code=exit_code,
        steps=run.limits.steps - max(run.meter.steps_left, 0),
        spent=run.meter.spent,
    )


def _is_plain(value: Value) -> bool:
    """Whether the value, already measured and therefore finite, is data and nothing of ours."""
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    return value is None or isinstance(value, bool | int | float | str)


def _exit_code(run: Run, error: ProgramError) -> int:
    if error.value.cls.name != "SystemExit" or not error.value.arguments:
        return 0 if error.value.cls.name == "SystemExit" else 1
    code = error.value.arguments[0]
    if code is None or isinstance(code, int):
        return int(code or 0) % 256
    run.complaints.append(show(run, code) + "\n")
    return 1


def traceback(run: Run, error: ProgramError, shown: Mapping[str, str]) -> str:
    """Python's text for an uncaught exception, without the marks below a line."""
    value = error.value
    lines = ["Traceback (most recent call last):"]
    for file, line, name in error.frames:
        if file == "<call>":
            continue
        lines.append(f'  File "{shown.get(file, file)}", line {line}, in {name}')
        source = run.files.get(file, "").split("\n")
        if 0 < line <= len(source) and source[line - 1].strip():
            lines.append(f"    {source[line - 1].strip()}")
    if value.cls.name in ("SyntaxError", "IndentationError") and "file" in value.names:
        file = str(value.names["file"])
        problem = SourceError(
            value.cls.name,
            show(run, value),
            int(value.names["line"]),
            int(value.names["column"]),
            str(value.names["text"]),
        )
        return "\n".join([*lines, _syntax_text(shown.get(file, file), problem)]) + "\n"
    return "\n".join([*lines, summary(run, value)]) + "\n"


def summary(run: Run, value: InstanceValue) -> str:
    """The last line of a traceback."""
    text = show(run, value)
    return f"{value.cls.name}: {text}" if text else value.cls.name


def _syntax_text(file: str, error: SourceError) -> str:
    lines = [f'  File "{file}", line {error.line or 1}']
    if error.text.strip():
        stripped = error.text.lstrip()
        lines.append(f"    {stripped.rstrip()}")
        lines.append("    " + " " * max(error.column - 1 - (len(error.text) - len(stripped)), 0) + "^")
    return "\n".join([*lines, f"{error.kind}: {error.message}"])
