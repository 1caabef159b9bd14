"""Four numbers of a curve, against parabolas whose peak, area and heights are known."""

import numpy as np
import pytest

from overopt.errors import ConfigError, ShapeError
from overopt.stats.overoptimization import MEASURES, difference, mean_over_runs, over_optimization, prompt_draws

D = np.linspace(0, 4, 401)
ALPHA, BETA = 1.0, 0.25
"""gold = d (1 - d / 4): peak 1 at d = 2, 0 at d = 4."""


def law(d):
    return d * (ALPHA - BETA * d)


def test_a_parabola():
    found = over_optimization(D**2, law(D)[None], matched_kl=1.0, end_kl=16.0)
    assert found.peak_gold == pytest.approx(1.0, abs=1e-4)
    assert found.peak_kl == pytest.approx(4.0, abs=0.05)
    assert found.matched_gold == pytest.approx(0.75, abs=1e-4)
    # The integral of (d - 2)^2 / 4 from 2 to 4.
    assert found.area_lost == pytest.approx(2 / 3, abs=1e-3)
    assert found.last_gold == pytest.approx(0.0, abs=1e-9)


def test_the_common_end_cuts_between_points():
    found = over_optimization([0, 1, 4, 16], [[0, 1, 2, 0.0]], matched_kl=9.0, end_kl=9.0)
    assert (found.matched_gold, found.last_gold) == (1.0, 1.0)
    assert found.area_lost == pytest.approx(0.5)


def test_gold_that_rises_loses_nothing():
    found = over_optimization(D**2, D[None], matched_kl=4.0, end_kl=16.0)
    assert (found.area_lost, found.peak_kl) == (0.0, 16.0)


def test_what_was_not_reached_is_unknown():
    found = over_optimization([0, 1, 4], [[0, 1, 2.0]], matched_kl=9.0, end_kl=16.0)
    assert np.isnan([found.matched_gold, found.area_lost]).all()
    assert (found.peak_gold, found.last_gold) == (2.0, 2.0)


def test_a_run_that_turns_back_is_read_at_its_first_crossing():
    found = over_optimization([0, 4, 1, 9], [[0, 2, -5, 1.0]], matched_kl=1.0, end_kl=9.0)
    assert found.matched_gold == 1.0
    assert found.area_lost == pytest.approx(0.5)


def test_intervals_cover_the_truth_and_pairs_are_compared_on_the_same_prompts():
    rng = np.random.default_rng(0)
    points = np.linspace(0, 4, 17)
    hits = wins = 0
    runs = 200
    for _ in range(runs):
        prompts = rng.normal(0, 0.5, size=(48, 1)) * points
        gold = law(points) + prompts + rng.normal(0, 0.1, size=(48, 17))
        better = gold + 0.1 * points + rng.normal(0, 0.1, size=gold.shape)
        counts = prompt_draws(48, 300, rng)
        one, two = (over_optimization(points**2, g, matched_kl=4.0, end_kl=16.0, counts=counts) for g in (gold, better))
        low, high = one.interval("matched_gold", 48)
        hits += low <= 1.0 <= high
        value, (low, high) = difference(two, one, "matched_gold", 48)
        wins += low <= 0.2 <= high
        assert low < value < high
        # Prompts differ by far more than the two methods do: only a paired difference sees it.
        assert high - low < 0.15
    assert 0.90 <= hits / runs <= 0.99
    assert 0.90 <= wins / runs <= 0.99


def test_the_mean_of_runs_is_taken_draw_by_draw():
    rng = np.random.default_rng(1)
    counts = prompt_draws(8, 50, rng)
    runs = [
        over_optimization(D**2, np.tile(law(D) + k, (8, 1)), matched_kl=1.0, end_kl=16.0, counts=counts) for k in (0, 1)
    ]
    mean = mean_over_runs(runs)
    assert mean.matched_gold == pytest.approx(0.75 + 0.5, abs=1e-3)
    assert mean.draws_D5.shape == (50, len(MEASURES))
    low, high = mean.interval("matched_gold", 8)
    assert low == pytest.approx(high)


def test_widened_intervals_of_what_cannot_be_negative_end_at_zero():
    lows = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gold = np.concatenate([np.zeros((4, 1)), rng.normal(0, 1, size=(4, 4))], axis=1)
        counts = prompt_draws(4, 200, rng)
        found = over_optimization([0, 1, 2, 3, 4], gold, matched_kl=1, end_kl=4, counts=counts)
        lows += [found.interval(measure, 4)[0] for measure in ("peak_kl", "area_lost")]
    assert min(lows) == 0.0
    assert lows.count(0.0) > 20


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: over_optimization([0, 1], [[0, 1, 2.0]], matched_kl=1, end_kl=4), ShapeError),
        (lambda: over_optimization([0, 1], [[0, 1.0]], matched_kl=0, end_kl=4), ConfigError),
        (lambda: over_optimization([0, 1], [[0, 1.0]], matched_kl=1, end_kl=4, counts=[[1, 1]]), ShapeError),
        (lambda: mean_over_runs([]), ShapeError),
    ],
)
def test_what_does_not_go_together_is_refused(call, error):
    with pytest.raises(error):
        call()
