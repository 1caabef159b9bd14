"""Worlds whose gold is a given function of the proxy's quantile, so that the best-of-n curve is a formula.

The proxy is the quantile u itself, uniform within each prompt: best-of-n sees only the order.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from overopt.worlds.integrals import (
    FloatArray,
    best_of_n_kl,
    best_of_n_win_rate,
    check_n,
    check_setting,
    tilted_uniform_kl,
    tilted_uniform_mean,
    tilted_uniform_rate,
)

_TALBOT_NODES = 22  # more would lose to rounding, which grows like exp(0.4 nodes), what the sum gains


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileWorld:
    """Gold = sum of ``powers[j - 1]`` u^j, plus ``log_tail`` times -ln(1 - u), plus noise.

    The best of n then has gold sum powers n / (n + j) + log_tail H_n, with H_n the harmonic number.
    """

    powers: tuple[float, ...]
    log_tail: float = 0.0
    noise_sd: float = 0.0
    prompt_sd: float = 0.0
    """Of a level of gold that the samples of a prompt share."""

    def __post_init__(self) -> None:
        check_setting("noise_sd", self.noise_sd, 0)
        check_setting("prompt_sd", self.prompt_sd, 0)

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        x = rng.standard_exponential((n_prompts, pool))
        u = np.exp(-x)
        gold = np.polynomial.polynomial.polyval(u, (0.0, *self.powers)) - self.log_tail * np.log(-np.expm1(-x))
        return u, gold + _noise(gold.shape, self.noise_sd, self.prompt_sd, rng)

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the sample that the proxy ranks first among ``n``."""
        check_n(n)
        rational = sum(power * n / (n + j) for j, power in enumerate(self.powers, start=1))
        return float(rational + self.log_tail * (digamma(n + 1) + np.euler_gamma))

    def best_of_n_proxy(self, n: float) -> float:
        """n / (n + 1)."""
        check_n(n)
        return n / (n + 1)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt; needs noise."""
        return best_of_n_win_rate(self.expected_gold, n, self.noise_sd)

    def tilted_proxy(self, kl: float) -> float:
        """Proxy of the KL-regularised optimum, base times exp(proxy / kl_coef), at the KL ``kl``."""
        return tilted_uniform_mean(lambda u, q: u, tilted_uniform_rate(kl))

    def tilted_gold(self, kl: float) -> float:
        """Gold of the same policy."""
        return tilted_uniform_mean(self.expected_gold, tilted_uniform_rate(kl))

    def tilted_kl(self, kl_coef: float) -> float:
        """KL of the optimum of E[proxy] - ``kl_coef`` KL."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        return tilted_uniform_kl(1 / kl_coef)

    def expected_gold(self, u: FloatArray, q: FloatArray) -> FloatArray:
        """E[gold] at the proxy ``u`` = 1 - ``q``, without the prompt's level."""
        return np.asarray(np.polynomial.polynomial.polyval(u, (0.0, *self.powers)) - self.log_tail * np.log(q))

    def peak_n(self, low: float = 1.0, high: float = 1e9) -> float:
        """The n, not rounded, of the first local maximum of gold between ``low`` and ``high``; nan if there is none."""
        grid = np.geomspace(low, high, 2_000)
        rises = np.array([self._derivative(n) for n in grid]) > 0
        turns = np.flatnonzero(rises[:-1] & ~rises[1:])
        if turns.size == 0:
            return math.nan
        return float(brentq(self._derivative, grid[turns[0]], grid[turns[0] + 1], xtol=1e-12, rtol=1e-14))

    def _derivative(self, n: float) -> float:
        rational = sum(power * j / (n + j) ** 2 for j, power in enumerate(self.powers, start=1))
        return float(rational + self.log_tail * polygamma(1, n + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class LawWorld:
    """A world whose best-of-n gold is d (alpha - beta d) exactly, for every n, with d^2 = ln n - (n-1)/n.

    With x = -ln u the gold of the best of n is n times the Laplace transform of gold(x) at n, so gold(x) is the inverse
    transform of R / n: in closed form for d^2, on Talbot's contour for d (to about twelve digits).
    """

    alpha: float
    beta: float
    noise_sd: float = 0.0
    prompt_sd: float = 0.0
    """Of a level of gold that the samples of a prompt share."""

    def __post_init__(self) -> None:
        check_setting("noise_sd", self.noise_sd, 0)
        check_setting("prompt_sd", self.prompt_sd, 0)

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each; the mean of gold is 0."""
        x = rng.standard_exponential((n_prompts, pool))
        gold = self.gold_of_exponential(x.ravel()).reshape(x.shape)
        return np.exp(-x), gold + _noise(gold.shape, self.noise_sd, self.prompt_sd, rng)

    def gold_of_exponential(self, x: FloatArray) -> FloatArray:
        """Expected gold of samples with proxy exp(-x), (U,)."""
        square = -np.euler_gamma - np.log(x) - 1 + x
        return np.asarray(self.alpha * _inverse_of_distance(x) - self.beta * square)

    def best_of_n_gold(self, n: float) -> float:
        """d (alpha - beta d)."""
        d = math.sqrt(best_of_n_kl(n))
        return d * (self.alpha - self.beta * d)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt; needs noise."""
        return best_of_n_win_rate(self._expected_gold, n, self.noise_sd)

    def tilted_proxy(self, kl: float) -> float:
        """Proxy of the KL-regularised optimum, base times exp(proxy / kl_coef), at the KL ``kl``."""
        return tilted_uniform_mean(lambda u, q: u, tilted_uniform_rate(kl))

    def tilted_gold(self, kl: float) -> float:
        """Gold of the same policy."""
        return tilted_uniform_mean(self._expected_gold, tilted_uniform_rate(kl))

    def tilted_kl(self, kl_coef: float) -> float:
        """KL of the optimum of E[proxy] - ``kl_coef`` KL."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        return tilted_uniform_kl(1 / kl_coef)

    def _expected_gold(self, u: FloatArray, q: FloatArray) -> FloatArray:
        """At the proxy ``u`` = exp(-x), from the smaller of ``u`` and ``q`` = 1 - u."""
        return self.gold_of_exponential(np.where(q < 0.5, -np.log1p(-np.minimum(q, 0.5)), -np.log(u)))


def _noise(shape: tuple[int, ...], noise_sd: float, prompt_sd: float, rng: np.random.Generator) -> FloatArray:
    return noise_sd * rng.standard_normal(shape) + prompt_sd * rng.standard_normal((shape[0], 1))


def _inverse_of_distance(x: FloatArray) -> FloatArray:
    """Inverse Laplace transform of d(s) / s at x, d(s)^2 = ln s - 1 + 1/s, by the fixed Talbot rule.

    Abate and Valko 2004, Multi-precision Laplace transform inversion, eq. 19.
    """
    theta = np.arange(1, _TALBOT_NODES) * np.pi / _TALBOT_NODES
    cot = 1 / np.tan(theta)
    direction = np.concatenate(([1.0 + 0j], theta * (cot + 1j)))
    factor = np.concatenate(([0.5], 1 + 1j * (theta + (theta * cot - 1) * cot)))
    radius = 2 * _TALBOT_NODES / (5 * x)
    s = radius[:, None].astype(np.complex128) * direction
    weight = np.exp(0.4 * _TALBOT_NODES * direction) * factor
    return np.asarray((0.4 / x) * (weight * _distance(s) / s).real.sum(axis=1))


def _distance(s: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """The analytic root d(s), positive for s > 1 and negative below; rows of ``s`` start on the positive axis."""
    z = s - 1
    is_near = np.abs(z) < 0.1
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (np.log(s) - z / s) / z / z  # the square of z would overflow where gold is far out
    # About s = 1, where the quotient cancels: sum over k >= 2 of (1 - 1/k) (-z)^(k-2).
    series = np.polynomial.polynomial.polyval(-z[is_near], 1 - 1 / np.arange(2.0, 24.0))
    ratio[is_near] = series
    # The quotient has no zero, so its root is analytic once the angle is followed along the contour.
    angle = np.unwrap(np.angle(ratio), axis=1)
    return np.asarray(z * np.sqrt(np.abs(ratio)) * np.exp(0.5j * angle))
