"""Where a penalised run settles, and what its penalty pulls on, against sums over every reply."""

import math

import pytest
import torch

from optimize.letter_world import (
    LetterScorer,
    begin_elsewhere,
    letter_policy,
    moved,
    push,
    replies_of,
    tilted,
    total_variation,
)
from overopt.policies.models import HFPolicy


def preference(letters: list[str]) -> float:
    return 0.8 * letters.count("a") - 0.5 * letters.count("b") + 0.6 * (letters[:1] == ["b"])


@pytest.mark.parametrize(
    ("tokens", "within", "settings"),
    [
        (2, 0.06, {"algorithm": "rloo", "kl_estimator": "k1"}),
        # At the optimum reward less k1 is the same for all replies: whatever divides a difference of 0, it is 0.
        (2, 0.06, {"algorithm": "grpo", "kl_estimator": "k1"}),
        (2, 0.06, {"algorithm": "reinforce++", "kl_estimator": "k1"}),
        (2, 0.06, {"algorithm": "ppo", "kl_estimator": "k1"}),
        (2, 0.08, {"algorithm": "rloo", "kl_estimator": "exact", "kl_in": "both", "learning_rate": 6e-3}),
        (2, 0.08, {"algorithm": "ppo", "kl_estimator": "exact", "kl_in": "both", "critic": "head"}),
        # Blind to which positions are visited, so right only where there is one.
        (1, 0.035, {"algorithm": "rloo", "kl_estimator": "k2", "kl_in": "loss"}),
        (1, 0.035, {"algorithm": "ppo", "kl_estimator": "k2", "kl_in": "loss", "critic": "head"}),
    ],
    ids=["rloo", "grpo", "reinforce++", "ppo", "rloo-exact", "ppo-exact", "rloo-k2", "ppo-k2"],
)
def test_settles_at_the_optimum_under_a_kl_penalty(tokens, within, settings):
    """The optimum is reference x exp(reward / kl_coef), in units of reward, also where advantages are normalised."""
    reference, prompts, scorer = letter_policy(2), ["a", "b a"], LetterScorer(preference)
    target = tilted(reference, scorer, prompts, tokens, 0.5)
    assert total_variation(replies_of(reference, prompts, tokens), target) > 0.2
    usual = {"steps": 80, "group": 64, "kl_coef": 0.5, "measure_every": 100}
    found = push(reference, prompts, scorer=scorer, max_tokens=tokens, **usual | settings)
    assert total_variation(replies_of(found.policy, prompts, tokens), target) < within


def differentiable_kl(policy: HFPolicy, reference: HFPolicy, prompts, max_tokens: int) -> torch.Tensor:
    """The KL of whole replies by listing them, with a gradient."""
    total = torch.zeros(())
    for prompt in prompts:
        ids = policy.tokenizer(prompt)["input_ids"]
        for reply in replies_of(reference, [prompt], max_tokens)[0]:
            text = torch.tensor([[*ids, *reply]])
            places = torch.arange(len(ids) - 1, len(ids) + len(reply) - 1)
            own, other = (
                torch.log_softmax(one.model(input_ids=text).logits[0], -1)[places, list(reply)].sum()
                for one in (policy, reference)
            )
            total = total + own.exp() * (own - other.detach())
    return total / len(prompts)


@pytest.mark.parametrize(
    ("settings", "is_whole"),
    [
        ({"kl_estimator": "k1", "kl_in": "reward"}, True),
        ({"kl_estimator": "exact", "kl_in": "both"}, True),
        ({"kl_estimator": "exact", "kl_in": "loss"}, False),
    ],
)
def test_mean_gradient_of_the_penalty_is_that_of_the_kl_of_whole_replies(monkeypatch, settings, is_whole):
    """The loss is a mean over tokens: times the mean length it is one over replies. The loss alone is another thing."""
    reference, prompts = letter_policy(2), ["a", "b a"]
    start = moved(reference, by=0.8)
    begin_elsewhere(monkeypatch, start)
    gradients: list[torch.Tensor] = []

    def keep(self, *args, **kwargs):
        gradients.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]))

    monkeypatch.setattr(torch.optim.AdamW, "step", keep)
    found = push(
        reference, prompts, reward=lambda letters: 0.0, steps=8, group=256, kl_coef=1.0, max_gradient=1e9,
        measure_every=100, max_tokens=2, **settings,
    )  # fmt: skip
    length = math.fsum(
        p * len(reply) for replies in replies_of(start, prompts, 2) for reply, p in replies.items()
    ) / len(prompts)
    mean = torch.stack(gradients).mean(0) * length
    start.model.zero_grad()
    differentiable_kl(start, reference, prompts, 2).backward()
    true = torch.cat([p.grad.flatten() for p in start.model.parameters()])
    assert len(found.logs) == 8
    # The mean of 8 batches has the error that their spread shows.
    error = float((torch.stack(gradients) * length).std(0).norm()) / math.sqrt(8)
    distance = float((mean - true).norm())
    assert error < 0.12 * float(true.norm())
    assert (distance < 1.3 * error) == is_whole
    assert is_whole or distance > 2 * error
