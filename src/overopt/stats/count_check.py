"""Is a count what a known rate leads one to expect?"""

import math

from scipy.special import betainc, ndtri

from overopt.errors import DataError


def count_deviation(successes: int, trials: int, low: float, high: float | None = None) -> float:
    """How far a count is from a rate that is known to lie within ``low`` and ``high`` (``low`` alone: it is that).

    Parameters
    ----------
    successes, trials : int
        0 <= successes <= trials, of independent trials. Those that are spread evenly over scenarios vary a little less.
    low, high : float
        0 <= low <= high <= 1.

    Returns
    -------
    float
        In standard deviations of a normal variable: the one that is as improbable as so large a count (positive), or so
        small a one (negative). 0 where the share is within the bounds. It is of the binomial distribution and holds for
        counts near 0, where (k - np) / sqrt(np(1 - p)) does not.

    Raises
    ------
    DataError

    >>> round(count_deviation(60, 100, 0.5), 2), round(count_deviation(1, 32_768, 1e-6), 2)
    (1.9, 1.85)
    """
    high = low if high is None else high
    if not (0 <= successes <= trials and trials >= 1):
        raise DataError(f"a count lies within 0 and the number of trials, 1 or more; got {successes} of {trials}")
    if not 0 <= low <= high <= 1:
        raise DataError(f"a rate's bounds are in order and within 0 and 1; got {low} and {high}")
    share = successes / trials
    if low <= share <= high:
        return 0.0
    if share > high:
        tail = float(betainc(successes, trials - successes + 1, high))
        return max(0.0, -float(ndtri(tail))) if tail > 0 else math.inf
    tail = float(betainc(trials - successes, successes + 1, 1 - low))
    return min(0.0, float(ndtri(tail))) if tail > 0 else -math.inf
