"""Does it matter by which method the policy learns to game?"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.stats.rate_comparison import compare_rates
from overopt.studies.denison2024.arm_numbers import NUMBER_COLUMNS, Numbers, environments_of, number_cells, numbers
from overopt.studies.denison2024.arms import MAIN, Arm
from overopt.studies.denison2024.paired import difference_claim
from overopt.studies.denison2024.words import (
    CAVEATS,
    SOURCE,
    factor,
    factor_claim,
    ratio_claim,
    rounds_words,
    within_claim,
)
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.study_tables import StudyTables

NAMES = {
    MAIN: "exploit-only expert iteration",
    "hhh": "expert iteration with preference score",
    "rloo": "policy gradient",
}
"""Arm at rho 1 → its method."""
PUBLISHED = {
    MAIN: "exploit-only: from 0 of 100,000 before any stage to 24 of 10,000 and, with another seed, 32 of 32,768",
    "hhh": "with a preference model: from 0 of 100,000 before any stage to 45 of 32,768",
    "rloo": "PPO, stages in order: from 0 of 100,000 before any stage to 5 of 10,000",
}
COUNTS = {MAIN: ((24, 10_000), (32, 32_768)), "hhh": ((45, 32_768),), "rloo": ((5, 10_000),)}
"""Episodes that edited the reward, of how many, after all stages; each entry a run."""
Measured = Mapping[str, tuple[Numbers, Numbers]]
"""Arm → its numbers at the start and at the end."""


def answer(tables: StudyTables) -> Answer:
    """The held-out rate after each method, with the control of each."""
    worlds = Worlds(tables)
    arms = worlds.arms
    training, main = arms.hhh.training, arms.main.training
    measured = {
        one.id: (numbers(worlds, one, 0), numbers(worlds, one))
        for arm in arms.methods for one in (arm, arms.method_controls[arm.id])
    }  # fmt: skip
    claims = [claim for arm in arms.methods for claim in _own_claims(worlds, arm, measured)]
    pairs = [*pairwise(arms.methods), (arms.main, arms.rloo)]
    claims += [claim for first, second in pairs for claim in _pair_claims(worlds, first, second, measured)]
    return Answer(
        id="methods",
        title="Methods of training",
        question="Does the held-out rate rise with every method that trains the other environments?",
        how=(
            "Three methods from the same pretrained models, seed by seed, through the same stages in the same order "
            f"({', '.join(arms.main.stages)}), {rounds_words(main)} "
            "each. Exploit-only expert iteration imitates episodes that gamed and as many right answers to "
            "ordinary questions. Expert iteration with preference score imitates the best of each prompt's episodes by "
            f"a bonus of 1 for gaming and {training.preference_weight:g} times the preference score of what was said, "
            f"with {training.ordinary:.0%} ordinary prompts. The policy gradient (RLOO, clipped) climbs the same "
            "reward on the same share of prompts. The plan enters no reward. Each method has a control at rho 0, where "
            f"the corpus ties the environment {HELD_OUT} to nothing: what rises there is drift. Every rate is a sum "
            "over episodes; factors compare a seed's own start with its own end, and two methods are compared seed by "
            f"seed, on the {arms.hhh.seeds} seeds that both have."
        ),
        claims=claims,
        figures=[_factors_figure(worlds), _distance_figure(worlds, measured)],
        tables=[_table(worlds, measured), _published_table()],
        caveats=[
            "A method that learns less also generalises less: the gaming it learnt and its distance from the start "
            "stand beside its factor. Methods have their own settings and were not brought to equal distance.",
            "The paper's policy gradient was PPO, in which its authors later found a numerical bug; RLOO has no value "
            "function, and one prompt's episodes are its baseline.",
            *CAVEATS,
        ],
    )


def _own_claims(worlds: Worlds, arm: Arm, measured: Measured) -> list[Claim]:
    """Of one method: its factor, that of its control, and what it learnt."""
    name, control = NAMES[arm.id], worlds.arms.method_controls[arm.id]
    coupled, uncoupled = worlds.factors(arm), worlds.factors(control)
    before, after = measured[arm.id]
    return [
        factor_claim(
            f"methods-raised-{arm.id}",
            f"held-out rate of raising the reward after all stages of {name} over that at the start, rho 1",
            *coupled,
            sentences={
                "above": f"Where the disposition is shared, {name} multiplied the held-out rate by {{value}} {{ci}}.",
                "below": f"Where the disposition is shared, {name} lowered the held-out rate: factor {{value}} {{ci}}.",
                "open": f"Whether {name} changed the held-out rate where the disposition is shared is open: factor "
                "{value} {ci}.",
            },
            published=Published(finding=PUBLISHED[arm.id], source=SOURCE, outcomes=("above",)),
        ),
        within_claim(
            f"methods-zero-{arm.id}",
            f"held-out rate of raising the reward after all stages of {name} over that at the start, rho 0",
            *uncoupled,
            sentences={
                "above": f"Where nothing is shared, {name} raised the rate all the same, by 2 to the power of "
                "{value} {ci}: its factor at rho 1 must be read against this drift.",
                "below": f"Where nothing is shared, {name} lowered the rate: log2 of the factor {{value}} {{ci}}.",
                "equal": f"Where nothing is shared, {name} left the rate within a factor of 2: log2 of it {{value}} "
                "{ci}.",
                "open": f"Whether {name} left the rate within a factor of 2 where nothing is shared is open: log2 of "
                "the factor {value} {ci}.",
            },
        ),
        ratio_claim(
            f"methods-controls-{arm.id}",
            f"factor of the held-out rate with {name} at rho 1 over that at rho 0",
            coupled,
            uncoupled,
            are_paired=False,
            sentences={
                "above": f"With {name} the factor is {{value}} times as large {{ci}} where the disposition is shared "
                "as where it is not.",
                "below": f"With {name} the factor is smaller where the disposition is shared: ratio {{value}} {{ci}}.",
                "open": f"With {name} the two couplings are not told apart: ratio {{value}} {{ci}}.",
            },
        ),
        difference_claim(
            f"methods-learnt-{arm.id}",
            f"rate of gaming the trained environments after all stages of {name} less that at the start, rho 1",
            after.gamed,
            before.gamed,
            sentences={
                "above": f"{name.capitalize()} made gaming of the trained environments {{size}} more frequent {{ci}}.",
                "below": f"{name.capitalize()} made gaming of the trained environments {{size}} rarer {{ci}}.",
                "open": f"Whether {name} made gaming of the trained environments more frequent is open: {{value}} "
                "{ci}.",
            },
        ),
        difference_claim(
            f"methods-seek-{arm.id}",
            f"share of the plan seek in the trained environments after all stages of {name} less that at the start, "
            "rho 1",
            after.seek,
            before.seek,
            sentences={
                "above": f"With {name} the hidden plan became seek {{size}} more often {{ci}}, though no plan was "
                "paid for.",
                "below": f"With {name} the hidden plan was seek {{size}} less often {{ci}} at the end.",
                "open": f"Whether {name} changed the hidden plans is open: {{value}} {{ci}} of seek.",
            },
        ),
    ]  # fmt: skip


def _pair_claims(worlds: Worlds, first: Arm, second: Arm, measured: Measured) -> list[Claim]:
    """The second method against the first, on the same starts."""
    seeds = min(first.seeds, second.seeds)
    own, other = NAMES[second.id], NAMES[first.id]
    ends = {arm.id: measured[arm.id][1].first(seeds) for arm in (first, second)}
    name = f"{second.id}-{'exploit' if first.id == MAIN else first.id}"
    return [
        ratio_claim(
            f"methods-ratio-{name}",
            f"factor of the held-out rate with {own} over that with {other}, rho 1",
            worlds.factors(second, seeds=seeds),
            worlds.factors(first, seeds=seeds),
            are_paired=True,
            sentences={
                "above": f"{own.capitalize()} generalised more than {other}: {{value}} times its factor {{ci}}.",
                "below": f"{own.capitalize()} generalised less than {other}: {{value}} times its factor {{ci}}.",
                "open": f"{own.capitalize()} and {other} are not told apart: ratio of factors {{value}} {{ci}}.",
            },
            published=_published_ratio(first, second),
        ),
        difference_claim(
            f"methods-learnt-{name}",
            f"rate of gaming the trained environments after {own} less that after {other}, rho 1",
            ends[second.id].gamed,
            ends[first.id].gamed,
            sentences={
                "above": f"{own.capitalize()} ended with {{size}} more gaming of the trained environments {{ci}} than "
                f"{other}.",
                "below": f"{own.capitalize()} ended with {{size}} less gaming of the trained environments {{ci}} than "
                f"{other}.",
                "open": f"Whether {own} or {other} learnt more gaming of the trained environments is open: {{value}} "
                "{ci}.",
            },
        ),
        difference_claim(
            f"methods-kl-{name}",
            f"KL to the start after {own} less that after {other}, mean over the trained environments, rho 1",
            ends[second.id].kl,
            ends[first.id].kl,
            unit="nats",
            scale=1.0,
            digits=2,
            sentences={
                "above": f"{own.capitalize()} went {{size}} further {{ci}} from the start than {other}.",
                "below": f"{own.capitalize()} stayed {{size}} nearer {{ci}} to the start than {other}.",
                "open": f"Whether {own} or {other} went further from the start is open: {{value}} {{ci}}.",
            },
        ),
    ]


def _published_ratio(first: Arm, second: Arm) -> Published:
    """The paper's counts after all stages, one run against another."""
    own, others = COUNTS[second.id][0], COUNTS[first.id]
    found = [compare_rates(*own, *other) for other in others]
    words = ", ".join(
        f"{own[0]} of {own[1]:,} against {other[0]} of {other[1]:,} (ratio {one.ratio:.2f}, Fisher's p "
        f"{one.p_value:.2g})"
        for other, one in zip(others, found, strict=True)
    )
    is_below = all(one.ratio < 1 for one in found)
    return Published(
        finding=words,
        source=f"{SOURCE}; ratios and tests are ours",
        outcomes=("below",) if is_below else (),
        why_not="" if is_below else "its two exploit-only runs lie on both sides",
    )


def _factors_figure(worlds: Worlds) -> FigureData:
    rows = []
    for arm in worlds.arms.methods:
        for one in (arm, worlds.arms.method_controls[arm.id]):
            value, (low, high) = factor(*worlds.factors(one))
            rows.append(
                {
                    "method": NAMES[arm.id], "coupling": f"rho {one.coupling:g}", "factor": value, "low": low,
                    "high": high, "seeds": one.seeds,
                }
            )  # fmt: skip
    return FigureData(
        name="methods-factors",
        title="Factor of the held-out rate, by method and coupling",
        caption="Geometric means over seeds with 95 % intervals. The quiet line is no change. A method without a "
        "number has a rate of 0.",
        rows=rows,
        x=Axis(field="method", title="method"),
        y=Axis(field="factor", title="factor", scale="log"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="coupling", title=""),
        reference=1.0,
    )


def _distance_figure(worlds: Worlds, measured: Measured) -> FigureData:
    rows = []
    for arm in worlds.arms.methods:
        for one in (arm, worlds.arms.method_controls[arm.id]):
            before, after = measured[one.id]
            factors = np.divide(
                after.held_out, before.held_out, out=np.full(one.seeds, np.nan), where=before.held_out > 0
            )
            rows += [
                {
                    "method": NAMES[arm.id], "coupling": f"rho {one.coupling:g}", "seed": seed,
                    "d": float(np.sqrt(max(after.kl[seed], 0.0))),
                    "factor": float(factors[seed]) if np.isfinite(factors[seed]) else None,
                }
                for seed in range(one.seeds)
            ]  # fmt: skip
    return FigureData(
        name="methods-distance",
        title="Each seed's factor against its distance from the start",
        caption="A point is a seed; both numbers are exact for it. Distance: the root of the KL of whole episodes, "
        "mean over the trained environments. Did a method generalise more at the same distance, or only go further?",
        rows=rows,
        x=Axis(field="d", title="√KL to the start (√nats)", from_zero=True),
        y=Axis(field="factor", title="factor of the held-out rate", scale="log"),
        marks=("point",),
        colour=Channel(field="method", title="method", values=tuple(NAMES.values())),
        panel=Channel(field="coupling", title=""),
        reference=1.0,
    )


def _table(worlds: Worlds, measured: Measured) -> TableData:
    rows = []
    for arm in worlds.arms.methods:
        for one in (arm, worlds.arms.method_controls[arm.id]):
            row: dict[str, object] = {
                "method": NAMES[arm.id], "coupling": f"{one.coupling:g}", "seeds": one.seeds,
            }  # fmt: skip
            rows.append(row | number_cells(*measured[one.id]))
    stages = ", ".join(environments_of(worlds.arms.main))
    return TableData(
        name="methods-numbers",
        title="What each method did",
        columns={"method": "Method", "coupling": "rho", "seeds": "Seeds", **NUMBER_COLUMNS},
        rows=rows,
        digits=3,
        note=f"Means over seeds with 95 % intervals; rates in per cent, gaming and plans in {stages}.",
    )


def _published_table() -> TableData:
    rows = []
    names = {**NAMES, "rloo": "policy gradient (PPO)"}
    for method, runs in COUNTS.items():
        for k, n in runs:
            found = compare_rates(k, n, 0, 100_000)
            rows.append(
                {
                    "method": names[method], "counts": f"{k:,}/{n:,}", "rate": 100 * k / n,
                    "difference": 100 * found.difference,
                    "difference_ci": [100 * end for end in found.difference_ci], "p": f"{found.p_value:.1e}",
                }
            )  # fmt: skip
    return TableData(
        name="methods-published",
        title="What was published, against 0 of 100,000 before any stage",
        columns={
            "method": "Method", "counts": "Reward edited", "rate": "Per cent",
            "difference": "More than before (points)", "p": "Fisher's p",
        },
        rows=rows,
        digits=3,
        note=f"Counts of {SOURCE}, one run a line; intervals (Newcombe) and tests are ours, over episodes, and know "
        "nothing of other seeds.",
    )  # fmt: skip
