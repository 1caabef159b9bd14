"""Advantages and the clipped loss against loops; the optimiser on a policy small enough to enumerate."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.language_models import every_reply, letter_tokenizer, tiny_llama

from overopt.errors import ConfigError, NonFiniteError
from overopt.optimize.policy_gradient import (
    PolicyGradientConfig,
    clipped_loss,
    leave_one_out_advantage,
    optimize_policy,
)
from overopt.policies.sampler import SamplerConfig

REWARDS = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.integers(2, 5), st.integers(1, 4), st.data())
def test_advantage_is_the_reward_minus_the_mean_of_the_others(group, n_groups, data):
    size = group * n_groups
    reward = np.array(data.draw(st.lists(st.floats(-100, 100), min_size=size, max_size=size)))
    found = leave_one_out_advantage(reward, group)
    for index in range(size):
        first = index // group * group
        others = [float(reward[k]) for k in range(first, first + group) if k != index]
        assert found[index] == pytest.approx(reward[index] - math.fsum(others) / len(others), abs=1e-9)
    assert found.reshape(n_groups, group).sum(axis=1) == pytest.approx(np.zeros(n_groups), abs=1e-9)
    shift = np.repeat(np.arange(n_groups) * 7.0 - 3.0, group)
    assert leave_one_out_advantage(reward + shift, group) == pytest.approx(found, abs=1e-9)


def loss_by_loop(logprob, old, advantage, mask, clip) -> tuple[float, int]:
    """The surrogate of Schulman et al. 2017, eq. 7, token by token in float64."""
    total, n_clipped = 0.0, 0
    for row in range(len(logprob)):
        for position in range(len(logprob[row])):
            if not mask[row][position]:
                continue
            ratio = math.exp(logprob[row][position] - old[row][position])
            kept = min(max(ratio, 1 - clip), 1 + clip)
            total -= min(ratio * advantage[row], kept * advantage[row])
            n_clipped += abs(ratio - 1) > clip
    return total, n_clipped


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    old = rng.normal(-2, 1, (6, 9))
    logprob = old + rng.normal(0, 0.3, (6, 9))
    advantage = np.array([1.5, -2.0, 0.3, -0.1, 0.0, 4.0])
    mask = rng.random((6, 9)) < 0.6
    return logprob, old, advantage, mask


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.5])
def test_loss_is_that_of_the_loop(case, clip):
    logprob, old, advantage, mask = case
    loss, n_clipped = clipped_loss(*map(torch.from_numpy, (logprob, old, advantage, mask)), clip=clip)
    expected, expected_clipped = loss_by_loop(*(values.tolist() for values in case), clip)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert int(n_clipped) == expected_clipped
    assert 0 < expected_clipped < mask.sum()


@pytest.mark.parametrize("filler", [0.0, 50.0, -1000.0, math.nan])
def test_padding_enters_neither_loss_nor_gradient_nor_count(case, filler):
    logprob, old, advantage, mask = case
    results = []
    for value in (0.0, filler):
        own = torch.from_numpy(np.where(mask, logprob, value)).requires_grad_()
        before = torch.from_numpy(np.where(mask, old, 0.0))
        loss, n_clipped = clipped_loss(own, before, torch.from_numpy(advantage), torch.from_numpy(mask), clip=0.2)
        loss.backward()
        results.append((float(loss.detach()), int(n_clipped), own.grad[torch.from_numpy(mask)].tolist()))
        if math.isfinite(value):
            assert (own.grad[~torch.from_numpy(mask)] == 0).all()
    assert results[0] == results[1]


def test_gradient_stops_where_the_ratio_has_gone_far_enough(case):
    """And only there: a ratio that moved against its advantage is pulled back."""
    logprob, old, advantage, mask = case
    own = torch.from_numpy(logprob).requires_grad_()
    loss, _ = clipped_loss(own, *map(torch.from_numpy, (old, advantage, mask)), clip=0.2)
    loss.backward()
    ratio = np.exp(logprob - old)
    gain = advantage[:, None] * np.ones_like(ratio)
    done = ((gain > 0) & (ratio > 1.2)) | ((gain < 0) & (ratio < 0.8)) | (gain == 0) | ~mask
    assert (own.grad.numpy()[done] == 0).all()
    assert own.grad.numpy()[~done] == pytest.approx((-gain * ratio)[~done], rel=1e-9)
    assert ((ratio > 1.2) & ~done).any()
    assert ((ratio < 0.8) & ~done).any()


MAX_TOKENS = 2
PROMPTS = ["a", "b", "c d", "d", "b c a", "e"]
SAMPLER = SamplerConfig(max_tokens=MAX_TOKENS)
CONFIG = PolicyGradientConfig(steps=8, prompts_per_step=6, group=8, learning_rate=1e-2, warm_up=1, measure_every=3)


class LetterScorer:
    """``sign`` for a reply in which the letter c occurs, else 0; ``damage`` replaces the last score."""

    def __init__(self, sign: float = 1.0, damage: float | None = None):
        self.sign, self.damage = sign, damage

    def score(self, prompts, completions):
        scores = np.array([self.sign * ("c" in completion.split()) for completion in completions], dtype=float)
        if self.damage is not None:
            scores[-1] = self.damage
        return scores


@pytest.fixture(scope="module")
def tokenizer():
    return letter_tokenizer(5)


@pytest.fixture
def reference(tokenizer):
    return tiny_llama(tokenizer, seed=31)


def expected_reward(model, tokenizer) -> float:
    """Probability of a c, exactly: a mean over prompts of a sum over all replies."""
    c = tokenizer.convert_tokens_to_ids("c")
    totals = [
        math.fsum(math.exp(logprob) for reply, logprob in replies if c in reply)
        for replies in (
            every_reply(model, tokenizer(prompt)["input_ids"], eos=2, max_tokens=MAX_TOKENS) for prompt in PROMPTS
        )
    ]
    return math.fsum(totals) / len(totals)


def optimize(reference, tokenizer, *, scorer=None, config=CONFIG, seed=0, scale=1.0, measure=lambda step, policy: None):
    return optimize_policy(
        reference,
        tokenizer,
        scorer or LetterScorer(),
        PROMPTS,
        reward_scale=scale,
        config=config,
        sampler=SAMPLER,
        seed=seed,
        measure=measure,
    )


def values(model) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def is_same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_is_rewarded_becomes_likely_and_what_is_punished_rare(reference, tokenizer):
    """Implementations have maximised their losses; the sign of the reward is the sign of the change."""
    before = values(reference)
    start = expected_reward(reference, tokenizer)
    assert 0.1 < start < 0.6
    raised, logs = optimize(reference, tokenizer)
    lowered, _ = optimize(reference, tokenizer, scorer=LetterScorer(-1.0))
    assert expected_reward(raised, tokenizer) > start + 0.25
    assert expected_reward(lowered, tokenizer) < 0.5 * start
    assert is_same(before, values(reference))
    assert [log.step for log in logs] == list(range(1, 9))
    assert logs[-1].reward > logs[0].reward


def test_one_small_step_goes_uphill(reference, tokenizer):
    """Also at another temperature's worth of reward: the scale divides, a rate this small keeps the direction."""
    config = PolicyGradientConfig(steps=1, prompts_per_step=6, group=64, minibatches=1, learning_rate=1e-4, warm_up=1)
    start = expected_reward(reference, tokenizer)
    for scale in (0.1, 1.0, 10.0):
        policy, logs = optimize(reference, tokenizer, config=config, scale=scale)
        assert 1e-5 < expected_reward(policy, tokenizer) - start < 0.05
        standard_error = math.sqrt(start * (1 - start) / (6 * 64))
        assert abs(logs[0].reward - start) < 4 * standard_error, "the log holds the raw score"


def test_reward_scale_divides_the_gradient(reference, tokenizer):
    config = PolicyGradientConfig(steps=1, prompts_per_step=6, group=8, minibatches=1, learning_rate=1e-9, warm_up=1)
    norms = [optimize(reference, tokenizer, config=config, scale=s)[1][0].gradient_norm for s in (1.0, 4.0)]
    assert norms[0] == pytest.approx(4 * norms[1], rel=0.02)


def test_ratios_start_at_1(reference, tokenizer):
    """So no token of a step's first update is clipped, however narrow the clip."""
    config = PolicyGradientConfig(steps=1, prompts_per_step=6, group=8, minibatches=1, clip=1e-6, warm_up=1)
    assert optimize(reference, tokenizer, config=config)[1][0].clip_fraction == 0.0
    wide = PolicyGradientConfig(
        steps=2, prompts_per_step=6, group=8, minibatches=8, learning_rate=0.1, clip=1e-3, warm_up=1
    )
    assert 0.2 < optimize(reference, tokenizer, config=wide)[1][-1].clip_fraction <= 1.0


def test_equal_rewards_move_nothing(reference, tokenizer):
    policy, logs = optimize(reference, tokenizer, scorer=LetterScorer(0.0))
    assert is_same(values(policy), values(reference))
    assert {log.gradient_norm for log in logs} == {0.0}


@pytest.mark.parametrize(("every", "steps", "expected"), [(3, 8, [0, 3, 6, 8]), (4, 8, [0, 4, 8]), (9, 2, [0, 2])])
def test_measured_at_the_start_on_schedule_and_at_the_end(reference, tokenizer, every, steps, expected):
    config = PolicyGradientConfig(steps=steps, prompts_per_step=2, group=2, measure_every=every)
    seen = []
    policy, _ = optimize(
        reference,
        tokenizer,
        config=config,
        measure=lambda step, model: seen.append((step, values(model), model.training)),
    )
    assert [step for step, _, _ in seen] == expected
    assert not any(training for _, _, training in seen)
    assert is_same(seen[0][1], values(reference))
    assert is_same(seen[-1][1], values(policy))


def test_one_seed_gives_one_policy(reference, tokenizer):
    config = PolicyGradientConfig(steps=3, prompts_per_step=3, group=4)
    first, again, other = (values(optimize(reference, tokenizer, config=config, seed=seed)[0]) for seed in (0, 0, 1))
    assert is_same(first, again)
    assert not is_same(first, other)


@pytest.mark.parametrize("damage", [math.nan, math.inf, 1e30])
def test_nothing_is_stepped_with_numbers_that_are_not_finite(reference, tokenizer, damage):
    """At 1e30 the loss is finite and the norm of its gradient is not."""
    policies = []
    with pytest.raises(NonFiniteError, match=r"of RL step 1 (is|are) not finite"):
        optimize(
            reference,
            tokenizer,
            scorer=LetterScorer(damage=damage),
            measure=lambda step, policy: policies.append(policy),
        )
    assert is_same(values(policies[0]), values(reference))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"group": 1}, "group"),
        ({"steps": 0}, "steps"),
        ({"prompts_per_step": 0}, "prompts_per_step"),
        ({"minibatches": 0}, "minibatches"),
        ({"measure_every": 0}, "measure_every"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"clip": 0.0}, "clip"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"max_gradient": -1.0}, "max_gradient"),
        ({"warm_up": -1}, "warm_up"),
        ({"minibatches": 3, "prompts_per_step": 1, "group": 2}, "minibatches"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, name):
    with pytest.raises(ConfigError, match=rf"rl\.{name}|rl\..* and rl\.{name}"):
        PolicyGradientConfig(**{"steps": 1, **changes})


def test_more_prompts_a_step_than_there_are_is_refused(reference, tokenizer):
    config = PolicyGradientConfig(steps=1, prompts_per_step=7)
    with pytest.raises(ConfigError, match=r"rl\.prompts_per_step is 7, but there are 6 prompts"):
        optimize(reference, tokenizer, config=config)
