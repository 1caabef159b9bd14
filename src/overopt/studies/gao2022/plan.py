"""The stages of the study and where their tables go, question by question; questions share what they can.

Names: a proxy is ``BASE-pPAIRS[-KIND]-sSEED``, a run ``PROXY[-POLICY][-klWEIGHT]-rSEED``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from overopt.errors import ConfigError
from overopt.optimize.settings import PolicyGradientConfig
from overopt.seeding import stream_seed
from overopt.studies.gao2022.config import PRESETS, GaoConfig
from overopt.studies.models import FileRef, ModelRef
from overopt.studies.stages import (
    MODEL_FOLDER,
    LabelPlan,
    Place,
    choose_prompts,
    compare_runs,
    draw_pool,
    label_pairs,
    run_rl,
    score_pool,
    train_proxy,
)
from overopt.studies.study import Output, Study, resolved, with_settings
from overopt.training.reward_model import RewardTrainingConfig
from overopt.workflow import Stage

NAME = "gao2022"


def gao2022(preset: str = "default", *, seed: int = 0, assignments: Sequence[str] = ()) -> Study:
    """The study with a preset's settings, changed by "key=value" assignments.

    Raises
    ------
    ConfigError
        If the preset or a setting is unknown, or the settings contradict each other.
    """
    if preset not in PRESETS:
        raise ConfigError(f"study {NAME} has no preset {preset!r}; there are {', '.join(PRESETS)}")
    config = with_settings(PRESETS[preset], assignments)
    plan = Plan(config, seed)
    plan.build()
    return Study(
        name=NAME,
        preset=preset,
        seed=seed,
        settings=resolved(config),
        tables=plan.tables,
        models=plan.models,
        questions=plan.questions,
        runs=plan.runs,
    )


class Plan:
    """Collects the outputs of all questions; asking twice for one thing gives one stage."""

    def __init__(self, config: GaoConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.tables: dict[str, Output] = {}
        self.models: dict[str, Output] = {}
        self.questions: dict[str, list[str]] = {}
        self.runs: dict[str, dict[str, str]] = {}
        self.policy = ModelRef.of(config.policy)
        self.place = Place(gold=config.gold, gold_files=_gold_files(config.gold), device=config.device)
        self._proxies: dict[str, Stage] = {}
        self._bases: dict[str, ModelRef] = {}
        self._runs: dict[str, Stage] = {}
        self._used: dict[str, None] = {}
        self.prompts = Stage(
            choose_prompts,
            label="prompts",
            cost=5,
            policy=self.policy,
            source=None if config.prompts_file is None else FileRef.of(config.prompts_file),
            preference_prompts=config.comparisons,
            evaluation_prompts=config.prompts,
            seed=seed,
        )
        self.preferences = self._pairs_of(None, "gold-labelled pairs", 0, config.comparisons, config.comparisons // 10)
        self.pool = self._pool_of(self.policy, config.pool, "pool")
        self._put("prompts.parquet", self.prompts, "prompts.parquet")
        self._put("preferences.parquet", self.preferences, "preferences.parquet")

    def build(self) -> None:
        """All questions; several are answered from the same tables."""
        sizes = self._asking(self._sizes)
        penalties = self._asking(self._penalties)
        self.questions = {
            "sizes": sizes,
            "data": sizes + self._asking(self._data),
            "policies": sizes + self._asking(self._policies),
            "penalties": penalties,
            "stopping": penalties,
            "extrapolation": self._asking(self._extrapolation),
            "methods": sizes,
            "distance": sizes + penalties,
            "epochs": self._asking(self._epochs),
            "labels": self._asking(self._labels),
            "recalibration": sizes,
            "entropy": sizes + penalties,
            "texts": sizes,
            "goodhart": sizes,
            "rounds": self._asking(self._rounds),
        }

    def _asking(self, ask: Callable[[], None]) -> list[str]:
        """The tables that ``ask`` uses, those of all questions among them."""
        self._used = dict.fromkeys(["prompts.parquet", "preferences.parquet", "pools/pool.parquet"])
        ask()
        return list(self._used)

    def _put(self, table: str, stage: Stage, file: str) -> None:
        self.tables[table] = Output(stage, file)
        self._used[table] = None

    def _sizes(self) -> None:
        """Best-of-n and PPO against proxies of every size (figures 1, 3, 8, 14, 16)."""
        for base in self.config.proxies:
            for number in self.config.seeds(base):
                name = self.proxy(base, self.config.pairs, number)
                self.run(name, number)

    def _data(self) -> None:
        """Size × number of pairs, best-of-n only (figures 4 to 6, 10 to 12, 17 to 21)."""
        for base in self.config.data_proxies:
            for pairs in self.config.fewer_pairs:
                self.proxy(base, pairs, 0)

    def _policies(self) -> None:
        """The same proxy against policies of other sizes (figures 7, 15, 22 to 24)."""
        name = self.proxy(self.config.reference_proxy, self.config.pairs, 0)
        for other in self.config.other_policies:
            policy = ModelRef.of(other)
            pool = self._pool_of(policy, self.config.other_pool, f"pool-{policy.short_name}")
            self._scores_of(pool, name, f"scores-{policy.short_name}")
            self.run(name, 0, policy=policy)

    def _penalties(self) -> None:
        """With a KL penalty and without, from the same seeds (figures 9 and 14), and the policies beside each other."""
        name = self.proxy(self.config.reference_proxy, self.config.pairs, 0)
        for number in range(self.config.penalty_seeds):
            free = self.run(name, number, snapshots=True)
            for penalty in self.config.penalties:
                held = self.run(name, number, penalty=penalty)
                if penalty != self.config.compared_penalty:
                    continue
                compared = Stage(
                    compare_runs,
                    label=f"policies compared {held}",
                    cost=15 * self._effort(self.policy),
                    prompts=self.prompts,
                    policy=self.policy,
                    first=self._runs[held],
                    second=self._runs[free],
                    sampler=self.config.sampler,
                    replies_per_prompt=self.config.rl_replies,
                    place=self.place,
                    seed=stream_seed(self.seed, "compare", number),
                )
                self._put(f"distances/{held}.parquet", compared, "distances.parquet")

    def _extrapolation(self) -> None:
        """A few prompts with a large pool (figure 26)."""
        pool = self._pool_of(self.policy, self.config.large_pool, "pool-large", prompts=self.config.large_prompts)
        for base in self.config.large_proxies:
            self._scores_of(pool, self.proxy(base, self.config.pairs, 0), "scores-large")

    def _epochs(self) -> None:
        """More passes over the same pairs, against more pairs (figure 13)."""
        config = self.config
        base, few, many = config.reference_proxy, config.epochs_pairs, config.epochs_pairs * config.epochs
        for number in range(config.epochs_seeds):
            for pairs, epochs in ((few, 1), (many, 1), (few, config.epochs)):
                self.proxy(base, pairs, number, epochs=epochs, is_scored=False)

    def _labels(self) -> None:
        """Sampled and soft labels, and labels turned round."""
        flipped = [LabelPlan(flip_rate=rate) for rate in self.config.flip_rates]
        for plan in (LabelPlan(kind="sampled"), LabelPlan(kind="soft"), *flipped):
            for number in range(self.config.label_seeds):
                self.proxy(self.config.reference_proxy, self.config.pairs, number, labels=plan)
        for number in range(self.config.label_seeds):
            self.proxy(self.config.reference_proxy, self.config.pairs, number)

    def _rounds(self) -> None:
        """Iterated RLHF: in each round fresh labels of the current policy, a new proxy of all labels, more steps.

        Beside it, against the first round's proxy, one run of as many steps: the law of a single round. One round with
        all the labels at once is a run of ``_sizes``.
        """
        config = self.config
        base, pairs = config.reference_proxy, config.round_pairs
        share = config.comparisons // config.rounds
        for number in range(config.round_seeds):
            sets: list[Stage] = []
            start: str | None = None
            for k in range(1, config.rounds + 1):
                label = f"pairs round {k} seed {number}"
                of = None if start is None else self._runs[start]
                sets.append(self._pairs_of(of, label, (k - 1) * share, share, share // 10))
                proxy = self.proxy(base, pairs * k, number, sets=list(sets), kind=f"round{k}")
                if k == 1:
                    total = config.rounds * config.round_steps
                    self.run(proxy, number, rl=replace(config.rl, steps=total), name=f"single-s{number}")
                start = self.run(
                    proxy,
                    number,
                    rl=replace(config.rl, steps=config.round_steps),
                    start=start,
                    name=f"round{k}-s{number}",
                )
            all_at_once = self.proxy(base, config.pairs, number)
            total = config.rounds * config.round_steps
            self.run(all_at_once, number, rl=replace(config.rl, steps=total), name=f"at-once-s{number}")

    def proxy(
        self,
        base: str,
        pairs: int,
        number: int,
        *,
        epochs: int | None = None,
        labels: LabelPlan = LabelPlan(),  # noqa: B008 - frozen
        sets: list[Stage] | None = None,
        kind: str = "",
        is_scored: bool = True,
    ) -> str:
        """The name of a proxy with its scores of held-out pairs, and of the policy's pool if ``is_scored``."""
        model = ModelRef.of(base)
        parts = [model.short_name, f"p{pairs}"]
        parts += [] if epochs is None else [f"e{epochs}"]
        parts += [] if labels.kind == "hard" else [labels.kind]
        parts += [] if labels.flip_rate == 0 else [f"flip{round(100 * labels.flip_rate)}"]
        name = "-".join([*parts, *([kind] if kind else []), f"s{number}"])
        self._used[f"pair_scores/{name}.parquet"] = None
        if name not in self._proxies:
            training = self._training(model, epochs)
            stage = Stage(
                train_proxy,
                label=f"proxy {name}",
                cost=2 + pairs * training.epochs / 2_000 * (1 + 8 * self._effort(model)),
                preferences=[self.preferences] if sets is None else sets,
                base=model,
                pairs=pairs,
                config=training,
                labels=labels,
                place=self.place,
                seed=stream_seed(self.seed, "proxy", number),
            )
            self._proxies[name], self._bases[name] = stage, model
            self._put(f"pair_scores/{name}.parquet", stage, "pair_scores.parquet")
            self.models[f"proxies/{name}"] = Output(stage, MODEL_FOLDER)
        if is_scored:
            self._scores_of(self.pool, name, "scores")
        return name

    def run(
        self,
        proxy: str,
        number: int,
        *,
        policy: ModelRef | None = None,
        penalty: float = 0.0,
        rl: PolicyGradientConfig | None = None,
        start: str | None = None,
        snapshots: bool = False,
        name: str | None = None,
    ) -> str:
        """The name of a run of RL; one that was asked for without snapshots is replaced by one that keeps them."""
        policy = policy or self.policy
        parts = [proxy, *([] if policy == self.policy else [policy.short_name])]
        parts += [] if penalty == 0 else [f"kl{penalty:g}"]
        name = name or "-".join([*parts, f"r{number}"])
        config = rl or self.config.rl
        if penalty:
            config = replace(config, kl_coef=penalty, kl_estimator="exact", kl_in="both")
        place = "" if policy == self.policy else f"-{policy.short_name}"
        self.runs[name] = {"proxy": proxy, "pool": f"pool{place}", "scores": f"scores{place}"}
        self._used |= dict.fromkeys([f"rl/{name}.parquet", f"logs/{name}.parquet"])
        if name not in self._runs or snapshots:
            effort = self._effort(policy) + 0.2
            stage = Stage(
                run_rl,
                label=f"RL {name}",
                cost=2.5 * config.steps * effort * config.prompts_per_step * config.group / 256,
                prompts=self.prompts,
                proxies=[self._proxies[proxy]],
                policy=policy,
                start=None if start is None else self._runs[start],
                sampler=self.config.sampler,
                config=config,
                replies_per_prompt=self.config.rl_replies,
                snapshots=snapshots,
                place=self.place,
                seed=stream_seed(self.seed, "rl", number),
            )
            self._runs[name] = stage
            self._put(f"rl/{name}.parquet", stage, "rl.parquet")
            self._put(f"logs/{name}.parquet", stage, "training_log.parquet")
            self.models[f"policies/{name}"] = Output(stage, MODEL_FOLDER)
        return name

    def _pairs_of(self, run: Stage | None, label: str, first: int, count: int, held_out: int) -> Stage:
        return Stage(
            label_pairs,
            label=label,
            cost=count / 300 * self._effort(self.policy),
            prompts=self.prompts,
            policy=self.policy,
            run=run,
            sampler=self.config.sampler,
            first=first,
            count=count,
            held_out=held_out,
            place=self.place,
            seed=self.seed,
        )

    def _pool_of(self, policy: ModelRef, per_prompt: int, table: str, *, prompts: int | None = None) -> Stage:
        stage = Stage(
            draw_pool,
            label=table,
            cost=(prompts or self.config.prompts) * per_prompt / 800 * (0.3 + self._effort(policy)),
            prompts=self.prompts,
            policy=policy,
            sampler=self.config.sampler,
            per_prompt=per_prompt,
            prompts_used=prompts,
            place=self.place,
            seed=stream_seed(self.seed, table),
        )
        self._put(f"pools/{table}.parquet", stage, "pool.parquet")
        return stage

    def _scores_of(self, pool: Stage, proxy: str, table: str) -> None:
        samples = float(str(pool.parameters["per_prompt"])) * float(
            str(pool.parameters["prompts_used"] or self.config.prompts)
        )
        stage = Stage(
            score_pool,
            label=f"{table} {proxy}",
            cost=2 + samples / 8_000 * (1 + 10 * self._effort(self._bases[proxy])),
            pool=pool,
            proxy=self._proxies[proxy],
            place=self.place,
        )
        self._put(f"{table}/{proxy}.parquet", stage, "scores.parquet")

    def _training(self, model: ModelRef, epochs: int | None) -> RewardTrainingConfig:
        training = self.config.reward_training
        scale = 1.0 if model.width is None else (64 / model.width) ** 0.5
        return replace(
            training, learning_rate=training.learning_rate * scale, epochs=training.epochs if epochs is None else epochs
        )

    def _effort(self, model: ModelRef) -> float:
        """Millions of parameters."""
        return model.parameters / 1e6


def _gold_files(gold: str) -> str:
    return "" if gold == "rubric" or ":" in gold else ModelRef.of(gold).files
