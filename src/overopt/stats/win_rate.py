"""How often the best of n by the proxy beats one plain sample of the base in gold.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts, K values of n.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.pools import IntArray, Pools, average_within_ties, equals_previous, tie_groups, weight_matrix


def best_of_n_win_rate(
    proxy: npt.ArrayLike, gold: npt.ArrayLike, ns: Sequence[int], *, sizes: npt.ArrayLike | None = None
) -> FloatArray:
    """Probability that the best-of-n sample by proxy has more gold than one independent base sample.

    Every choice of n samples and one opponent among the others counts equally, so the number is unbiased when the
    pool is an independent draw. An opponent of equal gold counts half; equal proxy scores are ranked in every order.

    Parameters
    ----------
    proxy, gold : (P, N) float64, or (R,) with ``sizes``
        Scores of the same samples; ``proxy`` selects, ``gold`` decides who wins. Finite, in any order along N.
    ns : sequence of int
        1 <= n <= N - 1 each, N the smallest pool: the opponent is one more sample.
    sizes : (P,) int, optional
        Samples of each prompt when pools are ragged; they lie together in the arrays.

    Returns
    -------
    (P, K) float64
        0.5 for n = 1. With gold as the proxy and no ties it is n / (n+1), which no proxy exceeds on average.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; also if a prompt has a single sample.

    Notes
    -----
    The winner holds the ascending proxy rank r with the weight w_r of ``best_of_n_weights``. Each of the N - n samples
    outside the subset is the opponent equally often: one ranked above r always is outside, one below with probability
    1 - (n-1)/(r-1). So the rate is the sum over r of w_r (U_r + L_r (r-n)/(r-1)) / (N-n), with U_r, L_r the opponents
    above and below that r beats. Inside a group of equal proxy scores U and L are group means, and the members that
    happen to rank below r are beaten half the time, since gold wins of pairs sum to one. The bound n / (n+1) is from
    Beirami et al. 2024 (arXiv:2401.01879); the estimator is ours. Time grows as N log N.

    >>> best_of_n_win_rate([[1.0, 2.0, 3.0]], [[0.0, 5.0, 7.0]], [1, 2]).round(4)
    array([[0.5   , 0.6667]])
    """
    pools = Pools.of(proxy, [gold], sizes, names=["gold"])
    if pools.smallest < 2:
        raise DataError(
            f"a win rate needs an opponent beside the winner: {int((pools.sizes < 2).sum())} of {pools.n_prompts} "
            "prompts have a single sample; leave them out"
        )
    integers = pools.checked_ns(ns, spare=1)
    rate = np.empty((pools.n_prompts, len(integers)))
    if_above_NK = if_below_NK = np.empty((0, len(integers)))
    for block in pools.ranked():
        size = block.proxy.shape[1]
        if len(if_above_NK) != size:
            if_above_NK, if_below_NK = _opponent_weights(size, integers)
        wins_PN, below_PN = _gold_wins(block.values[0], block.equals_previous)
        average_within_ties(wins_PN, block.equals_previous)
        average_within_ties(below_PN, block.equals_previous)
        below_PN += 0.5 * _offset_in_group(block.equals_previous)
        rate[block.prompts] = (wins_PN - below_PN) @ if_above_NK + below_PN @ if_below_NK
    return rate


def _opponent_weights(pool: int, ns: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Chance that a rank wins and a given sample above it, or below it, is the opponent; (N, K) each."""
    n_K = np.asarray(ns, dtype=np.float64)
    if_above_NK = weight_matrix(pool, ns) / (pool - n_K)
    others_N1 = np.arange(pool, dtype=np.float64)[:, None]
    # The lowest rank has nobody below it: any finite factor will do.
    if_below_NK = if_above_NK * (others_N1 + 1 - n_K) / np.maximum(others_N1, 1)
    return if_above_NK, if_below_NK


def _gold_wins(gold_PN: FloatArray, proxy_tied_PN: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Samples of its row that each sample beats in gold, ties half: all of them, and those of lower proxy.

    ``gold_PN`` is in ascending order of the proxy. Within a group of equal proxy scores only the sum of the returned
    numbers has a meaning.
    """
    n_rows, size = gold_PN.shape
    same_pair_PN = np.zeros_like(proxy_tied_PN)
    if proxy_tied_PN.any():
        # Gold falls within a group of equal proxy, so that no sample has lower gold before it in its own group.
        group = np.cumsum(~proxy_tied_PN.ravel())
        gold_PN = gold_PN.ravel()[np.lexsort((-gold_PN.ravel(), group))].reshape(gold_PN.shape)
        same_pair_PN = proxy_tied_PN & equals_previous(gold_PN)
    # Equal gold is ranked by falling position, so that lower ranks before a position are lower gold.
    by_gold_PN = size - 1 - np.argsort(gold_PN[:, ::-1], axis=1, kind="stable")
    flat = (by_gold_PN + size * np.arange(n_rows)[:, None]).ravel()
    gold_tied_PN = equals_previous(gold_PN.ravel()[flat].reshape(gold_PN.shape))
    first, counts = tie_groups(gold_tied_PN)
    wins, equal_before = np.empty(gold_PN.size), np.empty(gold_PN.size)
    wins[flat] = np.repeat(first % size + 0.5 * (counts - 1), counts)
    equal_before[flat] = np.repeat(counts - 1, counts) - _offset_in_group(gold_tied_PN).ravel()
    equal_below = equal_before.reshape(gold_PN.shape) - _offset_in_group(same_pair_PN)
    return wins.reshape(gold_PN.shape), _lower_before(by_gold_PN) + 0.5 * equal_below


def _lower_before(by_rank_PN: IntArray) -> FloatArray:
    """For each position of a row, how many earlier positions have a lower rank; rows list positions in rank order.

    A merge sort run backwards: the positions, all in rank order, are split into halves again and again, each half
    keeping its order, and whoever goes right has passed the left ones before it. All rows and all halves of a level
    are one pass.
    """
    n_rows, size = by_rank_PN.shape
    position = by_rank_PN.ravel()
    row_start = np.repeat(size * np.arange(n_rows), size)
    index = np.arange(position.size)
    passed = np.zeros(position.size, dtype=np.intp)
    for bit in reversed(range((size - 1).bit_length())):
        goes_right = (position >> bit) & 1 == 1
        start = row_start + (position >> (bit + 1) << (bit + 1))
        left_before = np.cumsum(~goes_right) - ~goes_right
        left_before -= left_before[start]
        passed[goes_right] += left_before[goes_right]
        target = np.where(goes_right, index + (1 << bit), start) + np.where(goes_right, -left_before, left_before)
        position, unordered, passed, unpassed = np.empty_like(position), position, np.empty_like(passed), passed
        position[target], passed[target] = unordered, unpassed
    return passed.reshape(by_rank_PN.shape).astype(np.float64)


def _offset_in_group(equals_previous_PN: BoolArray) -> IntArray:
    """How many members of its group of equals stand before each sample."""
    first, counts = tie_groups(equals_previous_PN)
    return (np.arange(equals_previous_PN.size) - np.repeat(first, counts)).reshape(equals_previous_PN.shape)
