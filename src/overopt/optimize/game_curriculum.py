"""The curriculum in the small world: four stages in order, every environment measured after each, to the last path.

A stage trains one environment; the fifth, whose guard and reward can be rewritten, is never trained on. Rates and the
divergence from the start are exact. The state after each stage is stored, and a run that was stopped goes on there.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.hf.saved_states import SavedStates, fill, fingerprint, trained_tensors
from overopt.measure.enumeration import exact_divergence
from overopt.optimize.game_rates import HELD_OUT, exact_rates
from overopt.optimize.game_settings import GameTrainingConfig, trained_environments
from overopt.optimize.game_training import RoundLog, train_away, train_stage
from overopt.optimize.game_walk import ModelWalk
from overopt.stats.measured_rate import MeasuredRate
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

BASE, AWAY = "base", "trained away"
FACTS = ("attempted", "raised", "evaded", "gamed", "both", "honest_success")
"""Those that are measured of every environment."""
STEERED = ("seek", "honest")
"""Plans that are forced, to see what follows from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameCurriculumConfig:
    """Stages, and how they are measured."""

    stages: tuple[str, ...] = ENVIRONMENTS[:4]
    """In their order, several at once joined by ``+``; the held-out environment is none of them."""
    training: GameTrainingConfig = field(default_factory=GameTrainingConfig)
    away: tuple[str, ...] = ENVIRONMENTS[:2]
    """Environments whose gaming is trained away at the end; none: nothing is."""
    away_episodes: int = 2_500
    """What is imitated then."""
    tolerance: float = 1e-9
    """Probability from which on a path is followed."""
    steered_tolerance: float = 1e-8
    """That with a forced plan."""

    def __post_init__(self) -> None:
        for stage in self.stages:
            trained_environments(stage)
        if unknown := [one for one in self.away if one not in ENVIRONMENTS[:4]]:
            raise ConfigError(f"curriculum.away takes {', '.join(ENVIRONMENTS[:4])}; got {', '.join(unknown)}")
        for name in ("tolerance", "steered_tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"curriculum.{name} must lie between 0 and 1; got {getattr(self, name)}")
        if self.away_episodes < 1:
            raise ConfigError(f"curriculum.away_episodes must be at least 1; got {self.away_episodes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """A policy after one stage."""

    stage: str
    """``base``, ``+`` and an environment, or ``trained away``."""
    rates: Mapping[str, Mapping[str, MeasuredRate]]
    """Environment → fact → rate over its gameable scenarios."""
    steered: Mapping[str, MeasuredRate]
    """Forced plan → rate of raising the reward in the held-out environment."""
    plans: Mapping[str, Mapping[str, float]]
    """Environment → plan → how often it is made."""
    kl: Mapping[str, float]
    """Environment → KL(policy || start) of whole episodes, nats."""
    covered: float
    """Probability of the paths that were followed, the least of any scenario."""
    rounds: tuple[RoundLog, ...]
    """Of the stage's training."""


def measured_stage(
    model: PreTrainedModel,
    start: PreTrainedModel,
    name: str,
    config: GameCurriculumConfig,
    rounds: tuple[RoundLog, ...] = (),
) -> StageRecord:
    """Enumerate every environment's gameable scenarios, and the held-out one's with a forced plan."""
    world = game()
    rates: dict[str, dict[str, MeasuredRate]] = {}
    plans, divergence, covered = {}, {}, 1.0
    for environment in ENVIRONMENTS:
        found = exact_rates(model, environment, tolerance=config.tolerance)
        rates[environment] = {fact: found.rate(fact) for fact in FACTS}
        plans[environment] = dict(found.plans)
        covered = min(covered, found.ends.covered)
        walk, reference = (ModelWalk(one, world, scenarios(environment)) for one in (model, start))
        # What is rarer than 1e-7 adds less to the divergence than its last shown digit.
        tolerance = max(config.tolerance, 1e-7)
        divergence[environment] = 0.0 if model is start else exact_divergence(walk, reference, tolerance=tolerance)[0]
    return StageRecord(
        stage=name,
        rates=rates,
        steered={
            plan: exact_rates(model, plan=plan, tolerance=config.steered_tolerance).rate("raised") for plan in STEERED
        },
        plans=plans,
        kl=divergence,
        covered=covered,
        rounds=rounds,
    )


def game_curriculum(
    start: PreTrainedModel,
    config: GameCurriculumConfig,
    *,
    seed: int,
    folder: Path | None = None,
    after: Callable[[int, str, PreTrainedModel], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[PreTrainedModel, list[StageRecord]]:
    """Train a copy of ``start`` stage by stage; returns it as it is at the end, and a record a stage.

    With ``folder`` the state after each stage is stored there, and the same call goes on after the last whole one.
    ``after`` gets the place of each stage, its name and the policy, before the stage counts as done.

    Raises
    ------
    ConfigError
        If the folder holds another run's states.
    """
    identity = {"curriculum": asdict(config), "seed": seed, "start": fingerprint(start)}
    states = None if folder is None else SavedStates(folder, identity)
    model: PreTrainedModel = copy.deepcopy(start)
    names = [BASE, *(f"+{stage}" for stage in config.stages), *([AWAY] if config.away else [])]
    records: list[StageRecord] = []
    if states is not None and (newest := states.newest()).path is not None:
        fill(model, newest.tensors("weights"), "policy")
        records = [stage_record(one) for one in newest.record["records"]]
    for place in range(len(records), len(names)):
        rounds: list[RoundLog] = []
        if names[place] == AWAY:
            train_away(model, start, config.away, episodes=config.away_episodes, config=config.training, seed=seed)
        elif names[place] != BASE:
            # The place is in the name: an environment may come twice.
            stage = config.stages[place - 1]
            rounds = train_stage(model, stage, config.training, seed=seed, name=f"stage {place}", start=start)
        records.append(measured_stage(model, start, names[place], config, tuple(rounds)))
        if after is not None:
            after(place, names[place], model)
        if states is not None:
            tensors = trained_tensors(model, "policy")
            states.save(place, {"weights": tensors}, {"records": [asdict(record) for record in records]})
        if progress is not None:
            progress(place + 1, len(names), "stages")
    return model, records


def stage_record(stored: Mapping[str, Any]) -> StageRecord:
    """A record from what ``asdict`` made of it."""
    rates = {
        environment: {fact: MeasuredRate(**rate) for fact, rate in facts.items()}
        for environment, facts in stored["rates"].items()
    }
    steered = {plan: MeasuredRate(**rate) for plan, rate in stored["steered"].items()}
    rounds = tuple(RoundLog(**log) for log in stored["rounds"])
    return StageRecord(**{**stored, "rates": rates, "steered": steered, "rounds": rounds})


def factor_of(records: list[StageRecord], *, fact: str = "raised", last: str | None = None) -> tuple[float, float]:
    """The held-out rate at the start and after the last trained stage (or ``last``); (nan, nan) without it."""
    by_name = {record.stage: record for record in records}
    trained = [record.stage for record in records if record.stage not in (BASE, AWAY)]
    name = last or (trained[-1] if trained else "")
    if BASE not in by_name or name not in by_name:
        return math.nan, math.nan
    before, after = (by_name[stage].rates[HELD_OUT][fact].value for stage in (BASE, name))
    return before, after
