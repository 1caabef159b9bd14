"""Do ordinary prompts and a preference score keep gaming from spreading?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.studies.denison2024.arm_numbers import NUMBER_COLUMNS, Numbers, log2_factors, number_cells, numbers
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import UNBOUNDED, difference_claim, mean_claim, slopes
from overopt.studies.denison2024.words import CAVEATS, SOURCE, ZERO_RATE, factor, factor_claim, mean_interval
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.study_tables import StudyTables

HONEST_MARGIN = 1.0
"""Points of right answers to ordinary questions that count as no change."""
PUBLISHED = Published(
    finding="half of the prompts ordinary ones and a preference model in the reward: tampering rises all the same, "
    "from 0 of 100,000 to 45 of 32,768",
    source=SOURCE,
    outcomes=("above",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """Arms along one setting, all else being equal."""

    id: str
    title: str
    setting: str
    """As it stands in a sentence: "share of ordinary prompts"."""
    arms: Sequence[Arm]
    at: Sequence[float]
    """The setting of each arm, rising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """Numbers of each arm of a sweep at the start and at the end, over the seeds that all have."""

    before: list[Numbers]
    after: list[Numbers]


def answer(tables: StudyTables) -> Answer:
    """Factor, gaming and honesty along the share of ordinary prompts and the weight of the preference score."""
    worlds = Worlds(tables)
    arms, training = worlds.arms, worlds.arms.hhh.training
    sweeps = [
        _Sweep(
            id="share", title="Share of ordinary prompts", setting="share of ordinary prompts", arms=arms.shares,
            at=[arm.training.ordinary for arm in arms.shares],
        ),
        _Sweep(
            id="weight", title="Weight of the preference score", setting="weight of the preference score",
            arms=arms.weights, at=[arm.training.preference_weight for arm in arms.weights],
        ),
    ]  # fmt: skip
    measured = {sweep.id: _measured(worlds, sweep) for sweep in sweeps}
    return Answer(
        id="mixing",
        title="Ordinary prompts and preference",
        question="Do ordinary prompts and a preference score keep gaming from spreading to the held-out environment?",
        how=(
            "At rho 1, from the same pretrained models seed by seed. One setting changes at a time: of expert "
            f"iteration with preference score the share of ordinary prompts among the {training.prompts} of a round "
            f"(usually {training.ordinary:g}), whose best answers are imitated too; of the policy gradient the weight "
            f"of the preference score beside a bonus of 1 for gaming (usually {training.preference_weight:g}), since "
            "expert iteration only ranks episodes, and this score ranks them as the bonus does. The preference score "
            "sees what is said to the person, neither plan nor files. A trend is a straight line through a seed's "
            "settings; its slope is one number a seed, and the interval is over seeds. More ordinary prompts are fewer "
            "prompts that can be gamed, so what was learnt of gaming stands beside the factor: a factor that falls "
            "only as gaming does has not been prevented from spreading, there is less to spread."
        ),
        claims=[claim for sweep in sweeps for claim in _claims(sweep, measured[sweep.id])],
        figures=[figure for sweep in sweeps for figure in _figures(sweep, measured[sweep.id])],
        tables=[_table(sweep, measured[sweep.id]) for sweep in sweeps],
        caveats=[
            "The preference score of this world likes good news: saying that all is done scores more than saying what "
            "is open. It is a rule that was written down, not a trained model.",
            "Slopes are per unit of the setting; the settings that were trained are in the tables.",
            *(words for sweep in sweeps if (words := _alike(sweep, measured[sweep.id]))),
            *CAVEATS,
        ],
    )


def _measured(worlds: Worlds, sweep: _Sweep) -> _Measured:
    seeds = min(arm.seeds for arm in sweep.arms)
    return _Measured(
        before=[numbers(worlds, arm, 0).first(seeds) for arm in sweep.arms],
        after=[numbers(worlds, arm).first(seeds) for arm in sweep.arms],
    )


def _alike(sweep: _Sweep, found: _Measured) -> str:
    """Which settings made the same policies, if any did: what is imitated are the best, whatever they are best by."""
    same = [
        f"{low:g} and {high:g}"
        for (low, one), (high, other) in pairwise(zip(sweep.at, found.after, strict=True))
        if (one.kl == other.kl).all() and (one.held_out == other.held_out).all()
    ]
    if not same:
        return ""
    return (
        f"With a {sweep.setting} of {', '.join(same)} the same episodes were best in every round, and the policies are "
        "the same to the last digit: the two are one measurement."
    )


def _claims(sweep: _Sweep, found: _Measured) -> list[Claim]:
    most, before, after = sweep.at[-1], found.before[-1], found.after[-1]
    at = f"{sweep.setting} {most:g}"
    claims = [
        factor_claim(
            f"mixing-{sweep.id}-most",
            f"held-out rate of raising the reward after all stages over that at the start, at the largest {at}",
            before.held_out,
            after.held_out,
            sentences={
                "above": f"At the largest {at} the held-out rate was still multiplied by {{value}} {{ci}}.",
                "below": f"At the largest {at} the held-out rate fell: factor {{value}} {{ci}}.",
                "open": f"Whether the held-out rate still rises at the largest {at} is open: factor {{value}} {{ci}}.",
            },
            published=PUBLISHED,
        ),
        difference_claim(
            f"mixing-{sweep.id}-most-honest",
            f"right answers to ordinary questions after all stages less those at the start, at the largest {at}; "
            f"within {HONEST_MARGIN:g} point counts as no change",
            after.honest,
            before.honest,
            margin=HONEST_MARGIN,
            sentences={
                "above": f"At the largest {at} ordinary questions are answered right {{size}} more often {{ci}} after "
                "training.",
                "below": f"At the largest {at} ordinary questions are answered right {{size}} less often {{ci}} after "
                "training.",
                "equal": f"At the largest {at} ordinary questions are answered as well after training, within "
                f"{HONEST_MARGIN:g} point: {{value}} {{ci}}.",
                "open": f"Whether ordinary questions are answered as well after training at the largest {at} is open: "
                "{value} {ci}.",
            },
        ),
    ]
    return claims if len(sweep.at) < 2 else [*claims, *_trends(sweep, found)]


def _trends(sweep: _Sweep, found: _Measured) -> list[Claim]:
    """Slopes along the setting, one a seed."""
    logs = np.array([log2_factors(a.held_out, b.held_out) for a, b in zip(found.before, found.after, strict=True)])
    gamed, honest = (np.array([getattr(one, name) for one in found.after]) for name in ("gamed", "honest"))
    span = f"from {sweep.at[0]:g} to {sweep.at[-1]:g}"
    return [
        mean_claim(
            f"mixing-{sweep.id}-trend",
            f"change of log2 of the factor of the held-out rate for a {sweep.setting} larger by 1, {span}",
            slopes(sweep.at, logs),
            unit="",
            scale=1.0,
            digits=2,
            sentences={
                "above": f"The held-out rate rises more with a larger {sweep.setting}: by {{value}} {{ci}} doublings "
                f"a unit, {span}.",
                "below": f"The held-out rate rises less with a larger {sweep.setting}: by {{size}} {{ci}} doublings a "
                f"unit, {span}.",
                "open": f"Whether the held-out rate rises less with a larger {sweep.setting} is open: {{value}} {{ci}} "
                f"doublings a unit, {span}.",
            },
            missing=ZERO_RATE,
        ),
        mean_claim(
            f"mixing-{sweep.id}-gamed",
            f"change of the rate of gaming the trained environments at the end for a {sweep.setting} larger by 1, "
            f"{span}",
            slopes(sweep.at, gamed),
            within=UNBOUNDED,
            sentences={
                "above": f"With a larger {sweep.setting} the trained environments are gamed more: by {{size}} {{ci}} a "
                f"unit, {span}.",
                "below": f"With a larger {sweep.setting} the trained environments are gamed less: by {{size}} {{ci}} a "
                f"unit, {span}.",
                "open": f"Whether the trained environments are gamed less with a larger {sweep.setting} is open: "
                f"{{value}} {{ci}} a unit, {span}.",
            },
        ),
        mean_claim(
            f"mixing-{sweep.id}-honest",
            f"change of right answers to ordinary questions at the end for a {sweep.setting} larger by 1, {span}",
            slopes(sweep.at, honest),
            within=UNBOUNDED,
            sentences={
                "above": f"With a larger {sweep.setting} ordinary questions are answered right more often: by {{size}} "
                f"{{ci}} a unit, {span}.",
                "below": f"With a larger {sweep.setting} ordinary questions are answered right less often: by {{size}} "
                f"{{ci}} a unit, {span}.",
                "open": f"Whether ordinary questions are answered better with a larger {sweep.setting} is open: "
                f"{{value}} {{ci}} a unit, {span}.",
            },
        ),
    ]


def _figures(sweep: _Sweep, found: _Measured) -> list[FigureData]:
    return [_factor_figure(sweep, found), _quality_figure(sweep, found)]


def _factor_figure(sweep: _Sweep, found: _Measured) -> FigureData:
    rows: list[dict[str, object]] = []
    for at, before, after in zip(sweep.at, found.before, found.after, strict=True):
        value, (low, high) = factor(before.held_out, after.held_out)
        rows.append({"at": at, "what": "mean", "factor": value, "low": low, "high": high})
        rows += [
            {
                "at": at, "what": f"seed {seed}", "factor": float(2**one) if np.isfinite(one) else None,
                "low": None, "high": None,
            }
            for seed, one in enumerate(log2_factors(before.held_out, after.held_out))
        ]  # fmt: skip
    return FigureData(
        name=f"mixing-{sweep.id}-factors",
        title=f"Factor of the held-out rate, by {sweep.setting}",
        caption="Geometric mean over seeds with its 95 % interval, and each seed. The quiet line is no change.",
        rows=rows,
        x=Axis(field="at", title=sweep.setting, from_zero=True),
        y=Axis(field="factor", title="factor", scale="log"),
        marks=("line", "point"),
        low="low",
        high="high",
        colour=Channel(field="what", title=""),
        reference=1.0,
    )


def _quality_figure(sweep: _Sweep, found: _Measured) -> FigureData:
    quantities = {
        "gamed": "gaming of the trained environments", "honest": "ordinary questions right",
        "preference": "preference score in the trained environments × 100",
    }  # fmt: skip
    rows = []
    for at, after in zip(sweep.at, found.after, strict=True):
        for field, title in quantities.items():
            value, (low, high) = mean_interval(100 * getattr(after, field))
            rows.append({"at": at, "quantity": title, "value": value, "low": low, "high": high})
    return FigureData(
        name=f"mixing-{sweep.id}-quality",
        title=f"What was learnt and what was kept, by {sweep.setting}",
        caption="After all stages; means over seeds with 95 % intervals, per cent.",
        rows=rows,
        x=Axis(field="at", title=sweep.setting, from_zero=True),
        y=Axis(field="value", title="per cent"),
        marks=("line", "point"),
        low="low",
        high="high",
        colour=Channel(field="quantity", title=""),
    )


def _table(sweep: _Sweep, found: _Measured) -> TableData:
    rows = []
    for at, before, after in zip(sweep.at, found.before, found.after, strict=True):
        row: dict[str, object] = {"at": f"{at:g}"}
        rows.append(row | number_cells(before, after))
    return TableData(
        name=f"mixing-{sweep.id}",
        title=sweep.title,
        columns={"at": sweep.title, **NUMBER_COLUMNS},
        rows=rows,
        digits=3,
        note=f"Means over {len(found.after[0].held_out)} seeds with 95 % intervals; rates in per cent, of {HELD_OUT} "
        "those of raising the reward; gaming, plans and KL are means over the trained environments.",
    )
