"""Curves at equal distance or equal score, by hand on a few points."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.studies.gao2022.matched import at_distances, first_reach, gold_where, of_draws, shared_distances, wider


def _run(d, gold=None):
    """What these functions read of a run: two prompts, the second with one more of gold at each point."""
    d_K = np.asarray(d, dtype=np.float64)
    gold_PK = np.stack([np.asarray(d_K if gold is None else gold) + extra for extra in (0.0, 1.0)])

    def gold_at(at):
        return np.array([np.interp(at, d_K, row) if at <= d_K.max() else np.nan for row in gold_PK])

    return SimpleNamespace(d_K=d_K, gold_PK=gold_PK, gold_at=gold_at)


def test_distances_run_from_the_last_first_measurement_to_the_nearest_end():
    runs = [_run([0, 0.5, 2.0, 3.0]), _run([0, 1.0, 5.0])]
    assert shared_distances(runs, 5) == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0])


def test_a_run_that_ends_before_another_was_measured_is_compared_at_its_end_alone():
    assert shared_distances([_run([0, 0.4, 0.8]), _run([0, 1.0, 5.0])]) == pytest.approx([0.8])


def test_a_run_that_stayed_at_the_start_shares_no_distance():
    assert shared_distances([_run([0, 0.0]), _run([0, 1.0])]).size == 0


@given(st.floats(0.1, 10), st.integers(1, 20))
def test_every_run_reaches_the_last_distance_whatever_its_digits(reach, points):
    assert shared_distances([_run([0, reach / 3, reach])], points).max() <= reach


@given(st.floats(0.05, 0.99), st.floats(-1, 1), st.floats(-1, 1))
def test_before_the_first_measurement_gold_of_the_law_is_the_law(d, alpha, beta):
    at = np.array([1.0, 1.7, 2.5])
    run = SimpleNamespace(d_K=np.append(0.0, at), gold_PK=np.append(0.3, at * (alpha - beta * np.log(at)))[None])
    assert gold_where(run, d)[0] == pytest.approx(d * (alpha - beta * np.log(d)), abs=1e-9)


def test_from_the_first_measurement_on_gold_is_a_straight_line_between_two():
    run = _run([0, 1.0, 2.0, 4.0], gold=[0.0, 1.0, 3.0, 2.0])
    assert gold_where(run, 3.0) == pytest.approx([2.5, 3.5])
    assert np.isnan(gold_where(run, 4.1)).all()


def test_a_run_that_went_back_after_its_first_measurement_takes_the_next_one_farther_out():
    run = _run([0, 1.0, 0.9, 2.0], gold=[0.0, 1.0, 9.0, 2.0])
    assert gold_where(run, 0.5)[0] == pytest.approx(0.5)  # gold over d is 1 at both


def test_the_first_crossing_counts_where_a_curve_comes_back():
    along = np.array([[0.0, 2.0, 1.0, 3.0], [0.0, 0.5, 0.6, 0.7]])
    values = np.array([[0.0, 10.0, 20.0, 30.0], [0.0, 1.0, 2.0, 3.0]])
    assert first_reach(along, 1.0, values)[0] == pytest.approx(5.0)
    assert np.isnan(first_reach(along, 1.0, values)[1])
    assert first_reach(along, np.array([1.5, 0.65]), values) == pytest.approx([7.5, 2.5])
    assert first_reach(along, 0.0, values) == pytest.approx([0.0, 0.0])


def test_an_interval_of_draws_is_unknown_where_draws_or_units_are_missing():
    draws = np.linspace(-1, 1, 201)
    low, high = of_draws(0.0, draws, 64)
    assert low == pytest.approx(-high, abs=0.02)
    assert 0.95 < high < 1.0
    assert of_draws(0.0, draws, 3) == (None, None)
    assert of_draws(None, draws, 64) == (None, None)
    assert of_draws(0.0, np.where(np.abs(draws) < 0.03, np.nan, draws), 64) == (None, None)


def test_an_estimate_outside_of_its_draws_stays_inside_its_interval():
    low, high = of_draws(5.0, np.linspace(-1, 1, 201), 64)
    assert low <= 5.0 <= high


def test_the_wider_interval_holds_both():
    assert wider((0.0, 1.0), (-0.5, 0.5)) == (-0.5, 1.0)
    assert wider((None, None), (None, None)) == (None, None)


def test_gold_is_read_by_the_law_below_the_first_measurement_wherever_runs_are_compared():
    at = np.array([1.0, 1.7, 2.5])
    gold = np.append(0.0, at * (0.4 - 0.3 * np.log(at)))
    run = _run(np.append(0.0, at), gold=gold)
    run.proxy_at = lambda d: np.full(2, 0.8 * d)
    expected = 0.5 * (0.4 - 0.3 * np.log(0.5))
    assert at_distances([run], "gold", np.array([0.5]))[0, 0, 0] == pytest.approx(expected)
    assert at_distances([run], "gap", np.array([0.5]))[0, 0, 0] == pytest.approx(0.4 - expected)
