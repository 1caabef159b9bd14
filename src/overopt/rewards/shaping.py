"""What training sees of a score: clip, standardise, min-max, sigmoid to a reference, penalties; the raw score stays.

A shaper is a frozen rule from scores to rewards; a list of them is applied from left to right by :func:`shape`, which
leaves the raw scores as they are, so that "proxy against step" stays one function however rewards are shaped. Only a
rule that says ``drifts`` changes during a run, and only where :func:`observed` replaces it; what trains and what
measures then share one :class:`CurrentShapers`.

Axes: B replies, M replies of the reference to the same prompt.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, overload

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.estimate import BoolArray, FloatArray


class Shaper(Protocol):
    """One rule."""

    __slots__ = ()
    needs_reference: ClassVar[bool] = False
    """Whether it compares with rewards of the reference's replies to the same prompt."""
    drifts: ClassVar[bool] = False
    """Whether what it does to a score depends on the scores before: then shaped rewards of two steps do not compare."""

    @property
    def is_ready(self) -> bool:
        """Whether it can shape a score now; a rule that drifts may have to see some first."""
        return True

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        """Rewards (B,) from scores (B,), lengths in tokens, whether an end token came, and reference rewards."""
        ...


def shape(
    shapers: Sequence[Shaper],
    raw_B: npt.ArrayLike,
    *,
    length_B: npt.ArrayLike,
    finished_B: npt.ArrayLike,
    reference_B: npt.ArrayLike | None = None,
) -> FloatArray:
    """Rewards (B,) after each shaper in turn, float64; a copy of the raw scores without any.

    Parameters
    ----------
    raw_B : (B,)
        Finite scores; they are not changed.
    length_B : (B,)
        Tokens of each reply, its end token included, at least 0.
    finished_B : (B,) of bool
        Whether an end token came.
    reference_B : (B,) or (B, M), optional
        Raw scores of replies of the reference to the same prompt, their mean or all of them. Needed by ``PAR`` and
        ``LogSigmoidCentred``, which compare with it and therefore come before rules that change the scale.

    Raises
    ------
    ShapeError, DataError
        If the arrays do not go together, or a score is not finite.
    ConfigError
        If a shaper compares with a reference that is not given, or that an earlier shaper has put out of scale.
    """
    return _through(shapers, *_checked(shapers, raw_B, length_B, finished_B, reference_B))


def observed(
    shapers: Sequence[Shaper],
    raw_B: npt.ArrayLike,
    *,
    length_B: npt.ArrayLike,
    finished_B: npt.ArrayLike,
    reference_B: npt.ArrayLike | None = None,
    total: Callable[[float], float] = float,
) -> tuple[Shaper, ...]:
    """The shapers after they have seen a batch of training; those that do not drift are as they were.

    Measuring never calls this, so that looking at a policy does not move its rewards. A drifting shaper sees scores as
    the shapers before it leave them. ``total`` is the sum of a number over the processes that share the batch: with
    it, every process has seen the whole batch.
    """
    current_B, length, finished, reference = _checked(shapers, raw_B, length_B, finished_B, reference_B)
    after: list[Shaper] = []
    for shaper in shapers:
        after.append(shaper.after(current_B, total=total) if isinstance(shaper, RunningStandardise) else shaper)
        current_B = after[-1].shape(current_B, length, finished, reference)
    return tuple(after)


class CurrentShapers(Sequence[Shaper]):
    """The shapers of a run as they are now: training replaces them after each step, measuring reads them.

    ``begun`` is how they were before the first step.
    """

    def __init__(self, shapers: Iterable[Shaper]) -> None:
        self.begun = tuple(shapers)
        self.now = self.begun

    def restore(self, stored: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the fields that were stored of each."""
        shapers: tuple[Any, ...] = self.begun  # every shaper is a dataclass, which its protocol cannot say
        self.now = tuple(replace(shaper, **fields) for shaper, fields in zip(shapers, stored, strict=True))

    @overload
    def __getitem__(self, place: int) -> Shaper: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Shaper]: ...
    def __getitem__(self, place: int | slice) -> Shaper | Sequence[Shaper]:
        return self.now[place]

    def __len__(self) -> int:
        return len(self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(Shaper):
    """Scores outside [low, high] become the nearer bound (in public trainers often -10 and 10)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds("clip", self.low, self.high)

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return np.clip(raw_B, self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardise(Shaper):
    """(score - mean) / sd, both fixed at the start, from replies of the base policy (as in Gao et al. 2022)."""

    mean: float
    sd: float
    """Above 0."""

    def __post_init__(self) -> None:
        _check_finite("standardise", mean=self.mean, sd=self.sd)
        if not self.sd > 0:
            raise ConfigError(f"standardise.sd must be above 0; got {self.sd}")

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return (raw_B - self.mean) / self.sd


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStandardise(Shaper):
    """(score - mean) / sd of all scores seen so far, the batch at hand included: the rule drifts.

    The same score earns another reward later, so that a plot of shaped reward against step shows two things at once;
    ``Standardise`` does not. Mean and sum of squares are merged exactly (Chan, Golub, LeVeque 1983); sd is the
    population's, 1 as long as all scores were equal.
    """

    drifts: ClassVar[bool] = True
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    def __post_init__(self) -> None:
        _check_finite("running standardise", mean=self.mean, squares=self.squares)
        if self.count < 0 or self.squares < 0:
            raise ConfigError("running standardise needs a count and a sum of squares of at least 0")

    @property
    def sd(self) -> float:
        """Population standard deviation of what was seen; 1 where it would be 0."""
        return math.sqrt(self.squares / self.count) if self.squares > 0 else 1.0

    @property
    def is_ready(self) -> bool:
        """Whether it has seen a score."""
        return self.count > 0

    def after(self, raw_B: FloatArray, *, total: Callable[[float], float] = float) -> "RunningStandardise":
        """The rule that has seen these scores too, and those of the processes that ``total`` sums over."""
        n_new = round(total(len(raw_B)))
        if not n_new:
            return self
        mean = total(float(raw_B.sum())) / n_new
        count, step = self.count + n_new, mean - self.mean
        with np.errstate(over="ignore"):
            own = total(float(((raw_B - mean) ** 2).sum()))
        squares = self.squares + own + step * step * self.count * n_new / count
        if not math.isfinite(squares):
            raise DataError(f"scores around {mean:.3g} are too far apart to be standardised; clip them first")
        return RunningStandardise(count=count, mean=self.mean + step * n_new / count, squares=squares)

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        if not self.count:
            raise ConfigError(
                "running standardise has seen no scores; pass the shapers through observed() with a batch first"
            )
        return (raw_B - self.mean) / self.sd


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMax(Shaper):
    """(score - low) / (high - low) for bounds fixed at the start; scores beyond leave [0, 1] unless clipped too."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds("min-max", self.low, self.high)

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return (raw_B - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class PAR(Shaper):
    """Preference as reward: sigmoid(score - reference score), in (0, 1). Fu et al. 2025 (arXiv:2502.18770).

    By a Bradley-Terry reward model it is the probability that the reply beats one of the reference. Given all M
    scores of the reference, the mean of the M probabilities; given their mean, the sigmoid of that one difference.
    """

    needs_reference: ClassVar[bool] = True

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return _over_references(np.asarray(expit(_centred(raw_B, reference_B))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSigmoidCentred(Shaper):
    """ln sigmoid(score - reference score), below 0. Wang et al. 2024 (arXiv:2402.00742), "LSC"; means as in ``PAR``."""

    needs_reference: ClassVar[bool] = True

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return _over_references(np.asarray(log_expit(_centred(raw_B, reference_B))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthPenalty(Shaper):
    """``per_token`` off for each token beyond ``target``; the end token counts (Singhal et al. 2023, 2310.03716)."""

    per_token: float
    """In units of the reward that comes in; at least 0."""
    target: int
    """Tokens that cost nothing, at least 0."""

    def __post_init__(self) -> None:
        _check_penalty("length penalty.per_token", self.per_token)
        if self.target < 0:
            raise ConfigError(f"length penalty.target must be at least 0 tokens; got {self.target}")

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return raw_B - self.per_token * np.maximum(length_B - self.target, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingEosPenalty(Shaper):
    """``penalty`` off a reply that was cut before an end token came, such as TRL's ``missing_eos_penalty``."""

    penalty: float
    """In units of the reward that comes in; at least 0."""

    def __post_init__(self) -> None:
        _check_penalty("missing-EOS penalty", self.penalty)

    def shape(
        self, raw_B: FloatArray, length_B: FloatArray, finished_B: BoolArray, reference_B: FloatArray | None
    ) -> FloatArray:
        return raw_B - self.penalty * ~finished_B


def _through(
    shapers: Sequence[Shaper],
    raw_B: FloatArray,
    length_B: FloatArray,
    finished_B: BoolArray,
    reference_B: FloatArray | None,
) -> FloatArray:
    shaped_B = raw_B.copy()
    for shaper in shapers:
        shaped_B = shaper.shape(shaped_B, length_B, finished_B, reference_B)
    return shaped_B


def _checked(
    shapers: Sequence[Shaper],
    raw: npt.ArrayLike,
    length: npt.ArrayLike,
    finished: npt.ArrayLike,
    reference: npt.ArrayLike | None,
) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray | None]:
    raw_B = np.asarray(raw, dtype=np.float64)
    length_B = np.asarray(length, dtype=np.float64)
    finished_B = np.asarray(finished)
    if raw_B.ndim != 1 or length_B.shape != raw_B.shape or finished_B.shape != raw_B.shape:
        raise ShapeError(
            "scores, lengths and ends must have one shape (B,); "
            f"got {raw_B.shape}, {length_B.shape} and {finished_B.shape}"
        )
    if raw_B.size and finished_B.dtype != np.bool_:
        raise DataError(f"whether replies are finished must be true or false; got {finished_B.dtype}")
    if not np.isfinite(raw_B).all():
        raise DataError(f"{int((~np.isfinite(raw_B)).sum())} of {len(raw_B)} scores are not finite")
    if not (length_B >= 0).all():
        raise DataError("lengths must be at least 0 tokens")
    if reference is None:
        reference_B = None
    else:
        reference_B = np.asarray(reference, dtype=np.float64)
        if reference_B.ndim not in (1, 2) or reference_B.shape[0] != len(raw_B) or 0 in reference_B.shape[1:]:
            raise ShapeError(
                f"reference scores must have the shape (B,) or (B, M) with B = {len(raw_B)}; got {reference_B.shape}"
            )
        if not np.isfinite(reference_B).all():
            raise DataError("reference scores must be finite")
    for place, shaper in enumerate(shapers):
        name = type(shaper).__name__
        if shaper.needs_reference and reference_B is None:
            raise ConfigError(f"{name} compares with scores of the reference's replies; none were given")
        if shaper.needs_reference and place:
            raise ConfigError(
                f"{name} compares with raw scores of the reference, so it must come first; "
                f"{type(shapers[0]).__name__} comes before it"
            )
    return raw_B, length_B, finished_B.astype(np.bool_), reference_B


def _centred(raw_B: FloatArray, reference_B: FloatArray | None) -> FloatArray:
    if reference_B is None:
        raise ConfigError("this shaper compares with scores of the reference's replies; none were given")
    return raw_B - reference_B if reference_B.ndim == 1 else raw_B[:, None] - reference_B


def _over_references(values: FloatArray) -> FloatArray:
    return values if values.ndim == 1 else np.asarray(values.mean(axis=1))


def _check_bounds(name: str, low: float, high: float) -> None:
    _check_finite(name, low=low, high=high)
    if not low < high:
        raise ConfigError(f"{name} needs low < high; got {low} and {high}")


def _check_finite(name: str, **values: float) -> None:
    for field, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name}.{field} must be a finite number; got {value}")


def _check_penalty(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a finite number of at least 0; it is taken off the reward; got {value}")
