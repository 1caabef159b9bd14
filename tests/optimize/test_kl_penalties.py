"""Every penalty that a public trainer has enters as it is stated, and pulls on what its caveat says."""

import math

import pytest
import torch

from optimize.letter_world import begin_elsewhere, letter_policy, moved, push, replies_of
from overopt.errors import ConfigError
from overopt.optimize.policy_gradient import _Run
from overopt.optimize.settings import PolicyGradientConfig

PROMPTS = ["a", "b a", "b"]
TOKENS = 2
PAIRS = [(estimator, place) for estimator in ("k1", "k2", "k3", "exact") for place in ("reward", "loss")]
PAIRS.append(("exact", "both"))


@pytest.fixture(scope="module")
def policies():
    """The reference, and a policy that is 1 nat away from it."""
    reference = letter_policy(2)
    return reference, moved(reference, by=0.8)


def table(policy, prompt, reply) -> torch.Tensor:
    """Log-probabilities (T, V) of the next token along a reply, by the model's own forward pass."""
    ids = policy.tokenizer(prompt)["input_ids"]
    logits = policy.model(input_ids=torch.tensor([[*ids, *reply]])).logits[0]
    return torch.log_softmax(logits, -1)[len(ids) - 1 : -1]


def penalties(own_TV, other_TV, reply, estimator) -> torch.Tensor:
    """Schulman's estimators of KL(policy || reference) at each token (T,), or the sum over the vocabulary."""
    places = torch.arange(len(reply))
    ratio_T = own_TV[places, list(reply)] - other_TV[places, list(reply)]
    return {
        "k1": lambda: ratio_T,
        "k2": lambda: ratio_T**2 / 2,
        "k3": lambda: torch.exp(-ratio_T) - 1 + ratio_T,
        "exact": lambda: (own_TV.exp() * (own_TV - other_TV)).sum(-1),
    }[estimator]()


def gradient(loss: torch.Tensor, policy) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(policy.model.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat(
        [
            (torch.zeros_like(own) if one is None else one).flatten()
            for one, own in zip(found, policy.model.parameters(), strict=True)
        ]
    )


@pytest.mark.parametrize("average", ["token", "reply"])
@pytest.mark.parametrize(("estimator", "place"), PAIRS)
def test_the_gradient_of_a_batch_is_that_of_the_stated_penalty(policies, monkeypatch, estimator, place, average):
    """Earned by the reply, differentiated in the loss, or both: written out here for one batch, reply by reply."""
    reference, start = policies
    begin_elsewhere(monkeypatch, start)
    rollouts, gradients = [], []
    update = _Run._update

    def look(self, rollout, signal, step):
        rollouts.append(rollout)
        return update(self, rollout, signal, step)

    def keep(self, *args, **kwargs):
        gradients.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]))

    monkeypatch.setattr(_Run, "_update", look)
    monkeypatch.setattr(torch.optim.AdamW, "step", keep)
    push(
        reference, PROMPTS, reward=lambda letters: 0.0, group=2, kl_coef=0.7, kl_estimator=estimator, kl_in=place,
        average=average, max_tokens=TOKENS, max_gradient=1e9,
    )  # fmt: skip
    (rollout,), (found,) = rollouts, gradients
    rows = []
    for reply in rollout.replies:
        own, other = (table(one, rollout.prompts[reply.prompt], reply.token_ids) for one in (start, reference))
        logprob_T = own[torch.arange(len(reply.token_ids)), reply.token_ids]
        rows.append((logprob_T, 0.7 * penalties(own, other.detach(), reply.token_ids, estimator)))
    n_tokens = sum(len(logprob_T) for logprob_T, _ in rows)
    loss = torch.zeros(())
    for number, (logprob_T, penalty_T) in enumerate(rows):
        weight = 1 / n_tokens if average == "token" else 1 / (len(rows) * len(logprob_T))
        if place != "loss":
            # With two replies a prompt, leave-one-out compares each with the other.
            gain = -penalty_T.detach().sum() + rows[number ^ 1][1].detach().sum()
            loss = loss - weight * gain * logprob_T.sum()
        if place != "reward":
            loss = loss + weight * penalty_T.sum()
    expected = gradient(loss, start)
    assert float(expected.norm()) > 0.05
    assert float((found - expected).norm()) < 1e-4 * float(expected.norm())


def mean_gradient(policies, of, max_tokens=TOKENS) -> torch.Tensor:
    """Of the sum over all replies of probability, held fixed, times ``of(logprob_T, own, other, reply)``."""
    reference, start = policies
    total = torch.zeros(())
    for prompt in PROMPTS:
        for reply in replies_of(reference, [prompt], max_tokens)[0]:
            own, other = table(start, prompt, reply), table(reference, prompt, reply).detach()
            logprob_T = own[torch.arange(len(reply)), list(reply)]
            total = total + logprob_T.detach().sum().exp() * of(logprob_T, own, other, reply)
    return gradient(total / len(PROMPTS), start)


def pull(policies, estimator, place, max_tokens=TOKENS) -> torch.Tensor:
    """Mean gradient of a penalty over all replies."""

    def of(logprob_T, own, other, reply):
        penalty_T = penalties(own, other, reply, estimator)
        earned = penalty_T.detach().sum() * logprob_T.sum() if place != "loss" else 0.0
        return earned + (penalty_T.sum() if place != "reward" else 0.0)

    return mean_gradient(policies, of, max_tokens)


def of_kl(policies, max_tokens=TOKENS) -> torch.Tensor:
    """Gradient of the KL of whole replies."""

    def of(logprob_T, own, other, reply):
        ratio = logprob_T.sum() - other[torch.arange(len(reply)), list(reply)].sum()
        return logprob_T.sum() * ratio.detach()

    return mean_gradient(policies, of, max_tokens)


def of_backward_kl(policies, max_tokens=TOKENS) -> torch.Tensor:
    """Gradient of KL(reference || policy) at the positions that the policy visits."""
    return mean_gradient(policies, lambda _, own, other, reply: (other.exp() * (other - own)).sum(), max_tokens)


def is_close(one, other) -> bool:
    return float((one - other).norm()) < 1e-4 * float(other.norm())


def test_k1_in_the_reward_and_exact_in_both_are_the_kl_and_say_nothing(policies):
    true = of_kl(policies)
    for estimator, place in (("k1", "reward"), ("exact", "both")):
        assert is_close(pull(policies, estimator, place), true)
        assert PolicyGradientConfig(steps=1, kl_coef=0.1, kl_estimator=estimator, kl_in=place).caveats() == []


@pytest.mark.parametrize(("estimator", "place"), [pair for pair in PAIRS if pair[0] != "k1" and pair[1] != "both"])
def test_the_others_are_not_the_gradient_of_the_kl(policies, estimator, place):
    true = of_kl(policies)
    assert float((pull(policies, estimator, place) - true).norm()) > 0.1 * float(true.norm())


def test_k1_in_the_loss_pulls_nowhere(policies):
    assert float(pull(policies, "k1", "loss").norm()) < 1e-5 * float(of_kl(policies).norm())


def test_k1_in_the_loss_averaged_by_reply_pulls_on_the_length(policies):
    """The mean of 1 / length falls, so replies get longer: nobody asked for that."""
    found = mean_gradient(
        policies, lambda logprob_T, own, other, reply: penalties(own, other, reply, "k1").sum() / len(reply)
    )
    of_length = mean_gradient(policies, lambda logprob_T, own, other, reply: logprob_T.sum() / len(reply))
    assert float(of_length.norm()) > 0.01
    assert is_close(found, of_length)


def test_k2_and_exact_in_the_loss_are_one_pull_and_k3_is_that_of_the_backward_kl(policies):
    assert is_close(pull(policies, "k2", "loss"), pull(policies, "exact", "loss"))
    assert is_close(pull(policies, "k3", "loss"), of_backward_kl(policies))


def test_k3_in_the_reward_is_the_kl_less_the_backward_kl(policies):
    assert is_close(pull(policies, "k3", "reward"), of_kl(policies) - of_backward_kl(policies))


def test_exact_in_the_reward_sees_only_what_comes_later(policies):
    """On replies of one token nothing is left; on longer ones it is what the loss alone lacks."""
    assert float(pull(policies, "exact", "reward", 1).norm()) < 1e-5 * float(of_kl(policies, 1).norm())
    assert is_close(pull(policies, "exact", "reward"), of_kl(policies) - pull(policies, "exact", "loss"))


@pytest.mark.parametrize(
    ("estimator", "place", "words"),
    [
        ("k1", "loss", "mean gradient of 0"),
        ("k2", "loss", "at the visited positions only"),
        ("k3", "loss", r"gradient of KL(reference || policy)"),
        ("exact", "loss", "at the visited positions only"),
        ("k2", "reward", "too rare is punished"),
        ("k3", "reward", "too rare is punished"),
        ("exact", "reward", "does not see the token it penalises"),
    ],
)
def test_a_penalty_that_is_not_the_kl_says_what_it_is(estimator, place, words):
    config = PolicyGradientConfig(steps=1, kl_coef=0.1, kl_estimator=estimator, kl_in=place)
    (sentence,) = config.caveats()
    assert words in sentence
    assert sentence.startswith(f"rl.kl_estimator {estimator} in the {place} ")
    assert "\n" not in sentence
    assert PolicyGradientConfig(steps=1, kl_estimator=estimator, kl_in=place).caveats() == [], "nothing is penalised"


def test_what_an_average_over_replies_adds_is_said_too():
    usual = {"steps": 1, "kl_coef": 0.1, "kl_estimator": "k1", "kl_in": "loss"}
    assert len(PolicyGradientConfig(**usual).caveats()) == 1
    assert "longer" in PolicyGradientConfig(**usual, average="reply").caveats()[1]


@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "reinforce++", "ppo"])
@pytest.mark.parametrize(("estimator", "place"), PAIRS[:-1])
def test_every_algorithm_takes_every_penalty(algorithm, estimator, place):
    (log,) = push(
        letter_policy(2), ["a", "b"], group=2, kl_coef=0.1, kl_estimator=estimator, kl_in=place, algorithm=algorithm
    ).logs
    assert math.isfinite(log.gradient_norm)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kl_estimator": "k1", "kl_in": "both"}, "count the penalty twice"),
        ({"kl_estimator": "k3", "kl_in": "both"}, "count the penalty twice"),
        ({"kl_estimator": "exact", "kl_in": "both", "algorithm": "grpo"}, "one unit of reward"),
        ({"kl_coef": 0.0, "kl_target": 3.0}, "needs a kl_coef above 0"),
    ],
)
def test_what_has_no_meaning_is_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PolicyGradientConfig(**{"steps": 1, "kl_coef": 0.1} | settings)
