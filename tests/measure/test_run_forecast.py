"""The forecast of a logged run: one rule of misfit with ``overopt fit``, a named outlook, nulls where unknown."""

import json

import numpy as np
import polars as pl
import pytest

from overopt.measure.law_fits import law_fits_report
from overopt.measure.run_logs import run_logs_report
from overopt.stats.laws import law_value

STEPS = np.arange(40)
KL = 0.5 * STEPS
D = np.sqrt(KL)
SHAPES = {
    "falls_from_start": -0.3 * D,
    "flat": 0 * D,
    "passed": law_value("rl", D, 1.0, 0.75),
    "ahead": law_value("rl", D, 1.0, 0.37),
    "beyond_reach": law_value("rl", D, 1.0, 0.2),
}
NUMBERS = {"p_turned", "p_turn_by_d_max", "p_no_turn", "p_falling", "d_median", "d_ci", "gold_median", "gold_ci",
           "regret_now", "regret_at_d_max", "best_d", "kl_median"}  # fmt: skip


def log(gold, noise=0.05, seed=0, **columns):
    noisy = gold + noise * np.random.default_rng(seed).normal(size=gold.size)
    return pl.DataFrame({"step": STEPS, "kl": KL, "proxy": D, "gold": noisy, **columns})


def forecast(frame, **settings):
    report = run_logs_report(frame, **settings)
    json.dumps(report, allow_nan=False)
    return report["groups"][0]["forecast"]


@pytest.mark.parametrize("outlook", SHAPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_kind_of_run_has_its_name(outlook, seed):
    found = forecast(log(2 + SHAPES[outlook], seed=seed))
    assert found["outlook"] == outlook
    assert found["status"] == ("poor_fit" if outlook == "flat" else "ok")


def test_constant_gold_is_flat_and_has_no_threshold_from_rounding():
    (run,) = run_logs_report(log(np.full(40, 1 / 3), noise=0.0))["groups"]
    assert (run["threshold"], run["drop"], run["noise_sd"], run["verdict"]) == (0, 0, 0, "undetermined")
    assert "e-" not in run["rule"]
    assert (run["forecast"]["outlook"], run["forecast"]["status"]) == ("flat", "poor_fit")


@pytest.mark.parametrize("shape", ["tent", "plateau", "law", "flat"])
def test_the_forecast_is_refused_exactly_when_the_fit_is(shape):
    gold = {"tent": np.where(D < 2, D, 4 - D), "plateau": np.minimum(D, 2), "law": SHAPES["passed"], "flat": 0 * D}
    frame = log(1 + gold[shape])
    fit = law_fits_report(frame, law="rl")["groups"][0]
    found = forecast(frame)
    assert (found["status"] == "poor_fit") == (fit["status"] == "poor_fit") == (shape != "law")
    if shape != "law":
        assert {name: found[name] for name in NUMBERS if not isinstance(found[name], list)} == dict.fromkeys(
            NUMBERS - {"d_ci", "gold_ci"}
        )
        assert (found["d_ci"], found["gold_ci"]) == ([None, None], [None, None])
        assert found["d_now"] == pytest.approx(D[-1])
        assert found["outlook"] == ("flat" if shape == "flat" else None)


def test_two_points_are_too_early_and_have_no_outlook():
    rows = pl.concat([log(2 + SHAPES["passed"], seed=seed)[:3] for seed in range(3)])  # their spread is their error
    found = forecast(rows)
    assert (found["status"], found["outlook"], found["d_median"]) == ("too_early", None, None)
    assert found["d_now"] == pytest.approx(1)


def test_a_noisy_start_makes_the_forecast_less_sure_than_a_known_one():
    """The error of gold at KL 0 is shared by all points: here 0.3, ten times that of the others."""
    rng = np.random.default_rng(1)
    rows = pl.concat(
        [log(2 + SHAPES["passed"], noise=0.0).with_columns(gold=pl.col("gold") + pl.Series(0.06 * rng.normal(size=40)))
         for _ in range(4)]
    )  # fmt: skip
    start = pl.DataFrame({"step": [0] * 4, "kl": [0.0] * 4, "proxy": [0.0] * 4, "gold": [2.6, 1.4, 2.7, 1.3]})
    frame = pl.concat([start, rows.filter(pl.col("kl") > 0)], how="vertical_relaxed")
    measured, known = forecast(frame), forecast(frame, baseline=2.0)
    assert measured["status"] == known["status"] == "ok"
    assert np.ptp(measured["gold_ci"]) > 1.5 * np.ptp(known["gold_ci"])


def test_without_gold_at_kl_0_there_is_no_forecast():
    assert forecast(log(2 + SHAPES["passed"])[1:]) is None
    assert forecast(log(2 + SHAPES["passed"])[1:], baseline=2.0)["outlook"] == "passed"


def test_the_level_reaches_the_intervals_of_the_forecast():
    frame = log(SHAPES["passed"])
    narrow, wide = (forecast(frame, level=level) for level in (0.5, 0.99))
    for name in ("d_ci", "gold_ci"):
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]


def test_a_law_that_misses_the_points_makes_the_forecast_less_sure():
    """Gold bends in a way of its own: the fit widens its intervals for that, and so does the forecast."""
    bent = law_value("rl", D, 1.0, 0.5) + 0.03 * np.sin(2 * D)
    fit = law_fits_report(log(bent, noise=0.005).select("kl", "gold"), law="rl")["groups"][0]
    assert fit["widened_by"] > 2
    low, high = forecast(log(bent, noise=0.005))["d_ci"]
    smooth_low, smooth_high = forecast(log(law_value("rl", D, 1.0, 0.5), noise=0.005))["d_ci"]
    assert high - low > 2 * (smooth_high - smooth_low)
