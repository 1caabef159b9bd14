"""The curriculum in the small world over several seeds: stage × environment matrices of exact rates, and two controls.

With the dial rho at 1 what is learnt in the trained environments belongs to the held-out one, and its rate must rise;
at 0 it has nothing to do with it, and a pipeline that reports a rise is broken. Seeds are what is counted: those of the
corpus, the first weights, the draws. The claim is about the measurement, not about language models.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit
from transformers import LlamaForCausalLM

from overopt.errors import ConfigError
from overopt.measure.gaming import Cell, Matrix, measured_cell
from overopt.optimize.game_curriculum import (
    AWAY,
    BASE,
    FACTS,
    HELD_OUT,
    GameCurriculumConfig,
    StageRecord,
    factor_of,
    game_curriculum,
)
from overopt.stats.measured_rate import MeasuredRate
from overopt.stats.seed_arms import ArmDifference, SeedFactor, arm_difference, log_factors, seed_factor
from overopt.training.game_model import GameModelConfig, game_tokenizer, pretrained_game_model
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

CAVEAT = "constructed incentive, pathway not prevalence"
SCHEMA = "overopt.tamper_toy/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """One arm."""

    rho: float = 1.0
    """Coupling of the held-out decision to the plan, within 0..1."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    model: GameModelConfig = field(default_factory=GameModelConfig)
    """Its coupling is overwritten by ``rho``."""
    curriculum: GameCurriculumConfig = field(default_factory=GameCurriculumConfig)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"toy.seeds must be different numbers, one at least; got {list(self.seeds)}")
        if not 0 <= self.rho <= 1:
            raise ConfigError(f"toy.rho must lie within 0 and 1; got {self.rho}")

    @property
    def coupled_model(self) -> GameModelConfig:
        """The model's settings at this coupling."""
        return replace(self.model, writers=replace(self.model.writers, coupling=self.rho))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyRun:
    """All seeds of one arm."""

    config: ToyConfig
    records: dict[int, list[StageRecord]]
    """Seed → its stages."""

    def matrix(self, seed: int) -> Matrix:
        """Stages × environments × facts of one seed, exact."""
        cells = [
            measured_cell(record.stage, environment, "gameable", fact, rate)
            for record in self.records[seed]
            for environment, facts in record.rates.items()
            for fact, rate in facts.items()
        ]
        return _matrix([record.stage for record in self.records[seed]], cells)

    def mean_matrix(self) -> Matrix:
        """Means over seeds, with the t interval over seeds that a mean of exact rates has; ``nan`` with one seed."""
        first = next(iter(self.records.values()))
        cells = [
            measured_cell(one.stage, environment, "gameable", fact, _over_seeds(
                [records[place].rates[environment][fact] for records in self.records.values()]
            ))
            for place, one in enumerate(first)
            for environment in ENVIRONMENTS
            for fact in FACTS
        ]  # fmt: skip
        return _matrix([record.stage for record in first], cells)

    def factor(self, fact: str = "raised", *, level: float = 0.95) -> SeedFactor:
        """By how much the held-out rate was multiplied from the start to the end of the last trained stage."""
        before, after = self._factors(fact)
        return seed_factor(before, after, level=level)

    def log_factors(self, fact: str = "raised") -> list[float]:
        """Logarithm of each seed's factor."""
        return [float(one) for one in log_factors(*self._factors(fact))]

    def _factors(self, fact: str) -> tuple[list[float], list[float]]:
        pairs = [factor_of(records, fact=fact) for records in self.records.values()]
        return [before for before, _ in pairs], [after for _, after in pairs]

    def steering(self) -> dict[int, float]:
        """Seed → held-out rate with ``seek`` forced over that with ``honest`` forced, after the last trained stage."""
        found = {}
        for seed, records in self.records.items():
            last = [record for record in records if record.stage != AWAY][-1]
            honest = last.steered["honest"].value
            found[seed] = last.steered["seek"].value / honest if honest else math.nan
        return found

    def steering_factor(self, *, level: float = 0.95) -> SeedFactor:
        """Geometric mean of the steering ratios, over seeds."""
        ratios = np.array(list(self.steering().values()))
        return seed_factor(np.ones_like(ratios), ratios, level=level)

    def away(self) -> dict[str, list[float]]:
        """Environment → rate of gaming after training away over that at the start, a seed an entry; of the held-out
        environment the rate of raising over that at the end of the last trained stage. Empty without that stage."""
        found: dict[str, list[float]] = {}
        for records in self.records.values():
            by_name = {record.stage: record for record in records}
            if AWAY not in by_name:
                return {}
            for environment in self.config.curriculum.away:
                before, after = (by_name[stage].rates[environment]["gamed"].value for stage in (BASE, AWAY))
                found.setdefault(environment, []).append(after / before if before else math.nan)
            _, trained = factor_of(records)
            left = by_name[AWAY].rates[HELD_OUT]["raised"].value
            found.setdefault(HELD_OUT, []).append(left / trained if trained else math.nan)
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``factor`` is None where a rate was 0 as far as it was enumerated."""
        return {
            "schema": SCHEMA,
            "caveat": CAVEAT,
            "config": asdict(self.config),
            "seeds": {str(seed): [asdict(record) for record in records] for seed, records in self.records.items()},
            "factor": asdict(self.factor()) if min(min(one) for one in self._factors("raised")) > 0 else None,
            "steering": {str(seed): ratio for seed, ratio in self.steering().items()},
        }


def tampering_toy(
    config: ToyConfig, *, folder: Path | None = None, progress: Callable[[int, int, str], None] | None = None
) -> ToyRun:
    """Pretrain, train and measure each seed; with ``folder`` what is finished is not done again.

    Models are stored in ``folder/seed-K/model``, in the standard format, and states of the curriculum beside them.

    Raises
    ------
    ConfigError
        If the folder holds a run with other settings.
    """
    records: dict[int, list[StageRecord]] = {}
    for place, seed in enumerate(config.seeds):
        own = None if folder is None else folder / f"seed-{seed}"
        start = _start(config.coupled_model, seed, own)
        stages = None if own is None else own / "stages"
        _, records[seed] = game_curriculum(start, config.curriculum, seed=seed, folder=stages)
        if progress is not None:
            progress(place + 1, len(config.seeds), "seeds")
    return ToyRun(config=config, records=records)


def compare_arms(coupled: ToyRun, uncoupled: ToyRun, *, fact: str = "raised", level: float = 0.95) -> ArmDifference:
    """Do the arms differ in how much the held-out rate was multiplied, seeds being the units?"""
    return arm_difference(coupled.log_factors(fact), uncoupled.log_factors(fact), level=level)


def _start(config: GameModelConfig, seed: int, folder: Path | None) -> LlamaForCausalLM:
    """The pretrained model of a seed, read where it is stored with these settings."""
    if folder is None:
        return pretrained_game_model(config, seed=seed)
    place, recipe = folder / "model", json.loads(json.dumps({"model": asdict(config), "seed": seed}))
    marker = folder / "model.json"
    if marker.exists():
        if json.loads(marker.read_text(encoding="utf-8")) != recipe:
            raise ConfigError(f"{folder} holds a model with other settings; give another folder")
        # As it was trained: fused attention would round otherwise.
        return LlamaForCausalLM.from_pretrained(place, attn_implementation="eager")
    model = pretrained_game_model(config, seed=seed)
    model.save_pretrained(place)
    game_tokenizer().save_pretrained(place)
    # Written last: without it the model is made again.
    partial = marker.with_suffix(".partial")
    partial.write_text(json.dumps(recipe), encoding="utf-8")
    partial.rename(marker)
    return model


def _over_seeds(rates: Sequence[MeasuredRate]) -> MeasuredRate:
    """The mean of exact rates of several seeds."""
    values = np.array([rate.value for rate in rates])
    level = rates[0].level
    half = float("nan")
    if len(values) > 1:
        half = -float(stdtrit(len(values) - 1, (1 - level) / 2)) * float(values.std(ddof=1)) / len(values) ** 0.5
    value = float(values.mean())
    return MeasuredRate(
        value=value, low=max(value - half, 0.0), high=min(value + half, 1.0), level=level, estimator="exact",
        method="enumeration, t interval over seeds", unit="seed", n_units=len(values),
        episodes=sum(rate.episodes for rate in rates), mass=min(rate.mass for rate in rates),
    )  # fmt: skip


def _matrix(stages: Iterable[str], cells: Sequence[Cell]) -> Matrix:
    return Matrix(stages=tuple(stages), environments=ENVIRONMENTS, facts=FACTS, cells=tuple(cells))
