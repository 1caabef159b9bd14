"""How often the best of n by one proxy has more gold than the best of n by another, on the same pool.

Axes: P prompts, N samples of one prompt.
"""

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.pools import best_of_n_weights


def duel_win_rate(first: npt.ArrayLike, second: npt.ArrayLike, gold: npt.ArrayLike, n: int) -> FloatArray:
    """Probability (P,) that the winner by ``first`` has more gold than that by ``second``; equal gold counts half.

    The two winners come from two choices of n samples, independent of each other, out of one pool: each sample wins its
    choice with the weight of its rank, equal scores sharing theirs. Both may be the same sample, which is a tie, so two
    equal proxies give exactly one half.

    Parameters
    ----------
    first, second, gold : (P, N) float64
        Scores of the same samples.
    n : int
        1 <= n <= N.

    Raises
    ------
    ShapeError, DataError
        If the arrays do not go together or are not finite.
    ConfigError
        If n is out of range.

    >>> duel_win_rate([[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]], 2)
    array([1.])
    """
    arrays = [float_array(name, v, "PN") for name, v in (("first", first), ("second", second), ("gold", gold))]
    check_same_shape("first", arrays[0], "gold", arrays[2])
    check_same_shape("second", arrays[1], "gold", arrays[2])
    size = arrays[2].shape[1]
    if not 1 <= n <= size:
        raise ConfigError(f"n lies within 1 and the {size} samples of a prompt; got {n}")
    weight_N = best_of_n_weights(size, n)
    return np.array([_win_rate(one, other, true, weight_N) for one, other, true in zip(*arrays, strict=True)])


def _win_rate(first_N: FloatArray, second_N: FloatArray, gold_N: FloatArray, weight_N: FloatArray) -> float:
    first_share, second_share = (_shares(scores, weight_N) for scores in (first_N, second_N))
    _, level = np.unique(gold_N, return_inverse=True)
    # Chance of each level of gold for both winners.
    first_L, second_L = (np.bincount(level, weights=share) for share in (first_share, second_share))
    below_L = np.cumsum(second_L) - second_L
    return float(first_L @ (below_L + 0.5 * second_L))


def _shares(scores_N: FloatArray, weight_N: FloatArray) -> FloatArray:
    """Chance of each sample to be the winner."""
    _, group, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    total = np.concatenate([[0.0], np.cumsum(weight_N)])
    return np.asarray(((total[ends] - total[ends - counts]) / counts)[group])
