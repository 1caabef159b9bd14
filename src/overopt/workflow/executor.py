"""Carry out a set of stages on this machine, as many at once as there are workers.

Results do not depend on the number of workers: each worker process computes with ``threads`` threads, and a stage sees
its inputs and parameters only. With ``workers=0`` everything runs in this process, in order, with its own threads.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

from overopt.errors import ConfigError, StageError
from overopt.workflow.stage import Stage, plan
from overopt.workflow.store import Store
from overopt.workflow.worker import Outcome, Progress, Ready, failed, pack, perform, serve

EventKind = Literal["planned", "reused", "started", "progress", "finished", "failed", "skipped", "damaged"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
"""Read once, when numpy, torch and polars are imported; so they are set before a worker imports anything."""

_LONG_S = 20.0
"""A process that worked longer on a stage is replaced: libraries keep memory, and starting anew is cheap beside it."""
_LEAVE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a stage."""

    kind: EventKind
    """Each stage is "planned" first; then "reused", or "started", some "progress" and "finished" or "failed", or
    "skipped" because an input failed. "damaged" precedes "started". A stage that is tried again is "started" twice."""
    label: str
    name: str
    key: str
    cost: float
    """The stage's hint."""
    done: float = 0.0
    total: float | None = None
    """None when unknown."""
    unit: str = ""
    seconds: float = 0.0
    """What a finished or failed stage took; for a reused one, what it took when it was made."""
    message: str = ""
    """A sentence where there is something to say: the cause of a failure, what is damaged, why it starts again."""


def run(
    stages: Iterable[Stage],
    store: Store,
    *,
    workers: int,
    threads: int = 1,
    events: Callable[[Event], None] = lambda event: None,
) -> dict[str, Path]:
    """Make the results of ``stages`` and of all they need, and return their folders by key.

    Results that the store holds are verified and used; damaged ones are set aside and made again. A stage starts as
    soon as its inputs are there, the costliest first. When one fails, those that do not need it still run. A stage
    whose worker the system kills is tried once more, alone and in a fresh process.

    Parameters
    ----------
    workers : int
        Processes, >= 1, or 0 to run in this process.
    threads : int
        Threads that each worker computes with, >= 1; without effect when ``workers`` is 0.
    events
        Called in this process with everything that happens, in order.

    Raises
    ------
    StageError
        At the end, if stages failed: which, why, and where the tracebacks are.
    StorageError
        If the store cannot be written to.
    ConfigError
        If ``workers`` or ``threads`` is out of range, or two functions carry one name.
    """
    if workers < 0 or threads < 1:
        raise ConfigError(f"workers must be 0 or more and threads 1 or more; got {workers} and {threads}")
    order = plan(stages)
    store.check_writable()
    store.clean_temporary()
    for stage in order:
        events(_event("planned", stage))
    missing = [stage for stage in order if not _is_reused(stage, store, events)]
    schedule = _Schedule(missing, store, events)
    if workers == 0:
        _run_here(missing, schedule)
    elif missing:
        _run_in_processes(schedule, min(workers, len(missing)), threads)
    if schedule.failures:
        raise StageError(_failure_sentence(schedule))
    return {stage.key: store.path(stage) for stage in order}


class _Schedule:
    """Which stages wait, may start, run, are done, failed or cannot run; tells ``events`` of each change."""

    def __init__(self, missing: Sequence[Stage], store: Store, events: Callable[[Event], None]) -> None:
        self.store = store
        self.failures: dict[str, str] = {}
        """A sentence by key."""
        self.skipped: list[Stage] = []
        self._events = events
        self._waiting = {stage.key: stage for stage in missing}
        self._unmet = {stage.key: {key for key in stage.input_keys if key in self._waiting} for stage in missing}

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def pop_ready(self) -> Stage | None:
        """The costliest stage whose inputs are there, the earliest in the plan among equals."""
        ready = [stage for key, stage in self._waiting.items() if not self._unmet[key]]
        return self.pop(max(ready, key=lambda stage: stage.cost)) if ready else None  # max keeps the first of equals

    def pop(self, stage: Stage) -> Stage | None:
        """``stage`` if it still waits, which ends its waiting."""
        return self._waiting.pop(stage.key, None)

    def start(self, stage: Stage, message: str = "") -> None:
        self._events(_event("started", stage, message=message))

    def progress(self, stage: Stage, progress: Progress) -> None:
        event = _event("progress", stage, done=progress.done, total=progress.total, unit=progress.unit)
        self._events(event)

    def end(self, stage: Stage, outcome: Outcome) -> None:
        if outcome.kind == "failed":
            self._fail(stage, outcome)
            return
        for unmet in self._unmet.values():
            unmet.discard(stage.key)
        self._events(_event(outcome.kind, stage, seconds=outcome.seconds))

    def _fail(self, stage: Stage, outcome: Outcome) -> None:
        self.failures[stage.key] = f"{stage.label}: {outcome.cause} (traceback in {self.store.log_path(stage)})"
        self._events(_event("failed", stage, seconds=outcome.seconds, message=outcome.cause))
        blocked = {stage.key}
        for waiting in list(self._waiting.values()):  # plan order: an input comes before what needs it
            if blocked.intersection(waiting.input_keys):
                blocked.add(waiting.key)
                self.skipped.append(self._waiting.pop(waiting.key))
                self._events(_event("skipped", waiting, message=f"{stage.label} failed"))


def _is_reused(stage: Stage, store: Store, events: Callable[[Event], None]) -> bool:
    if not os.path.lexists(store.path(stage)):
        return False
    damages = store.verify(stage)
    if not damages:
        events(_event("reused", stage, seconds=float(store.manifest(stage)["provenance"]["wall_s"])))
        return True
    more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
    store.set_aside(stage)
    message = f"damaged: {damages[0].file}{more} in {stage.label}; rebuilding ({damages[0]})"
    events(_event("damaged", stage, message=message))
    return False


def _run_here(missing: Sequence[Stage], schedule: _Schedule) -> None:
    for stage in missing:
        if schedule.pop(stage) is None:  # skipped
            continue
        schedule.start(stage)
        task = stage.task(_folders(stage, schedule.store))
        schedule.end(stage, perform(task, schedule.store, partial(schedule.progress, stage)))


def _run_in_processes(schedule: _Schedule, workers: int, threads: int) -> None:
    store = schedule.store
    lost_once: dict[str, str] = {}
    again: deque[Stage] = deque()  # their worker was killed: each has its second try alone, with all the memory
    alone: Stage | None = None
    with _Pool(store, threads) as pool:

        def start(stage: Stage, message: str = "") -> None:
            schedule.start(stage, message)
            try:
                payload = pack(stage.task(_folders(stage, store)), store.log_path(stage))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                schedule.end(stage, failed(store.log_path(stage), error, 0.0))
            else:
                pool.start(stage, payload)

        while schedule.is_waiting or pool.n_busy or again:
            if again and not pool.n_busy:
                pool.dismiss_idle()
                alone = again.popleft()
                start(alone, f"{lost_once[alone.key]}; trying once more, alone")
            while not again and alone is None and pool.n_busy < workers and (stage := schedule.pop_ready()):
                start(stage)
            if not pool.n_busy:  # what was started could not even be sent
                alone = None
                continue
            for running, message in pool.receive():
                if isinstance(message, Progress):
                    schedule.progress(running, message)
                    continue
                if isinstance(message, _Lost) and running.key not in lost_once:
                    lost_once[running.key] = message.cause
                    again.append(running)
                elif isinstance(message, _Lost):
                    error = StageError(f"{message.cause}, as at the first try")
                    schedule.end(running, failed(store.log_path(running), error, 0.0))
                else:
                    schedule.end(running, message)
                alone = None if alone is running else alone


@dataclass(frozen=True, slots=True)
class _Lost:
    """A worker that ended in the middle of a stage."""

    cause: str


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    stage: Stage | None = None
    is_up: bool = False


class _Pool:
    """Worker processes, started when needed; leaving the block ends them, at once if it raises."""

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self._threads = threads
        self._workers: list[_Worker] = []

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            for worker in self._workers:
                worker.process.terminate()
        self._dismiss(self._workers)
        self._store.clean_temporary()  # of workers that were ended in the middle of a stage

    @property
    def n_busy(self) -> int:
        return sum(worker.stage is not None for worker in self._workers)

    def start(self, stage: Stage, payload: bytes) -> None:
        """Give ``payload`` to an idle worker, or to a new one."""
        worker = next((worker for worker in self._workers if worker.stage is None), None) or self._new_worker()
        worker.stage = stage
        with suppress(OSError):  # it died a moment ago; ``receive`` finds out
            worker.connection.send_bytes(payload)

    def receive(self) -> Iterator[tuple[Stage, Progress | Outcome | _Lost]]:
        """Wait until workers say something, and yield it with the stage that it is about."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)) if by_connection else []:
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                message: Ready | Progress | Outcome | _Lost = connection.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                message = _Lost(_death_cause(worker))
            if isinstance(message, Ready):
                worker.is_up = True
                continue
            stage = worker.stage
            if isinstance(message, Outcome | _Lost):
                worker.stage = None
            if isinstance(message, Outcome) and message.seconds > _LONG_S:
                self._dismiss([worker])
            if stage is not None:
                yield stage, message

    def dismiss_idle(self) -> None:
        self._dismiss([worker for worker in self._workers if worker.stage is None])

    def _new_worker(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, str(self._store.root), os.getpid()))
        worker = _Worker(process, ours)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self._threads))):
            process.start()
        theirs.close()
        self._workers.append(worker)
        return worker

    def _dismiss(self, workers: Iterable[_Worker]) -> None:
        leaving = list(workers)
        for worker in leaving:
            worker.connection.close()  # an idle worker takes this as the end
        for worker in leaving:
            _end(worker.process)
            self._workers.remove(worker)


def _end(process: SpawnProcess) -> int | None:
    """Wait until ``process`` is gone, less and less patiently, and return its exit code."""
    process.join(_LEAVE_S)
    for insist in (process.terminate, process.kill):
        if process.is_alive():
            insist()
            process.join(_LEAVE_S)
    code = process.exitcode
    if code is not None:
        process.close()
    return code


def _death_cause(worker: _Worker) -> str:
    worker.connection.close()
    code = _end(worker.process)
    if not worker.is_up:
        return (
            f"its worker process could not start (exit status {code}); a script that runs a study does so "
            'below `if __name__ == "__main__":`'
        )
    if code is None or code >= 0:
        return f"its worker process ended by itself with exit status {code}"
    if -code == signal.SIGKILL:
        return "its worker process was killed by the system (SIGKILL; out of memory?)"
    return f"its worker process was ended by {signal.Signals(-code).name}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _folders(stage: Stage, store: Store) -> dict[str, Path]:
    return {needed.key: store.path(needed) for needed in stage.inputs}


def _failure_sentence(schedule: _Schedule) -> str:
    n_failed, n_skipped = len(schedule.failures), len(schedule.skipped)
    what = f"{n_failed} stage{'s' * (n_failed > 1)} failed"
    if n_skipped:
        what += f" and {n_skipped} more did not run for want of {'its' if n_failed == 1 else 'their'} results"
    return f"{what}: {'; '.join(schedule.failures.values())}"


def _event(
    kind: EventKind,
    stage: Stage,
    *,
    done: float = 0.0,
    total: float | None = None,
    unit: str = "",
    seconds: float = 0.0,
    message: str = "",
) -> Event:
    return Event(
        kind=kind,
        label=stage.label,
        name=stage.name,
        key=stage.key,
        cost=stage.cost,
        done=done,
        total=total,
        unit=unit,
        seconds=seconds,
        message=message,
    )
