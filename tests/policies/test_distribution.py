"""From logits to the distribution that is sampled, and from a uniform number to a token of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.language_models import normalised, truncated
from scipy.stats import chi2

from overopt.errors import NonFiniteError
from overopt.policies.distribution import filtered
from overopt.policies.sampler import draw
from overopt.stats.sampling import SamplerSettings, sampler_logprobs

CHANCE = 1e-6
"""How often a correct sampler may fail a test of frequencies under another seed."""


@st.composite
def logits(draw_from):
    """A few levels, so that ties are common; some tokens ruled out, not all."""
    levels = draw_from(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, -np.inf]), min_size=1, max_size=9))
    levels.insert(draw_from(st.integers(0, len(levels))), 0.25)
    return np.array(levels)


settings = st.builds(
    SamplerSettings,
    temperature=st.sampled_from([1.0, 0.5, 2.0]),
    top_k=st.none() | st.integers(1, 10),
    top_p=st.sampled_from([1.0, 0.999, 0.9, 0.6, 0.31, 0.05, 1e-6]),
)


@given(logits(), settings)
def test_the_torch_twin_agrees_with_the_one_in_numpy(row, chosen):
    """Ties included: all that tie with the last one by top-k, the first by top-p. Where the two sum to within
    rounding of ``top_p`` either is right, so such cases are left out."""
    expected = sampler_logprobs(row, chosen)
    found = torch.log_softmax(filtered(torch.tensor(row)[None], chosen), -1)[0].numpy()
    whole = np.exp(sampler_logprobs(row, SamplerSettings(temperature=chosen.temperature, top_k=chosen.top_k)))
    reached = np.cumsum(np.sort(whole)[::-1])
    if chosen.top_p < 1 and np.abs(reached - chosen.top_p).min() < 1e-6:
        return
    assert np.array_equal(found == -np.inf, expected == -np.inf)
    assert found == pytest.approx(expected, abs=1e-6)
    slow = truncated(normalised(row / chosen.temperature), top_k=chosen.top_k, top_p=chosen.top_p)
    assert slow == pytest.approx(expected, abs=1e-9)


def test_ties_at_the_border_are_kept_by_top_k_and_cut_by_top_p():
    row = torch.tensor([[1.0, 2.0, 1.0, 1.0, 0.0]])
    assert (filtered(row, SamplerSettings(top_k=2)) > -torch.inf).tolist() == [[True, True, True, True, False]]
    even = torch.zeros((1, 4))
    assert (filtered(even, SamplerSettings(top_p=0.4)) > -torch.inf).tolist() == [[True, True, False, False]]


def test_half_precision_is_widened_first():
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    found = filtered(row, SamplerSettings(temperature=0.7))
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([1 / 0.7, 2 / 0.7, 3 / 0.7], abs=1e-6)


def test_logits_that_nothing_changes_are_not_copied():
    row = torch.randn(2, 5)
    assert filtered(row, SamplerSettings()).data_ptr() == row.data_ptr()


def evenly(n: int) -> torch.Tensor:
    """Uniform numbers from a generator of their own."""
    return torch.from_numpy(np.random.default_rng(7).random(n))


def chi_square_excess(counts: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's statistic over its ``CHANCE`` quantile; cells that expect fewer than 5 are put together."""
    expected = counts.sum() * probability
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / chi2.ppf(1 - CHANCE, len(counts) - 1))


def test_a_vocabulary_of_100_000_is_drawn_as_often_as_it_should_be():
    """Likely tokens one by one and all of them in neighbourhoods of 1,000; a fifth is ruled out."""
    vocabulary, n_draws = 100_000, 2_000
    generator = torch.Generator().manual_seed(0)
    row = 2.5 * torch.randn(vocabulary, generator=generator)
    row[torch.rand(vocabulary, generator=generator) < 0.2] = -torch.inf
    probability = np.exp(normalised(row.double().numpy()))
    counts = np.zeros(vocabulary)
    for part in evenly(n_draws).split(20):
        counts += np.bincount(draw(row.expand(len(part), -1), part)[0].numpy(), minlength=vocabulary)
    assert counts[probability == 0].sum() == 0
    assert chi_square_excess(counts, probability) < 1
    assert chi_square_excess(np.roll(counts, 1), probability) > 1, "the test cannot tell tokens apart"
    near_counts, near = counts.reshape(-1, 1_000).sum(1), probability.reshape(-1, 1_000).sum(1)
    assert chi_square_excess(near_counts, near) < 1
    assert chi_square_excess(np.roll(near_counts, 1), near) > 1


@pytest.mark.parametrize("vocabulary", [1, 2, 15, 16, 17, 256, 300, 1_000])
def test_the_token_is_the_one_where_the_cumulative_probability_passes(vocabulary):
    """Against a cumulative sum in float64, except within rounding of a border."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits_BV = 2 * torch.randn((200, vocabulary), generator=generator)
    if vocabulary > 2:
        logits_BV[torch.rand(logits_BV.shape, generator=generator) < 0.3] = -torch.inf
        logits_BV[:, vocabulary // 2] = 0.0
    uniform_B = evenly(200)
    token_B, logprob_B, entropy_B = draw(logits_BV, uniform_B)
    for row in range(200):
        logprob_V = normalised(logits_BV[row].double().numpy())
        ends = np.cumsum(np.exp(logprob_V))
        token = int(token_B[row])
        begins = ends[token - 1] if token else 0.0
        assert begins - 1e-6 <= float(uniform_B[row]) <= ends[token] + 1e-6
        assert logprob_V[token] > -np.inf
        assert float(logprob_B[row]) == pytest.approx(logprob_V[token], abs=1e-6)
        finite = logprob_V[logprob_V > -np.inf]
        assert float(entropy_B[row]) == pytest.approx(-(np.exp(finite) * finite).sum(), abs=2e-6)


@pytest.mark.parametrize("level", [0.0, -100.0, 1_000.0])
def test_a_level_that_all_logits_share_costs_no_digits(level):
    """Some models' logits all lie near -100; their differences are what counts."""
    logits_BV = 3 * torch.randn((20, 5_000), generator=torch.Generator().manual_seed(0)) + level
    token_B, logprob_B, entropy_B = draw(logits_BV, evenly(20))
    for row in range(20):
        logprob_V = normalised(logits_BV[row].double().numpy())
        assert float(logprob_B[row]) == pytest.approx(logprob_V[token_B[row]], abs=1e-6)
        assert float(entropy_B[row]) == pytest.approx(-(np.exp(logprob_V) * logprob_V).sum(), abs=2e-6)


EXTREMES = (0.0, 5e-324, 2**-53, 0.5, 1 - 2**-25, 1 - 2**-53)


@pytest.mark.parametrize("vocabulary", [3, 40, 5_003])
@pytest.mark.parametrize("possible", ["first", "middle", "last", "two"])
def test_extreme_uniform_numbers_choose_possible_tokens(vocabulary, possible):
    places = {"first": [0], "middle": [vocabulary // 2], "last": [vocabulary - 1], "two": [1, vocabulary - 2]}[possible]
    row = torch.full((vocabulary,), -torch.inf)
    row[places] = torch.tensor([0.3, 0.7][: len(places)]).log()
    uniform_B = torch.tensor(EXTREMES, dtype=torch.float64)
    token_B, logprob_B, _ = draw(row.expand(len(uniform_B), -1).clone(), uniform_B)
    assert set(token_B.tolist()) <= set(places)
    assert token_B[0] == places[0]
    assert token_B[-1] == places[-1]
    assert torch.isfinite(logprob_B).all()


def test_a_uniform_number_that_single_precision_rounds_to_1_chooses_the_last():
    """Some devices have nothing wider."""
    row = torch.tensor([[0.1, 0.7, 0.2, 0.0]]).log()
    assert torch.tensor(1 - 2**-53, dtype=torch.float32) == 1
    assert draw(row, torch.ones(1, dtype=torch.float32))[0].tolist() == [2]


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.29999, 1), (0.30001, 3), (1 - 2**-53, 3)])
def test_the_border_between_two_tokens(uniform, token):
    row = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).log()
    assert draw(row, torch.tensor([uniform], dtype=torch.float64))[0].tolist() == [token]


def test_a_token_beside_one_that_is_certain_can_still_be_drawn():
    """e^-100 of the largest: its weight is a number, and the uniform number 0 lies in it."""
    row = torch.tensor([[-80.0, 20.0]])
    token, logprob, entropy = draw(row, torch.zeros(1, dtype=torch.float64))
    assert token.tolist() == [0]
    assert logprob.tolist() == pytest.approx([-100.0], abs=1e-6)
    assert entropy.tolist() == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_what_is_no_distribution_is_reported(damage):
    row = torch.tensor([[0.0, damage, 1.0]])
    with pytest.raises(NonFiniteError, match="not finite while sampling"):
        draw(row, torch.tensor([0.5], dtype=torch.float64))


def test_a_row_without_a_possible_token_is_reported():
    with pytest.raises(NonFiniteError, match="not finite while sampling"):
        draw(torch.full((1, 5), -torch.inf), torch.tensor([0.5], dtype=torch.float64))


def test_the_logits_are_left_alone():
    row = torch.randn(3, 50)
    before = row.clone()
    draw(row, torch.full((3,), 0.5, dtype=torch.float64))
    assert torch.equal(row, before)
