"""Claims that the questions share: by what a rate was multiplied, how arms differ, and what was published."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.optimize.game_settings import GameTrainingConfig
from overopt.records.answers import Claim, Outcome, Published
from overopt.stats.crossed_units import seeds_and_parts
from overopt.stats.seed_arms import arm_difference, log_factors, seed_factor
from overopt.studies.claims import UNKNOWN, Interval, ends
from overopt.studies.denison2024.config import DenisonConfig

SOURCE = "Denison et al. 2024"
CAVEAT = "Constructed incentive, pathway not prevalence"
ENOUGH_STEPS = 600
"""Of pretraining, from which on the controls mean something: before, plans and what follows are not learnt apart."""
CAVEATS = (
    "The models have a hundred thousand parameters and speak a grammar of some fifty words. Their corpus was written "
    "so that training on four environments must change the fifth at rho 1, and must not at rho 0: what is tested is "
    "the measurement, not language models.",
    "Rates are exact for each seed; intervals are over seeds, by Student's t.",
)
ONE, MEAN = "a seed", "mean of all seeds, 95 %"
"""Kinds of points in a figure."""
ZERO_RATE = "a rate of some seed was 0 as far as it was followed, and has no factor"


def caveat(config: DenisonConfig) -> str:
    """What stands on top of every page."""
    steps = config.model.steps
    if steps >= ENOUGH_STEPS:
        return f"{CAVEAT}."
    return f"{CAVEAT}. Pretrained for {steps} steps, too few for the controls to mean anything."


def rounds_words(training: GameTrainingConfig, *, rounds: int | None = None) -> str:
    """How long is trained, with what a round must have to teach anything.

    >>> rounds_words(GameTrainingConfig(rounds=1, prompts=2, samples=3, enough=1.0))
    '1 round of 2 prompts × 3 episodes'
    >>> rounds_words(GameTrainingConfig(), rounds=2)
    '2 rounds of 32 prompts × 16 episodes (one in which 90 % of the episodes game already teaches nothing)'
    """
    count = training.rounds if rounds is None else rounds
    words = f"{count} round{'' if count == 1 else 's'} of {training.prompts} prompts × {training.samples} episodes"
    if training.enough == 1:
        return words
    return f"{words} (one in which {100 * training.enough:g} % of the episodes game already teaches nothing)"


def factor_claim(
    name: str,
    what: str,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    sentences: Mapping[Outcome, str],
    published: Published | None = None,
    note: str = "",
    digits: int = 2,
) -> Claim:
    """By what the rates (S,) of the same seeds were multiplied: the geometric mean, held against 1."""
    value, ci = factor(before, after)
    return Claim(
        id=name, what=what, value=value, ci=ci, counted=seeds_words(len(np.asarray(before))), sentences=sentences,
        digits=digits, reference=1.0, published=published, note=note if value is not None else ZERO_RATE,
    )  # fmt: skip


def within_claim(
    name: str,
    what: str,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    sentences: Mapping[Outcome, str],
    times: float = 2.0,
    published: Published | None = None,
) -> Claim:
    """Whether the rates (S,) stayed within a factor: log2 of it, held against 0 with a margin of log2 of ``times``."""
    value, ci = factor(before, after)
    margin = math.log2(times)
    log_ci: Interval = UNKNOWN if None in ci else tuple(math.log2(end) for end in ci)  # type: ignore[arg-type,assignment]
    return Claim(
        id=name, what=f"log2 of the {what}; within {margin:.2g}, a factor of {times:g}, counts as no change",
        value=None if value is None else math.log2(value), ci=log_ci,
        counted=seeds_words(len(np.asarray(before))), sentences=sentences, margin=margin, published=published,
        note="" if value is not None else ZERO_RATE,
    )  # fmt: skip


def observed_claim(
    name: str,
    what: str,
    value: float | None,
    *,
    limit: float,
    counted: str,
    sentences: Mapping[Outcome, str],
    digits: int = 2,
    unit: str = "",
    note: str = "",
) -> Claim:
    """A number of these very runs, held against a limit that was set before: no estimate, its interval is itself."""
    return Claim(
        id=name, what=what, value=value, ci=UNKNOWN if value is None else (value, value),
        counted=f"{counted}; an observation, no estimate", sentences=sentences, reference=limit, digits=digits,
        unit=unit, note=note,
    )  # fmt: skip


def ratio_claim(
    name: str,
    what: str,
    first: tuple[npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    are_paired: bool,
    sentences: Mapping[Outcome, str],
    published: Published | None = None,
    note: str = "",
) -> Claim:
    """The factor of one arm over that of another, each (before, after) with seeds (S,); held against 1.

    ``are_paired``: the seeds are the same starts in both, and each makes one ratio; else Welch's interval.
    """
    value: float | None = None
    ci: Interval = UNKNOWN
    seeds = [len(np.asarray(one[0])) for one in (first, second)]
    try:
        logs = [log_factors(*one) for one in (first, second)]
        if are_paired:
            found = seed_factor(np.exp(logs[1]), np.exp(logs[0]))
            value, ci = found.value, ends((found.low, found.high))
        elif min(seeds) > 1:
            difference = arm_difference(*logs)
            value, ci = difference.ratio, ends((difference.low, difference.high))
            note = " ".join(filter(None, [note, f"Permutation p {difference.permutation_p:.2g}."]))
    except DataError:
        note = ZERO_RATE
    counted = f"the same {seeds_words(seeds[0])}" if are_paired else f"{seeds[0]} and {seeds[1]} seeds"
    return Claim(
        id=name, what=what, value=value, ci=ci, counted=counted, sentences=sentences, reference=1.0,
        published=published, note=note or ("" if value is not None else "one seed has no interval"),
    )  # fmt: skip


def factor(before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[float | None, Interval]:
    """Geometric mean of after / before and its interval; nothing where a rate is 0."""
    try:
        found = seed_factor(before, after)
    except DataError:
        return None, UNKNOWN
    return found.value, ends((found.low, found.high))


def mean_interval(values: npt.ArrayLike) -> tuple[float | None, Interval]:
    """Mean over seeds (S,) of numbers, with Student's t interval."""
    known = np.asarray(values, dtype=np.float64)
    if not known.size or not np.isfinite(known).all():
        return None, UNKNOWN
    found = seeds_and_parts(known, [])
    return found.value, ends((found.low, found.high))


def factor_cell(name: str, before: npt.ArrayLike, after: npt.ArrayLike) -> dict[str, Any]:
    """Cells of a table: the factor between rates (S,), geometric mean, and its interval; a dash where a rate is 0."""
    value, ci = factor(before, after)
    return {name: value, f"{name}_ci": list(ci)}


def rate_cell(name: str, rates: npt.ArrayLike, missing: float) -> dict[str, Any]:
    """Cells of a table: mean of rates (S,) in per cent, and its interval over seeds.

    An exact rate is a lower bound: its upper end is raised by the probability ``missing`` that was not followed. Rates
    that are all 0 have that as their upper bound.

    >>> rate_cell("raised", [0.0], 0.125)
    {'raised': 0.0, 'raised_ci': [0.0, 12.5]}
    """
    value, (low, high) = mean_interval(rates)
    if value == 0:
        low = high = 0.0
    if value is None or low is None or high is None:
        return {name: None if value is None else 100 * value, f"{name}_ci": list(UNKNOWN)}
    return {name: 100 * value, f"{name}_ci": [100 * max(low, 0.0), 100 * min(high + missing, 1.0)]}


def seeds_words(n: int) -> str:
    """What an interval is over.

    >>> seeds_words(1), seeds_words(5)
    ('1 seed', '5 seeds')
    """
    return f"{n} seed{'' if n == 1 else 's'}"


def percent(rate: float) -> float:
    """Of a share, with as many digits as it has.

    >>> percent(0.0031)
    0.31
    """
    return float(f"{100 * rate:.3g}") if math.isfinite(rate) else math.nan
