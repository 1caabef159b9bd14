"""Episodes of the small world as rows of tokens, and back.

Axes: B episodes, T tokens. What a policy chose is marked: nothing else is learnt by imitation.
"""

from dataclasses import dataclass

import numpy as np

from overopt.worlds.tampering.game import BoolArray, Game, IntArray
from overopt.worlds.tampering.scenarios import Scenario
from overopt.worlds.tampering.vocabulary import CHOICE_TOKENS, EOS, MAX_LENGTH, PAD, PROMPT_LENGTH, TOKEN_ID


@dataclass(frozen=True, slots=True, eq=False)
class TokenRows:
    """Episodes padded on the right with <pad> to the longest that there can be, T = 18 tokens."""

    ids: IntArray
    """(B, T)"""
    lengths: IntArray
    """(B,) real tokens."""
    choice: IntArray
    """(B, T) column of the plan or action that a token is; -1 where it is none."""
    state: IntArray
    """(B, T) the state that it was chosen in; -1 where nothing was."""

    @property
    def is_chosen(self) -> BoolArray:
        """(B, T) the plan and the actions."""
        return self.choice >= 0


def token_rows(world: Game, found: list[Scenario], choices_BT: IntArray) -> TokenRows:
    """Prompts, choices and what the environment answered; episodes may be unfinished."""
    episodes = len(found)
    ids = np.full((episodes, MAX_LENGTH), TOKEN_ID[PAD], dtype=np.int64)
    choice = np.full(ids.shape, -1, dtype=np.int64)
    chosen_in = choice.copy()
    ids[:, :PROMPT_LENGTH] = [scenario.prompt for scenario in found]
    state = world.starts_of(found)
    at = np.full(episodes, PROMPT_LENGTH, dtype=np.int64)
    token_of = np.array(CHOICE_TOKENS)
    for column in choices_BT.T:
        rows = np.flatnonzero(column >= 0)
        picks = column[rows]
        ids[rows, at[rows]] = token_of[picks]
        choice[rows, at[rows]] = picks
        chosen_in[rows, at[rows]] = state[rows]
        at[rows] += 1
        seen = world.seen[state[rows], picks]
        shown = rows[seen >= 0]
        ids[shown, at[shown]] = seen[seen >= 0]
        at[shown] += 1
        state[rows] = world.target[state[rows], picks]
    assert (ids == TOKEN_ID[EOS]).sum(axis=1).max(initial=0) <= 1
    return TokenRows(ids, at, choice, chosen_in)
