"""The two over-optimization laws: gold against the distance d = sqrt(KL), and where gold peaks.

R_bon(d) = d (alpha - beta d) and R_rl(d) = d (alpha - beta ln d), gold relative to its value at d = 0: Gao et al. 2022
(arXiv:2210.10760). Divided by d both are straight lines in g(d) = d or ln d, so a weighted fit is a closed form, and a
refit for each of ten thousand bootstrap draws costs milliseconds. Axes: K points of a curve, D draws. KL in nats.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import percentile_interval

Law = Literal["bon", "rl"]
Status = Literal["ok", "poor_fit", "unidentified", "too_few_points"]

LAWS: tuple[Law, ...] = ("bon", "rl")

MIN_POINTS = 4
"""Points with d > 0 that a fit needs: two coefficients and two degrees of freedom to see them fail."""
MIN_R2 = 0.5
"""Below it the law explains less than half of the variation of gold along the curve."""


class Coefficients(NamedTuple):
    """alpha and beta of a law, of one shape; nan where they are not determined."""

    alpha: FloatArray
    beta: FloatArray


class Turn(NamedTuple):
    """Where a law's gold is largest."""

    d: float
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The largest gold of a fitted law."""

    d: float
    kl: float
    gold: float
    inside_data: bool
    """Whether d lies within the distances that were fitted; else it is an extrapolation."""
    d_ci: tuple[float, float]
    """Infinite above when too many draws have no turn; nan without draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another curve fitted to the same points with the same weights."""

    law: str
    """``bon``, ``rl``, or ``linear`` for R = alpha d, which never turns."""
    aicc: float
    r2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law fitted to one curve; ``fit_law`` explains each number."""

    group: str | None
    law: Law
    alpha: float
    beta: float
    alpha_ci: tuple[float, float]
    beta_ci: tuple[float, float]
    r2: float
    rmse: float
    points: int
    d_range: tuple[float, float]
    peak: Peak | None
    status: Status
    aicc: float
    alternatives: tuple[Alternative, ...]

    def to_dict(self) -> dict[str, Any]:
        """The FIT object of the command line's JSON; numbers that are not finite become ``None``."""
        # Any: the values of a JSON object.
        converted = _json_value(asdict(self))
        assert isinstance(converted, dict)
        return converted


def law_value(law: Law, d: npt.ArrayLike, alpha: npt.ArrayLike, beta: npt.ArrayLike) -> FloatArray:
    """Gold of a law at the distances ``d`` >= 0, 0 at d = 0; the three arguments broadcast.

    >>> law_value("bon", [0.0, 1.0, 2.0], 1.0, 0.25)
    array([0.  , 0.75, 1.  ])
    """
    distance = np.asarray(d, dtype=np.float64)
    if np.any(distance < 0):
        raise DataError("d is a square root of a KL and cannot be negative")
    return np.asarray(distance * (np.asarray(alpha) - np.asarray(beta) * _slope_term(law, distance)))


def fit_coefficients(law: Law, d: npt.ArrayLike, gold: npt.ArrayLike, weights: npt.ArrayLike) -> Coefficients:
    """Weighted least-squares alpha and beta of gold at d, in closed form, one pair for each leading index.

    Parameters
    ----------
    law : "bon" or "rl"
    d, gold : (..., K) float64
        Distances and gold relative to d = 0; leading axes (bootstrap draws) broadcast. Points with d <= 0 are left
        out: both laws are 0 at d = 0 whatever the coefficients, and ln 0 is not defined.
    weights : (K,) float64
        Weight of each point's squared residual in gold; their common scale does not matter.

    Returns
    -------
    Coefficients
        Shape (...); nan where fewer than two distinct distances are left.

    Notes
    -----
    Minimising sum w (R - gold)^2 is the regression of gold / d on g(d), with weights w d^2; centring on the weighted
    means keeps the digits that the normal equations of d and d g(d) would lose.
    """
    distance, gold_K, weight = np.broadcast_arrays(
        np.asarray(d, dtype=np.float64), np.asarray(gold, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    )
    is_used = distance > 0
    safe_d = np.where(is_used, distance, 1.0)
    weight = np.where(is_used, weight * safe_d**2, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = weight / weight.sum(axis=-1, keepdims=True)
        g = _slope_term(law, safe_d)
        slope = np.where(is_used, gold_K, 0.0) / safe_d
        g_mean = (weight * g).sum(axis=-1)
        slope_mean = (weight * slope).sum(axis=-1)
        g_centred = g - g_mean[..., None]
        spread = (weight * g_centred**2).sum(axis=-1)
        # Distances that differ by rounding alone are one distance.
        spread = np.where(spread > 1e-12 * (weight * g**2).sum(axis=-1), spread, np.nan)
        beta = -(weight * g_centred * slope).sum(axis=-1) / spread
        alpha = slope_mean + beta * g_mean
    return Coefficients(np.asarray(alpha), np.asarray(beta))


def peak(law: Law, alpha: float, beta: float) -> Turn:
    """Distance and gold of the largest value of a law; nan when it has no turn above d = 0.

    Best-of-n: alpha / 2 beta and alpha^2 / 4 beta, if both are positive. RL: exp(alpha / beta - 1) and beta times it,
    if beta is positive. Gold at the peak is alpha^2 / 4 beta, not the alpha / 2 beta of the caption of Gao et al.'s
    figure 12.

    >>> peak("bon", 1.0, 0.25)
    Turn(d=2.0, gold=1.0)
    """
    d = float(_turning_distance(law, np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64)))
    if not 0 < d < math.inf:
        return Turn(math.nan, math.nan)
    return Turn(d, float(law_value(law, d, alpha, beta)))


def fit_law(
    law: Law,
    kl: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    gold_se: npt.ArrayLike | None = None,
    kl_draws: npt.ArrayLike | None = None,
    gold_draws: npt.ArrayLike | None = None,
    group: str | None = None,
    level: float = 0.95,
) -> Fit:
    """Fit a law to a curve of gold against KL, with bootstrap intervals and a status that says what it is worth.

    Parameters
    ----------
    law : "bon" or "rl"
    kl, gold : (K,) float64
        KL in nats and gold relative to its value at KL 0. Points with KL <= 0 are left out, also those whose
        estimated KL is negative by chance; ``points`` counts the rest.
    gold_se : (K,) float64, optional
        Standard errors of ``gold``; all nan, or none given, means equal weights.
    kl_draws, gold_draws : (D, K) float64, optional
        Bootstrap draws of the two over the independent units (prompts, seeds). Points of one curve share their
        samples, so intervals come from these alone, never from residuals. The one that is absent stays fixed.
    group : str, optional
        Name of the curve, passed through.
    level : float
        Of the percentile intervals.

    Returns
    -------
    Fit
        ``r2`` = 1 - sum w e^2 / sum w (gold - weighted mean)^2, about the mean although the laws pass through the
        origin, since R^2 about 0 flatters every curve; nan for constant gold. ``rmse`` is unweighted, in gold units.
        ``aicc`` (an extra key) compares with those of ``alternatives``; nan with four points. ``peak`` is ``None``
        if the law has no turn.

    Notes
    -----
    *Weights.* A point weighs 1 / max(se, median se)^2. Small n have the smallest errors and the law holds only
    approximately, so an unbounded weight would let them bend the rest of the curve; the floor lets no point weigh
    more than the median one, while noisy points still count less. Draws are refitted with the same weights.

    *Status*, the first that applies:

    - ``too_few_points``: fewer than four points with d > 0; no coefficients.
    - ``poor_fit``: r2 is below 0.5 or, for constant gold, undefined.
    - ``unidentified``: the data do not tell whether or where gold turns. That is: all points lie at one distance; the
      interval of beta holds 0 or, without draws, beta <= 0; or the peak lies outside the fitted distances and its
      interval is wider than their range, unbounded, or, without draws, unknown.
    - ``ok``: otherwise. A ``None`` peak then means that gold shows no turn: beta's whole interval is negative, or (in
      best-of-n) gold falls from the start.
    """
    check_level(level)
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    se_K = None if gold_se is None else float_array("gold_se", gold_se, "K", finite=False)
    draws = _checked_draws(kl_K, gold_K, kl_draws, gold_draws)

    is_used = kl_K > 0
    d_K, gold_K = np.sqrt(kl_K[is_used]), gold_K[is_used]
    points = d_K.size
    d_range = (float(d_K.min()), float(d_K.max())) if points else (math.nan, math.nan)
    weights = _point_weights(kl_K, se_K, is_used)
    if points < MIN_POINTS:
        unknown = (math.nan, math.nan)
        return Fit(
            group=group, law=law, alpha=math.nan, beta=math.nan, alpha_ci=unknown, beta_ci=unknown, r2=math.nan,
            rmse=math.nan, points=points, d_range=d_range, peak=None, status="too_few_points", aicc=math.nan,
            alternatives=(),
        )  # fmt: skip

    alpha, beta = (float(value) for value in fit_coefficients(law, d_K, gold_K, weights))
    drawn = None
    if draws is not None:
        kl_DK, gold_DK = draws
        drawn = fit_coefficients(law, np.sqrt(np.maximum(kl_DK[..., is_used], 0)), gold_DK[..., is_used], weights)
    alpha_ci = _interval(None if drawn is None else drawn.alpha, level)
    beta_ci = _interval(None if drawn is None else drawn.beta, level)

    turn = peak(law, alpha, beta)
    peak_found = None
    if math.isfinite(turn.d):
        peak_found = Peak(
            d=turn.d,
            kl=turn.d**2,
            gold=turn.gold,
            inside_data=d_range[0] <= turn.d <= d_range[1],
            d_ci=_interval(None if drawn is None else _turning_distance(law, *drawn), level),
        )
    quality = _quality(gold_K, law_value(law, d_K, alpha, beta), weights, n_coefficients=2)
    return Fit(
        group=group,
        law=law,
        alpha=alpha,
        beta=beta,
        alpha_ci=alpha_ci,
        beta_ci=beta_ci,
        r2=quality.r2,
        rmse=quality.rmse,
        points=points,
        d_range=d_range,
        peak=peak_found,
        status=_status(beta, beta_ci, quality.r2, peak_found, d_range),
        aicc=quality.aicc,
        alternatives=_alternatives(law, d_K, gold_K, weights),
    )


class _Quality(NamedTuple):
    r2: float
    rmse: float
    aicc: float


def _slope_term(law: Law, d: FloatArray) -> FloatArray:
    """g(d) in R = d (alpha - beta g(d)); 0 at d = 0, where it does not matter."""
    if law == "bon":
        return d
    if law == "rl":
        return np.asarray(np.log(np.where(d > 0, d, 1.0)))
    raise ConfigError(f"law must be one of {', '.join(LAWS)}; got {law!r}")


def _turning_distance(law: Law, alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Distance at which gold is largest: infinite without a turn, 0 if gold falls from the start, nan if unknown."""
    has_turn = beta > 0
    with np.errstate(over="ignore"):
        ratio = np.divide(alpha, beta, out=np.full(np.shape(beta), np.inf), where=has_turn)
        d = np.maximum(ratio / 2, 0.0) if law == "bon" else np.exp(ratio - 1)
    return np.where(np.isnan(alpha) | np.isnan(beta), np.nan, np.where(has_turn, d, np.inf))


def _checked_draws(
    kl: FloatArray, gold: FloatArray, kl_draws: npt.ArrayLike | None, gold_draws: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray] | None:
    if kl_draws is None and gold_draws is None:
        return None
    kl_DK = kl[None] if kl_draws is None else float_array("kl_draws", kl_draws, "DK")
    gold_DK = gold[None] if gold_draws is None else float_array("gold_draws", gold_draws, "DK")
    for name, array in (("kl_draws", kl_DK), ("gold_draws", gold_DK)):
        if array.shape[1] != kl.size or array.shape[0] == 0:
            raise DataError(f"{name} must hold at least one draw of the {kl.size} points; got {array.shape}")
    if kl_draws is not None and gold_draws is not None:
        check_same_shape("kl_draws", kl_DK, "gold_draws", gold_DK)
    return kl_DK, gold_DK


def _point_weights(kl: FloatArray, se: FloatArray | None, is_used: npt.NDArray[np.bool_]) -> FloatArray:
    """1 / max(se, median se)^2 of the used points, scaled to a mean of 1; equal when the errors are unknown."""
    if se is None:
        return np.ones(int(is_used.sum()))
    check_same_shape("kl", kl, "gold_se", se)
    se = se[is_used]
    if np.isnan(se).all():
        return np.ones(se.size)
    if not (np.isfinite(se).all() and (se >= 0).all()):
        raise DataError(
            "gold_se must be finite and not negative at every point with KL above 0, or nan at all of them; "
            f"got {se.tolist()}"
        )
    floored = np.maximum(se, np.median(se))
    if not (floored > 0).all():  # more than half of the points claim no error at all: none can be believed
        return np.ones(se.size)
    weights = (floored.min() / floored) ** 2
    return np.asarray(weights / weights.mean())


def _interval(draws: FloatArray | None, level: float) -> tuple[float, float]:
    if draws is None:
        return (math.nan, math.nan)
    low, high = percentile_interval(draws, level)
    return (float(low), float(high))


def _quality(gold: FloatArray, fitted: FloatArray, weights: FloatArray, *, n_coefficients: int) -> _Quality:
    """R^2 about the weighted mean, root mean squared error, and AICc with a Gaussian error of unknown scale."""
    points = gold.size
    squared_error = float(np.sum(weights * (gold - fitted) ** 2))
    total = float(np.sum(weights * (gold - np.average(gold, weights=weights)) ** 2))
    size = float(np.sum(weights * gold**2))
    # Rounding leaves a little variation in a constant and a little error in an exact fit.
    r2 = 1 - squared_error / total if total > 1e-24 * size else math.nan
    n_parameters = n_coefficients + 1
    freedom = points - n_parameters - 1
    aicc = math.nan
    if freedom > 0 and size > 0:
        log_likelihood_term = points * math.log(max(squared_error, 1e-30 * size) / points)
        aicc = log_likelihood_term + 2 * n_parameters + 2 * n_parameters * (n_parameters + 1) / freedom
    return _Quality(r2, float(np.sqrt(np.mean((gold - fitted) ** 2))), aicc)


def _alternatives(law: Law, d: FloatArray, gold: FloatArray, weights: FloatArray) -> tuple[Alternative, ...]:
    found = []
    for other in LAWS:
        if other != law:
            fitted = law_value(other, d, *fit_coefficients(other, d, gold, weights))
            quality = _quality(gold, fitted, weights, n_coefficients=2)
            found.append(Alternative(law=other, aicc=quality.aicc, r2=quality.r2))
    straight = d * (np.sum(weights * d * gold) / np.sum(weights * d**2))
    quality = _quality(gold, straight, weights, n_coefficients=1)
    return (*found, Alternative(law="linear", aicc=quality.aicc, r2=quality.r2))


def _status(
    beta: float, beta_ci: tuple[float, float], r2: float, found: Peak | None, d_range: tuple[float, float]
) -> Status:
    if math.isnan(beta):
        return "unidentified"
    if not r2 >= MIN_R2:
        return "poor_fit"
    has_draws = not math.isnan(beta_ci[0])
    if (beta_ci[0] <= 0 <= beta_ci[1]) if has_draws else beta <= 0:
        return "unidentified"
    if found is not None and not found.inside_data:
        width = found.d_ci[1] - found.d_ci[0]
        if not width <= d_range[1] - d_range[0]:
            return "unidentified"
    return "ok"


def _json_value(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
