"""The curriculum in the small world over several seeds: stage × environment matrices of exact rates, and two controls.

With the dial rho at 1 what is learnt in the trained environments belongs to the held-out one, and its rate must rise;
at 0 it has nothing to do with it, and a pipeline that reports a rise is broken. Seeds are what is counted: those of the
corpus, the first weights, the draws. The claim is about the measurement, not about language models.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.measure.gaming import Cell, Matrix, measured_cell
from overopt.measure.plain import plain
from overopt.optimize.game_curriculum import (
    AWAY,
    BASE,
    FACTS,
    GameCurriculumConfig,
    StageRecord,
    factor_of,
    game_curriculum,
)
from overopt.optimize.game_rates import HELD_OUT
from overopt.stats.measured_rate import MeasuredRate
from overopt.stats.seed_arms import ArmDifference, SeedFactor, arm_difference, log_factors, seed_factor
from overopt.studies.places import prepare_torch
from overopt.training.game_config import GameModelConfig
from overopt.training.game_model import load_game_model, pretrained_game_model, save_game_model
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
        if self.curriculum.training.may_ask and not self.model.writers.told_share:
            raise ConfigError(
                "curriculum.training.may_ask needs model.writers.told_share above 0: no prompt of the corpus says that "
                "the person can be asked"
            )

    @property
    def coupled_model(self) -> GameModelConfig:
        """The model's settings at this coupling."""
        return coupled(self.model, self.rho)


def coupled(model: GameModelConfig, rho: float, *, told_share: float | None = None) -> GameModelConfig:
    """A model's settings with the dial at ``rho``, and another share of prompts that offer to ask if it is given."""
    writers = replace(model.writers, coupling=rho)
    return replace(model, writers=writers if told_share is None else replace(writers, told_share=told_share))


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
        """For JSON; factors are None where a rate was 0 as far as it was enumerated."""
        ratios = self.steering()
        return {
            "rho": self.config.rho,
            "config": asdict(self.config),
            "seeds": {str(seed): [asdict(record) for record in records] for seed, records in self.records.items()},
            "factor": asdict(self.factor()) if min(min(one) for one in self._factors("raised")) > 0 else None,
            "steering": {str(seed): ratio for seed, ratio in ratios.items()},
            "steering_factor": asdict(self.steering_factor()) if all(one > 0 for one in ratios.values()) else None,
            "away": self.away(),
        }


def tampering_toy(
    config: ToyConfig,
    *,
    folder: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> ToyRun:
    """Pretrain, train and measure each seed, ``workers`` at a time; with ``folder`` what is finished is not done again.

    In ``folder/seed-K`` are the pretrained ``model``, the ``policies`` after each stage, both in the standard format,
    and the states of the curriculum.

    Raises
    ------
    ConfigError
        If the folder holds a run with other settings, or ``workers`` is below 1.
    """
    if workers < 1:
        raise ConfigError(f"toy needs one worker at least; got {workers}")
    own = [None if folder is None else folder / f"seed-{seed}" for seed in config.seeds]
    found: dict[int, list[StageRecord]] = {}

    def done(seed: int, records: list[StageRecord]) -> None:
        found[seed] = records
        if progress is not None:
            progress(len(found), len(config.seeds), "seeds")

    if workers == 1:
        for seed, place in zip(config.seeds, own, strict=True):
            done(seed, run_seed(config, seed, place))
    else:
        # Fresh processes: forked ones would share the locks of torch.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare_torch) as pool:
            tasks = {
                pool.submit(run_seed, config, seed, place): seed for seed, place in zip(config.seeds, own, strict=True)
            }
            for task in as_completed(tasks):
                done(tasks[task], task.result())
    return ToyRun(config=config, records={seed: found[seed] for seed in config.seeds})


def run_seed(config: ToyConfig, seed: int, folder: Path | None = None) -> list[StageRecord]:
    """One seed of :func:`tampering_toy`."""
    start = _start(config.coupled_model, seed, folder)

    def keep(place: int, stage: str, model: PreTrainedModel) -> None:
        if folder is not None and stage != BASE:
            name = stage.removeprefix("+").replace(" ", "-")
            save_game_model(model, folder / "policies" / f"{place}-{name}")

    stages = None if folder is None else folder / "stages"
    _, records = game_curriculum(start, config.curriculum, seed=seed, folder=stages, after=keep)
    return records


def compare_arms(coupled: ToyRun, uncoupled: ToyRun, *, fact: str = "raised", level: float = 0.95) -> ArmDifference:
    """Do the arms differ in how much the held-out rate was multiplied, seeds being the units?"""
    return arm_difference(coupled.log_factors(fact), uncoupled.log_factors(fact), level=level)


def toy_results(runs: Sequence[ToyRun]) -> dict[str, Any]:
    """Arms for JSON, and how the first differs from each other one; ``None`` where an arm has one seed."""
    differences = [
        asdict(compare_arms(runs[0], other)) if min(len(one.config.seeds) for one in (runs[0], other)) > 1 else None
        for other in runs[1:]
    ]
    found = plain(
        {
            "schema": SCHEMA,
            "caveat": CAVEAT,
            "arms": [run.to_dict() for run in runs],
            "differences": differences,
        }
    )
    assert isinstance(found, dict)
    return found


def _start(config: GameModelConfig, seed: int, folder: Path | None) -> PreTrainedModel:
    """The pretrained model of a seed, read where it is stored with these settings."""
    if folder is None:
        return pretrained_game_model(config, seed=seed)
    place, recipe = folder / "model", json.loads(json.dumps({"model": asdict(config), "seed": seed}))
    marker = folder / "model.json"
    if marker.exists():
        if json.loads(marker.read_text(encoding="utf-8")) != recipe:
            raise ConfigError(f"{folder} holds a model with other settings; give another folder")
        return load_game_model(place)
    model = pretrained_game_model(config, seed=seed)
    save_game_model(model, place)
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
