"""Settings and presets of the study."""

from dataclasses import dataclass, field, replace

from overopt.errors import ConfigError
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig
from overopt.training.reward_config import RewardTrainingConfig

SHIPPED = ("chitchat-w8", "chitchat-w16", "chitchat-w32", "chitchat-w64", "chitchat-w128", "chitchat-w224")


def _push(**changes: object) -> PolicyGradientConfig:
    usual = PolicyGradientConfig(
        steps=30,
        algorithm="ppo",
        # With 0.95, as in Gao et al., two passes over replies of 32 tokens make the policy collapse before gold falls.
        gae_lambda=1.0,
        prompts_per_step=48,
        learning_rate=4.4e-4,
        # Gold bends most near the start, and runs with a large penalty end there.
        measure_grid=0.5,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]  # names and types are checked by the class


@dataclass(frozen=True, slots=True, kw_only=True)
class GaoConfig:
    """Every setting of the study. Models are shipped ones, folders or hub names."""

    policy: str = "chitchat-w64"
    """The initial policy of all questions but that of the policy's size."""
    other_policies: tuple[str, ...] = ("chitchat-w32", "chitchat-w128")
    """For the question of the policy's size, beside ``policy``."""
    proxies: tuple[str, ...] = SHIPPED
    """Bases of the proxies, from small to large."""
    reference_proxy: str = "chitchat-w16"
    """The proxy of the questions that have one: penalties, policies, labels, epochs, rounds."""
    prompts_file: str | None = None
    """Prompts of your own; those of ``chitchat-dataset`` unless given."""
    gold: str = "rubric"
    """What judges: the rubric, a reward model, a judge (as ``overopt score`` takes it)."""
    device: str = "cpu"
    """``cuda`` or ``mps`` where models are large."""
    comparisons: int = 9_600
    """Prompts with two replies each; a tenth is held out, ties in gold are dropped."""
    pairs: int = 8_000
    """Training pairs of all questions but that of the data."""
    fewer_pairs: tuple[int, ...] = (250, 500, 1_000, 2_000, 4_000)
    """Of the question of the data, besides ``pairs``."""
    data_proxies: tuple[str, ...] = SHIPPED[:4]
    """The sizes of that question."""
    proxy_seeds: int = 2
    """Proxies of each size at ``pairs``, up to ``seeded_proxy``; larger ones are trained once."""
    seeded_proxy: str = "chitchat-w32"
    prompts: int = 64
    """Evaluation prompts, each of its own conversation: the units of every interval."""
    pool: int = 1_024
    """Replies to each evaluation prompt for best-of-n."""
    other_pool: int = 256
    """The same for the other policies."""
    large_prompts: int = 6
    large_pool: int = 60_000
    """Best-of-n far beyond the range that laws are fitted on (Gao et al. 2022, figure 26)."""
    large_proxies: tuple[str, ...] = ("chitchat-w8", "chitchat-w32")
    fitted_up_to: int = 1_000
    rl: PolicyGradientConfig = field(default_factory=_push)
    rl_replies: int = 4
    """Replies to each evaluation prompt at each measurement."""
    penalties: tuple[float, ...] = (0.05, 0.15, 0.4)
    """Weights of the KL penalty, in proxy standard deviations per nat; 0 is always among them."""
    penalty_seeds: int = 4
    """Runs with and without a penalty from the same seeds: the units of the comparison, at least 4 for an interval."""
    slow_rate: float = 0.25
    """Learning rate of further runs without a penalty, as a share of the usual: they pass a distance after more steps,
    as runs with a penalty do."""
    compared_penalty: float = 0.15
    """The penalty whose policies are compared with those of stopping early."""
    epochs_pairs: int = 2_000
    epochs: int = 4
    """As many passes over ``epochs_pairs`` as over the same number of fresh pairs once (figure 13)."""
    epochs_seeds: int = 3
    flip_rates: tuple[float, ...] = (0.1, 0.25)
    label_seeds: int = 2
    rounds: int = 3
    """Of iterated RLHF: fresh labels of the current policy's replies, a new proxy, more steps."""
    round_steps: int = 10
    """With as many rounds as ``rl`` has steps in all, the run against all labels at once is one of the sizes."""
    round_seeds: int = 2
    reward_training: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    """The learning rate is that of width 64 for shipped models; others scale it with width^-1/2."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        problems = []
        for name in ("data_proxies", "large_proxies"):
            problems += [
                f"{base} in {name} is not among proxies" for base in getattr(self, name) if base not in self.proxies
            ]
        for name in ("reference_proxy", "seeded_proxy"):
            if getattr(self, name) not in self.proxies:
                problems.append(f"{name} is {getattr(self, name)}, which is not among proxies")
        if len(set(self.proxies)) < len(self.proxies) or len(self.proxies) < 2:
            problems.append("proxies names at least two models, each once")
        policies = (self.policy, *self.other_policies)
        if len(set(policies)) < len(policies):
            problems.append(f"policy and other_policies name each model once; got {', '.join(policies)}")
        for name in ("penalties", "flip_rates", "fewer_pairs", "data_proxies", "large_proxies"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                problems.append(f"{name} names each value once; got {list(getattr(self, name))}")
        for name in ("large_proxies", "data_proxies", "penalties"):
            if not getattr(self, name):
                problems.append(f"{name} names at least one value")
        if self.rl.kl_coef != 0 or self.rl.kl_target is not None:
            problems.append("rl.kl_coef is 0 here: runs with a penalty are those of penalties")
        if not 0 < self.slow_rate < 1:
            problems.append(f"slow_rate lies between 0 and 1; got {self.slow_rate}")
        if self.rl.algorithm != "ppo":
            problems.append(f"the study is about PPO; rl.algorithm is {self.rl.algorithm}")
        if self.fitted_up_to < 8:
            problems.append(f"a law is fitted on n up to 8 at least; fitted_up_to is {self.fitted_up_to}")
        most = max((self.pairs, *self.fewer_pairs, self.epochs_pairs * self.epochs))
        if most > 0.9 * self.comparisons:
            problems.append(f"{most} pairs need more than {self.comparisons} comparisons, a tenth held out")
        counts = (
            "pairs", "proxy_seeds", "rl_replies", "penalty_seeds", "epochs_pairs", "epochs", "epochs_seeds",
            "label_seeds", "rounds", "round_steps", "round_seeds",
        )  # fmt: skip
        problems += [f"{n} must be at least 1; got {getattr(self, n)}" for n in counts if getattr(self, n) < 1]
        pools = ("prompts", "pool", "other_pool", "large_prompts", "large_pool", "comparisons")
        problems += [f"{n} must be at least 2; got {getattr(self, n)}" for n in pools if getattr(self, n) < 2]
        if self.large_prompts > self.prompts:
            problems.append(f"large_prompts are among the {self.prompts} prompts; got {self.large_prompts}")
        if any(not 0 <= rate < 0.5 for rate in self.flip_rates):
            problems.append("flip_rates lie within 0 and .5")
        if any(penalty <= 0 for penalty in self.penalties):
            problems.append("penalties are above 0; a run without one is always made")
        if self.compared_penalty not in self.penalties:
            problems.append(f"compared_penalty is {self.compared_penalty}, which is not among penalties")
        if self.rounds >= 1 and self.round_pairs < 1:
            problems.append(f"{self.pairs} pairs are too few for {self.rounds} rounds")
        if problems:
            raise ConfigError("; ".join(problems))

    def seeds(self, proxy: str) -> range:
        """Training seeds of proxies of that base at ``pairs``."""
        is_seeded = self.proxies.index(proxy) <= self.proxies.index(self.seeded_proxy)
        return range(self.proxy_seeds if is_seeded else 1)

    @property
    def round_pairs(self) -> int:
        """Training pairs of a round: all rounds together have ``pairs``."""
        return self.pairs // self.rounds


PRESETS = {
    "smoke": GaoConfig(
        other_policies=("chitchat-w128",),
        proxies=SHIPPED[:3],
        reference_proxy="chitchat-w8",
        comparisons=500,
        pairs=400,
        fewer_pairs=(100, 200),
        data_proxies=SHIPPED[:2],
        proxy_seeds=1,
        seeded_proxy="chitchat-w8",
        prompts=8,
        pool=64,
        other_pool=16,
        large_prompts=4,
        large_pool=128,
        large_proxies=SHIPPED[:1],
        fitted_up_to=32,
        rl=_push(steps=4, prompts_per_step=8, warm_up=1, learning_rate=1e-3),
        rl_replies=2,
        penalties=(0.15,),
        penalty_seeds=1,
        epochs_pairs=100,
        epochs_seeds=1,
        flip_rates=(0.25,),
        label_seeds=1,
        rounds=2,
        round_steps=2,
        round_seeds=1,
        reward_training=RewardTrainingConfig(epochs=1),
    ),
    "default": GaoConfig(),
    "full": GaoConfig(
        policy="chitchat-w128",
        other_policies=("chitchat-w64", "chitchat-w224"),
        comparisons=60_000,
        pairs=50_000,
        fewer_pairs=(250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000),
        data_proxies=SHIPPED,
        proxy_seeds=5,
        seeded_proxy="chitchat-w224",
        prompts=256,
        pool=4_096,
        other_pool=1_024,
        large_prompts=32,
        large_proxies=SHIPPED,
        rl=_push(steps=120, learning_rate=2e-4, prompts_per_step=128),
        rl_replies=8,
        penalties=(0.02, 0.05, 0.15, 0.4, 1.0),
        penalty_seeds=8,
        epochs_seeds=5,
        flip_rates=(0.05, 0.1, 0.25, 0.4),
        label_seeds=5,
        rounds=5,
        round_steps=40,
        round_seeds=5,
    ),
}
"""``smoke``: every part in miniature, in a minute, too small to show more. ``default``: two cores, three quarters of an
hour. ``full``: a GPU or a cluster; with models of your own by --set policy=… and proxies=…"""
