"""HedgeTune: how strongly to select before gold turns, found on some prompts and judged on others.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts. A selector has one strength: n of
best-of-n (a real number: a mixture of the two integers beside it), mu of Best-of-Poisson, 1 / temperature of soft
selection from the whole pool.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from overopt.errors import ConfigError, DataError
from overopt.stats.best_of_poisson import best_of_poisson_curve, largest_mu
from overopt.stats.bon import best_of_n_curve
from overopt.stats.estimate import BoolArray, Estimate, FloatArray, mean_over_units
from overopt.stats.pools import Pools, average_within_ties
from overopt.stats.selection import soft_weights

Selector = Literal["best-of-n", "best-of-poisson", "soft"]
Status = Literal["turns", "rises", "falls"]

# Strengths at which the curve is looked at before a root is sought between two of them.
_GRID = 129


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePoint:
    """The strength at which expected gold is highest on some prompts."""

    parameter: float
    """n, mu or the temperature; at an end of the range unless ``status`` is "turns"."""
    status: Status
    """"turns": gold peaks inside the range; "rises": it is highest at the limit, where the turn is not yet seen;
    "falls": no strength beats the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeTuned:
    """A tuned selector and what the tuning is worth on prompts it did not see."""

    selector: Selector
    limit: float
    """The strongest setting allowed: the largest n or mu, the lowest temperature."""
    tuned: HedgePoint
    """On all prompts: the one to use."""
    halves: tuple[HedgePoint, HedgePoint]
    """On each half of the prompts: how far the tuning moves with the prompts."""
    gain: Estimate
    """Gold over the base, each prompt judged at the setting of the half it is not in."""
    saved: Estimate
    """Gold over that at the limit, likewise and paired: what hedging is worth. About 0 where gold does not turn."""


@dataclass(frozen=True, slots=True)
class _GoldCurve:
    """Expected gold of some prompts and its derivative, against the strength."""

    value: Callable[[float], float]
    slope: Callable[[float], float]


def hedge_tune(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    selector: Selector,
    rng: np.random.Generator,
    limit: float | None = None,
    sizes: npt.ArrayLike | None = None,
) -> HedgeTuned:
    """Find the strength at which a selector's gold peaks, with its worth on held-out prompts.

    Parameters
    ----------
    proxy, gold : (P, N) float64, or (R,) with ``sizes``
        Scores of the same samples; finite. At least two prompts.
    selector : "best-of-n", "best-of-poisson" or "soft"
        "soft" chooses from the whole pool with probability proportional to exp(proxy / temperature).
    rng : numpy Generator
        Splits the prompts into halves.
    limit : float, optional
        Strongest setting considered. By default the smallest pool for n and the largest mu it can serve; the lowest
        temperature must be given, in units of the proxy.
    sizes : (P,) int, optional
        Samples of each prompt when pools are ragged; they lie together in the arrays.

    Returns
    -------
    HedgeTuned

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; fewer than two prompts; a limit that the pools cannot serve.

    Notes
    -----
    Khalaf et al. 2025 (arXiv:2506.19248): the root of the derivative of expected gold, with the quantile of each
    sample within its pool in place of its true quantile. They prove one turn at most under conditions that data need
    not meet, so the highest point of a grid is taken first and the root sought beside it. The plug-in curve is off by
    order n / N, so the worth is judged with the unbiased weights for n and mu. Splitting in halves, and the errors
    over prompts, are ours.

    >>> rng = np.random.default_rng(0)
    >>> proxy = rng.uniform(size=(40, 256))
    >>> hedged = hedge_tune(proxy, proxy - 1.6 * proxy**8, selector="best-of-n", rng=rng)
    >>> hedged.tuned.status, bool(hedged.saved.value > 0)
    ('turns', True)
    """
    pools = Pools.of(proxy, [gold], sizes, names=["gold"])
    if pools.n_prompts < 2:
        raise DataError("tuning needs at least two prompts, one to tune on and one to judge on; got 1")
    highest = _checked_limit(selector, limit, pools.smallest)
    in_second = rng.permutation(pools.n_prompts) < pools.n_prompts // 2
    everyone = np.ones(pools.n_prompts, dtype=np.bool_)
    curve_of = _soft_curve if selector == "soft" else _rank_curve
    tuned, first, second = (
        _highest_point(curve_of(pools, members, selector), selector, highest)
        for members in (everyone, ~in_second, in_second)
    )
    base, at_first, at_second, at_limit = _judged(pools, selector, (first.parameter, second.parameter, highest)).T
    held_out = np.where(in_second, at_first, at_second)
    method = f"{selector} tuned on the other half of the prompts"
    return HedgeTuned(
        selector=selector,
        limit=highest,
        tuned=tuned,
        halves=(first, second),
        gain=mean_over_units(held_out - base, unit="prompt", method=f"{method}, over the base"),
        saved=mean_over_units(held_out - at_limit, unit="prompt", method=f"{method}, over the limit"),
    )


def _checked_limit(selector: Selector, limit: float | None, smallest: int) -> float:
    if selector == "soft":
        if limit is None or not 0 < limit < np.inf:
            raise ConfigError(f"limit must be the lowest temperature, finite and above 0; got {limit}")
        return float(limit)
    if selector not in ("best-of-n", "best-of-poisson"):
        raise ConfigError(f'selector must be "best-of-n", "best-of-poisson" or "soft"; got {selector!r}')
    low, high = (1.0, float(smallest)) if selector == "best-of-n" else (0.0, largest_mu(smallest))
    if limit is not None and not low < limit <= high:
        raise ConfigError(f"limit must be above {low:g} and at most {high:.4g} for pools of {smallest}; got {limit}")
    return high if limit is None else float(limit)


def _highest_point(curve: _GoldCurve, selector: Selector, limit: float) -> HedgePoint:
    if selector == "best-of-n":
        grid = np.geomspace(1, limit, _GRID)
    elif selector == "best-of-poisson":
        grid = np.geomspace(1, 1 + limit, _GRID) - 1
    else:
        grid = np.concatenate(([0.0], np.geomspace(1e-4, 1, _GRID - 1))) / limit
    grid[-1] = 1 / limit if selector == "soft" else limit
    values = np.array([curve.value(x) for x in grid])
    if np.ptp(values) <= 1e-12 * np.abs(values).max():  # within rounding: no reason to select
        return HedgePoint(parameter=np.inf if selector == "soft" else float(grid[0]), status="falls")
    best = int(values.argmax())
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    status: Status
    if curve.slope(low) > 0 > curve.slope(high):
        status, strength = "turns", float(brentq(curve.slope, low, high, xtol=1e-12, rtol=1e-12))
    elif best == 0:
        status, strength = "falls", float(grid[0])
    elif best == _GRID - 1:
        status, strength = "rises", float(grid[-1])
    else:
        status, strength = "turns", float(grid[best])  # a kink or a plateau between two grid points
    if selector == "soft":
        strength = 1 / strength if strength > 0 else np.inf
    return HedgePoint(parameter=strength, status=status)


def _rank_curve(pools: Pools, members: BoolArray, selector: Selector) -> _GoldCurve:
    """Gold against n or mu: the chosen sample's quantile u has the distribution function u^n or u exp(mu (u-1))."""
    sums: dict[int, FloatArray] = {}
    for block in pools.ranked():
        gold_PN = block.values[0]
        average_within_ties(gold_PN, block.equals_previous)
        size = gold_PN.shape[1]
        sums[size] = sums.get(size, np.zeros(size)) + gold_PN[members[block.prompts]].sum(axis=0)
    n_members = int(members.sum())
    top = sum(float(gold_N[-1]) for gold_N in sums.values()) / n_members
    # Summed by parts: gold at the top rank, less its rises weighted by the chance of a quantile below each.
    u = np.concatenate([np.arange(1, size) / size for size in sums])
    rise = np.concatenate([np.diff(gold_N) for gold_N in sums.values()]) / n_members
    log_u = np.log(u)
    if selector == "best-of-n":
        return _GoldCurve(
            lambda n: top - float(rise @ np.exp(n * log_u)), lambda n: -float(rise @ (log_u * np.exp(n * log_u)))
        )
    return _GoldCurve(
        lambda mu: top - float(rise @ (u * np.exp(mu * (u - 1)))),
        lambda mu: -float(rise @ (u * (u - 1) * np.exp(mu * (u - 1)))),
    )


def _soft_curve(pools: Pools, members: BoolArray, selector: Selector) -> _GoldCurve:
    """Gold against 1 / temperature; its derivative is the covariance of proxy and gold under the weights."""

    def moments(strength: float) -> tuple[float, float]:
        value = slope = 0.0
        for block in pools.blocks():
            proxy_PN, gold_PN = (column[members[block.prompts]] for column in block.columns)
            if len(proxy_PN):
                weights = soft_weights(proxy_PN, 1 / strength if strength > 0 else np.inf)
                mean_gold = np.einsum("pn,pn->p", weights, gold_PN)
                mean_proxy = np.einsum("pn,pn->p", weights, proxy_PN)
                value += float(mean_gold.sum())
                slope += float(np.einsum("pn,pn,pn->", weights, proxy_PN - mean_proxy[:, None], gold_PN))
        return value / members.sum(), slope / members.sum()

    return _GoldCurve(lambda x: moments(x)[0], lambda x: moments(x)[1])


def _judged(pools: Pools, selector: Selector, parameters: tuple[float, ...]) -> FloatArray:
    """Gold of each prompt at the base and at each parameter; (P, 1 + len(parameters))."""
    proxy, gold = pools.columns
    if selector == "best-of-n":
        floors = [int(n) for n in parameters]
        share = np.array(parameters) - floors
        ns = [1, *floors, *(min(n + 1, pools.smallest) for n in floors)]
        base, at_floor, above = np.split(best_of_n_curve(proxy, gold, ns, sizes=pools.sizes), [1, 1 + len(floors)], 1)
        return np.hstack([base, (1 - share) * at_floor + share * above])
    if selector == "best-of-poisson":
        return best_of_poisson_curve(proxy, gold, [0.0, *parameters], sizes=pools.sizes)
    judged = np.empty((pools.n_prompts, 1 + len(parameters)))
    for block in pools.blocks():
        for k, temperature in enumerate((np.inf, *parameters)):
            weights = soft_weights(block.columns[0], temperature)
            judged[block.prompts, k] = np.einsum("pn,pn->p", weights, block.columns[1])
    return judged
