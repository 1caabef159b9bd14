"""How hard a policy is pushed, by which algorithm, and what is penalised: one frozen record."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from overopt.errors import ConfigError
from overopt.optimize.losses import KLEstimator

Algorithm = Literal["rloo", "grpo", "reinforce++", "ppo"]
KLPlace = Literal["reward", "loss", "both"]
Critic = Literal["model", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGradientConfig:
    """Settings of a run of reinforcement learning. Measuring does not depend on what is penalised and has no switch."""

    steps: int
    """Batches of replies."""
    algorithm: Algorithm = "rloo"
    """``rloo``: leave-one-out baseline. ``grpo``: group mean and standard deviation. ``reinforce++``: group mean, then
    normalised over the batch. ``ppo``: a critic and generalised advantages. All take clipped-ratio steps."""
    prompts_per_step: int = 64
    group: int = 4
    """Replies to each prompt of a step; at least 2, or 1 with a critic."""
    epochs: int = 1
    """Passes over each batch."""
    minibatches: int = 2
    """Optimiser steps in a pass; groups stay together."""
    learning_rate: float = 3e-4
    """AdamW, after a linear warm-up of ``warm_up`` steps."""
    warm_up: int = 5
    weight_decay: float = 0.0
    clip: float = 0.2
    """Probability ratios below 1 - clip get no gradient down (Gao et al. 2022, table 1)."""
    clip_high: float | None = None
    """Ratios above 1 + clip_high get no gradient up; as ``clip`` unless given (DAPO, 2503.14476)."""
    max_gradient: float = 1.0
    """Gradients are scaled down to this norm."""
    average: Literal["token", "reply"] = "token"
    """Over all reply tokens of a minibatch, or over replies of the mean over their tokens (GRPO as published)."""
    scale_by_sd: bool = True
    """Whether GRPO divides by the group's standard deviation (not: 2503.20783)."""
    kl_coef: float = 0.0
    """Weight of the KL to the reference, in units of reward per nat, also where advantages are divided by their spread
    over the batch. In the loss of GRPO with ``scale_by_sd``: in units of the divided reward, as published."""
    kl_estimator: KLEstimator = "k1"
    """k1, k2, k3 from the drawn token; exact over the vocabulary."""
    kl_in: KLPlace = "reward"
    """``reward``: each token's penalty is earned with the token; with k1 this gives the gradient of the KL of whole
    replies. ``loss``: differentiated at the visited positions, blind to which positions are visited. ``both``, for
    exact alone: differentiated where visited and earned by what leads there, the whole gradient with less noise. All
    of k1, k2, k3 and exact go into either, as public trainers have them; what such a penalty really pulls on, where it
    is not the KL of whole replies, :meth:`caveats` says."""
    kl_target: float | None = None
    """Nats a reply; the weight then follows the measured KL (Ziegler et al. 2019, 1909.08593)."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus, in the units of ``kl_coef`` in the loss."""
    gamma: float = 1.0
    gae_lambda: float = 0.95
    """Of PPO's advantages (Gao et al. 2022, table 1)."""
    critic: Critic = "model"
    """PPO's values come from a copy of the policy's body (``model``) or a head on it (``head``)."""
    value_coef: float = 0.5
    value_clip: float = 0.2
    critic_learning_rate: float | None = None
    """As ``learning_rate`` unless given."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the products of training; weights, optimiser and log-sums are float32."""
    places: int = 2_048
    """Most tokens of one forward pass, padding included; gradients accumulate over passes."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora_rank: int = 0
    """Above 0: only low-rank adapters of this rank are trained (PEFT), on all linear layers."""
    lora_alpha: int | None = None
    """Twice the rank unless given."""
    measure_every: int = 4
    """Steps between measurements on held-out prompts; step 0 and the last are always measured."""
    measure_grid: float | None = None
    """Instead: measure whenever the square root of the training batch's KL passes a multiple of this."""
    checkpoint_every: int = 20
    """Steps between checkpoints, where a folder is given."""

    def __post_init__(self) -> None:
        problems = []
        for name, allowed in (
            ("algorithm", get_args(Algorithm)),
            ("kl_estimator", get_args(KLEstimator)),
            ("kl_in", get_args(KLPlace)),
            ("critic", get_args(Critic)),
            ("average", ("token", "reply")),
            ("precision", ("bf16", "fp32")),
        ):
            if getattr(self, name) not in allowed:
                problems.append(f"rl.{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        least = {"group": 1 if self.algorithm == "ppo" else 2, "lora_rank": 0, "warm_up": 0}
        for name in (
            "steps", "prompts_per_step", "group", "epochs", "minibatches", "warm_up", "places", "lora_rank",
            "measure_every", "checkpoint_every",
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least.get(name, 1):
                problems.append(f"rl.{name} must be a whole number, at least {least.get(name, 1)}; got {value!r}")
        if not problems and self.minibatches > self.prompts_per_step:
            problems.append(
                f"rl.minibatches is {self.minibatches}, more than the {self.prompts_per_step} prompts of a step"
            )
        for name in ("weight_decay", "kl_coef", "value_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                problems.append(f"rl.{name} must be 0 or more; got {getattr(self, name)}")
        for name in (
            "learning_rate", "clip", "clip_high", "max_gradient", "kl_target", "value_clip", "critic_learning_rate",
            "measure_grid", "lora_alpha",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                problems.append(f"rl.{name} must be above 0 and finite; got {value}")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"rl.{name} must lie within 0 and 1; got {getattr(self, name)}")
        if not math.isfinite(self.entropy_coef):
            problems.append(f"rl.entropy_coef must be finite; got {self.entropy_coef}")
        problems += self._kl_problems()
        if problems:
            raise ConfigError("; ".join(problems))

    def _kl_problems(self) -> list[str]:
        if self.kl_coef == 0 and self.kl_target is None:
            return []
        if self.kl_target is not None and self.kl_coef == 0:
            return ["rl.kl_target needs a kl_coef above 0 to start from"]
        if self.kl_in == "both" and self.kl_estimator != "exact":
            return ["rl.kl_in both is for kl_estimator exact; the others would count the penalty twice"]
        if self.kl_in == "both" and self.algorithm == "grpo" and self.scale_by_sd:
            return [
                "rl.kl_in both needs one unit of reward, and grpo divides each group by its own spread; set "
                "scale_by_sd to false, or use kl_estimator k1 in the reward"
            ]
        return []

    def caveats(self) -> list[str]:
        """What a reader of the run must know of its penalty, a sentence each; none where it is the KL of replies."""
        if self.kl_coef == 0:
            return []
        found = _PULLS.get((self.kl_estimator, self.kl_in))
        place = f"rl.kl_estimator {self.kl_estimator} in the {self.kl_in}"
        sentences = [] if found is None else [f"{place} {found}"]
        if (self.kl_estimator, self.kl_in, self.average) == ("k1", "loss", "reply"):
            sentences.append(
                "rl.average reply gives k1 in the loss the gradient of the mean of 1 / length: it makes replies longer"
            )
        return sentences

    @property
    def critic_rate(self) -> float:
        """Learning rate of the critic."""
        return self.critic_learning_rate or self.learning_rate

    def is_due(self, step: int, sqrt_kl_before: float, sqrt_kl: float) -> bool:
        """Whether to measure after ``step``, given the distances of the batch before it and of its own batch."""
        if step in (0, self.steps):
            return True
        if self.measure_grid is not None:
            return math.floor(sqrt_kl / self.measure_grid) > math.floor(sqrt_kl_before / self.measure_grid)
        return step % self.measure_every == 0


_VISITED = (
    "has the gradient of the KL at the visited positions only: it does not see that a token leads to positions with a "
    "larger KL"
)
_PULLS: dict[tuple[KLEstimator, KLPlace], str] = {
    ("k1", "loss"): "has a mean gradient of 0: it adds noise to the first step on a batch, and pushes later steps away "
    "from what was drawn, near the reference or not",
    ("k2", "loss"): _VISITED,
    ("exact", "loss"): _VISITED,
    ("k3", "loss"): "has the gradient of KL(reference || policy) at the visited positions, not that of "
    "KL(policy || reference)",
    ("k2", "reward"): "does not have the gradient of the KL: a token that is too rare is punished like one that is too "
    "frequent, and gets rarer",
    ("k3", "reward"): "does not have the gradient of the KL: at each position that of KL(reference || policy) is taken "
    "off it, so that a token that is too rare is punished and gets rarer",
    ("exact", "reward"): "does not see the token it penalises, only that a token leads to positions with a larger KL: "
    "replies of one token are not held at all",
}
"""What the penalties pull on whose mean gradient is not that of the KL of whole replies."""
