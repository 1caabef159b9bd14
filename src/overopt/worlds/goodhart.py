"""One world for each way in which a proxy fails, each with a dial that is 0 where the proxy is gold itself.

Regressional: the proxy holds noise. Extremal: the relation to gold bends where the base has few samples. Causal: the
proxy rewards a feature that goes with gold in the base and does not bring it about. Adversarial: a rare kind of
response earns much proxy and no gold. Manheim and Garrabrant 2018 (arXiv:1803.04585);
Gao et al. 2022 (arXiv:2210.10760), section 4.2.

A "tilted" policy is the optimum of E[proxy] - kl_coef KL; an "intervened" one moves a feature without its cause.
Gold and proxy are expected values, not gains: subtract those at n = 1 or KL 0. KL is in nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtr

from overopt.errors import ConfigError
from overopt.worlds.gaussian import GaussianWorld, expected_maximum
from overopt.worlds.integrals import (
    FloatArray,
    best_of_n_kl,
    best_of_n_mean,
    best_of_n_win_rate,
    check_n,
    check_setting,
    normal_quantile,
)


def regressional_world(dial: float, *, prompt_sd: float = 0.0) -> GaussianWorld:
    """Independent noise of standard deviation ``dial`` in the proxy, gold having 1: E[gold | proxy] has the slope
    1 / (1 + dial^2) everywhere."""
    return GaussianWorld(error_sd=dial, prompt_sd=prompt_sd)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremalWorld:
    """Gold follows the proxy up to ``onset`` and falls behind it beyond: E[gold | x] = x - dial max(x - onset, 0)^2."""

    dial: float
    onset: float = 1.5
    """In standard deviations of the proxy, which is standard normal."""
    noise_sd: float = 0.0
    """Of gold about its expectation; no truth depends on it."""
    prompt_sd: float = 0.0
    """Of a level that the samples of a prompt share in gold, not in the proxy."""

    def __post_init__(self) -> None:
        _check_dial(self.dial, self.noise_sd, self.prompt_sd)

    @property
    def slope(self) -> float:
        """Of the regression line of gold on the proxy in the base, by Stein's lemma the mean derivative."""
        return 1 - 2 * self.dial * (_density(self.onset) - self.onset * float(ndtr(-self.onset)))

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        return self.sample_tilted(0.0, n_prompts, pool, rng)

    def sample_tilted(
        self, kl: float, n_prompts: int, samples: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of the tilted policy's samples, (P, M) each."""
        proxy = self.tilted_proxy(kl) + rng.standard_normal((n_prompts, samples))
        return proxy, _with_noise(self.expected_gold(proxy), self.noise_sd, self.prompt_sd, rng)

    def expected_gold(self, proxy: FloatArray) -> FloatArray:
        """E[gold | proxy], of any shape."""
        return np.asarray(proxy - self.dial * np.maximum(proxy - self.onset, 0.0) ** 2)

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the sample that the proxy ranks first among ``n``."""
        kinks = [float(ndtr(-self.onset))]
        return best_of_n_mean(lambda u, q: self.expected_gold(normal_quantile(u, q)), n, kinks)

    def best_of_n_proxy(self, n: float) -> float:
        """Expected proxy of the best of ``n``."""
        return expected_maximum(n)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt; needs noise."""
        kinks = [float(ndtr(-self.onset))]
        return best_of_n_win_rate(lambda u, q: self.expected_gold(normal_quantile(u, q)), n, self.noise_sd, kinks)

    def tilted_gold(self, kl: float) -> float:
        """Expected gold of the tilted policy."""
        shift = self.tilted_proxy(kl)
        a = self.onset - shift
        return shift - self.dial * ((1 + a**2) * float(ndtr(-a)) - a * _density(a))

    def tilted_proxy(self, kl: float) -> float:
        """sqrt(2 kl): the tilted policy is the base shifted by that."""
        check_setting("kl", kl, 0)
        return math.sqrt(2 * kl)


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalWorld:
    """The proxy rewards a feature that goes with quality in the base: proxy = (1 - dial) quality + dial feature.

    Gold is the quality; feature = ``correlation`` quality + independent style, both of variance 1. Choosing among base
    samples moves quality through the correlation. A policy that learns the style moves the feature and the proxy only.
    """

    dial: float
    """Within 0..1: the feature's share of the proxy."""
    correlation: float = 0.7
    noise_sd: float = 0.0
    """Of gold about the quality; no truth depends on it."""
    prompt_sd: float = 0.0
    """Of a level that the samples of a prompt share in gold, not in the proxy."""

    def __post_init__(self) -> None:
        _check_dial(self.dial, self.noise_sd, self.prompt_sd)
        check_setting("dial", self.dial, 0, 1)
        check_setting("correlation", self.correlation, 0, 1 - 1e-9)

    @property
    def slope(self) -> float:
        """Of gold on the proxy in the base."""
        return self._quality_weight / self.proxy_sd**2

    @property
    def proxy_sd(self) -> float:
        """Standard deviation of the proxy in the base."""
        return math.hypot(self._quality_weight, self._style_weight)

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        return self.sample_intervened(0.0, n_prompts, pool, rng)

    def sample_intervened(
        self, kl: float, n_prompts: int, samples: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of samples of the policy that shifts the style, (P, M) each."""
        quality, style = rng.standard_normal((2, n_prompts, samples))
        proxy = self.intervened_proxy(kl) + self._quality_weight * quality + self._style_weight * style
        return proxy, _with_noise(quality, self.noise_sd, self.prompt_sd, rng)

    def best_of_n_gold(self, n: float) -> float:
        """Selection: expected gold of the sample that the proxy ranks first among ``n``."""
        return self.slope * self.best_of_n_proxy(n)

    def best_of_n_proxy(self, n: float) -> float:
        """Expected proxy of the best of ``n``."""
        return self.proxy_sd * expected_maximum(n)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt."""
        slope = self.slope * self.proxy_sd
        scale = slope / math.sqrt(2 - slope**2 + 2 * self.noise_sd**2)
        return best_of_n_mean(lambda u, q: np.asarray(ndtr(scale * normal_quantile(u, q))), n)

    def tilted_gold(self, kl: float) -> float:
        """Conditioning without limit, which may move quality: the same line as for selection."""
        check_setting("kl", kl, 0)
        return self.slope * self.proxy_sd * math.sqrt(2 * kl)

    def intervened_proxy(self, kl: float) -> float:
        """Expected proxy when the style is shifted by sqrt(2 kl) and the quality is left alone."""
        check_setting("kl", kl, 0)
        return self._style_weight * math.sqrt(2 * kl)

    def intervened_gold(self, kl: float) -> float:
        """0 at every KL: the style does not bring quality about."""
        check_setting("kl", kl, 0)
        return 0.0

    @property
    def _quality_weight(self) -> float:
        return 1 - self.dial + self.dial * self.correlation

    @property
    def _style_weight(self) -> float:
        return self.dial * math.sqrt(1 - self.correlation**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialWorld:
    """A mode of ``rare_mass`` whose proxy is ``bonus`` higher and whose gold is (1 - dial) times its proxy.

    Elsewhere gold is the proxy, standard normal. Best-of-n with n far below 1 / rare_mass never meets the mode; the
    tilted policy gives it most of its mass as soon as rare_mass exp(bonus / kl_coef) exceeds 1.
    """

    dial: float
    """0: the mode is as good as it looks. 1: it is worth nothing. Above: it does harm."""
    rare_mass: float = 1e-8
    bonus: float = 10.0
    noise_sd: float = 0.0
    """Of gold about its expectation; no truth depends on it."""
    prompt_sd: float = 0.0
    """Of a level that the samples of a prompt share in gold, not in the proxy."""

    def __post_init__(self) -> None:
        _check_dial(self.dial, self.noise_sd, self.prompt_sd)
        check_setting("rare_mass", self.rare_mass, 0, 0.5, open_low=True)
        check_setting("bonus", self.bonus, 0, 30)

    @property
    def slope(self) -> float:
        """Of gold on the proxy in the base, the mode included."""
        share, worth = self.rare_mass, 1 - self.dial
        proxy, gold = share * self.bonus, share * worth * self.bonus
        product = 1 - share + share * worth * (1 + self.bonus**2)
        return (product - proxy * gold) / (1 + share * self.bonus**2 - proxy**2)

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of base samples, (P, N) each."""
        return self.sample_tilted(0.0, n_prompts, pool, rng)

    def sample_tilted(
        self, kl: float, n_prompts: int, samples: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Proxy and gold of the tilted policy's samples, (P, M) each."""
        shift = self._shift(kl)
        is_rare = rng.random((n_prompts, samples)) < self._mode_mass(shift)
        proxy = rng.standard_normal((n_prompts, samples)) + shift + self.bonus * is_rare
        return proxy, _with_noise(np.where(is_rare, 1 - self.dial, 1.0) * proxy, self.noise_sd, self.prompt_sd, rng)

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the sample that the proxy ranks first among ``n``."""
        return self._best_of_n_mean(n, 1 - self.dial)

    def best_of_n_proxy(self, n: float) -> float:
        """Expected proxy of the best of ``n``."""
        return self._best_of_n_mean(n, 1.0)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats; exact, since no two scores are equal."""
        return best_of_n_kl(n)

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n`` exceeds that of one base sample of its prompt, half of equals."""
        worth, noise = 1 - self.dial, 2 * self.noise_sd**2
        usual_sd, rare_sd = math.sqrt(1 + noise), math.sqrt(worth**2 + noise)

        def beats_base(gold: FloatArray) -> FloatArray:
            over = gold - worth * self.bonus
            beats_rare = ndtr(over / rare_sd) if rare_sd > 0 else (1 + np.sign(over)) / 2
            return np.asarray((1 - self.rare_mass) * ndtr(gold / usual_sd) + self.rare_mass * beats_rare)

        return self._best_of_n_integral(n, lambda x: (beats_base(x), beats_base(worth * x)))

    def chance_of_meeting(self, n: float) -> float:
        """Chance that ``n`` base samples hold at least one of the mode."""
        check_n(n)
        return -math.expm1(n * math.log1p(-self.rare_mass))

    def tilted_proxy(self, kl: float) -> float:
        """Expected proxy of the tilted policy."""
        shift = self._shift(kl)
        return shift + self._mode_mass(shift) * self.bonus

    def tilted_gold(self, kl: float) -> float:
        """Expected gold of the tilted policy."""
        shift = self._shift(kl)
        mass = self._mode_mass(shift)
        return (1 - mass) * shift + mass * (1 - self.dial) * (self.bonus + shift)

    def tilted_mode_mass(self, kl: float) -> float:
        """Mass that the tilted policy gives to the mode."""
        return self._mode_mass(self._shift(kl))

    def tilted_kl(self, kl_coef: float) -> float:
        """KL of the optimum of E[proxy] - ``kl_coef`` KL."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        return self._kl(1 / kl_coef)

    def _kl(self, shift: float) -> float:
        """shift E[proxy] - ln Z, with the normal part shift^2 / 2 taken out of both."""
        log_rest = float(np.logaddexp(math.log1p(-self.rare_mass), math.log(self.rare_mass) + self.bonus * shift))
        return max(0.5 * shift**2 + self._mode_mass(shift) * self.bonus * shift - log_rest, 0.0)

    def _mode_mass(self, shift: float) -> float:
        log_odds = math.log(self.rare_mass) - math.log1p(-self.rare_mass) + self.bonus * shift
        return float(expit(log_odds))

    def _shift(self, kl: float) -> float:
        """1 / kl_coef of the tilted policy with this KL; the KL is at least shift^2 / 2."""
        check_setting("kl", kl, 0)
        if kl == 0:
            return 0.0
        top = math.sqrt(2 * kl)
        while self._kl(top) < kl:  # by a rounding error at most
            top *= 1 + 1e-12
        return float(brentq(lambda shift: self._kl(shift) - kl, 0.0, top, xtol=1e-15, rtol=1e-14))

    def _best_of_n_mean(self, n: float, worth_of_mode: float) -> float:
        return self._best_of_n_integral(n, lambda x: (x, worth_of_mode * x))

    def _best_of_n_integral(self, n: float, values: Callable[[FloatArray], tuple[FloatArray, FloatArray]]) -> float:
        """Mean under the best of ``n`` of two functions of the proxy, one for usual samples and one for the mode.

        The trapezoidal rule, which for a smooth integrand that vanishes at both ends is exact to rounding.
        """
        check_n(n)
        if n < 1:
            raise ConfigError(f"n must be at least 1; got {n}")
        step = 1 / 64
        x = np.arange(-12.0, self.bonus + 12, step)
        below = -(1 - self.rare_mass) * ndtr(-x) - self.rare_mass * ndtr(self.bonus - x)
        usual = (1 - self.rare_mass) * np.exp(-0.5 * x**2)
        rare = self.rare_mass * np.exp(-0.5 * (x - self.bonus) ** 2)
        with np.errstate(divide="ignore"):
            power = np.exp((n - 1) * np.log1p(np.maximum(below, -1.0))) if n > 1 else np.ones_like(x)
        of_usual, of_mode = values(x)
        return float(n * step * np.sum(power * (usual * of_usual + rare * of_mode)) / math.sqrt(2 * math.pi))


def _check_dial(dial: float, noise_sd: float, prompt_sd: float) -> None:
    check_setting("dial", dial, 0)
    check_setting("noise_sd", noise_sd, 0)
    check_setting("prompt_sd", prompt_sd, 0)


def _density(x: float) -> float:
    return math.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def _with_noise(gold: FloatArray, noise_sd: float, prompt_sd: float, rng: np.random.Generator) -> FloatArray:
    noise = noise_sd * rng.standard_normal(gold.shape)
    return np.asarray(gold + noise + prompt_sd * rng.standard_normal((gold.shape[0], 1)))
