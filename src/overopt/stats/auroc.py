"""How well a score separates good responses from bad ones: AUROC over all responses, and within each prompt.

The two differ and both are right. Pooled AUROC compares any good response with any bad one, mostly of another prompt:
a score that only knows which prompts are easy does well. Within a prompt is what best-of-n and RL use. Axes: B
responses, U units.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.clusters import Clusters, clusters_of
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auroc:
    """Probability that a good response outscores a bad one, ties half."""

    estimate: Estimate
    """``nan`` without both kinds; the error is ``nan`` where the two kinds are fully separated, as nothing then shows
    how much the number varies."""
    low: float
    high: float
    """On the logit scale, Student's t over prompts, normal over responses; ``nan`` where the error is."""
    positives: int
    negatives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinPromptAuroc:
    """Mean over prompts of the AUROC among a prompt's own responses."""

    estimate: Estimate
    """``n_units`` are the prompts that were used."""
    left_out: int
    """Prompts whose responses are all good or all bad, so that there is nothing to tell apart."""


def auroc(
    score: npt.ArrayLike, label: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, level: float = 0.95
) -> Auroc:
    """Area under the ROC curve over all responses together, exact with ties.

    Parameters
    ----------
    score : (B,) float64
        Finite; higher should mean better.
    label : (B,) bool or 0/1
        Whether the response is good.
    prompt : (B,) ids, optional
        Errors are then over prompts, not responses.
    level : float
        Of the interval.

    Raises
    ------
    ShapeError, DataError, ConfigError

    Notes
    -----
    By ranks, in B log B time. Without prompts the standard error is that of DeLong, DeLong and Clarke-Pearson 1988.
    With prompts it sums the same components within each prompt first, as Obuchowski 1997 does, with a common factor
    U / (U - 1): both kinds of a prompt vary together.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).estimate.value
    0.75
    """
    check_level(level)
    score_B, label_B = _scores_and_labels(score, label)
    clusters = clusters_of(prompt, score_B.size, row="response")
    is_good = label_B == 1
    m, n = int(is_good.sum()), int((~is_good).sum())
    value, stderr, low, high = (math.nan,) * 4
    if m and n:
        # Share of the other kind that each response is on the right side of; its mean over either kind is the AUROC.
        rank = _average_ranks(score_B, np.zeros(score_B.size, dtype=np.intp))
        others_below = rank - _average_ranks(score_B, is_good.astype(np.intp))
        placement = np.where(is_good, others_below / n, 1 - others_below / m)
        value = float(placement[is_good].mean())
        stderr = _stderr(placement, is_good, value, clusters if prompt is not None else None)
        if 0 < value < 1 and stderr > 0:
            tail = (1 - level) / 2
            z = -float(stdtrit(clusters.n_units - 1, tail)) if prompt is not None else -float(ndtri(tail))
            centre, half = math.log(value / (1 - value)), z * stderr / (value * (1 - value))
            low, high = (float(1 / (1 + np.exp(-np.clip(end, -700, 700)))) for end in (centre - half, centre + half))
    return Auroc(
        estimate=Estimate(
            value=value,
            stderr=stderr,
            n_units=clusters.n_units,
            unit=clusters.unit,
            method="AUROC, DeLong" if prompt is None else "AUROC, DeLong components summed by prompt",
        ),
        low=low,
        high=high,
        positives=m,
        negatives=n,
    )


def auroc_within_prompt(score: npt.ArrayLike, label: npt.ArrayLike, prompt: npt.ArrayLike) -> WithinPromptAuroc:
    """Mean over prompts of the AUROC of a prompt's own responses; arguments (B,) as in ``auroc``.

    Every prompt with both kinds counts once. Pooling all within-prompt pairs instead would let the prompts with most
    pairs, those half solved, decide.

    >>> auroc_within_prompt([1, 2, 30, 20], [0, 1, 0, 1], ["a", "a", "b", "b"]).estimate.value
    0.5
    """
    score_B, label_B = _scores_and_labels(score, label)
    clusters = clusters_of(prompt, score_B.size, row="response")
    good_U = clusters.sums(label_B)
    bad_U = clusters.sizes - good_U
    rank_sum_U = clusters.sums(_average_ranks(score_B, clusters.index) * label_B)
    is_used = (good_U > 0) & (bad_U > 0)
    m, n = good_U[is_used], bad_U[is_used]
    area = (rank_sum_U[is_used] - m * (m + 1) / 2) / (m * n)
    estimate = mean_over_units(area, unit="prompt", method="mean AUROC within prompts")
    return WithinPromptAuroc(estimate=estimate, left_out=int((~is_used).sum()))


def _scores_and_labels(score: npt.ArrayLike, label: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    score_B, label_B = float_array("score", score, "B"), float_array("label", label, "B")
    check_same_shape("score", score_B, "label", label_B)
    if not np.isin(label_B, (0.0, 1.0)).all():
        raise DataError("labels must be 1 for a good response and 0 for a bad one")
    return score_B, label_B


def _average_ranks(score_B: FloatArray, group_B: IntArray) -> FloatArray:
    """Rank from 1 of each score within its group, equal scores sharing their mean rank; (B,)."""
    order = np.lexsort((score_B, group_B))
    score, group = score_B[order], group_B[order]
    starts_group = np.ones(order.size, dtype=np.bool_)
    starts_group[1:] = group[1:] != group[:-1]
    starts_tie = starts_group.copy()
    starts_tie[1:] |= score[1:] != score[:-1]
    position = np.arange(order.size)
    first = np.flatnonzero(starts_tie)
    tied = np.diff(np.append(first, order.size))
    group_start = np.maximum.accumulate(np.where(starts_group, position, 0))
    rank = np.empty(order.size)
    rank[order] = np.repeat(first + (tied + 1) / 2, tied) - group_start
    return rank


def _stderr(placement: FloatArray, is_good: npt.NDArray[np.bool_], value: float, clusters: Clusters | None) -> float:
    """DeLong's standard error, over responses, or over ``clusters``; nan where nothing varies."""
    m, n = int(is_good.sum()), int((~is_good).sum())
    if clusters is None:
        if min(m, n) < 2:
            return math.nan
        variance = float(placement[is_good].var(ddof=1) / m + placement[~is_good].var(ddof=1) / n)
    else:
        n_units = clusters.n_units
        if n_units < 2:
            return math.nan
        influence_U = clusters.sums((placement - value) / np.where(is_good, m, n))
        variance = n_units / (n_units - 1) * float((influence_U**2).sum())
    return math.sqrt(variance) if variance > 1e-24 else math.nan
