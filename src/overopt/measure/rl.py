"""Curves of an RL run: proxy, gold, KL, entropy, length and truncation by step, with intervals over prompts.

The units are held-out prompts; a prompt's value at a step is the mean over its replies there. Gold and proxy are gains
over the base policy on the same prompts, known from the best-of-n pool. Axes: P prompts, K measured steps.
"""

from typing import Any

import numpy as np
import polars as pl

from overopt.measure.intervals import DRAWS, LEVEL, curve_intervals, drop_record
from overopt.measure.pools import IntArray, mean_by_prompt
from overopt.seeding import stream
from overopt.stats.calibration import Recalibration
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import fit_law
from overopt.stats.turn import change


def rl_record(
    steps: pl.DataFrame,
    *,
    prompt_ids: IntArray,
    proxy_map: Recalibration,
    gold_map: Recalibration,
    base_proxy: FloatArray,
    base_gold: FloatArray,
    group: str,
    seed: int,
) -> dict[str, Any]:
    """A run's curve with its fit and verdict, for ``results.json``.

    Parameters
    ----------
    steps : table of kind "rl_steps"
    prompt_ids : (P,) int64
    base_proxy, base_gold : (P,) float64
        Recalibrated mean scores of the base policy on the same prompts.
    """
    numbers = sorted(steps["step"].unique().to_list())
    by_step = {step: steps.filter(pl.col("step") == step) for step in numbers}

    def matrix(column: str) -> FloatArray:
        return np.stack([mean_by_prompt(by_step[step], column, prompt_ids) for step in numbers], axis=1)

    gold_PK = gold_map.apply(matrix("gold")) - base_gold[:, None]
    proxy_PK = proxy_map.apply(matrix("proxy")) - base_proxy[:, None]
    truncated_PK = 1 - matrix("finished")
    measured = {
        "kl": matrix("kl"),
        "proxy": proxy_PK,
        "gold": gold_PK,
        "entropy": matrix("entropy"),
        "length": matrix("length"),
        "truncation": truncated_PK,
    }
    # One stream for all, so that a draw of prompts is the same draw for KL and for gold.
    curves = {
        name: curve_intervals(values[None], stream(seed, "bootstrap", "rl", group)) for name, values in measured.items()
    }
    fit = fit_law(
        "rl",
        curves["kl"].mean,
        curves["gold"].mean,
        gold_se=curves["gold"].se,
        kl_draws=curves["kl"].draws,
        gold_draws=curves["gold"].draws,
        n_units=len(prompt_ids),
        group=group,
        level=LEVEL,
    )
    drop = drop_record(gold_PK, numbers, stream(seed, "drop", "rl", group))
    since_peak = change(
        proxy_PK,
        numbers.index(drop["peak"]),
        len(numbers) - 1,
        level=LEVEL,
        rng=stream(seed, "change", "rl", group),
        draws=DRAWS,
    )
    has_fallen = since_peak.ci[1] < 0
    return {
        "curve": [
            {
                "step": step,
                **{name: curve.mean[k] for name, curve in curves.items()},
                **{f"{name}_se": curve.se[k] for name, curve in curves.items()},
                "proxy_ci": [curves["proxy"].low[k], curves["proxy"].high[k]],
                "gold_ci": [curves["gold"].low[k], curves["gold"].high[k]],
            }
            for k, step in enumerate(numbers)
        ],
        "fit": fit.to_dict(),
        "drop": drop,
        "proxy_change": {"change": since_peak.value, "ci": list(since_peak.ci)},
        "verdict": "collapsed" if has_fallen and drop["verdict"] == "overoptimized" else drop["verdict"],
    }
