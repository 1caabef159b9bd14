"""A proposal that meets a rare event often, tuned on the policy's own probabilities, and the rate that it gives.

Axes as in :mod:`~overopt.measure.walks`; N episodes. Of all proposals, the one that multiplies the policy's choices by
the chance of the event after each has weights that do not vary: it is the end of all tuning by cross-entropy. That
chance is not known where a policy remembers more than the state; a table of it by state is learnt in rounds, which is
enough to meet the event in most episodes. Tables of how often successful episodes made a choice, the usual form of that
method, settled on one of several ways to the event and lost the others, at small reported errors; this one sees
probabilities, not only draws. A share of all episodes is the policy's own, and those for the rate are drawn apart from
those for tuning.
"""

from dataclasses import dataclass

import numpy as np

from overopt.errors import ConfigError
from overopt.measure.walks import BATCH, IntArray, Walk, pick
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.importance import importance_rate, mixture_weights
from overopt.stats.measured_rate import MeasuredRate

_SMOOTH = 0.3
"""Share of any open choice in what is thought of a state before it is visited."""
_PRIOR = 0.5
"""Visits that this thought counts for. Without it a state whose only visit had an odd history, from which the event is
all but impossible, was never visited again: the way through it was lost, the rate came out too low by its share, and
the reported error knew nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceSettings:
    """How a rare rate is weighted; the defaults spend 6,000 episodes."""

    episodes: int = 4_000
    """Drawn for the rate; at least 2."""
    tuning: int = 500
    """Drawn in a round of tuning; at least 1."""
    rounds: int = 4
    """Of tuning; 0 leaves the policy as it is, and counts."""
    share: float = 0.2
    """Of the policy itself in the mixture, above 0: no weight exceeds 1 / share."""
    own: float = 0.1
    """Share of the policy's choice in each choice of the proposal, above 0: so it can do all that the policy can."""

    def __post_init__(self) -> None:
        for name, least in (("episodes", 2), ("tuning", 1), ("rounds", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"importance.{name} must be at least {least}; got {getattr(self, name)}")
        for name in ("share", "own"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"importance.{name} must lie above 0 and up to 1; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """The policy's choices, multiplied by the chance of the event after each."""

    chance: FloatArray
    """(S,) of the event from a state on, as far as is known."""
    target: IntArray
    """(S, A)"""
    own: float
    """Share of the policy's choice."""

    def log_probs(self, state_B: IntArray, policy_BA: FloatArray) -> FloatArray:
        """(B, A) of the next choice, where the policy's are ``policy_BA``."""
        policy_BA = np.exp(policy_BA)
        tilted_BA = policy_BA * self.chance[np.maximum(self.target[state_B], 0)]
        total_B1 = tilted_BA.sum(axis=1, keepdims=True)
        # Where the event cannot be met any more, nothing is gained by leaving the policy.
        tilted_BA = np.divide(tilted_BA, total_B1, out=policy_BA.copy(), where=total_B1 > 0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.own * policy_BA + (1 - self.own) * tilted_BA), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Episodes of the mixture, and the policy's choices in the states that they met."""

    end: IntArray
    """(N,) the states at the end."""
    weight: FloatArray
    """(N,)"""
    chosen: FloatArray
    """(S, A) sums of the policy's probabilities over visits."""
    visits: FloatArray
    """(S,)"""


def weighted_rate(
    walk: Walk,
    is_event: BoolArray,
    rng: np.random.Generator,
    *,
    settings: ImportanceSettings | None = None,
    level: float = 0.95,
) -> MeasuredRate:
    """The rate of ending in a state of ``is_event`` (S,), by importance sampling with a tuned proposal."""
    settings = settings or ImportanceSettings()
    proposal = tuned_proposal(walk, is_event, rng, settings=settings) if settings.rounds else None
    share = settings.share if settings.rounds else 1.0
    drawn = draw_mixture(walk, proposal, settings.episodes, share, rng)
    return importance_rate(
        drawn.weight,
        is_event[drawn.end],
        largest=1 / share,
        tuning=settings.rounds * settings.tuning,
        level=level,
    )


def tuned_proposal(
    walk: Walk, is_event: BoolArray, rng: np.random.Generator, *, settings: ImportanceSettings
) -> Proposal:
    """A proposal for the event, after ``settings.rounds`` rounds.

    In each round the policy's choices in a state are taken for their mean over the visits so far and half a visit in
    which it chose as it does over all visits, or anything; the chance of the event is solved for, and the next round
    draws by it. Kollman et al. 1999 (Annals of Applied Probability 9) for Markov chains; that means stand for the
    policy is ours.
    """
    shape = walk.target.shape
    chosen, visits = np.zeros(shape), np.zeros(shape[0])
    proposal: Proposal | None = None
    for _ in range(settings.rounds):
        drawn = draw_mixture(walk, proposal, settings.tuning, settings.share if proposal else 1.0, rng)
        chosen, visits = chosen + drawn.chosen, visits + drawn.visits
        proposal = Proposal(_chances(walk, is_event, chosen, visits), walk.target, settings.own)
    assert proposal is not None
    return proposal


def draw_mixture(
    walk: Walk,
    proposal: Proposal | None,
    episodes: int,
    share: float,
    rng: np.random.Generator,
    *,
    batch: int = BATCH,
) -> Weighted:
    """Episodes of scenarios drawn evenly, ``share`` of them the policy's, the others the proposal's; with weights."""
    parts = [
        _draw_mixture(walk, proposal, min(batch, episodes - first), share, rng) for first in range(0, episodes, batch)
    ]
    return Weighted(
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.sum([part.chosen for part in parts], axis=0),
        np.sum([part.visits for part in parts], axis=0),
    )


def _draw_mixture(
    walk: Walk, proposal: Proposal | None, episodes: int, share: float, rng: np.random.Generator
) -> Weighted:
    root = rng.integers(len(walk.roots), size=episodes)
    of_policy = rng.random(episodes) < share
    state, live = walk.roots[root].copy(), np.arange(episodes)
    own, other = np.zeros(episodes), np.zeros(episodes)
    chosen, visits = np.zeros(walk.target.shape), np.zeros(len(walk.target))
    memory = walk.begin(root, np.zeros((episodes, 0), dtype=np.int64))
    while len(live):
        policy = walk.log_probs(memory)
        np.add.at(chosen, state[live], np.exp(policy))
        np.add.at(visits, state[live], 1)
        tilted = policy if proposal is None else proposal.log_probs(state[live], policy)
        picks = pick(np.where(of_policy[live, None], policy, tilted), rng)
        at = (np.arange(len(live)), picks)
        own[live] += policy[at]
        other[live] += tilted[at]
        state[live] = walk.target[state[live], picks]
        goes_on = np.flatnonzero(~walk.is_over[state[live]])
        if len(goes_on):
            memory = walk.follow(memory, goes_on, picks[goes_on])
        live = live[goes_on]
    return Weighted(state, mixture_weights(own, other, share), chosen, visits)


def _chances(walk: Walk, is_event: BoolArray, chosen: FloatArray, visits: FloatArray) -> FloatArray:
    """(S,) the chance of the event from each state on, for the mean choices that were seen."""
    is_open = walk.target >= 0
    anything = is_open / np.maximum(is_open.sum(axis=1, keepdims=True), 1)
    usual = np.where(is_open, chosen.sum(axis=0), 0.0)
    total = usual.sum(axis=1, keepdims=True)
    usual = np.divide(usual, total, out=anything.copy(), where=total > 0)
    guess = (1 - _SMOOTH) * usual + _SMOOTH * anything
    table = (chosen + _PRIOR * guess) / (visits + _PRIOR)[:, None]
    chance = is_event.astype(np.float64)
    # Each sweep looks one choice further ahead; episodes end, so the sweeps do.
    for _ in range(10_000):
        ahead = np.where(walk.is_over, is_event, (table * chance[np.maximum(walk.target, 0)]).sum(axis=1))
        if np.allclose(ahead, chance, rtol=1e-6, atol=0):
            break
        chance = ahead
    return chance
