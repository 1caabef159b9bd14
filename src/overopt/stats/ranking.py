"""How well a reward model orders answers: pairwise accuracy, and correlation with gold within a prompt."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAccuracy:
    """Share of pairs that are ordered as labelled, with its Wilson interval."""

    accuracy: float
    low: float
    high: float
    """``nan``, all three, without pairs."""
    pairs: int
    ties: int
    """Pairs with a margin of exactly 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinPromptCorrelation:
    """Mean over prompts of the correlation between proxy and gold."""

    estimate: Estimate
    """``n_units`` are the prompts that were used."""
    left_out: int
    """Prompts in which one of the two scores is constant, so that no correlation exists."""


def pair_accuracy(
    margin: npt.ArrayLike, label: npt.ArrayLike, *, level: float = 0.95, ties: Literal["half", "wrong"] = "half"
) -> PairAccuracy:
    """Share of pairs whose margin has the sign of the label.

    Parameters
    ----------
    margin : (B,) float64
        Score of A minus score of B.
    label : (B,) bool or 0/1
        Whether A is better.
    level : float
        Of the Wilson score interval.
    ties : "half" or "wrong"
        What a margin of 0 counts: what a coin would get, or nothing.

    Returns
    -------
    PairAccuracy
        The interval takes pairs as independent; pairs that share a prompt are not quite. With ties at one half it is
        Wilson's formula at a half-integer number of successes, slightly too wide, since a tie varies less than a toss.

    >>> pair_accuracy([0.3, -0.1, 0.0, 2.0], [1, 1, 0, 1]).accuracy
    0.625
    """
    check_level(level)
    margin_B, label_B = float_array("margin", margin, "B"), float_array("label", label, "B")
    check_same_shape("margin", margin_B, "label", label_B)
    if not np.isin(label_B, (0.0, 1.0)).all():
        raise DataError("labels must be 1 where A is better and 0 where B is")
    if ties not in ("half", "wrong"):
        raise ConfigError(f"ties must be 'half' or 'wrong'; got {ties!r}")
    pairs, n_ties = margin_B.size, int((margin_B == 0).sum())
    if pairs == 0:
        return PairAccuracy(accuracy=math.nan, low=math.nan, high=math.nan, pairs=0, ties=0)
    right = float((margin_B * (2 * label_B - 1) > 0).sum()) + (n_ties / 2 if ties == "half" else 0)
    low, high = _wilson_interval(right, pairs, level)
    return PairAccuracy(accuracy=right / pairs, low=low, high=high, pairs=pairs, ties=n_ties)


def correlation_within_prompt(proxy: npt.ArrayLike, gold: npt.ArrayLike) -> WithinPromptCorrelation:
    """Mean over prompts of Pearson's correlation between proxy and gold scores, both (P, N), within a prompt.

    What best-of-n and RL can use: a proxy that only knows which prompts are easy correlates with gold across prompts
    and not within them. Prompts with constant scores are left out and counted.
    """
    proxy_PN, gold_PN = float_array("proxy", proxy, "PN"), float_array("gold", gold, "PN")
    check_same_shape("proxy", proxy_PN, "gold", gold_PN)
    is_used = _varies(proxy_PN) & _varies(gold_PN)
    correlation = (_standardised(proxy_PN[is_used]) * _standardised(gold_PN[is_used])).sum(axis=1)
    estimate = mean_over_units(correlation, unit="prompt", method="mean Pearson correlation within prompts")
    return WithinPromptCorrelation(estimate=estimate, left_out=int((~is_used).sum()))


def _wilson_interval(successes: float, trials: int, level: float) -> tuple[float, float]:
    """Wilson's score interval, which allows a fractional number of successes (scipy's wants an integer)."""
    z = float(ndtri(0.5 + level / 2))
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    half_width = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    # At no or only successes an end is 0 or 1 exactly, up to rounding.
    low = 0.0 if successes == 0 else (centre - half_width) / scale
    high = 1.0 if successes == trials else (centre + half_width) / scale
    return low, high


def _varies(scores_PN: FloatArray) -> npt.NDArray[np.bool_]:
    if scores_PN.shape[1] == 0:
        return np.zeros(scores_PN.shape[0], dtype=np.bool_)
    return np.asarray(scores_PN.max(axis=1) > scores_PN.min(axis=1))


def _standardised(scores_PN: FloatArray) -> FloatArray:
    """Rows centred and of length 1, scaled by their largest entry first so that squares neither over- nor underflow."""
    centred = scores_PN - scores_PN.mean(axis=1, keepdims=True)
    centred /= np.abs(centred).max(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).sum(axis=1, keepdims=True)))
