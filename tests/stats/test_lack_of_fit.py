"""Does a law describe a curve: the level of the tests where it does, their power where it does not."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from overopt.stats.fitting import fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.lack_of_fit import (
    MANY_POINTS,
    UNTESTED,
    LackOfFit,
    constant_p_value,
    is_poor_fit,
    misfit_along_curve,
    misfit_of_errors,
    widening,
)
from overopt.stats.laws import law_value
from overopt.stats.resampling import bootstrap_means

EXAMPLE = Path(__file__).parents[2] / "examples/rl.csv"
CASES = {"bon": (0.8, 0.2, np.linspace(0.4, 3.2, 9)), "rl": (0.8, 0.4, np.linspace(0.4, 6, 9))}
PROMPTS = 64
SHAPES = {
    "tent": lambda d: np.minimum(d, 4 - d),
    "plateau": lambda d: np.minimum(d, 2.0),
    "cliff": lambda d: np.where(d < 2.5, d, 2.5 - 3 * (d - 2.5)),
}


def curve(law):
    alpha, beta, d = CASES[law]
    return d, law_value(law, d, alpha, beta)


def fitted(law, source, rng):
    """A fit of a curve that follows the law; prompts share most of their errors."""
    d, truth = curve(law)
    if source == "prompts":
        own, shared = rng.normal(size=(PROMPTS, d.size)), rng.normal(size=(PROMPTS, 1))
        values = truth + 0.2 * (np.sqrt(0.2) * own + np.sqrt(0.8) * shared * np.linspace(0.2, 1, d.size))
        draws = bootstrap_means(values, 200, rng)
        return fit_law(law, d**2, values.mean(axis=0), gold_draws=draws, n_units=PROMPTS)
    if source == "errors":
        se = np.geomspace(0.01, 0.08, d.size)
        return fit_law(law, d**2, truth + se * rng.normal(size=d.size), gold_se=se)
    kl, gold = np.concatenate([[0.0], d]) ** 2, 2 + np.concatenate([[0.0], truth])
    if source == "errors and a measured start":
        se = np.geomspace(0.02, 0.08, d.size + 1)
        return fit_law(law, kl, gold + se * rng.normal(size=se.size), gold_se=se, baseline="fitted")
    if source == "residuals and a measured start":
        return fit_law(law, kl, gold + 0.03 * rng.normal(size=gold.size), baseline="fitted")
    return fit_law(law, d**2, truth + 0.03 * rng.normal(size=d.size))


SOURCES = ("prompts", "errors", "errors and a measured start", "residuals", "residuals and a measured start")


def rejections(law, source, runs, seed):
    rng = np.random.default_rng(seed)
    fits = [fitted(law, source, rng) for _ in range(runs)]
    p_values = np.array([fit.lack_of_fit.p_value for fit in fits])
    return [(p_values < limit).mean() for limit in (0.01, 0.05, 0.5)], fits


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("law", CASES)
def test_curves_that_follow_the_law_are_seldom_refused(law, source):
    (rare, few, half), fits = rejections(law, source, 150, seed=1)
    assert rare <= 5 / 150  # at 1 % a sixth has a chance of 0.4 %
    assert few <= 17 / 150
    assert 0.35 <= half <= 0.65
    assert all((fit.widened_by > 1) <= (fit.lack_of_fit.p_value < 0.01) for fit in fits)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("law", CASES)
def test_the_level_of_every_test_holds(law, source):
    (rare, few, half), fits = rejections(law, source, 2000, seed=2)
    assert rare <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 2000)
    assert few <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert 0.45 <= half <= 0.55
    assert np.mean([fit.status == "poor_fit" and fit.r2 >= 0.5 for fit in fits]) <= 0.0167


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("source", ["prompts", "errors", "residuals"])
def test_curves_that_leave_the_law_are_refused_from_every_source(shape, source):
    rng, d = np.random.default_rng(3), np.linspace(0.2, 4, 20)
    truth = SHAPES[shape](d)
    for law in ("bon", "rl"):
        if source == "prompts":
            values = truth + 0.4 * (rng.normal(size=(PROMPTS, 1)) + 0.3 * rng.normal(size=(PROMPTS, d.size)))
            draws = bootstrap_means(values, 200, rng)
            fit = fit_law(law, d**2, values.mean(axis=0), gold_draws=draws, n_units=PROMPTS)
        else:
            gold = truth + 0.05 * rng.normal(size=d.size)
            fit = fit_law(law, d**2, gold, gold_se=np.full(d.size, 0.05) if source == "errors" else None)
        assert fit.lack_of_fit.p_value < 0.01, law
        assert fit.status == "poor_fit" or fit.r2 >= 0.98, law
        assert fit.widened_by > 1


def test_the_runs_of_the_example_are_not_called_a_good_fit():
    """R^2 of 0.98, 0.93 and 0.86 at 25, 36 and 5 times the errors, with peaks far from the highest point seen."""
    with EXAMPLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for run, least in (("w8", 10), ("w16", 20), ("w32", 3)):
        kl, gold, se = (np.array([float(r[k]) for r in rows if r["run"] == run]) for k in ("kl", "gold", "gold_se"))
        fit = fit_law("rl", kl, gold, gold_se=se, baseline="fitted", rng=np.random.default_rng(0))
        assert fit.status == "poor_fit"
        assert fit.lack_of_fit.chi2_per_dof > least
        assert fit.widened_by == pytest.approx(math.sqrt(fit.lack_of_fit.chi2_per_dof))
        unknown = fit_law("rl", kl, gold, baseline="fitted", rng=np.random.default_rng(0))
        assert unknown.status != "ok"


def test_equal_errors_give_the_usual_chi_squared_test():
    rng, (d, truth) = np.random.default_rng(4), curve("bon")
    gold = truth + 0.05 * rng.normal(size=d.size)
    for se in (0.02, 0.05, 0.1):
        fit = fit_law("bon", d**2, gold, gold_se=np.full(d.size, se))
        design = np.stack([d, -(d**2)], axis=1)
        chi2 = float(np.linalg.lstsq(design, gold, rcond=None)[1][0]) / se**2
        assert fit.lack_of_fit.chi2_per_dof == pytest.approx(chi2 / (d.size - 2))
        assert fit.lack_of_fit.p_value == pytest.approx(stats.chi2.sf(chi2, d.size - 2), abs=2e-3)
        assert fit.lack_of_fit.method == "chi2_of_errors"


def test_few_units_know_their_errors_badly():
    """One dominating component and U units: an F of 1 and U - 1 degrees of freedom, times the lost U / (U - 1)."""
    direction = np.array([3.0, 1.0, -2.0])
    covariance = np.outer(direction, direction)
    for units in (3, 10, 60):
        lack = misfit_of_errors(3 * direction, np.ones(3), covariance, method="chi2_of_draws", units=units)
        statistic = 9 * (units - 1) / units
        assert lack.chi2_per_dof == pytest.approx(statistic)
        assert lack.p_value == pytest.approx(stats.f.sf(statistic, 1, units - 1), abs=1e-6)
    assert misfit_of_errors(direction, np.ones(3), covariance, method="chi2_of_draws", units=1) == UNTESTED


def test_von_neumanns_ratio_has_its_exact_distribution():
    """Against 20,000 fits of scatter about the same points."""
    rng, (d, _) = np.random.default_rng(5), curve("rl")
    design = np.stack([d, -d * np.log(d)], axis=1)
    left = np.eye(d.size) - design @ np.linalg.pinv(design)
    drawn = rng.normal(size=(20_000, d.size)) @ left.T
    ratios = np.sum(np.diff(drawn, axis=1) ** 2, axis=1) / np.sum(drawn**2, axis=1)
    for residual in drawn[:6]:
        ratio = np.sum(np.diff(residual) ** 2) / np.sum(residual**2)
        lack = misfit_along_curve(residual, left @ left.T, [np.arange(d.size)], scale=1.0)
        assert lack.p_value == pytest.approx((ratios < ratio).mean(), abs=0.015)
        assert lack.inflation == pytest.approx(math.sqrt((4 - ratio) / ratio))
        assert math.isnan(lack.chi2_per_dof)


def test_points_may_hang_together_by_step_where_distance_hides_it():
    """A run that turns back in KL: each distance holds an early and a late point, and the late ones are lower."""
    d = np.concatenate([np.linspace(0.5, 4, 20), np.linspace(3.9, 0.6, 20)])
    history = np.repeat([0.25, -0.25], 20)
    gold = law_value("bon", d, 0.8, 0.2) + history + 0.02 * np.random.default_rng(6).normal(size=40)
    assert fit_law("bon", d**2, gold).lack_of_fit.p_value < 1e-4
    order = np.random.default_rng(7).permutation(40)
    assert fit_law("bon", d[order] ** 2, gold[order]).lack_of_fit.p_value > 0.01
    by_distance = np.argsort(d)
    residual = np.cos(np.arange(40.0))
    once = misfit_along_curve(residual, np.eye(40), [by_distance], scale=1.0)
    again = misfit_along_curve(residual, np.eye(40), [by_distance, by_distance, by_distance[::-1]], scale=1.0)
    assert again == once


@pytest.mark.parametrize("has_errors", [False, True])
def test_very_many_points_are_tested_like_many(has_errors):
    rng = np.random.default_rng(8)
    p_values = []
    for points in (MANY_POINTS, MANY_POINTS + 1):
        d = np.linspace(0.1, 4, points)
        gold = law_value("bon", d, 0.8, 0.2) + 0.1 * np.cos(2 * d) + rng.normal(size=points)
        se = rng.uniform(0.8, 1.2, points) if has_errors else None
        p_values.append([fit_law("bon", d**2, y, gold_se=se).lack_of_fit.p_value for y in (gold, gold + np.cos(2 * d))])
    for near, far in p_values:
        assert near > 0.01
        assert far < 0.01


@pytest.mark.parametrize("has_errors", [False, True])
def test_very_many_points_keep_the_level(has_errors):
    rng, d = np.random.default_rng(9), np.linspace(0.1, 4, MANY_POINTS + 100)
    se = np.geomspace(0.5, 2, d.size)
    p_values = np.array(
        [
            fit_law(
                "bon",
                d**2,
                law_value("bon", d, 0.8, 0.2) + (se if has_errors else 1) * rng.normal(size=d.size),
                gold_se=se if has_errors else None,
            ).lack_of_fit.p_value
            for _ in range(100)
        ]
    )
    assert (p_values < 0.01).sum() <= 5
    assert 0.3 <= (p_values < 0.5).mean() <= 0.7


def lack(p_value, inflation=3.0):
    return LackOfFit(p_value=p_value, chi2_per_dof=inflation**2, inflation=inflation, method="chi2_of_errors")


@pytest.mark.parametrize(
    ("r2", "p_value", "is_poor"),
    [(0.49, 0.9, True), (math.nan, 0.9, True), (0.51, 0.9, False), (0.97, 0.009, True), (0.97, 0.011, False),
     (0.981, 1e-9, False), (0.97, math.nan, False)],
)  # fmt: skip
def test_misfit_counts_when_it_is_certain_and_large(r2, p_value, is_poor):
    assert is_poor_fit(r2, lack(p_value), 0.009) == is_poor
    assert is_poor_fit(r2, lack(p_value), math.nan) == is_poor
    assert is_poor_fit(r2, lack(p_value), 0.011)


def test_intervals_are_widened_when_misfit_is_certain_and_never_narrowed():
    assert widening(lack(0.009)) == 3
    assert widening(lack(0.011)) == 1
    assert widening(lack(0.009, 0.7)) == 1
    assert widening(UNTESTED) == 1


@pytest.mark.parametrize("source", ["errors", "draws"])
def test_small_certain_misfit_keeps_its_status_and_widens_the_intervals(source):
    rng, d = np.random.default_rng(10), np.linspace(0.3, 4, 12)
    gold = law_value("bon", d, 0.8, 0.2) + 0.01 * np.cos(3 * d)
    wide, narrow = (
        fit_law("bon", d**2, gold, gold_se=np.full(12, se), rng=np.random.default_rng(0))
        if source == "errors"
        else fit_law("bon", d**2, gold, gold_draws=gold + se * rng.normal(size=(4000, 12)))
        for se in (0.001, 0.1)
    )
    assert (wide.status, narrow.status) == ("ok", "ok")
    assert narrow.widened_by == 1
    assert wide.widened_by == pytest.approx(math.sqrt(wide.lack_of_fit.chi2_per_dof))
    assert wide.widened_by > 3
    # Errors of 0.001 widened to those that the misfit shows, against errors of 0.1.
    for name in ("alpha_ci", "beta_ci"):
        expected = np.ptp(getattr(narrow, name)) * wide.widened_by / 100
        assert np.ptp(getattr(wide, name)) == pytest.approx(expected, rel=0.1)
        assert np.mean(getattr(wide, name)) == pytest.approx(getattr(wide, name.removesuffix("_ci")), abs=0.002)
    assert wide.to_dict()["widened_by"] == wide.widened_by


def test_one_misfit_among_shared_curves_is_told_from_the_others():
    rng, d = np.random.default_rng(11), np.linspace(0.3, 4, 16)
    for se in (None, [np.full(16, 0.03)] * 3):
        golds = [law_value("bon", d, 0.8, beta) + 0.03 * rng.normal(size=16) for beta in (0.15, 0.2)]
        golds.append(np.minimum(0.8 * d, 1.2) * np.where(d > 3, 0.5, 1) + 0.03 * rng.normal(size=16))
        found = fit_shared_alpha("bon", [d**2] * 3, golds, gold_se=se, rng=rng)
        assert found.fits[2].status == "poor_fit"
        assert found.fits[2].lack_of_fit.p_value < 0.01
        assert found.fits[2].widened_by > 1


@pytest.mark.parametrize("has_errors", [False, True])
def test_shared_curves_that_follow_the_law_are_seldom_refused(has_errors):
    rng, d = np.random.default_rng(12), np.linspace(0.3, 4, 10)
    se = [np.full(10, 0.03)] * 2 if has_errors else None
    p_values = []
    for _ in range(60):
        golds = [law_value("bon", d, 0.8, beta) + 0.03 * rng.normal(size=10) for beta in (0.15, 0.2)]
        found = fit_shared_alpha("bon", [d**2] * 2, golds, gold_se=se, rng=rng)
        p_values += [fit.lack_of_fit.p_value for fit in found.fits]
    assert np.mean(np.array(p_values) < 0.01) <= 0.05
    assert 0.35 <= np.mean(np.array(p_values) < 0.5) <= 0.65


@pytest.mark.parametrize("se", [None, 0.05])
def test_constant_gold_is_seldom_rejected_and_a_slow_change_is_seen(se):
    rng, place = np.random.default_rng(14), np.linspace(-1, 1, 40)
    errors = None if se is None else np.full(40, se)
    flat = [constant_p_value(1 + 0.05 * rng.normal(size=40), errors) for _ in range(400)]
    assert np.mean(np.array(flat) < 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert constant_p_value(1 + 0.1 * place + 0.05 * rng.normal(size=40), errors) < 0.01
    assert constant_p_value(1 - 0.15 * place**2 + 0.05 * rng.normal(size=40), errors) < 0.05
    assert constant_p_value(np.full(40, 1 / 3), errors) == 1


def test_two_orders_are_two_chances_and_are_counted_as_such():
    rng = np.random.default_rng(15)
    residual, one, other = rng.normal(size=20), np.arange(20), rng.permutation(20)
    p_values = [
        misfit_along_curve(residual, np.eye(20), orders, scale=1.0).p_value for orders in ([one], [other], [one, other])
    ]
    assert p_values[2] == pytest.approx(min(1.0, 2 * min(p_values[:2])))
