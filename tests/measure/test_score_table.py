"""``overopt bon`` on tables: what the drop record holds."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from overopt.errors import ConfigError
from overopt.measure.pool_sizes import smallest_pool_of_default_grid
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
    # By the drop as held out: the one seen is too large on average.
    half_width = (drop["ci"][1] - drop["ci"][0]) / 2
    sd = half_width / stats.t.ppf(0.975, P - 1) * np.sqrt(P)
    assert drop["prompts_to_decide"] == prompts_to_separate(drop["drop"], sd / np.sqrt(2)).episodes
    assert drop["drop"] <= drop["seen"] + 1e-12
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


def uneven(sizes, seed=0):
    rng = np.random.default_rng(seed)
    proxy = rng.normal(size=sum(sizes))
    names = np.repeat([f"p{k:03}" for k in range(len(sizes))], sizes)
    return pl.DataFrame({"prompt": names, "proxy": proxy, "gold": proxy + rng.normal(size=proxy.size)})


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_a_few_prompts_have_no_intervals_and_no_ok_fit(prompts):
    """One prompt has the same bootstrap draw every time: an interval of width 0 is no knowledge."""
    statuses = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        proxy = rng.normal(size=(prompts, 512))
        gold = proxy - 0.35 * proxy**2 + 0.3 * rng.normal(size=proxy.shape)
        names = np.repeat(["a", "b", "c"][:prompts], 512)
        frame = pl.DataFrame({"prompt": names, "proxy": proxy.ravel(), "gold": gold.ravel()})
        report = best_of_n_report(frame)
        json.dumps(report, allow_nan=False)
        fit = report["fit"]
        statuses.add(fit["status"])
        unknown = [report["drop"]["ci"], fit["alpha_ci"], fit["beta_ci"]]
        unknown += [point[name] for point in report["curve"] for name in ("gold_ci", "gain_ci", "proxy_ci")]
        unknown += [fit[name]["d_ci"] for name in ("peak", "zero") if fit[name]]
        assert unknown == [[None, None]] * len(unknown)
        assert (fit["intervals"], fit["shape"], report["verdict"]) == ("none", None, "undetermined")
        assert fit["alpha"] is not None
    assert statuses <= {"unidentified", "poor_fit"}
    assert "unidentified" in statuses


def test_neither_names_nor_order_of_prompts_play_any_part():
    frame = uneven([17, 16, 20, 16, 18, 16, 40, 16, 16, 23]).with_columns(pl.col("gold").round(1))
    report = best_of_n_report(frame, seed=3, with_win_rate=True)
    names = frame["prompt"].unique(maintain_order=True).to_list()
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(names).tolist()
        renamed = frame.with_columns(pl.col("prompt").replace_strict(names, shuffled))
        moved = pl.concat([frame.filter(pl.col("prompt") == name) for name in shuffled])
        assert best_of_n_report(renamed, seed=3, with_win_rate=True) == report
        assert best_of_n_report(moved, seed=3, with_win_rate=True) == report


def test_one_short_prompt_does_not_take_the_curve_away():
    report = best_of_n_report(uneven([64] * 29 + [1]))
    assert [point["n"] for point in report["curve"]] == [1, 2, 4, 8, 16, 32, 64]
    assert (report["prompts"], report["prompts_left_out"], report["short_prompts_left_out"]) == (29, 1, 1)
    assert (report["largest_n"], report["limiting_prompts"]) == (64, 0)


@pytest.mark.parametrize(
    ("sizes", "largest", "left_out", "limiting"),
    [
        ([64] * 28 + [1] * 2, 1, 0, 2),  # 6.7 % of the prompts are too many to leave out
        ([64] * 38 + [1, 8], 64, 2, 0),  # one in twenty is not
        ([64] * 39 + [33], 33, 0, 1),  # less than a factor of two is not worth a prompt
        ([64] * 39 + [32], 64, 1, 0),
        ([64] * 10 + [3], 3, 0, 1),
        ([64] * 5, 64, 0, 0),
    ],
)
def test_the_default_grid_keeps_95_of_100_prompts(sizes, largest, left_out, limiting):
    report = best_of_n_report(uneven(sizes)) if largest > 1 else None
    if report is None:
        assert smallest_pool_of_default_grid(np.array(sizes)) == largest
        return
    assert (report["largest_n"], report["prompts_left_out"], report["limiting_prompts"]) == (
        largest,
        left_out,
        limiting,
    )


def test_an_explicit_n_leaves_nobody_out():
    frame = uneven([64] * 29 + [2])
    report = best_of_n_report(frame, ns=[1, 2])
    assert (report["prompts"], report["prompts_left_out"]) == (30, 0)
    with pytest.raises(ConfigError, match="--n 9 is more than the 2 samples of the smallest pool"):
        best_of_n_report(frame, ns=[9])
    with pytest.raises(ConfigError, match="--n 99 needs prompts of as many samples; the largest pool holds 64"):
        best_of_n_report(frame, ns=[99])
