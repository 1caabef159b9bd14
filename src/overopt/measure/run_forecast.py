"""Where the gold of one logged run will peak, by the RL law, in numbers and in a named outlook. K steps with a KL."""

import math
from typing import Any, Literal

import numpy as np
import polars as pl

from overopt.measure.law_fits import FileCurve, curve_of, fit_curve_of
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import Fit
from overopt.stats.forecast import HORIZON, Forecast, forecast_peak
from overopt.stats.lack_of_fit import constant_p_value

Outlook = Literal["falls_from_start", "flat", "beyond_reach", "ahead", "passed"]

FLAT_P = 0.05
"""Gold is called flat if a test that it is constant does not reject at this level."""

_NUMBERS = (
    "p_turned", "p_turn_by_d_max", "p_no_turn", "p_falling", "d_median", "d_ci", "gold_median", "gold_ci", "regret_now",
    "regret_at_d_max", "best_d",
)  # fmt: skip
_PAIRS = ("d_ci", "gold_ci")


def run_forecast(
    steps: pl.DataFrame,
    gold_se: FloatArray | None,
    noise_sd: float,
    baseline: float | None,
    *,
    level: float,
    seed: int,
) -> dict[str, Any] | None:
    """The forecast of a run, or ``None`` if gold at KL 0 or its noise is not known.

    Parameters
    ----------
    steps : DataFrame
        ``kl`` and ``gold``, one row a step, in order.
    gold_se : (K,) float64, optional
        Standard errors; without them every point has the error ``noise_sd``.
    baseline : float, optional
        Gold at KL 0, exactly; else the rows with KL 0 tell it, with their error, which all points then share.
    level : float
        Of the intervals ``d_ci`` and ``gold_ci``, and of the fit that the forecast is judged by.

    Returns
    -------
    dict
        ``status``: ``too_early`` while the points say little about beta; ``poor_fit`` when the law does not describe
        the run, by the rule of ``overopt fit`` on the same points; else ``ok``. Without ``ok`` only the distances
        ``d_now`` and ``d_max`` are numbers.

        ``outlook`` names the outcome, null where none is known:

        - ``falls_from_start``: gold is highest at d = 0 and falls over all measured distances;
        - ``flat``: a test that gold is constant does not reject, and the law does not describe it;
        - ``passed``: the peak lies behind with a probability of one half or more;
        - ``ahead``: it is expected within ``d_max``, twice the largest distance and so four times its KL;
        - ``beyond_reach``: it is expected beyond that, or never.
    """
    curve = curve_of(steps.select("kl", "gold"), baseline)
    if baseline is None and curve.baseline == "exact":
        return None
    errors = np.full(curve.kl.size, noise_sd) if gold_se is None else gold_se
    if not (np.isfinite(errors).all() and (curve.kl > 0).any()):
        return None
    fit = fit_curve_of(curve._replace(se=gold_se), "rl", group=None, level=level, seed=seed)
    d_now = math.sqrt(float(curve.kl.max()))
    found: dict[str, Any] = {
        "status": "poor_fit",
        "law": "rl",
        "outlook": None,
        "d_now": d_now,
        "d_max": HORIZON * d_now,
    }
    found |= {name: (math.nan, math.nan) if name in _PAIRS else math.nan for name in _NUMBERS}
    # Where the law misses the points for certain its intervals are widened, and so are those of the forecast.
    forecast = _forecast(curve, errors * max(fit.widened_by, 1.0), level)
    if forecast is not None and forecast.status == "too_early":
        found["status"] = "too_early"
    elif forecast is not None and fit.status != "poor_fit":
        found["status"] = "ok"
        found |= {name: getattr(forecast, name) for name in _NUMBERS}
    if found["status"] == "ok" and forecast is not None:
        found["outlook"] = _outlook(forecast, fit)
    elif found["status"] == "poor_fit" and constant_p_value(curve.gold[curve.kl >= 0], gold_se) >= FLAT_P:
        found["outlook"] = "flat"
    return found | {"kl_median": found["d_median"] ** 2 if math.isfinite(found["d_median"]) else math.nan}


def _forecast(curve: FileCurve, errors: FloatArray, level: float) -> Forecast | None:
    """``None`` for gold that is constant: there is no scale to forecast on."""
    is_start, is_used = curve.kl == 0, curve.kl > 0
    start = float(curve.gold[is_start].mean()) if curve.baseline == "fitted" else 0.0
    gold = curve.gold[is_used] - start
    if not np.abs(gold).max() > 64 * np.finfo(np.float64).eps * np.abs(curve.gold).max():
        return None
    # Even a smooth curve is not known to more than a thousandth of its size.
    floored = np.maximum(errors, 1e-3 * float(np.abs(gold).max()))
    covariance = np.diag(floored[is_used] ** 2)
    if curve.baseline == "fitted":
        covariance = covariance + float(np.sum(floored[is_start] ** 2)) / int(is_start.sum()) ** 2
    return forecast_peak(np.sqrt(curve.kl[is_used]), gold, covariance, law="rl", level=level, max_p_departed=1.0)


def _outlook(forecast: Forecast, fit: Fit) -> Outlook:
    if fit.shape == "falls":
        return "falls_from_start"
    if forecast.p_turned >= 0.5:
        return "passed"
    return "ahead" if forecast.d_median <= forecast.d_max else "beyond_reach"
