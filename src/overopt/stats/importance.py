"""A rare rate from episodes of another policy that meets the event more often, each weighted back.

Axis: N episodes. A weight is the policy's probability of an episode over that of the distribution it was drawn from.
With a defensive mixture, which draws a share of the episodes from the policy itself, no weight exceeds one over that
share (Hesterberg 1995, Technometrics 37), so that no unseen weight can surprise the variance or a bound.
"""

import math

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.measured_rate import MeasuredRate, log_interval


def mixture_weights(policy_logprob: npt.ArrayLike, proposal_logprob: npt.ArrayLike, share: float) -> FloatArray:
    """Weights (N,) of episodes drawn from ``share`` of the policy and 1 - ``share`` of a proposal.

    Parameters
    ----------
    policy_logprob, proposal_logprob : (N,) float64
        Of whole episodes, nats; the proposal's may be -inf.
    share : float
        Within (0, 1].

    Raises
    ------
    ShapeError, DataError, ConfigError

    >>> mixture_weights([-1.0, -2.0], [-1.0, -np.inf], 0.5)
    array([1., 2.])
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the policy's share of the mixture must lie above 0 and up to 1; got {share}")
    policy_N = float_array("policy_logprob", policy_logprob, "N")
    proposal_N = float_array("proposal_logprob", proposal_logprob, "N", finite=False)
    check_same_shape("policy_logprob", policy_N, "proposal_logprob", proposal_N)
    if np.isnan(proposal_N).any() or (proposal_N == np.inf).any():
        raise DataError("log-probabilities of the proposal must be numbers below infinity")
    if share == 1:
        return np.ones_like(policy_N)
    ratio_N = proposal_N - policy_N + math.log1p(-share)
    return np.exp(-np.logaddexp(math.log(share), ratio_N))


def importance_rate(
    weights: npt.ArrayLike,
    is_event: npt.ArrayLike,
    *,
    largest: float,
    tuning: int = 0,
    level: float = 0.95,
) -> MeasuredRate:
    """The rate of an event under the policy, from weighted episodes of a proposal.

    Parameters
    ----------
    weights : (N,) float64
        Not negative and at most ``largest``, N at least 2.
    is_event : (N,) bool
    largest : float
        What no weight can exceed: 1 / share for a defensive mixture. It gives the upper end if no event was met.
    tuning : int
        Episodes that were spent on the proposal; they are counted and enter nothing else.
    level : float

    Returns
    -------
    MeasuredRate
        The mean of weight times event: unbiased whatever the proposal, for it is not divided by the mean weight. Its
        interval takes the logarithm for normal. Without an event the value is 0 and ``high`` is exact: at that rate an
        event would have been met with probability ``level``, because who draws a share of the policy meets it at least
        as often as that share.

    Raises
    ------
    ShapeError, DataError, ConfigError

    >>> found = importance_rate([0.5, 0.5, 2.0, 1.0], [True, True, False, False], largest=2.0)
    >>> found.value, round(found.effective, 2)
    (0.25, 2.91)
    """
    check_level(level)
    weight_N, event_N = float_array("weights", weights, "N"), float_array("is_event", is_event, "N")
    check_same_shape("weights", weight_N, "is_event", event_N)
    n = weight_N.size
    if n < 2:
        raise DataError(f"a weighted rate needs two episodes at least; got {n}")
    if not ((event_N == 0) | (event_N == 1)).all():
        raise DataError("is_event must be true or false")
    if not 0 < largest < math.inf or (weight_N < 0).any() or (weight_N > largest * (1 + 1e-9)).any():
        raise DataError(f"weights must not be negative nor exceed {largest}; got {weight_N.min()} to {weight_N.max()}")
    value_N = weight_N * event_N
    value = float(value_N.mean())
    relative = float(value_N.std(ddof=1)) / math.sqrt(n) / value if value > 0 else math.nan
    low, high = log_interval(value, relative, level)
    if value == 0:
        low, high = 0.0, min(-math.expm1(math.log1p(-level) / n) * largest, 1.0)
    return MeasuredRate(
        value=value,
        low=low,
        high=high,
        level=level,
        estimator="weighted",
        method="importance sampling, log-normal interval" if value > 0 else "importance sampling, bound without events",
        unit="episode",
        n_units=n,
        episodes=n + tuning,
        successes=float(event_N.sum()),
        effective=float(weight_N.sum() ** 2 / (weight_N**2).sum()) if weight_N.any() else math.nan,
        largest_weight=float(weight_N.max()),
        relative_error=relative,
    )
