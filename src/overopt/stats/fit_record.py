"""The record of a law fitted to one curve, and the rules that say what the fit is worth.

Axes: K points of a curve, D draws. KL in nats, d = sqrt(KL), gold relative to its value at KL 0.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from overopt.stats.estimate import FloatArray
from overopt.stats.lack_of_fit import LackOfFit, is_poor_fit
from overopt.stats.laws import (
    ALL_LAWS,
    AnyLaw,
    FittedLaw,
    law_value,
    peak,
    peak_distance,
    peak_gold,
    zero_distance,
)
from overopt.stats.least_squares import N_COEFFICIENTS, Quality, fit_curve, quality
from overopt.stats.resampling import percentile_interval

Status = Literal["ok", "poor_fit", "unidentified", "too_few_points"]
Source = Literal["units", "gold_se", "residuals", "none"]
Shape = Literal["rises", "turns", "falls"]
Interval = tuple[float, float]

UNKNOWN: Interval = (math.nan, math.nan)

_SHAPES: tuple[Shape, ...] = ("falls", "turns", "rises")
_SHAPE_POINTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The largest gold of a fitted law."""

    d: float
    kl: float
    gold: float
    inside_data: bool
    """Whether d lies within the distances that were fitted; else it is an extrapolation."""
    falls_after: bool
    """Whether gold itself falls, by more than chance, over the points from the last one before the peak on."""
    d_ci: Interval
    """Infinite above when too many draws have no turn; nan without draws."""
    gold_ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """Where a fitted law has lost again all the gold it gained."""

    d: float
    kl: float
    inside_data: bool
    d_ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A measured point."""

    d: float
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another curve fitted to the same points with the same weights."""

    law: str
    """``bon``, ``rl``, ``rl1p``, ``power``, or ``root`` and ``linear``, which never turn."""
    aicc: float
    r2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law fitted to one curve; ``fit_law`` explains each number."""

    group: str | None
    law: FittedLaw
    alpha: float
    beta: float
    alpha_ci: Interval
    beta_ci: Interval
    intervals: Source
    """What the intervals rest on."""
    widened_by: float
    """Factor by which the intervals were widened for misfit; 1 if they were not."""
    r2: float
    rmse: float
    points: int
    d_range: Interval
    baseline: float
    """Gold at KL 0 that the law starts from, in the units that came in; 0 when gold came relative to it."""
    baseline_se: float
    """0 when the baseline is exact."""
    peak: Peak | None
    zero: Zero | None
    best_seen: Seen | None
    """The measured point with the highest gold. Where it lies outside the peak's interval, the law misplaces the peak
    or that point was lucky."""
    shape: Shape | None
    """What gold does over the measured distances, by the law, if the share ``level`` of the draws agrees: it rises to
    the last one, turns in between, or falls from the start. ``None``: not known."""
    lack_of_fit: LackOfFit
    chance: float
    """P-value of the hypothesis that gold stays at its baseline and the law describes noise; ``nan`` if unknown."""
    status: Status
    aicc: float
    alternatives: tuple[Alternative, ...]

    def to_dict(self) -> dict[str, Any]:
        """The FIT object of the command line's JSON; numbers that are not finite become ``None``."""
        # Any: the values of a JSON object.
        converted = _json_value(asdict(self))
        assert isinstance(converted, dict)
        return converted


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """The points that a law was fitted to."""

    d: FloatArray
    """(K,); points at 0 are there only if the baseline was fitted."""
    gold: FloatArray
    """(K,) before the baseline is taken off, where it was fitted."""
    weights: FloatArray
    """(K,)"""
    has_offset: bool
    """Whether the baseline was fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the intervals and the status of a fit are judged by."""

    drawn: tuple[FloatArray, FloatArray] | None
    """Draws (D,) of alpha and beta, widened already."""
    judged_beta: Interval
    falls_after: bool
    lack: LackOfFit
    chance: float
    source: Source
    widened_by: float
    level: float


def record_of_fit(
    law: FittedLaw,
    points: Points,
    alpha: float,
    beta: float,
    evidence: Evidence,
    *,
    offset: float = 0.0,
    baseline: float = 0.0,
    baseline_se: float = 0.0,
    best_seen: Seen | None,
    group: str | None,
) -> Fit:
    """The record of a law with these coefficients.

    ``offset`` is the fitted gold at d = 0 in the units of ``points``, ``baseline`` in those of the user.
    """
    drawn, level = evidence.drawn, evidence.level
    d = points.d[points.d > 0]
    d_range = (float(d.min()), float(d.max()))
    found_peak, found_zero = _turn(law, alpha, beta, d_range, evidence)
    found = quality(
        points.gold,
        offset + law_value(law, points.d, alpha, beta),
        points.weights,
        n_coefficients=2 + points.has_offset,
    )
    others = tuple(_alternative(other, points) for other in ALL_LAWS if other != law)
    status = _status(beta, evidence, found, found_peak)
    return Fit(
        group=group,
        law=law,
        alpha=alpha,
        beta=beta,
        alpha_ci=interval_of(None if drawn is None else drawn[0], level),
        beta_ci=interval_of(None if drawn is None else drawn[1], level),
        intervals=evidence.source,
        widened_by=evidence.widened_by,
        r2=found.r2,
        rmse=found.rmse,
        points=d.size,
        d_range=d_range,
        baseline=baseline,
        baseline_se=baseline_se,
        peak=found_peak,
        zero=found_zero,
        best_seen=best_seen,
        shape=_shape(law, d, alpha, beta, evidence, status),
        lack_of_fit=evidence.lack,
        chance=evidence.chance,
        status=status,
        aicc=found.aicc,
        alternatives=others,
    )


def record_without_fit(
    law: FittedLaw,
    d: FloatArray,
    *,
    best_seen: Seen | None,
    baseline: float,
    baseline_se: float,
    group: str | None,
    lack: LackOfFit,
) -> Fit:
    """The record of a curve with too few points (K,) with d > 0."""
    return Fit(
        group=group, law=law, alpha=math.nan, beta=math.nan, alpha_ci=UNKNOWN, beta_ci=UNKNOWN, intervals="none",
        widened_by=1.0, r2=math.nan, rmse=math.nan, points=d.size,
        d_range=(float(d.min()), float(d.max())) if d.size else UNKNOWN, baseline=baseline, baseline_se=baseline_se,
        peak=None, zero=None, best_seen=best_seen, shape=None, lack_of_fit=lack, chance=math.nan,
        status="too_few_points", aicc=math.nan, alternatives=(),
    )  # fmt: skip


def interval_of(draws: FloatArray | None, level: float) -> Interval:
    """The percentile interval of draws (D,); nan without any."""
    if draws is None:
        return UNKNOWN
    low, high = percentile_interval(draws, level)
    return (float(low), float(high))


def _turn(
    law: FittedLaw, alpha: float, beta: float, d_range: Interval, evidence: Evidence
) -> tuple[Peak | None, Zero | None]:
    turn = peak(law, alpha, beta)
    if not math.isfinite(turn.d):
        return None, None
    drawn, level = evidence.drawn, evidence.level
    found_peak = Peak(
        d=turn.d,
        kl=turn.d * turn.d,
        gold=turn.gold,
        inside_data=d_range[0] <= turn.d <= d_range[1],
        falls_after=evidence.falls_after,
        d_ci=interval_of(None if drawn is None else peak_distance(law, *drawn), level),
        gold_ci=interval_of(None if drawn is None else peak_gold(law, *drawn), level),
    )
    zero = float(zero_distance(law, alpha, beta))
    if not math.isfinite(zero):
        return found_peak, None
    found_zero = Zero(
        d=zero,
        kl=zero * zero,
        inside_data=d_range[0] <= zero <= d_range[1],
        d_ci=interval_of(None if drawn is None else zero_distance(law, *drawn), level),
    )
    return found_peak, found_zero


def _alternative(law: AnyLaw, points: Points) -> Alternative:
    fitted = fit_curve(law, points.d, points.gold, points.weights, has_offset=points.has_offset).value(points.d)
    found = quality(
        points.gold, fitted, points.weights, n_coefficients=N_COEFFICIENTS[law] + points.has_offset
    )  # fmt: skip
    return Alternative(law=law, aicc=found.aicc, r2=found.r2)


def _status(beta: float, evidence: Evidence, found: Quality, turn: Peak | None) -> Status:
    if math.isnan(beta):
        return "unidentified"
    if is_poor_fit(found.r2, evidence.lack, evidence.chance):
        return "poor_fit"
    if not _is_beta_known(evidence):
        return "unidentified"
    # Beyond the data many curves fit that never turn: their own intervals of a peak there can be tight and wrong.
    if turn is not None and not (turn.inside_data and turn.falls_after):
        return "unidentified"
    return "ok"


def _is_beta_known(evidence: Evidence) -> bool:
    return evidence.judged_beta[0] > 0 or evidence.judged_beta[1] < 0


def _shape(
    law: FittedLaw,
    d: FloatArray,
    alpha: float,
    beta: float,
    evidence: Evidence,
    status: Status,
) -> Shape | None:
    """Where the law is largest among d = 0 and the measured distances, if that is known."""
    drawn = evidence.drawn
    if status == "poor_fit" or math.isnan(beta) or (drawn is None and not _is_beta_known(evidence)):
        return None
    distinct = np.unique(d)
    places = np.unique(np.linspace(0, distinct.size - 1, _SHAPE_POINTS).round().astype(np.int64))
    grid = np.concatenate([[0.0], distinct[places]])

    def kind(alphas: FloatArray, betas: FloatArray) -> FloatArray:
        highest = law_value(law, grid, alphas[:, None], betas[:, None]).argmax(axis=1)
        return np.asarray(np.where(highest == 0, 0, np.where(highest == grid.size - 1, 2, 1)), dtype=np.float64)

    own = kind(np.array([alpha]), np.array([beta]))[0]
    if drawn is None and own == 1 and status != "ok":
        return None  # a turn inside the data after which gold does not fall
    if drawn is not None:
        is_known = np.isfinite(drawn[0]) & np.isfinite(drawn[1])
        if not np.mean(is_known & (kind(*(np.where(is_known, one, 0.0) for one in drawn)) == own)) >= evidence.level:
            return None
    return _SHAPES[int(own)]


def _json_value(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
