"""A Gaussian world whose proxy is rounded to a grid: ties with a dial.

Scores kept in bf16, rubrics with few grades and short answers all tie. Each grid cell is an outcome, so the truth is a
sum over cells; the KL of best-of-n stays below ln n - (n-1)/n, by more the coarser the grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, owens_t, softmax, xlogy

from overopt.worlds.gaussian import GaussianWorld
from overopt.worlds.integrals import FloatArray, check_n, check_setting

_REACH = 38.0  # standard deviations beyond which a normal tail is no longer a number
_MAX_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedWorld:
    """``world`` seen through a proxy that is rounded to multiples of ``step``."""

    world: GaussianWorld
    step: float
    """The dial, in units of the proxy: 0 is no rounding. Above the prompts' spread everything ties."""

    def __post_init__(self) -> None:
        check_setting("step", self.step, 0)
        if self.world.prompt_sd > 0:
            check_setting("world.prompt_sd, which would move the grid from prompt to prompt,", -self.world.prompt_sd, 0)
        if self.step > 0:
            check_setting("step", self.step, 2 * _REACH * self.world.proxy_sd / _MAX_CELLS)

    def sample(self, n_prompts: int, pool: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Rounded proxy and gold of base samples, (P, N) each."""
        proxy, gold = self.world.sample(n_prompts, pool, rng)
        # Half-up rather than half-even: a cell holds its lower edge. Of no consequence, since edges have no mass.
        return (np.floor(proxy / self.step + 0.5) * self.step if self.step > 0 else proxy), gold

    def best_of_n_gold(self, n: float) -> float:
        """Expected gold of the best of ``n``, ties broken at random."""
        if self.step == 0:
            return self.world.best_of_n_gold(n)
        cells = self._cells()
        return float(_best_of_n_mass(cells, n) @ cells.unrounded) * self.world.slope * self.world.proxy_sd

    def best_of_n_proxy(self, n: float) -> float:
        """Expected rounded proxy of the best of ``n``."""
        if self.step == 0:
            return self.world.best_of_n_proxy(n)
        cells = self._cells()
        return float(_best_of_n_mass(cells, n) @ cells.score)

    def best_of_n_kl(self, n: float) -> float:
        """KL in nats of the best of ``n``: no mass moves within a cell."""
        if self.step == 0:
            return self.world.best_of_n_kl(n)
        cells = self._cells()
        mass = _best_of_n_mass(cells, n)
        return float(xlogy(mass, mass / cells.own).sum())

    def win_rate(self, n: float) -> float:
        """Chance that the gold of the best of ``n``, ties broken at random, exceeds that of one base sample."""
        if self.step == 0:
            return self.world.win_rate(n)
        cells, scale = self._cells(), self.world.win_rate_scale
        # Integrals of phi(z) Phi(scale z) over a cell, by Owen's T function, from the end that is nearer.
        lower = 0.5 * ndtr(np.stack([cells.low, cells.high])) - owens_t(np.stack([cells.low, cells.high]), scale)
        upper = 0.5 * ndtr(-np.stack([cells.low, cells.high])) + owens_t(np.stack([cells.low, cells.high]), scale)
        wins = np.where(cells.low > 0, upper[0] - upper[1], lower[1] - lower[0])
        return float(np.sum(_best_of_n_mass(cells, n) * wins / cells.own))

    def tilted_proxy(self, kl: float) -> float:
        """Rounded proxy of the KL-regularised optimum, base times exp(proxy / kl_coef), at the KL ``kl``."""
        if self.step == 0:
            return self.world.tilted_proxy(kl)
        cells = self._cells()
        return float(_tilted_to(cells, kl) @ cells.score)

    def tilted_gold(self, kl: float) -> float:
        """Gold of the same policy: no mass moves within a cell."""
        if self.step == 0:
            return self.world.tilted_gold(kl)
        cells = self._cells()
        return float(_tilted_to(cells, kl) @ cells.unrounded) * self.world.slope * self.world.proxy_sd

    def tilted_kl(self, kl_coef: float) -> float:
        """KL of the optimum of E[proxy] - ``kl_coef`` KL."""
        check_setting("kl_coef", kl_coef, 0, open_low=True)
        if self.step == 0:
            return self.world.tilted_kl(kl_coef)
        cells = self._cells()
        return _kl(cells, _tilted(cells, 1 / kl_coef))

    def tie_rate(self, pool: int) -> float:
        """Chance that a sample shares its proxy with another one of a pool of ``pool``."""
        if self.step == 0:
            return 0.0
        own = self._cells().own
        return float(own @ -np.expm1((pool - 1) * np.log1p(-np.minimum(own, 1 - 1e-16))))

    def _cells(self) -> "_Cells":
        width = self.step / self.world.proxy_sd
        half = int(np.ceil(_REACH / width)) + 1
        k = np.arange(-half, half + 1, dtype=np.float64)
        low, high = (k - 0.5) * width, (k + 0.5) * width
        # Both tails by the smaller of the two masses, so that differences keep their digits.
        is_upper = low > 0
        own = np.where(is_upper, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
        # phi(low) - phi(high), the mean of a standard normal number over a cell times the cell's mass.
        nearer = np.minimum(np.abs(low), np.abs(high))
        moment = np.exp(-0.5 * nearer**2) * -np.expm1(-np.abs(high**2 - low**2) / 2) / np.sqrt(2 * np.pi)
        moment *= np.sign(k)
        used = own > 1e-290
        own, above = own[used], ndtr(-high[used])
        return _Cells(
            score=k[used] * self.step,
            own=own,
            above=above,
            unrounded=moment[used] / own,
            low=low[used],
            high=high[used],
        )


class _Cells(NamedTuple):
    score: FloatArray
    own: FloatArray
    above: FloatArray
    unrounded: FloatArray
    """Mean of the standardised proxy before rounding."""
    low: FloatArray
    high: FloatArray
    """Edges of the standardised proxy."""


def _tilted(cells: _Cells, rate: float) -> FloatArray:
    return np.asarray(softmax(np.log(cells.own) + rate * cells.score))


def _kl(cells: _Cells, mass: FloatArray) -> float:
    return float(xlogy(mass, mass / cells.own).sum())


def _tilted_to(cells: _Cells, kl: float) -> FloatArray:
    """The tilted policy of this KL; cells beyond 38 standard deviations bound it."""
    check_setting("kl", kl, 0, 0.9 * -float(np.log(cells.own[-1])))
    if kl == 0:
        return cells.own
    width = float(cells.score[1] - cells.score[0]) if cells.score.size > 1 else 1.0
    log_rate = brentq(lambda t: _kl(cells, _tilted(cells, np.exp(t) / width)) - kl, -40.0, 40.0, xtol=1e-13, rtol=1e-14)
    return _tilted(cells, float(np.exp(log_rate)) / width)


def _best_of_n_mass(cells: _Cells, n: float) -> FloatArray:
    """v^n - u^n of each cell, u and v being the masses below it and up to it."""
    check_n(n)
    up_to = np.cumsum(cells.own)
    up_to = np.where(cells.above < 0.5, 1 - cells.above, up_to)
    with np.errstate(divide="ignore"):
        below_share = np.log1p(-np.minimum(cells.own / up_to, 1.0))
        log_up_to = np.where(cells.above < 0.5, np.log1p(-np.minimum(cells.above, 0.5)), np.log(up_to))
    return np.asarray(np.exp(n * log_up_to) * -np.expm1(n * below_share))
