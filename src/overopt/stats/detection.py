"""How much an alarm finds at a rate of false alarms that one can live with.

Axes: B cases.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.rates import Rate, rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Recall at the lowest threshold whose share of false alarms does not exceed what is allowed."""

    recall: Rate
    """Of the positives, those at or above ``threshold``; the interval takes the threshold as given."""
    false_alarms: Rate
    """Of the negatives, on which the threshold was set: its upper end says what the threshold may do elsewhere."""
    threshold: float
    """``inf`` where every threshold that a case reaches has too many false alarms."""
    allowed: float


def recall_at(score: npt.ArrayLike, label: npt.ArrayLike, allowed: float, *, level: float = 0.95) -> Recall:
    """Recall at a false-positive rate of at most ``allowed``; equal scores alarm together.

    Parameters
    ----------
    score : (B,) float64
        Finite; a case at or above the threshold is an alarm.
    label : (B,) bool or 0/1
        Whether there is something to find.
    allowed : float
        Within [0, 1).

    Raises
    ------
    ShapeError, DataError
        If the two differ in shape, a score is not finite, or one of the kinds is missing.
    ConfigError
        If ``allowed`` or ``level`` is out of range.

    >>> found = recall_at([0.1, 0.2, 0.3, 0.9, 0.25], [0, 0, 0, 1, 1], 0.4)
    >>> found.threshold, found.recall.value, found.false_alarms.successes
    (0.25, 1.0, 1)
    """
    if not 0 <= allowed < 1:
        raise ConfigError(f"the share of false alarms that is allowed lies within [0, 1); got {allowed}")
    score_B, label_B = float_array("score", score, "B"), float_array("label", label, "B")
    check_same_shape("score", score_B, "label", label_B)
    if not np.isin(label_B, (0.0, 1.0)).all():
        raise DataError("labels must be 1 where there is something to find and 0 elsewhere")
    positives, negatives = score_B[label_B == 1], score_B[label_B == 0]
    if not positives.size or not negatives.size:
        raise DataError("recall at a rate of false alarms needs cases of both kinds")
    thresholds = np.unique(score_B)
    # Cases at or above each threshold, of sorted scores.
    alarms = negatives.size - np.searchsorted(np.sort(negatives), thresholds, side="left")
    fitting = thresholds[alarms <= math.floor(allowed * negatives.size + 1e-9)]
    threshold = float(fitting[0]) if fitting.size else math.inf
    return Recall(
        recall=rate(int((positives >= threshold).sum()), positives.size, level=level),
        false_alarms=rate(int((negatives >= threshold).sum()), negatives.size, level=level),
        threshold=threshold,
        allowed=allowed,
    )
