"""The points of a picture of fitted laws: distances, and gold over each group's own baseline."""

import polars as pl
import pytest

from overopt.errors import ConfigError
from overopt.measure.curve_points import curve_points
from overopt.measure.pool_sizes import check_largest_n


def test_points_lie_over_the_baseline_of_their_own_group_and_negative_kls_are_left_out():
    points = pl.DataFrame(
        {"group": ["a", "b", "a", "b"], "kl": [4.0, 9.0, -0.1, 0.0], "gold": [3.0, 5.0, 1.0, 2.0],
         "gold_se": [0.1, 0.2, 0.3, 0.4]}
    )  # fmt: skip
    report = {"groups": [{"group": "a", "baseline": 1.0}, {"group": "b", "baseline": 2.0}]}
    assert curve_points(points, report) == [
        {"group": "a", "d": 2.0, "gold": 2.0, "gold_se": 0.1},
        {"group": "b", "d": 3.0, "gold": 3.0, "gold_se": 0.2},
        {"group": "b", "d": 0.0, "gold": 0.0, "gold_se": 0.4},
    ]
    alone = curve_points(points.select("kl", "gold"), {"groups": [{"group": None, "baseline": 1.5}]})
    assert alone[0] == {"group": None, "d": 2.0, "gold": 1.5, "gold_se": None}


def test_an_n_beyond_the_smallest_pool_says_what_leaving_it_out_costs():
    scores = pl.DataFrame({"prompt": ["a"] * 5 + ["b"] * 8 + ["c"] * 2})
    check_largest_n(scores, [1, 2], 1)
    check_largest_n(scores, [1, 5], 3)
    with pytest.raises(ConfigError, match="the 2 samples of the smallest pool; --min-samples 5 would leave out 1 of 3"):
        check_largest_n(scores, [1, 5], 1)
    with pytest.raises(ConfigError, match="the 5 samples of the smallest pool; --min-samples 8 would leave out 1 of 2"):
        check_largest_n(scores, [8], 3)
    with pytest.raises(ConfigError, match="the largest pool holds 8"):
        check_largest_n(scores, [9], 1)
    check_largest_n(scores, [20], 9)  # no prompt is left: the analysis itself says so
