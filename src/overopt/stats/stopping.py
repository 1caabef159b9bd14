"""When to stop a run: rules that see a prefix of it and buy gold, checkpoint by checkpoint.

A rule sees the distances of all checkpoints so far for free and pays for gold. U units (prompts), K checkpoints in
order of training; d in sqrt(nats), gold relative to d = 0. ``replay`` judges rules on runs whose true gold is known.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_finite, check_level
from overopt.stats.curve_errors import MIN_UNITS, curve_of_units
from overopt.stats.estimate import FloatArray
from overopt.stats.forecast import expected_gold, is_informed
from overopt.stats.law_posterior import DEPARTURES, Posterior, Prior, falling_probability, law_posterior
from overopt.stats.laws import Law
from overopt.stats.sequential import turn_test


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run with its true gold, to judge rules by."""

    d: FloatArray
    """(K,) distances, 0 or above."""
    gold: FloatArray
    """(K,) measured gold, what a rule gets when it pays."""
    gold_se: FloatArray
    """(K,) its standard errors."""
    true_gold: FloatArray
    """(K,) never shown to a rule."""
    gold_by_unit: FloatArray | None = None
    """(U, K) measured gold of each unit, relative to its gold at d = 0; ``gold`` is its mean. For rules that compare
    units, and for the covariance of checkpoints that share them."""

    def __post_init__(self) -> None:
        shape = np.shape(self.d)
        if (
            len(shape) != 1
            or shape[0] == 0
            or any(np.shape(a) != shape for a in (self.gold, self.gold_se, self.true_gold))
        ):
            raise ShapeError("d, gold, gold_se and true_gold must share one shape (K,), K >= 1")
        if self.gold_by_unit is not None and (self.gold_by_unit.ndim != 2 or self.gold_by_unit.shape[1] != shape[0]):
            raise ShapeError(f"gold_by_unit must have the shape (U, {shape[0]}); got {self.gold_by_unit.shape}")
        for name in ("d", "gold", "gold_se", "true_gold"):
            check_finite(name, getattr(self, name))
        if (self.d < 0).any() or (self.gold_se < 0).any():
            raise DataError("distances and standard errors cannot be negative")
        if self.gold_by_unit is not None:
            check_finite("gold_by_unit", self.gold_by_unit)
            if not np.allclose(
                self.gold_by_unit.mean(axis=0), self.gold, rtol=1e-6, atol=1e-9 * np.ptp(self.gold_by_unit)
            ):
                raise DataError("gold must be the mean of gold_by_unit over its units")


class Known(NamedTuple):
    """The checkpoints whose gold was bought, in order of training."""

    indices: list[int]
    d: FloatArray
    gold: FloatArray
    gold_se: FloatArray


@dataclass(slots=True)
class Prefix:
    """A run up to the present checkpoint, as a rule sees it; it remembers what was bought."""

    _run: Run
    length: int
    _bought: set[int] = field(default_factory=set)

    @property
    def d(self) -> FloatArray:
        """(length,) distances so far."""
        return self._run.d[: self.length]

    @property
    def n_bought(self) -> int:
        """Checkpoints whose gold was bought."""
        return len(self._bought)

    def buy(self, index: int) -> None:
        """Pay for gold at a checkpoint of the prefix; free if it was bought before."""
        if not 0 <= index < self.length:
            raise ConfigError(f"checkpoint {index} is not among the {self.length} seen so far")
        self._bought.add(index)

    def known(self) -> Known:
        """Gold that was bought."""
        indices = sorted(self._bought)
        return Known(indices, self._run.d[indices], self._run.gold[indices], self._run.gold_se[indices])

    def known_errors(self) -> FloatArray:
        """Errors of the gold that was bought: their covariance if units are known, else standard errors."""
        if self._run.gold_by_unit is None or self._run.gold_by_unit.shape[0] < MIN_UNITS:
            return self.known().gold_se
        return curve_of_units(self.known_by_unit()).covariance

    def known_by_unit(self) -> FloatArray:
        """(U, bought) gold of each unit at the checkpoints that were bought."""
        if self._run.gold_by_unit is None:
            raise DataError("this rule needs the gold of each unit, and the run holds only means")
        return self._run.gold_by_unit[:, sorted(self._bought)]


class Rule(Protocol):
    """Decides at each checkpoint whether to stop; without memory of its own."""

    def __call__(self, seen: Prefix) -> bool:
        """Whether to stop at the last checkpoint of ``seen``."""

    def keeps(self, seen: Prefix) -> int:
        """Checkpoint to restore after the stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedKL:
    """Stop when the KL reaches a budget; buys no gold, so it keeps where it stopped."""

    budget: float
    """In nats, above 0."""

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ConfigError(f"budget must be above 0 nats; got {self.budget}")

    def __call__(self, seen: Prefix) -> bool:
        """Whether d^2 has reached the budget."""
        return float(seen.d[-1]) ** 2 >= self.budget

    def keeps(self, seen: Prefix) -> int:
        """The checkpoint of the stop."""
        return seen.length - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KDrops:
    """Stop after k measurements in a row that are below the one before: EvalStop (arXiv:2606.04145)."""

    k: int = 3
    every: int = 1
    """Buys gold at every so many checkpoints."""

    def __post_init__(self) -> None:
        _check_counts(k=self.k, every=self.every)

    def __call__(self, seen: Prefix) -> bool:
        """Whether the last k steps of the bought gold all went down."""
        if not _buys_in_turn(seen, self.every):
            return False
        steps = np.diff(seen.known().gold)
        return bool(steps.size >= self.k and (steps[-self.k :] < 0).all())

    def keeps(self, seen: Prefix) -> int:
        """The largest gold bought."""
        return _highest(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cusum:
    """Stop when the summed falls of gold, in standard errors and less a drift, pass a threshold: Page 1954."""

    threshold: float = 4.0
    drift: float = 0.5
    """Fall per step that is put up with, in standard errors of a difference."""
    every: int = 1

    def __post_init__(self) -> None:
        _check_counts(every=self.every)
        if not (self.threshold > 0 and self.drift >= 0):
            raise ConfigError(f"threshold must be above 0 and drift 0 or above; got {self.threshold} and {self.drift}")

    def __call__(self, seen: Prefix) -> bool:
        """Whether the one-sided cumulative sum over the bought gold has passed the threshold."""
        if not _buys_in_turn(seen, self.every):
            return False
        _, _, gold, se = seen.known()
        variance = se[1:] ** 2 + se[:-1] ** 2
        falls = np.divide(-np.diff(gold), np.sqrt(variance), out=np.zeros(variance.size), where=variance > 0)
        total = 0.0
        for fall in falls:
            total = max(0.0, total + float(fall) - self.drift)
        return total >= self.threshold

    def keeps(self, seen: Prefix) -> int:
        """The largest gold bought."""
        return _highest(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnytimeStop:
    """Stop when ``turn_test`` on the same units says that gold has fallen; false alarms have at most the level."""

    level: float = 0.05
    bound: float | None = None
    checks: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        check_level(self.level)
        _check_counts(every=self.every)

    def __call__(self, seen: Prefix) -> bool:
        """Whether the evidence has reached 1 / level."""
        if not _buys_in_turn(seen, self.every) or seen.n_bought < 2:
            return False
        test = turn_test(seen.known_by_unit(), level=self.level, bound=self.bound, checks=self.checks)
        return test.alarm is not None

    def keeps(self, seen: Prefix) -> int:
        """The largest gold bought."""
        return _highest(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastStop:
    """Stop when gold probably falls at the present, or a little later: the law and a departure from it, together.

    ``falling_probability`` decides, not the law's own peak: on runs that leave the law the former stops in time. It is
    asked at every checkpoint, so false alarms add up over a run and the noisier gold is the larger ``probability``
    must be: ``replay.tune`` finds it.
    """

    law: Law = "rl"
    probability: float = 0.9
    """Of falling gold, above which to stop."""
    ahead: float = 0.0
    """Asks for the slope this share of the present distance further on."""
    prior: Prior | None = None
    departures: tuple[float, ...] = DEPARTURES
    growth: float = 1.0
    """Buys gold when d has grown by this factor since the last purchase; 1 buys every checkpoint."""
    watch: float = 0.2
    """Buys every checkpoint, whatever ``growth``, once the bought gold gives a fall this probability."""

    def __post_init__(self) -> None:
        check_level(self.probability)
        if not (self.ahead >= 0 and self.growth >= 1 and 0 <= self.watch <= 1):
            raise ConfigError(
                "ahead must be 0 or above, growth 1 or above and watch within 0..1; "
                f"got {self.ahead}, {self.growth} and {self.watch}"
            )

    def __call__(self, seen: Prefix) -> bool:
        """Whether gold probably falls, told from the gold bought so far and perhaps now."""
        here = float(seen.d[-1])
        last = max(seen.known().d, default=0.0)
        if here <= 0 or (here < self.growth * last and not self._p_falling(seen, here) >= self.watch):
            return False
        seen.buy(seen.length - 1)
        return self._p_falling(seen, here) >= self.probability

    def keeps(self, seen: Prefix) -> int:
        """The largest expected gold of all checkpoints seen, bought or not."""
        posterior = self._posterior(seen)
        return seen.length - 1 if posterior is None else int(np.argmax(expected_gold(posterior, seen.d).gold))

    def _p_falling(self, seen: Prefix, here: float) -> float:
        posterior = self._posterior(seen)
        if posterior is None or not is_informed(posterior):
            return 0.0
        return falling_probability(posterior, here * (1 + self.ahead))

    def _posterior(self, seen: Prefix) -> Posterior | None:
        _, d, gold, _ = seen.known()
        if not (d > 0).any():
            return None
        return law_posterior(self.law, d, gold, seen.known_errors(), prior=self.prior, departures=self.departures)


def _buys_in_turn(seen: Prefix, every: int) -> bool:
    is_turn = (seen.length - 1) % every == 0
    if is_turn:
        seen.buy(seen.length - 1)
    return is_turn


def _highest(seen: Prefix) -> int:
    indices, _, gold, _ = seen.known()
    return indices[int(np.argmax(gold))] if indices else seen.length - 1


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or value != int(value) or value < 1:
            raise ConfigError(f"{name} must be an integer of at least 1; got {value}")
