"""What a fit says beside its coefficients: what gold does over the data, and the best point seen."""

import json

import numpy as np
import pytest

from overopt.stats.fitting import fit_law
from overopt.stats.laws import law_value

D = np.linspace(0.3, 4, 12)
CASES = {
    "falls": ("bon", -0.3, 0.01),
    "rises": ("bon", 0.5, 0.02),
    "turns": ("bon", 0.8, 0.2),
}


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("source", ["gold_se", "residuals", "units"])
def test_the_shape_says_what_gold_does(shape, source):
    law, alpha, beta = CASES[shape]
    rng = np.random.default_rng(1)
    gold = law_value(law, D, alpha, beta) + 0.01 * rng.normal(size=D.size)
    fit = fit_law(
        law, D**2, gold,
        gold_se=np.full(D.size, 0.01) if source == "gold_se" else None,
        gold_draws=gold + 0.01 * rng.normal(size=(300, D.size)) if source == "units" else None,
        rng=rng,
    )  # fmt: skip
    assert fit.shape == shape
    assert fit.to_dict()["shape"] == shape


def test_a_shape_that_draws_disagree_about_is_not_told():
    rng = np.random.default_rng(2)
    gold = law_value("bon", D, 0.8, 0.11)  # turns at 3.6, just before the last point
    fit = fit_law("bon", D**2, gold + 0.05 * rng.normal(size=D.size), gold_se=np.full(D.size, 0.05), rng=rng)
    assert fit.shape is None


def test_gold_that_only_falls_is_called_so_by_both_laws():
    """A peak at d = 1e-14 and no peak at all both mean that gold fell from the start."""
    rng, kl = np.random.default_rng(3), np.arange(1, 40) * 0.5
    gold = -0.3 * np.sqrt(kl) + 0.05 * rng.normal(size=kl.size)
    for law in ("bon", "rl"):
        fit = fit_law(law, kl, gold, rng=rng)
        assert fit.shape == "falls", law
        assert fit.peak is None or fit.peak.d < 0.1


def test_a_law_that_does_not_describe_the_curve_tells_no_shape():
    fit = fit_law("bon", D**2, np.cos(3 * D), rng=np.random.default_rng(0))
    assert (fit.status, fit.shape) == ("poor_fit", None)


def test_the_best_point_seen_is_the_measured_one():
    gold = law_value("bon", D, 0.8, 0.2)
    gold[9] = 5.0
    fit = fit_law("bon", D**2, gold)
    assert (fit.best_seen.d, fit.best_seen.gold) == (pytest.approx(D[9]), 5.0)
    at_start = fit_law("bon", np.concatenate([[0.0, -1.0], D**2]), np.concatenate([[0.0, 9.0], -D]))
    assert (at_start.best_seen.d, at_start.best_seen.gold) == (0.0, 0.0)
    few = fit_law("bon", [1.0, 4.0], [0.5, 0.7])
    assert (few.status, few.best_seen.d) == ("too_few_points", 2.0)
    assert fit_law("bon", [], []).best_seen is None
    json.dumps(few.to_dict(), allow_nan=False)
