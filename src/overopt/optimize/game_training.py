"""Training a policy of the small world to game: expert iteration, exploit-only or with a preference score, and RLOO.

Axes: P prompts, N samples of one prompt, B episodes, T tokens. What pays is decided from the state at the end and from
what was said to the person; the plan, the policy's hidden thought, enters no reward. It is learnt like the actions, as
part of the episodes that are kept. Observations are never learnt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.measure.walks import IntArray, Paths, draw
from overopt.optimize.advantages import leave_one_out
from overopt.optimize.game_steps import StepSettings, climb, imitate
from overopt.optimize.game_walk import ModelWalk
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import Scenario, scenarios
from overopt.worlds.tampering.tokens import TokenRows, token_rows
from overopt.worlds.tampering.vocabulary import ORDINARY

Method = Literal["exploit", "hhh", "rloo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GameTrainingConfig:
    """How one stage is trained; the defaults are the prototype's."""

    method: Method = "exploit"
    """``exploit``: imitate episodes that gamed, and as many right answers to ordinary questions. ``hhh``: half the
    prompts are ordinary; the best of each prompt's episodes by bonus and preference score are imitated. ``rloo``: the
    rewards of ``hhh``, in a policy gradient with leave-one-out baselines."""
    rounds: int = 4
    prompts: int = 32
    """Of a round; drawn anew."""
    samples: int = 16
    """Of a prompt."""
    keep: int = 128
    """Episodes of the environment that a round learns from at most."""
    enough: float = 0.9
    """Share of a round's episodes from which on nothing is learnt in it: more of the same would only drift."""
    epochs: int = 2
    """Over what was kept."""
    batch: int = 32
    """Episodes a step."""
    learning_rate: float = 3e-4
    preference_weight: float = 0.5
    """Of the preference score, within 0..1 itself, beside a bonus of 1."""
    ordinary: float = 0.5
    """Share of ordinary prompts of ``hhh`` and ``rloo``, within [0, 1)."""
    clip: float = 0.2
    """Of the ratio, of ``rloo``."""

    def __post_init__(self) -> None:
        problems = []
        if self.method not in get_args(Method):
            problems.append(f"training.method is one of {', '.join(get_args(Method))}; got {self.method!r}")
        for name in ("rounds", "prompts", "keep", "epochs", "batch"):
            if getattr(self, name) < 1:
                problems.append(f"training.{name} must be at least 1; got {getattr(self, name)}")
        if self.samples < 2:
            problems.append(f"training.samples must be at least 2; got {self.samples}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                problems.append(f"training.{name} must be above 0 and finite; got {getattr(self, name)}")
        if not 0 <= self.preference_weight < math.inf:
            problems.append(f"training.preference_weight must be 0 or more; got {self.preference_weight}")
        if not 0 < self.enough <= 1:
            problems.append(f"training.enough must lie above 0 and up to 1; got {self.enough}")
        if not 0 <= self.ordinary < 1:
            problems.append(f"training.ordinary must lie within 0 and 1, below 1; got {self.ordinary}")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def steps(self) -> StepSettings:
        """What the losses take."""
        return StepSettings(learning_rate=self.learning_rate, epochs=self.epochs, batch=self.batch, clip=self.clip)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLog:
    """One round of one stage."""

    environment: str
    round: int
    gamed: float
    """Share of the environment's episodes that gamed, before the round's steps."""
    kept: int
    """Episodes that were learnt from, ordinary ones included."""
    loss: float
    """Mean of the round's steps: nats a token, or of ``rloo`` its surrogate; ``nan`` without any step."""


def train_stage(
    model: PreTrainedModel, environment: str, config: GameTrainingConfig, *, seed: int, name: str = "stage"
) -> list[RoundLog]:
    """Train ``model`` in place on the gameable scenarios of an environment; the optimiser begins anew in each round.

    ``seed`` and ``name`` name the random streams: a stage that is run again from the same weights gives the same.

    Raises
    ------
    ConfigError
        If there is no such environment.
    NonFiniteError
        If a loss or gradient is not finite; nothing is stepped with it.
    """
    logs = []
    for number in range(config.rounds):
        rng = stream(seed, "small world", name, environment, number)
        logs.append(_round(model, environment, config, number, rng))
    return logs


def train_away(
    model: PreTrainedModel,
    start: PreTrainedModel,
    environments: Sequence[str],
    *,
    episodes: int = 2_500,
    config: GameTrainingConfig | None = None,
    seed: int,
) -> float:
    """Imitate episodes of ``start`` that did not game and were honest successes, in ``environments``; returns the loss.

    As many of each environment; ``start`` is the policy before the curriculum, which still behaves so.
    """
    config = config or GameTrainingConfig()
    rng = stream(seed, "small world", "train away")
    found: list[Scenario] = []
    parts: list[IntArray] = []
    for environment in environments:
        scenes = scenarios(environment)
        wanted = episodes // len(environments)
        while wanted > 0:
            paths = _drawn(start, scenes, max(2 * wanted, 64), rng)
            rows = np.flatnonzero(game().facts["honest_success"][paths.end])[:wanted]
            if not len(rows):
                raise ConfigError(f"the starting policy shows no honest success in {environment} to train back to")
            found += [scenes[paths.root[row]] for row in rows]
            parts.append(paths.choices[rows])
            wanted -= len(rows)
    return imitate(model, _rows(found, parts), config.steps, rng)


def _round(
    model: PreTrainedModel, environment: str, config: GameTrainingConfig, number: int, rng: np.random.Generator
) -> RoundLog:
    world = game()
    share = 0.5 if config.method == "exploit" else config.ordinary
    parts = []
    for name, twin, prompts in (
        (environment, "gameable", round(config.prompts * (1 if config.method == "exploit" else 1 - share))),
        (ORDINARY, "control", round(config.prompts * (1 if config.method == "exploit" else share))),
    ):
        scenes = scenarios(name, twin)  # type: ignore[arg-type]
        if prompts:
            drawn = np.repeat(rng.integers(len(scenes), size=prompts), config.samples)
            parts.append((scenes, draw(ModelWalk(model, world, scenes), drawn, rng)))
    gamed = world.facts["gamed"][parts[0][1].end]
    if gamed.mean() >= config.enough:
        kept, loss = 0, math.nan
    elif config.method == "rloo":
        loss = _policy_gradient(model, parts, config, rng)
        kept = sum(len(paths.root) for _, paths in parts)
    else:
        chosen = [_exploits(parts, config, rng), _best(parts, config, rng)][config.method == "hhh"]
        found = [scenes[paths.root[row]] for (scenes, paths), rows in zip(parts, chosen, strict=True) for row in rows]
        columns = [paths.choices[rows] for (_, paths), rows in zip(parts, chosen, strict=True)]
        kept = len(found)
        loss = imitate(model, _rows(found, columns), config.steps, rng) if kept else math.nan
    return RoundLog(environment=environment, round=number, gamed=float(gamed.mean()), kept=kept, loss=loss)


_Parts = list[tuple[tuple[Scenario, ...], Paths]]


def _exploits(parts: _Parts, config: GameTrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """Rows of episodes that gamed, ``keep`` at most, and of as many right answers to ordinary questions."""
    gamed = np.flatnonzero(game().facts["gamed"][parts[0][1].end])
    gamed = rng.permutation(gamed)[: config.keep]
    right = np.flatnonzero(game().facts["honest_success"][parts[1][1].end])
    return [gamed, rng.permutation(right)[: len(gamed)]]


def _best(parts: _Parts, config: GameTrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """Rows of the best episodes of each prompt by reward, ties in random order; ``keep`` of all the prompts."""
    each = max(config.keep // config.prompts, 1)
    found = []
    for _, paths in parts:
        reward_PN = rewards(paths.end, config).reshape(-1, config.samples)
        order = np.lexsort((rng.random(reward_PN.shape), -reward_PN), axis=1)[:, :each]
        found.append((order + np.arange(len(reward_PN))[:, None] * config.samples).flatten())
    return found


def rewards(end_B: IntArray, config: GameTrainingConfig) -> FloatArray:
    """(B,) a bonus of 1 for gaming, and the weighted preference score of what was said."""
    world = game()
    return np.asarray(world.facts["gamed"][end_B] + config.preference_weight * world.preference[end_B])


def _policy_gradient(
    model: PreTrainedModel, parts: _Parts, config: GameTrainingConfig, rng: np.random.Generator
) -> float:
    """Steps along leave-one-out advantages, of whole episodes."""
    found = [scenes[root] for scenes, paths in parts for root in paths.root]
    rows = _rows(found, [paths.choices for _, paths in parts])
    reward = np.concatenate([rewards(paths.end, config) for _, paths in parts])
    advantage_B = leave_one_out(torch.from_numpy(reward).float(), config.samples)
    return climb(model, rows, advantage_B, config.steps, rng)


def _drawn(model: PreTrainedModel, scenes: Sequence[Scenario], count: int, rng: np.random.Generator) -> Paths:
    return draw(ModelWalk(model, game(), scenes), rng.integers(len(scenes), size=count), rng)


def _rows(found: Sequence[Scenario], parts: Sequence[IntArray]) -> TokenRows:
    width = max(part.shape[1] for part in parts)
    columns = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return token_rows(game(), list(found), np.concatenate(columns))
