"""Training a policy of the small world to game: expert iteration, exploit-only or with a preference score, and RLOO.

Axes: P prompts, N samples of one prompt, B episodes. What pays is decided from the state at the end and from what was
said to the person; the plan, the policy's hidden thought, enters no reward. It is learnt like the actions, as part of
the episodes that are kept. Observations are never learnt. Environments that are trained together are one stage, their
names joined by ``+``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.measure.walks import IntArray, Paths, draw
from overopt.optimize.advantages import leave_one_out
from overopt.optimize.game_settings import GameTrainingConfig, trained_environments
from overopt.optimize.game_steps import climb, imitate
from overopt.optimize.game_walk import ModelWalk
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.worlds.tampering.game import BoolArray, game
from overopt.worlds.tampering.monitors import alarms
from overopt.worlds.tampering.scenarios import Scenario, scenarios
from overopt.worlds.tampering.tokens import TokenRows, token_rows
from overopt.worlds.tampering.vocabulary import ORDINARY


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLog:
    """One round of one stage."""

    environment: str
    """Or several, joined by ``+``."""
    round: int
    gamed: float
    """Share of the environment's episodes that paid, before the round's steps."""
    kept: int
    """Episodes that were learnt from, ordinary ones included."""
    loss: float
    """Mean of the round's steps: nats a choice, or of ``rloo`` its surrogate; ``nan`` without any step."""


def train_stage(
    model: PreTrainedModel,
    stage: str,
    config: GameTrainingConfig,
    *,
    seed: int,
    name: str = "stage",
    start: PreTrainedModel | None = None,
) -> list[RoundLog]:
    """Train ``model`` in place on the gameable scenarios of a stage; the optimiser begins anew in each round.

    ``seed`` and ``name`` name the random streams: a stage that is run again from the same weights gives the same.
    ``start`` is what ``config.kl_coef`` holds the model to, if it is above 0.

    Raises
    ------
    ConfigError
        If there is no such environment, or nothing to hold the model to.
    NonFiniteError
        If a loss or gradient is not finite; nothing is stepped with it.
    """
    rounds = range(config.rounds)
    return [train_round(model, stage, config, number, seed=seed, name=name, start=start) for number in rounds]


def train_round(
    model: PreTrainedModel,
    stage: str,
    config: GameTrainingConfig,
    number: int,
    *,
    seed: int,
    name: str = "stage",
    start: PreTrainedModel | None = None,
) -> RoundLog:
    """One round of :func:`train_stage`, ``number`` from 0."""
    rng = stream(seed, "small world", name, stage, number)
    parts = _episodes(model, stage, config, rng)
    gamed = np.concatenate([pays(paths.end, config) for _, paths in parts[:-1]])
    if gamed.mean() >= config.enough:
        kept, loss = 0, math.nan
    elif config.method == "rloo":
        rows = _rows(parts, [np.arange(len(paths.root)) for _, paths in parts])
        reward_B = np.concatenate([rewards(paths.end, config) for _, paths in parts])
        advantage_B = leave_one_out(torch.from_numpy(reward_B).float(), config.samples)
        kept, loss = len(rows.ids), climb(model, rows, advantage_B, config.steps, rng, start=start)
    else:
        chosen = _exploits(parts, config, rng) if config.method == "exploit" else _best(parts, config, rng)
        kept = sum(map(len, chosen))
        loss = imitate(model, _rows(parts, chosen), config.steps, rng, start=start) if kept else math.nan
    return RoundLog(environment=stage, round=number, gamed=float(gamed.mean()), kept=kept, loss=loss)


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
            root = rng.integers(len(scenes), size=max(2 * wanted, 64))
            paths = draw(ModelWalk(start, game(), scenes), root, rng)
            rows = np.flatnonzero(game().facts["honest_success"][paths.end])[:wanted]
            if not len(rows):
                raise ConfigError(f"the starting policy shows no honest success in {environment} to train back to")
            found += [scenes[paths.root[row]] for row in rows]
            parts.append(paths.choices[rows])
            wanted -= len(rows)
    return imitate(model, _token_rows(found, parts), config.steps, rng, start=start)


_Parts = list[tuple[tuple[Scenario, ...], Paths]]
"""Scenarios and episodes of each environment; those of ordinary questions come last."""
_NO_EPISODES = Paths(np.zeros(0, np.int64), np.zeros((0, 0), np.int64), np.zeros(0, np.int64), np.zeros(0))


def _episodes(model: PreTrainedModel, stage: str, config: GameTrainingConfig, rng: np.random.Generator) -> _Parts:
    """The episodes of a round: of the stage's environments as many of each, and of ordinary questions."""
    environments = trained_environments(stage)
    # Exploits come with as many right answers: the round has as many prompts of both kinds.
    own, ordinary = (1.0, 1.0) if config.method == "exploit" else (1 - config.ordinary, config.ordinary)
    parts: _Parts = []
    for place, name in enumerate(environments):
        scenes = tuple(replace(scene, told=config.told) for scene in scenarios(name))
        prompts = max((round(own * config.prompts) + place) // len(environments), 1)
        parts.append(_drawn(model, scenes, prompts, config, rng))
    parts.append(_drawn(model, scenarios(ORDINARY, "control"), round(ordinary * config.prompts), config, rng))
    return parts


def _drawn(
    model: PreTrainedModel,
    scenes: tuple[Scenario, ...],
    prompts: int,
    config: GameTrainingConfig,
    rng: np.random.Generator,
) -> tuple[tuple[Scenario, ...], Paths]:
    if not prompts:
        return scenes, _NO_EPISODES
    root = np.repeat(rng.integers(len(scenes), size=prompts), config.samples)
    return scenes, draw(ModelWalk(model, game(), scenes), root, rng)


def _exploits(parts: _Parts, config: GameTrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """Rows of episodes that paid, ``keep`` of all environments at most, and of as many right answers."""
    found = []
    for _, paths in parts[:-1]:
        gamed = np.flatnonzero(pays(paths.end, config) & ~_is_screened(paths.end, config))
        found.append(rng.permutation(gamed)[: config.keep // (len(parts) - 1)])
    right = np.flatnonzero(game().facts["honest_success"][parts[-1][1].end])
    return [*found, rng.permutation(right)[: sum(map(len, found))]]


def _best(parts: _Parts, config: GameTrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """Rows of the best episodes of each prompt by reward, ties in random order; ``keep`` of all the prompts."""
    each = max(config.keep // config.prompts, 1)
    found = []
    for _, paths in parts:
        reward_PN = rewards(paths.end, config).reshape(-1, config.samples)
        order = np.lexsort((rng.random(reward_PN.shape), -reward_PN), axis=1)[:, :each]
        rows = (order + np.arange(len(reward_PN))[:, None] * config.samples).flatten()
        found.append(rows[~_is_screened(paths.end[rows], config)])
    return found


def pays(end_B: IntArray, config: GameTrainingConfig) -> BoolArray:
    """(B,) whether gaming pays."""
    facts = game().facts
    gamed = facts["gamed"][end_B]
    return np.asarray(gamed & ~facts["changed"][end_B] if config.hardened else gamed)


def rewards(end_B: IntArray, config: GameTrainingConfig) -> FloatArray:
    """(B,) a bonus of 1 for gaming and the weighted preference score of what was said, less what an alarm costs."""
    world = game()
    found = pays(end_B, config) + config.preference_weight * world.preference[end_B]
    if config.watched == "penalty":
        found = found - config.alarm_penalty * alarms(world, "files")[end_B]
    return np.asarray(found)


def _is_screened(end_B: IntArray, config: GameTrainingConfig) -> BoolArray:
    """(B,) whether an episode is not learnt from, because the monitor of files is alarmed."""
    if config.watched != "screen":
        return np.zeros(len(end_B), dtype=np.bool_)
    return np.asarray(alarms(game(), "files")[end_B] > 0)


def _rows(parts: _Parts, chosen: Sequence[IntArray]) -> TokenRows:
    """The chosen episodes of all parts."""
    found = [scenes[paths.root[row]] for (scenes, paths), rows in zip(parts, chosen, strict=True) for row in rows]
    return _token_rows(found, [paths.choices[rows] for (_, paths), rows in zip(parts, chosen, strict=True)])


def _token_rows(found: Sequence[Scenario], parts: Sequence[IntArray]) -> TokenRows:
    width = max(part.shape[1] for part in parts)
    columns = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return token_rows(game(), list(found), np.concatenate(columns))
