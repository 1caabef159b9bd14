"""A proxy whose error has a heavy tail: catastrophic Goodhart (Kwa, Thomas and Garriga-Alonso 2024, arXiv:2407.14503).

proxy = gold + error, gold normal and error independent of it with P(error > x) ~ x^-tail_index. A very high proxy then
means a large error and nothing about gold: gold of best-of-n returns to its base value while the proxy grows without
limit, and a policy of any small KL to the base can have any proxy and no gold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr, stdtr, xlogy

from overopt.errors import ConfigError
from overopt.worlds.integrals import FloatArray, best_of_n_kl, check_n, check_setting

OfGold = Literal["one", "gold", "win"]

_REACH = 12.0  # standard deviations of gold that are integrated over
_STEP = 1 / 48
_FEW_NODES = 120
_BLOCK = 1_024  # proxies integrated at once, which bounds the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioned:
    """The policy of ``HeavyTailWorld.conditioned``."""

    mass: float
    """Given to responses above the threshold."""
    proxy: float
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyTailWorld:
    """Normal gold of mean 0 and a heavy-tailed error; gold is relative to the base policy."""

    tail_index: float
    """Of the error, what Hill's estimator finds in its upper tail; the mean is infinite at 1 and below."""
    error_scale: float
    """Scale of Student's t, or the least value of a Pareto error."""
    gold_sd: float = 1.0
    family: Literal["student", "pareto"] = "student"
    """Symmetric, or positive with an exact power tail."""

    def __post_init__(self) -> None:
        check_setting("tail_index", self.tail_index, 0, open_low=True)
        check_setting("gold_sd", self.gold_sd, 0, open_low=True)
        # Below it the quadrature over gold would need more nodes than it has.
        check_setting("error_scale", self.error_scale, 0.05 * self.gold_sd)
        if self.family not in ("student", "pareto"):
            raise ConfigError(f"family must be 'student' or 'pareto'; got {self.family!r}")

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        gold = self.gold_sd * rng.standard_normal((n_prompts, pool))
        return gold + self.sample_error((n_prompts, pool), rng), gold

    def sample_error(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Proxy minus gold."""
        if self.family == "student":
            return np.asarray(self.error_scale * rng.standard_t(self.tail_index, shape))
        return np.asarray(self.error_scale * (1 + rng.pareto(self.tail_index, shape)))

    def survival(self, proxy: FloatArray) -> FloatArray:
        """Chance that a base sample's proxy exceeds each entry of ``proxy`` (U,)."""
        return self._over_gold(proxy, self._error_survival, of_gold="one")

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the sample that the proxy ranks first among ``n``; falls to 0 as n grows."""
        x, weight = self._best_of_n_rule(n, decay=self.tail_index + 1)
        return float(weight @ self._over_gold(x, self._error_density, of_gold="gold"))

    def best_of_n_proxy(self, n: float) -> float:
        """Expected proxy of the best of ``n``; infinite for a tail index of 1 or less."""
        if self.tail_index <= 1:
            return math.inf
        x, weight = self._best_of_n_rule(n, decay=self.tail_index - 1)
        return float(weight @ (x * self._over_gold(x, self._error_density, of_gold="one")))

    def win_rate(self, n: float) -> float:
        """Chance that the best of ``n`` has more gold than one more base sample; returns to one half as n grows."""
        x, weight = self._best_of_n_rule(n, decay=self.tail_index + 1)
        return float(weight @ self._over_gold(x, self._error_density, of_gold="win"))

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def tilted_proxy(self, kl_coef: float) -> float:
        """Supremum of the penalised objective's proxy: infinite however large ``kl_coef`` > 0, since E e^error is."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        return math.inf

    def conditioned(self, kl: float, threshold: float) -> Conditioned:
        """The policy of KL ``kl`` that only moves mass from below to above ``threshold`` in the proxy.

        As the threshold grows at a fixed KL, its proxy grows without limit and its gold tends to 0: theorem 1 of the
        paper. ``kl`` must not exceed -ln of the base mass above the threshold.
        """
        if not self.tail_index > 1:
            raise ConfigError("the mean of the proxy is infinite for a tail index of 1 or less")
        at = np.array([threshold])
        share = float(self.survival(at)[0])
        check_setting("kl", kl, 0, -math.log(share))

        def excess(mass: float) -> float:
            return float(xlogy(mass, mass / share) + xlogy(1 - mass, (1 - mass) / (1 - share))) - kl

        mass = share if kl == 0 else float(brentq(excess, share, 1.0, xtol=1e-300, rtol=1e-14))
        gold_above = float(self._over_gold(at, self._error_survival, of_gold="gold")[0])
        proxy_above = gold_above + float(self._over_gold(at, self._error_upper_mean, of_gold="one")[0])
        proxy_base = float(self._error_upper_mean(np.array([-1e300]))[0])
        up, down = mass / share, (1 - mass) / (1 - share)
        return Conditioned(
            mass=mass, proxy=up * proxy_above + down * (proxy_base - proxy_above), gold=(up - down) * gold_above
        )

    def _best_of_n_rule(self, n: float, *, decay: float) -> tuple[FloatArray, FloatArray]:
        """Nodes x and weights n F(x)^(n-1) dx; the integrand without them falls like x^(-decay - 1)."""
        check_n(n)
        if self.family == "student":
            centre, scale = 0.0, math.hypot(self.gold_sd, self.error_scale)
        else:
            centre, scale = self.error_scale, self.gold_sd
        # n x^-decay, relative to the scale of the error, down to e^-41, the last digit of a sum of size 1.
        far = math.log(2 * max(self.error_scale / scale, 1.0)) + (41 + max(math.log(n), 0.0)) / decay
        far = min(max(far, 4.0), 690.0)
        near = math.asinh(_REACH * self.gold_sd / scale) if self.family == "pareto" else far
        t = np.arange(-near, far, _STEP)
        x = centre + scale * np.sinh(t)
        with np.errstate(divide="ignore"):
            log_below = np.log1p(-np.minimum(self.survival(x), 1.0))
        power = np.exp((n - 1) * log_below) if n != 1 else np.ones_like(x)
        return x, n * power * _STEP * scale * np.cosh(t)

    def _over_gold(self, x: FloatArray, of_error: Callable[[FloatArray], FloatArray], *, of_gold: OfGold) -> FloatArray:
        """Mean over gold z of 1, z or P(base gold < z), times of_error(x - z), for each x (U,)."""
        # The nearest singularity of a Student density lies this far from the axis; a Pareto's is cut out below. Far out
        # it is far from all z as well, and the normal density alone sets the number of nodes.
        distance = self.error_scale * (math.sqrt(self.tail_index) if self.family == "student" else 1.0)
        n_nodes = int(np.clip(240 * self.gold_sd / distance, _FEW_NODES, 1_200))
        is_far = np.abs(x) > 3 * _REACH * self.gold_sd + self.error_scale
        total = np.empty(x.shape)
        for group, count in ((np.flatnonzero(is_far), _FEW_NODES), (np.flatnonzero(~is_far), n_nodes)):
            for start in range(0, group.size, _BLOCK):
                block = group[start : start + _BLOCK]
                total[block] = self._over_gold_block(x[block], of_error, of_gold, count)
        return total

    def _over_gold_block(
        self, x: FloatArray, of_error: Callable[[FloatArray], FloatArray], of_gold: OfGold, n_nodes: int
    ) -> FloatArray:
        reach = _REACH * self.gold_sd
        nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
        top = np.full(x.shape, reach)
        if self.family == "pareto":
            top = np.clip(x - self.error_scale, -reach, reach)
        half = (top + reach) / 2
        z = half[:, None] * (nodes + 1) - reach
        gaussian = np.exp(-0.5 * (z / self.gold_sd) ** 2) / (self.gold_sd * math.sqrt(2 * math.pi))
        value = 1.0 if of_gold == "one" else z if of_gold == "gold" else ndtr(z / self.gold_sd)
        total = half * ((gaussian * value * of_error(x[:, None] - z)) @ weights)
        if self.family == "pareto":
            # Above x - error_scale the error's argument is below its least value, where every function is constant.
            constant = of_error(np.array([-1e300]))[0]
            edge = (x - self.error_scale) / self.gold_sd
            if of_gold == "gold":
                rest = self.gold_sd * np.exp(-0.5 * edge**2) / math.sqrt(2 * math.pi)
            else:
                rest = ndtr(-edge) if of_gold == "one" else ndtr(-edge) * (1 + ndtr(edge)) / 2
            total = total + constant * rest
        return np.asarray(total)

    def _error_survival(self, w: FloatArray) -> FloatArray:
        scaled = w / self.error_scale
        if self.family == "student":
            return np.asarray(stdtr(self.tail_index, -scaled))
        return np.asarray(np.maximum(scaled, 1.0) ** -self.tail_index)

    def _error_density(self, w: FloatArray) -> FloatArray:
        scaled, index = w / self.error_scale, self.tail_index
        if self.family == "pareto":
            inside = index / self.error_scale * np.maximum(scaled, 1.0) ** (-index - 1)
            return np.where(scaled >= 1 - 1e-12, inside, 0.0)
        log_norm = gammaln((index + 1) / 2) - gammaln(index / 2) - 0.5 * math.log(index * math.pi)
        # ln(1 + s^2 / index) by hypot, whose square would overflow far out.
        log_term = 2 * np.log(np.hypot(1.0, scaled / math.sqrt(index)))
        return np.asarray(np.exp(log_norm - (index + 1) / 2 * log_term) / self.error_scale)

    def _error_upper_mean(self, w: FloatArray) -> FloatArray:
        """E[error; error > w], for a tail index above 1."""
        scaled, index = w / self.error_scale, self.tail_index
        if self.family == "pareto":
            return np.asarray(self.error_scale * index / (index - 1) * np.maximum(scaled, 1.0) ** (1 - index))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = (index + scaled**2) / (index - 1) * self._error_density(w) * self.error_scale**2
        return np.where(np.abs(scaled) < 1e100, mean, 0.0)
