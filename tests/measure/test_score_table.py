"""``overopt bon`` on tables: what the drop record holds."""

import json

import numpy as np
import polars as pl
import pytest

from overopt.measure.score_table import best_of_n_report
from overopt.stats.bon import best_of_n_curve
from overopt.stats.planning_curves import prompts_to_separate

P, N = 60, 64


def scores(bend, seed=0, pool=N):
    rng = np.random.default_rng(seed)
    proxy = rng.normal(size=(P, pool))
    gold = np.where(proxy < 1, proxy, 1 - bend * (proxy - 1)) + rng.normal(size=(P, 1)) + rng.normal(size=proxy.shape)
    frame = pl.DataFrame(
        {"prompt": np.repeat([f"p{k:03}" for k in range(P)], pool), "proxy": proxy.ravel(), "gold": gold.ravel()}
    )
    return frame, proxy, gold


def test_the_drop_record_says_what_was_seen_and_what_would_decide():
    frame, proxy, gold = scores(1.5)
    report = best_of_n_report(frame)
    json.dumps(report, allow_nan=False)
    drop = report["drop"]
    curve = best_of_n_curve(proxy, gold, [drop["peak_n"], N])
    difference = curve[:, 0] - curve[:, 1]
    assert drop["seen"] == pytest.approx(difference.mean())
    sd = float(difference.std(ddof=1))
    assert drop["prompts_to_decide"] == prompts_to_separate(drop["seen"], sd / np.sqrt(2)).episodes
    assert drop["sample_sd"] == pytest.approx(1, rel=0.05)
    assert drop["prompt_sd"] < 0.3
    assert {"peak_n", "drop", "ci"} <= set(drop)


def test_a_rising_curve_has_no_drop_to_decide_on():
    drop = best_of_n_report(scores(-1.0)[0])["drop"]
    assert (drop["peak_n"], drop["seen"], drop["prompts_to_decide"]) == (N, 0, None)


def test_a_clearer_drop_needs_fewer_prompts():
    needed = [best_of_n_report(scores(bend)[0])["drop"]["prompts_to_decide"] for bend in (0.6, 1.0, 3.0)]
    assert needed[0] > needed[1] > needed[2]


def test_the_kl_of_one_sample_is_exactly_0():
    """-1.9e-17 is no KL."""
    frame, *_ = scores(1.0)
    ragged = frame.filter(pl.int_range(pl.len()) % 53 != 0).with_columns(proxy=pl.col("proxy").round(1))
    for table in (frame, ragged):
        assert best_of_n_report(table)["curve"][0]["kl"] == 0


def test_smaller_pools_are_counted():
    frame, *_ = scores(1.0)
    assert best_of_n_report(frame)["smaller_pools"] == 0
    assert best_of_n_report(frame[1:])["smaller_pools"] == 1


def test_a_curve_that_leaves_the_law_is_no_good_fit_whatever_its_r2():
    rng = np.random.default_rng(1)
    proxy = rng.normal(size=(200, 128))
    gold = np.where(proxy < 1.5, proxy, 1.5 - 2 * (proxy - 1.5)) + 0.5 * rng.normal(size=proxy.shape)
    frame = pl.DataFrame(
        {"prompt": np.repeat([f"{k:03}" for k in range(200)], 128), "proxy": proxy.ravel(), "gold": gold.ravel()}
    )
    fit = best_of_n_report(frame)["fit"]
    assert fit["r2"] > 0.7
    assert (fit["status"], fit["lack_of_fit"]["method"]) == ("poor_fit", "chi2_of_draws")
    assert fit["lack_of_fit"]["p_value"] < 1e-6
    assert (fit["baseline"], fit["baseline_se"]) == (0, 0)
