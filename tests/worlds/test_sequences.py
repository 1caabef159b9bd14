import numpy as np
import pytest

from overopt.errors import ConfigError, ShapeError
from overopt.worlds.sequences import END, SequenceWorld, entropy
from worlds.sampling import z_score


def random_world(seed=0, vocabulary=3, max_length=4):
    policy, reference = np.random.default_rng(seed).normal(size=(2, vocabulary + 1, vocabulary))
    return SequenceWorld(policy_logits=policy, reference_logits=reference, max_length=max_length)


def sums(sequences, values):
    return np.where(sequences.mask, values, 0).sum(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_kl_by_the_chain_rule_equals_the_sum_over_all_sequences(seed):
    world = random_world(seed)
    listed = world.all_sequences()
    policy, reference = sums(listed, listed.policy_logprob), sums(listed, listed.reference_logprob)
    assert np.exp(policy).sum() == pytest.approx(1)
    assert np.exp(reference).sum() == pytest.approx(1)
    assert world.kl() == pytest.approx((np.exp(policy) * (policy - reference)).sum())
    assert world.reverse_kl() == pytest.approx((np.exp(reference) * (reference - policy)).sum())
    assert world.mean_length() == pytest.approx((np.exp(policy) * listed.mask.sum(axis=1)).sum())


def test_sequences_are_listed_once_each_and_end_where_they_must():
    listed = random_world(max_length=3).all_sequences()
    assert len(np.unique(listed.tokens, axis=0)) == len(listed.tokens) == 1 + 2 + 4 + 8
    for tokens, mask in zip(listed.tokens, listed.mask, strict=True):
        kept = list(tokens[mask])
        assert kept.count(END) <= 1
        assert END not in kept[:-1]
        assert kept[-1] == END or len(kept) == 3


def test_equal_models_have_no_kl():
    logits = np.random.default_rng(1).normal(size=(4, 3))
    world = SequenceWorld(policy_logits=logits, reference_logits=logits + 5, max_length=6)
    assert world.kl() == pytest.approx(0, abs=1e-14)


def test_samples_have_the_probabilities_of_the_list():
    world = random_world(2)
    listed, drawn = world.all_sequences(), world.sample(40_000, np.random.default_rng(0))
    expected = np.exp(sums(listed, listed.policy_logprob))
    code = (listed.tokens + 1) @ 4 ** np.arange(4)
    counts = np.array([(((drawn.tokens + 1) @ 4 ** np.arange(4)) == c).sum() for c in code])
    assert counts.sum() == 40_000
    z = (counts - 40_000 * expected) / np.sqrt(40_000 * expected * (1 - expected))
    assert np.abs(z).max() < 4.5  # the largest of 31
    assert abs(z_score(sums(drawn, drawn.policy_logprob - drawn.reference_logprob), world.kl())) < 4


def test_the_sharpened_policy_is_the_one_a_sampler_with_these_settings_draws_from():
    logits = np.log([[0.5, 0.3, 0.2]] * 4)
    world = SequenceWorld(policy_logits=logits, reference_logits=logits, max_length=2)
    np.testing.assert_allclose(np.exp(world.sharpened(temperature=0.5).policy[0]), np.array([25, 9, 4]) / 38)
    np.testing.assert_allclose(np.exp(world.sharpened(top_p=0.7).policy[0]), [5 / 8, 3 / 8, 0])
    np.testing.assert_allclose(np.exp(world.sharpened(top_p=0.5).policy[0]), [1, 0, 0])
    np.testing.assert_allclose(world.sharpened().policy, world.policy)
    assert world.sharpened(top_p=0.7).reverse_kl() == np.inf
    assert world.sharpened(top_p=0.7).kl() > 0
    assert world.kl() == pytest.approx(0, abs=1e-14)


def test_entropy_of_a_uniform_distribution():
    assert entropy(np.log(np.full((2, 4), 0.25))) == pytest.approx(np.log(4))
    assert entropy(np.array([0.0, -np.inf])) == 0


def test_impossible_settings_are_refused():
    with pytest.raises(ShapeError):
        SequenceWorld(policy_logits=np.zeros((3, 3)), reference_logits=np.zeros((3, 3)), max_length=2)
    with pytest.raises(ConfigError, match="top_p"):
        random_world().sharpened(top_p=0)
    with pytest.raises(ConfigError, match="temperature"):
        random_world().sharpened(temperature=0)
