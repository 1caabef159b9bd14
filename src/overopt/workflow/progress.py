"""What a person sees while stages run: bars on a terminal, plain lines in a log file. Standard error only."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overopt.workflow.schedule import Event

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

PLAIN_PROGRESS_EVERY_S = 30.0


@dataclass(slots=True)
class RunningStage:
    """A stage that has started and not ended; times are readings of one clock in seconds."""

    label: str
    cost: float
    started: float
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    first_done: float = 0.0
    first_seen: float = math.nan
    """When the stage first reported; what it does before (imports, loading) says nothing of its rate."""
    last_line: float = math.nan
    """When a line about it was printed."""

    def __post_init__(self) -> None:
        self.last_line = self.started

    def see(self, event: Event, now: float) -> None:
        """Take in a progress event. Another unit or total, or a step back, is a new phase with a rate of its own."""
        is_new_phase = (event.unit, event.total) != (self.unit, self.total) or event.done < self.done
        self.done, self.total, self.unit = event.done, event.total, event.unit
        if is_new_phase or math.isnan(self.first_seen):
            self.first_done, self.first_seen = event.done, now

    def rate(self, now: float) -> float:
        """Units a second in this phase; ``nan`` until two reports are in."""
        elapsed = now - self.first_seen
        return (self.done - self.first_done) / elapsed if elapsed > 0 and self.done > self.first_done else math.nan

    def time_left(self, now: float) -> float:
        """Seconds to the end of this phase; ``nan`` when unknown."""
        return math.nan if self.total is None else max(self.total - self.done, 0.0) / self.rate(now)


@dataclass(slots=True)
class Tally:
    """How far a run is, from its events."""

    clock: Callable[[], float] = time.monotonic
    n_planned: int = 0
    n_done: int = 0
    """Ended in any way: reused, finished, failed or skipped."""
    n_reused: int = 0
    running: dict[str, RunningStage] = field(default_factory=dict)
    began: float = math.nan
    """When the first stage started."""
    _open_cost: dict[str, float] = field(default_factory=dict)
    _known_cost: float = 0.0
    _known_s: float = 0.0
    _busy_s: float = 0.0

    def see(self, event: Event) -> None:
        """Take in one event."""
        now = self.clock()
        if event.kind == "planned":
            self.n_planned += 1
            self._open_cost[event.key] = event.cost
        elif event.kind == "started":
            self.began = now if math.isnan(self.began) else self.began
            self.running[event.key] = RunningStage(event.label, event.cost, now)
            self._open_cost.pop(event.key, None)
        elif event.kind == "progress" and event.key in self.running:
            self.running[event.key].see(event, now)
        elif event.kind in {"reused", "finished", "failed", "skipped"}:
            self.n_done += 1
            self.n_reused += event.kind == "reused"
            self._open_cost.pop(event.key, None)
            stage = self.running.pop(event.key, None)
            self._busy_s += now - stage.started if stage else 0.0
            if event.kind in {"reused", "finished"}:
                self._known_cost += event.cost
                self._known_s += event.seconds

    def elapsed(self) -> float:
        """Seconds since the first stage started; 0 before."""
        return 0.0 if math.isnan(self.began) else self.clock() - self.began

    def time_left(self) -> float:
        """Seconds until all is done, from the cost hints and the time that ended stages took; ``nan`` while unknown.

        Work that is left is divided by the mean number of stages that ran at once so far, and no estimate is below
        what the slowest running stage says of itself.
        """
        now = self.clock()
        if not self._known_cost or not self._known_s:
            return math.nan
        s_per_cost = self._known_s / self._known_cost
        work, longest = s_per_cost * sum(self._open_cost.values()), 0.0
        for stage in self.running.values():
            own = stage.time_left(now)
            left = max(s_per_cost * stage.cost - (now - stage.started), 0.0) if math.isnan(own) else own
            work, longest = work + left, max(longest, left)
        busy = self._busy_s + sum(now - stage.started for stage in self.running.values())
        at_once = max(busy / self.elapsed(), 1.0) if self.elapsed() > 0 else 1.0
        return max(work / at_once, longest)


class LiveView:
    """Shows the events of a run: ``with LiveView("chitchat") as view: run(..., events=view)``.

    On a terminal one bar for the whole and a line for each running stage, as many as have room; elsewhere a line for
    each stage that starts or ends, and for each running stage a line at most every 30 seconds. When several stages
    failed, they are listed at the end with their logs.

    Parameters
    ----------
    title : str
        Before the bar of the whole.
    console : rich.console.Console, optional
        Standard error unless given.
    clock
        Seconds, never going back.
    """

    def __init__(
        self, title: str = "stages", *, console: "Console | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console  # 50 ms, not spent by those who only read results

        self.tally = Tally(clock)
        self._title = title
        self._console = console if console is not None else Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._failures: list[Event] = []
        self._lock = threading.Lock()  # the bars are drawn in a thread of their own; never held while printing

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._picture)
            self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if len(self._failures) > 1:
            self._say(f"{len(self._failures)} stages failed:")
        for event in self._failures if len(self._failures) > 1 else []:
            self._say(f"  {event.label}: {event.message}\n    {event.log}")

    def __call__(self, event: Event) -> None:
        """Take in and show one event."""
        if event.kind == "started" and math.isnan(self.tally.began) and self.tally.n_reused:
            self._say(f"{self.tally.n_reused} of {self.tally.n_planned} stages are done already")
        with self._lock:
            self.tally.see(event)
        count = f"[{self.tally.n_done}/{self.tally.n_planned}]"
        if event.kind == "damaged":
            self._say(event.message)
        elif event.kind == "failed":
            self._failures.append(event)
            self._say(f"{count} failed {event.label} after {readable_time(event.seconds)}: {event.message}")
        elif event.kind == "skipped":
            self._say(f"{count} skipped {event.label}: {event.message}")
        elif event.kind == "started" and event.message:
            self._say(f"{count} started {event.label} again: {event.message}")
        elif self._live is not None:
            return
        elif event.kind == "started":
            self._say(f"{count} started {event.label}")
        elif event.kind == "finished":
            self._say(f"{count} finished {event.label} in {readable_time(event.seconds)}")
        elif event.kind == "progress":
            self._say_progress(self.tally.running.get(event.key))

    def _say_progress(self, stage: RunningStage | None) -> None:
        now = self.tally.clock()
        if stage is None or now - stage.last_line < PLAIN_PROGRESS_EVERY_S:
            return
        stage.last_line = now
        self._say(f"{stage.label}: {', '.join(filter(None, _columns(stage, now)))}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _picture(self) -> "RenderableType":
        with self._lock:
            return self._draw()

    def _draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self.tally
        whole = Table.grid(padding=(0, 2))
        left = readable_time(tally.time_left())
        whole.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=max(tally.n_planned, 1), completed=tally.n_done, width=30),
            Text(f"{tally.n_done}/{tally.n_planned} stages"),
            Text(readable_time(tally.elapsed())),
            Text(f"{left} left" if left and tally.n_done < tally.n_planned else ""),
        )
        stages = Table.grid(padding=(0, 2))
        running = list(tally.running.values())
        room = max(self._console.height - 2, 1)  # the bar above, and a line that says how many have no room
        for stage in running if len(running) <= room + 1 else running[:room]:
            stages.add_row(Text(f"  {stage.label}"), *(Text(column) for column in _columns(stage, tally.clock())))
        if len(running) > room + 1:
            stages.add_row(Text(f"  and {len(running) - room} more running", style="dim"))
        return Group(whole, stages)


def readable_time(seconds: float) -> str:
    """Seconds for people; empty when unknown.

    >>> [readable_time(seconds) for seconds in (0.4, 12.34, 75, 3725, float("nan"))]
    ['0.4 s', '12.3 s', '1:15', '1:02:05', '']
    """
    if not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _columns(stage: RunningStage, now: float) -> list[str]:
    """Done of total, rate and time left; empty where unknown."""
    if math.isnan(stage.first_seen):
        return [readable_time(now - stage.started), "", ""]
    done = f"{stage.done:,g}" if stage.total is None else f"{stage.done:,g}/{stage.total:,g}"
    rate, left = stage.rate(now), readable_time(stage.time_left(now))
    return [
        f"{done} {stage.unit}".rstrip(),
        "" if math.isnan(rate) else f"{rate:,.3g} {stage.unit or '1'}/s",
        f"{left} left" if left else "",
    ]
