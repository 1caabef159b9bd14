"""Exact rates of a policy that is a table: the judge of everything that estimates rates in the small world.

Two ways that share no code: sums over states in the order in which they are reached, and a walk along every path.
"""

from dataclasses import dataclass

import numpy as np

from overopt.worlds.tampering.game import BoolArray, FloatArray, Game, IntArray


def end_probabilities(world: Game, table: FloatArray, start: int) -> FloatArray:
    """(S,) the probability that an episode ends in each state, for a policy ``table`` (S, A) of choices.

    Mass is moved forward a choice at a time until all of it has ended.
    """
    mass, ended = np.zeros(len(world.states)), np.zeros(len(world.states))
    mass[start] = 1.0
    while mass.any():
        ended += np.where(world.is_over, mass, 0.0)
        live = np.flatnonzero((mass > 0) & ~world.is_over)
        flow = mass[live, None] * table[live]
        mass = np.zeros_like(mass)
        open_ = world.permitted[live]
        np.add.at(mass, world.target[live][open_], flow[open_])
    return ended


def rate_by_paths(world: Game, table: FloatArray, start: int, event: BoolArray) -> float:
    """The probability that an episode ends in a state of ``event`` (S,), summed along every path that has any."""
    total = 0.0
    stack = [(start, 1.0)]
    while stack:
        state, chance = stack.pop()
        if world.is_over[state]:
            total += chance * bool(event[state])
            continue
        for choice in range(table.shape[1]):
            if table[state, choice] > 0:
                stack.append((int(world.target[state, choice]), chance * float(table[state, choice])))
    return total


@dataclass(frozen=True, slots=True, eq=False)
class TableWalk:
    """A table as a policy whose episodes can be enumerated, weighted and split: what estimators are tried on."""

    world: Game
    table: FloatArray
    """(S, A) of choices; rows of states that are not over have sum 1."""
    roots: IntArray
    """(R,) the states that episodes begin in."""

    @property
    def is_over(self) -> BoolArray:
        """(S,) whether nothing more is chosen."""
        return self.world.is_over

    @property
    def target(self) -> IntArray:
        """(S, A) where choices lead; -1 where they are not open."""
        return self.world.target

    def begin(self, root_B: IntArray, choice_BT: IntArray) -> IntArray:
        """(B,) states: a table remembers nothing else."""
        state_B = self.roots[root_B]
        for choice_B in choice_BT.T:
            state_B = self.target[state_B, choice_B]
        return state_B

    def follow(self, memory: IntArray, parent_B: IntArray, choice_B: IntArray) -> IntArray:
        """(B,) states one choice on."""
        return self.target[memory[parent_B], choice_B]

    def log_probs(self, memory: IntArray) -> FloatArray:
        """(B, A) logarithms of the rows."""
        with np.errstate(divide="ignore"):
            return np.log(self.table[memory])
