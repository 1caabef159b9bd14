"""Advantages against loops over single rewards and tokens; what lies beyond a reply is never read."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.errors import ShapeError
from overopt.optimize.advantages import (
    at_last_token,
    batch_normalised,
    generalised,
    group_normalised,
    leave_one_out,
)

FAST = settings(deadline=None, max_examples=80, derandomize=True)
REWARD = st.floats(-100, 100).map(lambda value: round(value, 3))


@st.composite
def groups(draw):
    group, n_groups = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    size = group * n_groups
    return torch.tensor(draw(st.lists(REWARD, min_size=size, max_size=size)), dtype=torch.float64), group


@st.composite
def ragged(draw):
    """Rewards, values and a mask of replies of 1 to 6 tokens; nan wherever no token stands."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = max(lengths) + draw(st.integers(0, 2))
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    tables = [torch.from_numpy(rng.normal(3, 10, mask.shape)).masked_fill(~mask, math.nan) for _ in range(2)]
    return *tables, mask


def by_group(reward: torch.Tensor, group: int) -> list[list[float]]:
    values = reward.tolist()
    return [values[start : start + group] for start in range(0, len(values), group)]


@FAST
@given(groups())
def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others(case):
    reward, group = case
    expected = [
        own - math.fsum(other for k, other in enumerate(values) if k != place) / (group - 1)
        for values in by_group(reward, group)
        for place, own in enumerate(values)
    ]
    found = leave_one_out(reward, group)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert found.reshape(-1, group).sum(1).tolist() == pytest.approx([0.0] * (len(reward) // group), abs=1e-9)


@FAST
@given(groups(), st.booleans())
def test_group_normalised_is_the_reward_in_standard_deviations_of_its_group(case, by_sd):
    reward, group = case
    expected = []
    for values in by_group(reward, group):
        mean = math.fsum(values) / group
        sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (group - 1)) if by_sd else 1.0
        expected += [0.0 if sd < 1e-9 else (value - mean) / sd for value in values]
    assert group_normalised(reward, group, by_sd=by_sd).tolist() == pytest.approx(expected, abs=1e-6)


@FAST
@given(groups())
def test_a_bonus_for_every_reply_to_a_prompt_changes_no_advantage(case):
    reward, group = case
    shift = torch.repeat_interleave(torch.arange(len(reward) // group) * 7.0 - 3.0, group)
    for function in (leave_one_out, group_normalised):
        assert function(reward + shift, group).tolist() == pytest.approx(function(reward, group).tolist(), abs=1e-6)


@pytest.mark.parametrize("reward", [0.0, 0.1, -1e30, 1e6 / 3])
@pytest.mark.parametrize("group", [2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_have_advantage_exactly_0(reward, group, dtype):
    """What rounding leaves of a mean would be divided by its own size, or made a step of full length by Adam."""
    rewards = torch.tensor([reward] * group + [2 * reward] * group, dtype=dtype)
    for found in (
        leave_one_out(rewards, group),
        group_normalised(rewards, group),
        group_normalised(rewards, group, by_sd=False),
    ):
        assert (found == 0).all()


def test_rewards_that_differ_by_rounding_count_as_equal_when_divided_by_their_spread():
    rewards = torch.tensor([1.0, 1.0 + 1.2e-7, 1.0, 1.0], dtype=torch.float32)
    assert (group_normalised(rewards, 4) == 0).all()
    assert (group_normalised(torch.tensor([1.0, 1.001, 1.0, 1.0]), 4) != 0).all()


def test_what_is_known_to_be_rounding_is_not_divided_by_its_own_spread():
    """Rewards of 0 less a penalty of some 1e-9: the error of a KL that is 0."""
    noise = torch.tensor([1e-9, -2e-9, 0.0, 3e-9], dtype=torch.float64)
    mask = torch.ones(2, 2, dtype=torch.bool)
    assert (group_normalised(noise, 4, rounding=1e-8) == 0).all()
    assert batch_normalised(noise.reshape(2, 2), mask, rounding=1e-8)[1] == 1.0
    assert float(group_normalised(1e3 * noise, 4, rounding=1e-8).std()) == pytest.approx(1.0)
    assert batch_normalised(1e3 * noise.reshape(2, 2), mask, rounding=1e-8)[1] == pytest.approx(1.8027756e-6)


@pytest.mark.parametrize(("count", "group"), [(5, 2), (4, 1), (3, 4)])
def test_rewards_that_are_no_groups_are_refused(count, group):
    for function in (leave_one_out, group_normalised):
        with pytest.raises(ShapeError, match=f"{count} rewards are no groups of {group}"):
            function(torch.zeros(count), group)


@FAST
@given(ragged())
def test_batch_moments_are_those_of_reply_tokens_alone(case):
    advantage, _, mask = case
    values = advantage[mask].tolist()
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    found, unit = batch_normalised(advantage, mask)
    assert (found[~mask] == 0).all()
    if len(values) == 1:
        assert unit == 1.0
        assert (found == 0).all()
    else:
        assert unit == pytest.approx(sd, rel=1e-9)
        assert found[mask].tolist() == pytest.approx([(value - mean) / sd for value in values], abs=1e-9)


def test_batch_of_equal_advantages_is_0_and_damage_is_not_hidden():
    mask = torch.ones(2, 3, dtype=torch.bool)
    found, unit = batch_normalised(torch.full((2, 3), 0.1), mask)
    assert (found == 0).all()
    assert unit == 1.0
    damaged = torch.tensor([[0.0, 1.0, math.inf], [0.0, 1.0, 2.0]])
    assert torch.isnan(batch_normalised(damaged, mask)[0]).any()


@FAST
@given(ragged(), st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_generalised_advantage_is_the_discounted_sum_of_surprises(case, gamma, lam):
    """Schulman et al. 2016, eq. 16, as a double sum; after the last token of a reply nothing is earned or expected."""
    reward, value, mask = case
    advantage, returns = generalised(reward, value, mask, gamma=gamma, lam=lam)
    for row in range(len(mask)):
        r, v = reward[row, mask[row]].tolist(), [*value[row, mask[row]].tolist(), 0.0]
        for t in range(len(r)):
            surprises = [
                (gamma * lam) ** (later - t) * (r[later] + gamma * v[later + 1] - v[later])
                for later in range(t, len(r))
            ]
            assert float(advantage[row, t]) == pytest.approx(math.fsum(surprises), abs=1e-8)
            assert float(returns[row, t]) == pytest.approx(math.fsum(surprises) + v[t], abs=1e-8)
    assert (advantage[~mask] == 0).all()
    assert (returns[~mask] == 0).all()


def test_with_lambda_1_the_return_is_the_sum_of_what_is_still_earned():
    """Also of a reply that was cut: its last token is the last reward there is."""
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    mask = torch.tensor([[True, True, True, False]])
    _, returns = generalised(reward, torch.tensor([[5.0, -3.0, 2.0, 9.0]]), mask, gamma=0.5, lam=1.0)
    assert returns.tolist() == [[1 + 1 + 1, 2 + 2, 4, 0]]


def test_score_lands_on_the_last_real_token():
    """TRL's PPO has put it on the first padding token, where nothing earns it."""
    mask = torch.tensor([[True, False, False], [True, True, True], [True, True, False]])
    found = at_last_token(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), mask)
    assert found.tolist() == [[1, 0, 0], [0, 0, 2], [0, 3, 0]]
    assert found.dtype == torch.float64


def test_what_others_say_between_two_turns_takes_no_time():
    """Taking the places of an environment out of the row first gives the same numbers at the policy's own tokens."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        mask = torch.from_numpy(rng.random((3, 9)) < 0.6)
        mask[:, 4] = True
        reward, value = (torch.from_numpy(rng.normal(size=mask.shape)) for _ in range(2))
        score = torch.from_numpy(rng.normal(size=3))
        found, returns = generalised(reward, value, mask, gamma=0.9, lam=0.8)
        last = at_last_token(score, mask)
        assert bool((found[~mask] == 0).all() and (returns[~mask] == 0).all() and (last[~mask] == 0).all())
        for row in range(3):
            own = mask[row]
            whole = torch.ones((1, int(own.sum())), dtype=torch.bool)
            alone, its = generalised(reward[row, own][None], value[row, own][None], whole, gamma=0.9, lam=0.8)
            assert torch.allclose(found[row, own], alone[0])
            assert torch.allclose(returns[row, own], its[0])
            assert torch.allclose(last[row, own], at_last_token(score[row : row + 1], whole)[0])
