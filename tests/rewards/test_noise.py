"""Label noise against the rates that were asked for; fixed noise against the normal distribution."""

import math

import numpy as np
import pytest

from overopt.errors import ConfigError, DataError, NonFiniteError, ShapeError
from overopt.rewards.noise import NoisyScorer, label_pairs

from .scripted import Scripted, hashed

RNG = np.random.default_rng(7)
FIRST, SECOND = RNG.normal(size=(2, 4000)).round(2)
FIRST[:40] = SECOND[:40]
PLAIN = Scripted(hashed(0), name="plain")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_hard_labels_follow_gold_and_a_coin_decides_ties():
    labels = label_pairs(FIRST, SECOND, rng=rng())
    decided = FIRST != SECOND
    assert (labels.tied_B == ~decided).all()
    assert (labels.first_wins_B[decided] == (FIRST > SECOND)[decided]).all()
    assert not labels.flipped_B.any()
    assert not labels.against_gold_B.any()
    assert (labels.target_B == labels.first_wins_B).all()
    ties = label_pairs(np.zeros(4000), np.zeros(4000), rng=rng()).first_wins_B.mean()
    assert abs(ties - 0.5) < 4 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.1, 1.0, 0.33335])
def test_the_count_of_flips_is_the_rate_times_the_pairs(rate):
    """Within one, at every seed: flips drawn one by one would vary by tens."""
    for seed in range(5):
        labels = label_pairs(FIRST, SECOND, flip_rate=rate, rng=rng(seed))
        assert abs(labels.flipped_B.sum() - rate * 4000) < 1
        clean = labels.first_wins_B ^ labels.flipped_B
        decided = ~labels.tied_B
        assert (clean[decided] == (FIRST > SECOND)[decided]).all()
        assert (labels.against_gold_B == (labels.flipped_B & decided)).all()


def test_every_pair_is_flipped_with_the_same_probability_also_when_few():
    """.25 of 6 pairs is 1.5: one or two, so that each pair is flipped in a quarter of the runs."""
    flips = np.array([label_pairs(FIRST[:6], SECOND[:6], flip_rate=0.25, rng=rng(s)).flipped_B for s in range(4000)])
    assert set(flips.sum(axis=1)) == {1, 2}
    assert np.abs(flips.mean(axis=0) - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_sampled_labels_follow_bradley_terry(temperature):
    gap = 0.8
    labels = label_pairs(np.full(20_000, gap), np.zeros(20_000), kind="sampled", temperature=temperature, rng=rng())
    expected = 1 / (1 + math.exp(-gap / temperature))
    assert abs(labels.first_wins_B.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / 20_000)
    assert (labels.against_gold_B == ~labels.first_wins_B).all()
    assert not labels.flipped_B.any()
    assert set(labels.target_B) == {0.0, 1.0}


def test_soft_targets_are_the_probabilities_and_turn_round_with_a_flip():
    labels = label_pairs([2.0, -1.0, 0.5], [1.0, 1.0, 0.5], kind="soft", temperature=2.0, rng=rng())
    expected = [1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(1.0)), 0.5]
    assert labels.target_B.tolist() == pytest.approx(expected)
    assert labels.first_wins_B[:2].tolist() == [True, False]
    turned = label_pairs([2.0, -1.0, 0.5], [1.0, 1.0, 0.5], kind="soft", temperature=2.0, flip_rate=1.0, rng=rng())
    assert turned.target_B.tolist() == pytest.approx([1 - value for value in expected])
    assert turned.first_wins_B[:2].tolist() == [False, True]
    assert turned.flipped_B.all()


def test_which_side_is_first_changes_nothing_but_the_sign():
    there = label_pairs(FIRST, SECOND, kind="soft", rng=rng())
    back = label_pairs(SECOND, FIRST, kind="soft", rng=rng())
    assert there.target_B.tolist() == pytest.approx((1 - back.target_B).tolist())


def test_the_same_stream_gives_the_same_labels():
    one, two = (label_pairs(FIRST, SECOND, kind="sampled", flip_rate=0.2, rng=rng(3)) for _ in range(2))
    assert (one.first_wins_B == two.first_wins_B).all()
    assert (one.flipped_B == two.flipped_B).all()


def test_extreme_scores_do_not_overflow():
    labels = label_pairs([1.7e308, -1.7e308], [-1.7e308, 1.7e308], kind="soft", rng=rng())
    assert labels.target_B.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"kind": "fuzzy"}, ConfigError, "hard, sampled, soft"),
        ({"kind": "soft", "temperature": 0.0}, ConfigError, "temperature must be a finite number above 0"),
        ({"temperature": 2.0}, ConfigError, "hard labels have no temperature"),
        ({"flip_rate": 1.1}, ConfigError, r"within 0\.\.1; got 1\.1"),
        ({"flip_rate": -0.1}, ConfigError, r"within 0\.\.1"),
        ({"flip_rate": float("nan")}, ConfigError, r"within 0\.\.1"),
    ],
)
def test_settings_out_of_range_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        label_pairs([1.0], [2.0], rng=rng(), **options)


def test_scores_that_do_not_go_together_are_refused():
    with pytest.raises(ShapeError):
        label_pairs([1.0, 2.0], [1.0], rng=rng())
    with pytest.raises(DataError, match="not finite"):
        label_pairs([1.0, float("nan")], [1.0, 2.0], rng=rng())


PROMPTS = [f"prompt {index % 50}" for index in range(5000)]
REPLIES = [f"reply {index}" for index in range(5000)]


def errors(prompts, replies, *, sd=1.0, seed=0):
    noisy = NoisyScorer(PLAIN, sd=sd, seed=seed)
    return noisy.score(prompts, replies) - PLAIN.score(prompts, replies)


def test_the_error_is_normal_with_the_sd_that_was_asked_for():
    from scipy.stats import kstest

    found = errors(PROMPTS, REPLIES, sd=2.5)
    assert kstest(found / 2.5, "norm").pvalue > 0.01
    assert abs(found.std() / 2.5 - 1) < 4 / math.sqrt(2 * 5000)


def test_the_same_text_always_gets_the_same_error():
    """In any order and company, and where it comes twice in a call."""
    whole = errors(PROMPTS, REPLIES)
    order = rng().permutation(5000)[:300]
    part = errors([PROMPTS[i] for i in order] * 2, [REPLIES[i] for i in order] * 2)
    assert part.tolist() == pytest.approx(np.tile(whole[order], 2).tolist(), abs=1e-12)


def test_seed_prompt_and_completion_each_set_the_error():
    base = errors(["a"], ["b"])[0]
    turns = [{"role": "user", "content": "a"}]
    assert len({base, errors(["a"], ["c"])[0], errors(["c"], ["b"])[0], errors(["a"], ["b"], seed=1)[0]}) == 4
    assert errors([turns], ["b"])[0] != base
    assert errors(["ab"], ["c"])[0] != errors(["a"], ["bc"])[0]
    one, two = errors(PROMPTS, REPLIES), errors(PROMPTS, REPLIES, seed=1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / math.sqrt(5000)


def test_an_sd_of_0_changes_nothing():
    assert (NoisyScorer(PLAIN, sd=0.0, seed=0).score(PROMPTS, REPLIES) == PLAIN.score(PROMPTS, REPLIES)).all()
    assert NoisyScorer(PLAIN, sd=0.5, seed=0).name == "plain+noise-0.5"
    assert NoisyScorer(PLAIN, sd=0.5, seed=0).score([], []).shape == (0,)


def test_a_broken_scorer_or_sd_is_refused():
    with pytest.raises(ConfigError, match="sd must be a finite number of at least 0"):
        NoisyScorer(PLAIN, sd=-1.0, seed=0)
    with pytest.raises(NonFiniteError, match="broken returned a score that is not finite"):
        NoisyScorer(Scripted(lambda p, c: float("inf"), name="broken"), sd=1.0, seed=0).score(["a"], ["b"])
