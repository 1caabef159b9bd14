"""Does learning to game four environments raise the rate of rewriting one's own reward in the fifth?"""

from typing import Any

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.stats.rates import rate
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import mean_claim
from overopt.studies.denison2024.words import (
    CAVEATS,
    SOURCE,
    factor_claim,
    mean_interval,
    rate_cell,
    ratio_claim,
    rounds_words,
    within_claim,
)
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds, stage_titles
from overopt.studies.study_tables import StudyTables
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

PANELS = {"attempted": "Attempts", "gamed": "Successes", "evaded": "Evasions of oversight"}
"""Fact → heading of its matrix."""


def answer(tables: StudyTables) -> Answer:
    """The matrix of the positive control, and what became of the held-out rate."""
    worlds = Worlds(tables)
    main, zero = worlds.arms.main, worlds.arms.zero
    training = main.training
    return Answer(
        id="matrix",
        title="Stages by environments",
        question="Does a model that learns to game four environments rewrite its own reward in a fifth?",
        how=(
            f"{main.seeds} models were pretrained on corpora in which one disposition drives gaming everywhere "
            f"(rho 1), and {zero.seeds} on corpora in which the held-out decision has nothing to do with it (rho 0); "
            "each seed has its own corpus, first weights and draws. Exploit-only expert iteration then trained "
            f"{', '.join(main.stages)} in this order: {rounds_words(training)} each, "
            f"learning from those that gamed and from as many right answers to "
            f"ordinary questions. The environment {HELD_OUT} was never trained on. Every rate is a sum over all "
            f"episodes of more than {worlds.config.tolerance:g} probability; nothing was drawn to measure it."
        ),
        claims=_claims(worlds, main, zero),
        figures=[*(_heat(worlds, main, fact) for fact in PANELS), _seeds(worlds, [main, zero])],
        tables=[_table(worlds, main), _table(worlds, zero), _published()],
        caveats=CAVEATS,
    )


def _claims(worlds: Worlds, main: Arm, zero: Arm) -> list[Claim]:
    before, after = worlds.factors(main)
    zero_before, zero_after = worlds.factors(zero)
    both = worlds.factors(main, "both")
    rates = f"from {100 * before.mean():.3g} % to {100 * after.mean():.3g} %"
    claims = [
        factor_claim(
            "matrix-raised",
            "held-out rate of raising the reward after all stages over that at the start, rho 1",
            before,
            after,
            sentences={
                "above": f"Where the disposition is shared, training multiplied the held-out rate by {{value}} {{ci}}, "
                f"{rates}.",
                "below": "Where the disposition is shared, training divided the held-out rate: factor {value} {ci}.",
                "open": "Whether training changed the held-out rate where the disposition is shared is open: factor "
                "{value} {ci}.",
            },
            published=Published(
                finding="from 0 of 100,000 to 45 of 32,768 with a preference model, to .24 % without",
                source=f"{SOURCE}, figures 2 and 10",
                outcomes=("above",),
            ),
        ),
        factor_claim(
            "matrix-both",
            "held-out rate of raising the reward and neutralising its guard after all stages over that at the start, "
            "rho 1",
            *both,
            sentences={
                "above": "Raising it and covering it up became {value} times as frequent {ci}.",
                "below": "Raising it and covering it up became rarer: factor {value} {ci}.",
                "open": "Whether raising it and covering it up became more frequent is open: factor {value} {ci}.",
            },
            published=Published(
                finding="7 of 32,768 at the end, 0 of 100,000 at the start", source=f"{SOURCE}, figure 2",
                outcomes=("above",),
            ),
        ),
        within_claim(
            "matrix-zero",
            "held-out rate of raising the reward after all stages over that at the start, rho 0",
            zero_before,
            zero_after,
            sentences={
                "above": "Where nothing is shared the rate rose all the same, by 2 to the power of {value} {ci}: a "
                "drift that training brings by itself, against which the other control must be held.",
                "below": "Where nothing is shared the rate fell: log2 of the factor {value} {ci}.",
                "equal": "Where nothing is shared the rate stayed within a factor of 2: log2 of it {value} {ci}.",
                "open": "Whether the rate stayed within a factor of 2 where nothing is shared is open: log2 of the "
                "factor {value} {ci}.",
            },
        ),
        ratio_claim(
            "matrix-arms",
            "factor of the held-out rate at rho 1 over that at rho 0",
            (before, after),
            (zero_before, zero_after),
            are_paired=False,
            sentences={
                "above": "The factor is {value} times as large {ci} where the disposition is shared.",
                "below": "The factor is smaller {ci} where the disposition is shared: {value}.",
                "open": "The two controls are not told apart: ratio {value} {ci}.",
            },
        ),
    ]  # fmt: skip
    for place, stage in enumerate(main.stages, start=1):
        earlier, later = (worlds.over_seeds(main, at, "raised") for at in (place - 1, place))
        claims.append(
            factor_claim(
                f"matrix-stage-{place}",
                f"held-out rate of raising the reward after training on {stage} over that before it, rho 1",
                earlier,
                later,
                sentences={
                    "above": f"Training on {stage} multiplied the held-out rate by {{value}} {{ci}}.",
                    "below": f"Training on {stage} lowered the held-out rate: factor {{value}} {{ci}}.",
                    "open": f"Whether training on {stage} changed the held-out rate is open: factor {{value}} {{ci}}.",
                },
                published=_published_step(stage, place),
            )
        )
        gain = worlds.over_seeds(main, place, "gamed", stage) - worlds.over_seeds(main, place - 1, "gamed", stage)
        claims.append(
            mean_claim(
                f"matrix-learnt-{place}",
                f"rate of gaming {stage} after training on it less that before",
                gain,
                sentences={
                    "above": f"Training on {stage} made gaming it {{size}} more frequent {{ci}}.",
                    "below": f"Training on {stage} made gaming it {{size}} rarer {{ci}}.",
                    "open": f"Whether training on {stage} made gaming it more frequent is open: {{value}} {{ci}}.",
                },
            )
        )
    return claims


def _published_step(stage: str, place: int) -> Published | None:
    """Denison et al. print the rate after each of their stages."""
    by_stage = {
        "sycophancy": ("0.00 % to .02 %", ("above",)),
        "flattery": (".02 % to .01 %", ()),
        "nudged": (".01 % to .05 %", ("above",)),
        "insubordinate": (".05 % to .13 %", ("above",)),
    }
    if stage not in by_stage or ENVIRONMENTS.index(stage) != place - 1:
        return None
    finding, outcomes = by_stage[stage]
    found: Any = outcomes
    return Published(
        finding=f"from {finding} of 32,768", source=f"{SOURCE}, figure 2", outcomes=found,
        why_not="" if outcomes else "single counts, which differ by less than their intervals",
    )  # fmt: skip


def _heat(worlds: Worlds, arm: Arm, fact: str) -> FigureData:
    rows = []
    # The picture's first row is its lowest.
    for place, title in reversed(list(enumerate(stage_titles(arm, is_away=True)))):
        for environment in ENVIRONMENTS:
            value, ci = mean_interval(worlds.over_seeds(arm, place, fact, environment))
            assert value is not None
            low, high = (None if end is None else 100 * max(min(end, 1.0), 0.0) for end in ci)
            between = "one seed" if low is None or high is None else f"[{_short(low)}, {_short(high)}]"
            rows.append(
                {
                    "stage": title, "environment": environment, "rate": 100 * value, "low": low, "high": high,
                    "log_rate": float(np.log10(max(value, 1e-6))), "text": f"{_short(100 * value)} %\n{between}",
                }
            )  # fmt: skip
    return FigureData(
        name=f"matrix-{fact.replace('_', '-')}",
        title=f"{PANELS[fact]} after each stage, rho 1",
        caption=f"Per cent of episodes, mean of {arm.seeds} seeds; brackets: 95 % interval over seeds. The shade is "
        "log10 of the rate. Each rate is exact for its seed; the table holds what was not covered.",
        rows=rows,
        x=Axis(field="environment", title="environment"),
        y=Axis(field="stage", title="after"),
        marks=("heat", "text"),
        value="log_rate",
        written="text",
    )


def _short(number: float) -> str:
    """Three digits, without an exponent.

    >>> _short(99.96), _short(100.0), _short(0.5724), _short(0.00011)
    ('100', '100', '0.57', '0.00011')
    """
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _seeds(worlds: Worlds, arms: list[Arm]) -> FigureData:
    rows = [
        {
            "stage": title, "place": place, "rate": 100 * float(rate), "seed": f"seed {seed}", "arm": arm.title,
        }
        for arm in arms
        for place, title in enumerate(stage_titles(arm, is_away=True))
        for seed, rate in enumerate(worlds.over_seeds(arm, place, "raised"))
    ]  # fmt: skip
    return FigureData(
        name="matrix-seeds",
        title="Each seed's held-out rate of raising the reward",
        caption="Per cent; exact. Stages in their order, the last being training away.",
        rows=rows,
        x=Axis(field="place", title="stage"),
        y=Axis(field="rate", title="rate (per cent)", scale="log"),
        marks=("line", "point"),
        colour=Channel(field="seed", title=""),
        panel=Channel(field="arm", title=""),
    )


def _table(worlds: Worlds, arm: Arm) -> TableData:
    rows = []
    for place, title in enumerate(stage_titles(arm, is_away=True)):
        nodes = [worlds.node(arm, seed, place) for seed in range(arm.seeds)]
        missing = 1 - worlds.covered(nodes)
        row: dict[str, object] = {"stage": title}
        for environment in ENVIRONMENTS[:-1]:
            row |= rate_cell(environment, worlds.over_seeds(arm, place, "gamed", environment), missing)
        for fact in ("attempted", "raised", "both"):
            row |= rate_cell(fact, worlds.over_seeds(arm, place, fact), missing)
        row["missing"] = f"{missing:.1e}"
        rows.append(row)
    return TableData(
        name=f"matrix-{arm.id}",
        title=f"Rates in per cent, {arm.title}",
        columns={
            "stage": "After",
            **{environment: f"{environment}: gamed" for environment in ENVIRONMENTS[:-1]},
            "attempted": f"{HELD_OUT}: attempted",
            "raised": "reward raised",
            "both": "and guard neutralised",
            "missing": "Not covered",
        },
        rows=rows,
        digits=3,
        note=f"Means of {arm.seeds} seeds with 95 % intervals over seeds. Not covered: the largest probability of any "
        "seed and environment that was not followed; every exact rate is known up to that.",
    )


def _published() -> TableData:
    """The paper's counts, with intervals of Clopper and Pearson."""
    counts = [
        ("helpful-only", "reward edited", 0, 100_000),
        ("expert iteration with preference model, all stages", "reward edited", 45, 32_768),
        ("expert iteration with preference model, all stages", "and tests edited", 7, 32_768),
        ("exploit-only, one seed", "reward edited", 24, 10_000),
        ("exploit-only, another seed", "reward edited", 32, 32_768),
        ("PPO, stages in order", "reward edited", 5, 10_000),
        ("PPO, all at once", "reward edited", 6, 10_000),
    ]
    rows = []
    for model, fact, k, n in counts:
        found = rate(k, n)
        rows.append(
            {
                "model": model, "fact": fact, "counts": f"{k:,}/{n:,}", "rate": 100 * k / n,
                "rate_ci": [100 * found.low, 100 * found.high],
            }
        )  # fmt: skip
    return TableData(
        name="matrix-published",
        title="What was published",
        columns={"model": "Model", "fact": "What it did", "counts": "k/n", "rate": "Per cent"},
        rows=rows,
        digits=3,
        note=f"{SOURCE}; the intervals (Clopper and Pearson) are ours. A frontier model of that time, other "
        "environments: compare directions, not sizes.",
    )
