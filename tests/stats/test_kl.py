import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import DataError, ShapeError
from overopt.stats.kl import k1, k2, k3, sequence_sums

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
