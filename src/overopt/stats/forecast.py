"""Where and how high gold will peak, told from a prefix of a run, and what stopping now would cost.

Everything comes from the posterior of ``law_posterior`` without random draws. K points, C sizes of the departure.
d in sqrt(nats), gold relative to d = 0. The peak is that of the law; the departure from it widens the law's
coefficients and counts in ``p_falling``, ``expected_gold`` and ``best_d``. What a run does that neither a law nor a
smooth departure from it describes (a collapse, a change of the learning rate) is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from overopt.errors import ConfigError
from overopt.stats.checks import check_level, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.law_posterior import (
    DEPARTURES,
    Posterior,
    Prior,
    falling_probability,
    law_posterior,
    predict,
    turn_probability,
)
from overopt.stats.laws import Law, law_value

ForecastStatus = Literal["ok", "poor_fit", "too_early"]

MIN_POINTS = 3
"""Points above d = 0 before a forecast: two coefficients and one point that could contradict them."""
MAX_SPREAD_LEFT = 0.5
"""A forecast needs beta's standard deviation to have fallen to this share of the prior's."""
LARGE_DEPARTURE = 0.1
MAX_P_DEPARTED = 0.8
"""The law is not believed when its departure exceeds this share of gold's range with more than this probability."""
HORIZON = 2.0
"""Default of ``d_max``, in largest distances seen: four times the KL."""

_BETAS, _ALPHAS = 96, 48
_LOG_REACH = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the points say about the turn.

    Every number but the distances is ``nan`` when the status is too_early; with poor_fit only ``p_falling`` and
    ``best_d`` are known, as the law's peak is not the curve's.
    """

    status: ForecastStatus
    law: Law
    points: int
    """Points above d = 0 that were used."""
    d_now: float
    """Largest distance with gold: the present."""
    d_max: float
    """The horizon."""
    p_turned: float
    """Probability that the law's peak lies at or before ``d_now``."""
    p_turn_by_d_max: float
    p_no_turn: float
    """Probability that gold never turns."""
    p_falling: float
    """Probability that gold's slope at ``d_now`` is negative, departure from the law included."""
    d_median: float
    """Of the peak's distance; infinite if no turn is the likelier."""
    d_ci: tuple[float, float]
    """Infinite above when no turn is likelier than the tail."""
    gold_median: float
    """Of the law's largest gold within 0..d_max; never below 0, which is the gold of d = 0."""
    gold_ci: tuple[float, float]
    regret_now: float
    """Expected largest gold within 0..d_max minus gold at ``d_now``: the price of stopping here."""
    regret_at_d_max: float
    """The same for stopping at the horizon: the price of going on blindly."""
    best_d: float
    """Distance within d_now..d_max at which gold is expected to be largest."""
    posterior: Posterior


class Expectation(NamedTuple):
    """Gold expected at M distances and its standard deviation, measurement error left out."""

    gold: FloatArray
    sd: FloatArray


def forecast_peak(
    d: npt.ArrayLike,
    gold: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    law: Law = "rl",
    prior: Prior | None = None,
    d_max: float | None = None,
    level: float = 0.9,
    departures: Sequence[float] = DEPARTURES,
    max_p_departed: float = MAX_P_DEPARTED,
) -> Forecast:
    """Distribution of the peak of gold, given its values at the first K checkpoints of a run.

    Parameters
    ----------
    d, gold : (K,) float64
        Distances >= 0 in any order and gold relative to d = 0.
    errors : (K,) or (K, K) float64
        Standard errors of ``gold`` or, when the checkpoints share prompts, their covariance (``curve_of_units``).
    law, prior, departures
        See ``law_posterior``. Other runs' coefficients make a better prior than the weak default.
    d_max : float, optional
        Horizon, at least the largest d; twice the largest d when absent.
    level : float
        Of the central intervals.
    max_p_departed : float
        The law is not believed above this probability of a large departure from it; 1 leaves that to the caller, who
        may know from ``lack_of_fit``.

    Returns
    -------
    Forecast
        ``too_early`` with fewer than three points or while the posterior standard deviation of beta is more than half
        the prior's: then the peak is the prior's, not the data's. ``poor_fit`` when a departure of more than a tenth
        of gold's range from the law has a probability above 0.8, as for gold that stays where it is.

    Raises
    ------
    DataError, ShapeError, ConfigError
        As ``law_posterior``, or for a horizon below the largest d.

    Notes
    -----
    Probabilities and quantiles of the peak's distance are exact for the posterior (``turn_probability``). Gold at the
    peak and the regrets are quadratures over 96 x 48 equally likely (alpha, beta) of each component.

    >>> d = np.arange(1.0, 7.0)
    >>> seen = forecast_peak(d, law_value("bon", d, 1.0, 0.1), np.full(6, 0.01), law="bon", departures=(0,))
    >>> seen.status, round(seen.d_median, 1), round(seen.gold_median, 2), round(seen.p_turned, 2)
    ('ok', 5.0, 2.5, 1.0)
    """
    check_level(level)
    posterior = law_posterior(law, d, gold, errors, prior=prior, departures=departures)
    d_now = float(posterior.d.max())
    horizon = HORIZON * d_now if d_max is None else float(d_max)
    if not d_now <= horizon < math.inf:
        raise ConfigError(f"d_max must be finite and at least the largest d, {d_now}; got {d_max}")
    unknown = (math.nan, math.nan)
    if not is_informed(posterior):
        return Forecast(
            status="too_early", law=law, points=posterior.d.size, d_now=d_now, d_max=horizon, p_turned=math.nan,
            p_turn_by_d_max=math.nan, p_no_turn=math.nan, p_falling=math.nan, d_median=math.nan, d_ci=unknown,
            gold_median=math.nan, gold_ci=unknown, regret_now=math.nan, regret_at_d_max=math.nan, best_d=math.nan,
            posterior=posterior,
        )  # fmt: skip
    p_falling = falling_probability(posterior, d_now)
    grid = np.linspace(d_now, horizon, 257)
    best_d = float(grid[np.argmax(expected_gold(posterior, grid).gold)])
    if _p_departed(posterior) > max_p_departed:
        return Forecast(
            status="poor_fit", law=law, points=posterior.d.size, d_now=d_now, d_max=horizon, p_turned=math.nan,
            p_turn_by_d_max=math.nan, p_no_turn=math.nan, p_falling=p_falling, d_median=math.nan, d_ci=unknown,
            gold_median=math.nan, gold_ci=unknown, regret_now=math.nan, regret_at_d_max=math.nan, best_d=best_d,
            posterior=posterior,
        )  # fmt: skip
    tail = (1 - level) / 2
    by_now, by_horizon, ever = (float(p) for p in turn_probability(posterior, [d_now, horizon, math.inf]))
    d_low, d_median, d_high = (float(q) for q in peak_d_quantiles(posterior, [tail, 0.5, 1 - tail]))
    highest, present, at_horizon, weights = _peak_gold(posterior, d_now, horizon)
    gold_low, gold_median, gold_high = _weighted_quantiles(highest, weights, [tail, 0.5, 1 - tail])
    return Forecast(
        status="ok",
        law=law,
        points=posterior.d.size,
        d_now=d_now,
        d_max=horizon,
        p_turned=by_now,
        p_turn_by_d_max=by_horizon,
        p_no_turn=1 - ever,
        p_falling=p_falling,
        d_median=d_median,
        d_ci=(d_low, d_high),
        gold_median=gold_median,
        gold_ci=(gold_low, gold_high),
        regret_now=float(weights @ (highest - present)),
        regret_at_d_max=float(weights @ (highest - at_horizon)),
        best_d=best_d,
        posterior=posterior,
    )


def is_informed(posterior: Posterior) -> bool:
    """Whether the points say more about beta than the prior did; ``forecast_peak`` gives the limits."""
    _, spread = _mixture(posterior.weights, posterior.mean[:, 1], posterior.covariance[:, 1, 1])
    return posterior.d.size >= MIN_POINTS and spread <= MAX_SPREAD_LEFT * math.sqrt(posterior.prior.covariance[1][1])


def peak_d_quantiles(posterior: Posterior, probabilities: npt.ArrayLike) -> FloatArray:
    """Quantiles of the distance of the law's peak; infinite where the probability exceeds that of ever turning.

    A peak beyond e^30 times the largest distance counts as never, one below e^-30 of it as 0.
    """
    p_Q = float_array("probabilities", probabilities, "Q")
    end = float(posterior.d.max())
    low, high = np.full(p_Q.size, -_LOG_REACH), np.full(p_Q.size, _LOG_REACH)
    reached = turn_probability(posterior, end * np.exp([-_LOG_REACH, _LOG_REACH]))
    for _ in range(60):  # halves 60 nats of ln d to rounding
        middle = 0.5 * (low + high)
        is_below = turn_probability(posterior, end * np.exp(middle)) < p_Q
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    found = end * np.exp(0.5 * (low + high))
    return np.where(p_Q > reached[1], math.inf, np.where(p_Q <= reached[0], 0.0, found))


def expected_gold(posterior: Posterior, d: npt.ArrayLike) -> Expectation:
    """Mean and standard deviation of gold at M distances, law and departure, without measurement error."""
    prediction = predict(posterior, d)
    variance = np.maximum(np.diagonal(prediction.covariance, axis1=1, axis2=2), 0)
    mean = posterior.weights @ prediction.mean
    spread = posterior.weights @ (variance + (prediction.mean - mean) ** 2)
    return Expectation(mean, np.sqrt(spread))


def _p_departed(posterior: Posterior) -> float:
    is_large = posterior.departures > 1.000001 * LARGE_DEPARTURE * posterior.scale
    return float(posterior.weights @ is_large)


class _Outcomes(NamedTuple):
    highest: FloatArray
    present: FloatArray
    at_horizon: FloatArray
    weights: FloatArray


def _peak_gold(posterior: Posterior, d_now: float, d_max: float) -> _Outcomes:
    """The law's largest gold within 0..d_max, and its gold now and at d_max, over a grid of (alpha, beta)."""
    beta_sd = np.sqrt(posterior.covariance[:, 1, 1])
    lever = posterior.covariance[:, 0, 1] / posterior.covariance[:, 1, 1]
    alpha_sd = np.sqrt(
        np.maximum(np.linalg.det(posterior.covariance), 0) / posterior.covariance[:, 1, 1]
    )  # of alpha given beta
    beta_step = ndtri((np.arange(_BETAS) + 0.5) / _BETAS)
    alpha_step = ndtri((np.arange(_ALPHAS) + 0.5) / _ALPHAS)
    offset = beta_sd[:, None] * beta_step
    beta = np.repeat((posterior.mean[:, 1, None] + offset)[..., None], _ALPHAS, axis=2)
    alpha = (posterior.mean[:, 0, None] + lever[:, None] * offset)[..., None] + alpha_sd[:, None, None] * alpha_step
    present = law_value(posterior.law, d_now, alpha, beta)
    at_horizon = law_value(posterior.law, d_max, alpha, beta)
    # With beta <= 0 the law is convex: its largest value is at an end, 0 or d_max.
    turns = beta > 0
    ratio = np.divide(alpha, beta, out=np.zeros_like(beta), where=turns)
    limit = math.log(d_max) + 1
    d_peak = np.maximum(ratio / 2, 0) if posterior.law == "bon" else np.exp(np.minimum(ratio, limit) - 1)
    inside = law_value(posterior.law, np.minimum(d_peak, d_max), alpha, beta)
    highest = np.maximum(np.where(turns, inside, at_horizon), 0.0)
    weights = np.repeat(posterior.weights / (_BETAS * _ALPHAS), _BETAS * _ALPHAS)
    return _Outcomes(highest.ravel(), present.ravel(), at_horizon.ravel(), weights)


def _weighted_quantiles(values: FloatArray, weights: FloatArray, probabilities: list[float]) -> tuple[float, ...]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    places = np.minimum(np.searchsorted(reached, probabilities), values.size - 1)
    return tuple(float(value) for value in values[order][places])


def _mixture(weights: FloatArray, means: FloatArray, variances: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation of a mixture of numbers."""
    mean = float(weights @ means)
    return mean, math.sqrt(float(weights @ (variances + (means - mean) ** 2)))
