"""How far best-of-n is from the base policy: the usual bound, and what ties and probable answers take off it.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts, K values of n, A answers. KL(best-of-n ‖
base) is in nats per response.

| function | needs | is |
|---|---|---|
| ``kl_bound`` | n | an upper bound, reached by continuous scores |
| ``best_of_n_kl`` | proxy scores | a plug-in value: equal scores are answers that best-of-n cannot tell apart |
| ``best_of_n_kl_from_logprobs`` | proxy scores, log-probabilities | an upper estimate: one copy shows a likely answer |
| ``discrete_best_of_n_kl`` | every answer's probability | exact |
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_same_shape, float_array, integers_in
from overopt.stats.estimate import FloatArray
from overopt.stats.pools import Pools, average_within_ties, tie_groups, weight_matrix

_ANY_N = int(np.iinfo(np.int64).max)


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


def best_of_n_kl(proxy: npt.ArrayLike, ns: Sequence[int], *, sizes: npt.ArrayLike | None = None) -> FloatArray:
    """KL of best-of-n to the base policy for each prompt, in nats, ties of the proxy taken into account.

    Where scores are distinct the score distribution is taken as continuous, so without ties the value is
    ``kl_bound(n)``. A group of equal scores is an atom of its share of the pool: best-of-n picks at random within it,
    hence moves no mass there, and the value falls below the bound. When all scores are equal it is 0.

    Parameters
    ----------
    proxy : (P, N) float64, or (R,) with ``sizes``
        Scores that select; finite.
    ns : sequence of int
        At least 1 each. May exceed N, since the formula is that of independent draws; it is then an extrapolation.
    sizes : (P,) int, optional
        Samples of each prompt when pools are ragged; they lie together in ``proxy``.

    Returns
    -------
    (P, K) float64

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``, except that no n is too large.

    Notes
    -----
    A plug-in estimate. Ties that the pool is too small to show are missed, which makes it too high; with few distinct
    scores and n near N the shares of the top groups are noisy, which makes it too low (2.30 for 2.72 nats at n = 64 of
    64 normal scores rounded to steps of 5). With N well above n both errors are small. With u, v the shares of the
    pool below and up to a group, its atom adds (v^n - u^n) ln((v^n - u^n) / (v - u)) instead of the integral of
    n x^(n-1) ln(n x^(n-1)) from u to v.

    >>> best_of_n_kl([[0.0, 1.0], [1.0, 1.0]], [2]).round(4)
    array([[0.1931],
           [0.    ]])
    """
    pools = Pools.of(proxy, (), sizes)
    integers = integers_in("ns", ns, 1, _ANY_N)
    kl = np.empty((pools.n_prompts, len(integers)))
    for block in pools.ranked():
        n_rows, pool = block.proxy.shape
        first, counts = tie_groups(block.equals_previous)
        is_tied = counts > 1
        row, low = np.divmod(first[is_tied], pool)
        high = low + counts[is_tied]
        log_u, log_v = _log_share(low, pool), _log_share(high, pool)
        share = (high - low) / high
        for k, n in enumerate(integers):
            if n == 1:  # the base policy itself, exactly
                kl[block.prompts, k] = 0.0
                continue
            # The antiderivative of n x^(n-1) ln(n x^(n-1)) is x^n (kl_bound(n) + (n-1) ln x).
            mass, log_ratio = _atom(n, log_v, share, np.log((high - low) / pool))
            v_n, u_n = np.exp(n * log_v), np.exp(n * log_u)
            with np.errstate(invalid="ignore"):
                below = np.where(low > 0, u_n * log_u, 0.0)
            continuous = kl_bound(n) * mass + (n - 1) * (v_n * log_v - below)
            excess = continuous - mass * log_ratio
            kl[block.prompts, k] = kl_bound(n) - np.bincount(row, weights=excess, minlength=n_rows)
    return kl


def discrete_best_of_n_kl(probabilities: npt.ArrayLike, scores: npt.ArrayLike, ns: Sequence[int]) -> FloatArray:
    """Exact KL of best-of-n to a base policy with known answers, in nats; among equal scores a fair draw decides.

    Parameters
    ----------
    probabilities : (A,) float64
        Base probability of each answer; not negative, summing to 1 within 1e-9.
    scores : (A,) float64
        What the selector sees of each answer; finite, in any order, equal scores allowed.
    ns : sequence of int
        At least 1 each; accurate to about twelve digits up to 10^6.

    Returns
    -------
    (K,) float64

    Raises
    ------
    ShapeError
        If the two arrays do not share one shape (A,).
    DataError, ConfigError
        Both a ``ValueError``: the probabilities are no distribution; an n is below 1.

    Notes
    -----
    Best-of-n moves mass between groups of equal scores and none within: a group between the cumulative shares u and v
    gets v^n - u^n, spread over its answers as the base does. With distinct scores this is Beirami et al. 2024
    (arXiv:2401.01879), where ties are excluded.

    >>> discrete_best_of_n_kl([0.5, 0.5], [0.0, 1.0], [1, 2, 1000]).round(4)
    array([0.    , 0.1308, 0.6931])
    """
    probability_A = float_array("probabilities", probabilities, "A")
    score_A = float_array("scores", scores, "A")
    check_same_shape("probabilities", probability_A, "scores", score_A)
    integers = integers_in("ns", ns, 1, _ANY_N)
    if probability_A.size == 0 or (probability_A < 0).any() or abs(probability_A.sum() - 1) > 1e-9:
        raise DataError(
            f"probabilities must not be negative and must sum to 1; got {probability_A.size} of them with the sum "
            f"{probability_A.sum():.12g} and {int((probability_A < 0).sum())} below 0"
        )
    _, group_A = np.unique(score_A, return_inverse=True)
    mass_G = np.bincount(group_A, weights=probability_A)
    mass_G = mass_G[mass_G > 0] / probability_A.sum()
    up_to_G = np.cumsum(mass_G)
    above_G = np.concatenate((np.cumsum(mass_G[:0:-1])[::-1], [0.0]))
    # The smaller of the two shares is the accurate one: near the top ln v is about -above.
    log_v = np.where(up_to_G < 0.5, np.log(up_to_G), np.log1p(-np.minimum(above_G, 0.5)))
    share = np.minimum(mass_G / up_to_G, 1.0)
    kl = np.empty(len(integers))
    for k, n in enumerate(integers):
        chosen, log_ratio = _atom(n, log_v, share, np.log(mass_G))
        kl[k] = float(np.sum(chosen * log_ratio))
    return kl


def best_of_n_kl_from_logprobs(
    proxy: npt.ArrayLike, base_logprob: npt.ArrayLike, ns: Sequence[int], *, sizes: npt.ArrayLike | None = None
) -> FloatArray:
    """KL of best-of-n to the base policy for each prompt, in nats, from the log-probability of each sample.

    A response that the base gives with probability eps is an atom, and best-of-n cannot single it out more than
    1/eps-fold: a sample's own log-probability tells what no pool of distinct scores can show.

    Parameters
    ----------
    proxy : (P, N) float64, or (R,) with ``sizes``
        Scores that select; finite.
    base_logprob : as ``proxy``
        ln of the probability that the base gives the whole response, at the temperature and with the truncation it
        was sampled with, in nats: at most 0.
    ns : sequence of int
        1 <= n <= N each, N the smallest pool.
    sizes : (P,) int, optional
        Samples of each prompt when pools are ragged; they lie together in the arrays.

    Returns
    -------
    (P, K) float64
        Not negative; not cut at ``kl_bound(n)``, so that a mean over prompts stays unbiased for the estimator's own.

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; also if a log-probability is above 0.

    Notes
    -----
    Beirami et al. 2024 (arXiv:2401.01879), the proposed estimator: the mean over winners y with eps = base(y) of
    (1-eps)^n kl_bound(n) + (1 - (1-eps)^n) ln((1 - (1-eps)^n) / eps). It reaches the bound as eps goes to 0, and its
    mean is at least the KL in every world that the tests draw; for probable answers and small n it exceeds the bound,
    and then the bound is the better number. They draw winners; here every subset of the pool counts, as in
    ``bon.best_of_n_curve``. Different responses are taken to have different scores: where they tie,
    ``best_of_n_kl`` sees more.

    >>> import numpy as np
    >>> best_of_n_kl_from_logprobs([[1.0, 0.0]], [[np.log(0.5), np.log(0.5)]], [2]).round(4)
    array([[0.3524]])
    """
    pools = Pools.of(proxy, [base_logprob], sizes, names=["base_logprob"])
    logprob = pools.columns[1]
    if (logprob > 0).any():
        raise DataError(
            f"base_logprob holds {int((logprob > 0).sum())} values above 0, the largest {logprob.max():.6g}; "
            "it must be the log of a probability"
        )
    integers = pools.checked_ns(ns)
    kl = np.empty((pools.n_prompts, len(integers)))
    weights_NK = np.empty((0, len(integers)))
    for block in pools.ranked():
        if len(weights_NK) != block.proxy.shape[1]:
            weights_NK = weight_matrix(block.proxy.shape[1], integers)
        for k, n in enumerate(integers):
            of_winner = _kl_of_winner(block.values[0], n)
            average_within_ties(of_winner, block.equals_previous)
            kl[block.prompts, k] = of_winner @ weights_NK[:, k]
    return kl


def _kl_of_winner(logprob: FloatArray, n: int) -> FloatArray:
    """What a winner of the base log-probability ``logprob`` adds to the estimator of Beirami et al., in nats."""
    eps = np.exp(logprob)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_missed = n * np.log1p(-eps)
        seen = -np.expm1(log_missed)
        # Below 1e-290 the quotient loses its digits, and it is n to all of them.
        ratio = np.where(eps > 1e-290, seen / eps, float(n))
    return np.asarray(np.exp(log_missed) * kl_bound(n) + seen * np.log(ratio))


def _atom(n: int, log_v: FloatArray, share: FloatArray, log_mass: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Chance v^n - u^n that best-of-n picks a group, and the log of its ratio to the base's chance v - u.

    ``share`` is (v - u) / v. Nothing is subtracted that could cancel, so 10^6 draws cost no digits.
    """
    with np.errstate(divide="ignore"):
        within = -np.expm1(n * np.log1p(-share))
    return np.exp(n * log_v) * within, n * log_v + np.log(within) - log_mass


def _log_share(count: npt.NDArray[np.intp], total: int) -> FloatArray:
    """ln(count / total), accurate near 0 and near 1; -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.where(2 * count < total, np.log(count / total), np.log1p((count - total) / total))
