"""Where a reward model errs: for the longer answer or against it, and in which category.

Axes: B pairs (answers A and B), U units (prompts, or pairs where no prompt is known). Differences are A minus B
throughout, and no number changes when the two answers of a pair change places. How much a proxy leans on length and
style once gold is held fixed is ``dependence``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from overopt.errors import DataError, ShapeError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.clusters import Clusters, clusters_of, ratio_of_sums
from overopt.stats.estimate import Estimate, FloatArray
from overopt.stats.ranking import PairAccuracy, binary_labels, pair_accuracy, pair_credit


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBias:
    """How a proxy and the labels treat the longer answer of a pair."""

    proxy_prefers_longer: PairAccuracy
    """Share of the pairs of unequal length; a proxy tie counts half."""
    label_prefers_longer: PairAccuracy
    excess: Estimate
    """The first share minus the second."""
    accuracy_if_longer_is_right: PairAccuracy
    accuracy_if_shorter_is_right: PairAccuracy
    gap: Estimate
    """Accuracy where the longer answer is right minus where the shorter is: above 0, the proxy leans on length."""
    gap_ci: tuple[float, float]
    """Student's t over units; ``nan`` where the error is unknown."""
    equal_length: int
    """Pairs of equal length, which only count here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryAccuracies:
    """Accuracy by category, and the one that is worst."""

    by: tuple[tuple[str, PairAccuracy], ...]
    """Categories in alphabetical order, each with an interval of the level that was asked for."""
    worst: str
    """The lowest accuracy; the first in the alphabet among equals."""
    worst_simultaneous: PairAccuracy
    """The worst with the interval that holds although it was picked among all (Šidák); its value is picked low."""


def longer_is_better(
    length_difference: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> PairAccuracy:
    """Accuracy of the rule "prefer the longer answer" against the labels, equal lengths half.

    What a reward model has to beat on these pairs. ``length_difference`` is length of A minus length of B, ``label``
    whether A is better, both (B,), in any one unit of length. ``ties`` of the result counts equal lengths.

    >>> longer_is_better([5, -3, 0, 2], [1, 1, 1, 1]).accuracy
    0.625
    """
    return pair_accuracy(length_difference, label, prompt=prompt, level=level, ties="half")


def length_bias(
    margin: npt.ArrayLike,
    label: npt.ArrayLike,
    length_difference: npt.ArrayLike,
    *,
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> LengthBias:
    """Whether a proxy prefers longer answers more often than the labels do, and errs accordingly.

    Parameters
    ----------
    margin, label : (B,)
        As in ``ranking.pair_accuracy``: proxy score of A minus of B, and whether A is better.
    length_difference : (B,) float64
        Length of A minus length of B.
    prompt : (B,) ids, optional
        Errors are then over prompts.
    level : float
        Of all intervals.

    Raises
    ------
    ShapeError, DataError, ConfigError

    Notes
    -----
    The gap compares two kinds of pairs, so it is 0 for a proxy whose errors do not know the length, however good it
    is and however often the longer answer is right. The excess also moves with plain noise where labels themselves
    favour length: a coin prefers the longer in half of the pairs.
    """
    check_level(level)
    margin_B, label_B = float_array("margin", margin, "B"), binary_labels(label)
    length_B = float_array("length_difference", length_difference, "B")
    check_same_shape("margin", margin_B, "label", label_B)
    check_same_shape("margin", margin_B, "length_difference", length_B)
    differs = length_B != 0
    clusters = clusters_of(prompt, margin_B.size, row="pair").subset(differs)
    margin_B, label_B = margin_B[differs], label_B[differs]
    longer_is_a = (length_B[differs] > 0).astype(np.float64)
    is_longer_right = label_B == longer_is_a
    ids = clusters.index if prompt is not None else None

    def accuracy(score_B: FloatArray, truth_B: FloatArray, kept: npt.NDArray[np.bool_]) -> PairAccuracy:
        return pair_accuracy(score_B[kept], truth_B[kept], level=level, prompt=None if ids is None else ids[kept])

    everywhere = np.ones_like(is_longer_right)
    prefers_longer = pair_credit(margin_B, longer_is_a, "half")
    right = pair_credit(margin_B, label_B, "half")
    gap = _difference_of_shares(right, is_longer_right, clusters)
    half = _critical(clusters.n_units, level) * gap.stderr
    return LengthBias(
        proxy_prefers_longer=accuracy(margin_B, longer_is_a, everywhere),
        label_prefers_longer=accuracy(2 * label_B - 1, longer_is_a, everywhere),
        excess=ratio_of_sums(
            prefers_longer - is_longer_right,
            np.ones_like(right),
            clusters,
            method="share of longer preferred, proxy minus label",
        ),
        accuracy_if_longer_is_right=accuracy(margin_B, label_B, is_longer_right),
        accuracy_if_shorter_is_right=accuracy(margin_B, label_B, ~is_longer_right),
        gap=gap,
        gap_ci=(gap.value - half, gap.value + half),
        equal_length=int((~differs).sum()),
    )


def accuracy_by_category(
    margin: npt.ArrayLike,
    label: npt.ArrayLike,
    category: Sequence[str] | npt.NDArray[np.generic],
    *,
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
    ties: Literal["half", "wrong"] = "half",
) -> CategoryAccuracies:
    """Pair accuracy within each ``category`` (B,), named by ``str``; the other arguments as in ``pair_accuracy``.

    The worst of many is low by chance alone: its simultaneous interval holds for all categories together if they are
    independent, and is the one to quote.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``pair_accuracy``; also without any pair, or if ``category`` is not one a pair.
    """
    check_level(level)
    margin_B, label_B = float_array("margin", margin, "B"), binary_labels(label)
    check_same_shape("margin", margin_B, "label", label_B)
    names_B = np.array([str(value) for value in category], dtype=object)
    if names_B.shape != margin_B.shape:
        raise ShapeError(f"category must hold one name a pair, shape {margin_B.shape}; got {names_B.shape}")
    if margin_B.size == 0:
        raise DataError("there is no pair, and so no worst category")
    ids = None if prompt is None else clusters_of(prompt, margin_B.size, row="pair").index
    names, index_B = np.unique(names_B, return_inverse=True)

    def accuracy(place: int, at_level: float) -> PairAccuracy:
        kept = index_B == place
        kept_ids = None if ids is None else ids[kept]
        return pair_accuracy(margin_B[kept], label_B[kept], level=at_level, ties=ties, prompt=kept_ids)

    by = tuple((str(name), accuracy(place, level)) for place, name in enumerate(names))
    worst = min(range(len(by)), key=lambda place: by[place][1].accuracy)
    return CategoryAccuracies(by=by, worst=by[worst][0], worst_simultaneous=accuracy(worst, level ** (1 / len(by))))


def _critical(n_units: int, level: float) -> float:
    return -float(stdtrit(n_units - 1, (1 - level) / 2)) if n_units > 1 else math.nan


def _difference_of_shares(credit_B: FloatArray, is_first: npt.NDArray[np.bool_], clusters: Clusters) -> Estimate:
    """Mean credit of the first kind of pairs minus that of the others; units may hold both kinds."""
    method = "difference of accuracies, linearised"
    m, n, n_units = int(is_first.sum()), int((~is_first).sum()), clusters.n_units
    value, stderr = math.nan, math.nan
    if m and n:
        first, second = float(credit_B[is_first].mean()), float(credit_B[~is_first].mean())
        value = first - second
        if n_units > 1:
            influence = np.where(is_first, (credit_B - first) / m, (second - credit_B) / n)
            variance = n_units / (n_units - 1) * float((clusters.sums(influence) ** 2).sum())
            # No spread at all (each kind always right, or always wrong) is not a spread known to be 0.
            stderr = math.sqrt(variance) if variance > 0 else math.nan
    return Estimate(value=value, stderr=stderr, n_units=n_units, unit=clusters.unit, method=method)
