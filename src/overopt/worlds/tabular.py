"""A world of finitely many outcomes: every policy is a vector of probabilities, every truth a finite sum.

Axis: A outcomes, the same for each prompt. Equal proxy scores are ties; the selector picks evenly among tied draws.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import softmax, xlogy

from overopt.errors import ConfigError, ShapeError
from overopt.worlds.integrals import FloatArray, check_n


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TabularWorld:
    """Outcomes with base probabilities and two scores.

    Policies (``best_of_n``, ``tilted``, ...) are returned as probabilities (A,); ``gold_of``, ``kl_of`` and the others
    say what a policy is worth.
    """

    probabilities: FloatArray
    """(A,) of the base policy, above 0, with sum 1."""
    proxy: FloatArray
    """(A,) the score that selects; may hold ties."""
    gold: FloatArray
    """(A,) the score that stands for the truth."""

    def __post_init__(self) -> None:
        for name in ("probabilities", "proxy", "gold"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.probabilities.ndim != 1 or not self.probabilities.shape == self.proxy.shape == self.gold.shape:
            raise ShapeError("probabilities, proxy and gold must share one shape (A,)")
        if not (self.probabilities > 0).all() or abs(self.probabilities.sum() - 1) > 1e-12:
            raise ConfigError("probabilities must be above 0 with sum 1")
        if not (np.isfinite(self.proxy).all() and np.isfinite(self.gold).all()):
            raise ConfigError("proxy and gold must be finite")

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        return self.sample_policy(self.probabilities, n_prompts, pool, rng)

    def sample_policy(
        self, policy: npt.ArrayLike, n_prompts: int, pool: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of samples of ``policy`` (A,), (P, N) each."""
        outcome = rng.choice(self.proxy.size, size=(n_prompts, pool), p=np.asarray(policy))
        return self.proxy[outcome], self.gold[outcome]

    def best_of_n(self, n: float) -> FloatArray:
        """Probabilities of the outcome that the proxy ranks first among ``n`` draws."""
        check_n(n)
        below, own, above = self._groups(self.proxy)
        # v^n - u^n with u, v the mass below and up to a group, without subtracting neighbours.
        # ln v from the smaller of the two sides, which keeps its digits.
        log_up_to = np.where(above < 0.5, np.log1p(-np.minimum(above, 0.5)), np.log(below + own))
        with np.errstate(divide="ignore"):
            mass = np.exp(n * log_up_to) * -np.expm1(n * np.log(below / (below + own)))
        return np.asarray(mass * self.probabilities / own)

    def best_by_gold(self, n: float) -> FloatArray:
        """Probabilities of the outcome that gold itself ranks first among ``n`` draws: the oracle."""
        return TabularWorld(probabilities=self.probabilities, proxy=self.gold, gold=self.gold).best_of_n(n)

    def best_of_poisson(self, mean_extra: float) -> FloatArray:
        """Best of 1 + Poisson(``mean_extra``) draws: the distribution function F becomes F exp(mean (F - 1)).

        Khalaf et al. 2025 (arXiv:2506.19248).
        """
        if not 0 <= mean_extra < np.inf:
            raise ConfigError(f"mean_extra must be at least 0; got {mean_extra}")
        below, own, above = self._groups(self.proxy)
        mass = (below + own) * np.exp(-mean_extra * above) - below * np.exp(-mean_extra * (above + own))
        return np.asarray(mass * self.probabilities / own)

    def tilted(self, kl_coef: float) -> FloatArray:
        """The policy that maximises E[proxy] - ``kl_coef`` KL: base times exp(proxy / kl_coef), normalised."""
        if not kl_coef > 0:
            raise ConfigError(f"kl_coef must be above 0; got {kl_coef}")
        return np.asarray(softmax(np.log(self.probabilities) + (self.proxy - self.proxy.max()) / kl_coef))

    def tilted_to(self, kl: float) -> FloatArray:
        """The tilted policy with KL ``kl`` to the base; no policy of that KL has more proxy.

        Raises ``ConfigError`` unless 0 <= kl < ``max_kl``.
        """
        if not 0 <= kl < self.max_kl():
            raise ConfigError(f"kl must be at least 0 and below {self.max_kl()}; got {kl}")
        if kl == 0:
            return self.probabilities.copy()
        spread = float(np.ptp(self.proxy))
        log_coef = brentq(lambda c: self.kl_of(self.tilted(spread * np.exp(c))) - kl, -40, 40, xtol=1e-14, rtol=1e-15)
        return self.tilted(spread * np.exp(log_coef))

    def max_kl(self) -> float:
        """Least upper bound of the KL that any optimiser of the proxy needs: -ln of the base mass of its best."""
        return float(-np.log(self.probabilities[self.proxy == self.proxy.max()].sum()))

    def gold_of(self, policy: npt.ArrayLike) -> float:
        """Expected gold."""
        return float(np.asarray(policy) @ self.gold)

    def proxy_of(self, policy: npt.ArrayLike) -> float:
        """Expected proxy."""
        return float(np.asarray(policy) @ self.proxy)

    def kl_of(self, policy: npt.ArrayLike) -> float:
        """KL(policy || base) of responses."""
        array = np.asarray(policy, dtype=np.float64)
        return float(xlogy(array, array / self.probabilities).sum())

    def chi2_of(self, policy: npt.ArrayLike) -> float:
        """Chi-square divergence: the variance of policy / base under the base."""
        return float(((np.asarray(policy) - self.probabilities) ** 2 / self.probabilities).sum())

    def squared_hellinger_of(self, policy: npt.ArrayLike) -> float:
        """1 - sum sqrt(policy base), within 0..1."""
        return float(0.5 * ((np.sqrt(np.asarray(policy)) - np.sqrt(self.probabilities)) ** 2).sum())

    def win_rate_of(self, policy: npt.ArrayLike) -> float:
        """Chance that the policy's gold exceeds that of one base sample, equal gold counting one half."""
        below, own, _ = self._groups(self.gold)
        return float(np.asarray(policy) @ (below + own / 2))

    def pair_accuracy(self) -> float:
        """Chance that the proxy orders two base samples of different gold as gold does; equal proxies count half."""
        agree = np.sign(np.subtract.outer(self.proxy, self.proxy)) * np.sign(np.subtract.outer(self.gold, self.gold))
        weight = np.outer(self.probabilities, self.probabilities) * (np.subtract.outer(self.gold, self.gold) != 0)
        return float((weight * (1 + agree) / 2).sum() / weight.sum())

    def _groups(self, score: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Base mass below, at and above each outcome's score, (A,) each."""
        _, group = np.unique(score, return_inverse=True)
        mass = np.bincount(group, weights=self.probabilities)
        below = np.concatenate(([0.0], np.cumsum(mass)[:-1]))
        above = np.concatenate((np.cumsum(mass[::-1])[::-1][1:], [0.0]))
        return np.asarray(below[group]), np.asarray(mass[group]), np.asarray(above[group])
