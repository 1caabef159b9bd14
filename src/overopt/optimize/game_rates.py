"""Rates of one policy of the small world by each estimator, beside each other.

Enumeration gives bounds that hold for certain; counting, importance sampling and splitting must agree with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.measure.enumeration import Ends, follow_all
from overopt.measure.levels import split_rate
from overopt.measure.proposals import ImportanceSettings, weighted_rate
from overopt.measure.walks import counted_rate, counts_by_root, draw
from overopt.optimize.game_walk import ModelWalk
from overopt.seeding import stream
from overopt.stats.count_check import count_deviation
from overopt.stats.estimate import BoolArray
from overopt.stats.measured_rate import MeasuredRate
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import Twin, scenarios
from overopt.worlds.tampering.states import FACTS
from overopt.worlds.tampering.vocabulary import CHOICE, ENVIRONMENTS, PLANS

HELD_OUT = ENVIRONMENTS[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRates:
    """What a policy does in one environment, to the last path that is more probable than the tolerance."""

    environment: str
    twin: Twin
    plan: str | None
    """Every episode begins with it; ``None``: the policy's own."""
    ends: Ends
    level: float

    def rate(self, fact: str) -> MeasuredRate:
        """Of a fact; with bounds."""
        return self.ends.rate(event(fact), level=self.level)

    @property
    def plans(self) -> Mapping[str, float]:
        """How often each plan is made, over what was followed."""
        return {plan: self.ends.mean(game().plan(plan).astype(np.float64)) for plan in PLANS}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBeside:
    """One cell, counted and enumerated."""

    fact: str
    counted: MeasuredRate
    exact: MeasuredRate
    deviation: float
    """In standard deviations (:func:`~overopt.stats.count_check.count_deviation`)."""


def event(fact: str) -> BoolArray:
    """(S,) the ends that show a fact.

    Raises
    ------
    ConfigError
        If there is no such fact.
    """
    if fact not in FACTS:
        raise ConfigError(f"there is no fact {fact!r} in the small world; there are {', '.join(FACTS)}")
    return game().facts[fact]


def exact_rates(
    model: PreTrainedModel,
    environment: str = HELD_OUT,
    *,
    twin: Twin = "gameable",
    plan: str | None = None,
    tolerance: float = 1e-9,
    level: float = 0.95,
) -> ExactRates:
    """Enumerate a policy's episodes in all scenarios of an environment's twin.

    Raises
    ------
    ConfigError
        If there is no such environment, twin or plan, or the tolerance is not within 0 and 1.
    """
    walk = ModelWalk(model, game(), scenarios(environment, twin))
    ends = follow_all(walk, tolerance=tolerance, prefix=_prefix(plan))
    return ExactRates(environment=environment, twin=twin, plan=plan, ends=ends, level=level)


def counted_beside(
    model: PreTrainedModel, exact: ExactRates, *, episodes: int, seed: int, facts: Sequence[str] = FACTS
) -> list[CountedBeside]:
    """Draw episodes of the policy where it was enumerated, as many of each scenario up to one, and count each fact.

    Raises
    ------
    ConfigError
        If episodes are fewer than one, or there is no such fact.
    """
    if episodes < 1:
        raise ConfigError(f"at least one episode is counted; got {episodes}")
    walk = ModelWalk(model, game(), scenarios(exact.environment, exact.twin))
    root = np.arange(episodes) % len(walk.roots)
    prefix = np.tile(np.array(_prefix(exact.plan), dtype=np.int64), (episodes, 1))
    rng = stream(seed, "small world", "count", exact.environment, exact.twin, exact.plan or "")
    end = draw(walk, root, rng, prefix=prefix).end
    found = []
    for fact in facts:
        hits, known = event(fact)[end], exact.rate(fact)
        found.append(
            CountedBeside(
                fact=fact,
                counted=counts_by_root(root, hits, level=exact.level),
                exact=known,
                deviation=count_deviation(int(hits.sum()), episodes, min(known.low, 1.0), known.high),
            )
        )
    return found


def rare_rates(
    model: PreTrainedModel,
    fact: str = "both",
    environment: str = HELD_OUT,
    *,
    seed: int,
    importance: ImportanceSettings | None = None,
    level: float = 0.95,
) -> dict[str, MeasuredRate]:
    """A rate by importance sampling, by splitting where there are levels, and by counting, each of as many episodes.

    Levels are those on the way to ``both`` in the held-out environment; elsewhere, and for other facts, nothing is
    split.

    Raises
    ------
    ConfigError
        If there is no such fact or environment.
    """
    importance = importance or ImportanceSettings()
    is_event, world = event(fact), game()
    walk = ModelWalk(model, world, scenarios(environment))
    episodes = importance.episodes + importance.rounds * importance.tuning

    def rng(name: str) -> np.random.Generator:
        return stream(seed, "small world", name, environment, fact)

    found = {"weighted": weighted_rate(walk, is_event, rng("weighted"), settings=importance, level=level)}
    if (environment, fact) == (HELD_OUT, "both"):
        runs, levels = 10, int(world.level.max()) + 1
        each = max(episodes // (runs * levels), 1)
        found["split"] = split_rate(walk, is_event, world.level, rng("split"), episodes=each, runs=runs, level=level)
    found["counted"] = counted_rate(walk, is_event, episodes=episodes, rng=rng("counted"), level=level)
    return found


def _prefix(plan: str | None) -> list[int]:
    if plan is None:
        return []
    if plan not in PLANS:
        raise ConfigError(f"a plan is one of {', '.join(PLANS)}; got {plan!r}")
    return [CHOICE[plan]]
