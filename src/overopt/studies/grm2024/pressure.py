"""What is left of gold when a method's reward model is optimised against, and how its policy fares beside another's.

Axes: S seeds, P prompts, K points of a curve, D draws of prompts, R replies to a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from overopt.records.answers import Axis, Channel, Claim, FigureData, Outcome, Published
from overopt.stats.crossed_units import CrossedMean, crossed_mean, seeds_and_parts
from overopt.stats.estimate import FloatArray
from overopt.stats.overoptimization import MEASURES, OverOptimization
from overopt.studies.grm2024.judged import cells
from overopt.studies.grm2024.methods import BY_ID, GRM
from overopt.studies.grm2024.words import claim_of

DRAWS = 1_000
RLHF = "Yang et al. 2024 (2406.10216), figures 2 to 4"
_MIN_KNOWN = 0.9
"""Share of the draws of prompts that must have a number."""


def gold_figure(rows: list[dict[str, object]], *, name: str, pressure: str, caption: str, distance: str) -> FigureData:
    """Gold against the root of the KL, a line a method, a panel for each kind of labels."""
    return FigureData(
        name=name,
        title=f"Gold of {pressure} against distance, method by method",
        caption=caption,
        rows=rows,
        x=Axis(field="d", title=distance, from_zero=True),
        y=Axis(field="gold", title="gold (sd on the base policy)"),
        marks=("line",),
        colour=Channel(field="method", title="method"),
        panel=Channel(field="labels", title=""),
        reference=0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One method under pressure, with one kind of labels."""

    method: str
    flip_rate: float
    degrees: list[OverOptimization]
    """Of each seed, over the same draws of prompts."""
    last_SP: FloatArray
    """Gold where the pressure is largest, less the base policy's."""

    @property
    def title(self) -> str:
        """Of the method."""
        return BY_ID[self.method].title


def degree_mean(degrees: Sequence[OverOptimization], measure: str, n_prompts: int) -> CrossedMean | None:
    """A measure of the degree, mean over seeds; none where a seed's curve does not go as far as it asks."""
    return _mean([one.value(measure) for one in degrees], [_drawn(one, measure) for one in degrees], n_prompts)


def degree_difference(
    own: Sequence[OverOptimization], other: Sequence[OverOptimization], measure: str, n_prompts: int
) -> CrossedMean | None:
    """The same of a difference, paired over seeds and prompts."""
    values = [a.value(measure) - b.value(measure) for a, b in zip(own, other, strict=True)]
    draws = [_drawn(a, measure) - _drawn(b, measure) for a, b in zip(own, other, strict=True)]
    return _mean(values, draws, n_prompts)


def _drawn(found: OverOptimization, measure: str) -> FloatArray:
    return found.draws_D5[:, MEASURES.index(measure)]


def _mean(values: Sequence[float], draws: Sequence[FloatArray], n_prompts: int) -> CrossedMean | None:
    by_seed_S, mean_D = np.array(values), np.mean(draws, axis=0)
    if not np.isfinite(by_seed_S).all():
        return None
    is_known = np.isfinite(mean_D)
    spread = float(mean_D[is_known].var(ddof=1)) if is_known.mean() >= _MIN_KNOWN else np.nan
    return seeds_and_parts(by_seed_S, [(spread * n_prompts / max(n_prompts - 1, 1), n_prompts)])


def last_claim(name: str, where: str, own: Arm, plain: Arm, counted: str) -> Claim:
    """Gold at the end of the pressure less that with Bradley-Terry."""
    is_grm = own.method in GRM
    return claim_of(
        name,
        f"gold {where} with {own.title} less that with Bradley-Terry",
        crossed_mean([own.last_SP - plain.last_SP]),
        counted=counted,
        sentences=_more(f"{where[0].upper()}{where[1:]}, {own.title}"),
        unit="sd",
        digits=2,
        published=Published(
            finding="GRM alleviates over-optimization in best-of-n and PPO", source=RLHF, outcomes=("above",)
        )
        if is_grm
        else None,
    )


def matched_claim(name: str, where: str, found: CrossedMean | None, own: Arm, counted: str, note: str) -> Claim:
    """Gold at a matched distance less that with Bradley-Terry."""
    return claim_of(
        name,
        f"gold {where} with {own.title} less that with Bradley-Terry",
        found,
        counted=counted,
        sentences=_more(f"{where[0].upper()}{where[1:]}, {own.title}"),
        unit="sd",
        digits=2,
        note="" if found is not None else note,
    )


def lost_claim(name: str, where: str, own: Arm, plain: Arm, counted: str, note: str) -> Claim:
    """The area between the curve and its peak, less that with Bradley-Terry."""
    found = degree_difference(own.degrees, plain.degrees, "area_lost", own.last_SP.shape[1])
    return claim_of(
        name,
        f"area lost {where} with {own.title} less that with Bradley-Terry",
        found,
        counted=counted,
        sentences={
            "above": f"{where[0].upper()}{where[1:]}, {own.title} loses {{size}} more {{ci}} than Bradley-Terry.",
            "below": f"{where[0].upper()}{where[1:]}, {own.title} loses {{size}} less {{ci}} than Bradley-Terry.",
            "open": f"{where[0].upper()}{where[1:]}, whether {own.title} loses less than Bradley-Terry is open: "
            "{value} {ci}.",
        },
        unit="sd × √nats",
        digits=2,
        published=Published(
            finding="GRM alleviates over-optimization in best-of-n and PPO", source=RLHF, outcomes=("below",)
        )
        if own.method in GRM
        else None,
        note="" if found is not None else note,
    )


def win_claim(
    name: str,
    where: str,
    rates_SP: FloatArray | None,
    own: Arm,
    counted: str,
    *,
    published: Published | None = None,
    note: str = "",
) -> Claim:
    """Share of wins over Bradley-Terry's policy, ties half."""
    return claim_of(
        name,
        f"win rate {where} of {own.title} over Bradley-Terry by gold, ties one half",
        None if rates_SP is None else _share(crossed_mean([100 * rates_SP])),
        counted=counted,
        sentences={
            "above": f"{where[0].upper()}{where[1:]}, {own.title} wins {{value}} {{ci}} against Bradley-Terry.",
            "below": f"{where[0].upper()}{where[1:]}, {own.title} wins only {{value}} {{ci}} against Bradley-Terry.",
            "open": f"{where[0].upper()}{where[1:]}, {own.title} is even with Bradley-Terry as far as is known: "
            "{value} {ci} of wins.",
        },
        unit="%",
        digits=1,
        reference=50.0,
        published=published,
        note=note,
    )


def _share(found: CrossedMean) -> CrossedMean:
    """A mean of percentages, whose interval Student's t may take beyond what a percentage can be."""
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 100.0))  # nan stays: it comes first


def degree_cells(arm: Arm, measures: Sequence[str]) -> dict[str, object]:
    """Measures of the degree with their intervals, as cells of a table."""
    row: dict[str, object] = {}
    for measure in measures:
        found = degree_mean(arm.degrees, measure, arm.last_SP.shape[1])
        row |= {measure: None, f"{measure}_ci": [None, None]} if found is None else cells(measure, found)
    return row


def wins(first_PR: FloatArray, second_PR: FloatArray) -> FloatArray:
    """(P,) share of pairs of replies in which the first has more gold, ties half.

    >>> wins(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])).tolist()
    [0.875]
    """
    ahead_PRR = first_PR[:, :, None] - second_PR[:, None, :]
    return np.asarray(((ahead_PRR > 0) + 0.5 * (ahead_PRR == 0)).mean(axis=(1, 2)))


def _more(what: str) -> dict[Outcome, str]:
    return {
        "above": f"{what} has {{size}} more gold {{ci}} than Bradley-Terry.",
        "below": f"{what} has {{size}} less gold {{ci}} than Bradley-Terry.",
        "open": f"{what} is not told apart from Bradley-Terry: {{value}} {{ci}}.",
    }
