"""The stages of the study: models of each coupling and seed, the curricula of all arms, and what is read off them.

Tables: ``ends/NODE`` (see :mod:`~overopt.studies.denison2024.arms` for the names), ``rounds/NODE``, ``estimates/NODE``,
``episodes/NODE`` and ``paths/ARM-sSEED``.
"""

from collections.abc import Callable, Sequence
from typing import Any

from overopt.errors import ConfigError
from overopt.optimize.game_settings import TOGETHER
from overopt.seeding import stream_seed
from overopt.studies.denison2024.arms import Arm, Arms
from overopt.studies.denison2024.config import PRESETS, DenisonConfig
from overopt.studies.denison2024.words import caveat
from overopt.studies.game_stages import (
    draw_game,
    enumerate_game,
    estimate_game,
    follow_game,
    game_cells,
    pretrain_game,
    train_game,
    train_game_away,
)
from overopt.studies.places import MODEL_FOLDER
from overopt.studies.small_world import coupled
from overopt.studies.study import Output, Study, resolved, with_settings
from overopt.workflow import Stage

NAME = "denison2024"


def denison2024(preset: str = "default", *, seed: int = 0, assignments: Sequence[str] = ()) -> Study:
    """The study with a preset's settings, changed by "key=value" assignments.

    Raises
    ------
    ConfigError
        If the preset or a setting is unknown, or the settings contradict each other.
    """
    if preset not in PRESETS:
        raise ConfigError(f"study {NAME} has no preset {preset!r}; there are {', '.join(PRESETS)}")
    config = with_settings(PRESETS[preset], assignments)
    made = Plan(config, seed)
    made.build()
    return Study(
        name=NAME,
        preset=preset,
        seed=seed,
        settings=resolved(config),
        tables=made.tables,
        models=made.models,
        questions=made.questions,
        caveat=caveat(config),
    )


class Plan:
    """Collects the outputs of all questions; asking twice for one thing gives one stage."""

    def __init__(self, config: DenisonConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.arms = Arms(config)
        self.tables: dict[str, Output] = {}
        self.models: dict[str, Output] = {}
        self.questions: dict[str, list[str]] = {}
        self._nodes: dict[str, Stage] = {}
        self._used: dict[str, None] = {}

    def build(self) -> None:
        """Ask all questions."""
        arms = self.arms
        controls = [arms.main, arms.zero]
        ask: dict[str, Callable[[], None]] = {
            "matrix": lambda: self._ends(controls, each=True),
            "dose": lambda: self._ends(arms.doses),
            "estimators": self._estimators,
            "methods": lambda: self._ends([*arms.methods, *arms.method_controls.values()]),
            "order": lambda: self._ends(arms.orders),
            "prompts": lambda: self._ends([arms.main]),
            "away": lambda: self._ends(controls, each=True),
            "steering": lambda: self._ends(controls),
            "mixing": lambda: self._ends([*arms.shares, *arms.weights]),
            "mitigations": lambda: self._ends([*arms.mitigations, arms.not_offered, arms.offered]),
            "monitors": lambda: self._ends([arms.main, arms.hhh, *self._watched()]),
            "pressure": self._pressure,
            "episodes": self._episodes,
        }
        for question, asked in ask.items():
            self._used = {}
            asked()
            self.questions[question] = list(self._used)

    def _watched(self) -> list[Arm]:
        return [arm for arm in self.arms.mitigations if arm.training.watched != "not"]

    def _ends(self, arms: Sequence[Arm], *, each: bool = False) -> None:
        """Exact rates of the starts and after the last trained stage, or ``each``."""
        for arm in arms:
            for seed in range(arm.seeds):
                self._enumerated(arm, seed, 0)
                last = len(arm.stages)
                for place in range(1 if each else last, last + (2 if each and arm.is_control else 1)):
                    self._enumerated(arm, seed, place)

    def _estimators(self) -> None:
        arm = self.arms.main
        for place in range(len(arm.stages) + 1):
            name, stage = self._policy(arm, 0, place)
            self._put(
                f"estimates/{name}.parquet",
                Stage(
                    estimate_game,
                    label=f"rates by drawing, {name}",
                    cost=self.config.counted / 1_000 + 2 * self.config.rare_draws,
                    policy=stage,
                    episodes=self.config.counted,
                    rare_draws=self.config.rare_draws,
                    tolerance=self.config.tolerance,
                    seed=stream_seed(self.seed, "estimates", name),
                ),
                "estimates.parquet",
            )

    def _pressure(self) -> None:
        arms = self.arms
        for arm in (arms.hhh, arms.rloo):
            for seed in range(arm.seeds):
                self._put(
                    f"paths/{arm.id}-s{seed}.parquet",
                    Stage(
                        follow_game,
                        label=f"pressure, {arm.id} s{seed}",
                        cost=self.config.path_rounds * 2.5,
                        start=self._start(arm, seed),
                        environments=TOGETHER.join(dict.fromkeys(self.config.stages)),
                        rounds=self.config.path_rounds,
                        config=arm.training,
                        tolerance=max(self.config.tolerance, 1e-6),
                        seed=stream_seed(self.seed, "path", seed),
                    ),
                    "path.parquet",
                )

    def _episodes(self) -> None:
        arm = self.arms.main
        for place in range(len(arm.stages) + 2):
            name, stage = self._policy(arm, 0, place)
            # Counts of drawn episodes stand beside the exact rates.
            self._enumerated(arm, 0, place)
            self._put(
                f"episodes/{name}.parquet",
                Stage(
                    draw_game,
                    label=f"episodes to read, {name}",
                    cost=2 + self.config.drawn / 1_000,
                    policy=stage,
                    episodes=self.config.drawn,
                    shown=self.config.shown,
                    seed=stream_seed(self.seed, "episodes", name),
                ),
                "episodes.parquet",
            )

    def _enumerated(self, arm: Arm, seed: int, place: int) -> None:
        name, policy = self._policy(arm, seed, place)
        # The starts are what every arm of their coupling is compared with.
        in_full = arm.is_control or place == 0
        self._put(
            f"ends/{name}.parquet",
            Stage(
                enumerate_game,
                label=f"exact rates, {name}",
                cost=2.5 if in_full else 1.5,
                start=self._start(arm, seed),
                policy=policy,
                cells=game_cells(in_full=in_full, may_ask=arm.told_share > 0),
                tolerance=self.config.tolerance,
            ),
            "ends.parquet",
        )

    def _policy(self, arm: Arm, seed: int, place: int) -> tuple[str, Stage]:
        """Name and stage of a policy: the start at place 0, then after each stage, then after training away."""
        if place == 0:
            return arm.start(seed), self._start(arm, seed)
        name = arm.node(seed, place)
        start, before = self._start(arm, seed), self._policy(arm, seed, place - 1)[1]
        usual: dict[str, Any] = {"start": start, "policy": before, "config": arm.training}
        if place > len(arm.stages):
            stage = Stage(
                train_game_away,
                label=f"training away, {name}",
                cost=4,
                environments=self.config.away,
                episodes=self.config.away_episodes,
                seed=stream_seed(self.seed, "away", seed),
                **usual,
            )
        else:
            stage = Stage(
                train_game,
                label=f"training, {name}",
                cost=0.5 + 0.35 * arm.training.rounds,
                environments=arm.stages[place - 1],
                place=place,
                stop_factor=arm.stop_factor,
                seed=stream_seed(self.seed, "training", seed),
                **usual,
            )
            self._put(f"rounds/{name}.parquet", stage, "rounds.parquet")
        self._keep(name, stage)
        return name, stage

    def _start(self, arm: Arm, seed: int) -> Stage:
        name = arm.start(seed)
        stage = Stage(
            pretrain_game,
            label=f"model, {name}",
            cost=0.055 * self.config.model.steps,
            config=coupled(self.config.model, arm.coupling, told_share=arm.told_share),
            seed=stream_seed(self.seed, "model", seed),
        )
        self._keep(name, stage)
        return stage

    def _keep(self, name: str, stage: Stage) -> None:
        if self._nodes.setdefault(name, stage) != stage:
            raise ConfigError(f"two different policies of the study would be called {name}")
        self.models[f"policies/{name}"] = Output(stage, MODEL_FOLDER)

    def _put(self, table: str, stage: Stage, file: str) -> None:
        self.tables[table] = Output(stage, file)
        self._used[table] = None
