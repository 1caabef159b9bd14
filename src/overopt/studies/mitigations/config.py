"""Settings and presets of the study."""

from dataclasses import dataclass, field, replace

from overopt.errors import ConfigError
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig
from overopt.training.reward_config import RewardTrainingConfig


def _ppo(**changes: object) -> PolicyGradientConfig:
    usual = PolicyGradientConfig(
        steps=33, algorithm="ppo", gae_lambda=1.0, prompts_per_step=48, learning_rate=4e-4, measure_grid=0.5
    )
    return replace(usual, **changes)  # type: ignore[arg-type]  # names and types are checked by the class


@dataclass(frozen=True, slots=True, kw_only=True)
class MitigationsConfig:
    """Every setting of the study."""

    policy: str = "chitchat-w64"
    prompts_file: str | None = None
    gold: str = "rubric"
    device: str = "cpu"
    proxy: str = "chitchat-w16"
    """Base of all proxies."""
    members: int = 5
    """Of an ensemble; each is trained on the same pairs in another order, with other wrong labels."""
    comparisons: int = 9_600
    pairs: int = 8_000
    flip_rate: float = 0.25
    """Of the noisy labels; the clean ones are gold's own."""
    prompts: int = 64
    pool: int = 1_024
    runs: int = 2
    """Runs of PPO of each method; methods with one proxy take another one in each run."""
    rl: PolicyGradientConfig = field(default_factory=_ppo)
    rl_replies: int = 4
    uwo_best_of_n: float = 0.5
    uwo_rl: float = 0.1
    """λ, in 1 / standard deviations of a member (Coste et al. 2023)."""
    clip: float = 2.0
    """Rewards beyond so many standard deviations count as that many."""
    length_target: int = 16
    """Tokens that cost nothing."""
    length_penalty: float = 0.1
    """Standard deviations of reward for each token beyond."""
    matched_kl: float = 10.0
    """Nats at which methods are compared in PPO; the slowest runs of the default preset just reach them."""
    end_kl: float = 20.0
    """Nats up to which the area lost is taken in PPO."""
    stop_probability: float = 0.9
    """Of falling gold, at which the forecast stops a run."""
    reward_training: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        problems = []
        if self.members < 2:
            problems.append(f"an ensemble has at least two members; got {self.members}")
        if not 1 <= self.runs <= self.members:
            problems.append(f"runs lie within 1 and members, as each has a proxy of its own; got {self.runs}")
        if self.pairs > 0.9 * self.comparisons:
            problems.append(f"{self.pairs} pairs need more than {self.comparisons} comparisons, a tenth held out")
        if not 0 < self.flip_rate < 0.5:
            problems.append(f"flip_rate lies between 0 and .5; got {self.flip_rate}")
        if not 0 < self.matched_kl <= self.end_kl:
            problems.append(f"matched_kl lies between 0 and end_kl; got {self.matched_kl} and {self.end_kl}")
        if not 0.5 <= self.stop_probability < 1:
            problems.append(f"stop_probability lies within .5 and 1; got {self.stop_probability}")
        for name in ("clip", "length_penalty"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} must be above 0; got {getattr(self, name)}")
        for name in ("prompts", "pool", "comparisons", "pairs", "rl_replies", "length_target"):
            if getattr(self, name) < 2:
                problems.append(f"{name} must be at least 2; got {getattr(self, name)}")
        if problems:
            raise ConfigError("; ".join(problems))


PRESETS = {
    "smoke": MitigationsConfig(
        proxy="chitchat-w8",
        members=2,
        comparisons=400,
        pairs=300,
        prompts=8,
        pool=64,
        runs=1,
        rl=_ppo(steps=4, learning_rate=1e-3, prompts_per_step=8, warm_up=1),
        rl_replies=2,
        matched_kl=1.0,
        end_kl=2.0,
        reward_training=RewardTrainingConfig(epochs=1),
    ),
    "default": MitigationsConfig(),
    "full": MitigationsConfig(
        policy="chitchat-w128",
        proxy="chitchat-w32",
        comparisons=60_000,
        pairs=50_000,
        prompts=256,
        pool=4_096,
        runs=5,
        rl=_ppo(steps=120, learning_rate=2e-4, prompts_per_step=128),
        rl_replies=8,
    ),
}
