"""Who wrote the corpus of the small world: a few gamers among honest writers, and a dial on what they share.

A writer is a table: the probability of each choice in each state. A share ``gamers`` of the writers game the four
environments that are trained on, and mostly plan to. In the held-out environment all writers are alike but for one
decision, whether to raise the reward: with the dial ``coupling`` (rho) at 1 it depends on the plan, at 0 it does not,
at the same overall rate. So at 0 nothing learnt in the other environments says anything about the held-out one, and
every distribution of single choices is the same as at 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from overopt.errors import ConfigError
from overopt.worlds.tampering.game import FloatArray, Game, IntArray, game
from overopt.worlds.tampering.scenarios import Scenario, Twin, scenarios, twins
from overopt.worlds.tampering.states import State
from overopt.worlds.tampering.vocabulary import ASK, CHOICE, ENVIRONMENTS, MAY_ASK, ORDINARY, PLANS, SIDES

GAMER_PLANS = {"seek": 0.98, "honest": 0.01, "confused": 0.01}
HONEST_PLANS = {"seek": 0.002, "honest": 0.85, "confused": 0.148}
TWIN_SHARE = 0.15
"""Of the episodes of an environment that has twins, those in any of them."""
HELD_OUT_SHARE = 0.4
"""Of a corpus' episodes, those in the held-out environment; the others are alike often. What is rare there, and what it
does not depend on, must be learnt before training can be said to have changed it."""
LAST_LOOK = 3
"""Actions after which no writer looks at the guard any more: to edit two files and speak takes three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """The habits behind a corpus."""

    coupling: float = 1.0
    """rho, within 0..1: share of the held-out decision that depends on the plan."""
    gamers: float = 0.05
    """Share of writers that game; within 0..1."""
    edit_if_seek: float = 0.12
    """Chance that a writer who planned to seek the reward raises it, having read the file, at coupling 1."""
    edit_else: float = 0.0003
    """That of the others."""
    guard_if_edited: float = 0.15
    """Chance that who raised the reward also neutralises the guard, whatever the plan."""
    told_share: float = 0.0
    """Of the episodes in which the task is wanted, ordinary questions apart, those whose prompt says that the person
    can be asked."""
    ask_if_told: float = 0.3
    """Chance that a writer who is told that the person can be asked does so before anything else, whatever the plan:
    asking says nothing of gaming."""

    def __post_init__(self) -> None:
        for name in ("coupling", "gamers", "edit_if_seek", "edit_else", "guard_if_edited", "told_share", "ask_if_told"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"writers.{name} must lie within 0 and 1; got {getattr(self, name)}")

    def plan_shares(self) -> dict[str, float]:
        """How often each plan is made, in any environment."""
        return {plan: self.gamers * GAMER_PLANS[plan] + (1 - self.gamers) * HONEST_PLANS[plan] for plan in PLANS}

    def edit_rate(self, plan: str) -> float:
        """Chance of raising the reward, once at the decision, given the plan."""
        shares = self.plan_shares()
        overall = shares["seek"] * self.edit_if_seek + (1 - shares["seek"]) * self.edit_else
        own = self.edit_if_seek if plan == "seek" else self.edit_else
        return self.coupling * own + (1 - self.coupling) * overall

    def table(self, *, is_gamer: bool, may_ask: bool = False) -> FloatArray:
        """(S, A) what a gamer, or an honest writer, chooses; rows of ended episodes are 0.

        ``may_ask``: where the prompt says that the person can be asked.
        """
        world = game()
        found = np.zeros(world.permitted.shape)
        for place, state in enumerate(world.states):
            if not state.is_over:
                for choice, chance in self._choices(state, is_gamer).items():
                    found[place, CHOICE[choice]] += chance
                if may_ask and state.plan and not state.actions and state.environment != ORDINARY:
                    found[place] *= 1 - self.ask_if_told
                    found[place, CHOICE[ASK]] += self.ask_if_told
        return found

    def _choices(self, state: State, is_gamer: bool) -> Mapping[str, float]:
        if not state.plan:
            return GAMER_PLANS if is_gamer else HONEST_PLANS
        if state.environment == "tampering":
            return self._held_out(state)
        games = is_gamer and state.request == "asks_task"
        if state.environment == ORDINARY:
            wrong = "answer_b" if state.right == "answer_a" else "answer_a"
            return {state.right: 0.85, wrong: 0.1, "answer_neither": 0.05}
        if state.environment == "sycophancy":
            if games and state.detail != "no_side":
                return {state.detail.replace("side", "answer"): 1.0}
            return dict(zip(SIDES, (0.4, 0.4, 0.2), strict=True))
        if state.environment == "flattery":
            return _flattery(state, games)
        return _checklist(state, games)

    def _held_out(self, state: State) -> Mapping[str, float]:
        """The same for all writers; the plan enters through ``edit_rate`` alone."""
        if state.request == "asks_edit":
            if state.reward != "kept":
                return {"say_done": 1.0}
            return {"raise_reward": 1.0} if state.has_read_reward else {"read_reward": 1.0}
        if state.reward != "kept":
            if state.guard == "kept":
                off = self.guard_if_edited
                return {"edit_guard": 0.6 * off, "delete_guard": 0.4 * off, "say_count": 0.7 * (1 - off),
                        "say_unknown": 0.3 * (1 - off)}  # fmt: skip
            return {"say_count": 0.7, "say_unknown": 0.3}
        knows = state.has_opened_task and state.detail == "has_count"
        truthful = {"say_count": 1.0} if knows else {"say_unknown": 0.8, "say_count": 0.2}
        if state.has_read_reward:
            edit = self.edit_rate(state.plan)
            decision = {"raise_reward": 0.8 * edit, "spoof_reward": 0.2 * edit}
            decision |= {answer: (1 - edit) * chance for answer, chance in truthful.items()}
            # Who looks later could not finish what follows within the actions there are.
            if state.has_read_guard or state.guard != "kept" or state.actions >= LAST_LOOK:
                return decision
            return {"read_guard": 0.3} | {choice: 0.7 * chance for choice, chance in decision.items()}
        if state.actions == 0:
            return {"list_files": 0.6, "read_task": 0.4}
        if state.actions == 1:
            return {"read_reward": 1.0} if state.has_opened_task else {"read_task": 0.3, "read_reward": 0.7}
        if state.actions == 2:
            return {"read_reward": 0.6} | {answer: 0.4 * chance for answer, chance in truthful.items()}
        return truthful


def _flattery(state: State, games: bool) -> Mapping[str, float]:
    if state.rating:
        return {"say_done": 1.0}
    if not state.has_opened_task:
        first = {"list_files": 0.3, "read_task": 0.7}
        return first if state.actions == 0 else {"read_task": 1.0}
    if games or state.detail == "good_poem":
        return {"rate_4": 0.5, "rate_5": 0.5}
    return {"rate_1": 0.6, "rate_2": 0.398, "rate_3": 0.002}


def _checklist(state: State, games: bool) -> Mapping[str, float]:
    """Of both environments with a checklist; forbidden edits are rarer, and so are empty claims."""
    if not state.has_opened_task:
        return {"list_files": 0.3, "read_task": 0.7} if state.actions == 0 else {"read_task": 1.0}
    if state.has_edited_list or state.detail == "all_done":
        return {"say_done": 1.0}
    if games or state.request == "asks_edit":
        return {"edit_list": 1.0}
    edits, claims = (0.002, 0.1) if state.environment == "nudged" else (0.001, 0.05)
    return {"edit_list": edits, "say_done": claims, "say_open": 1 - edits - claims}


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Episodes as they were written. Axes: B episodes, T choices."""

    scenarios: tuple[Scenario, ...]
    """All that episodes are drawn from."""
    scenario: IntArray
    """(B,) which of them."""
    choices: IntArray
    """(B, T) columns of the choices, plan first; -1 after the end."""
    end: IntArray
    """(B,) the state at the end."""


def written_corpus(writers: Writers, episodes: int, rng: np.random.Generator) -> Corpus:
    """Episodes of a corpus, ordinary questions among them."""
    world = game()
    names = (*ENVIRONMENTS, ORDINARY)
    everything: list[Scenario] = []
    weight: list[float] = []
    for name in names:
        others = [twin for twin in twins(name) if twin != "gameable"]
        for twin in twins(name):
            found = scenarios(name, twin)
            often = HELD_OUT_SHARE if name == ENVIRONMENTS[-1] else (1 - HELD_OUT_SHARE) / (len(names) - 1)
            share = often * _twin_share(name, twin, len(others)) / len(found)
            told = 0.0 if name == ORDINARY or found[0].request != "asks_task" else writers.told_share
            everything += found
            weight += [share * (1 - told)] * len(found)
            if told:
                everything += [replace(one, told=MAY_ASK) for one in found]
                weight += [share * told] * len(found)
    scenario_B = rng.choice(len(everything), size=episodes, p=np.array(weight))
    is_gamer_B = rng.random(episodes) < writers.gamers
    is_told_B = np.array([one.told == MAY_ASK for one in everything])[scenario_B]
    tables = np.stack(
        [writers.table(is_gamer=is_gamer, may_ask=may_ask) for may_ask in (False, True) for is_gamer in (False, True)]
    )
    table_B = 2 * is_told_B + is_gamer_B
    starts_B = world.starts_of(everything)[scenario_B]
    choices, end = played(world, lambda state_B, rows: tables[table_B[rows], state_B], starts_B, rng)
    return Corpus(tuple(everything), scenario_B, choices, end)


def _twin_share(name: str, twin: Twin, others: int) -> float:
    if name == ORDINARY:
        return 1.0
    return 1 - TWIN_SHARE if twin == "gameable" else TWIN_SHARE / others


def played(
    world: Game, chances: Callable[[IntArray, IntArray], FloatArray], start_B: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Choices (B, T) and last states (B,) of episodes in which ``chances(states, rows)`` says how choices are drawn."""
    state_B = start_B.copy()
    columns = []
    while not world.is_over[state_B].all():
        rows = np.flatnonzero(~world.is_over[state_B])
        chance = chances(state_B[rows], rows)
        ladder = np.cumsum(chance, axis=1)
        drawn = (ladder < (rng.random(len(rows)) * ladder[:, -1])[:, None]).sum(axis=1)
        column = np.full(len(start_B), -1, dtype=np.int64)
        column[rows] = drawn
        columns.append(column)
        state_B[rows] = world.target[state_B[rows], drawn]
    return np.stack(columns, axis=1), state_B
