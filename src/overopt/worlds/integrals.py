"""Expectations under the largest of n uniform numbers, to about twelve digits for every n.

The largest of n has the distribution function u^n, so that x = -n ln u is a standard exponential number whatever n is.
One double-exponential rule over x therefore serves n = 1 and n = 10^9, and the tail 1 - u keeps its digits.
Takahasi and Mori 1974, Double exponential formulas for numerical integration.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from overopt.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

_STEP = 1 / 32
_CUT = 80.0  # e^-80 is below the last digit of any sum here


def best_of_n_mean(
    value: Callable[[FloatArray, FloatArray], FloatArray], n: float, kinks: Sequence[float] = ()
) -> float:
    """Mean of ``value(u, q)`` for u the largest of ``n`` uniform numbers and q = 1 - u, the tail above it.

    Parameters
    ----------
    value : function of two arrays
        May have integrable singularities at u = 0 and u = 1; smooth between the ``kinks``.
    n : float
        Above 0; need not be an integer, so that curves can be differentiated.
    kinks : sequence of float
        Tails q at which ``value`` is not smooth, each inside (0, 1).

    >>> round(best_of_n_mean(lambda u, q: u, 3), 12)  # n / (n + 1)
    0.75
    """
    check_n(n)
    ends = [0.0, *sorted(-n * np.log1p(-q) for q in kinks)]
    total = 0.0
    for low, high in zip(ends, [*ends[1:], np.inf], strict=True):
        if low > _CUT or not high > low:
            continue
        x, weight = _half_line(low) if high > low + _CUT else _segment(low, high)
        u, q = np.exp(-x / n), -np.expm1(-x / n)
        total += float(np.sum(weight * np.exp(-x) * value(u, q)))
    return total


def best_of_n_win_rate(
    gold: Callable[[FloatArray, FloatArray], FloatArray], n: float, noise_sd: float, kinks: Sequence[float] = ()
) -> float:
    """Chance that gold(u, q) plus noise at the largest of ``n`` uniform numbers exceeds that of one more sample.

    Both samples have normal noise of their own. Without noise the comparison is a step, which no quadrature meets.
    """
    if not noise_sd > 0:
        raise ConfigError("the win rate of this world is known for noise_sd above 0 only")
    scale = np.sqrt(2) * noise_sd

    def beats_base(u: FloatArray, q: FloatArray) -> FloatArray:
        own = gold(u, q)
        return np.array(
            [best_of_n_mean(lambda v, r, g=one: ndtr((g - gold(v, r)) / scale), 1, kinks) for one in own]  # type: ignore[misc]
        )

    return best_of_n_mean(beats_base, n, kinks)


def tilted_uniform_mean(value: Callable[[FloatArray, FloatArray], FloatArray], rate: float) -> float:
    """Mean of ``value(u, q)`` for u in (0, 1) with a density proportional to exp(rate u), and q = 1 - u.

    >>> round(tilted_uniform_mean(lambda u, q: u, 1e-9), 9)
    0.5
    """
    if rate > _CUT:
        y, weight = _half_line(0.0)
        inside = y < rate
        q, weight = y[inside] / rate, weight[inside] * np.exp(-y[inside])
        return float(np.sum(weight * value(1 - q, q)))
    t = np.arange(-4.0, 4.0 + _STEP / 2, _STEP)
    s = np.pi * np.sinh(t)
    q, u = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(s))
    weight = _STEP * np.pi * np.cosh(t) * q * u * np.exp(-rate * q)
    return float(np.sum(weight * value(u, q)) / np.sum(weight))


def tilted_uniform_kl(rate: float) -> float:
    """KL in nats of the density proportional to exp(rate u) on (0, 1) to the uniform one, for rate >= 0."""
    if rate < 1e-3:
        return rate**2 / 24 - rate**4 / 960
    rest = np.exp(-rate)
    return float(rate * rest / -np.expm1(-rate) - 1 - np.log1p(-rest) + np.log(rate))


def tilted_uniform_rate(kl: float) -> float:
    """The rate at which ``tilted_uniform_kl`` is ``kl``."""
    check_setting("kl", kl, 0, 500)
    if kl == 0:
        return 0.0
    log_rate = brentq(lambda t: tilted_uniform_kl(np.exp(t)) - kl, -40.0, kl + 3.0, xtol=1e-13, rtol=1e-14)
    return float(np.exp(log_rate))


def normal_quantile(u: FloatArray, q: FloatArray) -> FloatArray:
    """Standard normal number with the mass ``u`` below and ``q`` = 1 - u above it, exact in both tails."""
    return np.asarray(np.where(u < 0.5, ndtri(np.minimum(u, 0.5)), -ndtri(np.minimum(q, 0.5))))


def best_of_n_kl(n: float) -> float:
    """KL in nats of the best of ``n`` to the base where no two scores are equal: ln n - (n - 1) / n."""
    check_n(n)
    return float(np.log(n) - (n - 1) / n)


def check_n(n: float) -> None:
    """Raise a ``ConfigError`` unless ``n`` is a positive number."""
    if not 0 < n < np.inf:
        raise ConfigError(f"n must be a finite number above 0; got {n}")


def check_setting(name: str, value: float, low: float, high: float = np.inf, *, open_low: bool = False) -> None:
    """Raise a ``ConfigError`` unless the finite ``value`` lies within low..high."""
    if not (np.isfinite(value) and low <= value <= high) or (open_low and value == low):
        raise ConfigError(f"{name} must be {'above' if open_low else 'at least'} {low} and at most {high}; got {value}")


def _half_line(low: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights from ``low`` to infinity for an integrand that falls like e^-x."""
    t = np.arange(-6.0, 5.0, _STEP)
    y = np.exp(t - np.exp(-t))
    return low + y, _STEP * y * (1 + np.exp(-t))


def _segment(low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights between ``low`` and ``high``, dense at both ends."""
    t = np.arange(-4.0, 4.0 + _STEP / 2, _STEP)
    s = np.pi * np.sinh(t)
    share = 1 / (1 + np.exp(-s))
    weight = _STEP * np.pi * np.cosh(t) * share / (1 + np.exp(s))
    return low + (high - low) * share, (high - low) * weight
