import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import divergences as oracle
from oracles import ranking as ranking_oracle

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.divergences import (
    chi_square_policy_reference,
    kl_per_token_policy_reference,
    kl_policy_reference,
    kl_reference_policy_from_policy_samples,
    kl_reference_policy_from_reference_samples,
    squared_hellinger_policy_reference,
)
from overopt.stats.kl import exact_token_kl, k1, k2, k3, sequence_sums
from overopt.stats.sampling import (
    SamplerSettings,
    check_finite_kl,
    check_same_distribution,
    sampler_logprobs,
    sampling_audit,
)

POLICY = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
REFERENCE = np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3]])


def exact_kl():
    """KL of whole responses of three tokens, each from its own row of the table."""
    return float(np.sum(POLICY * np.log(POLICY / REFERENCE)))


def sampled_log_probs(count):
    rng = np.random.default_rng(0)
    tokens = np.stack([rng.choice(3, size=count, p=row) for row in POLICY], axis=1)
    position = np.arange(3)
    return np.log(POLICY)[position, tokens], np.log(REFERENCE)[position, tokens]


def z_score(values, truth):
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))


def test_k1_and_k3_have_the_exact_kl_as_mean_and_k2_has_not():
    """Public code calls the mean absolute log-ratio "kl3", and logs k2 under the name of the KL."""
    policy, reference = sampled_log_probs(200_000)
    mask = np.ones_like(policy, dtype=bool)
    sums = sequence_sums(policy, mask), sequence_sums(reference, mask)
    assert abs(z_score(k1(*sums), exact_kl())) < 4
    assert abs(z_score(k3(*sums), exact_kl())) < 4
    assert abs(z_score(k2(*sums), exact_kl())) > 10
    assert k3(*sums).var() < k1(*sums).var()


def test_swapping_the_roles_is_seen():
    policy, reference = sampled_log_probs(50_000)
    policy_B, reference_B = policy.sum(axis=1), reference.sum(axis=1)
    assert abs(z_score(k1(reference_B, policy_B), exact_kl())) > 20
    assert abs(z_score(k3(reference_B, policy_B), exact_kl())) > 20


def test_a_mean_over_tokens_is_not_the_kl_of_responses():
    policy, reference = sampled_log_probs(50_000)
    assert abs(z_score(k1(policy.mean(axis=1), reference.mean(axis=1)), exact_kl())) > 20


@given(st.lists(st.tuples(st.floats(-50, 0), st.floats(-50, 0)), min_size=1, max_size=8))
def test_values_are_schulmans_formulas(pairs):
    policy, reference = np.array(pairs).T
    for i, (p, q) in enumerate(pairs):
        ratio = math.exp(q - p)
        assert k1(policy, reference)[i] == pytest.approx(p - q)
        assert k2(policy, reference)[i] == pytest.approx((p - q) ** 2 / 2)
        assert k3(policy, reference)[i] == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-9, abs=1e-9)
    assert (k3(policy, reference) >= 0).all()


def test_small_differences_keep_their_digits():
    assert k3([-10.0], [-10.0 - 2e-9])[0] == pytest.approx(2e-18, rel=0.3)


def test_nothing_is_clamped_far_from_the_reference():
    """Public code clamps each log-ratio at 0, ±10 or ±20 and so saturates where over-optimization lives."""
    assert k1([-10.0], [-500.0]) == [490.0]
    assert k1([-20.0], [-10.0]) == [-10.0]
    assert k3([-500.0], [-10.0])[0] == pytest.approx(math.exp(490))
    assert k3([-2000.0], [-10.0]) == [math.inf]
    assert k1([-1.0], [-math.inf]) == [math.inf]
    assert k2([-1.0], [-math.inf]) == [math.inf]
    assert k3([-1.0], [-math.inf]) == [math.inf]


@given(st.integers(0, 1000), st.integers(0, 4), st.sampled_from([np.nan, np.inf, 1.0, -1e9]))
def test_padding_of_any_side_amount_and_content_changes_nothing(seed, width, sentinel):
    """Public code sums a sentinel of 1.0 at padded positions into the entropy."""
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(3, 4)), rng.random((3, 4)) > 0.3
    expected = [sum(v for v, keep in zip(*row, strict=True) if keep) for row in zip(values, mask, strict=True)]
    hidden = np.where(mask, values, sentinel)
    padding, unseen = np.full((3, width), sentinel), np.zeros((3, width), dtype=bool)
    for before, after in ((True, False), (False, True)):
        padded = np.hstack([padding] * before + [hidden] + [padding] * after)
        padded_mask = np.hstack([unseen] * before + [mask] + [unseen] * after)
        np.testing.assert_allclose(sequence_sums(padded, padded_mask), expected, atol=1e-12)
        np.testing.assert_array_equal(
            sequence_sums(padded, padded_mask.astype(int)), sequence_sums(padded, padded_mask)
        )


def test_unusable_input_is_refused():
    with pytest.raises(ShapeError, match="one shape"):
        sequence_sums([[1.0, 2.0]], [[True]])
    with pytest.raises(DataError, match="0 and 1"):
        sequence_sums([[1.0, 2.0]], [[0.5, 1.0]])
    with pytest.raises(ShapeError, match="one shape"):
        k1([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="nan"):
        k3([-1.0], [np.nan])
    with pytest.raises(DataError, match="policy_logprob holds 1"):
        k1([-math.inf], [-1.0])


@pytest.fixture(scope="module")
def world():
    """Policy and reference over all responses of at most three tokens: tables, log-probs, KL of every kind."""
    rng = random.Random(3)
    length = 3
    policy, reference = oracle.random_model(rng, 3, length), oracle.random_model(rng, 3, length)
    listed = oracle.responses(policy, length)
    return SimpleNamespace(
        length=length,
        policy=policy,
        reference=reference,
        tokens=[tokens for tokens, _ in listed],
        p=np.array([p for _, p in listed]),
        log_p=np.log([p for _, p in listed]),
        log_q=np.log([oracle.probability(reference, tokens) for tokens, _ in listed]),
        kl=oracle.kl(policy, reference, length),
        reverse=oracle.kl(reference, policy, length),
    )


def rows_of(table, world):
    """Next-token log-probs at every visited position (B, T, V), and the mask of visited ones; junk elsewhere."""
    logprobs = np.full((len(world.tokens), world.length, 3), np.nan)
    mask = np.zeros(logprobs.shape[:2], dtype=bool)
    for b, tokens in enumerate(world.tokens):
        for t in range(len(tokens)):
            logprobs[b, t], mask[b, t] = np.log(table[tokens[:t]]), True
    return logprobs, mask


def expectation(value_of, world):
    """Exact mean, under policy samples, of what a function of one response returns."""
    values = [value_of([p], [q]) for p, q in zip(world.log_p, world.log_q, strict=True)]
    return float(world.p @ np.array(values))


def test_every_estimator_has_the_right_mean_over_all_responses(world):
    """Public code mislabels estimators, flips their sign, or reports another divergence: traps 10 and 16."""
    assert world.p.sum() == pytest.approx(1, abs=1e-12)
    assert expectation(lambda p, q: kl_policy_reference(p, q).k1.value, world) == pytest.approx(world.kl, abs=1e-12)
    assert expectation(lambda p, q: kl_policy_reference(p, q).k3.value, world) == pytest.approx(world.kl, abs=1e-12)
    assert expectation(lambda p, q: kl_policy_reference(p, q).k2.value, world) != pytest.approx(world.kl, rel=0.02)
    from_policy = kl_reference_policy_from_policy_samples
    assert expectation(lambda p, q: from_policy(p, q).ratio.value, world) == pytest.approx(world.reverse, abs=1e-12)
    assert expectation(lambda p, q: from_policy(p, q).bregman.value, world) == pytest.approx(world.reverse, abs=1e-12)
    assert expectation(lambda p, q: from_policy(p, q).mean_ratio.value, world) == pytest.approx(1, abs=1e-12)
    chi_square = oracle.chi_square(world.policy, world.reference, world.length)
    found = expectation(lambda p, q: chi_square_policy_reference(p, q).estimate.value, world)
    assert found == pytest.approx(chi_square, abs=1e-12)
    hellinger = oracle.squared_hellinger(world.policy, world.reference, world.length)
    found = expectation(lambda p, q: squared_hellinger_policy_reference(p, q).value, world)
    assert found == pytest.approx(hellinger, abs=1e-12)


def test_the_reverse_kl_from_reference_samples(world):
    q = np.exp(world.log_q)
    each = [kl_reference_policy_from_reference_samples([a], [b]) for a, b in zip(world.log_p, world.log_q, strict=True)]
    assert q @ [e.k1.value for e in each] == pytest.approx(world.reverse, abs=1e-12)
    assert q @ [e.k3.value for e in each] == pytest.approx(world.reverse, abs=1e-12)
    assert {e.direction for e in each} == {"reference||policy"}
    # The policy may rule out what the reference drew.
    found = kl_reference_policy_from_reference_samples([-math.inf, -1.0], [-1.0, -1.0])
    assert (found.k1.value, found.ruled_out) == (math.inf, 0.5)
    with pytest.raises(DataError, match="reference_logprob holds 1"):
        kl_reference_policy_from_reference_samples([-1.0], [-math.inf])


def test_exact_token_kl_has_the_kl_of_responses_as_mean_and_the_least_variance(world):
    (policy, mask), (reference, _) = rows_of(world.policy, world), rows_of(world.reference, world)
    exact = exact_token_kl(policy, reference, mask)
    assert world.p @ exact == pytest.approx(world.kl, abs=1e-12)
    by_hand = [
        sum(
            sum(a * math.log(a / b) for a, b in zip(world.policy[y[:t]], world.reference[y[:t]], strict=True))
            for t in range(len(y))
        )
        for y in world.tokens
    ]
    np.testing.assert_allclose(exact, by_hand, rtol=0, atol=1e-12)
    k1_variance = world.p @ (k1(world.log_p, world.log_q) - world.kl) ** 2
    assert world.p @ (exact - world.kl) ** 2 < k1_variance
    swapped = world.p @ exact_token_kl(reference, policy, mask)
    assert swapped != pytest.approx(world.kl, rel=0.01)
    assert swapped != pytest.approx(world.reverse, rel=0.01)  # the reverse KL needs the reference's own paths


def test_exact_token_kl_where_probabilities_are_zero():
    half, sure = np.log([0.5, 0.5]), np.array([0.0, -np.inf])
    assert exact_token_kl([[sure]], [[half]], [[1]])[0] == pytest.approx(math.log(2))
    assert exact_token_kl([[half]], [[sure]], [[1]]) == [math.inf]
    assert exact_token_kl([[sure]], [[sure]], [[1]]) == [0.0]
    assert exact_token_kl([[half, sure]], [[sure, sure]], [[0, 1]]) == [0.0]
    # Rare beyond the smallest float, but possible: the KL is infinite all the same.
    assert exact_token_kl([[[0.0, -800.0]]], [[sure]], [[1]]) == [math.inf]
    assert exact_token_kl([[[0.0, -800.0]]], [[[0.0, -900.0]]], [[1]])[0] == pytest.approx(0, abs=1e-300)
    assert exact_token_kl(np.zeros((2, 0, 3)), np.zeros((2, 0, 3)), np.zeros((2, 0))) == pytest.approx([0, 0])


def test_exact_token_kl_keeps_digits_where_policy_and_reference_almost_agree():
    shift = 1e-9
    policy, reference = np.log([0.5, 0.5]), np.log([0.5 + shift, 0.5 - shift])
    # Second order: sum of shift² / (2 p).
    assert exact_token_kl([[policy]], [[reference]], [[1]])[0] == pytest.approx(2 * shift**2, rel=1e-6)
    # An error of normalisation by 1e-5, as float32 leaves, enters squared.
    assert abs(exact_token_kl([[policy + 1e-5]], [[policy]], [[1]])[0]) < 1e-9


def test_exact_token_kl_refuses_what_is_no_distribution():
    good = np.log([[[0.5, 0.5]]])
    with pytest.raises(DataError, match="sums to"):
        exact_token_kl(good - 0.1, good, [[1]])
    with pytest.raises(DataError, match="reference_logprobs of response 0 are no distribution"):
        exact_token_kl(good, np.log([[[0.5, 0.4]]]), [[1]])
    with pytest.raises(DataError, match="nan"):
        exact_token_kl(good * np.nan, good, [[1]])
    with pytest.raises(ShapeError, match=r"\(B, T, V\)"):
        exact_token_kl(good[0], good[0], [1])
    with pytest.raises(ConfigError, match="tolerance"):
        exact_token_kl(good, good, [[1]], tolerance=0)
    assert exact_token_kl(good.astype(np.float32), good, [[1]])[0] == pytest.approx(0, abs=1e-12)


def test_a_clamped_log_ratio_is_biased_up_and_ours_is_not(world):
    """Trap 9: each log-ratio clamped at 0, or the k3 log-ratio at ±20 and its value at 10."""
    clamped = world.p @ np.maximum(world.log_p - world.log_q, 0)
    assert clamped > 1.2 * world.kl
    assert expectation(lambda p, q: kl_policy_reference(p, q).k1.value, world) < clamped - 0.05
    far = kl_policy_reference([-1.0, -1.0], [-61.0, -1.0])
    assert far.k1.value == pytest.approx(30)
    assert far.k3.value == pytest.approx((60 - 1 + math.exp(-60)) / 2)


def test_the_mean_absolute_log_ratio_is_not_k3(world):
    """Trap 10: public code logs it as "kl3"."""
    absolute = world.p @ np.abs(world.log_p - world.log_q)
    assert absolute > 1.2 * world.kl
    assert world.p @ k3(world.log_p, world.log_q) == pytest.approx(world.kl, abs=1e-12)


def test_per_token_kl_goes_down_when_responses_grow_longer_and_is_named_so():
    """Trap 13: a mean over tokens where the sum is meant."""
    short = kl_per_token_policy_reference([-5.0, -5.0], [-9.0, -9.0], [4, 4])
    long = kl_per_token_policy_reference([-50.0, -50.0], [-58.0, -58.0], [16, 16])
    assert (short.value, long.value) == (1.0, 0.5)
    assert "per token" in short.method
    unequal = kl_per_token_policy_reference([-5.0, -5.0, -2.0], [-9.0, -7.0, -2.0], [4, 1, 5], prompt=[1, 1, 2])
    assert unequal.value == pytest.approx(6 / 10)
    assert unequal.stderr == pytest.approx(ranking_oracle.ratio_stderr([4, 2, 0], [4, 1, 5], [1, 1, 2]))
    with pytest.raises(DataError, match="n_tokens"):
        kl_per_token_policy_reference([-1.0], [-1.0], [0.5])


def test_negative_k1_stays_negative_and_a_heavy_tail_is_flagged():
    """Trap 14: abs() hides an error of sign; k3 spikes where the reference knows responses that the policy avoids."""
    assert kl_policy_reference([-3.0, -2.0], [-1.0, -2.5]).k1.value == -0.75
    mild = kl_policy_reference(np.full(100, -5.0), np.full(100, -5.5))
    assert not mild.tail.is_carried_by_few
    assert mild.tail.effective_responses == pytest.approx(100)
    log_q = np.full(100, -20.0)
    log_q[7] = -3.0
    spiked = kl_policy_reference(np.full(100, -10.0), log_q)
    assert spiked.tail.is_carried_by_few
    assert spiked.tail.largest == pytest.approx(math.exp(7))
    assert spiked.tail.effective_responses == pytest.approx(1, abs=0.1)
    overflow = kl_policy_reference([-2000.0, -1.0], [-1.0, -1.0])
    assert (overflow.k3.value, overflow.tail.largest, overflow.tail.log_largest) == (math.inf, math.inf, 1999.0)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_step_against_the_gradient_of_k1_reduces_the_kl(shift):
    """Trap 16: releases that maximised the KL. The score-function gradient weighs each response by its k1."""
    rng = np.random.default_rng(5)
    logits, reference = rng.normal(size=4), np.log(rng.dirichlet(np.ones(4)))

    def logprob(z):
        return z - np.log(np.exp(z).sum())

    def kl(z):
        return exact_token_kl([[logprob(z)]], [[reference]], [[1]])[0]

    p = np.exp(logprob(logits))
    weights = k1(logprob(logits), reference) + shift  # a constant changes nothing: the mean score is 0
    gradient = (p * weights) @ (np.eye(4) - p)
    finite = [(kl(logits + 1e-6 * e) - kl(logits - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    np.testing.assert_allclose(gradient, finite, atol=1e-8)
    assert kl(logits - 0.1 * gradient) < kl(logits) < kl(logits + 0.1 * gradient)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 0), st.floats(-9, 0)), min_size=1, max_size=12))
def test_every_prompt_counts_once_and_its_responses_share_the_weight(rows):
    prompts = [f"p{i}" for i, _, _ in rows]
    log_p, log_q = np.array([(p, q) for _, p, q in rows]).T
    exact = np.abs(log_p)
    found = kl_policy_reference(log_p, log_q, prompt=prompts, exact=exact)
    names = sorted(set(prompts))
    for estimate, values in ((found.k1, k1(log_p, log_q)), (found.k2, k2(log_p, log_q)), (found.exact, exact)):
        means = [np.mean([v for v, name in zip(values, prompts, strict=True) if name == n]) for n in names]
        assert estimate.value == pytest.approx(np.mean(means), abs=1e-12)
        assert (estimate.n_units, estimate.unit) == (len(names), "prompt")
        if len(names) > 1:
            assert estimate.stderr == pytest.approx(np.std(means, ddof=1) / math.sqrt(len(names)), abs=1e-9)
        else:
            assert math.isnan(estimate.stderr)
    assert (found.prompts, found.responses) == (len(names), len(rows))
    alone = kl_policy_reference(log_p, log_q)
    assert alone.k1.unit == "response"
    assert alone.k1.value == pytest.approx(k1(log_p, log_q).mean())
    assert alone.exact is None


def test_what_the_reference_rules_out_is_infinite_and_counted():
    found = kl_policy_reference([-1.0, -2.0, -1.0, -3.0], [-1.5, -np.inf, -1.0, -3.5], prompt=[1, 1, 2, 2])
    assert (found.k1.value, found.k2.value, found.k3.value) == (math.inf,) * 3
    assert math.isnan(found.k1.stderr)
    assert found.ruled_out == 0.25
    assert math.isfinite(found.mean_ratio.value)
    hellinger = squared_hellinger_policy_reference([-1.0, -2.0], [-1.0, -np.inf])
    assert hellinger.value == 0.5
    assert chi_square_policy_reference([-1.0, -2.0], [-1.0, -np.inf]).estimate.value == math.inf
    reverse = kl_reference_policy_from_policy_samples([-1.0, -2.0], [-1.0, -np.inf])
    assert (reverse.ratio.value, reverse.bregman.value, reverse.mean_ratio.value) == (0.0, 0.5, 0.5)
    empty = kl_policy_reference([], [])
    assert math.isnan(empty.k1.value)
    assert (empty.responses, empty.prompts) == (0, 0)


def test_importance_ratios_far_out_and_near_one_keep_their_digits():
    near = kl_reference_policy_from_policy_samples([-5.0], [-5.0 + 1e-7])
    assert near.bregman.value == pytest.approx(5e-15, rel=1e-2)
    far = kl_reference_policy_from_policy_samples([-20.0], [-2.0])
    r = math.exp(18)
    assert far.ratio.value == pytest.approx(r * 18)
    assert far.bregman.value == pytest.approx(r * 18 - r + 1)
    assert kl_reference_policy_from_policy_samples([-2000.0], [-2.0]).bregman.value == math.inf


def test_the_divergences_obey_their_inequalities(world):
    """H² <= KL and KL <= ln(1 + χ²), with the estimators' exact means."""
    kl = expectation(lambda p, q: kl_policy_reference(p, q).k1.value, world)
    chi_square = expectation(lambda p, q: chi_square_policy_reference(p, q).estimate.value, world)
    hellinger = expectation(lambda p, q: squared_hellinger_policy_reference(p, q).value, world)
    assert 0 < hellinger < kl < math.log1p(chi_square)


SEVEN = SamplerSettings(temperature=0.7, top_p=0.9)


def test_log_probs_of_another_distribution_than_the_sampled_one_are_refused():
    """Trap 11: sampled at temperature .7 with top-p .9, measured at temperature 1."""
    whole = SamplerSettings()
    with pytest.raises(DataError, match=r"sampled with temperature=0.7, top_p=0.9 .*computed with temperature=1.0"):
        check_same_distribution(SEVEN, whole)
    with pytest.raises(DataError, match="top_k=5"):
        check_same_distribution(whole, SamplerSettings(top_k=5))
    check_same_distribution(SEVEN, SamplerSettings(temperature=0.7, top_p=0.9))
    with pytest.raises(DataError, match="no policy that was sampled"):
        kl_policy_reference([-1.0], [-1.0], sampled=SEVEN, scored=whole)
    with pytest.raises(ConfigError, match="both"):
        kl_policy_reference([-1.0], [-1.0], sampled=SEVEN)
    truncated = kl_policy_reference([-1.0], [-2.0], sampled=SEVEN, scored=SEVEN)
    assert truncated.k1.value == 1
    assert math.isnan(truncated.k3.value)  # its mean is below the KL by what is never drawn
    assert not math.isnan(kl_policy_reference([-1.0], [-2.0], sampled=whole, scored=whole).k3.value)


def test_k3_of_a_truncated_policy_is_low_by_the_missing_mass_and_k1_is_right():
    policy = np.exp(sampler_logprobs(np.log([0.5, 0.3, 0.2]), SamplerSettings(top_k=2)))[:2]
    reference = np.array([0.2, 0.3, 0.5])[:2]
    kl = float(policy @ np.log(policy / reference))
    assert policy @ k1(np.log(policy), np.log(reference)) == pytest.approx(kl, abs=1e-12)
    assert policy @ k3(np.log(policy), np.log(reference)) == pytest.approx(kl - 0.5, abs=1e-12)


def test_truncation_makes_one_direction_infinite():
    whole = SamplerSettings()
    check_finite_kl(SEVEN, whole, direction="policy||reference")
    check_finite_kl(whole, SEVEN, direction="reference||policy")
    for policy, reference, direction in (
        (SEVEN, whole, "reference||policy"),
        (whole, SEVEN, "policy||reference"),
        (SEVEN, SEVEN, "policy||reference"),
    ):
        with pytest.raises(DataError, match="infinite"):
            check_finite_kl(policy, reference, direction=direction)
    with pytest.raises(ConfigError, match="direction"):
        check_finite_kl(whole, whole, direction="both")


@pytest.mark.parametrize(
    "setting",
    [{"temperature": 0.0}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 0}, {"top_k": 1.5}],
)
def test_settings_that_no_sampler_has_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SamplerSettings(**setting)


@given(st.integers(0, 10**6), st.floats(0.3, 2), st.floats(0.1, 1), st.integers(1, 7))
def test_sampler_log_probs_are_those_of_temperature_top_k_and_top_p(seed, temperature, top_p, top_k):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(6))
    expected = oracle.kept_by_sampler(list(probabilities), temperature, top_p, top_k)
    settings = SamplerSettings(temperature=temperature, top_p=top_p, top_k=top_k)
    found = sampler_logprobs(np.log(probabilities)[None] + 3, settings)
    np.testing.assert_allclose(np.exp(found[0]), expected, atol=1e-9)


def sampled_tokens(rng, count, sampled, scored):
    """Tokens drawn with one setting: their log-probs, and the entropies, under another, at random positions."""
    logits = rng.normal(size=(count, 12, 20)) * 2
    drawn_from = np.exp(sampler_logprobs(logits, sampled))
    claimed = sampler_logprobs(logits, scored)
    token = (np.cumsum(drawn_from, axis=-1) < rng.random((count, 12, 1))).sum(axis=-1).clip(max=19)
    p = np.exp(claimed)
    entropy = -np.where(p > 0, p * np.where(p > 0, claimed, 0), 0).sum(axis=-1)
    mask = np.arange(12) < rng.integers(1, 13, size=(count, 1))
    return np.take_along_axis(claimed, token[..., None], axis=-1)[..., 0], entropy, mask


def test_the_audit_sees_a_wrong_temperature_and_undeclared_truncation():
    rng = np.random.default_rng(8)
    whole = SamplerSettings()
    honest = sampling_audit(*sampled_tokens(rng, 300, whole, whole))
    assert honest.verdict == "as_claimed"
    assert abs(honest.z) < 3.3
    assert honest.responses == 300
    colder = sampling_audit(*sampled_tokens(rng, 300, SamplerSettings(temperature=0.7), whole))
    hotter = sampling_audit(*sampled_tokens(rng, 300, SamplerSettings(temperature=1.4), whole))
    nucleus = sampling_audit(*sampled_tokens(rng, 300, SamplerSettings(top_p=0.9), whole))
    assert (colder.verdict, hotter.verdict, nucleus.verdict) == ("too_likely", "too_unlikely", "too_likely")
    assert colder.excess.value < 0 < hotter.excess.value
    impossible = sampling_audit(*sampled_tokens(rng, 300, whole, SamplerSettings(top_p=0.9)))
    assert impossible.verdict == "impossible"
    assert impossible.impossible > 10
    assert impossible.p_value == 0


def test_the_audit_is_right_as_often_as_it_says():
    rng = np.random.default_rng(9)
    whole = SamplerSettings()
    audits = [sampling_audit(*sampled_tokens(rng, 20, whole, whole), level=0.9) for _ in range(600)]
    refused = sum(audit.verdict != "as_claimed" for audit in audits)
    assert abs(refused - 60) < 4 * math.sqrt(600 * 0.09)
    assert abs(np.mean([audit.z for audit in audits])) < 4 / math.sqrt(600)


def test_the_audit_ignores_padding_and_refuses_nonsense():
    audit = sampling_audit([[-1.0, 7.0], [-2.0, np.nan]], [[1.5, -3.0], [1.0, np.inf]], [[1, 0], [1, 0]])
    assert audit.excess.value == pytest.approx(0.25)
    assert audit.z == pytest.approx(0.5 / math.sqrt(0.25 + 1))
    sure = sampling_audit([[0.0, 0.0]], [[0.0, 0.0]], [[1, 1]])
    assert sure.verdict == "undetermined"
    assert math.isnan(sampling_audit([[0.0]], [[0.0]], [[0]]).excess.value)
    with pytest.raises(DataError, match="above 0"):
        sampling_audit([[1.0]], [[0.0]], [[1]])
    with pytest.raises(DataError, match="token_entropy"):
        sampling_audit([[-1.0]], [[-1.0]], [[1]])


def test_unusable_responses_and_prompts_are_refused():
    with pytest.raises(DataError, match="at most 0"):
        kl_policy_reference([0.5], [-1.0])
    with pytest.raises(DataError, match="reference_logprob holds nan"):
        kl_policy_reference([-1.0], [np.nan])
    with pytest.raises(DataError, match="policy_logprob holds 1"):
        kl_policy_reference([-np.inf], [-1.0])
    with pytest.raises(ShapeError, match="one id a response"):
        kl_policy_reference([-1.0], [-1.0], prompt=[1, 2])
    with pytest.raises(DataError, match="no prompt id"):
        kl_policy_reference([-1.0, -1.0], [-1.0, -1.0], prompt=["a", None])
    with pytest.raises(DataError, match="no prompt id"):
        kl_policy_reference([-1.0, -1.0], [-1.0, -1.0], prompt=[1.0, np.nan])
    with pytest.raises(DataError, match="exact holds 1 nan"):
        kl_policy_reference([-1.0], [-1.0], exact=[np.nan])


def coverage_of_kl() -> list[tuple[str, float]]:
    """Mean over prompts of KL, with 1 to 12 responses a prompt: normal intervals, 2,000 runs of 80 prompts.

    A prompt's log-ratio is N(m, 2 m) under the policy: then ratios have mean 1, the KL is m, and H² has a closed form.
    """
    rng = np.random.default_rng(31)
    runs, prompts = 2_000, 80
    names = ["k1", "exact", "squared Hellinger"]
    hits = np.zeros(len(names))
    # m is 1/2 plus an exponential variable of mean 1/2, and 1 - H² of a prompt is exp(-m/4).
    kl_mean, hellinger_mean = 1.0, 1 - math.exp(-1 / 8) / (1 + 1 / 8)
    for _ in range(runs):
        m = 0.5 + 0.5 * rng.exponential(size=prompts)
        prompt = np.repeat(np.arange(prompts), rng.integers(1, 13, size=prompts))
        log_ratio = m[prompt] + np.sqrt(2 * m[prompt]) * rng.normal(size=prompt.size)
        log_p = np.full(prompt.size, -40.0)
        found = kl_policy_reference(log_p, log_p - log_ratio, prompt=prompt, exact=m[prompt])
        hellinger = squared_hellinger_policy_reference(log_p, log_p - log_ratio, prompt=prompt)
        for i, (estimate, truth) in enumerate(
            ((found.k1, kl_mean), (found.exact, kl_mean), (hellinger, hellinger_mean))
        ):
            hits[i] += abs(estimate.value - truth) <= 1.96 * estimate.stderr
    return [(f"KL by prompt, {name}", float(hit / runs)) for name, hit in zip(names, hits, strict=True)]


@pytest.mark.slow
def test_intervals_over_prompts_cover_the_truth():
    for name, share in coverage_of_kl():
        assert 0.93 <= share <= 0.97, name
