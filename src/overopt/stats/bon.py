"""Best-of-n: what the sample that the proxy ranks first among n is worth, and how far from the base it is.

Axes: P prompts, N samples of one prompt (the pool), K values of n. KL is in nats per response.
Pools of unequal size are grouped by the caller: every call sees one N.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_same_shape, float_array, integers_in
from overopt.stats.estimate import BoolArray, Estimate, FloatArray, mean_over_units

# Scores sorted at once: keeps the work arrays near the processor's cache, whatever the number of prompts.
_BLOCK_SCORES = 1 << 20


def best_of_n_weights(pool: int, n: int) -> FloatArray:
    """Probability that the sample of each ascending rank is the best of ``n`` drawn from ``pool`` without return.

    Parameters
    ----------
    pool, n : int
        Samples per prompt N and samples the selector sees, 1 <= n <= N.

    Returns
    -------
    (N,) float64
        Entry i - 1 is C(i-1, n-1) / C(N, n), zero below rank n; they sum to 1.

    Notes
    -----
    Nakano et al. 2021 (arXiv:2112.09332), app. I. Computed downwards from the top rank, whose weight is n / N, by
    the ratio (i - n) / (i - 1) of neighbours: the relative error stays below 1e-13 at N = 10^5, where differences of
    log-gamma values lose five digits more, and weights too small for a float become 0.

    >>> best_of_n_weights(4, 2) * 6
    array([0., 1., 2., 3.])
    """
    (n,) = integers_in("n", [n], 1, pool)
    ranks = np.arange(pool, n, -1, dtype=np.float64)
    weights = np.zeros(pool)
    weights[n - 1 :] = np.cumprod(np.concatenate(([n / pool], (ranks - n) / (ranks - 1))))[::-1]
    return weights


def best_of_n_curve(proxy: npt.ArrayLike, values: npt.ArrayLike, ns: Sequence[int]) -> FloatArray:
    """Expected ``values`` of the sample that the proxy ranks first among n, for each prompt and each n.

    Every size-n subset of a prompt's pool counts equally, so no single draw of n decides, and the number is unbiased
    when the pool is an independent draw. Equal proxy scores share their ranks' total weight evenly: the exact mean
    over exchangeable orders.

    Parameters
    ----------
    proxy, values : (P, N) float64
        Scores of the same samples; ``proxy`` selects, ``values`` (gold, proxy, a length) is reported. Finite, in any
        order along N.
    ns : sequence of int
        1 <= n <= N each, in any order.

    Returns
    -------
    (P, K) float64
        In units of ``values``; column k belongs to ``ns[k]``. The columns come from one pool and are correlated:
        resample prompts, not entries.

    Raises
    ------
    ShapeError
        If the two arrays do not share one shape (P, N).
    DataError, ConfigError
        Both a ``ValueError``: a score is not finite or there is none; an n is outside 1..N.

    Notes
    -----
    Within a tie group the weights are equal, so the group's values are replaced by their mean and one matrix product
    serves all n. One sort per prompt; the work arrays hold about a million scores at a time.

    >>> best_of_n_curve([[1.0, 2.0, 2.0]], [[0.0, 4.0, 8.0]], [1, 3])
    array([[4., 6.]])
    """
    proxy_PN, values_PN = _pools(proxy, values)
    n_prompts, pool = proxy_PN.shape
    weights_NK = np.stack([best_of_n_weights(pool, n) for n in integers_in("ns", ns, 1, pool)], axis=1)
    curve = np.empty((n_prompts, weights_NK.shape[1]))
    block = max(1, _BLOCK_SCORES // pool)
    for start in range(0, n_prompts, block):
        rows = slice(start, start + block)
        order = np.argsort(proxy_PN[rows], axis=1)
        ranked = np.take_along_axis(values_PN[rows], order, axis=1)
        _average_within_ties(ranked, _equals_previous(np.take_along_axis(proxy_PN[rows], order, axis=1)))
        curve[rows] = ranked @ weights_NK
    return curve


def best_of_n_score(proxy: npt.ArrayLike, gold: npt.ArrayLike, n: int) -> Estimate:
    """Expected gold score of the sample that the proxy ranks first among ``n``.

    Parameters
    ----------
    proxy, gold : (P, N) float64
        Scores of the same samples; ``proxy`` selects, ``gold`` is reported. Any order along N, no NaN.
    n : int
        Samples the selector sees, 1 <= n <= N.

    Returns
    -------
    Estimate
        In gold units. ``stderr`` is over prompts, the independent units; ``nan`` when P = 1.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``best_of_n_curve``, which says how the number is computed.
    """
    return mean_over_units(best_of_n_curve(proxy, gold, [n])[:, 0], unit="prompt", method="unbiased best-of-n")


def best_of_n_kl(proxy: npt.ArrayLike, ns: Sequence[int]) -> FloatArray:
    """KL of best-of-n to the base policy for each prompt, in nats, ties of the proxy taken into account.

    Where scores are distinct the score distribution is taken as continuous, so without ties the value is
    ``kl_bound(n)``. A group of equal scores is an atom of its share of the pool: best-of-n picks at random within it,
    hence moves no mass there, and the value falls below the bound. When all scores are equal it is 0.

    Parameters
    ----------
    proxy : (P, N) float64
        Scores that select; finite.
    ns : sequence of int
        At least 1 each. May exceed N, since the formula is that of independent draws; it is then an extrapolation.

    Returns
    -------
    (P, K) float64

    Notes
    -----
    A plug-in estimate: ties that the pool is too small to show are missed, so it stays an upper estimate. With u, v
    the shares of the pool below and up to a group, its atom adds (v^n - u^n) ln((v^n - u^n) / (v - u)) instead of the
    integral of n x^(n-1) ln(n x^(n-1)) from u to v.

    >>> best_of_n_kl([[0.0, 1.0], [1.0, 1.0]], [2]).round(4)
    array([[0.1931],
           [0.    ]])
    """
    proxy_PN, _ = _pools(proxy, proxy)
    n_prompts, pool = proxy_PN.shape
    sizes_of_n = integers_in("ns", ns, 1, np.iinfo(np.int64).max)
    first, sizes = _tie_groups(_equals_previous(np.sort(proxy_PN, axis=1)))
    is_tied = sizes > 1
    row, low = np.divmod(first[is_tied], pool)
    u, v = low / pool, (low + sizes[is_tied]) / pool
    kl = np.empty((n_prompts, len(sizes_of_n)))
    for k, n in enumerate(sizes_of_n):
        # The antiderivative of n x^(n-1) ln(n x^(n-1)) is x^n (kl_bound(n) + (n-1) ln x).
        u_n, v_n = u**n, v**n
        continuous = kl_bound(n) * (v_n - u_n) + (n - 1) * (xlogy(v_n, v) - xlogy(u_n, u))
        atom = xlogy(v_n - u_n, (v_n - u_n) / (v - u))
        kl[:, k] = kl_bound(n) - np.bincount(row, weights=continuous - atom, minlength=n_prompts)
    return kl


@overload
def kl_bound(n: int | float) -> float: ...
@overload
def kl_bound(n: Sequence[int] | npt.NDArray[np.integer] | FloatArray) -> FloatArray: ...
def kl_bound(n: float | Sequence[int] | npt.NDArray[np.integer] | FloatArray) -> float | FloatArray:
    """ln n - (n-1)/n: an upper bound on the KL of best-of-n to the base policy, in nats.

    Widely plotted as the KL itself, which it is only without ties, in the limit of continuous scores. Two answers of
    equal probability have a KL of at most ln 2 whatever n, while the bound grows without limit: Beirami et al. 2024
    (arXiv:2401.01879). ``best_of_n_kl`` accounts for the ties it sees.

    >>> kl_bound(1), round(kl_bound(1000), 3)
    (0.0, 5.909)
    """
    array = np.asarray(n, dtype=np.float64)
    if not np.all(array >= 1):
        raise ConfigError(f"n must be at least 1; got {n}")
    bound = np.asarray(np.log(array) - (array - 1) / array)
    return float(bound) if bound.ndim == 0 else bound


def tie_rate(proxy: npt.ArrayLike) -> float:
    """Share of samples whose proxy score equals another one's of the same prompt; (P, N) scores, mean over prompts.

    >>> tie_rate([[1.0, 1.0, 2.0, 3.0]])
    0.5
    """
    proxy_PN, _ = _pools(proxy, proxy)
    equals_previous = _equals_previous(np.sort(proxy_PN, axis=1))
    is_tied = equals_previous.copy()
    is_tied[:, :-1] |= equals_previous[:, 1:]
    return float(is_tied.mean())


def _pools(proxy: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    proxy_PN = float_array("proxy", proxy, "PN")
    values_PN = proxy_PN if values is proxy else float_array("values", values, "PN")
    check_same_shape("proxy", proxy_PN, "values", values_PN)
    if proxy_PN.size == 0:
        raise DataError(f"best-of-n needs at least one prompt with one sample; got the shape {proxy_PN.shape}")
    return proxy_PN, values_PN


def _equals_previous(ranked_PN: FloatArray) -> BoolArray:
    """True where a sorted score equals the one before it in its row."""
    equals = np.zeros(ranked_PN.shape, dtype=np.bool_)
    np.equal(ranked_PN[:, 1:], ranked_PN[:, :-1], out=equals[:, 1:])
    return equals


def _tie_groups(equals_previous_PN: BoolArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Flat index of the first member and the size of each group of equal scores; groups end with their row."""
    first = np.flatnonzero(~equals_previous_PN)
    return first, np.diff(first, append=equals_previous_PN.size)


def _average_within_ties(ranked_PN: FloatArray, equals_previous_PN: BoolArray) -> None:
    """Replace the values of each tie group by their mean, in place; rows without ties are not touched."""
    rows = np.flatnonzero(equals_previous_PN.any(axis=1))
    if rows.size == 0:
        return
    first, sizes = _tie_groups(equals_previous_PN[rows])
    tied = ranked_PN[rows]
    means = np.add.reduceat(tied.ravel(), first) / sizes
    ranked_PN[rows] = np.repeat(means, sizes).reshape(tied.shape)
