"""Settings and presets of the study."""

from dataclasses import dataclass, field

from overopt.errors import ConfigError
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig
from overopt.studies.grm2024.methods import BY_ID, PLAIN
from overopt.training.reward_config import RewardTrainingConfig


def _ppo(**changes: object) -> PolicyGradientConfig:
    usual: dict[str, object] = {"algorithm": "ppo", "gae_lambda": 1.0, "learning_rate": 6e-4, "measure_grid": 0.7}
    return PolicyGradientConfig(**(usual | {"steps": 28, "prompts_per_step": 48} | changes))  # type: ignore[arg-type]  # fields of it


@dataclass(frozen=True, slots=True, kw_only=True)
class GrmConfig:
    """Every setting of the study."""

    policy: str = "chitchat-w64"
    prompts_file: str | None = None
    """Prompts of the policy; human replies are always those of the conversations."""
    gold: str = "rubric"
    device: str = "cpu"
    base: str = "chitchat-w64"
    """Of all judged reward models."""
    judge_base: str = "chitchat-w32"
    """Of the separate proxy, against which the policy of the optimised replies is pushed."""
    judge_pairs: int = 2_000
    """The first of the training pairs, which no judged model learns from."""
    comparisons: int = 12_000
    sizes: tuple[int, ...] = (500, 1_500, 5_000)
    """Training pairs, ascending."""
    size_methods: tuple[str, ...] = tuple(BY_ID)
    """Methods at sizes other than ``pairs``."""
    pairs: int = 1_500
    """The size, one of ``sizes``, at which weights, wrong labels, best-of-n and PPO are compared."""
    seeds: int = 3
    """Each draws its own training pairs, their order and the wrong labels, the same for all methods."""
    members: int = 3
    """Of an ensemble, on the same pairs."""
    flip_rate: float = 0.25
    noisy_methods: tuple[str, ...] = tuple(BY_ID)
    """Methods with labels of which so many are turned round."""
    text_weight: float = 0.05
    """α of GRM: the upper end of the range that the paper finds best."""
    alphas: tuple[float, ...] = (0.005, 0.01, 0.05, 0.1, 0.3)
    """Of the sweep of GRM with SFT; 0 is Bradley-Terry and comes by itself."""
    sweep_sizes: tuple[int, ...] = (500, 1_500)
    """Sizes of the sweep, among ``sizes``; ``pairs`` is one of them."""
    dpo_beta: float = 0.1
    smoothing: float = 0.1
    margin_scale: float = 1.0
    """Log-odds by which a pair that is a standard deviation of gold apart is to be ahead."""
    mix_weight: float = 0.1
    """Of the language-model loss of the chosen texts, and of that of the human conversations."""
    corpus_texts: int = 5_000
    frozen_rate: float = 10.0
    """Times the learning rate, where the head alone learns."""
    judged: int = 500
    """Pairs of each set out of distribution."""
    domain_pairs: int = 6
    """Of each prompt of the other domain."""
    length_draws: int = 8
    """Replies of which the shortest and the longest are compared."""
    length_tokens: int = 64
    """Most tokens of such a reply."""
    loss_texts: int = 400
    """Human exchanges on which the language-model loss is taken."""
    prompts: int = 64
    pool: int = 512
    """Replies to each prompt; the paper goes to n = 405."""
    ppo_methods: tuple[str, ...] = (
        "bt", "ens-mean", "ens-min", "warm", "mix", "grm-dpo", "grm-dpo-noref", "grm-sft",
    )  # fmt: skip
    noisy_ppo_methods: tuple[str, ...] = ("bt", "grm-sft")
    rl: PolicyGradientConfig = field(default_factory=_ppo)
    rl_replies: int = 4
    matched_n: int = 64
    """Of best-of-n, where methods are compared besides at the largest n."""
    matched_kl: float = 15.0
    """Nats of PPO."""
    end_kl: float = 20.0
    """Nats up to which the area lost is taken in PPO."""
    reward_training: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        problems = []
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)):
            problems.append(f"sizes ascend and name each once; got {list(self.sizes)}")
        if self.pairs not in self.sizes:
            problems.append(f"pairs is {self.pairs}, which is not among sizes")
        if not {self.pairs} <= set(self.sweep_sizes) <= set(self.sizes):
            problems.append(f"sweep_sizes are among sizes, and pairs among them; got {list(self.sweep_sizes)}")
        if not self.sizes or max(self.sizes) + self.judge_pairs > 0.89 * self.comparisons:
            problems.append(
                f"{max(self.sizes, default=0)} pairs and {self.judge_pairs} of the separate proxy need more than "
                f"{self.comparisons} comparisons, a tenth held out"
            )
        if self.judged > self.comparisons // 20:
            problems.append(f"judged is {self.judged}, and half of the held-out prompts are {self.comparisons // 20}")
        if self.seeds < 2:
            problems.append(f"seeds must be at least 2, they are what is replicated; got {self.seeds}")
        if self.members < 2:
            problems.append(f"an ensemble has at least two members; got {self.members}")
        if not 0 < self.flip_rate < 0.5:
            problems.append(f"flip_rate lies between 0 and .5; got {self.flip_rate}")
        if not self.alphas or list(self.alphas) != sorted(set(self.alphas)) or not min(self.alphas) > 0:
            problems.append(f"alphas ascend above 0 and name each once; got {list(self.alphas)}")
        elif max(self.alphas) >= 1:
            problems.append(f"alphas lie below 1; got {max(self.alphas)}")
        if self.text_weight not in self.alphas:
            problems.append(f"text_weight is {self.text_weight}, which is not among alphas")
        for name in ("size_methods", "noisy_methods", "ppo_methods", "noisy_ppo_methods"):
            methods = getattr(self, name)
            if unknown := [one for one in methods if one not in BY_ID]:
                problems.append(f"{name} names {unknown[0]}, which is no method; there are {', '.join(BY_ID)}")
            if PLAIN not in methods or "grm-sft" not in methods or len(set(methods)) < len(methods):
                problems.append(f"{name} names {PLAIN} and grm-sft, and each once; got {', '.join(methods)}")
        if unlearnt := set(self.noisy_ppo_methods) - set(self.noisy_methods):
            problems.append(f"noisy_ppo_methods names {min(unlearnt)}, which is not among noisy_methods")
        if not 1 < self.matched_n <= self.pool:
            problems.append(f"matched_n lies between 1 and pool; got {self.matched_n}")
        if not 0 < self.matched_kl <= self.end_kl:
            problems.append(f"matched_kl lies between 0 and end_kl; got {self.matched_kl} and {self.end_kl}")
        if self.reward_training.needs_language_model or self.reward_training.label_smoothing:
            problems.append("reward_training is plain Bradley-Terry here; the methods add their own losses")
        for name in ("mix_weight", "margin_scale", "frozen_rate", "dpo_beta"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} must be above 0; got {getattr(self, name)}")
        if not 0 < self.smoothing < 0.5:
            problems.append(f"smoothing lies between 0 and .5; got {self.smoothing}")
        for name in (
            "prompts", "pool", "judge_pairs", "rl_replies", "judged", "domain_pairs", "length_draws", "length_tokens",
            "corpus_texts", "loss_texts",
        ):  # fmt: skip
            if getattr(self, name) < 2:
                problems.append(f"{name} must be at least 2; got {getattr(self, name)}")
        if problems:
            raise ConfigError("; ".join(problems))


PRESETS = {
    "smoke": GrmConfig(
        base="chitchat-w8",
        judge_base="chitchat-w8",
        judge_pairs=100,
        comparisons=500,
        sizes=(100, 200),
        pairs=200,
        seeds=2,
        members=2,
        alphas=(0.05, 0.3),
        sweep_sizes=(200,),
        size_methods=("bt", "grm-sft"),
        noisy_methods=("bt", "ens-mean", "grm-sft"),
        corpus_texts=100,
        judged=25,
        domain_pairs=2,
        length_draws=3,
        loss_texts=50,
        prompts=8,
        pool=32,
        ppo_methods=("bt", "grm-sft"),
        noisy_ppo_methods=("bt", "grm-sft"),
        rl=_ppo(steps=3, learning_rate=1e-3, prompts_per_step=8, warm_up=1, measure_grid=0.6),
        rl_replies=2,
        matched_n=8,
        matched_kl=0.5,
        end_kl=1.0,
        reward_training=RewardTrainingConfig(epochs=1),
    ),
    "default": GrmConfig(),
    "full": GrmConfig(
        policy="chitchat-w128",
        base="chitchat-w128",
        judge_base="chitchat-w64",
        seeds=8,
        sizes=(500, 1_500, 5_000, 9_000),
        sweep_sizes=(500, 1_500, 5_000),
        comparisons=13_000,
        ppo_methods=tuple(BY_ID),
        noisy_ppo_methods=tuple(BY_ID),
        judged=650,
        prompts=256,
        pool=4_096,
        rl=_ppo(steps=80, learning_rate=3e-4, prompts_per_step=128, measure_grid=0.5),
        rl_replies=8,
    ),
}
