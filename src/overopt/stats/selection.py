"""Selectors whose choice depends on the scores, not on ranks alone: soft best-of-n and χ²-pessimistic sampling.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts, K settings of a selector, G groups of
one pool. Scores are (P, N), or (R,) with the ``sizes`` (P,) of ragged pools; all are finite, in any order. KL and χ²
are to the base policy, in nats and as a pure number. How strongly to select is the question of ``hedge``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from overopt.errors import ConfigError
from overopt.stats.estimate import FloatArray
from overopt.stats.pools import Pools


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionCurve:
    """What a selector gives at several strengths, and how far from the base it goes."""

    value: FloatArray
    """(P, K), in units of the values."""
    kl: FloatArray
    """(P, K), in nats: to the pool's own uniform weights, hence at most ln N."""
    chi2: FloatArray
    """(P, K), mean square of the weight ratio minus 1: likewise to the pool, at most N - 1."""


def soft_best_of_n_curve(
    proxy: npt.ArrayLike,
    values: npt.ArrayLike,
    ns: Sequence[int],
    *,
    temperature: float,
    rng: np.random.Generator,
    repeats: int = 16,
    sizes: npt.ArrayLike | None = None,
) -> FloatArray:
    """Expected ``values`` when one of n samples is chosen with probability proportional to exp(proxy / temperature).

    No weights by rank exist, since the choice depends on the scores. The pool is shuffled and cut into floor(N / n)
    disjoint groups, ``repeats`` times: unbiased, and exact for n = 1 and n = N.

    Parameters
    ----------
    proxy, values, ns, sizes
        As ``bon.best_of_n_curve``.
    temperature : float
        Above 0, in units of the proxy. Towards 0 it is best-of-n, towards infinity the base.
    rng : numpy Generator
        Shuffles. One shuffle serves all n, so that differences along the curve are less noisy than its points.
    repeats : int
        Shuffles, at least 1. More of them remove the noise of shuffling, not that of the pool.

    Returns
    -------
    (P, K) float64

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; a temperature or ``repeats`` out of range.

    Notes
    -----
    Soft best-of-n as in Khalaf et al. 2025 (arXiv:2506.19248); the disjoint groups are ours.

    >>> soft_best_of_n_curve([[0.0, 1.0]], [[0.0, 1.0]], [1, 2], temperature=1.0, rng=np.random.default_rng(0)).round(3)
    array([[0.5  , 0.731]])
    """
    _check_positive("temperature", temperature)
    weigh = partial(soft_weights, temperature=temperature)
    return _curve_over_groups(Pools.of(proxy, [values], sizes), ns, weigh, rng, repeats)


def soft_weights(scores: FloatArray, temperature: float) -> FloatArray:
    """exp(score / temperature), scaled to sum 1 along the last axis."""
    # A difference that overflows is minus infinity, whose weight is 0 as it should be.
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp((scores - scores.max(axis=-1, keepdims=True)) / temperature)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def chi2_pessimistic_weights(proxy: npt.ArrayLike, regularisation: float) -> FloatArray:
    """Chance of each sample of a pool under χ²-pessimistic sampling: relu((proxy - lam) / regularisation) / N.

    Parameters
    ----------
    proxy : (..., N) float64
        Scores; finite.
    regularisation : float
        Above 0, in units of the proxy: small keeps the top samples alone, large the whole pool.

    Returns
    -------
    (..., N) float64
        Sums to 1 along the last axis, which sets the threshold lam of each pool.

    Notes
    -----
    Huang et al. 2025 (arXiv:2503.21878), InferenceTimePessimism: the weights maximise the expected proxy minus
    regularisation / 2 times χ². The threshold is exact: in falling order of the scores, the k-th has weight if
    those above it exceed it by less than N regularisation in sum.

    >>> chi2_pessimistic_weights([0.0, 1.0, 2.0, 3.0], 1.0).round(4)
    array([0.    , 0.0833, 0.3333, 0.5833])
    """
    _check_positive("regularisation", regularisation)
    scores = np.asarray(proxy, dtype=np.float64)
    budget = scores.shape[-1] * regularisation
    shifted = scores - scores.max(axis=-1, keepdims=True)
    falling = -np.sort(-shifted, axis=-1)
    total = np.cumsum(falling, axis=-1)
    rank = np.arange(1, scores.shape[-1] + 1)
    kept = (total - rank * falling < budget).sum(axis=-1, keepdims=True)
    threshold = (np.take_along_axis(total, kept - 1, axis=-1) - budget) / kept
    return np.asarray(np.maximum(shifted - threshold, 0) / budget)


def chi2_pessimistic_curve(
    proxy: npt.ArrayLike,
    values: npt.ArrayLike,
    regularisations: Sequence[float],
    *,
    sizes: npt.ArrayLike | None = None,
) -> SelectionCurve:
    """Expected ``values``, KL and χ² of χ²-pessimistic sampling from the whole pool at several strengths.

    Parameters
    ----------
    proxy, values, sizes
        As ``bon.best_of_n_curve``.
    regularisations : sequence of float
        Above 0 each, as ``chi2_pessimistic_weights``; column k belongs to the k-th.

    Returns
    -------
    SelectionCurve
        Plug-in values: the pool stands for the base, as in the algorithm itself with N draws.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; a strength that is not above 0.
    """
    pools = Pools.of(proxy, [values], sizes)
    shape = (pools.n_prompts, len(regularisations))
    value, kl, chi2 = np.empty(shape), np.empty(shape), np.empty(shape)
    for block in pools.blocks():
        size = block.columns[0].shape[1]
        for k, regularisation in enumerate(regularisations):
            weights = chi2_pessimistic_weights(block.columns[0], regularisation)
            value[block.prompts, k] = np.einsum("pn,pn->p", weights, block.columns[1])
            kl[block.prompts, k] = xlogy(weights, size * weights).sum(axis=1)
            chi2[block.prompts, k] = size * np.einsum("pn,pn->p", weights, weights) - 1
    return SelectionCurve(value=value, kl=kl, chi2=chi2)


def chi2_pessimistic_curve_over_n(
    proxy: npt.ArrayLike,
    values: npt.ArrayLike,
    ns: Sequence[int],
    *,
    regularisation: float,
    rng: np.random.Generator,
    repeats: int = 16,
    sizes: npt.ArrayLike | None = None,
) -> FloatArray:
    """Expected ``values`` of χ²-pessimistic sampling when it sees n samples: (P, K), column k for ``ns[k]``.

    Where best-of-n follows the proxy's errors ever further out, this approaches a limit that the regularisation sets,
    so that more samples do not harm. Groups, ``rng`` and ``repeats`` as in ``soft_best_of_n_curve``.
    """
    _check_positive("regularisation", regularisation)
    weigh = partial(chi2_pessimistic_weights, regularisation=regularisation)
    return _curve_over_groups(Pools.of(proxy, [values], sizes), ns, weigh, rng, repeats)


def _curve_over_groups(
    pools: Pools,
    ns: Sequence[int],
    weigh: Callable[[FloatArray], FloatArray],
    rng: np.random.Generator,
    repeats: int,
) -> FloatArray:
    """Mean over disjoint random groups of n of the values as ``weigh`` weighs each group; (P, K)."""
    integers = pools.checked_ns(ns)
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1; got {repeats}")
    curve = np.zeros((pools.n_prompts, len(integers)))
    for block in pools.blocks():
        for proxy_PN, values_PN in _shuffles(block.columns, rng, repeats):
            n_rows, size = proxy_PN.shape
            for k, n in enumerate(integers):
                used, groups = size // n * n, (n_rows, size // n, n)
                values_PGN = values_PN[:, :used].reshape(groups)
                weights_PGN = weigh(proxy_PN[:, :used].reshape(groups))
                curve[block.prompts, k] += np.einsum("pgn,pgn->p", weights_PGN, values_PGN) / (size // n)
    return curve / repeats


def _shuffles(
    columns: tuple[FloatArray, ...], rng: np.random.Generator, repeats: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The proxy and the values, both in one new random order per row, ``repeats`` times."""
    proxy_PN, values_PN = columns
    row_start = np.arange(0, proxy_PN.size, proxy_PN.shape[1])[:, None]
    for _ in range(repeats):
        order = rng.permuted(np.broadcast_to(np.arange(proxy_PN.shape[1]), proxy_PN.shape), axis=1) + row_start
        yield proxy_PN.take(order), values_PN.take(order)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise ConfigError(f"{name} must be finite and above 0; got {value}")
