"""Best-of-Poisson: best-of-n with a Poisson number of samples, so that its strength is a real number.

Axes: P prompts, N samples of one prompt (the pool), R samples of all prompts, K values of mu. KL is in nats.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expi, factorial, gammainc, gammaincinv, gammaln, xlogy

from overopt.errors import ConfigError
from overopt.stats.estimate import FloatArray
from overopt.stats.pools import Pools, average_within_ties, weight_matrix

# A Poisson count that the pool cannot serve is left out of the mixture; more than this chance of one is refused.
_POISSON_TAIL = 1e-9
# Weights held at once while counts of a Poisson are mixed.
_BLOCK_WEIGHTS = 1 << 22


def best_of_poisson_curve(
    proxy: npt.ArrayLike, values: npt.ArrayLike, mus: Sequence[float], *, sizes: npt.ArrayLike | None = None
) -> FloatArray:
    """Expected ``values`` of the best by proxy among 1 + Poisson(mu) samples, for each prompt and each mu.

    A best-of-n whose strength is a real number. Unbiased and exact over ties as ``bon.best_of_n_curve``, whose weights
    it mixes.

    Parameters
    ----------
    proxy, values, sizes
        As ``bon.best_of_n_curve``.
    mus : sequence of float
        0 or more each; 0 is the base. The chance of needing more samples than the smallest pool has must not exceed
        1e-9; that share is left out and the rest scaled to 1.

    Returns
    -------
    (P, K) float64

    Raises
    ------
    ShapeError, DataError, ConfigError
        As ``bon.best_of_n_curve``; a mu that is negative or too large for the smallest pool.

    Notes
    -----
    Khalaf et al. 2025 (arXiv:2506.19248). The mixture spans about 20 sqrt(mu) values of n, each N operations.

    >>> best_of_poisson_curve([[1.0, 2.0] * 20], [[0.0, 1.0] * 20], [0.0, 3.0]).round(3)
    array([[0.5  , 0.896]])
    """
    pools = Pools.of(proxy, [values], sizes)
    checked = _checked_mus(mus, pools.smallest)
    curve = np.empty((pools.n_prompts, len(checked)))
    weights_NK = np.empty((0, len(checked)))
    for block in pools.ranked():
        size = block.proxy.shape[1]
        if len(weights_NK) != size:
            weights_NK = np.stack([best_of_poisson_weights(size, mu) for mu in checked], axis=1)
        average_within_ties(block.values[0], block.equals_previous)
        curve[block.prompts] = block.values[0] @ weights_NK
    return curve


def best_of_poisson_weights(pool: int, mu: float) -> FloatArray:
    """Chance that the sample of each ascending rank is the best of 1 + Poisson(mu) drawn from ``pool``; (N,).

    >>> best_of_poisson_weights(3, 0.0).round(3)
    array([0.333, 0.333, 0.333])
    """
    (mu,) = _checked_mus([mu], pool)
    reach = 10 * np.sqrt(mu) + 50
    extra = np.arange(max(0, int(mu - reach)), min(pool - 1, int(mu + reach)) + 1)
    chance = np.exp(xlogy(extra, mu) - mu - gammaln(extra + 1))
    weights = np.zeros(pool)
    step = max(1, _BLOCK_WEIGHTS // pool)
    for low in range(0, extra.size, step):
        ns = [int(n) + 1 for n in extra[low : low + step]]
        weights += weight_matrix(pool, ns) @ chance[low : low + step]
    return np.asarray(weights / chance.sum())


def best_of_poisson_kl(mus: Sequence[float]) -> FloatArray:
    """KL of Best-of-Poisson to the base policy for each mu, in nats: exact for continuous scores, else an upper bound.

    Parameters
    ----------
    mus : sequence of float
        0 or more each.

    Returns
    -------
    (K,) float64

    Notes
    -----
    The quantile u of the chosen score has the density (1 + mu u) exp(mu (u-1)) (Khalaf et al. 2025, arXiv:2506.19248);
    its KL integrates to ln(1+mu) - 1 + exp(-1-mu) (Ei(1+mu) - Ei(1)) / mu.

    >>> best_of_poisson_kl([0.0, 1.0, 100.0]).round(4)
    array([0.    , 0.1072, 3.6152])
    """
    return np.array([_best_of_poisson_kl(mu) for mu in _checked_mus(mus, None)])


def largest_mu(pool: int) -> float:
    """The largest mu whose 1 + Poisson(mu) draws a pool of N can serve, but for a chance of 1e-9.

    >>> round(largest_mu(64), 1)
    27.0
    """
    return float(gammaincinv(pool, _POISSON_TAIL))


def _checked_mus(mus: Sequence[float], pool: int | None) -> list[float]:
    """``mus`` as floats, finite, not negative, and small enough for the smallest pool if there is one."""
    checked = [float(mu) for mu in mus]
    bad = [mu for mu in checked if not 0 <= mu < np.inf]
    if bad or not checked:
        raise ConfigError(f"mus must hold at least one number, each finite and not negative; got {bad or '[]'}")
    chance = float(gammainc(pool, max(checked))) if pool is not None else 0.0
    if pool is not None and chance > _POISSON_TAIL * (1 + 1e-6):
        raise ConfigError(
            f"1 + Poisson({max(checked):g}) exceeds the smallest pool of {pool} with probability {chance:.2g}, more "
            f"than {_POISSON_TAIL:g}; lower mu to {0.999 * largest_mu(pool):.4g}"
        )
    return checked


def _best_of_poisson_kl(mu: float) -> float:
    if mu >= 1:
        # exp(-1-mu) Ei(1+mu), by its asymptotic series where Ei overflows: the terms fall below 1e-20 before rising.
        x = 1 + mu
        scaled = np.exp(-x) * expi(x) if x < 100 else np.sum(factorial(np.arange(40)) / x ** np.arange(1.0, 41.0))
        return float(np.log1p(mu) - 1 + (scaled - np.exp(-x) * expi(1)) / mu)
    # The closed form cancels as mu falls; the integrand is smooth there.
    node, weight = np.polynomial.legendre.leggauss(40)
    u = (node + 1) / 2
    log_density = np.log1p(mu * u) + mu * (u - 1)
    return float(np.sum(weight / 2 * np.exp(log_density) * log_density))
