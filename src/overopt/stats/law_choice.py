"""Which law describes a curve, and which one extrapolates: by AICc, and by points that were held out of the fit.

A law that fits best need not predict best. Gao et al. 2022 (arXiv:2210.10760) settled the form of best-of-n on n up to
1,000 and then judged it on n up to 60,000; the same is done here. Axes: K points. KL in nats, d = sqrt(KL).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError
from overopt.stats.bon_kl import kl_bound
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.fitting import MIN_POINTS
from overopt.stats.laws import ALL_LAWS, LAWS, AnyLaw
from overopt.stats.least_squares import N_COEFFICIENTS, fit_curve, point_weights, quality

MIN_HELD_OUT = 3
FITTED_SHARE = 0.6
"""Of the points by KL, where too few lie on one side of the split that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One law's two marks."""

    law: AnyLaw
    aicc: float
    """Over all points; smaller is better; ``nan`` with too few points for its coefficients."""
    held_out_rmse: float
    """In gold units, on the points beyond the split, after a fit to those up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawChoice:
    """Which law to use, and whether the two ways to ask agree."""

    candidates: tuple[Candidate, ...]
    by_aicc: AnyLaw | None
    by_held_out: AnyLaw | None
    """``None``: undetermined, for lack of points."""
    kl_split: float
    """Points up to here were fitted, the others held out; ``nan`` when none could be."""
    status: Literal["agree", "disagree", "too_few_points"]


def choose_law(
    kl: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    gold_se: npt.ArrayLike | None = None,
    laws: Sequence[AnyLaw] = LAWS,
    kl_split: float | None = None,
) -> LawChoice:
    """Compare laws on one curve.

    Parameters
    ----------
    kl, gold, gold_se : (K,) float64
        As in ``fitting.fit_law``; points with KL <= 0 are left out.
    laws : sequence of str
        Of ``laws.ALL_LAWS``.
    kl_split : float, optional
        Largest KL that is fitted when points are held out; the KL of best-of-1,000 when absent. Where that leaves fewer
        than four points below or three above, the lower 60 % of the points are fitted.

    Returns
    -------
    LawChoice
        Status ``disagree`` means that the best description is not the best prediction: trust neither beyond the data.

    >>> d = np.linspace(0.5, 4, 12)
    >>> choose_law(d**2, d * (0.6 - 0.1 * d)).status
    'agree'
    """
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    unknown = [law for law in laws if law not in ALL_LAWS]
    if unknown or not laws:
        raise ConfigError(f"laws must name some of {', '.join(ALL_LAWS)}; got {', '.join(laws) or 'none'}")
    se_K = None if gold_se is None else float_array("gold_se", gold_se, "K", finite=False)
    is_used = kl_K > 0
    weights = point_weights(kl_K, se_K, is_used)
    d_K, gold_K, kl_K = np.sqrt(kl_K[is_used]), gold_K[is_used], kl_K[is_used]
    split = _split(kl_K, float(kl_bound(1000)) if kl_split is None else kl_split)
    is_fitted = kl_K <= split
    candidates = []
    for law in laws:
        aicc = rmse = math.nan
        if d_K.size >= MIN_POINTS:
            fitted = fit_curve(law, d_K, gold_K, weights).value(d_K)
            aicc = quality(gold_K, fitted, weights, n_coefficients=N_COEFFICIENTS[law]).aicc
        if not math.isnan(split):
            found = fit_curve(law, d_K[is_fitted], gold_K[is_fitted], weights[is_fitted])
            rmse = float(np.sqrt(np.mean((found.value(d_K[~is_fitted]) - gold_K[~is_fitted]) ** 2)))
        candidates.append(Candidate(law=law, aicc=aicc, held_out_rmse=rmse))
    by_aicc = _best([(one.aicc, one.law) for one in candidates])
    by_held_out = _best([(one.held_out_rmse, one.law) for one in candidates])
    status: Literal["agree", "disagree", "too_few_points"] = "too_few_points"
    if by_aicc is not None and by_held_out is not None:
        status = "agree" if by_aicc == by_held_out else "disagree"
    return LawChoice(
        candidates=tuple(candidates), by_aicc=by_aicc, by_held_out=by_held_out, kl_split=split, status=status
    )


def _split(kl: npt.NDArray[np.float64], wanted: float) -> float:
    """The largest KL to fit; nan when no split leaves enough points on both sides."""
    distinct = np.unique(kl)
    for split in (wanted, float(np.quantile(kl, FITTED_SHARE, method="lower")) if kl.size else math.nan):
        below = distinct[distinct <= split]
        if (kl <= split).sum() >= MIN_POINTS and below.size >= 2 and (kl > split).sum() >= MIN_HELD_OUT:
            return split
    return math.nan


def _best(marks: list[tuple[float, AnyLaw]]) -> AnyLaw | None:
    known = [mark for mark in marks if not math.isnan(mark[0])]
    return min(known)[1] if len(known) == len(marks) else None
