"""The stages of the study: sets of judged pairs, reward models of every method, their scores, and the runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from overopt.seeding import stream_seed
from overopt.studies.grm2024.config import PRESETS, GrmConfig
from overopt.studies.grm2024.methods import BY_ID, METHODS, OUT, PLAIN, Kind, Method
from overopt.studies.grm2024.names import model_name, run_name
from overopt.studies.models import ModelRef
from overopt.studies.plan import StudyPlan, planned_study
from overopt.studies.proxy_training import LabelPlan
from overopt.studies.reward_stages import (
    domain_pairs,
    human_pairs,
    human_texts,
    length_pairs,
    score_pairs,
    train_reward,
)
from overopt.studies.study import Study
from overopt.training.reward_config import CorpusLoss, RewardTrainingConfig, TextLoss
from overopt.workflow import Stage

NAME = "grm2024"
_COST = {"frozen": 0.4, "mix": 1.8, "grm-dpo": 2.0, "grm-dpo-noref": 1.8, "grm-sft": 1.5}
"""Time of training relative to Bradley-Terry."""
_COMBINE: dict[Kind, Literal["single", "mean", "min"]] = {
    "single": "single", "average": "single", "mean": "mean", "min": "min",
}  # fmt: skip


def grm2024(preset: str = "default", *, seed: int = 0, assignments: Sequence[str] = ()) -> Study:
    """The study with a preset's settings, changed by "key=value" assignments.

    Raises
    ------
    ConfigError
        If the preset or a setting is unknown, or the settings contradict each other.
    """
    return planned_study(NAME, PRESETS, Plan, preset, seed=seed, assignments=assignments)


class Plan(StudyPlan):
    """The outputs of all questions."""

    def __init__(self, config: GrmConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.config = config
        self.base = ModelRef.of(config.base)
        self.texts = Stage(
            human_texts,
            label="human exchanges",
            cost=4,
            corpus=config.corpus_texts,
            held_out=config.loss_texts,
            seed=seed,
        )
        judge = self.proxy(config.judge_base, config.judge_pairs, config.seeds)
        self.judge_run = self.run(judge, config.seeds, name="judge")
        self.sets = self._sets()
        self.common = [f"sets/{name}.parquet" for name in self.sets]
        self.common += ["rl/judge.parquet", "logs/judge.parquet", f"pair_scores/{judge}.parquet"]
        self.common += [f"scores/{judge}.parquet"]

    def build(self) -> None:
        """Every question."""
        config = self.config
        ask = {
            "accuracy": self._accuracy,
            "alpha": self._alpha,
            "noise": self._noise,
            "best-of-n": self._best_of_n,
            "ppo": self._ppo,
            "prediction": self._prediction,
        }
        for question, asked in ask.items():
            tables = self.asking(asked)
            self.questions[question] = list(dict.fromkeys([*tables, *self.common]))
        assert config.pairs in config.sizes

    def _accuracy(self) -> None:
        for size in self.config.sizes:
            self._all_methods(size, 0.0)

    def _noise(self) -> None:
        for rate in (0.0, self.config.flip_rate):
            self._all_methods(self.config.pairs, rate)

    def _alpha(self) -> None:
        for size in self.config.sweep_sizes:
            for number in range(self.config.seeds):
                self._model(BY_ID[PLAIN], size, number)
                for alpha in self.config.alphas:
                    self._model(BY_ID["grm-sft"], size, number, alpha=alpha)

    def _best_of_n(self) -> None:
        for rate in (0.0, self.config.flip_rate):
            self._all_methods(self.config.pairs, rate, is_scored=True)

    def _ppo(self) -> None:
        config = self.config
        for rate, methods in ((0.0, config.ppo_methods), (config.flip_rate, config.noisy_ppo_methods)):
            labels = LabelPlan(flip_rate=rate)
            for method in METHODS:
                if method.id not in methods:
                    continue
                for number in range(config.seeds):
                    names = self._model(method, config.pairs, number, labels=labels, is_scored=True)
                    self.run(
                        names[0],
                        number,
                        others=names[1:],
                        combine=_COMBINE[method.kind],
                        name=run_name(method.id, rate, number),
                    )

    def _prediction(self) -> None:
        self._best_of_n()
        self._ppo()
        for number in range(self.config.seeds):
            for alpha in self.config.alphas:
                self._model(BY_ID["grm-sft"], self.config.pairs, number, alpha=alpha, is_scored=True)

    def _all_methods(self, size: int, rate: float, *, is_scored: bool = False) -> None:
        config, labels = self.config, LabelPlan(flip_rate=rate)
        wanted = config.noisy_methods if rate else tuple(BY_ID) if size == config.pairs else config.size_methods
        for method in METHODS:
            if method.id not in wanted:
                continue
            for number in range(self.config.seeds):
                self._model(method, size, number, labels=labels, is_scored=is_scored)

    def _model(
        self,
        method: Method,
        size: int,
        number: int,
        *,
        labels: LabelPlan = LabelPlan(),  # noqa: B008 - frozen
        alpha: float | None = None,
        is_scored: bool = False,
    ) -> list[str]:
        """Names of the models of a method: one, or the members of an ensemble."""
        config, rate = self.config, labels.flip_rate
        alpha = None if alpha == config.text_weight else alpha
        if method.kind == "single":
            name = model_name(method.id, size, rate, number, alpha=alpha)
            self._train(method, name, size, number, 0, labels, alpha, is_scored)
            return [name]
        members = [model_name(PLAIN, size, rate, number, member=member) for member in range(config.members)]
        for member, name in enumerate(members):
            self._train(BY_ID[PLAIN], name, size, number, member, labels, None, is_scored)
        if method.is_ensemble:
            return members
        name = model_name(method.id, size, rate, number)
        self.average(members, name, is_scored=is_scored)
        self._judge(name)
        return [name]

    def _train(
        self,
        method: Method,
        name: str,
        size: int,
        number: int,
        member: int,
        labels: LabelPlan,
        alpha: float | None,
        is_scored: bool,
    ) -> None:
        config = self.config
        training = self._of_method(method, alpha)
        stage = Stage(
            train_reward,
            label=f"reward model {name}",
            cost=2 + _COST.get(method.id, 1) * size * training.epochs / 2_000 * (1 + 14 * self.millions(self.base)),
            needs=self.needs,
            preferences=self.preferences,
            skip=config.judge_pairs,
            pairs=size,
            base=self.base,
            config=training,
            labels=labels,
            margin_scale=config.margin_scale if method.id == "margin" else None,
            has_corpus=method.id == "mix",
            texts=self.texts,
            place=self.place,
            data_seed=stream_seed(self.seed, "reward model", number),
            seed=stream_seed(self.seed, "reward model", number, member),
        )
        self._take_proxy(name, stage, self.base)
        self._judge(name)
        if is_scored:
            self.scores_of(self.pool, name, "scores")

    def _of_method(self, method: Method, alpha: float | None) -> RewardTrainingConfig:
        config, training = self.config, self._training(self.base, None)
        weight = config.text_weight if alpha is None else alpha
        if method.id == "frozen":
            rate = config.frozen_rate * training.learning_rate
            return replace(training, frozen_backbone=True, learning_rate=rate)
        if method.id == "smooth":
            return replace(training, label_smoothing=config.smoothing)
        if method.id == "mix":
            mix = CorpusLoss(chosen_weight=config.mix_weight, plain_weight=config.mix_weight)
            return replace(training, corpus=mix)
        if method.id == "grm-sft":
            return replace(training, text=TextLoss(kind="sft", weight=weight))
        if method.id in ("grm-dpo", "grm-dpo-noref"):
            # Sums over a reply's tokens, as preference losses of policies take them.
            return replace(
                training,
                text=TextLoss(
                    kind="dpo" if method.id == "grm-dpo" else "dpo_reference_free",
                    weight=weight,
                    dpo_beta=config.dpo_beta,
                    per_token=False,
                ),
            )
        return training

    def _judge(self, name: str) -> None:
        """A model's scores of all sets out of distribution."""
        texts = 2 * self.config.judged * len(self.sets)
        stage = Stage(
            score_pairs,
            label=f"judged {name}",
            cost=1.5 + texts / 8_000 * (1 + 10 * self.millions(self.base)),
            needs=self.needs,
            proxy=self.trained(name),
            sets=list(self.sets.values()),
            names=list(self.sets),
            place=self.place,
        )
        self.put(f"judged/{name}.parquet", stage, "judged.parquet")

    def _sets(self) -> dict[str, Stage]:
        """The sets out of distribution; those with the policy's prompts take halves of the held-out ones."""
        config = self.config
        n_held_out = config.comparisons // 10
        first, half = config.comparisons - n_held_out, n_held_out // 2
        usual: dict[str, Any] = {"policy": self.policy, "place": self.place, "needs": self.needs, "seed": self.seed}
        millions = self.millions(self.policy)
        stages = {
            "optimised": self.pairs_of(
                self.made_run(self.judge_run), "pairs of an optimised policy", first, config.judged, config.judged
            ),
            "human": Stage(
                human_pairs,
                label="pairs of human replies",
                cost=3,
                count=config.judged,
                max_tokens=config.sampler.max_tokens,
                **usual,
            ),
            "domain": Stage(
                domain_pairs,
                label="pairs of another domain",
                cost=2 + config.domain_pairs * 84 / 300 * millions,
                sampler=config.sampler,
                per_prompt=config.domain_pairs,
                **usual,
            ),
            "length": Stage(
                length_pairs,
                label="pairs of other lengths",
                cost=2 + config.judged * config.length_draws / 300 * millions,
                prompts=self.prompts,
                sampler=config.sampler,
                max_tokens=config.length_tokens,
                first=first + half,
                count=config.judged,
                draws=config.length_draws,
                **usual,
            ),
        }
        assert list(stages) == [one.id for one in OUT]
        for name, stage in stages.items():
            self.put(f"sets/{name}.parquet", stage, "preferences.parquet")
        return stages
