"""The default study: the whole phenomenon on real human conversations, with models a laptop can train.

Prompts come from conversations that no model saw in training. A policy of a quarter of a million parameters answers; a
rubric is the gold; proxies of five sizes learn from gold-labelled pairs at two data sizes; best-of-n and a clipped
policy gradient push against them. After Gao, Schulman, Hilton 2022 (arXiv:2210.10760), with intervals and seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from overopt.assets.catalog import POLICY_WIDTHS, WIDTHS, base_model
from overopt.errors import ConfigError
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig
from overopt.seeding import stream_seed
from overopt.studies.models import ModelRef
from overopt.studies.places import MODEL_FOLDER, Place
from overopt.studies.stages import (
    choose_prompts,
    draw_pool,
    label_pairs,
    run_rl,
    score_pool,
    train_proxy,
)
from overopt.studies.study import Output, Study, resolved, with_settings
from overopt.training.reward_config import RewardTrainingConfig
from overopt.workflow import Stage

NAME = "chitchat"
PLACE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChitchatConfig:
    """Every setting of the study."""

    policy_width: int = 64
    """Which shipped model is the initial policy: 64, 128 or 224."""
    proxy_widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Shipped models that proxies start from."""
    pairs: tuple[int, ...] = (1_000, 5_000)
    """Training pairs; the larger set holds the smaller."""
    comparisons: int = 6_000
    """Prompts with two replies each; a tenth is held out, ties in gold are dropped."""
    proxy_seeds: int = 2
    """Proxies of each size on the most pairs, up to ``seeded_width``; larger ones, and all on fewer pairs, are trained
    once."""
    seeded_width: int = 32
    prompts: int = 64
    """Evaluation prompts, each of its own conversation: the units of every interval."""
    pool: int = 1_024
    """Replies to each evaluation prompt for best-of-n."""
    rl_widths: tuple[int, ...] = (8, 16, 32)
    """Proxies (of the largest data size) that RL pushes against."""
    rl_seeds: int = 2
    rl_replies: int = 4
    """Replies to each evaluation prompt at each measurement."""
    reward_training: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    """The learning rate is that of width 64; others scale it with width^-1/2, as small ones bear and need more."""
    rl: PolicyGradientConfig = field(
        default_factory=lambda: PolicyGradientConfig(steps=32, measure_every=4, learning_rate=4e-4)
    )
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        problems = []
        if self.policy_width not in POLICY_WIDTHS:
            problems.append(f"policy_width is one of {POLICY_WIDTHS}, not {self.policy_width}")
        problems += [f"{w} in proxy_widths is not one of {WIDTHS}" for w in self.proxy_widths if w not in WIDTHS]
        problems += [
            f"{w} in rl_widths is not among proxy_widths" for w in self.rl_widths if w not in self.proxy_widths
        ]
        problems += [f"{n} in pairs is below 1" for n in self.pairs if n < 1]
        if not self.pairs or not self.proxy_widths:
            problems.append("pairs and proxy_widths name at least one value each")
        elif max(self.pairs) > 0.9 * self.comparisons:
            problems.append(f"{max(self.pairs)} pairs need more than {self.comparisons} comparisons, a tenth held out")
        for name in ("comparisons", "proxy_seeds", "rl_seeds", "rl_replies"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("prompts", "pool"):
            if getattr(self, name) < 2:
                problems.append(f"{name} must be at least 2; got {getattr(self, name)}")
        if self.rl_seeds > self.proxy_seeds:
            problems.append("each RL seed has a proxy of its own: rl_seeds cannot exceed proxy_seeds")
        if self.rl_seeds > 1:
            problems += [
                f"{w} in rl_widths has one seed: it is above seeded_width"
                for w in self.rl_widths
                if w > self.seeded_width
            ]
        if problems:
            raise ConfigError("; ".join(problems))

    def seeds(self, width: int, pairs: int) -> range:
        """Training seeds of proxies of that width on so many pairs."""
        return range(self.proxy_seeds if width <= self.seeded_width and pairs == max(self.pairs) else 1)


PRESETS = {
    "smoke": ChitchatConfig(
        policy_width=64,
        proxy_widths=(8, 16, 32),
        pairs=(200, 800),
        comparisons=1_000,
        prompts=16,
        pool=64,
        rl_widths=(8,),
        rl_seeds=1,
        rl_replies=2,
        reward_training=RewardTrainingConfig(epochs=2),
        rl=PolicyGradientConfig(steps=8, prompts_per_step=16, measure_every=2, learning_rate=1e-3, warm_up=1),
    ),
    "default": ChitchatConfig(),
}
"""``smoke`` shows that every part works, in under a minute, and is too small to show more."""


def chitchat(preset: str = "default", *, seed: int = 0, assignments: Sequence[str] = ()) -> Study:
    """The study with a preset's settings, changed by "key=value" assignments.

    Raises
    ------
    ConfigError
        If the preset or a setting is unknown, or the settings contradict each other.
    """
    if preset not in PRESETS:
        raise ConfigError(f"study {NAME} has no preset {preset!r}; there are {', '.join(PRESETS)}")
    return build(with_settings(PRESETS[preset], assignments), preset=preset, seed=seed)


def build(config: ChitchatConfig, *, preset: str, seed: int) -> Study:
    """The stages of the study; costs are seconds on one core, to start the long ones first."""
    policy = ModelRef.shipped(config.policy_width)
    effort = base_model(config.policy_width).parameters / 1e6
    prompts = Stage(
        choose_prompts,
        label="prompts",
        cost=5,
        policy=policy,
        source=None,
        preference_prompts=config.comparisons,
        evaluation_prompts=config.prompts,
        seed=seed,
    )
    preferences = Stage(
        label_pairs,
        label="gold-labelled pairs",
        cost=config.comparisons / 300 * effort,
        prompts=prompts,
        policy=policy,
        sampler=config.sampler,
        held_out=config.comparisons // 10,
        place=PLACE,
        seed=seed,
    )
    pool = Stage(
        draw_pool,
        label="best-of-n pool",
        cost=config.prompts * config.pool / 600 * effort,
        prompts=prompts,
        policy=policy,
        sampler=config.sampler,
        per_prompt=config.pool,
        place=PLACE,
        seed=seed,
    )
    tables = {
        "prompts.parquet": Output(prompts, "prompts.parquet"),
        "preferences.parquet": Output(preferences, "preferences.parquet"),
        "pool.parquet": Output(pool, "pool.parquet"),
    }
    models = {}
    for width in config.proxy_widths:
        base = ModelRef.shipped(width)
        size = base_model(width).parameters / 1e6
        for pairs in config.pairs:
            for number in config.seeds(width, pairs):
                name = f"w{width}-p{pairs}-s{number}"
                proxy = Stage(
                    train_proxy,
                    label=f"proxy {name}",
                    cost=2 + pairs * config.reward_training.epochs / 2_000 * (1 + 8 * size),
                    preferences=[preferences],
                    base=base,
                    pairs=pairs,
                    config=_training(config, width),
                    place=PLACE,
                    seed=stream_seed(seed, "proxy", number),
                )
                scores = Stage(
                    score_pool,
                    label=f"scores {name}",
                    cost=2 + config.prompts * config.pool / 8_000 * (1 + 10 * size),
                    pool=pool,
                    proxy=proxy,
                    place=PLACE,
                )
                tables[f"pair_scores/{name}.parquet"] = Output(proxy, "pair_scores.parquet")
                tables[f"scores/{name}.parquet"] = Output(scores, "scores.parquet")
                models[f"proxies/{name}"] = Output(proxy, MODEL_FOLDER)
                if width not in config.rl_widths or pairs != max(config.pairs) or number >= config.rl_seeds:
                    continue
                run = Stage(
                    run_rl,
                    label=f"RL {name}",
                    cost=2.5 * config.rl.steps * effort * config.rl.prompts_per_step * config.rl.group / 256,
                    prompts=prompts,
                    proxies=[proxy],
                    policy=policy,
                    sampler=config.sampler,
                    config=config.rl,
                    replies_per_prompt=config.rl_replies,
                    place=PLACE,
                    seed=stream_seed(seed, "rl", number),
                )
                tables[f"rl/{name}.parquet"] = Output(run, "rl.parquet")
                models[f"policies/{name}"] = Output(run, MODEL_FOLDER)
    return Study(name=NAME, preset=preset, seed=seed, settings=resolved(config), tables=tables, models=models)


def _training(config: ChitchatConfig, width: int) -> RewardTrainingConfig:
    training = config.reward_training
    return replace(training, learning_rate=training.learning_rate * (64 / width) ** 0.5)
