"""``overopt fit`` on tables: where the baseline comes from, and one alpha for all groups."""

import json

import numpy as np
import polars as pl
import pytest

from overopt.errors import ConfigError
from overopt.measure.curve_points import curve_points
from overopt.measure.law_fits import law_fits_report
from overopt.measure.run_logs import run_logs_report
from overopt.stats.laws import law_value

KL = np.concatenate([[0.0], np.linspace(0.3, 12, 14)])


def table(start=2.0, noise=0.03, se=None, group=None, beta=0.3, seed=0, law="rl"):
    rng = np.random.default_rng(seed)
    gold = start + law_value(law, np.sqrt(KL), 0.8, beta) + noise * rng.normal(size=KL.size)
    columns = {"kl": KL, "gold": gold}
    columns |= {} if se is None else {"gold_se": np.broadcast_to(se, KL.shape)}
    columns |= {} if group is None else {"group": [group] * KL.size}
    return pl.DataFrame(columns)


def only(report):
    (fit,) = report["groups"]
    json.dumps(report, allow_nan=False)
    return fit


@pytest.mark.parametrize("se", [None, 0.03])
def test_a_measured_row_at_kl_0_is_a_point_with_an_error(se):
    rows = table(se=se)
    fit = only(law_fits_report(rows, law="rl"))
    assert fit["baseline"] != pytest.approx(rows["gold"][0], abs=1e-6)
    assert fit["baseline"] == pytest.approx(2, abs=4 * fit["baseline_se"])
    assert 0.01 < fit["baseline_se"] < 0.06
    exact = only(law_fits_report(rows, law="rl", baseline=float(rows["gold"][0])))
    assert (exact["baseline"], exact["baseline_se"]) == (rows["gold"][0], 0)
    assert np.ptp(fit["alpha_ci"]) > 1.2 * np.ptp(exact["alpha_ci"])
    assert fit["points"] == exact["points"] == KL.size - 1


def test_a_given_baseline_and_a_row_without_error_are_exact():
    rows = table(se=np.where(KL == 0, 0.0, 0.03))
    fit = only(law_fits_report(rows, law="rl"))
    assert (fit["baseline"], fit["baseline_se"]) == (rows["gold"][0], 0)
    given = only(law_fits_report(rows, law="rl", baseline=2.0))
    assert (given["baseline"], given["baseline_se"]) == (2, 0)


def test_no_row_at_kl_0_means_exactly_0():
    rows = table(start=0.0).filter(pl.col("kl") > 0)
    fit = only(law_fits_report(rows, law="rl"))
    assert (fit["baseline"], fit["baseline_se"]) == (0, 0)
    assert fit["alpha"] == pytest.approx(0.8, abs=0.1)


def test_pictures_show_gold_relative_to_the_fitted_baseline():
    rows = table()
    report = law_fits_report(rows, law="rl")
    fit = only(report)
    points = curve_points(rows, report)
    assert points[0]["gold"] == pytest.approx(rows["gold"][0] - fit["baseline"])
    assert max(point["gold"] for point in points) == pytest.approx(fit["best_seen"]["gold"])
    far = np.array([point["gold"] for point in points]) - law_value("rl", np.sqrt(KL), fit["alpha"], fit["beta"])
    assert np.sqrt(np.mean(far**2)) == pytest.approx(fit["rmse"])


@pytest.mark.parametrize("law", ["rl", "auto"])
def test_groups_share_alpha_with_a_baseline_each_and_say_whether_that_is_tenable(law):
    rows = pl.concat([table(group="a"), table(start=-1.0, beta=0.4, group="b", seed=1)])
    report = law_fits_report(rows, law=law, share="alpha")
    shared = report["shared"]
    assert {"alpha", "r2", "aicc", "aicc_separate", "tenable", "p_value"} <= set(shared)
    assert shared["tenable"] is True
    assert shared["p_value"] >= 0.05
    assert [fit["baseline"] for fit in report["groups"]] == pytest.approx([2, -1], abs=0.15)
    # With beta 0.3 the peak lies beyond the last point.
    assert [(fit["status"], fit["peak"]["inside_data"]) for fit in report["groups"]] == [
        ("unidentified", False),
        ("ok", True),
    ]


def test_alphas_that_differ_are_not_tenable_and_a_misfit_is_named():
    other = table(group="b", seed=2).with_columns(gold=1 + pl.Series(0.1 * np.minimum(np.sqrt(KL), 1.5)))
    report = law_fits_report(pl.concat([table(group="a"), other]), law="rl", share="alpha")
    assert report["shared"]["tenable"] is False
    assert report["shared"]["p_value"] < 0.01
    assert report["groups"][1]["status"] == "poor_fit"
    json.dumps(report, allow_nan=False)


def test_one_group_leaves_the_question_of_one_alpha_open():
    report = law_fits_report(table(group="a"), law="rl", share="alpha")
    assert (report["shared"]["tenable"], report["shared"]["p_value"]) == (None, None)


def test_a_group_without_gold_has_too_few_points_and_does_not_vanish():
    incomplete = pl.DataFrame({"kl": [1.0, 2.0, 3.0], "gold": [None] * 3, "group": ["b", "b", "a"]})
    for share in ("none", "alpha"):
        report = law_fits_report(table(group="a"), missing=3, incomplete=incomplete, share=share)
        json.dumps(report, allow_nan=False)
        assert [(fit["group"], fit["points"]) for fit in report["groups"]] == [("a", 14), ("b", 0)]
        assert report["groups"][1]["status"] == "too_few_points"


def test_a_point_that_alone_lacks_its_error_is_left_out_and_counted():
    rows = table(se=0.03)
    blank = rows.with_columns(gold_se=pl.when(pl.int_range(pl.len()) != 4).then(pl.col("gold_se")))
    fit, without = only(law_fits_report(blank)), only(law_fits_report(rows.filter(pl.int_range(pl.len()) != 4)))
    assert (fit["points"], fit["without_se"]) == (13, 1)
    assert fit == without | {"without_se": 1}
    every = only(law_fits_report(rows.with_columns(gold_se=pl.lit(None, dtype=pl.Float64))))
    assert (every["points"], every["without_se"], every["intervals"]) == (14, 0, "residuals")


@pytest.mark.parametrize("baseline", [np.nan, np.inf, -np.inf, 1e200])
def test_a_baseline_that_is_no_number_is_refused_by_its_name(baseline):
    with pytest.raises(ConfigError, match="--baseline must be a number"):
        law_fits_report(table(), baseline=baseline)
    log = table().with_columns(step=pl.int_range(pl.len()).cast(pl.Float64), proxy=pl.col("kl"))
    with pytest.raises(ConfigError, match="--baseline must be a number"):
        run_logs_report(log, baseline=baseline)
