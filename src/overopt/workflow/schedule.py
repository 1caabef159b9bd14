"""Which stage is next: the order in which a set of stages is carried out, and what is said of each on the way.

Nothing here starts a process or reads a clock, so that executors share it and a plan can be played through in no time.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from overopt.errors import StageError
from overopt.workflow.stage import Needs, Stage
from overopt.workflow.store import Store
from overopt.workflow.worker import Outcome, Progress, failed

EventKind = Literal["planned", "reused", "started", "progress", "finished", "failed", "skipped", "damaged"]


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
    log: str = ""
    """Where the traceback of a failed stage is."""


Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that ended in the middle of a stage."""

    cause: str


class Pool(Protocol):
    """Where stages are carried out."""

    retries: int
    """How often a stage is started again when its worker was lost."""
    is_alone_again: bool
    """Whether it then has everything to itself, because memory may have been short."""

    def capacity(self) -> Needs:
        """What all stages together may occupy at this moment."""
        ...

    def start(self, stage: Stage, attempt: int) -> None:
        """Begin to carry out ``stage``; what comes of it is told by ``receive``, failures to begin included."""
        ...

    def receive(self) -> Iterable[tuple[Stage, Progress | Outcome | Lost]]:
        """Wait until workers say something, or for a moment, and return it with the stage that it is about."""
        ...

    def dismiss_idle(self) -> None:
        """Give back what workers hold that have nothing to do."""
        ...


class Schedule:
    """Which stages wait, may start, run, are done, failed or cannot run; tells ``events`` of each change.

    Parameters
    ----------
    missing : sequence of Stage
        What is to be made, inputs before the stages that read them; other inputs are there.
    events
        Hears of each change.
    log_of
        Where the traceback of a failed stage is kept.
    """

    def __init__(
        self,
        missing: Sequence[Stage],
        events: Listener = lambda event: None,
        log_of: Callable[[Stage], str] = lambda stage: "",
    ) -> None:
        self.failures: dict[str, str] = {}
        """A sentence by key."""
        self.skipped: list[Stage] = []
        self._events = events
        self._log_of = log_of
        self._waiting = {stage.key: stage for stage in missing}
        self._position = {stage.key: place for place, stage in enumerate(missing)}
        self._unmet = {stage.key: {key for key in stage.input_keys if key in self._waiting} for stage in missing}
        self._readers: dict[str, list[Stage]] = {}
        for stage in missing:
            for key in self._unmet[stage.key]:
                self._readers.setdefault(key, []).append(stage)
        self._ready: list[tuple[float, int, Stage]] = []
        for stage in missing:
            self._note_if_ready(stage)

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def pop_ready(self, free: Needs, limit: Needs) -> Stage | None:
        """The costliest stage whose inputs are there and which fits; the earliest in the plan among equals.

        A stage that is passed over keeps what it is short of from all that come after it, or it might wait to the end.
        One that needs more than ``limit`` takes all of it.
        """
        passed, found = [], None
        while self._ready and found is None and free.cpus > 0:
            entry = heapq.heappop(self._ready)
            stage = entry[2]
            if stage.key not in self._waiting:
                continue
            needs = stage.needs.within(limit)
            if needs.fits(free):
                found = stage
                continue
            passed.append(entry)
            free = Needs(
                cpus=free.cpus if needs.cpus <= free.cpus else 0.0,
                gpus=free.gpus if needs.gpus <= free.gpus else 0.0,
                memory_gb=free.memory_gb if needs.memory_gb <= free.memory_gb else 0.0,
            )
        for entry in passed:
            heapq.heappush(self._ready, entry)
        return None if found is None else self.pop(found)

    def pop(self, stage: Stage) -> Stage | None:
        """``stage`` if it still waits, which ends its waiting."""
        return self._waiting.pop(stage.key, None)

    def start(self, stage: Stage, message: str = "") -> None:
        self._events(event("started", stage, message=message))

    def progress(self, stage: Stage, progress: Progress) -> None:
        self._events(event("progress", stage, done=progress.done, total=progress.total, unit=progress.unit))

    def end(self, stage: Stage, outcome: Outcome) -> None:
        if outcome.kind == "failed":
            self._fail(stage, outcome)
            return
        for reader in self._readers.get(stage.key, []):
            self._unmet[reader.key].discard(stage.key)
            self._note_if_ready(reader)
        self._events(event(outcome.kind, stage, seconds=outcome.seconds))

    def _note_if_ready(self, stage: Stage) -> None:
        if not self._unmet[stage.key]:
            heapq.heappush(self._ready, (-stage.cost, self._position[stage.key], stage))

    def _fail(self, stage: Stage, outcome: Outcome) -> None:
        log = self._log_of(stage)
        self.failures[stage.key] = f"{stage.label}: {outcome.cause} (traceback in {log})"
        self._events(event("failed", stage, seconds=outcome.seconds, message=outcome.cause, log=log))
        blocked = {stage.key}
        for waiting in list(self._waiting.values()):  # plan order: an input comes before what needs it
            if blocked.intersection(waiting.input_keys):
                blocked.add(waiting.key)
                self.skipped.append(self._waiting.pop(waiting.key))
                self._events(event("skipped", waiting, message=f"{stage.label} failed"))


def carry_out(schedule: Schedule, pool: Pool, store: Store) -> None:
    """Carry out what waits in ``schedule``, as much at once as ``pool`` has room for."""
    running: dict[str, Stage] = {}
    lost: dict[str, list[str]] = {}
    again: deque[Stage] = deque()
    alone: Stage | None = None

    def begin(stage: Stage, message: str = "") -> None:
        running[stage.key] = stage
        schedule.start(stage, message)
        pool.start(stage, 1 + len(lost.get(stage.key, [])))

    while schedule.is_waiting or running or again:
        while again and not (pool.is_alone_again and running):
            stage = again.popleft()
            causes, how = lost[stage.key], "again"
            if pool.is_alone_again:
                alone, how = stage, "again, alone"
                pool.dismiss_idle()
            begin(stage, f"{causes[-1]}; trying {how} ({len(causes)} of {pool.retries})")
        limit = pool.capacity()
        while not again and alone is None and (ready := schedule.pop_ready(_free(limit, running), limit)):
            begin(ready)
        for stage, message in pool.receive():
            if isinstance(message, Progress):
                schedule.progress(stage, message)
                continue
            running.pop(stage.key)
            alone = None if alone is stage else alone
            if isinstance(message, Outcome):
                schedule.end(stage, message)
                continue
            causes = lost.setdefault(stage.key, [])
            if len(causes) < pool.retries:
                causes.append(message.cause)
                again.append(stage)
            else:
                error = StageError(f"{message.cause}, at the last of {pool.retries + 1} tries")
                schedule.end(stage, failed(stage, store, error, 0.0))


def simulate(missing: Sequence[Stage], seconds: Mapping[str, float], capacity: Needs) -> float:
    """How long ``missing`` takes in all, in seconds, when each stage takes ``seconds`` by its key."""
    schedule, now = Schedule(missing), 0.0
    running: dict[str, Stage] = {}
    ends: list[tuple[float, str]] = []
    while schedule.is_waiting or running:
        while stage := schedule.pop_ready(_free(capacity, running), capacity):
            running[stage.key] = stage
            heapq.heappush(ends, (now + seconds[stage.key], stage.key))
        now, key = heapq.heappop(ends)
        schedule.end(running.pop(key), Outcome("finished", seconds[key]))
    return now


def event(
    kind: EventKind,
    stage: Stage,
    *,
    done: float = 0.0,
    total: float | None = None,
    unit: str = "",
    seconds: float = 0.0,
    message: str = "",
    log: str = "",
) -> Event:
    """An event about ``stage``."""
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
        log=log,
    )


def _free(limit: Needs, running: Mapping[str, Stage]) -> Needs:
    free = limit
    for stage in running.values():
        free = free.without(stage.needs.within(limit))
    return free
