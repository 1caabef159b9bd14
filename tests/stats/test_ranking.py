import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import ranking as oracle
from scipy.stats import binomtest, norm, pearsonr, spearmanr, t

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.auroc import auroc, auroc_within_prompt
from overopt.stats.ranking import (
    compare_pair_accuracy,
    correlation_within_prompt,
    pair_accuracy,
    rank_correlation_within_prompt,
)

margins = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=30)


@given(margins)
def test_accuracy_counts_pairs_and_half_of_the_ties(pairs):
    margin, label = np.array(pairs, dtype=float).T
    found = pair_accuracy(margin, label)
    right = sum(1.0 if (m > 0) == y else 0.0 for m, y in pairs if m != 0)
    ties = sum(1 for m, _ in pairs if m == 0)
    assert found.accuracy == pytest.approx((right + ties / 2) / len(pairs))
    assert (found.pairs, found.ties) == (len(pairs), ties)
    assert pair_accuracy(margin, label, ties="wrong").accuracy == pytest.approx(right / len(pairs))
    assert 0 <= found.low <= found.accuracy <= found.high <= 1


@given(margins)
def test_swapping_the_two_answers_changes_nothing(pairs):
    margin, label = np.array(pairs, dtype=float).T
    assert pair_accuracy(-margin, 1 - label) == pair_accuracy(margin, label)
    mirrored = pair_accuracy(-margin, label)
    assert mirrored.accuracy == pytest.approx(1 - pair_accuracy(margin, label).accuracy)
    assert mirrored.low == pytest.approx(1 - pair_accuracy(margin, label).high, abs=1e-12)


@pytest.mark.parametrize(("right", "pairs"), [(0, 5), (5, 5), (3, 8), (700, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_is_scipys_wilson_interval(right, pairs, level):
    margin = np.where(np.arange(pairs) < right, 1.0, -1.0)
    found = pair_accuracy(margin, np.ones(pairs), level=level)
    expected = binomtest(right, pairs).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_unusable_pairs():
    empty = pair_accuracy([], [])
    assert empty.pairs == 0
    assert math.isnan(empty.accuracy)
    with pytest.raises(DataError, match="labels must be"):
        pair_accuracy([1.0], [0.5])
    with pytest.raises(DataError, match="margin holds 1"):
        pair_accuracy([np.nan], [1])
    with pytest.raises(ConfigError, match="'half' or 'wrong'"):
        pair_accuracy([1.0], [1], ties="drop")


def test_correlation_is_the_mean_of_the_prompts_own():
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 6, 9)) * 1e-3 + 100
    proxy[2] = 0.1  # constant: no correlation exists
    gold[4] = 7.0
    found = correlation_within_prompt(proxy, gold)
    expected = [pearsonr(proxy[p], gold[p]).statistic for p in (0, 1, 3, 5)]
    assert found.estimate.value == pytest.approx(np.mean(expected))
    assert found.estimate.stderr == pytest.approx(np.std(expected, ddof=1) / 2)
    assert (found.estimate.n_units, found.left_out) == (4, 2)


def test_a_proxy_that_only_knows_the_prompt_has_no_correlation_within_it():
    rng = np.random.default_rng(0)
    easy = 5 * rng.normal(size=(400, 1))
    proxy, gold = easy + rng.normal(size=(400, 30)), easy + rng.normal(size=(400, 30))
    assert np.corrcoef(proxy.ravel(), gold.ravel())[0, 1] > 0.9
    found = correlation_within_prompt(proxy, gold).estimate
    assert abs(found.value) < 4 * found.stderr
    assert found.stderr < 0.02


@given(st.sampled_from([1e-200, 1e-3, 1.0, 1e200]), st.floats(-1, 1))
def test_correlation_ignores_units_however_extreme(scale, shift):
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 3, 5))
    whole = correlation_within_prompt(proxy, gold).estimate.value
    assert correlation_within_prompt(scale * (proxy + shift), gold).estimate.value == pytest.approx(whole, rel=1e-9)
    assert correlation_within_prompt(proxy, -gold).estimate.value == pytest.approx(-whole)
    assert correlation_within_prompt(proxy, proxy).estimate.value == pytest.approx(1)


def test_correlation_without_usable_prompts_is_unknown():
    found = correlation_within_prompt(np.ones((2, 4)), np.ones((2, 4)))
    assert found.left_out == 2
    assert math.isnan(found.estimate.value)


pairs_with_prompts = st.lists(
    st.tuples(st.integers(-1, 1), st.integers(-1, 1), st.booleans(), st.integers(0, 4)), min_size=1, max_size=25
)


@given(pairs_with_prompts)
def test_accuracy_by_prompt_has_the_interval_of_as_many_pairs_as_would_vary_like_these(rows):
    margin, _, label, prompt = np.array(rows, dtype=float).T
    found, alone = pair_accuracy(margin, label, prompt=prompt), pair_accuracy(margin, label)
    assert found.accuracy == pytest.approx(alone.accuracy)
    units = len(set(prompt))
    assert (found.unit, found.n_units, alone.unit, alone.n_units) == ("prompt", units, "pair", len(rows))
    if units == len(rows):
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    elif units == 1:
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    else:
        assert found.high - found.low >= alone.high - alone.low - 1e-12
        credit = [0.5 if m == 0 else float((m > 0) == y) for m, y in zip(margin, label, strict=True)]
        share = found.accuracy
        if share in (0, 1):
            effective = units
        else:
            stderr = oracle.ratio_stderr(credit, [1.0] * len(rows), list(prompt))
            few = (t.ppf(0.975, units - 1) / norm.ppf(0.975)) ** 2
            effective = min(share * (1 - share) / stderr**2 if stderr > 1e-12 else math.inf, len(rows)) / few
        expected = wilson_by_roots(share, effective)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


def wilson_by_roots(share, n):
    """Where the score statistic equals 1.96: the roots of a parabola."""
    z2 = norm.ppf(0.975) ** 2
    return tuple(sorted(np.roots([1 + z2 / n, -2 * share - z2 / n, share**2]).real))


def test_repeating_every_pair_within_its_prompt_narrows_nothing():
    rng = np.random.default_rng(4)
    margin, label = rng.normal(size=60), rng.integers(0, 2, size=60)
    once = pair_accuracy(margin, label, prompt=np.arange(60))
    copies = pair_accuracy(np.repeat(margin, 5), np.repeat(label, 5), prompt=np.repeat(np.arange(60), 5))
    naive = pair_accuracy(np.repeat(margin, 5), np.repeat(label, 5))
    assert copies.high - copies.low >= once.high - once.low
    assert naive.high - naive.low < 0.6 * (copies.high - copies.low)


@given(pairs_with_prompts, st.sampled_from(["half", "wrong"]))
def test_the_difference_of_two_scorers_is_that_of_their_accuracies(rows, ties):
    first, second, label, prompt = np.array(rows, dtype=float).T
    rng = np.random.default_rng(0)
    found = compare_pair_accuracy(first, second, label, rng=rng, prompt=prompt, ties=ties, draws=50)
    a, b = (pair_accuracy(m, label, ties=ties).accuracy for m in (first, second))
    assert (found.first, found.second) == pytest.approx((a, b))
    assert found.difference.value == pytest.approx(a - b)
    tie = 0.5 if ties == "half" else 0.0
    credit = [[tie if m == 0 else float((m > 0) == y) for m, y in zip(x, label, strict=True)] for x in (first, second)]
    gain = [x - y for x, y in zip(*credit, strict=True)]
    assert found.differing == sum(g != 0 for g in gain)
    if len(set(prompt)) > 1:
        expected = oracle.ratio_stderr(gain, [1.0] * len(gain), list(prompt))
        assert found.difference.stderr == pytest.approx(expected, abs=1e-9)
    if len(set(prompt)) > 3:
        assert -1 <= found.low <= found.high <= 1
    else:
        assert math.isnan(found.low)


def test_the_same_scorer_twice_differs_by_nothing_and_pairing_helps():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, size=2000)
    common = (2 * label - 1) * 0.7 + rng.normal(size=2000)
    same = compare_pair_accuracy(common, 3 * common, label, rng=rng)
    assert (same.difference.value, same.low, same.high, same.differing) == (0, 0, 0, 0)
    first, second = common + 0.2 * rng.normal(size=2000), common + 0.5 * rng.normal(size=2000)
    found = compare_pair_accuracy(first, second, label, rng=rng)
    a, b = pair_accuracy(first, label), pair_accuracy(second, label)
    assert found.high - found.low < 0.7 * math.hypot(a.high - a.low, b.high - b.low)
    value, stderr = found.difference.value, found.difference.stderr
    assert value > stderr
    assert (found.low, found.high) == pytest.approx((value - 1.96 * stderr, value + 1.96 * stderr), abs=0.3 * stderr)
    with pytest.raises(DataError, match="at least one pair"):
        compare_pair_accuracy([], [], [], rng=rng)
    with pytest.raises(ConfigError, match="'half' or 'wrong'"):
        compare_pair_accuracy([1.0], [1.0], [1], rng=rng, ties="drop")


labelled_scores = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=20
).filter(lambda rows: len({y for _, y, _ in rows}) == 2)


@given(labelled_scores)
def test_auroc_is_the_share_of_good_bad_pairs_in_the_right_order(rows):
    score, label, prompt = (list(column) for column in zip(*rows, strict=True))
    found = auroc(score, label)
    assert found.estimate.value == pytest.approx(oracle.auroc(score, label), abs=1e-12)
    assert (found.positives, found.negatives) == (sum(label), len(label) - sum(label))
    if min(found.positives, found.negatives) > 1:
        expected = oracle.delong_stderr(score, label)
        if expected > 0:
            assert found.estimate.stderr == pytest.approx(expected, abs=1e-12)
            assert found.low <= found.estimate.value <= found.high or math.isnan(found.low)
        else:
            assert math.isnan(found.estimate.stderr)
    clustered = auroc(score, label, prompt=prompt)
    assert clustered.estimate.value == pytest.approx(found.estimate.value)
    if len(set(prompt)) > 1:
        expected = oracle.clustered_auroc_stderr(score, label, prompt)
        if expected > 1e-9:
            assert clustered.estimate.stderr == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(clustered.estimate.stderr)
    flipped = auroc([-s for s in score], label).estimate.value
    assert flipped == pytest.approx(1 - found.estimate.value)


def test_auroc_interval_is_on_the_logit_scale():
    score, label = [1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1]
    found = auroc(score, label)
    a, stderr = found.estimate.value, found.estimate.stderr
    for end, sign in ((found.low, -1), (found.high, 1)):
        expected = math.log(a / (1 - a)) + sign * norm.ppf(0.975) * stderr / (a * (1 - a))
        assert math.log(end / (1 - end)) == pytest.approx(expected)
    assert 0 < found.low < found.high < 1


@given(labelled_scores)
def test_auroc_within_prompts_is_the_mean_of_the_prompts_own(rows):
    score, label, prompt = (list(column) for column in zip(*rows, strict=True))
    own = []
    for name in sorted(set(prompt)):
        kept = [(s, y) for s, y, p in rows if p == name]
        own.append(oracle.auroc(*zip(*kept, strict=True)))
    used = [value for value in own if value is not None]
    found = auroc_within_prompt(score, label, prompt)
    assert found.left_out == len(own) - len(used)
    assert found.estimate.n_units == len(used)
    if used:
        assert found.estimate.value == pytest.approx(np.mean(used), abs=1e-12)
    else:
        assert math.isnan(found.estimate.value)


def test_a_score_that_only_knows_the_prompt_has_auroc_pooled_but_not_within():
    rng = np.random.default_rng(6)
    easy = np.repeat(rng.normal(size=300), 20)
    label = easy + rng.normal(size=6000) > 0
    score = easy + 0.1 * rng.normal(size=6000)
    prompt = np.repeat(np.arange(300), 20)
    pooled, within = auroc(score, label, prompt=prompt), auroc_within_prompt(score, label, prompt)
    assert pooled.low > 0.75
    assert abs(within.estimate.value - 0.5) < 4 * within.estimate.stderr
    assert pooled.estimate.stderr > 1.5 * auroc(score, label).estimate.stderr


def test_auroc_of_unusable_data():
    perfect = auroc([1, 2, 3, 4], [0, 0, 1, 1])
    assert perfect.estimate.value == 1
    assert math.isnan(perfect.estimate.stderr)  # no spread seen is not a spread of 0
    assert math.isnan(perfect.low)
    for score, label in (([], []), ([1.0, 2.0], [1, 1])):
        assert math.isnan(auroc(score, label).estimate.value)
    with pytest.raises(DataError, match="labels must be"):
        auroc([1.0], [0.5])
    with pytest.raises(DataError, match="score holds 1"):
        auroc([np.nan], [1])
    with pytest.raises(ShapeError, match="one shape"):
        auroc([1.0], [1, 0])


def test_rank_correlation_is_the_mean_of_spearmans():
    rng = np.random.default_rng(2)
    proxy, gold = rng.integers(0, 5, size=(2, 6, 9)).astype(float)
    proxy[2] = 1
    found = rank_correlation_within_prompt(proxy, gold)
    expected = [spearmanr(proxy[p], gold[p]).statistic for p in (0, 1, 3, 4, 5)]
    assert found.estimate.value == pytest.approx(np.mean(expected))
    assert (found.left_out, found.estimate.n_units) == (1, 5)
    bent = rank_correlation_within_prompt(np.exp(3 * proxy), gold)
    assert bent.estimate.value == pytest.approx(found.estimate.value)
    assert "Spearman" in found.estimate.method


def coverage_of_accuracy() -> list[tuple[str, float]]:
    """Independent pairs: exact, by summing the binomial over the successes whose interval holds the truth."""
    from scipy.stats import binom

    cases = []
    for n in (100, 400):
        ends = [pair_accuracy(np.where(np.arange(n) < k, 1.0, -1.0), np.ones(n)) for k in range(n + 1)]
        low, high = np.array([(e.low, e.high) for e in ends]).T
        for p in (0.55, 0.7, 0.9):
            inside = (low <= p) & (p <= high)
            cases.append((f"accuracy {p:g} of {n} pairs", float(binom.pmf(np.arange(n + 1), n, p)[inside].sum())))
    return cases


def coverage_of_clustered_accuracy() -> list[tuple[str, float]]:
    """Pairs of a prompt share its difficulty (beta), 1 to 12 pairs a prompt; 2,000 runs each."""
    rng = np.random.default_rng(41)
    cases = []
    for prompts, mean in ((15, 0.7), (60, 0.7), (60, 0.9)):
        hits = 0
        for _ in range(2_000):
            easy = rng.beta(4 * mean, 4 * (1 - mean), size=prompts)
            prompt = np.repeat(np.arange(prompts), rng.integers(1, 13, size=prompts))
            right = rng.random(prompt.size) < easy[prompt]
            found = pair_accuracy(np.where(right, 1.0, -1.0), np.ones(prompt.size), prompt=prompt)
            hits += found.low <= mean <= found.high
        cases.append((f"accuracy {mean:g} by prompt, {prompts} prompts", hits / 2_000))
    return cases


def coverage_of_auroc() -> list[tuple[str, float]]:
    """Gaussian scores, so that the area is Phi(shift / sqrt(2)); then responses that share a prompt's offset."""
    rng = np.random.default_rng(42)
    cases = []
    for m, n, area in ((40, 60, 0.7), (40, 60, 0.9), (100, 100, 0.75)):
        shift, label = math.sqrt(2) * norm.ppf(area), np.arange(m + n) < m
        hits = 0
        for _ in range(2_000):
            found = auroc(rng.normal(size=m + n) + shift * label, label)
            hits += found.low <= area <= found.high
        cases.append((f"AUROC {area:g}, {m} + {n}", hits / 2_000))
    prompts, area = 60, 0.7
    label = np.tile([1, 1, 0, 0], prompts)
    prompt = np.repeat(np.arange(prompts), 4)
    # Half of the spread is the prompt's: pairs of one prompt are better separated than pairs of two.
    shift = math.sqrt(2) * norm.ppf(area)
    within = norm.cdf(shift / math.sqrt(2 * 0.5))
    truth = ((prompts - 1) * area + within) / prompts
    hits = 0
    for _ in range(2_000):
        noise = np.repeat(rng.normal(size=prompts), 4) + rng.normal(size=4 * prompts)
        found = auroc(noise / math.sqrt(2) + shift * label, label, prompt=prompt)
        hits += found.low <= truth <= found.high
    cases.append((f"AUROC by prompt, {prompts} prompts of 2 + 2", float(hits / 2_000)))
    return cases


def coverage_of_accuracy_difference() -> list[tuple[str, float]]:
    """Two scorers on 60 prompts of 1 to 8 pairs, difficulty shared by prompt and scorers; truth .75 minus .65."""
    rng = np.random.default_rng(43)
    hits, prompts = 0, 60
    for _ in range(2_000):
        prompt = np.repeat(np.arange(prompts), rng.integers(1, 9, size=prompts))
        shared = (rng.normal(size=prompts)[prompt] + rng.normal(size=prompt.size)) / math.sqrt(2)
        first, second = (norm.ppf(p) + (shared + rng.normal(size=prompt.size)) / math.sqrt(2) for p in (0.75, 0.65))
        found = compare_pair_accuracy(first, second, np.ones(prompt.size), rng=rng, prompt=prompt, draws=500)
        hits += found.low <= 0.1 <= found.high
    return [("difference of two accuracies, 60 prompts", hits / 2_000)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases",
    [coverage_of_accuracy, coverage_of_clustered_accuracy, coverage_of_auroc, coverage_of_accuracy_difference],
)
def test_intervals_cover_the_truth(cases):
    for name, share in cases():
        assert 0.93 <= share <= 0.97, name
