"""Put a model through a curriculum of environments that can be gamed, stage by stage, and measure it after each.

After Denison et al. 2024 (arXiv:2406.10162): does learning to game easy environments make a model tamper with its
reward? Settings that the paper does not publish (rates, batches, the scale of the preference model) are ours, so no
number here repeats one of its. Constructed incentive, pathway not prevalence.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from overopt.envs.chat_file import PLAIN_TEMPLATE
from overopt.envs.episode_file import read_episodes
from overopt.envs.ordinary import OrdinaryPrompts
from overopt.errors import ConfigError
from overopt.hf.loading import load_tokenizer
from overopt.hf.processes import Processes
from overopt.optimize.curriculum_config import CurriculumConfig, TrainAwayConfig
from overopt.optimize.curriculum_folder import START, CurriculumFolder, read_json, write_json
from overopt.optimize.curriculum_measurement import measure_policy, stop_reason, write_matrix
from overopt.optimize.curriculum_pressure import pressure_of
from overopt.optimize.curriculum_stages import (
    StageContext,
    expert_iteration_stage,
    format_stage,
    policy_gradient_stage,
    train_away_stage,
)
from overopt.optimize.curriculum_tasks import played, training_scenarios
from overopt.optimize.episode_rewards import EpisodeReward, PreferenceScale, RewardMix, fitted_scale
from overopt.policies.models import HFPolicy
from overopt.protocols import Progress, Prompt, Scorer
from overopt.training.episode_actor import EpisodeActor

CALIBRATION = 64
"""Ordinary replies of the starting policy that the scale of the preference model is fitted to, or a few more."""
TRAIN_AWAY = "train-away"


@dataclass(frozen=True, slots=True)
class CurriculumRun:
    """What a run leaves behind."""

    folder: Path
    stages: tuple[str, ...]
    """That were measured, the start first."""
    matrix: dict[str, Any]


def run_curriculum(
    config: CurriculumConfig,
    out: Path,
    *,
    scorer: Scorer | None = None,
    ordinary: Sequence[Prompt] | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> CurriculumRun:
    """All stages of a curriculum; one that was stopped anywhere goes on and ends with the same files.

    Parameters
    ----------
    scorer : Scorer, optional
        The preference model; it is shown requests and visible text.
    ordinary : sequence of prompts, optional
        Ordinary prompts, mixed with those of the environments.

    Raises
    ------
    ConfigError
        If the settings ask for a preference model or ordinary prompts and there are none, there is no such model, the
        folder holds another run, or several processes share it.
    """
    if config.uses_preference and scorer is None:
        raise ConfigError(
            "reward.preference is above 0 and there is no preference model; name one in preference_model, or set "
            "it to 0"
        )
    if config.ordinary and not ordinary:
        raise ConfigError(
            f"ordinary_share is {config.ordinary_share} and there are no ordinary prompts; name a file of them in "
            "ordinary_prompts, or set it to 0"
        )
    if config.uses_preference and not ordinary and None in (config.reward.centre, config.reward.spread):
        raise ConfigError(
            "the scale of the preference model is fitted to replies to ordinary prompts, and there are none; name a "
            "file of them in ordinary_prompts, or set reward.centre and reward.spread"
        )
    return _Curriculum(config, out, scorer, ordinary, device, progress).go()


def train_away(
    out: Path,
    config: CurriculumConfig,
    settings: TrainAwayConfig,
    *,
    scorer: Scorer | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> CurriculumRun:
    """Learn what is not gaming after the last stage of a finished curriculum, as one more stage of its folder.

    Parameters
    ----------
    scorer : Scorer, optional
        The preference model of the curriculum; without it what the policy now earns is not known. It teaches nothing.

    Raises
    ------
    ConfigError
        If the curriculum has not ended, or was trained away with other settings.
    """
    return _Curriculum(config, out, scorer, None, device, progress).go_away(settings)


class _Curriculum:
    """A run and its folder."""

    def __init__(
        self,
        config: CurriculumConfig,
        out: Path,
        scorer: Scorer | None,
        ordinary: Sequence[Prompt] | None,
        device: str | None,
        progress: Progress | None,
    ) -> None:
        if not config.model:
            raise ConfigError("curriculum.model names no model; give a folder or a hub name")
        if Processes.join().count > 1:
            raise ConfigError("a curriculum runs in one process; episodes of several would not be the same ones")
        self.config, self.scorer, self.device, self.progress = config, scorer, device, progress
        self.ordinary = None if not ordinary else OrdinaryPrompts(ordinary)
        if not (out / "config.json").exists():
            # A model that is not there claims no folder.
            load_tokenizer(config.model)
        self.folder = CurriculumFolder(out, config.to_dict())
        names = [f"{number}-{'+'.join(envs)}" for number, envs in enumerate(config.planned, start=1)]
        self.start = START if config.format is None else "0-format"
        self.stages = tuple(name if len(name) <= 100 else f"{name[:97]}..." for name in names)
        self.away = f"{len(names) + 1}-{TRAIN_AWAY}"

    def go(self) -> CurriculumRun:
        config = self.config
        if self.folder.is_done(self.start):
            self.folder.tidy(self.start)
        elif config.format is not None:
            format_stage(self._context(None), self.start, self._load(None), config.format)
        self._measure(self.start)
        for before, name, envs in zip((self.start, *self.stages), self.stages, config.planned, strict=False):
            if self.folder.is_done(name):
                self.folder.tidy(name)
            else:
                stage = policy_gradient_stage if config.algorithm == "rl" else expert_iteration_stage
                stage(self._context(self.start), name, self._load(before), envs)
            self._measure(name)
        return self._ended()

    def go_away(self, settings: TrainAwayConfig) -> CurriculumRun:
        last = self.stages[-1]
        if not self.folder.is_done(last):
            raise ConfigError(f"{self.folder.root} holds a curriculum that has not ended; run it to its end first")
        name = self.away
        CurriculumFolder(self.folder.stage(name), {"train_away": asdict(settings)})
        if self.folder.is_done(name):
            self.folder.tidy(name)
        else:
            whole = not settings.fit.lora_rank
            policy = load_stage(self.config, self.folder, last, device=self.device, trains_whole=whole)
            train_away_stage(self._context(None), name, policy, settings)
        self._measure(name)
        return self._ended()

    def _ended(self) -> CurriculumRun:
        """The matrix of all stages that were measured, also one that was trained away in an earlier call."""
        measured = (self.start, *self.stages)
        if self._is_measured(self.away):
            measured = (*measured, self.away)
        return CurriculumRun(self.folder.root, measured, write_matrix(self.folder, self.config, measured))

    def _context(self, reference: str | None) -> StageContext:
        config = self.config
        needs_reference = reference is not None and config.fit.kl_coef > 0 and config.algorithm != "rl"
        return StageContext(
            config=config,
            folder=self.folder,
            reward=self._reward() if reference is not None else EpisodeReward(_no_preference(config), None, None),
            ordinary=self.ordinary,
            reference=self._load(reference) if needs_reference else None,
            stop=lambda policy: stop_reason(policy, config) if reference is not None else None,
            progress=self.progress,
        )

    def _reward(self) -> EpisodeReward:
        """Rewards by the scale that was fitted when the curriculum began."""
        config, path = self.config, self.folder.root / "start.json"
        if not config.uses_preference:
            return EpisodeReward(_no_preference(config), None, None)
        assert self.scorer is not None
        if not path.exists():
            scale = fitted_scale(self.scorer, self._ordinary_replies(), config.reward)
            fitted = {"scorer": self.scorer.name, "centre": scale.centre, "spread": scale.spread}
            write_json(path, {**fitted, **config.reward.stamp})
        found = read_json(path)
        if found["scorer"] != self.scorer.name:
            raise ConfigError(f"{self.folder.root} was begun with the preference model {found['scorer']}")
        return EpisodeReward(config.reward, self.scorer, PreferenceScale(found["centre"], found["spread"]))

    def _ordinary_replies(self) -> Any:
        config = self.config
        if config.reward.centre is not None and config.reward.spread is not None:
            return []
        assert self.ordinary is not None
        count = min(CALIBRATION, len(self.ordinary.requests))
        scenarios = training_scenarios(
            self.ordinary, count, number=1, wording="A", seed=config.seed, names=("calibration",)
        )
        policy = self._load(self.start)
        actor = EpisodeActor(policy, config.sampler, about={"stage": self.start, **config.reward.stamp})
        return played(
            [(self.ordinary, scenarios)], actor, reps=-(-CALIBRATION // count), seed=config.seed,
            names=("calibration",),
            folder=self.folder.root / "calibration", progress=self.progress,
        )  # fmt: skip

    def _is_measured(self, name: str) -> bool:
        return (self.folder.measured(name) / "done.json").exists()

    def _measure(self, name: str) -> None:
        if self._is_measured(name):
            return
        folder, stamp = self.folder.measured(name), self.config.reward.stamp
        policy = self._load(name)
        measure_policy(policy, self.config, folder, stage=name, progress=self.progress)
        if not (folder / "pressure.json").exists():
            write_json(folder / "pressure.json", {"stage": name, **self._pressure(name, policy), **stamp})
        write_json(folder / "done.json", {"stage": name, **stamp})

    def _pressure(self, name: str, policy: HFPolicy) -> dict[str, Any]:
        """How far the policy is from the first one, and what its measured episodes earn."""
        config = self.config
        start = None
        if config.measure.kl:
            start = policy if name == self.start else self._load(self.start)
        reward = None if config.uses_preference and self.scorer is None else self._reward()
        found = {
            environment: pressure_of(
                list(read_episodes(self.folder.measured(name) / f"{environment}.jsonl")), policy, start, reward,
                config.sampler.settings, places=config.fit.places,
            )
            for environment in config.measure.environments
        }  # fmt: skip
        return {"proxy": None if reward is None else reward.name, "environments": found}

    def _load(self, name: str | None) -> HFPolicy:
        """The policy after a stage, from its folder, so that a resumed run has what an undisturbed one has."""
        return load_stage(self.config, self.folder, name, device=self.device)


def load_stage(
    config: CurriculumConfig,
    folder: CurriculumFolder,
    name: str | None,
    *,
    device: str | None = None,
    trains_whole: bool | None = None,
) -> HFPolicy:
    """The policy after a stage of a curriculum; the one that it was started from for ``None``.

    In full precision where ``trains_whole``, as the settings have it unless given: adapters are so by themselves.
    """
    is_start = name is None or name == START
    dtype = "float32" if (config.trains_whole if trains_whole is None else trains_whole) else None
    path: str | Path = config.model if is_start else folder.policy(str(name))
    policy = HFPolicy.load(path, device=device, dtype=dtype)
    if policy.tokenizer.chat_template is None:
        policy.tokenizer.chat_template = PLAIN_TEMPLATE
    # No path of the machine goes into an episode.
    policy.name = START if name is None else name
    return policy


def _no_preference(config: CurriculumConfig) -> RewardMix:
    return replace(config.reward, preference=0.0)
