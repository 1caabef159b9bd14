"""Gold at KL 0 as one more coefficient: what a file with a measured, noisy first row asks for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError
from overopt.stats.fitting import fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.laws import ALL_LAWS, FITTED_LAWS, fit_with_offset, law_value, peak
from overopt.stats.least_squares import fit_curve

laws = st.sampled_from(FITTED_LAWS)
coefficients = st.tuples(st.floats(-3, 3), st.floats(-2, 2))
D = np.concatenate([[0.0, 0.0], np.linspace(0.3, 4, 12)])


def columns(law, d):
    """By definition: 1, d and -d g(d)."""
    g = {"bon": d, "rl": np.log(np.where(d > 0, d, 1)), "rl1p": np.log(1 + d)}[law]
    return np.stack([np.ones(d.size), d, -d * g], axis=1)


def general(law, d, gold, weights):
    root = np.sqrt(weights)
    return np.linalg.lstsq(columns(law, d) * root[:, None], gold * root, rcond=None)[0]


@given(laws, coefficients, st.floats(-100, 100), st.integers(0, 1000))
def test_exact_data_give_their_coefficients_and_their_baseline_back(law, truth, start, seed):
    rng = np.random.default_rng(seed)
    d = np.concatenate([[0.0], np.cumsum(rng.uniform(0.2, 1.5, 6))])
    gold = start + law_value(law, d, *truth)
    for se in (None, rng.uniform(0.1, 1, 7)):
        fit = fit_law(law, d**2, gold, gold_se=se, baseline="fitted")
        assert (fit.alpha, fit.beta, fit.baseline) == pytest.approx((*truth, start), abs=1e-9)


@given(laws, st.integers(0, 10_000))
def test_noisy_data_give_what_a_general_solver_gives(law, seed):
    rng = np.random.default_rng(seed)
    gold, se = rng.normal(size=D.size), rng.uniform(0.01, 1, D.size)
    fit = fit_law(law, D**2, gold, gold_se=se, baseline="fitted")
    weights = np.maximum(se, np.median(se)) ** -2
    offset, alpha, beta = general(law, D, gold, weights)
    assert (fit.alpha, fit.beta, fit.baseline) == pytest.approx((alpha, beta, offset), rel=1e-7, abs=1e-8)
    residual = gold - columns(law, D) @ [offset, alpha, beta]
    # AICc with three coefficients and the scale of the errors, over all points, KL 0 included.
    scaled = weights / weights.mean()
    expected = D.size * math.log(np.sum(scaled * residual**2) / D.size) + 8 + 40 / (D.size - 5)
    assert fit.aicc == pytest.approx(expected, rel=1e-6, abs=1e-6)
    total = np.sum(weights * (gold - np.average(gold, weights=weights)) ** 2)
    assert fit.r2 == pytest.approx(1 - np.sum(weights * residual**2) / total, abs=1e-9)


@given(laws, st.integers(0, 1000))
def test_draws_are_fitted_as_if_one_at_a_time(law, seed):
    rng = np.random.default_rng(seed)
    gold, weights = rng.normal(size=(5, D.size)), rng.uniform(0.1, 5, D.size)
    many = fit_with_offset(law, D, gold, weights)
    for k in range(5):
        np.testing.assert_allclose([c[k] for c in many], fit_with_offset(law, D, gold[k], weights), rtol=1e-9)
    moved = fit_with_offset(law, np.stack([D, 2 * D]), gold[0], weights)
    np.testing.assert_allclose([c[1] for c in moved], fit_with_offset(law, 2 * D, gold[0], weights), rtol=1e-9)


@given(laws, st.floats(-1e3, 1e3), st.integers(0, 1000))
def test_gold_from_another_zero_moves_the_baseline_alone(law, shift, seed):
    rng = np.random.default_rng(seed)
    gold = law_value(law, D, 0.8, 0.3) + 0.05 * rng.normal(size=D.size)
    one, other = (fit_law(law, D**2, gold + by, baseline="fitted", rng=np.random.default_rng(0)) for by in (0.0, shift))
    assert other.baseline == pytest.approx(one.baseline + shift, abs=1e-8)
    assert other.status == one.status
    for name in ("alpha", "beta", "alpha_ci", "beta_ci", "r2", "rmse", "aicc", "baseline_se"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-6, atol=1e-8)
    assert other.peak.d_ci == pytest.approx(one.peak.d_ci, rel=1e-6)
    assert (other.best_seen.d, other.best_seen.gold) == pytest.approx((one.best_seen.d, one.best_seen.gold), abs=1e-8)


@pytest.mark.parametrize("source", ["gold_se", "residuals", "none", "units"])
def test_the_error_of_the_baseline_is_its_spread(source):
    rng, sd, baselines, errors = np.random.default_rng(1), 0.05, [], []
    truth = 2 + law_value("rl", D, 0.8, 0.4)
    for _ in range(400):
        gold = truth + sd * rng.normal(size=D.size)
        fit = fit_law(
            "rl", D**2, gold,
            gold_se=np.full(D.size, sd) if source == "gold_se" else None,
            gold_draws=gold + sd * rng.normal(size=(200, D.size)) if source == "units" else None,
            rng=None if source == "none" else rng, baseline="fitted",
        )  # fmt: skip
        baselines.append(fit.baseline)
        errors.append(fit.baseline_se)
    assert np.mean(baselines) == pytest.approx(2, abs=4 * np.std(baselines) / 20)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(baselines), rel=0.12)


def test_a_noisy_first_row_is_covered_and_taking_it_for_exact_is_not():
    """The defect: subtract the noisy row, and intervals of nominal 95 % hold the peak's gold in 4 of 10 runs."""
    rng, kl = np.random.default_rng(2), np.concatenate([[0.0], np.arange(1, 40) * 0.5])
    truth, turn = law_value("rl", np.sqrt(kl), 1.0, 0.75), peak("rl", 1.0, 0.75)
    held = {"fitted": 0, "subtracted": 0}
    for _ in range(200):
        gold = 2 + truth + 0.08 * rng.normal(size=40)
        fits = {
            "fitted": fit_law("rl", kl, gold, baseline="fitted", rng=rng),
            "subtracted": fit_law("rl", kl, gold - gold[0], rng=rng),
        }
        for name, fit in fits.items():
            held[name] += fit.peak.gold_ci[0] <= turn.gold <= fit.peak.gold_ci[1]
    assert held["fitted"] >= 180
    assert held["subtracted"] <= 120


@pytest.mark.parametrize("law", ALL_LAWS)
def test_every_curve_can_start_from_a_fitted_value(law):
    gamma = {"power": 1.7, "root": 0.6}.get(law)
    gold = 3 + law_value(law, D, 1.2, 0.2, gamma)
    found = fit_curve(law, D, gold, np.ones(D.size), has_offset=True)
    np.testing.assert_allclose(found.value(D), gold, atol=1e-6)
    assert found.offset == pytest.approx(3, abs=1e-5)
    assert found.alpha == pytest.approx(1.2, abs=1e-5)
    fixed = fit_curve(law, D, gold, np.ones(D.size))
    assert np.abs(fixed.value(D) - gold).max() > 0.5


def test_alternatives_are_judged_with_the_same_offset_and_counted_with_it():
    rng = np.random.default_rng(3)
    gold = 5 + law_value("bon", D, 0.8, 0.2) + 0.02 * rng.normal(size=D.size)
    fit = fit_law("bon", D**2, gold, baseline="fitted")
    by_law = {other.law: other for other in fit.alternatives}
    straight = np.polynomial.Polynomial.fit(D, gold, 1)(D)
    assert by_law["linear"].r2 == pytest.approx(1 - np.sum((gold - straight) ** 2) / np.sum((gold - gold.mean()) ** 2))
    expected = D.size * math.log(np.mean((gold - straight) ** 2)) + 6 + 24 / (D.size - 4)
    assert by_law["linear"].aicc == pytest.approx(expected)
    rl = fit_law("rl", D**2, gold, baseline="fitted")
    assert by_law["rl"].aicc == pytest.approx(rl.aicc)
    assert {other.law: other for other in rl.alternatives}["bon"].aicc == pytest.approx(fit.aicc)


def test_points_count_those_above_kl_0_and_negative_ones_stay_out():
    kl = np.concatenate([[-0.3, 0.0], np.linspace(0.5, 9, 5)])
    gold = np.concatenate([[50.0, 1.0], 1 + law_value("bon", np.sqrt(kl[2:]), 0.8, 0.2)])
    fit = fit_law("bon", kl, gold, baseline="fitted")
    assert (fit.points, fit.alpha, fit.baseline) == (5, pytest.approx(0.8), pytest.approx(1))
    assert fit.best_seen.d > 0
    assert fit.best_seen.gold == pytest.approx(gold[1:].max() - fit.baseline)
    assert fit_law("bon", kl[:5], gold[:5], baseline="fitted").status == "too_few_points"
    assert fit_law("bon", kl[:6], gold[:6], baseline="fitted").status != "too_few_points"


def test_an_exact_baseline_has_no_error_and_leaves_kl_0_out():
    gold = law_value("bon", D, 0.8, 0.2)
    moved = gold + np.where(D == 0, 7.0, 0.0)
    one, other = fit_law("bon", D**2, gold), fit_law("bon", D**2, moved)
    assert (one.baseline, one.baseline_se) == (0, 0)
    assert (one.alpha, one.beta, one.aicc) == (other.alpha, other.beta, other.aicc)


def test_a_baseline_cannot_be_fitted_without_a_point_at_kl_0():
    for kl in (np.linspace(0.5, 9, 8), np.linspace(-1, 9, 8)):
        with pytest.raises(DataError, match="KL 0"):
            fit_law("bon", kl, np.ones(8), baseline="fitted")
    with pytest.raises(ConfigError, match="exact or fitted"):
        fit_law("bon", D**2, D, baseline="free")


@pytest.mark.parametrize("distances", [[0.0, 0.0, 2, 2, 2, 2, 2], [0.0, 2, 2 + 1e-9, 2, 2, 2 - 1e-9]])
def test_two_distances_do_not_determine_three_coefficients(distances):
    d = np.array(distances)
    for rng in (None, np.random.default_rng(0)):
        fit = fit_law("bon", d**2, np.cos(d) + 0.1 * np.arange(d.size), baseline="fitted", rng=rng)
        assert (fit.status, fit.peak, fit.intervals) == ("unidentified", None, "none")


@given(laws, st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.floats(-3, 3), st.integers(0, 1000))
def test_shared_alpha_gives_every_exact_baseline_back(law, betas, alpha, seed):
    rng = np.random.default_rng(seed)
    starts = rng.normal(size=len(betas))
    d = [np.concatenate([[0.0], np.cumsum(rng.uniform(0.2, 1, rng.integers(4, 9)))]) for _ in betas]
    gold = [s + law_value(law, x, alpha, b) for s, x, b in zip(starts, d, betas, strict=True)]
    found = fit_shared_alpha(law, [x**2 for x in d], gold, baselines=["fitted"] * len(betas), rng=rng)
    assert found.alpha == pytest.approx(alpha, abs=1e-8)
    assert [fit.beta for fit in found.fits] == pytest.approx(betas, abs=1e-8)
    assert [fit.baseline for fit in found.fits] == pytest.approx(list(starts), abs=1e-8)


def test_shared_alpha_with_baselines_is_one_stacked_regression():
    rng = np.random.default_rng(4)
    d = [D, D[1:], np.linspace(0.4, 3, 6)]
    gold, kinds = [rng.normal(size=x.size) for x in d], ["fitted", "fitted", "exact"]
    found = fit_shared_alpha("rl", [x**2 for x in d], gold, baselines=kinds, rng=rng)
    for fit, x, y in zip(found.fits, d, gold, strict=True):
        assert fit.best_seen.gold == pytest.approx(y.max() - fit.baseline)
        assert fit.best_seen.d == pytest.approx(x[y.argmax()])
    rows = sum(x.size for x in d)
    design, at = np.zeros((rows, 6)), 0  # alpha, three betas, two offsets
    for g, x in enumerate(d):
        part = columns("rl", x)
        design[at : at + x.size, 0], design[at : at + x.size, 1 + g] = part[:, 1], part[:, 2]
        if kinds[g] == "fitted":
            design[at : at + x.size, 4 + g] = 1
        at += x.size
    expected, *_ = np.linalg.lstsq(design, np.concatenate(gold), rcond=None)
    assert found.alpha == pytest.approx(expected[0], abs=1e-9)
    np.testing.assert_allclose([fit.beta for fit in found.fits], expected[1:4], atol=1e-9)
    np.testing.assert_allclose([fit.baseline for fit in found.fits], [*expected[4:], 0], atol=1e-9)
    residual = np.concatenate(gold) - design @ expected
    aicc = rows * math.log(np.mean(residual**2)) + 14 + 112 / (rows - 8)
    assert found.aicc == pytest.approx(aicc)
    assert [fit.baseline_se > 0 for fit in found.fits] == [True, True, False]


def test_one_curve_shared_with_itself_is_fitted_as_alone():
    rng = np.random.default_rng(5)
    gold = 2 + law_value("bon", D, 0.8, 0.25) + 0.03 * rng.normal(size=D.size)
    (shared,) = fit_shared_alpha("bon", [D**2], [gold], baselines=["fitted"], rng=rng).fits
    alone = fit_law("bon", D**2, gold, baseline="fitted", rng=rng)
    for name in ("alpha", "beta", "baseline", "r2", "aicc", "points", "status"):
        assert getattr(shared, name) == pytest.approx(getattr(alone, name))
    assert shared.baseline_se == pytest.approx(alone.baseline_se, rel=0.15)
    assert shared.lack_of_fit.p_value == pytest.approx(alone.lack_of_fit.p_value, abs=0.03)
