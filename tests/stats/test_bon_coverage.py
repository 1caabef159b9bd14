"""Nominal 95 % intervals over prompts of best-of-n numbers, against closed-form truth: 2,000 runs of 60 prompts."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

from overopt.stats.best_of_poisson import best_of_poisson_curve
from overopt.stats.bon import best_of_n_curve
from overopt.stats.hedge import hedge_tune
from overopt.stats.win_rate import best_of_n_win_rate

RUNS, PROMPTS, POOL = 2_000, 60, 24
# Gold is this far correlated with a Gaussian proxy.
RHO = 0.6


def normal_density(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def expected(value, density_of_quantile):
    """Mean of ``value(z)`` when the quantile of the Gaussian z has this density."""
    return quad(lambda z: value(z) * density_of_quantile(ndtr(z)) * normal_density(z), -9, 9, epsabs=1e-12)[0]


def coverage(by_prompt, truth):
    """Share of runs whose mean over prompts is within 1.96 standard errors of the truth."""
    by_run = by_prompt.reshape(RUNS, PROMPTS)
    error = by_run.std(axis=1, ddof=1) / np.sqrt(PROMPTS)
    return float((np.abs(by_run.mean(axis=1) - truth) <= 1.96 * error).mean())


def coverage_of_best_of_n() -> list[tuple[str, float]]:
    """Case name and coverage."""
    rng = np.random.default_rng(20)
    proxy = rng.normal(size=(RUNS * PROMPTS, POOL))
    gold = RHO * proxy + np.sqrt(1 - RHO**2) * rng.normal(size=proxy.shape)
    ns, mu = [1, 4, 16], 2.0
    curve, rate = best_of_n_curve(proxy, gold, ns), best_of_n_win_rate(proxy, gold, ns)
    cases = []
    for k, n in enumerate(ns):

        def density(u, n=n):
            return n * u ** (n - 1)

        truth = expected(lambda z: RHO * z, density)
        cases.append((f"best-of-{n} gold", coverage(curve[:, k], truth)))
        beats = expected(lambda z: ndtr(RHO * z / np.sqrt(2 - RHO**2)), density)
        if n > 1:  # at n = 1 the rate is 1/2 for every pool, without error
            cases.append((f"best-of-{n} win rate", coverage(rate[:, k], beats)))
    truth = expected(lambda z: RHO * z, lambda u: (1 + mu * u) * np.exp(mu * (u - 1)))
    cases.append((f"best-of-Poisson({mu:g}) gold", coverage(best_of_poisson_curve(proxy, gold, [mu])[:, 0], truth)))
    return cases


def coverage_of_hedged_gain() -> list[tuple[str, float]]:
    """The held-out gain, against the mean truth of the two settings that the halves chose."""
    rng = np.random.default_rng(21)

    def gold_of(u):
        return u - 0.5 * u**20

    hits = 0
    for _ in range(RUNS):
        proxy = rng.uniform(size=(PROMPTS, 64))
        tuned = hedge_tune(
            proxy, gold_of(proxy) + 0.5 * rng.normal(size=proxy.shape), selector="best-of-poisson", rng=rng
        )
        gains = []
        for half in tuned.halves:
            mu = half.parameter
            # The distribution function is u exp(mu (u-1)); gold by parts from its value at 1.
            node, weight = np.polynomial.legendre.leggauss(60)
            u = (node + 1) / 2
            at_mu = 0.5 - np.sum(weight / 2 * u * np.exp(mu * (u - 1)) * (1 - 10 * u**19))
            gains.append(at_mu - (0.5 - 0.5 / 21))
        hits += abs(tuned.gain.value - np.mean(gains)) <= 1.96 * tuned.gain.stderr
    return [("hedged best-of-Poisson, held-out gain", hits / RUNS)]


@pytest.mark.slow
@pytest.mark.parametrize("cases", [coverage_of_best_of_n, coverage_of_hedged_gain])
def test_intervals_cover_the_truth(cases):
    for name, share in cases():
        assert 0.93 <= share <= 0.97, name
