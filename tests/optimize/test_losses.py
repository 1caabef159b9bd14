"""Losses token by token against loops in float64; estimators of the KL against the sum over the vocabulary."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.optimize.losses import clipped_surrogate, kl_penalty, value_loss

FAST = settings(deadline=None, max_examples=80, derandomize=True)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    old = rng.normal(-2, 1, 60)
    logprob = old + rng.normal(0, 0.3, 60)
    advantage = np.tile([1.5, -2.0, 0.3, -0.1, 0.0, 4.0], 10)
    weight = rng.random(60)
    return logprob, old, advantage, weight


def surrogate_by_loop(logprob, old, advantage, weight, low, high) -> tuple[float, int]:
    """Schulman et al. 2017, eq. 7."""
    total, n_clipped = 0.0, 0
    for own, before, gain, share in zip(logprob, old, advantage, weight, strict=True):
        ratio = math.exp(own - before)
        total -= share * min(ratio * gain, min(max(ratio, 1 - low), 1 + high) * gain)
        n_clipped += (gain > 0 and ratio > 1 + high) or (gain < 0 and ratio < 1 - low)
    return total, n_clipped


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.05), (0.2, 0.2), (0.5, 0.5), (0.2, 0.28)])
def test_surrogate_is_that_of_the_loop(case, low, high):
    loss, n_clipped = clipped_surrogate(*map(torch.from_numpy, case), clip=low, clip_high=high)
    expected, expected_clipped = surrogate_by_loop(*(values.tolist() for values in case), low, high)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert int(n_clipped) == expected_clipped
    assert 0 < expected_clipped < 60


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.1, 0.4)])
def test_gradient_stops_where_the_ratio_has_gone_far_enough(case, low, high):
    """And only there: a ratio that moved against its advantage is pulled back. What counts as clipped has none."""
    logprob, old, gain, weight = case
    own = torch.from_numpy(logprob).requires_grad_()
    loss, n_clipped = clipped_surrogate(own, *map(torch.from_numpy, (old, gain, weight)), clip=low, clip_high=high)
    loss.backward()
    ratio = np.exp(logprob - old)
    is_done = ((gain > 0) & (ratio > 1 + high)) | ((gain < 0) & (ratio < 1 - low))
    found = own.grad.numpy()
    assert (found[is_done | (gain == 0)] == 0).all()
    assert found[~is_done] == pytest.approx((-weight * gain * ratio)[~is_done], rel=1e-9)
    assert int(n_clipped) == is_done.sum()
    assert ((ratio > 1 + high) & ~is_done & (gain != 0)).any()
    assert ((ratio < 1 - low) & ~is_done & (gain != 0)).any()


def test_value_loss_is_that_of_the_loop_and_stops_far_from_the_old_value():
    rng = np.random.default_rng(1)
    value, old, target, weight = *rng.normal(0, 1, (3, 50)).tolist(), rng.random(50).tolist()
    own = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    others = (torch.tensor(column, dtype=torch.float64) for column in (old, target, weight))
    loss = value_loss(own, *others, clip=0.3)
    loss.backward()
    expected, gradient = 0.0, []
    for v, o, r, w in zip(value, old, target, weight, strict=True):
        near = min(max(v, o - 0.3), o + 0.3)
        expected += 0.5 * w * max((v - r) ** 2, (near - r) ** 2)
        gradient.append(w * (v - r) if v == near or (v - r) ** 2 > (near - r) ** 2 else 0.0)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    assert own.grad.tolist() == pytest.approx(gradient, abs=1e-12)
    assert 5 < gradient.count(0.0) < 45


@st.composite
def distributions(draw):
    """Log-probabilities of a policy and its reference over a few tokens, perhaps far apart."""
    size = draw(st.integers(2, 6))
    logits = st.lists(st.floats(-8, 8), min_size=size, max_size=size)
    return [torch.log_softmax(torch.tensor(draw(logits), dtype=torch.float64), -1) for _ in range(2)]


@FAST
@given(distributions())
def test_means_of_the_estimators_are_the_exact_kl_with_its_sign(case):
    """k1 and k3 are unbiased; k2's mean is half the mean square of the log-ratio, and is no KL far out."""
    policy, reference = case
    p, q = policy.exp().tolist(), reference.exp().tolist()
    exact = math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    backward = math.fsum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    given_exact = torch.full_like(policy, exact)
    means = {
        name: float((policy.exp() * kl_penalty(policy, reference, given_exact, name)).sum())
        for name in ("k1", "k2", "k3", "exact")
    }
    for name in ("k1", "k3", "exact"):
        assert means[name] == pytest.approx(exact, rel=1e-9, abs=1e-12)
    second = math.fsum(a * math.log(a / b) ** 2 / 2 for a, b in zip(p, q, strict=True))
    assert means["k2"] == pytest.approx(second, rel=1e-9, abs=1e-12)
    if abs(exact - backward) > 1e-3:
        assert means["k1"] != pytest.approx(backward, abs=1e-4), "KL(policy || reference), not the other way"


def test_k2_is_close_to_the_kl_near_the_reference():
    reference = torch.log_softmax(torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64), -1)
    policy = torch.log_softmax(reference + torch.tensor([0.01, -0.02, 0.0]), -1)
    means = [float((policy.exp() * kl_penalty(policy, reference, policy, name)).sum()) for name in ("k1", "k2")]
    assert means[1] == pytest.approx(means[0], rel=0.02)


def test_estimators_are_not_clamped_at_extreme_ratios():
    """OpenRLHF clamps log-ratios at 10 and verl at 20 and the value at 10: there every policy looks equally far."""
    policy, reference = torch.tensor([-40.0, -0.5, 0.0]).double(), torch.tensor([-0.5, -40.0, -700.0]).double()
    assert kl_penalty(policy, reference, policy, "k1").tolist() == [-39.5, 39.5, 700.0]
    assert kl_penalty(policy, reference, policy, "k2").tolist() == [39.5**2 / 2, 39.5**2 / 2, 700.0**2 / 2]
    assert kl_penalty(policy, reference, policy, "k3").tolist() == pytest.approx(
        [math.exp(39.5) - 1 - 39.5, 38.5, 699.0], rel=1e-12
    )


@FAST
@given(distributions())
def test_gradients_in_the_loss_point_where_they_are_said_to(case):
    """In expectation over the policy: k1 nowhere; k2 down KL(policy || reference); k3 down KL(reference || policy)."""
    start, reference = case
    found = {}
    for name in ("k1", "k2", "k3"):
        logits = start.clone().requires_grad_()
        logprob = torch.log_softmax(logits, -1)
        (start.exp() * kl_penalty(logprob, reference, logprob, name)).sum().backward()
        found[name] = logits.grad
    logits = start.clone().requires_grad_()
    own = torch.log_softmax(logits, -1)
    (own.exp() * (own - reference)).sum().backward()
    forward = logits.grad
    logits = start.clone().requires_grad_()
    (reference.exp() * (reference - torch.log_softmax(logits, -1))).sum().backward()
    assert found["k1"].tolist() == pytest.approx([0.0] * len(start), abs=1e-9)
    assert found["k2"].tolist() == pytest.approx(forward.tolist(), abs=1e-9)
    assert found["k3"].tolist() == pytest.approx(logits.grad.tolist(), abs=1e-9)


@pytest.mark.parametrize("name", ["k2", "k3"])
def test_as_a_reward_k2_and_k3_can_raise_the_kl(name):
    """What the settings say of them there: a token that is too rare is punished, and becomes rarer."""
    reference = torch.log_softmax(torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64), -1)
    start = torch.log_softmax(torch.tensor([-1.5, 0.0, 0.0], dtype=torch.float64), -1)

    def step(estimator: str) -> float:
        """Change of the KL by a short step down the gradient of what is earned: probability times penalty."""
        logits = start.clone().requires_grad_()
        own = torch.log_softmax(logits, -1)
        penalty = kl_penalty(start, reference, start, estimator)
        (own.exp() * penalty).sum().backward()
        moved = torch.log_softmax(start - 0.01 * logits.grad, -1)
        kl = [float((p.exp() * (p - reference)).sum()) for p in (start, moved)]
        return kl[1] - kl[0]

    assert step("k1") < -1e-5
    assert step(name) > 1e-5
