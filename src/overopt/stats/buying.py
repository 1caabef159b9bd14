"""Which checkpoints to spend gold labels on: those that most improve the choice of a checkpoint.

K checkpoints with known d (KL and proxy are cheap), gold at some of them. All in closed form from ``law_posterior``;
the labels of one purchase are taken as independent of those of another.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_finite, check_same_shape, float_array
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.forecast import expected_gold
from overopt.stats.law_posterior import DEPARTURES, Posterior, Prior, law_posterior, predict
from overopt.stats.laws import Law

FIRST_PLACES = (1.0, 0.5, 0.25, 0.75)
"""Where the first purchases go, as shares of the largest distance."""

_Z = np.linspace(-8, 8, 161)
_Z_WEIGHTS = np.exp(-0.5 * _Z**2) / np.exp(-0.5 * _Z**2).sum()


def next_gold(
    law: Law,
    d: npt.ArrayLike,
    gold: npt.ArrayLike,
    gold_se: npt.ArrayLike,
    *,
    label_se: float,
    count: int = 1,
    prior: Prior | None = None,
    departures: Sequence[float] = DEPARTURES,
) -> tuple[int, ...]:
    """Indices of the next ``count`` checkpoints to buy gold at, the most useful first.

    Parameters
    ----------
    law, prior, departures
        See ``law_posterior``.
    d : (K,) float64
        Distance of every checkpoint that could be kept, bought or not.
    gold, gold_se : (K,) float64
        Gold relative to d = 0 and its standard error where it was bought, ``nan`` elsewhere.
    label_se : float
        Standard error that gold of a new purchase will have, above 0.
    count : int
        Purchases planned at once, at most the number of checkpoints without gold and above d = 0.

    Returns
    -------
    tuple of int
        Distinct, without gold so far.

    Raises
    ------
    DataError, ShapeError, ConfigError

    Notes
    -----
    The worth of a purchase is the gold that the checkpoint chosen after it is expected to gain over the one that would
    be chosen now, the knowledge gradient for correlated beliefs (Frazier, Powell & Dayanik 2009): as a linear model's
    covariance does not depend on what gold will turn out to be, the future means are straight lines in one standard
    Gaussian. Its purchases spread while the law is open and close in on the peak from both sides. Where no single
    purchase can change the choice, the one that best settles the comparison with the present choice is taken. Later
    purchases of a plan assume that the earlier ones come out as expected. The first four purchases are spread, as the
    range of gold and the shape of the curve are not known before: nearest to 1, 1/2, 1/4 and 3/4 of the largest
    distance.
    """
    d_K, gold_K, se_K, is_bought = _purchases(d, gold, gold_se)
    is_open = ~is_bought & (d_K > 0)
    if not (label_se > 0 and math.isfinite(label_se)):
        raise ConfigError(f"label_se must be positive and finite; got {label_se}")
    if not 1 <= count <= int(is_open.sum()):
        raise ConfigError(f"count must lie within 1..{int(is_open.sum())}, the checkpoints without gold; got {count}")
    chosen: list[int] = []
    n_known = int((is_bought & (d_K > 0)).sum())
    for place in FIRST_PLACES[n_known : n_known + count]:
        if is_open.any():
            chosen.append(int(np.argmin(np.where(is_open, np.abs(d_K - place * d_K.max()), np.inf))))
            is_open[chosen[-1]] = False
    if len(chosen) == count:
        return tuple(chosen)
    if not (is_bought & (d_K > 0)).any():
        raise DataError(f"a plan of {count} purchases needs gold at one checkpoint at least; buy {chosen} first")
    posterior = law_posterior(
        law, d_K[is_bought], gold_K[is_bought], se_K[is_bought], prior=prior, departures=departures
    )
    prediction = predict(posterior, d_K)
    covariance = prediction.covariance
    for index in chosen:
        covariance = _after_purchase(covariance, index, label_se)
    while len(chosen) < count:
        worth = _worth(posterior.weights, prediction.mean, covariance, label_se)
        if not (worth[is_open] > 1e-9 * posterior.scale).any():
            worth = _settled(posterior, prediction.mean, covariance, label_se)
        chosen.append(int(np.argmax(np.where(is_open, worth, -np.inf))))
        is_open[chosen[-1]] = False
        covariance = _after_purchase(covariance, chosen[-1], label_se)
    return tuple(chosen)


def best_checkpoint(
    law: Law,
    d: npt.ArrayLike,
    gold: npt.ArrayLike,
    gold_se: npt.ArrayLike,
    *,
    prior: Prior | None = None,
    departures: Sequence[float] = DEPARTURES,
) -> int:
    """Index of the checkpoint with the largest expected gold, bought or not; arguments as ``next_gold``.

    The mean of the posterior shrinks lucky measurements towards the curve, so it is not drawn to the winner's curse
    as the largest observed gold is. A checkpoint at d = 0 has gold 0.
    """
    d_K, gold_K, se_K, is_bought = _purchases(d, gold, gold_se)
    if not (is_bought & (d_K > 0)).any():
        raise DataError("choosing a checkpoint needs gold at one above d = 0 at least")
    posterior = law_posterior(
        law, d_K[is_bought], gold_K[is_bought], se_K[is_bought], prior=prior, departures=departures
    )
    return int(np.argmax(expected_gold(posterior, d_K).gold))


def _purchases(
    d: npt.ArrayLike, gold: npt.ArrayLike, gold_se: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    d_K = float_array("d", d, "K")
    gold_K = float_array("gold", gold, "K", finite=False)
    se_K = float_array("gold_se", gold_se, "K", finite=False)
    check_same_shape("d", d_K, "gold", gold_K)
    check_same_shape("gold", gold_K, "gold_se", se_K)
    if d_K.size == 0 or (d_K < 0).any():
        raise DataError("d must hold at least one checkpoint, and no distance below 0")
    is_bought = ~np.isnan(gold_K)
    check_finite("gold", gold_K[is_bought])
    check_finite("gold_se at the checkpoints with gold", se_K[is_bought])
    return d_K, gold_K, se_K, is_bought


def _posterior(
    law: Law,
    d: FloatArray,
    gold: FloatArray,
    gold_se: FloatArray,
    is_bought: BoolArray,
    prior: Prior | None,
    departures: Sequence[float],
) -> Posterior:
    known = (d[is_bought], gold[is_bought], gold_se[is_bought])
    return law_posterior(law, *known, prior=prior, departures=departures)


def _worth(weights: FloatArray, mean: FloatArray, covariance: FloatArray, label_se: float) -> FloatArray:
    """Expected rise of the largest posterior mean by a purchase at each checkpoint, (K,); never negative."""
    worth = np.zeros(mean.shape[1])
    for weight, mean_K, covariance_KK in zip(weights, mean, covariance, strict=True):
        pull = covariance_KK / np.sqrt(np.diag(covariance_KK) + label_se**2)  # column i: what buying i may move
        outcomes = mean_K[:, None, None] + pull[:, :, None] * _Z
        worth += weight * (outcomes.max(axis=0) @ _Z_WEIGHTS - mean_K.max())
    return np.maximum(worth, 0)


def _settled(posterior: Posterior, mean: FloatArray, covariance: FloatArray, label_se: float) -> FloatArray:
    """Total variance of the differences to the present choice that each purchase removes, (K,)."""
    removed = np.zeros(mean.shape[1])
    for weight, mean_K, covariance_KK in zip(posterior.weights, mean, covariance, strict=True):
        pull = covariance_KK / np.sqrt(np.diag(covariance_KK) + label_se**2)
        removed += weight * ((pull - pull[np.argmax(mean_K)]) ** 2).sum(axis=0)
    return removed


def _after_purchase(covariance: FloatArray, index: int, label_se: float) -> FloatArray:
    column = covariance[:, :, index]
    variance = column[:, index] + label_se**2
    return np.asarray(covariance - column[:, :, None] * column[:, None, :] / variance[:, None, None])
