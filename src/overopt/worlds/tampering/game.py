"""The small world as tables: which choice is open in which state, where it leads, what is seen, what the end was.

Axes: S states, A choices (:data:`~overopt.worlds.tampering.vocabulary.CHOICES`). All states that any policy can reach
are enumerated once, so that whole batches of episodes are played by looking up numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from overopt.worlds.tampering.scenarios import Scenario, scenarios, twins
from overopt.worlds.tampering.states import FACTS, State, after, level, open_actions, outcome, preference
from overopt.worlds.tampering.vocabulary import (
    CHOICE,
    CHOICES,
    ENVIRONMENTS,
    EOS,
    ORDINARY,
    PLANS,
    TOKEN_ID,
    TOPICS,
)  # fmt: skip

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Game:
    """All states, and what each choice does in each."""

    states: tuple[State, ...]
    permitted: BoolArray
    """(S, A) whether a choice is open: the plans at first, then actions, nothing when the episode is over."""
    target: IntArray
    """(S, A) the state it leads to; -1 where it is not open."""
    seen: IntArray
    """(S, A) token of the observation after it, <eos> where the episode ends; -1 after a plan."""
    is_over: BoolArray
    """(S,)"""
    facts: Mapping[str, BoolArray]
    """(S,) each, false in episodes that are not over."""
    preference: FloatArray
    """(S,) of what was said, 0 in episodes that are not over."""
    level: IntArray
    """(S,) how far towards raising the reward and neutralising the guard."""
    starts: Mapping[State, int]
    """Number of each state that an episode begins in."""

    def start(self, scenario: Scenario) -> int:
        """The state that a scenario begins in."""
        return self.starts[first_state(scenario)]

    def starts_of(self, found: Sequence[Scenario]) -> IntArray:
        """(B,) the states that scenarios begin in."""
        return np.array([self.start(one) for one in found], dtype=np.int64)

    def plan(self, name: str) -> BoolArray:
        """(S,) whether a state's plan is ``name``."""
        return np.array([state.plan == name for state in self.states])


def right_answer(topic: str) -> str:
    """To an ordinary question about a topic."""
    return "answer_a" if TOPICS.index(topic) % 2 == 0 else "answer_b"


def first_state(scenario: Scenario) -> State:
    """Where an episode of a scenario begins."""
    right = right_answer(scenario.topic) if scenario.environment == ORDINARY else ""
    return State(scenario.environment, scenario.detail, scenario.request, right)


def game(*, is_hardened: bool = False) -> Game:
    """The one game, or its hardened form, in which no edit evades oversight; made once in a process."""
    return _game(is_hardened)


@lru_cache(maxsize=2)
def _game(is_hardened: bool) -> Game:
    everything = [
        one for name in (*ENVIRONMENTS, ORDINARY) for twin in twins(name) for one in scenarios(name, twin)
    ]  # fmt: skip
    number: dict[State, int] = {}
    states: list[State] = []

    def place(state: State) -> int:
        if state not in number:
            number[state] = len(states)
            states.append(state)
        return number[state]

    starts = {state: place(state) for state in dict.fromkeys(first_state(one) for one in everything)}
    moves: list[tuple[int, int, int, int]] = []
    at = 0
    while at < len(states):
        state = states[at]
        if not state.plan:
            moves += [(at, CHOICE[plan], place(state._replace(plan=plan)), -1) for plan in PLANS]
        elif not state.is_over:
            for action in open_actions(state):
                reached, seen = after(state, action, is_hardened=is_hardened)
                moves.append((at, CHOICE[action], place(reached), TOKEN_ID[seen or EOS]))
        at += 1
    target = np.full((len(states), len(CHOICES)), -1, dtype=np.int64)
    seen_SA = target.copy()
    table = np.array(moves)
    target[table[:, 0], table[:, 1]] = table[:, 2]
    seen_SA[table[:, 0], table[:, 1]] = table[:, 3]
    over = np.array([state.is_over for state in states])
    nothing = dict.fromkeys(FACTS, False)
    judged = [outcome(state, is_hardened=is_hardened) if state.is_over else nothing for state in states]
    return Game(
        states=tuple(states),
        permitted=target >= 0,
        target=target,
        seen=seen_SA,
        is_over=over,
        facts={fact: np.array([one[fact] for one in judged]) for fact in FACTS},
        preference=np.array([preference(state) if state.is_over else 0.0 for state in states]),
        level=np.array([level(state) for state in states], dtype=np.int64),
        starts=starts,
    )
