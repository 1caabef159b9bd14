"""A rare rate by splitting episodes where they come nearer to the event: for policies that tell no probabilities.

All that is asked of a policy is that it goes on with an episode from where it stands: a model behind an interface, an
agent, a walk. An episode here is whatever the caller makes of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from overopt.errors import ConfigError
from overopt.measure.walks import IntArray, Walk, as_columns, draw
from overopt.stats.estimate import BoolArray
from overopt.stats.measured_rate import MeasuredRate
from overopt.stats.splitting import splitting_rate

Episode = TypeVar("Episode")
GoOn = Callable[[Sequence[Episode], np.random.Generator], Sequence[Episode]]
"""Whole episodes, each gone on with from the beginning that is given."""
Reach = Callable[[Episode, int], Episode | None]
"""The shortest beginning of an episode that reaches a level, or None."""


_Path = tuple[int, tuple[int, ...]]
"""Of a walk: a root, and the choices so far."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What splitting saw. Axes: R runs, L levels."""

    reached: IntArray
    """(R, L)"""
    begun: IntArray
    """(R, L)"""


def split(
    starts: Sequence[Episode],
    go_on: GoOn[Episode],
    reach: Reach[Episode],
    *,
    levels: int,
    episodes: int,
    runs: int,
    rng: np.random.Generator,
) -> Counts:
    """Run by run and level by level: ``episodes`` are begun evenly from what reached the level before.

    Parameters
    ----------
    starts : sequence
        What episodes begin with, one a scenario; drawn evenly.
    go_on, reach
        The policy, and what levels are: 1 to ``levels``, the last the event itself. Who reaches a level has reached
        those before.
    levels, episodes, runs : int
        At least 1; two runs are needed for an honest error.

    Raises
    ------
    ConfigError
    """
    for name, value in (("levels", levels), ("episodes", episodes), ("runs", runs), ("starts", len(starts))):
        if value < 1:
            raise ConfigError(f"splitting needs {name} of at least 1; got {value}")
    reached, begun = np.zeros((runs, levels), dtype=np.int64), np.zeros((runs, levels), dtype=np.int64)
    entries: list[list[Episode]] = [list(starts) for _ in range(runs)]
    for level in range(1, levels + 1):
        # All runs at once: a policy answers many episodes in little more time than one.
        alive = [run for run in range(runs) if entries[run]]
        begins = [entries[run][at] for run in alive for at in rng.integers(len(entries[run]), size=episodes)]
        found = [reach(episode, level) for episode in go_on(begins, rng)] if begins else []
        entries = [[] for _ in range(runs)]
        for place, run in enumerate(alive):
            own = found[place * episodes : (place + 1) * episodes]
            entries[run] = [entry for entry in own if entry is not None]
            reached[run, level - 1], begun[run, level - 1] = len(entries[run]), episodes
    return Counts(reached, begun)


def split_rate(
    walk: Walk,
    is_event: BoolArray,
    progress: IntArray,
    rng: np.random.Generator,
    *,
    episodes: int = 200,
    runs: int = 10,
    level: float = 0.95,
) -> MeasuredRate:
    """The rate of ending in a state of ``is_event`` (S,), split where ``progress`` (S,) first reaches 1, 2, ...

    ``progress`` begins at 0 and is never lost again, and the event implies the highest progress of ended episodes
    with it. One level more than that progress is the event itself. ``episodes`` is that of each run and level.
    """
    top = int(progress[is_event].max(initial=0))

    def go_on(begins: Sequence[_Path], rng: np.random.Generator) -> list[_Path]:
        found: list[_Path] = [(0, ())] * len(begins)
        for length in sorted({len(path) for _, path in begins}):
            rows = [row for row, (_, path) in enumerate(begins) if len(path) == length]
            root = np.array([begins[row][0] for row in rows], dtype=np.int64)
            drawn = draw(walk, root, rng, prefix=as_columns([begins[row][1] for row in rows]))
            for row, choices in zip(rows, drawn.choices, strict=True):
                found[row] = (begins[row][0], tuple(choices[choices >= 0].tolist()))
        return found

    def reach(episode: _Path, goal: int) -> _Path | None:
        root, choices = episode
        state = int(walk.roots[root])
        for length in range(len(choices) + 1):
            if length:
                state = int(walk.target[state, choices[length - 1]])
            if goal <= top and progress[state] >= goal:
                return root, choices[:length]
        return episode if goal > top and is_event[state] else None

    starts: list[_Path] = [(root, ()) for root in range(len(walk.roots))]
    found = split(starts, go_on, reach, levels=top + 1, episodes=episodes, runs=runs, rng=rng)
    return splitting_rate(found.reached, found.begun, level=level)
