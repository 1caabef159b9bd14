"""Best-of-n curves: gold and proxy against n, with intervals over prompts and seeds, and the fitted law.

Gold and proxy are gains over the base policy on the same prompts, so every curve starts at exactly 0 and differences
between prompts do not widen the intervals. Axes: S seeds, P prompts, N samples, K values of n.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from overopt.measure.intervals import LEVEL, curve_intervals, drop_record
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, best_of_n_kl, kl_bound
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import fit_law


def powers_of_two(pool: int) -> list[int]:
    """1, 2, 4 … up to the pool, and the pool itself.

    >>> powers_of_two(12)
    [1, 2, 4, 8, 12]
    """
    ns = [2**k for k in range(pool.bit_length()) if 2**k <= pool]
    return ns if ns[-1] == pool else [*ns, pool]


def best_of_n_record(
    proxy: FloatArray, gold: FloatArray, ns: Sequence[int], *, group: str, seed: int
) -> dict[str, Any]:
    """A curve with its fit and verdict, for ``results.json``.

    Parameters
    ----------
    proxy : (S, P, N) float64
        Recalibrated scores of one kind of proxy, one matrix a training seed.
    gold : (P, N) float64
        Recalibrated gold of the same samples.
    """
    proxy_SPK = _gains(np.stack([best_of_n_curve(scores, scores, ns) for scores in proxy]))
    gold_SPK = _gains(np.stack([best_of_n_curve(scores, gold, ns) for scores in proxy]))
    oracle_K = best_of_n_curve(gold, gold, ns).mean(axis=0) - gold.mean()
    kl_K = np.mean([best_of_n_kl(scores, ns).mean(axis=0) for scores in proxy], axis=0)
    bound_K = np.asarray(kl_bound(list(ns)))
    # One stream for both, so that a draw of prompts and seeds is the same draw for proxy and gold.
    proxy_curve = curve_intervals(proxy_SPK, stream(seed, "bootstrap", "bon", group))
    gold_curve = curve_intervals(gold_SPK, stream(seed, "bootstrap", "bon", group))
    fit = fit_law(
        "bon", bound_K, gold_curve.mean,
        gold_se=gold_curve.se, gold_draws=gold_curve.draws, n_units=gold.shape[0], group=group, level=LEVEL,
    )  # fmt: skip
    return {
        "curve": [
            {
                "n": n,
                "kl": kl_K[k],
                "kl_bound": bound_K[k],
                "proxy": proxy_curve.mean[k],
                "proxy_se": proxy_curve.se[k],
                "proxy_ci": [proxy_curve.low[k], proxy_curve.high[k]],
                "gold": gold_curve.mean[k],
                "gold_se": gold_curve.se[k],
                "gold_ci": [gold_curve.low[k], gold_curve.high[k]],
                "oracle": oracle_K[k],
            }
            for k, n in enumerate(ns)
        ],
        "fit": fit.to_dict(),
        "drop": drop_record(gold_SPK.mean(axis=0), list(ns), stream(seed, "drop", "bon", group)),
    }


def _gains(curve_SPK: FloatArray) -> FloatArray:
    """Every prompt's curve from its own value at n = 1, the mean of its samples."""
    return np.asarray(curve_SPK - curve_SPK[:, :, :1])
