"""How one stage is carried out, in this process or in a worker process that serves one stage after another."""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from overopt.errors import OveroptError
from overopt.workflow.provenance import reset_peak_memory
from overopt.workflow.stage import StageContext, Task
from overopt.workflow.store import Store

_WATCH_S = 0.5
_PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units; ``total`` is None when the stage does not know."""

    done: float
    total: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended. Text only: an exception with arguments of its own may not survive the way to the parent."""

    kind: Literal["finished", "reused", "failed"]
    seconds: float
    cause: str = ""
    """One sentence if it failed."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message of a worker: it could start at all."""


def perform(task: Task, store: Store, report: Callable[[Progress], None]) -> Outcome:
    """Carry out ``task`` and put its result into ``store``; a failure is written to its log and returned."""
    clock = time.perf_counter()

    def forward(done: float, total: float | None, unit: str) -> None:
        report(Progress(float(done), None if total is None else float(total), unit))  # no tensors

    try:
        if store.state(task) == "ready":  # another run on the same store was faster
            return Outcome("reused", float(store.manifest(task)["provenance"]["wall_s"]))
        with store.writing(task) as out:
            task.function(StageContext(out=out, label=task.label, report=forward), **task.arguments)
        store.log_path(task).unlink(missing_ok=True)
    except (Exception, SystemExit) as error:
        return failed(store.log_path(task), error, time.perf_counter() - clock)
    return Outcome("finished", time.perf_counter() - clock)


def failed(log: Path, error: BaseException, seconds: float) -> Outcome:
    """The outcome for ``error``, its traceback saved to ``log``."""
    with suppress(OSError):  # a full disk may be the very cause; the sentence still gets out
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    message = " ".join(str(error).split())
    if isinstance(error, OveroptError) and message:
        return Outcome("failed", seconds, message)
    return Outcome("failed", seconds, f"{type(error).__name__}: {message}" if message else type(error).__name__)


def serve(connection: Connection, root: str, parent: int) -> None:
    """The main function of a worker process: take tasks from ``connection`` until it is closed."""
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us in order
    channel = _Channel(connection)
    channel.send(Ready())
    store = Store(root)
    while True:
        try:
            payload = connection.recv_bytes()
        except (EOFError, OSError):
            return
        reset_peak_memory()
        log, content = pickle.loads(payload)
        try:
            task = pickle.loads(content)
        except Exception as error:
            channel.send(failed(Path(log), error, 0.0))
            continue
        channel.send(perform(task, store, channel.send_progress))


def pack(task: Task, log: Path) -> bytes:
    """``task`` as ``serve`` takes it; the log lies outside, readable even if the task's module cannot be imported."""
    return pickle.dumps((str(log), pickle.dumps(task)))


class _Channel:
    """The way to the parent: one message at a time, progress not too often."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # stages may report progress from threads
        self._last_progress = float("-inf")

    def send(self, message: Ready | Outcome | Progress) -> None:
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:  # the parent is gone; raised inside a stage this would pass for the stage's own failure
                os._exit(1)

    def send_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        is_last = progress.total is not None and progress.done >= progress.total
        if is_last or now - self._last_progress >= _PROGRESS_EVERY_S:
            self._last_progress = now
            self.send(progress)


def _end_with_parent(parent: int) -> None:
    # A parent that is killed outright can tell nobody; its orphans would go on computing for no one.
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
