"""Stage functions that the tests run, in this process and in workers; each notes that it ran where ``notes`` says."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from overopt.errors import DataError
from overopt.workflow import StageContext, stage_function


@dataclass(frozen=True)
class Settings:
    width: int = 8
    rate: float = 0.5


class FussyError(DataError):
    """Cannot be rebuilt from its own ``args``: what a naive trip between processes loses."""

    def __init__(self, file: str, row: int) -> None:
        super().__init__(f"{file} holds no number in row {row}")


def note(notes: str, word: str) -> None:
    with (Path(notes) / "ran.txt").open("a") as file:
        file.write(f"{word} {os.getpid()}\n")


def noted(notes: Path) -> list[str]:
    path = notes / "ran.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@stage_function(title="write the process")
def write_pid(ctx: StageContext, *, text: str) -> None:
    (ctx.out / "pid").write_text(str(os.getpid()))


@stage_function(title="write")
def write(ctx: StageContext, *, text: str, notes: str = "", settings: Settings | None = None) -> None:
    if notes:
        note(notes, text)
    (ctx.out / "deep").mkdir()
    (ctx.out / "text.txt").write_text(text)
    (ctx.out / "deep" / "settings.txt").write_text(str(settings))


@stage_function(title="join")
def join(ctx: StageContext, *, parts: list[Path], notes: str = "", named: dict[str, Path] | None = None) -> None:
    assert all(isinstance(part, Path) for part in parts)
    text = "+".join((part / "text.txt").read_text() for part in parts)
    text += "".join(f";{name}={(part / 'text.txt').read_text()}" for name, part in (named or {}).items())
    if notes:
        note(notes, text)
    (ctx.out / "text.txt").write_text(text)


@stage_function(title="wait")
def wait_for(ctx: StageContext, *, part: Path, notes: str, file: str, chatty: bool = False) -> None:
    """Runs until ``file`` appears beside the notes, half a result written; reports progress or keeps silent."""
    (ctx.out / "half.txt").write_text("half")
    note(notes, "wait")
    deadline = time.monotonic() + 60
    while not (Path(notes) / file).exists() and time.monotonic() < deadline:
        if chatty:
            ctx.progress(1, 2, "halves")
        time.sleep(0.02)
    (ctx.out / "text.txt").write_text((part / "text.txt").read_text() + "!")


@stage_function(title="fail")
def fail(ctx: StageContext, *, how: str) -> None:
    (ctx.out / "half.txt").write_text("half")
    if how == "fussy":
        raise FussyError("scores.csv", 7)
    if how == "bug":
        raise ZeroDivisionError("division by zero\nin two lines")
    if how == "exit":
        sys.exit(3)
    if how == "link":
        (ctx.out / "link").symlink_to("half.txt")
    if how == "reserved":
        (ctx.out / "_artifact.json").write_text("{}")


@stage_function(title="die")
def die(ctx: StageContext, *, notes: str, times: int, how: str = "SIGKILL") -> None:
    """Kills its own process the first ``times`` times."""
    note(notes, "die")
    if noted(Path(notes)).count("die") <= times:
        if how == "exit":
            os._exit(5)
        os.kill(os.getpid(), signal.Signals[how])
    (ctx.out / "text.txt").write_text("survived")


@stage_function(title="threads")
def thread_variables(ctx: StageContext, *, which: int = 0) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    (ctx.out / "text.txt").write_text(" ".join(os.environ.get(name, "unset") for name in names))


@stage_function(title="report")
def report(ctx: StageContext, *, steps: int) -> None:
    for step in range(1, steps + 1):
        ctx.progress(step, steps, "steps")


@stage_function(title="meet")
def meet(ctx: StageContext, *, notes: str, me: str, other: str) -> None:
    """Ends only if the other stage runs at the same time."""
    (Path(notes) / me).touch()
    deadline = time.monotonic() + 60
    while not (Path(notes) / other).exists():
        assert time.monotonic() < deadline, f"{other} never came"
        time.sleep(0.02)


@stage_function(title="memory")
def memory(ctx: StageContext, *, mb: int) -> None:
    bytearray(b"x") * (mb * 2**20)


@stage_function(title="seeded")
def seeded(ctx: StageContext, *, seed: int, deep: dict[str, int]) -> None:
    (ctx.out / "text.txt").write_text(f"{seed}")
