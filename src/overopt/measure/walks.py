"""A policy in an environment, as a tree of choices: what rates can be enumerated, weighted or split in.

Axes: R roots (scenarios), S states of the environment, A choices, B paths that are looked at together, T choices of a
path. The environment is deterministic: a choice in a state leads to one state. What a policy remembers may be more than
the state; it is the walk's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.measured_rate import MeasuredRate, counted

IntArray = npt.NDArray[np.int64]

BATCH = 2_048
"""Paths that are drawn together, unless told otherwise."""


class Walk(Protocol):
    """A policy in an environment."""

    @property
    def roots(self) -> IntArray:
        """(R,) the states that episodes begin in, one a scenario."""
        ...

    @property
    def is_over(self) -> BoolArray:
        """(S,) whether nothing more is chosen in a state."""
        ...

    @property
    def target(self) -> IntArray:
        """(S, A) the state that a choice leads to; -1 where it is not open."""
        ...

    def begin(self, root_B: IntArray, choice_BT: IntArray) -> Any:
        """The memory of episodes of those roots that began with those choices; none of them is over."""
        ...

    def follow(self, memory: Any, parent_B: IntArray, choice_B: IntArray) -> Any:
        """The memory of paths that go on from rows of ``memory``, each with a choice; none of them is then over."""
        ...

    def log_probs(self, memory: Any) -> FloatArray:
        """(B, A) of the next choice, nats, each row's probabilities with sum 1; -inf where a choice is not open."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Whole episodes."""

    root: IntArray
    """(N,) which scenario."""
    choices: IntArray
    """(N, T) with -1 after the end."""
    end: IntArray
    """(N,) the state at the end."""
    logprob: FloatArray
    """(N,) of the policy, of the choices that were drawn, nats."""


def state_after(walk: Walk, root_B: IntArray, choice_BT: IntArray) -> IntArray:
    """(B,) the states after choices; -1 is no choice."""
    state_B = walk.roots[root_B].copy()
    for choice_B in choice_BT.T:
        rows = np.flatnonzero(choice_B >= 0)
        state_B[rows] = walk.target[state_B[rows], choice_B[rows]]
    return state_B


def as_columns(paths: Sequence[Sequence[int]]) -> IntArray:
    """(B, T) of choices, -1 after the end of the shorter ones."""
    columns = np.full((len(paths), max(map(len, paths), default=0)), -1, dtype=np.int64)
    for row, path in enumerate(paths):
        columns[row, : len(path)] = path
    return columns


def draw(
    walk: Walk, root: IntArray, rng: np.random.Generator, *, prefix: IntArray | None = None, batch: int = BATCH
) -> Paths:
    """Episodes of the policy, one a root in ``root`` (N,).

    ``prefix`` (N, T0) are choices that episodes begin with, all given; they are part of ``choices`` and not of
    ``logprob``.
    """
    parts = []
    for first in range(0, len(root), batch):
        rows = slice(first, first + batch)
        start = np.zeros((len(root[rows]), 0), dtype=np.int64) if prefix is None else prefix[rows]
        parts.append(_draw(walk, root[rows], start, rng))
    width = max((part.choices.shape[1] for part in parts), default=0)
    return Paths(
        root=root.copy(),
        choices=np.concatenate(
            [np.pad(part.choices, ((0, 0), (0, width - part.choices.shape[1])), constant_values=-1) for part in parts]
        ),
        end=np.concatenate([part.end for part in parts]),
        logprob=np.concatenate([part.logprob for part in parts]),
    )


def _draw(walk: Walk, root: IntArray, prefix: IntArray, rng: np.random.Generator) -> Paths:
    state = state_after(walk, root, prefix)
    live = np.flatnonzero(~walk.is_over[state])
    columns, logprob = [], np.zeros(len(root))
    memory = walk.begin(root[live], prefix[live]) if len(live) else None
    while len(live):
        table = walk.log_probs(memory)
        picks = pick(table, rng)
        logprob[live] += table[np.arange(len(live)), picks]
        column = np.full(len(root), -1, dtype=np.int64)
        column[live] = picks
        columns.append(column)
        state[live] = walk.target[state[live], picks]
        goes_on = np.flatnonzero(~walk.is_over[state[live]])
        if len(goes_on):
            memory = walk.follow(memory, goes_on, picks[goes_on])
        live = live[goes_on]
    drawn = np.array(columns, dtype=np.int64).reshape(-1, len(root)).T
    return Paths(root, np.concatenate([prefix, drawn], axis=1), state, logprob)


def pick(log_probs_BA: FloatArray, rng: np.random.Generator) -> IntArray:
    """(B,) a choice drawn from each row."""
    ladder_BA = np.cumsum(np.exp(log_probs_BA), axis=1)
    found: IntArray = (ladder_BA <= (rng.random(len(ladder_BA)) * ladder_BA[:, -1])[:, None]).sum(axis=1)
    return found


def counted_rate(
    walk: Walk,
    is_event: BoolArray,
    *,
    episodes: int,
    rng: np.random.Generator,
    prefix: Sequence[int] = (),
    level: float = 0.95,
) -> MeasuredRate:
    """The rate of ending in a state of ``is_event`` (S,), counted in ``episodes``, as many of each root up to one."""
    root = np.arange(episodes) % len(walk.roots)
    start = np.tile(np.array(prefix, dtype=np.int64), (episodes, 1))
    hits = is_event[draw(walk, root, rng, prefix=start).end]
    return counts_by_root(root, hits, level=level)


def counts_by_root(root: IntArray, hits: BoolArray, *, level: float = 0.95) -> MeasuredRate:
    """The rate of episodes (N,) that hit, with the interval of Clopper and Pearson.

    The scenarios are all there are and are drawn alike often, so a count is a sum of independent trials of different
    chances. Its spread is not above that of as many trials of their mean (Hoeffding 1956), whose interval this is.

    Raises
    ------
    DataError
        If some scenarios were drawn more often than others, by more than one episode.
    """
    drawn_R = np.bincount(root)
    if drawn_R.max() - drawn_R.min() > 1:
        raise DataError("scenarios must be drawn alike often to be counted as one rate")
    return counted(int(hits.sum()), len(hits), level=level)
