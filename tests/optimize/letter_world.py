"""A policy that speaks single letters: every reply can be listed, so every expectation is a finite sum."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from oracles.language_models import every_reply, letter_tokenizer, tiny_llama

from overopt.optimize import policy_gradient
from overopt.optimize.policy_gradient import Optimized, optimize_policy
from overopt.optimize.settings import PolicyGradientConfig
from overopt.optimize.trainable import trainable_copy
from overopt.policies.models import HFPolicy
from overopt.protocols import SamplerConfig

EOS = 2
Distribution = dict[tuple[int, ...], float]


class LetterScorer:
    """A function of the letters of a reply; ``damage`` replaces the last score of each call from ``after`` on."""

    def __init__(
        self,
        reward: Callable[[list[str]], float],
        *,
        damage: float | None = None,
        after: int = 0,
        name: str = "letters",
    ):
        self.reward, self.damage, self.after, self.name = reward, damage, after, name
        self.calls = 0

    def score(self, prompts, completions, *, progress=None):
        scores = np.array([self.reward(completion.split()) for completion in completions], dtype=float)
        self.calls += 1
        if self.damage is not None and self.calls > self.after:
            scores[-1] = self.damage
        return scores


def has_c(letters: list[str]) -> float:
    return float("c" in letters)


def letter_policy(n_letters: int = 5, *, seed: int = 31) -> HFPolicy:
    tokenizer = letter_tokenizer(n_letters)
    return HFPolicy(tiny_llama(tokenizer, seed=seed), tokenizer, name="reference")


def moved(reference: HFPolicy, *, by: float, seed: int = 7) -> HFPolicy:
    """The reference with its output weights changed at random."""
    policy = HFPolicy(tiny_llama(reference.tokenizer, seed=31), reference.tokenizer, name="moved")
    policy.model.load_state_dict(reference.model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = policy.model.lm_head.weight
        weight += by * torch.randn(weight.shape, generator=generator)
    return policy


def begin_elsewhere(monkeypatch, start: HFPolicy) -> None:
    """Let a run's policy start from other weights than the reference's."""

    def copy(reference, config, *, seed=0):
        policy = trainable_copy(reference, config, seed=seed)
        policy.model.load_state_dict(start.model.state_dict())
        return policy

    monkeypatch.setattr(policy_gradient, "trainable_copy", copy)


def replies_of(policy: HFPolicy, prompts: Sequence[str], max_tokens: int) -> list[Distribution]:
    """For each prompt, the probability of every reply."""
    return [
        {
            reply: math.exp(logprob)
            for reply, logprob in every_reply(
                policy.model, policy.tokenizer(prompt)["input_ids"], eos=EOS, max_tokens=max_tokens
            )
        }
        for prompt in prompts
    ]


def expected(policy: HFPolicy, scorer: LetterScorer, prompts: Sequence[str], max_tokens: int) -> float:
    """Mean reward, exactly."""
    return math.fsum(
        probability * scorer.reward(letters(policy, reply))
        for replies in replies_of(policy, prompts, max_tokens)
        for reply, probability in replies.items()
    ) / len(prompts)


def exact_kl(policy: HFPolicy, reference: HFPolicy, prompts: Sequence[str], max_tokens: int) -> float:
    """KL(policy || reference) of whole replies, mean over prompts."""
    pairs = zip(*(replies_of(model, prompts, max_tokens) for model in (policy, reference)), strict=True)
    return math.fsum(p * math.log(p / other[reply]) for own, other in pairs for reply, p in own.items()) / len(prompts)


def tilted(
    reference: HFPolicy, scorer: LetterScorer, prompts: Sequence[str], max_tokens: int, kl_coef: float
) -> list[Distribution]:
    """What maximises reward less ``kl_coef`` times the KL of whole replies: reference x exp(reward / kl_coef)."""
    found = []
    for replies in replies_of(reference, prompts, max_tokens):
        weights = {
            reply: q * math.exp(scorer.reward(letters(reference, reply)) / kl_coef) for reply, q in replies.items()
        }
        total = math.fsum(weights.values())
        found.append({reply: weight / total for reply, weight in weights.items()})
    return found


def total_variation(one: Sequence[Distribution], other: Sequence[Distribution]) -> float:
    """Mean over prompts."""
    return math.fsum(0.5 * abs(p[reply] - q[reply]) for p, q in zip(one, other, strict=True) for reply in p) / len(one)


def letters(policy: HFPolicy, reply: Sequence[int]) -> list[str]:
    return policy.tokenizer.decode(reply, skip_special_tokens=True).split()


def push(
    reference: HFPolicy,
    prompts: Sequence[str],
    *,
    reward: Callable[[list[str]], float] = has_c,
    scorer: LetterScorer | None = None,
    max_tokens: int = 2,
    seed: int = 0,
    measure=lambda step, policy: None,
    shaping=(),
    checkpoints=None,
    temperature: float = 1.0,
    **settings: object,
) -> Optimized:
    """A run with settings for very small worlds."""
    usual = {
        "steps": 1, "prompts_per_step": len(prompts), "group": 8, "learning_rate": 1e-2, "warm_up": 1,
        "minibatches": 1, "precision": "fp32",
    }  # fmt: skip
    return optimize_policy(
        reference,
        scorer or LetterScorer(reward),
        prompts,
        config=PolicyGradientConfig(**usual | settings),
        sampler=SamplerConfig(max_tokens=max_tokens, temperature=temperature),
        seed=seed,
        measure=measure,
        shaping=shaping,
        checkpoints=checkpoints,
    )


def weights(policy: HFPolicy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in policy.model.parameters()]


def is_same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def largest_difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(one, other, strict=True))
