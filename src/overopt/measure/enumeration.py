"""The rate of an event to the last path: breadth-first, all scenarios at once, what is too improbable set aside.

Axes as in :mod:`~overopt.measure.walks`. What is set aside is added up, so every rate has an upper bound that holds for
certain. One enumeration answers for all events, and for the divergence from another policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overopt.errors import ConfigError, DataError
from overopt.measure.walks import BATCH, IntArray, Walk, state_after
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.measured_rate import MeasuredRate, enumerated


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Where the episodes of a policy end. Axis: E paths that were followed to their end."""

    root: IntArray
    """(E,)"""
    state: IntArray
    """(E,)"""
    mass: FloatArray
    """(E,) probability of each path."""
    missing: FloatArray
    """(R,) probability of what was set aside, of each scenario."""

    @property
    def covered(self) -> float:
        """Probability of the paths that were followed, the least of any scenario."""
        return float(1 - self.missing.max())

    def rate(self, is_event: BoolArray | FloatArray, *, level: float = 0.95) -> MeasuredRate:
        """The rate of ending in a state of ``is_event`` (S,), over scenarios that are alike often.

        Numbers within 0 and 1 instead of truth values, such as a score of the end, give their mean.
        """
        return enumerated(self.by_root(is_event), self.missing, paths=len(self.mass), level=level)

    def by_root(self, is_event: BoolArray | FloatArray) -> FloatArray:
        """(R,) the rate of each scenario, a lower bound."""
        found = np.bincount(self.root, weights=self.mass * is_event[self.state], minlength=len(self.missing))
        return np.asarray(found, dtype=np.float64)

    def mean(self, values: FloatArray) -> float:
        """Mean of a number (S,) that an end has, over the paths that were followed."""
        return float((self.mass * values[self.state]).sum() / self.mass.sum())


def follow_all(walk: Walk, *, tolerance: float = 1e-9, prefix: Sequence[int] = (), batch: int = BATCH) -> Ends:
    """Every path of more than ``tolerance``, given that each episode begins with the choices of ``prefix``.

    Raises
    ------
    ConfigError
        If ``tolerance`` is not within 0 and 1.
    DataError
        If a prefix is an episode that is over.
    """
    found, _ = _expand(walk, None, tolerance, prefix, batch)
    return found


def exact_divergence(
    walk: Walk, reference: Walk, *, tolerance: float = 1e-9, batch: int = BATCH
) -> tuple[float, float]:
    """KL(policy || reference) of whole episodes in nats, mean over scenarios, and the mass that was set aside.

    The sum over all prefixes that were looked at of their probability times the divergence of the next choice: nothing
    is drawn. Both walks must be in one environment.
    """
    found, divergence = _expand(walk, reference, tolerance, (), batch)
    return divergence, float(found.missing.mean())


def _expand(
    walk: Walk, reference: Walk | None, tolerance: float, prefix: Sequence[int], batch: int
) -> tuple[Ends, float]:
    if not 0 <= tolerance < 1:
        raise ConfigError(f"tolerance must lie between 0 and 1; got {tolerance}")
    roots = len(walk.roots)
    root = np.arange(roots)
    start = np.tile(np.array(prefix, dtype=np.int64), (roots, 1))
    state = state_after(walk, root, start)
    if walk.is_over[state].any():
        raise DataError("the choices that episodes are to begin with end one already")
    missing, divergence = np.zeros(roots), 0.0
    ended: list[tuple[IntArray, IntArray, FloatArray]] = []
    # A stack of fronts, each of one depth, so that memory stays small however many paths there are.
    memories = [each.begin(root, start) for each in (walk, *([reference] if reference else []))]
    fronts = [(root, state, np.zeros(roots), memories)]
    while fronts:
        root, state, log_mass, memories = fronts.pop()
        table = walk.log_probs(memories[0])
        log_child = log_mass[:, None] + table
        with np.errstate(divide="ignore"):
            parent, choice = np.nonzero(log_child > np.log(tolerance))
        child = log_child[parent, choice]
        mass = np.exp(log_mass)
        kept = np.bincount(parent, weights=np.exp(child), minlength=len(root))
        np.add.at(missing, root, np.maximum(mass - kept, 0.0))
        if reference is not None:
            other = reference.log_probs(memories[1])
            with np.errstate(invalid="ignore"):
                terms = np.where(np.isfinite(table), np.exp(table) * (table - other), 0.0)
            divergence += float((mass * terms.sum(axis=1)).sum())
        reached = walk.target[state[parent], choice]
        over = walk.is_over[reached]
        ended.append((root[parent[over]], reached[over], np.exp(child[over])))
        parent, choice, reached, child = parent[~over], choice[~over], reached[~over], child[~over]
        for first in range(0, len(parent), batch):
            rows = slice(first, first + batch)
            followed = [
                each.follow(memory, parent[rows], choice[rows])
                for each, memory in zip((walk, *([reference] if reference else [])), memories, strict=True)
            ]
            fronts.append((root[parent[rows]], reached[rows], child[rows], followed))
    parts = [np.concatenate(column) for column in zip(*ended, strict=True)]
    return Ends(parts[0], parts[1], parts[2], missing), divergence / roots
