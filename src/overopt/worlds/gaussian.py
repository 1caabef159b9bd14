"""A proxy with normal error: proxy = gold + error, both normal. Regressional Goodhart and nothing else.

Gao et al. 2022 (arXiv:2210.10760), eq. 1 and app. A: E[gold | proxy] is a straight line, so gold keeps rising with
every optimiser, by the share ``slope`` of what the proxy rises.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from overopt.worlds.integrals import FloatArray, best_of_n_kl, best_of_n_mean, check_setting, normal_quantile


def expected_maximum(n: float) -> float:
    """Mean of the largest of ``n`` standard normal numbers.

    >>> round(expected_maximum(2) * math.sqrt(math.pi), 12)
    1.0
    """
    return best_of_n_mean(normal_quantile, n)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianWorld:
    """Normal gold and normal error; gains are relative to the base policy, whose means are 0."""

    error_sd: float
    """The dial: 0 makes the proxy gold itself."""
    gold_sd: float = 1.0
    correlation: float = 0.0
    """Between gold and error; negative when the proxy misses what gold rewards most."""
    prompt_sd: float = 0.0
    """Spread over prompts of a level that all samples of a prompt share, in proxy and gold alike; no gain depends on
    it, every mean over prompts does."""

    def __post_init__(self) -> None:
        check_setting("error_sd", self.error_sd, 0)
        check_setting("gold_sd", self.gold_sd, 0, open_low=True)
        check_setting("correlation", self.correlation, -1, 1)
        check_setting("prompt_sd", self.prompt_sd, 0)
        check_setting("the spread of the proxy", self.proxy_sd, 0, open_low=True)

    @property
    def proxy_sd(self) -> float:
        """Standard deviation of the proxy within a prompt."""
        cross = 2 * self.correlation * self.gold_sd * self.error_sd
        return math.sqrt(max(self.gold_sd**2 + self.error_sd**2 + cross, 0.0))

    @property
    def slope(self) -> float:
        """Of gold on the proxy; Var gold / (Var gold + Var error) for independent error."""
        return (self.gold_sd**2 + self.correlation * self.gold_sd * self.error_sd) / self.proxy_sd**2

    @property
    def pearson(self) -> float:
        """Correlation of proxy and gold within a prompt."""
        return self.slope * self.proxy_sd / self.gold_sd

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        return self.sample_tilted(0.0, n_prompts, pool, rng)

    def sample_tilted(
        self, kl: float, n_prompts: int, samples: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of samples of the KL-regularised optimum at ``kl``, (P, M) each."""
        unit, other = rng.standard_normal((2, n_prompts, samples))
        proxy = self.tilted_proxy(kl) + self.proxy_sd * unit
        level = self.prompt_sd * rng.standard_normal((n_prompts, 1))
        gold = self.slope * proxy + self._residual_sd * other
        return proxy + level, gold + level

    def best_of_n_proxy(self, n: float) -> float:
        """Expected proxy of the best of ``n``."""
        return self.proxy_sd * expected_maximum(n)

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the sample that the proxy ranks first among ``n``."""
        return self.slope * self.best_of_n_proxy(n)

    def oracle(self, n: float) -> float:
        """Expected gold of the sample that gold ranks first among ``n``."""
        return self.gold_sd * expected_maximum(n)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt."""
        scale = self.win_rate_scale
        return best_of_n_mean(lambda u, q: np.asarray(ndtr(scale * normal_quantile(u, q))), n)

    def pair_accuracy(self) -> float:
        """Chance that the proxy orders two base samples of a prompt as gold does (Sheppard's orthant formula)."""
        return 0.5 + math.asin(min(1.0, max(-1.0, self.pearson))) / math.pi

    def tilted_proxy(self, kl: float) -> float:
        """Proxy of base times exp(proxy / kl_coef) at the KL ``kl``: a shift by sqrt(2 kl) standard deviations."""
        check_setting("kl", kl, 0)
        return self.proxy_sd * math.sqrt(2 * kl)

    def tilted_gold(self, kl: float) -> float:
        """Gold of the same policy: linear in d = sqrt(kl), without a turn."""
        return self.slope * self.tilted_proxy(kl)

    def tilted_kl(self, kl_coef: float) -> float:
        """KL of the optimum of E[proxy] - ``kl_coef`` KL."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        return 0.5 * (self.proxy_sd / kl_coef) ** 2

    @property
    def win_rate_scale(self) -> float:
        """A sample with the standardised proxy z has more gold than one base sample with the chance Phi(scale z)."""
        return self.slope * self.proxy_sd / math.hypot(self._residual_sd, self.gold_sd)

    @property
    def _residual_sd(self) -> float:
        """Of gold about its regression on the proxy."""
        return self.gold_sd * math.sqrt(max(1 - self.pearson**2, 0.0))
