"""Best-of-n: what the sample that the proxy ranks first among n is worth.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts, K values of n, V value arrays. Pools of
unequal size come flat, with ``sizes``. How far best-of-n is from the base is in ``bon_kl``, whose two KL functions can
be imported from here as well.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overopt.stats.bon_kl import best_of_n_kl, kl_bound
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units
from overopt.stats.pools import Pools, average_within_ties, best_of_n_weights, weight_matrix

__all__ = [
    "best_of_n_curve",
    "best_of_n_curves",
    "best_of_n_kl",
    "best_of_n_score",
    "best_of_n_weights",
    "kl_bound",
    "tie_rate",
]


def best_of_n_curve(
    proxy: npt.ArrayLike, values: npt.ArrayLike, ns: Sequence[int], *, sizes: npt.ArrayLike | None = None
) -> FloatArray:
    """Expected ``values`` of the sample that the proxy ranks first among n, for each prompt and each n.

    Every size-n subset of a prompt's pool counts equally, so no single draw of n decides, and the number is unbiased
    when the pool is an independent draw. Equal proxy scores share their ranks' total weight evenly: the exact mean
    over exchangeable orders. With gold in both places it is the oracle, best-of-n by gold itself.

    Parameters
    ----------
    proxy, values : (P, N) float64, or (R,) with ``sizes``
        Scores of the same samples; ``proxy`` selects, ``values`` (gold, proxy, a length) is reported. Finite, in any
        order along N.
    ns : sequence of int
        1 <= n <= N each, N the smallest pool, in any order.
    sizes : (P,) int, optional
        Samples of each prompt, at least 1; they lie together in ``proxy`` and ``values`` and sum to R.

    Returns
    -------
    (P, K) float64
        In units of ``values``; column k belongs to ``ns[k]``. The columns come from one pool and are correlated:
        resample prompts, not entries.

    Raises
    ------
    ShapeError
        If the two arrays do not share one shape, (P, N) or (R,), or ``sizes`` do not sum to R.
    DataError, ConfigError
        Both a ``ValueError``: a score is not finite or a prompt has none; an n is below 1 or above the smallest pool
        (the message counts the prompts that have fewer samples).

    Notes
    -----
    Within a tie group the weights are equal, so the group's values are replaced by their mean and one matrix product
    serves all n. One sort per prompt; the work arrays hold a quarter of a million scores, the weights N x K.

    >>> best_of_n_curve([[1.0, 2.0, 2.0]], [[0.0, 4.0, 8.0]], [1, 3])
    array([[4., 6.]])
    >>> best_of_n_curve([1.0, 2.0, 5.0, 4.0, 3.0], [0.0, 4.0, 8.0, 2.0, 2.0], [1, 2], sizes=[2, 3])
    array([[2., 4.],
           [4., 6.]])
    """
    return np.asarray(best_of_n_curves(proxy, [values], ns, sizes=sizes)[0])


def best_of_n_curves(
    proxy: npt.ArrayLike,
    values: Sequence[npt.ArrayLike],
    ns: Sequence[int],
    *,
    sizes: npt.ArrayLike | None = None,
) -> FloatArray:
    """``best_of_n_curve`` of several value arrays under one proxy, with one sort per prompt.

    Parameters
    ----------
    proxy, ns, sizes
        As ``best_of_n_curve``.
    values : sequence of V arrays
        Each of the shape of ``proxy``; the proxy itself may be among them and costs no second pass.

    Returns
    -------
    (V, P, K) float64

    >>> proxy, gold = [[1.0, 2.0, 2.0]], [[0.0, 4.0, 8.0]]
    >>> best_of_n_curves(proxy, [proxy, gold], [3])[:, 0, 0]
    array([2., 6.])
    """
    pools = Pools.of(proxy, values, sizes)
    integers = pools.checked_ns(ns)
    curves = np.empty((len(values), pools.n_prompts, len(integers)))
    weights_NK = np.empty((0, len(integers)))
    for block in pools.ranked():
        if len(weights_NK) != block.proxy.shape[1]:
            weights_NK = weight_matrix(block.proxy.shape[1], integers)
        for curve_PK, ranked in zip(curves, block.values, strict=True):
            if ranked is not block.proxy:
                average_within_ties(ranked, block.equals_previous)
            curve_PK[block.prompts] = ranked @ weights_NK
    return curves


def best_of_n_score(proxy: npt.ArrayLike, gold: npt.ArrayLike, n: int) -> Estimate:
    """Expected gold score of the sample that the proxy ranks first among ``n``.

    Parameters
    ----------
    proxy, gold : (P, N) float64
        Scores of the same samples; ``proxy`` selects, ``gold`` is reported. Any order along N, no NaN.
    n : int
        Samples the selector sees, 1 <= n <= N.

    Returns
    -------
    Estimate
        In gold units. ``stderr`` is over prompts, the independent units; ``nan`` when P = 1.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``best_of_n_curve``, which says how the number is computed.
    """
    return mean_over_units(best_of_n_curve(proxy, gold, [n])[:, 0], unit="prompt", method="unbiased best-of-n")


def tie_rate(proxy: npt.ArrayLike, *, sizes: npt.ArrayLike | None = None) -> float:
    """Share of samples whose proxy score equals another one's of the same prompt, as a mean over prompts.

    ``proxy`` is (P, N), or (R,) with the ``sizes`` (P,) of ragged pools; every prompt counts the same.

    >>> tie_rate([[1.0, 1.0, 2.0, 3.0]])
    0.5
    """
    total = 0.0
    pools = Pools.of(proxy, (), sizes)
    for block in pools.ranked():
        is_tied = block.equals_previous.copy()
        is_tied[:, :-1] |= block.equals_previous[:, 1:]
        total += float(is_tied.mean(axis=1).sum())
    return total / pools.n_prompts
