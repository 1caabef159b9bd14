"""What a best-of-n table says about the next one: the spread of its gain, and how many prompts would decide its drop.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError, EstimationError
from overopt.stats.checks import float_array, integers_in
from overopt.stats.planning_curves import prompts_to_separate
from overopt.stats.pools import Pools, average_within_ties, best_of_n_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class GainSpread:
    """The two standard deviations that ``planning_curves.plan_peak`` asks for."""

    prompt_sd: float
    """How much the gain at n differs between prompts, the noise of finite pools taken off; ``nan`` with one prompt or
    for n = 1, which has no gain."""
    sample_sd: float
    """Of gold among samples of one prompt that the proxy ranks about equal; ``nan`` if every pool is one sample."""


def gain_spread(
    proxy: npt.ArrayLike, gold: npt.ArrayLike, gain: npt.ArrayLike, n: int, *, sizes: npt.ArrayLike | None = None
) -> GainSpread:
    """How the gain of best-of-n over one sample spreads over prompts, and gold over samples.

    Parameters
    ----------
    proxy, gold : (P, N) float64, or (R,) with ``sizes``
        Scores of the same samples.
    gain : (P,) float64
        Each prompt's gold at ``n`` minus its gold at n = 1 (``bon.best_of_n_curve``).
    n : int
        1 <= n <= N.

    Notes
    -----
    ``sample_sd``^2 is half the mean squared difference of gold between neighbours in the proxy's order, in which what
    the proxy explains cancels (von Neumann 1941). A pool's gain then has the noise variance sample_sd^2 times the sum
    of squared differences between the rank weights of n and of one sample, averaged over ties; it is taken off the
    variance over prompts, and what is negative is 0.
    """
    gain_P = float_array("gain", gain, "P")
    pools = Pools.of(proxy, [gold], sizes, names=["gold"])
    (n,) = integers_in("n", [n], 1, pools.smallest)
    if gain_P.size != pools.n_prompts:
        raise DataError(f"gain must hold one number a prompt, {pools.n_prompts}; got {gain_P.size}")
    squares, neighbours, noise = 0.0, 0, 0.0
    for block in pools.ranked():
        (ranked_gold,) = block.values
        squares += float(np.sum(np.diff(ranked_gold, axis=1) ** 2))
        neighbours += ranked_gold.shape[0] * (ranked_gold.shape[1] - 1)
        weights = np.tile(best_of_n_weights(ranked_gold.shape[1], n), (ranked_gold.shape[0], 1))
        average_within_ties(weights, block.equals_previous)
        noise += float(np.sum((weights - 1 / ranked_gold.shape[1]) ** 2))
    sample_variance = squares / (2 * neighbours) if neighbours else math.nan
    between = float(gain_P.var(ddof=1)) if gain_P.size > 1 and n > 1 else math.nan
    between -= sample_variance * noise / pools.n_prompts
    return GainSpread(
        prompt_sd=math.nan if math.isnan(between) else math.sqrt(max(between, 0.0)),
        sample_sd=math.sqrt(sample_variance),
    )


def prompts_to_decide(drop: float, sd: float, *, level: float = 0.95, power: float = 0.8) -> int | None:
    """Prompts in all for the interval of a drop to exclude 0, with the probability ``power``, if the drop is real.

    Parameters
    ----------
    drop, sd : float
        Gold at the peak minus gold at the last n as a mean over prompts, free of the winner's curse
        (``turn.gold_drop``; the drop from a peak picked by eye is too large), and the standard deviation over prompts
        behind its error: the standard error times the root of the number of prompts.
    level, power : float

    Returns
    -------
    int or None
        By the paired t-test of this mean and sd: its standard error falls with the root of the prompts. ``None``
        without a drop to decide on (0, below, or unknown), with an unknown sd, or where no budget would do.

    >>> prompts_to_decide(0.5, 0.8)
    23
    """
    if not (drop > 0 and sd >= 0):
        return None
    # A verdict needs units that could reach the level if all agreed (``turn.gold_drop``).
    fewest = math.floor(-math.log2((1 - level) / 2)) + 1
    if not sd > 0:
        return fewest
    try:
        # The sd there is that of one arm, and the two arms are taken as independent.
        needed = prompts_to_separate(drop, sd / math.sqrt(2), level=level, power=power).episodes
    except EstimationError:
        return None
    return max(needed, fewest)
