"""Which fits feed a trend."""

import pytest

from overopt.studies.gao2022.coefficients import fitted_maximum, is_usable

FIT = {"status": "ok", "alpha": 0.5, "beta": 0.1, "r2": 0.95, "chance": 1e-6, "peak": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"status": "unidentified"}, True),
        ({"status": "poor_fit"}, True),
        ({"status": "poor_fit", "r2": 0.85}, False),
        ({"status": "poor_fit", "chance": 0.2}, False),
        ({"status": "poor_fit", "chance": None}, False),
        ({"status": "too_few_points"}, False),
        ({"status": "unidentified", "beta": None}, False),
        ({"status": "unidentified", "alpha": float("nan")}, False),
    ],
)
def test_a_fit_feeds_a_trend_unless_its_law_explains_little(changes, expected):
    assert is_usable(FIT | changes) is expected


def test_the_largest_fitted_gold_is_at_the_peak_or_at_an_end_of_the_curve():
    curve = [{"kl_bound": 0.0}, {"kl_bound": 4.0}]
    turning = FIT | {"beta": 0.2, "peak": {"d": 1.25, "gold": 0.3125}}
    late = FIT | {"beta": 0.1, "peak": {"d": 2.5, "gold": 0.625}}
    falling = FIT | {"alpha": -0.5, "beta": 0.1}
    assert fitted_maximum({"fit": turning, "curve": curve}) == pytest.approx(0.3125)
    assert fitted_maximum({"fit": late, "curve": curve}) == pytest.approx(2 * (0.5 - 0.2))
    assert fitted_maximum({"fit": falling, "curve": curve}) == 0.0
    assert fitted_maximum({"fit": FIT | {"status": "too_few_points"}, "curve": curve}) is None
