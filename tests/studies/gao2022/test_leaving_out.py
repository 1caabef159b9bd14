"""Intervals by leaving prompts out, against closed forms; and which proxies and runs the sizes are compared by."""

import math

import numpy as np
import pytest
from scipy import stats

from gao2022.made_tables import MadeStudy, Truth, varied
from overopt.studies.gao2022.leaving_out import without_prompts, without_prompts_or_runs
from overopt.studies.gao2022.main_proxies import free_runs, held_runs, main_proxies, reference_base, size_runs


@pytest.fixture
def values():
    return np.random.default_rng(4).normal(1.0, 2.0, size=12)


def test_of_a_mean_the_interval_is_that_of_student(values):
    [(value, (low, high))] = without_prompts(
        lambda rows: values[rows].mean(keepdims=True), 12, np.random.default_rng(0)
    )
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_groups_of_unequal_size_cover_the_truth_as_often_as_they_say():
    """A ratio of means of 19 prompts in 8 groups, 400 times: the share of misses is within three standard errors."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        pair = rng.normal([2.0, 4.0], [1.0, 0.5], size=(19, 2))
        found = without_prompts(
            lambda rows, pair=pair: np.array([pair[rows, 0].mean() / pair[rows, 1].mean()]), 19, rng, groups=8
        )
        low, high = found[0][1]
        held += low <= 0.5 <= high
    assert held / 400 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 400))


def test_three_prompts_give_a_number_and_no_interval():
    assert without_prompts(lambda rows: np.array([rows.mean()]), 3, np.random.default_rng(0)) == [(1.0, (None, None))]


def test_what_is_not_known_stays_unknown():
    found = without_prompts(lambda rows: np.array([math.nan, 1.0]), 8, np.random.default_rng(0))
    assert found == [(None, (None, None)), (1.0, (1.0, 1.0))]


def test_the_scatter_of_runs_widens_the_interval(values):
    rng = np.random.default_rng(0)
    runs = np.array([-1.0, 0.0, 1.0, 2.0])

    def estimate(rows):
        return (values[rows].mean() + runs)[None]

    [(value, (low, high))] = without_prompts_or_runs(estimate, 12, rng)
    by_prompts = stats.t.ppf(0.975, 11) * values.std(ddof=1) / math.sqrt(12)
    by_runs = stats.t.ppf(0.975, 3) * runs.std(ddof=1) / 2
    assert value == pytest.approx(values.mean() + 0.5)
    assert (high - low) / 2 == pytest.approx(math.hypot(by_prompts, by_runs))


def test_runs_without_a_number_are_left_out(values):
    def estimate(rows):
        return np.array([[values[rows].mean(), math.nan]])

    [(value, (low, _))] = without_prompts_or_runs(estimate, 12, np.random.default_rng(0))
    assert value == pytest.approx(values.mean())
    assert low is not None


def test_proxies_of_other_labels_passes_and_rounds_are_no_main_proxies(tmp_path):
    settings = {"proxies": ("chitchat-w8", "chitchat-w16"), "reference_proxy": "chitchat-w8", "prompts": 4, "pool": 8}
    settings |= {"data_proxies": ("chitchat-w8",), "large_proxies": ("chitchat-w8",), "large_prompts": 2}
    settings |= {
        "seeded_proxy": "chitchat-w8",
        "proxy_seeds": 2,
        "penalty_seeds": 2,
        "rounds": 1,
        "large_pool": 8,
        "label_seeds": 3,
    }
    made = MadeStudy(tmp_path, varied(Truth(), **settings))
    for part in ("sizes", "data", "penalties", "epochs", "labels", "rounds"):
        getattr(made, part)()
    tables = made.tables
    assert main_proxies(tables) == {"w8": ["w8-p8000-s0", "w8-p8000-s1"], "w16": ["w16-p8000-s0"]}
    assert reference_base(tables) == "w8"
    runs = {"w8-p8000-s0": "w8-p8000-s0-r0", "w8-p8000-s1": "w8-p8000-s1-r1", "w16-p8000-s0": "w16-p8000-s0-r0"}
    assert size_runs(tables) == runs
    assert free_runs(tables, "w8-p8000-s0") == ["w8-p8000-s0-r0", "w8-p8000-s0-r1"]
    assert held_runs(tables, "w8-p8000-s0") == {0.15: ["w8-p8000-s0-kl0.15-r0", "w8-p8000-s0-kl0.15-r1"]}
