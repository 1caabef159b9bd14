"""Best-of-n from one table of scores: the curve, its law and its verdict, for ``overopt bon``.

Gold and proxy keep the units of the table. The law is fitted to the gain in gold over n = 1, since it is 0 at d = 0,
and the verdict rests on paired differences within prompts. Axes: P prompts, R rows, K values of n.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from overopt.errors import EstimationError
from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import draws_for
from overopt.measure.plain import plain
from overopt.measure.pool_order import order_by_scores
from overopt.measure.pool_sizes import check_largest_n, smallest_pool_of_default_grid
from overopt.measure.pools import IntArray
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, best_of_n_curves, best_of_n_kl, kl_bound, tie_rate
from overopt.stats.drop_power import gain_spread, prompts_to_decide
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import fit_law
from overopt.stats.resampling import bootstrap_means, interval_over_units
from overopt.stats.turn import gold_drop
from overopt.stats.win_rate import best_of_n_win_rate

SCHEMA = "overopt.bon/1"
ROUNDING = 64 * np.finfo(np.float64).eps
"""Relative to the largest gold: what sums of the same numbers in other orders differ by."""


def best_of_n_report(
    scores: pl.DataFrame,
    *,
    missing: int = 0,
    ns: Sequence[int] | None = None,
    min_samples: int = 1,
    level: float = 0.95,
    seed: int = 0,
    with_win_rate: bool = False,
) -> dict[str, Any]:
    """The ``overopt.bon/1`` object.

    Parameters
    ----------
    scores : DataFrame
        ``prompt`` (string), ``proxy`` and ``gold`` (finite floats), one row a sample.
    missing : int
        Rows that were dropped before, passed through.
    ns : sequence of int, optional
        Values of n; the powers of two up to the smallest pool, and the smallest pool, if none are given. Then the
        shortest pools, at most 5 % of the prompts, are left out and counted where they would at least halve the largest
        n (``pool_sizes.smallest_pool_of_default_grid``); with ``ns`` all prompts count.
    min_samples : int
        Prompts with fewer samples are left out and counted.
    with_win_rate : bool
        Whether each point also gets the probability to beat one sample of the policy; takes a few more sorts.

    Returns
    -------
    dict
        ``drop`` holds the fall of gold from its peak as held out (``drop``, ``ci``) and as ``seen``, the two standard
        deviations that ``overopt plan peak`` asks for, and ``prompts_to_decide``, null without a fall.
        ``prompts_to_decide`` and the interval rest on the drop as held out.
        ``smaller_pools`` counts the prompts with fewer samples than the largest pool, ``largest_n`` says which n the
        smallest pool allows and ``limiting_prompts`` how many prompts have no more than that while others do;
        ``short_prompts_left_out`` are those of ``prompts_left_out`` that the default grid left out.
        With fewer than four prompts no interval is known and the fit is not ``ok``. Neither the names of prompts nor
        their order in the table play any part.

    Raises
    ------
    EstimationError
        If no prompt is left, or each has one sample only.
    ConfigError
        If an n exceeds the smallest pool.
    """
    kept, left_out = _pools(scores, min_samples)
    short = 0
    if ns is None:
        kept, short = _pools(kept, smallest_pool_of_default_grid(_sizes(kept)))
    else:
        check_largest_n(kept, ns, min_samples)
    sizes = _sizes(kept)
    proxy, gold = kept["proxy"].to_numpy(), kept["gold"].to_numpy()
    prompt_order, rows = order_by_scores(proxy, gold, sizes)
    sizes, proxy, gold = sizes[prompt_order], proxy[rows], gold[rows]
    smallest = int(sizes.min())
    if ns is None:
        ns = powers_of_two(smallest)
    n_points = len(ns)
    with_base = [1, *ns]

    proxy_PK, gold_PK = best_of_n_curves(proxy, [proxy, gold], with_base, sizes=sizes)
    kl_PK = best_of_n_kl(proxy, ns, sizes=sizes)
    oracle_K = best_of_n_curve(gold, gold, ns, sizes=sizes).mean(axis=0)
    gain_PK = gold_PK[:, 1:] - gold_PK[:, :1]
    # Means of one number over other weights differ in their last digits: constant gold has no gain.
    gain_PK[np.abs(gain_PK) <= ROUNDING * np.abs(gold).max()] = 0.0
    proxy_PK, gold_PK = proxy_PK[:, 1:], gold_PK[:, 1:]
    n_draws = draws_for(len(sizes))
    draws = bootstrap_means(
        np.concatenate([gold_PK, gain_PK, kl_PK, proxy_PK], axis=1),
        n_draws,
        stream(seed, "bootstrap", "bon"),
    )
    gold_DK, gain_DK, kl_DK, proxy_DK = np.split(draws, 4, axis=1)
    gold_ci, gain_ci, proxy_ci = (
        interval_over_units(values.mean(axis=0), found, level, len(sizes))
        for values, found in ((gold_PK, gold_DK), (gain_PK, gain_DK), (proxy_PK, proxy_DK))
    )
    kl_K, gain_K = kl_PK.mean(axis=0), gain_PK.mean(axis=0)
    gold_se, gain_se, proxy_se = (_standard_errors(values) for values in (gold_PK, gain_PK, proxy_PK))
    fit = fit_law(
        "bon", kl_K, gain_K,
        gold_se=gain_se, kl_draws=kl_DK, gold_draws=gain_DK, n_units=len(sizes), level=level,
    )  # fmt: skip
    in_order = np.argsort(ns, kind="stable")
    drop = gold_drop(gain_PK[:, in_order], level=level, rng=stream(seed, "drop", "bon"))
    peak, last = int(in_order[drop.peak_index]), int(in_order[-1])
    spread = gain_spread(proxy, gold, gain_PK[:, peak], int(ns[peak]), sizes=sizes)
    curve = [
        {
            "n": int(ns[k]),
            "kl": kl_K[k],
            "kl_bound": kl_bound(ns[k]),
            "proxy": proxy_PK[:, k].mean(),
            "proxy_se": proxy_se[k],
            "proxy_ci": proxy_ci[:, k],
            "gold": gold_PK[:, k].mean(),
            "gold_se": gold_se[k],
            "gold_ci": gold_ci[:, k],
            "gain": gain_K[k],
            "gain_se": gain_se[k],
            "gain_ci": gain_ci[:, k],
            "oracle": oracle_K[k],
        }
        for k in range(n_points)
    ]
    if with_win_rate:
        _add_win_rates(curve, proxy, gold, sizes)
    report = plain(
        {
            "schema": SCHEMA,
            "prompts": len(sizes),
            "samples_per_prompt": {"min": smallest, "max": int(sizes.max())},
            "samples": int(sizes.sum()),
            "missing": missing,
            "prompts_left_out": left_out + short,
            "short_prompts_left_out": short,
            "largest_n": smallest,
            "limiting_prompts": int((sizes == smallest).sum()) if smallest < sizes.max() else 0,
            "smaller_pools": int((sizes < sizes.max()).sum()),
            "tie_rate": tie_rate(proxy, sizes=sizes),
            "level": level,
            "curve": curve,
            "fit": fit.to_dict(),
            "drop": {
                "peak_n": int(ns[peak]),
                "drop": drop.drop,
                "ci": drop.ci,
                "seen": gain_K[peak] - gain_K[last],
                "prompt_sd": spread.prompt_sd,
                "sample_sd": spread.sample_sd,
                "prompts_to_decide": prompts_to_decide(drop.drop, drop.stderr * len(sizes) ** 0.5, level=level),
            },
            "verdict": drop.verdict,
        }
    )
    assert isinstance(report, dict)
    return report


def _pools(scores: pl.DataFrame, min_samples: int) -> tuple[pl.DataFrame, int]:
    """Rows sorted by prompt, without the prompts whose pool is too small; how many prompts that leaves out."""
    counts = scores.group_by("prompt").len()
    small = counts.filter(pl.col("len") < min_samples)
    if small.height:
        scores = scores.join(small, on="prompt", how="anti")
    if scores.height == 0:
        raise EstimationError(
            f"no prompt has {min_samples} samples or more; the largest pool holds {counts['len'].to_numpy().max()}"
        )
    if small.height + int((counts["len"] == 1).sum()) >= counts.height and min_samples <= 1:
        raise EstimationError(
            f"each of the {counts.height} prompts has one sample, and best-of-n needs at least two to choose from; "
            "is the prompt column the right one?"
        )
    return scores.sort("prompt", maintain_order=True), small.height


def _sizes(scores: pl.DataFrame) -> IntArray:
    """Samples of each prompt, in the order in which the prompts first occur."""
    return scores.group_by("prompt", maintain_order=True).len()["len"].to_numpy().astype(np.int64)


def _add_win_rates(curve: list[dict[str, Any]], proxy: FloatArray, gold: FloatArray, sizes: IntArray) -> None:
    """The probability of best-of-n to beat one more sample; unknown where n takes the whole of the smallest pool."""
    points = [point for point in curve if point["n"] < sizes.min()]
    for point in curve:
        point["win_rate"] = point["win_rate_se"] = float("nan")
    if points:
        rate_PK = best_of_n_win_rate(proxy, gold, [point["n"] for point in points], sizes=sizes)
        for point, rate, error in zip(points, rate_PK.mean(axis=0), _standard_errors(rate_PK), strict=True):
            point["win_rate"], point["win_rate_se"] = rate, error


def _standard_errors(values_PK: FloatArray) -> FloatArray:
    """Of the mean over prompts; nan with one prompt."""
    n_prompts = values_PK.shape[0]
    if n_prompts < 2:
        return np.full(values_PK.shape[1], np.nan)
    return np.asarray(values_PK.std(axis=0, ddof=1) / np.sqrt(n_prompts))
