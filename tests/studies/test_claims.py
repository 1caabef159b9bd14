"""Intervals of claims: what they are over, and when they are unknown."""

import numpy as np
import pytest

from overopt.studies.claims import UNKNOWN, crossed, over_units, slope_over_sizes


def rng():
    return np.random.default_rng(0)


def test_a_mean_over_units_covers_its_truth():
    hits = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        value, (low, high) = over_units(generator.normal(1.0, 2.0, 12), generator)
        hits += low <= 1.0 <= high
        assert low < value < high
    assert 0.90 <= hits / 200 <= 0.99


def test_few_units_have_a_mean_and_no_interval():
    assert over_units([], rng()) == (None, UNKNOWN)
    assert over_units([2.0], rng()) == (2.0, UNKNOWN)
    assert over_units([1.0, 2.0, 3.0], rng()) == (2.0, UNKNOWN)
    assert over_units([1.0, 2.0, 3.0, 4.0], rng())[1] != UNKNOWN
    assert over_units([1.0, np.nan, 3.0], rng()) == (2.0, UNKNOWN)


def test_a_slope_has_students_interval_over_sizes():
    sizes, values = [1e3, 1e4, 1e5, 1e6], [1.0, 1.4, 1.5, 2.1]
    value, (low, high) = slope_over_sizes(sizes, values)
    x = np.log10(sizes)
    slope, offset = np.polyfit(x, values, 1)
    error = np.sqrt(np.sum((values - offset - slope * x) ** 2) / 2 / np.sum((x - x.mean()) ** 2))
    assert value == pytest.approx(slope)
    assert (high - low) / 2 == pytest.approx(4.302653 * error, rel=1e-5)
    assert slope_over_sizes(sizes[:2], values[:2]) == (pytest.approx(0.4), UNKNOWN)
    assert slope_over_sizes([1e3, 1e3], [1.0, 2.0]) == (None, UNKNOWN)


def test_seeds_and_prompts_are_both_resampled():
    values = np.tile(np.array([[0.0], [1.0]]), (1, 32)) + np.linspace(-0.01, 0.01, 32)
    value, (low, high) = crossed(values, rng())
    assert value == pytest.approx(0.5)
    # Two seeds that differ by 1 leave much open; prompts, which hardly differ, would not.
    assert high - low > 0.5
    _, (low, high) = crossed(values[:1], rng())
    assert high - low < 0.05
    assert crossed(np.array([[np.nan, 1.0]]), rng()) == (None, UNKNOWN)
