import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from overopt.errors import DataError
from overopt.stats.quadratic_forms import positive_probability


@given(st.integers(1, 40), st.integers(1, 500), st.floats(0.05, 20))
def test_two_terms_are_the_f_distribution(first, second, ratio):
    found = positive_probability([1 / first, -ratio / second], [first, second])
    assert found == pytest.approx(stats.f.sf(ratio, first, second), abs=1e-9)


@pytest.mark.parametrize("freedom", [2, 5, 12])
def test_a_constant_is_the_limit_of_many_degrees_of_freedom(freedom):
    for size in (0.5, 2.0, 3.5):
        found = positive_probability([*np.ones(freedom), -size * freedom / 4000], [*np.ones(freedom), 4000])
        assert found == pytest.approx(stats.chi2.sf(size * freedom, freedom), abs=2e-3)


def test_any_weights_are_what_simulation_says():
    rng = np.random.default_rng(0)
    weights, counts = np.array([3.0, 1.0, 0.2, -0.7, -2.0]), np.array([1.0, 2.0, 7.0, 4.0, 1.5])
    drawn = sum(w * rng.chisquare(c, 400_000) for w, c in zip(weights, counts, strict=True))
    assert positive_probability(weights, counts) == pytest.approx((drawn > 0).mean(), abs=4 * 0.5 / 400_000**0.5)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=8), st.floats(1e-6, 1e6))
def test_scale_does_not_matter_and_signs_are_complementary(weights, unit):
    if max(map(abs, weights)) < 1e-3 or sum(abs(w) > 1e-3 for w in weights) < 2:
        return
    weights = np.array([w if abs(w) > 1e-3 else 0.0 for w in weights])
    ones = np.ones(weights.size)
    found = positive_probability(weights, ones)
    assert positive_probability(unit * weights, ones) == pytest.approx(found, abs=1e-9)
    assert positive_probability(-weights, ones) == pytest.approx(1 - found, abs=1e-7)


def test_one_sign_is_certain_and_nothing_is_refused():
    assert positive_probability([1.0, 2.0], [1.0, 1.0]) == 1
    assert positive_probability([-1.0, -2.0], [1.0, 1.0]) == 0
    for weights, counts in (([0.0, 0.0], [1.0, 1.0]), ([1.0], [1.0]), ([1.0, -1.0], [1.0, 0.0])):
        with pytest.raises(DataError):
            positive_probability(weights, counts)
