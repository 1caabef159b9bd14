import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from overopt.errors import ConfigError
from overopt.worlds.gaussian import expected_maximum
from overopt.worlds.integrals import best_of_n_kl, best_of_n_mean, normal_quantile

# Expected maxima of n standard normals: closed forms for n <= 5 (David and Nagaraja, Order Statistics, 3.2), and the
# tables of Tippett 1925 and Harter 1961 for larger n.
CLOSED_FORMS = {
    1: 0.0,
    2: 1 / math.sqrt(math.pi),
    3: 3 / (2 * math.sqrt(math.pi)),
    5: 5 / (4 * math.sqrt(math.pi)) * (1 + 6 / math.pi * math.asin(1 / 3)),
}


@pytest.mark.parametrize("n", [2, 3, 5])
def test_expected_maximum_equals_its_closed_form(n):
    assert expected_maximum(n) == pytest.approx(CLOSED_FORMS[n], rel=1e-13)


@pytest.mark.parametrize(
    ("n", "value", "digits"), [(4, 1.0293753730, 10), (10, 1.5387527308, 10), (100, 2.50759, 5), (1000, 3.24144, 5)]
)
def test_expected_maximum_equals_published_tables(n, value, digits):
    assert round(expected_maximum(n), digits) == value


@pytest.mark.parametrize("n", [1, 2, 7, 1_000, 10**6])
def test_expected_maximum_equals_an_adaptive_integral_over_the_normal_density(n):
    # Integrating P(max > x) - P(max < -x) by parts of the tail: no quantile function, another variable.
    def gap(x):
        return -math.expm1(n * math.log1p(-ndtr(-x))) - ndtr(-x) ** n

    edge = max(1.0, -float(ndtri(1 / n)) if n > 2 else 1.0)
    expected = quad(gap, 0, edge, epsabs=1e-14)[0] + quad(gap, edge, edge + 30, epsabs=1e-14, limit=200)[0]
    assert expected_maximum(n) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("n", [0.5, 1, 2.5, 40, 1e6, 1e12])
@pytest.mark.parametrize("power", [1, 2, 7])
def test_powers_of_the_quantile_are_rational_functions_of_n(n, power):
    assert best_of_n_mean(lambda u, q: u**power, n) == pytest.approx(n / (n + power), rel=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 1_000])
def test_a_logarithmic_tail_gives_harmonic_numbers(n):
    assert best_of_n_mean(lambda u, q: -np.log(q), n) == pytest.approx(sum(1 / i for i in range(1, n + 1)), rel=1e-13)


def test_a_power_tail_gives_a_ratio_of_gamma_functions():
    for n in (1, 3, 50):
        expected = math.exp(math.lgamma(n + 1) + math.lgamma(0.5) - math.lgamma(n + 0.5))
        assert best_of_n_mean(lambda u, q: q**-0.5, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 3, 2_000])
@pytest.mark.parametrize("at", [0.3, 0.999, 1e-6])
def test_kinks_and_jumps_are_integrated_exactly(n, at):
    beyond = best_of_n_mean(lambda u, q: np.where(u > at, 1.0, 0.0), n, [1 - at])
    assert beyond == pytest.approx(1 - at**n, rel=1e-12)
    bent = best_of_n_mean(lambda u, q: np.maximum(u - at, 0), n, [1 - at])
    assert bent == pytest.approx(n / (n + 1) - at + at ** (n + 1) / (n + 1), rel=1e-9, abs=1e-15)


def test_normal_quantile_is_exact_in_both_tails():
    u, q = np.array([1e-200, 0.25, 0.5, 1.0]), np.array([1.0, 0.75, 0.5, 1e-200])
    x = normal_quantile(u, q)
    np.testing.assert_allclose(np.where(u < 0.5, ndtr(x), ndtr(-x)), np.minimum(u, q), rtol=1e-11)


def test_kl_is_the_mean_log_density():
    for n in (1, 2, 64, 1e6):

        def log_density(u, q, n=n):
            return math.log(n) + (n - 1) * np.where(u < 0.5, np.log(u), np.log1p(-np.minimum(q, 0.5)))

        assert best_of_n_kl(n) == pytest.approx(best_of_n_mean(log_density, n), abs=1e-12)


@pytest.mark.parametrize("n", [0, -1, math.nan, math.inf])
def test_an_impossible_n_is_refused(n):
    with pytest.raises(ConfigError, match="above 0"):
        best_of_n_mean(lambda u, q: u, n)
