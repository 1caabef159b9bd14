"""Nominal 95 % intervals of laws fitted to a curve: 2,000 runs about known coefficients, for every source of intervals.

Where the units are prompts, each answers at every point, and its errors at two points correlate by 0.8.
"""

import numpy as np
import pytest

from overopt.stats.fitting import fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.laws import law_value, peak
from overopt.stats.resampling import bootstrap_means

RUNS, PROMPTS, DRAWS = 2_000, 64, 400
# alpha, beta, and distances of eight points about the peak.
CASES = {
    "bon": (0.8, 0.2, np.linspace(0.4, 3.2, 8)),
    "rl": (0.8, 0.4, np.linspace(0.5, 6, 8)),
}
NOISE = np.geomspace(0.02, 0.04, 8)
LAWS = tuple(CASES)


def share_that_holds(fits, alpha, beta, turn):
    """Share of intervals around alpha, beta and the distance of the peak; no peak counts as a miss."""
    inside = [
        (
            fit.alpha_ci[0] <= alpha <= fit.alpha_ci[1],
            fit.beta_ci[0] <= beta <= fit.beta_ci[1],
            fit.peak is not None and fit.peak.d_ci[0] <= turn <= fit.peak.d_ci[1],
        )
        for fit in fits
    ]
    return [float(share) for share in np.mean(inside, axis=0)]


def named(title, law, shares):
    return [
        (f"{title}, {law}, {name}", share)
        for name, share in zip(("alpha", "beta", "peak", "gold"), shares, strict=False)
    ]


def coverage_over_prompts(law) -> list[tuple[str, float]]:
    """Bootstrap over prompts of which each is easy, or hard, at all points."""
    alpha, beta, d = CASES[law]
    rng, truth, fits = np.random.default_rng(30), law_value(law, d, alpha, beta), []
    for _ in range(RUNS):
        own, common = rng.normal(size=(PROMPTS, d.size)), rng.normal(size=(PROMPTS, 1))
        values = truth + NOISE * np.sqrt(PROMPTS) * (np.sqrt(0.2) * own + np.sqrt(0.8) * common)
        draws = bootstrap_means(values, DRAWS, rng)
        fits.append(fit_law(law, d**2, values.mean(axis=0), gold_draws=draws, n_units=PROMPTS))
    return named("prompts", law, share_that_holds(fits, alpha, beta, peak(law, alpha, beta).d))


def coverage_of_known_errors(law) -> list[tuple[str, float]]:
    """Independent errors of known size, which grows along the curve."""
    alpha, beta, d = CASES[law]
    rng, truth = np.random.default_rng(31), law_value(law, d, alpha, beta)
    fits = [fit_law(law, d**2, truth + NOISE * rng.normal(size=d.size), gold_se=NOISE, rng=rng) for _ in range(RUNS)]
    return named("gold_se", law, share_that_holds(fits, alpha, beta, peak(law, alpha, beta).d))


def coverage_of_residuals(law) -> list[tuple[str, float]]:
    """Independent errors of one unknown size."""
    alpha, beta, d = CASES[law]
    rng, truth = np.random.default_rng(32), law_value(law, d, alpha, beta)
    fits = [fit_law(law, d**2, truth + 0.03 * rng.normal(size=d.size), rng=rng) for _ in range(RUNS)]
    return named("residuals", law, share_that_holds(fits, alpha, beta, peak(law, alpha, beta).d))


def with_a_measured_start(law, rng, sd):
    """A curve of gold about 2 whose first row is KL 0, measured with an error like the others."""
    alpha, beta, d = CASES[law]
    d = np.concatenate([[0.0], d])
    return d**2, 2 + law_value(law, d, alpha, beta) + sd * rng.normal(size=d.size)


def share_that_holds_with_a_start(fits, law):
    """As ``share_that_holds``, and for gold at the peak and at KL 0."""
    alpha, beta, _ = CASES[law]
    turn = peak(law, alpha, beta)
    gold = np.mean([fit.peak is not None and fit.peak.gold_ci[0] <= turn.gold <= fit.peak.gold_ci[1] for fit in fits])
    return [*share_that_holds(fits, alpha, beta, turn.d), float(gold)]


def coverage_of_known_errors_with_a_measured_start(law) -> list[tuple[str, float]]:
    """Errors of known size at every point, KL 0 included."""
    rng, sd = np.random.default_rng(34), np.concatenate([[0.03], NOISE])
    curves = [with_a_measured_start(law, rng, sd) for _ in range(RUNS)]
    fits = [fit_law(law, kl, gold, gold_se=sd, baseline="fitted", rng=rng) for kl, gold in curves]
    starts = np.mean([abs(fit.baseline - 2) <= 1.959964 * fit.baseline_se for fit in fits])
    return [
        *named("gold_se, KL 0 measured", law, share_that_holds_with_a_start(fits, law)),
        (f"gold_se, KL 0 measured, {law}, baseline", float(starts)),
    ]


def coverage_of_residuals_with_a_measured_start(law) -> list[tuple[str, float]]:
    """Errors of one unknown size at every point, KL 0 included."""
    rng = np.random.default_rng(35)
    curves = [with_a_measured_start(law, rng, 0.03) for _ in range(RUNS)]
    fits = [fit_law(law, kl, gold, baseline="fitted", rng=rng) for kl, gold in curves]
    return named("residuals, KL 0 measured", law, share_that_holds_with_a_start(fits, law))


def coverage_of_shared_alpha_with_measured_starts(law) -> list[tuple[str, float]]:
    """Two curves, each with its own measured KL 0; beta and the peak are the second's."""
    alpha, beta, d = CASES[law]
    rng, second = np.random.default_rng(36), 1.2 * beta
    found = []
    for _ in range(RUNS // 2):
        golds = [
            start + law_value(law, x, alpha, b) + 0.03 * rng.normal(size=x.size)
            for start, b, x in ((2, beta, np.concatenate([[0.0], d])), (-1, second, np.concatenate([[0.0], d])))
        ]
        kl = np.concatenate([[0.0], d]) ** 2
        found.append(fit_shared_alpha(law, [kl, kl], golds, baselines=["fitted"] * 2, rng=rng).fits[1])
    turn = peak(law, alpha, second).d
    return named("shared alpha, KL 0 measured", law, share_that_holds(found, alpha, second, turn))


def coverage_of_shared_alpha(law) -> list[tuple[str, float]]:
    """Two curves of eight and four points with errors of one unknown size; beta and the peak are the second's."""
    alpha, beta, d = CASES[law]
    rng, betas, ds = np.random.default_rng(33), (beta, 1.2 * beta), (d, d[1::2])
    truths = [law_value(law, x, alpha, b) for x, b in zip(ds, betas, strict=True)]
    found = [
        fit_shared_alpha(
            law, [x**2 for x in ds], [truth + 0.03 * rng.normal(size=truth.size) for truth in truths], rng=rng
        )
        for _ in range(RUNS)
    ]
    turn = peak(law, alpha, betas[1]).d
    return named("shared alpha", law, share_that_holds([shared.fits[1] for shared in found], alpha, betas[1], turn))


SOURCES = {
    "prompts": coverage_over_prompts,
    "gold_se": coverage_of_known_errors,
    "residuals": coverage_of_residuals,
    "shared alpha": coverage_of_shared_alpha,
    "gold_se, KL 0 measured": coverage_of_known_errors_with_a_measured_start,
    "residuals, KL 0 measured": coverage_of_residuals_with_a_measured_start,
    "shared alpha, KL 0 measured": coverage_of_shared_alpha_with_measured_starts,
}


def coverage_of_laws() -> list[tuple[str, float]]:
    """Case name and coverage."""
    return [case for source in SOURCES.values() for law in LAWS for case in source(law)]


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("source", SOURCES)
def test_nominal_intervals_cover(source, law):
    # Percentiles of a bootstrap over U units are too narrow by sqrt((U - 1) / U) and have no t factor: at 64 prompts
    # 95 % becomes 94.3 %, and 2,000 runs have a standard error of 0.5 %.
    assert {name: share for name, share in SOURCES[source](law) if not 0.93 <= share <= 0.97} == {}
