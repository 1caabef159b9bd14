"""A rare rate as a product of less rare ones: multilevel splitting with a fixed number of episodes at each level.

Axes: R runs, L levels. In a run, episodes that reach a level are where those of the next level begin; the product of
the shares that reach each level is unbiased for the rate of reaching the last. It needs no probabilities of the policy,
only that an episode can be gone on with from its beginning.
"""

import math

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.measured_rate import MeasuredRate, log_interval
from overopt.stats.rates import zero_event_bound


def splitting_rate(reached: npt.ArrayLike, episodes: npt.ArrayLike, *, level: float = 0.95) -> MeasuredRate:
    """The rate of reaching the last level, from independent runs.

    Parameters
    ----------
    reached, episodes : (R, L) integers
        Of each run and level: episodes that reached it, among those begun at the level before. A run that died has
        0 reached and may have 0 episodes from there on, but not at its first level.
    level : float
        Of the interval.

    Returns
    -------
    MeasuredRate
        ``value`` is the mean over runs of the product of shares; a run that died is 0. ``relative_error`` comes from
        how runs differ: the shares of one run depend on each other through the episodes that were gone on with, and a
        formula that takes them for independent says too little. With one run it is that formula, named so in
        ``method``. Without any success the value is 0 and ``high`` a rough bound: the shares of all runs together, the
        first that is 0 replaced by its upper bound.

    Raises
    ------
    ShapeError, DataError, ConfigError

    Notes
    -----
    Garvels 2000, The splitting method in rare event simulation, ch. 2 (fixed effort).

    >>> splitting_rate([[50, 20], [40, 30]], [[100, 100], [100, 100]]).value
    0.11
    """
    check_level(level)
    k_RL, n_RL = float_array("reached", reached, "RL"), float_array("episodes", episodes, "RL")
    check_same_shape("reached", k_RL, "episodes", n_RL)
    if k_RL.size == 0 or (n_RL[:, 0] < 1).any():
        raise DataError("splitting needs one run and one level at least, and episodes at the first level of each run")
    if (k_RL < 0).any() or (k_RL > n_RL).any() or (np.floor([k_RL, n_RL]) != [k_RL, n_RL]).any():
        raise DataError("episodes that reached a level must be whole numbers, at most those that were begun")
    if ((n_RL[:, 1:] == 0) & (k_RL[:, :-1] > 0)).any():
        raise DataError("a run that reached a level must have episodes begun there")
    runs = len(k_RL)
    share_RL = np.divide(k_RL, n_RL, out=np.zeros_like(k_RL), where=n_RL > 0)
    value_R = share_RL.prod(axis=1)
    value = float(value_R.mean())
    method = "fixed-effort splitting, t interval of logarithms over runs"
    if runs > 1:
        relative = float(value_R.std(ddof=1)) / math.sqrt(runs) / value if value > 0 else math.nan
    else:
        relative = math.sqrt(float(((1 - share_RL) / (n_RL * share_RL)).sum())) if value > 0 else math.nan
        method = "fixed-effort splitting, one run: levels taken for independent"
    low, high = log_interval(value, relative, level, units=runs if runs > 1 else None)
    if value == 0:
        low, high, method = 0.0, _bound_without_success(k_RL, n_RL, level), "fixed-effort splitting, rough bound"
    return MeasuredRate(
        value=value, low=low, high=high, level=level, estimator="split", method=method, unit="run", n_units=runs,
        episodes=int(n_RL.sum()), relative_error=relative,
    )  # fmt: skip


def _bound_without_success(k_RL: npt.NDArray[np.float64], n_RL: npt.NDArray[np.float64], level: float) -> float:
    """The shares of all runs together, up to the first level that none reached, whose share is bounded."""
    bound = 1.0
    for k, n in zip(k_RL.sum(axis=0), n_RL.sum(axis=0), strict=True):
        if k == 0:
            return bound * float(zero_event_bound(n, level=level)) if n > 0 else bound
        bound *= float(k / n)
    return bound
