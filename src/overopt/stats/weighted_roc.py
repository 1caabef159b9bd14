"""ROC curves of cases that have weights, such as the probabilities of all episodes of a policy: sums, nothing drawn.

Equal scores alarm together. Axes: B cases, K thresholds.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedRoc:
    """What is found, and what is a false alarm, at each threshold that makes a difference."""

    threshold: FloatArray
    """(K,) falling; the first is infinite, at which nothing alarms."""
    false_alarms: FloatArray
    """(K,) share of the negatives' weight at or above the threshold; ``nan`` without negatives."""
    recall: FloatArray
    """(K,) the same of the positives."""
    positives: float
    """Their weight."""
    negatives: float

    @property
    def auroc(self) -> float:
        """Probability that a positive outscores a negative, both drawn by weight, ties half; ``nan`` without both."""
        widths, heights = np.diff(self.false_alarms), (self.recall[1:] + self.recall[:-1]) / 2
        return float((widths * heights).sum())

    def recall_at(self, allowed: float) -> float:
        """Recall at the lowest threshold whose share of false alarms is at most ``allowed``; ``nan`` without both.

        Raises
        ------
        ConfigError
            If ``allowed`` is outside [0, 1).

        >>> weighted_roc([1.0, 1.0, 0.5, 0.0], [1, 0, 1, 0], [0.2, 0.01, 0.6, 0.19]).recall_at(0.01)
        0.0
        """
        if not 0 <= allowed < 1:
            raise ConfigError(f"the share of false alarms that is allowed lies within [0, 1); got {allowed}")
        if not self.positives > 0 or not self.negatives > 0:
            return math.nan
        # A share that is a sum of rounded probabilities may miss a round number by a rounding.
        return float(self.recall[self.false_alarms <= allowed + 1e-12][-1])

    def at(self, threshold: float) -> tuple[float, float]:
        """False alarms and recall at any threshold."""
        k = int((self.threshold >= threshold).sum()) - 1
        return float(self.false_alarms[k]), float(self.recall[k])


def weighted_roc(score: npt.ArrayLike, label: npt.ArrayLike, weight: npt.ArrayLike) -> WeightedRoc:
    """The ROC curve of weighted cases.

    Parameters
    ----------
    score : (B,) float64
        Finite; a case at or above a threshold is an alarm.
    label : (B,) bool or 0/1
        Whether there is something to find.
    weight : (B,) float64
        0 or more; only ratios within a kind matter.

    Raises
    ------
    ShapeError, DataError

    Notes
    -----
    With weights 1 the AUROC is that of ``auroc`` and the recall that of ``recall_at``. There is no standard error: the
    cases are all there are, and what varies is known to whoever made several policies.

    >>> round(weighted_roc([0.9, 0.4, 0.4], [1, 1, 0], [0.5, 0.25, 1.0]).auroc, 4)
    0.8333
    """
    score_B, label_B = float_array("score", score, "B"), float_array("label", label, "B")
    weight_B = float_array("weight", weight, "B")
    check_same_shape("score", score_B, "label", label_B)
    check_same_shape("score", score_B, "weight", weight_B)
    if not np.isin(label_B, (0.0, 1.0)).all():
        raise DataError("labels must be 1 where there is something to find and 0 elsewhere")
    if (weight_B < 0).any():
        raise DataError(f"weights must not be negative; got {weight_B.min():g}")
    scores, place_B = np.unique(-score_B, return_inverse=True)
    positives, negatives = (
        np.bincount(place_B, weights=weight_B * (label_B == kind), minlength=len(scores)) for kind in (1, 0)
    )
    with np.errstate(invalid="ignore"):
        recall, false_alarms = (
            np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum() for mass in (positives, negatives)
        )
    return WeightedRoc(
        threshold=np.concatenate([[math.inf], -scores]),
        false_alarms=false_alarms,
        recall=recall,
        positives=float(positives.sum()),
        negatives=float(negatives.sum()),
    )
