import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import ranking as oracle
from scipy.optimize import minimize
from scipy.stats import norm, t

from overopt.errors import DataError, EstimationError, ShapeError
from overopt.stats.bias import accuracy_by_category, length_bias, longer_is_better
from overopt.stats.dependence import choice_dependence, margin_dependence
from overopt.stats.ranking import pair_accuracy


def test_longer_is_better_is_the_accuracy_of_that_rule():
    found = longer_is_better([5, -3, 0, 2, -1], [1, 1, 1, 1, 0])
    assert found.accuracy == pytest.approx(3.5 / 5)
    assert (found.pairs, found.ties) == (5, 1)
    assert math.isnan(longer_is_better([], []).accuracy)


pairs = st.lists(
    st.tuples(st.integers(-1, 1), st.booleans(), st.integers(-1, 1), st.integers(0, 3)), min_size=1, max_size=30
)


@given(pairs)
def test_shares_and_gap_are_counts_over_pairs_of_unequal_length(rows):
    margin, label, length, prompt = (list(column) for column in zip(*rows, strict=True))
    found = length_bias(margin, label, length, prompt=prompt)
    used = [(m, y, d, p) for m, y, d, p in rows if d != 0]
    assert found.equal_length == len(rows) - len(used)
    if not used:
        assert math.isnan(found.excess.value)
        return
    proxy = [0.5 if m == 0 else float((m > 0) == (d > 0)) for m, _, d, _ in used]
    truth = [float(y == (d > 0)) for _, y, d, _ in used]
    right = [0.5 if m == 0 else float((m > 0) == y) for m, y, _, _ in used]
    assert found.proxy_prefers_longer.accuracy == pytest.approx(np.mean(proxy))
    assert found.label_prefers_longer.accuracy == pytest.approx(np.mean(truth))
    assert found.excess.value == pytest.approx(np.mean(proxy) - np.mean(truth), abs=1e-12)
    prompts = [p for *_, p in used]
    if len(set(prompts)) > 1:
        expected = oracle.ratio_stderr([a - b for a, b in zip(proxy, truth, strict=True)], [1.0] * len(used), prompts)
        assert found.excess.stderr == pytest.approx(expected, abs=1e-9)
    longer = [r for r, y in zip(right, truth, strict=True) if y]
    shorter = [r for r, y in zip(right, truth, strict=True) if not y]
    assert found.accuracy_if_longer_is_right.pairs == len(longer)
    if longer and shorter:
        assert found.accuracy_if_shorter_is_right.accuracy == pytest.approx(np.mean(shorter))
        assert found.gap.value == pytest.approx(np.mean(longer) - np.mean(shorter), abs=1e-12)
    else:
        assert math.isnan(found.gap.value)


def test_a_proxy_of_length_has_the_largest_gap_and_one_of_gold_has_none():
    rng = np.random.default_rng(0)
    gold, length = rng.normal(size=(2, 4000))
    label = gold + 0.5 * length > 0
    by_length = length_bias(length, label, length)
    assert by_length.proxy_prefers_longer.accuracy == 1
    assert by_length.gap.value == 1
    assert math.isnan(by_length.gap.stderr)  # always right, or always wrong: no spread to judge by
    noisy_label = np.where(rng.random(4000) < 0.7, label, ~label)
    honest = length_bias(2.0 * noisy_label - 1 + 1.5 * rng.normal(size=4000), noisy_label, length)
    assert honest.gap_ci[0] < 0 < honest.gap_ci[1]
    leaning = length_bias(gold + 2 * length, label, length)
    assert leaning.gap_ci[0] > 0.2
    assert leaning.excess.value > 3 * leaning.excess.stderr


def test_gap_without_prompts_is_the_difference_of_two_means():
    rng = np.random.default_rng(3)
    margin, length = rng.normal(size=(2, 200))
    label = rng.integers(0, 2, size=200)
    found = length_bias(margin, label, length)
    right = (margin > 0) == label
    kind = label == (length > 0)
    variance = sum(right[k].var() / k.sum() for k in (kind, ~kind)) * 200 / 199
    assert found.gap.stderr == pytest.approx(math.sqrt(variance))
    critical = t.ppf(0.975, 199)
    assert found.gap_ci == pytest.approx(
        (found.gap.value - critical * found.gap.stderr, found.gap.value + critical * found.gap.stderr)
    )


def test_error_of_the_gap_is_that_of_leaving_out_prompts():
    """Prompts hold pairs of both kinds, whose errors go together; the jackknife needs no formula for that."""
    rng = np.random.default_rng(4)
    prompt = rng.integers(0, 60, size=600)
    length, label = rng.normal(size=600), rng.integers(0, 2, size=600)
    # A prompt is easy for both kinds.
    right = rng.normal(size=60)[prompt] + rng.normal(size=600) > -0.5
    margin = np.where(right, 1.0, -1.0) * (2 * label - 1)
    found = length_bias(margin, label, length, prompt=prompt).gap
    left_out = [
        length_bias(margin[kept], label[kept], length[kept]).gap.value for kept in (prompt != p for p in range(60))
    ]
    assert found.stderr == pytest.approx(math.sqrt(59 * np.var(left_out)), rel=0.05)


swaps = st.integers(0, 2**40)


@given(st.integers(0, 1000), swaps)
def test_swapping_the_answers_of_any_pairs_changes_nothing(seed, swap):
    """Which answer is called A is arbitrary: an intercept would make the fit depend on it."""
    rng = np.random.default_rng(seed)
    gold, length, style = rng.normal(size=(3, 40))
    margin = gold + 0.3 * length + rng.normal(size=40)
    label, prompt = (gold > 0).astype(float), rng.integers(0, 9, size=40)
    sign = np.where([(swap >> i) & 1 for i in range(40)], -1.0, 1.0)
    swapped_label = np.where(sign > 0, label, 1 - label)

    def numbers(sign, label):
        bias = length_bias(sign * margin, label, sign * length, prompt=prompt)
        linear = margin_dependence(sign * margin, sign * gold, sign * length, (sign * style)[:, None], prompt=prompt)
        logistic = choice_dependence(
            (sign * margin > 0).astype(float), sign * gold, sign * length, (sign * style)[:, None], prompt=prompt
        )
        fits = [(c.standardised, c.stderr, c.p_value) for fit in (linear, logistic) for c in fit.coefficients]
        return [bias.gap.value, bias.gap.stderr, bias.excess.value, *np.ravel(fits)]

    np.testing.assert_allclose(numbers(sign, swapped_label), numbers(np.ones(40), label), rtol=1e-6, atol=1e-9)


def test_linear_coefficients_are_least_squares_with_clustered_errors():
    rng = np.random.default_rng(5)
    prompt = rng.integers(0, 12, size=90)
    x = rng.normal(size=(90, 4)) * [1, 30, 2, 5]
    margin = x @ [2.0, 0.1, 0.0, -0.3] + rng.normal(size=90) * 3 + rng.normal(size=12)[prompt]
    found = margin_dependence(margin, x[:, 0], x[:, 1], x[:, 2:], style_names=["bold", "lists"], prompt=prompt)
    assert [c.name for c in found.coefficients] == ["gold", "length", "bold", "lists"]
    raw, *_ = np.linalg.lstsq(x, margin, rcond=None)
    np.testing.assert_allclose([c.raw for c in found.coefficients], raw)
    residual = margin - x @ raw
    bread = np.linalg.inv(x.T @ x)
    meat = sum(np.outer(g, g) for g in (x[prompt == p].T @ residual[prompt == p] for p in np.unique(prompt)))
    units = np.unique(prompt).size
    raw_stderr = np.sqrt(np.diag(bread @ meat @ bread) * units / (units - 1) * 89 / 86)
    ratio = np.sqrt(np.mean(x**2, axis=0)) / math.sqrt(np.mean(margin**2))
    for c, value, stderr, scale in zip(found.coefficients, raw, raw_stderr, ratio, strict=True):
        assert c.standardised == pytest.approx(value * scale)
        assert c.stderr == pytest.approx(stderr * scale)
        assert c.low == pytest.approx(c.standardised - t.ppf(0.975, units - 1) * c.stderr)
        assert c.p_value == pytest.approx(2 * t.sf(abs(value / stderr), units - 1))
    assert found.explained == pytest.approx(1 - np.sum(residual**2) / np.sum(margin**2))
    assert (found.pairs, found.n_units, found.unit) == (90, units, "prompt")


def test_logistic_coefficients_minimise_cross_entropy_with_clustered_errors():
    rng = np.random.default_rng(6)
    prompt = rng.integers(0, 20, size=150)
    x = rng.normal(size=(150, 2)) * [1, 20]
    choice = (rng.random(150) < 1 / (1 + np.exp(-x @ [1.0, 0.03]))).astype(float)
    choice[:10] = 0.5
    found = choice_dependence(choice, x[:, 0], x[:, 1], prompt=prompt)
    raw = np.array([c.raw for c in found.coefficients])

    def loss(b):
        logit = x @ b
        return np.sum(np.log1p(np.exp(logit)) - choice * logit)

    best = minimize(loss, [0.5, 0.01], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000})
    np.testing.assert_allclose(raw, best.x, rtol=1e-4)
    p = 1 / (1 + np.exp(-x @ raw))
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    scores = x * (choice - p)[:, None]
    meat = sum(np.outer(g, g) for g in (scores[prompt == q].sum(axis=0) for q in np.unique(prompt)))
    stderr = np.sqrt(np.diag(bread @ meat @ bread) * 20 / 19)
    rms = np.sqrt(np.mean(x**2, axis=0))
    np.testing.assert_allclose([c.stderr for c in found.coefficients], stderr * rms, rtol=1e-6)
    assert found.explained == pytest.approx(1 - loss(raw) / (150 * math.log(2)))


def test_length_beyond_gold_is_told_from_length_within_gold():
    """The proxy's margin goes along with length in both cases; only one of them leans on it."""
    rng = np.random.default_rng(7)
    length, other = rng.normal(size=(2, 3000))
    gold = 0.8 * length + 0.6 * other
    honest = gold + 0.5 * rng.normal(size=3000)
    assert np.corrcoef(honest, length)[0, 1] > 0.6
    of_honest = margin_dependence(honest, gold, length).coefficients[1]
    of_leaning = margin_dependence(honest + 0.3 * length, gold, length).coefficients[1]
    assert of_honest.low < 0 < of_honest.high
    assert of_leaning.low > 0.15
    assert of_leaning.p_value < 1e-6


def test_units_of_columns_do_not_matter_however_extreme():
    rng = np.random.default_rng(8)
    gold, length, noise = rng.normal(size=(3, 50))
    plain = margin_dependence(gold + length + noise, gold, length)
    scaled = margin_dependence(1e150 * (gold + length + noise), 1e-150 * gold, 1e9 * length)
    for a, b in zip(plain.coefficients, scaled.coefficients, strict=True):
        assert (b.standardised, b.stderr) == pytest.approx((a.standardised, a.stderr))


def test_regressions_that_cannot_be_answered_are_refused():
    rng = np.random.default_rng(9)
    gold, length, margin = rng.normal(size=(3, 30))
    with pytest.raises(EstimationError, match="differs in length"):
        margin_dependence(margin, gold, np.zeros(30))
    with pytest.raises(EstimationError, match="linearly dependent"):
        margin_dependence(margin, gold, length, (gold + length)[:, None])
    with pytest.raises(EstimationError, match="more than as many prompts; got 2"):
        margin_dependence(margin, gold, length, prompt=np.arange(30) % 2)
    with pytest.raises(EstimationError, match="prefers nothing"):
        margin_dependence(np.zeros(30), gold, length)
    with pytest.raises(EstimationError, match="separate"):
        choice_dependence((gold > 0).astype(float), gold, length)
    with pytest.raises(DataError, match=r"within 0\.\.1"):
        choice_dependence(margin, gold, length)
    with pytest.raises(ShapeError, match="style_names"):
        margin_dependence(margin, gold, length, gold[:, None], style_names=["a", "b"])
    with pytest.raises(ShapeError, match="one row a pair"):
        margin_dependence(margin, gold, length, gold[:7, None])
    with pytest.raises(ShapeError, match="shape"):
        margin_dependence(margin[:9], gold, length)


def test_categories_are_accuracies_of_their_pairs_and_the_worst_is_judged_among_all():
    rng = np.random.default_rng(10)
    category = rng.choice(["code", "chat", "maths"], size=300)
    label = rng.integers(0, 2, size=300)
    margin = (2 * label - 1) * np.where(category == "maths", 0.1, 1.0) + rng.normal(size=300)
    found = accuracy_by_category(margin, label, category)
    assert [name for name, _ in found.by] == ["chat", "code", "maths"]
    for name, accuracy in found.by:
        assert accuracy == pair_accuracy(margin[category == name], label[category == name])
    assert found.worst == "maths"
    worst = dict(found.by)["maths"]
    kept = category == "maths"
    assert found.worst_simultaneous == pair_accuracy(margin[kept], label[kept], level=0.95 ** (1 / 3))
    assert found.worst_simultaneous.low < worst.low
    assert found.worst_simultaneous.high > worst.high
    by_prompt = accuracy_by_category(margin, label, category, prompt=np.arange(300) % 40)
    assert dict(by_prompt.by)["code"] == pair_accuracy(
        margin[category == "code"], label[category == "code"], prompt=(np.arange(300) % 40)[category == "code"]
    )
    with pytest.raises(DataError, match="no worst"):
        accuracy_by_category([], [], [])
    with pytest.raises(ShapeError, match="one name a pair"):
        accuracy_by_category([1.0], [1], ["a", "b"])


def coverage_of_length_bias() -> list[tuple[str, float]]:
    """The gap of a proxy that leans on length, 300 pairs of 60 prompts; the standardised coefficient of length."""
    rng = np.random.default_rng(61)
    lean, noise = 0.5, 1.0
    # Gold, length and error are independent Gaussians: with both of the first two positive, or one, the share of
    # right signs is a mean over their quadrant.
    node, weight = np.polynomial.legendre.leggauss(80)
    x, w = 4 * (node + 1), 4 * weight * np.exp(-8 * (node + 1) ** 2) * math.sqrt(2 / math.pi)
    gap = sum(s * (w @ norm.cdf((x[:, None] + s * lean * x) / noise) @ w) for s in (1, -1))
    gap_hits = coefficient_hits = 0
    for _ in range(2_000):
        gold, length, error = rng.normal(size=(3, 300))
        prompt = np.repeat(np.arange(60), 5)
        shared = (rng.normal(size=60)[prompt] + error) / math.sqrt(2)
        found = length_bias(gold + lean * length + noise * shared, gold > 0, length, prompt=prompt)
        gap_hits += found.gap_ci[0] <= gap <= found.gap_ci[1]
        fit = margin_dependence(gold + lean * length + noise * shared, gold, length, prompt=prompt)
        raw = fit.coefficients[1]
        half = (raw.high - raw.low) / 2 * raw.raw / raw.standardised
        coefficient_hits += abs(raw.raw - lean) <= half
    return [
        ("length-bias gap by prompt", float(gap_hits / 2_000)),
        ("length coefficient by prompt", coefficient_hits / 2_000),
    ]


@pytest.mark.slow
def test_intervals_cover_the_truth():
    for name, share in coverage_of_length_bias():
        assert 0.93 <= share <= 0.97, name
