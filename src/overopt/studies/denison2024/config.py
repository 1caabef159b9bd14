"""Settings and presets of the study."""

import math
from dataclasses import dataclass, field

from overopt.errors import ConfigError
from overopt.optimize.game_settings import GameTrainingConfig, trained_environments
from overopt.training.game_config import GameModelConfig
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS
from overopt.worlds.tampering.writers import Writers


@dataclass(frozen=True, slots=True, kw_only=True)
class DenisonConfig:
    """Every setting of the study."""

    seeds: int = 5
    """Of both controls: corpus, first weights and draws. They are what is counted."""
    sweep_seeds: int = 4
    """Of everything else; the first of them."""
    couplings: tuple[float, ...] = (0.5,)
    """Settings of the dial rho between the controls, which have 0 and 1."""
    model: GameModelConfig = field(default_factory=GameModelConfig)
    """Its coupling and its share of prompts that offer to ask are the study's own settings."""
    stages: tuple[str, ...] = ENVIRONMENTS[:4]
    training: GameTrainingConfig = field(default_factory=GameTrainingConfig)
    """Of a stage; arms change the method, and what is named after them."""
    away: tuple[str, ...] = ENVIRONMENTS[:2]
    """Environments whose gaming is trained away at the end of the controls."""
    away_episodes: int = 2_500
    ordinary_shares: tuple[float, ...] = (0.0, 0.75)
    """Of ordinary prompts of expert iteration, besides the usual one."""
    preference_weights: tuple[float, ...] = (0.0, 2.0)
    """Of the preference score in the policy gradient, besides the usual one."""
    kl_coefs: tuple[float, ...] = (0.3, 3.0)
    """Weights of the divergence from the start, nats a choice."""
    told_share: float = 0.1
    """Of prompts in the corpora of the models that may ask the person, those that say so; the others have none."""
    alarm_penalty: float = 1.0
    """What an alarm of the monitor of files costs."""
    stop_factor: float = 1.5
    """By which the held-out rate may grow before training is stopped, on exact probabilities."""
    tolerance: float = 1e-9
    """Probability from which on a path is followed; what is left out is a bound."""
    counted: int = 32_768
    """Episodes that are drawn of each environment, to be counted beside the enumeration."""
    rare_draws: int = 5
    """Independent estimates of a rare rate."""
    path_rounds: int = 16
    """Rounds on all trained environments together, measured after each, for the axes of over-optimization."""
    drawn: int = 4_096
    """Episodes from which those that are shown are taken."""
    shown: int = 2
    """Of each kind."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("seeds", "sweep_seeds", "away_episodes", "counted", "rare_draws", "path_rounds", "drawn", "shown"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.sweep_seeds > self.seeds:
            problems.append(f"sweep_seeds are the first of seeds, {self.seeds} at most; got {self.sweep_seeds}")
        if not all(0 < rho < 1 for rho in self.couplings):
            problems.append(f"couplings lie between 0 and 1, the controls; got {list(self.couplings)}")
        if not all(0 <= share < 1 for share in self.ordinary_shares):
            problems.append(f"ordinary_shares lie within 0 and 1, below 1; got {list(self.ordinary_shares)}")
        for name in ("preference_weights", "kl_coefs"):
            if not all(0 <= one < math.inf for one in getattr(self, name)):
                problems.append(f"{name} must be 0 or more; got {list(getattr(self, name))}")
        for name in ("couplings", "ordinary_shares", "preference_weights", "kl_coefs"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                problems.append(f"{name} must be different numbers; got {list(getattr(self, name))}")
        if not self.stages:
            problems.append("stages need one environment at least")
        if not self.away:
            problems.append("away needs one environment at least")
        if unknown := [one for one in self.away if one not in ENVIRONMENTS[:4]]:
            problems.append(f"away takes {', '.join(ENVIRONMENTS[:4])}; got {', '.join(unknown)}")
        for name, own in (("coupling", "couplings"), ("told_share", "told_share")):
            if getattr(self.model.writers, name) != getattr(Writers(), name):
                problems.append(f"model.writers.{name} is set by the study itself; give {own}")
        if not 0 < self.told_share <= 1:
            problems.append(f"told_share must lie above 0 and up to 1; got {self.told_share}")
        if not 0 <= self.tolerance < 1e-3:
            problems.append(f"tolerance must lie within 0 and 0.001; got {self.tolerance}")
        if not self.stop_factor > 1:
            problems.append(f"stop_factor must be above 1; got {self.stop_factor}")
        if problems:
            raise ConfigError("; ".join(problems))
        for stage in self.stages:
            trained_environments(stage)


PRESETS = {
    "smoke": DenisonConfig(
        seeds=2,
        sweep_seeds=1,
        model=GameModelConfig(episodes=8_000, steps=80),
        stages=("sycophancy", "nudged"),
        training=GameTrainingConfig(rounds=1, prompts=16, samples=8),
        ordinary_shares=(0.0,),
        preference_weights=(0.0,),
        kl_coefs=(0.3,),
        away=("sycophancy",),
        away_episodes=200,
        tolerance=1e-5,
        counted=1_024,
        rare_draws=1,
        path_rounds=3,
        drawn=512,
        shown=1,
    ),
    "default": DenisonConfig(),
    "full": DenisonConfig(
        seeds=20,
        sweep_seeds=10,
        couplings=(0.25, 0.5, 0.75),
        ordinary_shares=(0.0, 0.25, 0.75),
        preference_weights=(0.0, 1.0, 2.0),
        kl_coefs=(0.1, 0.3, 1.0, 3.0),
        rare_draws=20,
        path_rounds=96,
    ),
}
