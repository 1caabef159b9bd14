"""Where the lost gold went: the gap between proxy gain and gold gain, split as far as scores can tell.

Axes: P prompts, N base samples and M policy samples of one prompt, K knots, D draws. Proxy and gold must be in common
units (recalibrated), so that a faithful proxy would gain what gold gains. The parts of gap = proxy gain - gold gain:

- *regressional*, (1 - b) proxy gain: what a straight line through the base loses, b being its slope within prompts;
- *extremal*, b proxy gain - predicted gold gain: the base's own relation of gold to the proxy bends at high proxies;
- *shift*, predicted - achieved gold gain: the policy's responses are worth other than base responses of equal proxy;
- *unidentified*: what is lost beyond the line at proxies that the base does not reach, where no base sample says
  whether the relation bends there (extremal) or the policy left it (shift).

A shift is what causal and adversarial Goodhart have in common. Scores alone never tell these two apart: that needs an
intervention on the feature in question, or a reading of the responses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from overopt.errors import EstimationError, ShapeError
from overopt.stats.bon import best_of_n_curve
from overopt.stats.checks import check_draws, check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.piecewise import PiecewiseLinear
from overopt.stats.resampling import bootstrap_counts, interval_over_units

Status = Literal["identified", "partly_identified", "unidentified"]

MAX_UNIDENTIFIED_SHARE = 0.5
"""Above it most of the policy lies where the base has no samples, and a split of the rest would mislead."""
_BLOCK_DRAWS = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One number of a decomposition."""

    value: float
    stderr: float
    """Standard deviation over bootstrap draws of prompts; ``nan`` with one prompt."""
    ci: tuple[float, float]
    """Percentile interval, widened as Student's t is for few prompts; ``nan`` with fewer than four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldLoss:
    """The gap between proxy gain and gold gain and its parts, all in common units, as means over prompts.

    gap = regressional + extremal + shift + unidentified, up to rounding; parts that are ``nan`` are contained in
    ``unidentified``.
    """

    proxy_gain: Part
    gold_gain: Part
    gap: Part
    slope: Part
    """b, of gold on the proxy within prompts, all base samples of all prompts counting equally."""
    regressional: Part
    extremal: Part
    """Over policy samples within the base's support; ``nan`` if the status is ``unidentified``."""
    shift: Part
    """Causal or adversarial, never told apart; 0 by construction for best-of-n. ``nan`` as ``extremal`` is."""
    unidentified: Part
    """Extremal or shift: the loss beyond the line at proxies that the base does not reach."""
    unidentified_share: float
    """Share of policy samples beyond the base's support."""
    status: Status
    """``identified``: no policy sample lies beyond the support. ``partly_identified``: at most half of them do.
    ``unidentified``: more do, so that only the regressional part is told from the rest."""
    n_prompts: int
    method: str


def decompose_best_of_n(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    n: int,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> GoldLoss:
    """Split what best-of-``n`` loses against the proxy's promise.

    The selected samples are base samples, so the base's relation of gold to the proxy holds for them: ``shift`` and
    ``unidentified`` are 0 by construction, and whatever the line does not explain is its bend, ``extremal``.

    Parameters
    ----------
    proxy, gold : (P, N) float64
        Scores of the same base samples in common units; N at least 2. Any order along N.
    n : int
        1 <= n <= N.
    rng, draws, level
        Of the percentile bootstrap over prompts.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``best_of_n_curve``.
    EstimationError
        If the proxy is constant within every prompt, so that gold has no slope on it.

    Notes
    -----
    Gains are unbiased for any pool; regressional and extremal share the error of b.
    """
    base = _checked_base(proxy, gold)
    curves = [best_of_n_curve(base.proxy, values, [1, n]) for values in (base.proxy, base.gold)]
    gains_P2 = np.stack([curve[:, 1] - curve[:, 0] for curve in curves], axis=1)
    zero = np.zeros(gains_P2.shape[0])

    def parts(counts_DP: FloatArray) -> FloatArray:
        slope, proxy_gain, gold_gain = _slope(base, counts_DP), *_means(gains_P2, counts_DP)
        none = np.zeros_like(slope)
        rest = slope * proxy_gain - gold_gain
        return np.stack(
            [proxy_gain, gold_gain, proxy_gain - gold_gain, slope, (1 - slope) * proxy_gain, rest, none, none]
        )

    return _summary(parts, zero.size, 0.0, rng, draws, level, method=f"best-of-{n}, percentile bootstrap over prompts")


def decompose_policy(
    base_proxy: npt.ArrayLike,
    base_gold: npt.ArrayLike,
    policy_proxy: npt.ArrayLike,
    policy_gold: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> GoldLoss:
    """Split what an optimised policy loses against the proxy's promise.

    Parameters
    ----------
    base_proxy, base_gold : (P, N) float64
        Scores of base samples in common units; N at least 2, and better 16 or more.
    policy_proxy, policy_gold : (P, M) float64
        Scores of the policy's samples for the same prompts in the same order.
    rng, draws, level
        Of the percentile bootstrap over prompts; base and policy samples of a prompt move together.

    Raises
    ------
    ShapeError, DataError, ConfigError
        If shapes, prompts or values do not fit.
    EstimationError
        If the proxy is constant within every prompt, so that gold has no slope on it.

    Notes
    -----
    Predicted gold comes from a continuous piecewise-linear least-squares fit to the base, prompts centred on their own
    base means in both scores, so it supposes that prompts differ in level and not in the shape of the relation. Knots
    sit at pooled quantiles, ever denser towards both ends. The support is the range of the centred base proxies.
    Centring on the mean of N samples blurs the fitted relation by 1 / sqrt(N) of the proxy's spread: with few samples
    a bend moves from ``extremal`` to ``shift``. Intervals take knots and support as given: those of ``extremal`` and
    ``unidentified`` are about the parts within and beyond the range that this base happened to reach.
    """
    base = _checked_base(base_proxy, base_gold)
    proxy_PM, gold_PM = float_array("policy_proxy", policy_proxy, "PM"), float_array("policy_gold", policy_gold, "PM")
    check_same_shape("policy_proxy", proxy_PM, "policy_gold", gold_PM)
    if proxy_PM.shape[0] != base.proxy.shape[0] or proxy_PM.shape[1] == 0:
        raise ShapeError(
            f"the policy needs at least one sample of each of the {base.proxy.shape[0]} base prompts, in their order; "
            f"got the shape {proxy_PM.shape}"
        )
    x_PM = proxy_PM - base.proxy.mean(axis=1, keepdims=True)
    y_PM = gold_PM - base.gold.mean(axis=1, keepdims=True)
    relation = PiecewiseLinear(base.x, base.y)
    beyond = ~relation.reaches(x_PM)
    share = float(beyond.mean())
    inside = ~beyond
    # Means over the M samples of each prompt: all that a draw of prompts needs.
    columns_P6 = np.stack(
        [part.mean(axis=1) for part in (x_PM, y_PM, x_PM * inside, y_PM * inside, x_PM * beyond, y_PM * beyond)], axis=1
    )
    hats_PK = relation.mean_hats(x_PM)

    def parts(counts_DP: FloatArray) -> FloatArray:
        slope = _slope(base, counts_DP)
        proxy_gain, gold_gain, proxy_in, gold_in, proxy_out, gold_out = _means(columns_P6, counts_DP)
        predicted_in = (relation.coefficients(counts_DP) * (counts_DP @ hats_PK)).sum(axis=1) / counts_DP.sum(axis=1)
        regressional = (1 - slope) * proxy_gain
        extremal, shift = slope * proxy_in - predicted_in, predicted_in - gold_in
        unidentified = slope * proxy_out - gold_out
        if share > MAX_UNIDENTIFIED_SHARE:
            unidentified = slope * proxy_gain - gold_gain
            extremal = shift = np.full_like(slope, np.nan)
        return np.stack(
            [proxy_gain, gold_gain, proxy_gain - gold_gain, slope, regressional, extremal, shift, unidentified]
        )

    return _summary(
        parts,
        x_PM.shape[0],
        share,
        rng,
        draws,
        level,
        method="piecewise-linear base, percentile bootstrap over prompts",
    )


class _Base(NamedTuple):
    proxy: FloatArray
    gold: FloatArray
    x: FloatArray
    """(P, N) proxies about their prompt's mean."""
    y: FloatArray
    sums: FloatArray
    """(P, 2) of x^2 and x y."""


def _checked_base(proxy: npt.ArrayLike, gold: npt.ArrayLike) -> _Base:
    proxy_PN, gold_PN = float_array("proxy", proxy, "PN"), float_array("gold", gold, "PN")
    check_same_shape("proxy", proxy_PN, "gold", gold_PN)
    if proxy_PN.shape[0] < 1 or proxy_PN.shape[1] < 2:
        raise ShapeError(f"the base needs at least one prompt with two samples; got the shape {proxy_PN.shape}")
    x, y = (scores - scores.mean(axis=1, keepdims=True) for scores in (proxy_PN, gold_PN))
    if not (np.ptp(proxy_PN, axis=1) > 0).any():
        raise EstimationError("the proxy is constant within every prompt of the base, so gold has no slope on it")
    return _Base(proxy_PN, gold_PN, x, y, np.stack([(x * x).sum(axis=1), (x * y).sum(axis=1)], axis=1))


def _slope(base: _Base, counts_DP: FloatArray) -> FloatArray:
    squares, products = (counts_DP @ base.sums).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(products / squares)


def _means(columns_PC: FloatArray, counts_DP: FloatArray) -> FloatArray:
    """Means over the drawn prompts, one row of draws a column: (C, D)."""
    return np.asarray((counts_DP @ columns_PC / counts_DP.sum(axis=1, keepdims=True)).T)


def _summary(
    parts: Callable[[FloatArray], FloatArray],
    n_prompts: int,
    share: float,
    rng: np.random.Generator,
    draws: int,
    level: float,
    *,
    method: str,
) -> GoldLoss:
    """``parts`` maps counts of prompts (D, P) to eight numbers for each draw, (8, D) in the order of ``GoldLoss``."""
    check_draws(draws)
    check_level(level)
    values = parts(np.ones((1, n_prompts)))[:, 0]
    if n_prompts > 1:
        blocks = [min(_BLOCK_DRAWS, draws - start) for start in range(0, draws, _BLOCK_DRAWS)]
        counts = (bootstrap_counts(n_prompts, size, rng).astype(np.float64) for size in blocks)
        drawn_D8 = np.concatenate([parts(block) for block in counts], axis=1).T
        stderr = drawn_D8.std(axis=0)
        low, high = interval_over_units(values, drawn_D8, level, n_prompts)
    else:
        stderr = low = high = np.full(values.size, np.nan)
    found = [
        Part(value=float(value), stderr=float(error), ci=(float(below), float(above)))
        for value, error, below, above in zip(values, stderr, low, high, strict=True)
    ]
    status: Status = "identified" if share == 0 else "partly_identified"
    return GoldLoss(
        proxy_gain=found[0],
        gold_gain=found[1],
        gap=found[2],
        slope=found[3],
        regressional=found[4],
        extremal=found[5],
        shift=found[6],
        unidentified=found[7],
        unidentified_share=share,
        status="unidentified" if share > MAX_UNIDENTIFIED_SHARE else status,
        n_prompts=n_prompts,
        method=method,
    )
