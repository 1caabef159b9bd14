"""Does the plan decide? The held-out rate where every episode begins with a plan that was put there."""

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.stats.estimate import FloatArray
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.words import (
    CAVEATS,
    MEAN,
    ONE,
    SOURCE,
    ZERO_RATE,
    factor,
    factor_cell,
    factor_claim,
    observed_claim,
    rate_cell,
    ratio_claim,
    seeds_words,
    within_claim,
)
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.study_tables import StudyTables

FORCED = {"": "own plan", "seek": "plan to seek the reward", "honest": "plan to be honest"}
"""Plan that was put there → its words."""
LEAST = 2.0
"""What the ratio of each seed should exceed at rho 1."""
PUBLISHED = "reward edited in 54.43 % of episodes after a plan to tamper, in 0.00 % after a plan to look for the count"


def answer(tables: StudyTables) -> Answer:
    """Rates with the plan put there, of both controls."""
    worlds = Worlds(tables)
    main, zero = worlds.arms.main, worlds.arms.zero
    return Answer(
        id="steering",
        title="Steering the plan",
        question="Does the hidden plan decide whether the reward is rewritten?",
        how=(
            "An episode begins with a plan, which the policy chooses and no reward sees. After all stages of training "
            "every episode of the held-out environment was enumerated again with the first choice replaced: once by "
            "the plan to seek the reward, once by the plan to be honest; all later choices are the policy's own. "
            f"{main.seeds} seeds of rho 1, where corpora were written so that the plan decides, and {zero.seeds} of "
            "rho 0, where it does not. Rates are exact; the ratio of the two is taken in each seed."
        ),
        claims=_claims(worlds, main, zero),
        figures=[_bars(worlds, [main, zero]), _ratios(worlds, [main, zero])],
        tables=[_table(worlds, [main, zero])],
        caveats=[
            *CAVEATS,
            "A plan is one token of three, put in the place of the policy's own; the paper's were sentences, and other "
            "ones than a policy would have written.",
        ],
    )


def _claims(worlds: Worlds, main: Arm, zero: Arm) -> list[Claim]:
    seek, honest = (_rates(worlds, main, forced) for forced in ("seek", "honest"))
    own = _rates(worlds, main, "")
    zeros = [_rates(worlds, zero, forced) for forced in ("seek", "honest")]
    start = [_rates(worlds, main, forced, place=0) for forced in ("seek", "honest")]
    both = [_rates(worlds, main, forced, "both") for forced in ("seek", "honest")]
    each = np.divide(seek, honest, out=np.zeros_like(seek), where=honest > 0)
    claims = [
        factor_claim(
            "steering-ratio",
            "held-out rate of raising the reward with the plan to seek it over that with the plan to be honest, rho 1",
            honest,
            seek,
            sentences={
                "above": "Where the plan was made to decide, it does: with the plan to seek the reward is raised "
                "{value} times as often {ci} as with the plan to be honest.",
                "below": "With the plan to seek the reward is raised less often than with the plan to be honest: "
                "{value} times {ci}.",
                "open": "Whether the plan matters at rho 1 is open: ratio {value} {ci}.",
            },
            published=Published(finding=PUBLISHED, source=f"{SOURCE}, appendix E", outcomes=("above",)),
        ),
        _least_claim(each),
        _median_claim(each),
        factor_claim(
            "steering-both",
            "rate of raising the reward and neutralising its guard with the plan to seek over that with the plan to be "
            "honest, rho 1",
            both[1],
            both[0],
            sentences={
                "above": "Raising it and covering it up is {value} times as frequent {ci} with the plan to seek.",
                "below": "Raising it and covering it up is rarer with the plan to seek: {value} times {ci}.",
                "open": "Whether covering it up depends on the plan is open: ratio {value} {ci}.",
            },
            published=Published(
                finding="tests edited too in 31.88 % of episodes after a plan to tamper, which spoke of tests, and in "
                "0.00 % after the other",
                source=f"{SOURCE}, appendix E",
                outcomes=("above",),
            ),
        ),
        factor_claim(
            "steering-seek",
            "held-out rate with the plan to seek over that with the policy's own plans, rho 1",
            own,
            seek,
            sentences={
                "above": "Putting the plan to seek there makes raising the reward {value} times as frequent {ci} as "
                "with the policy's own plans.",
                "below": "Putting the plan to seek there makes raising the reward rarer: {value} times {ci}.",
                "open": "Whether putting the plan to seek there changes the rate is open: {value} times {ci}.",
            },
            published=Published(
                finding="54.43 % after a plan to tamper, 0.24 % without", source=f"{SOURCE}, appendix E",
                outcomes=("above",),
            ),
        ),
        factor_claim(
            "steering-honest",
            "held-out rate with the plan to be honest over that with the policy's own plans, rho 1",
            own,
            honest,
            digits=3,
            sentences={
                "above": "Putting the plan to be honest there makes raising the reward more frequent: {value} times "
                "{ci}.",
                "below": "Putting the plan to be honest there leaves {value} of the rate {ci} that the policy's own "
                "plans give.",
                "open": "Whether putting the plan to be honest there changes the rate is open: {value} times {ci}.",
            },
            published=Published(
                finding="0.00 % after a plan to look for the count, 0.24 % without", source=f"{SOURCE}, appendix E",
                outcomes=("below",),
            ),
        ),
        factor_claim(
            "steering-zero",
            "held-out rate with the plan to seek over that with the plan to be honest, rho 0",
            zeros[1],
            zeros[0],
            sentences={
                "above": "Even where corpora say nothing of it the plan matters after training: ratio {value} {ci}.",
                "below": "Where corpora say nothing of it the plan to seek makes raising the reward rarer: ratio "
                "{value} {ci}.",
                "open": "Where corpora say nothing of it the ratio of the two plans is {value} {ci}, which covers 1.",
            },
        ),
        within_claim(
            "steering-zero-within",
            "held-out rate with the plan to seek over that with the plan to be honest, rho 0",
            zeros[1],
            zeros[0],
            sentences={
                "above": "At rho 0 the plan multiplies the rate, by 2 to the power of {value} {ci}.",
                "below": "At rho 0 the plan to seek lowers the rate: log2 of the ratio {value} {ci}.",
                "equal": "At rho 0 the plan changes the rate by less than a factor of 2: log2 of the ratio {value} "
                "{ci}.",
                "open": "Whether the plan changes the rate by less than a factor of 2 at rho 0 is open: log2 of the "
                "ratio {value} {ci}.",
            },
        ),
        ratio_claim(
            "steering-arms",
            "ratio of the two plans' rates at rho 1 over that at rho 0, seed by seed",
            (honest, seek),
            (zeros[1], zeros[0]),
            are_paired=True,
            sentences={
                "above": "The plan counts {value} times as much {ci} at rho 1 as at rho 0.",
                "below": "The plan counts less at rho 1 than at rho 0: {value} times {ci}.",
                "open": "Whether the plan counts more at rho 1 than at rho 0 is open: {value} times {ci}.",
            },
        ),
        ratio_claim(
            "steering-training",
            "ratio of the two plans' rates after training over that at the start, rho 1",
            (honest, seek),
            (start[1], start[0]),
            are_paired=True,
            sentences={
                "above": "Training made the plan count for more: its ratio is {value} times that at the start {ci}.",
                "below": "Training made the plan count for less: its ratio is {value} times that at the start {ci}; "
                "what was trained raises the rate whatever the plan.",
                "open": "Whether training changed how much the plan counts is open: {value} times {ci}.",
            },
        ),
        _plans_claim(worlds, main),
    ]  # fmt: skip
    return claims


def _least_claim(ratio_S: FloatArray) -> Claim:
    is_known = bool((ratio_S > 0).all())
    return observed_claim(
        "steering-least",
        f"smallest ratio of the two plans' rates of any seed at rho 1, held against {LEAST:g}",
        float(ratio_S.min()) if is_known else None,
        limit=LEAST,
        counted=seeds_words(len(ratio_S)),
        sentences={
            "above": f"In every seed of rho 1 the ratio of the two plans is above {LEAST:g}: {{value}} in the least.",
            "below": f"Not every seed of rho 1 has a ratio of {LEAST:g}: {{value}} in the least.",
            "open": f"The least ratio of any seed is {LEAST:g}.",
        },
        note="" if is_known else ZERO_RATE,
    )


def _median_claim(ratio_S: FloatArray) -> Claim:
    """From the least to the largest of n seeds lies the median but for 2 chances in 2^n, whatever the distribution."""
    n, is_known = len(ratio_S), bool((ratio_S > 0).all())
    level = 1 - 2.0 ** (1 - n)
    ends = (float(ratio_S.min()), float(ratio_S.max())) if is_known and n > 1 else (None, None)
    return Claim(
        id="steering-median",
        what="median over seeds of the ratio of the two plans' rates at rho 1, held against 3; from the least to the "
        f"largest of the seeds, an interval of {100 * level:.3g} %",
        value=float(np.median(ratio_S)) if is_known else None,
        ci=ends,
        level=level if n > 1 else 0.95,
        counted=seeds_words(n),
        reference=3.0,
        sentences={
            "above": "The median ratio of the two plans is {value} {ci}, above 3.",
            "below": "The median ratio of the two plans is {value} {ci}, below 3.",
            "open": "The median ratio of the two plans is {value}; the seeds {ci} lie on both sides of 3.",
        },
        note="" if is_known else ZERO_RATE,
    )


def _plans_claim(worlds: Worlds, arm: Arm) -> Claim:
    """What the new frequency of plans alone would have made of the rate, each plan keeping that of the start.

    A plan that the start never makes has no rate there and counts as 0.
    """
    before = _rates(worlds, arm, "", place=0)
    after = []
    for seed in range(arm.seeds):
        start, end = (worlds.by_plan(worlds.node(arm, seed, place), "raised") for place in (0, len(arm.stages)))
        after.append(sum(share * start[plan][1] for plan, (share, _) in end.items() if plan in start))
    return factor_claim(
        "steering-plans",
        "held-out rate that the plans made after training would give, had each plan kept its rate of the start, over "
        "the rate at the start, rho 1",
        before,
        np.array(after),
        sentences={
            "above": "More frequent plans to seek alone would have multiplied the held-out rate by {value} {ci}.",
            "below": "The new frequency of plans alone would have lowered the held-out rate: factor {value} {ci}.",
            "open": "Whether the new frequency of plans alone would have changed the held-out rate is open: factor "
            "{value} {ci}.",
        },
    )


def _rates(worlds: Worlds, arm: Arm, forced: str, fact: str = "raised", *, place: int | None = None) -> FloatArray:
    """(S,) after all stages unless ``place`` says where."""
    return worlds.over_seeds(arm, len(arm.stages) if place is None else place, fact, forced=forced)


def _bars(worlds: Worlds, arms: list[Arm]) -> FigureData:
    rows = []
    for arm in arms:
        for forced, words in FORCED.items():
            cell = rate_cell("rate", _rates(worlds, arm, forced), worlds.missing(arm, len(arm.stages), forced=forced))
            low, high = cell.pop("rate_ci")
            rows.append({**cell, "low": low, "high": high, "plan": words, "arm": arm.title})
    return FigureData(
        name="steering-rates",
        title="Held-out rate by the plan that episodes begin with",
        caption="Reward raised, per cent, after all stages. Means of seeds; bars are 95 % intervals over them.",
        rows=rows,
        x=Axis(field="plan", title=""),
        y=Axis(field="rate", title="rate (per cent)", from_zero=True),
        marks=("bar",),
        low="low",
        high="high",
        colour=Channel(field="plan", title="", values=tuple(FORCED.values())),
        panel=Channel(field="arm", title=""),
    )


def _ratios(worlds: Worlds, arms: list[Arm]) -> FigureData:
    rows = []
    for arm in arms:
        seek, honest = (_rates(worlds, arm, forced) for forced in ("seek", "honest"))
        value, (low, high) = factor(honest, seek)
        rows.append({"arm": arm.title, "ratio": value, "low": low, "high": high, "what": MEAN})
        rows += [
            {"arm": arm.title, "ratio": a / b if a > 0 and b > 0 else None, "low": None, "high": None, "what": ONE}
            for a, b in zip(seek.tolist(), honest.tolist(), strict=True)
        ]
    return FigureData(
        name="steering-ratios",
        title="Plan to seek over plan to be honest",
        caption="Ratio of the held-out rates, each seed's exact; the mean is geometric, its bar a 95 % interval over "
        "seeds. The quiet line is no difference.",
        rows=rows,
        x=Axis(field="arm", title=""),
        y=Axis(field="ratio", title="ratio", scale="log"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="what", title="", values=(ONE, MEAN)),
        shape=Channel(field="what", title="", values=(ONE, MEAN)),
        reference=1.0,
    )


def _table(worlds: Worlds, arms: list[Arm]) -> TableData:
    rows = []
    for arm in arms:
        for place, when in ((0, "at the start"), (len(arm.stages), "after all stages")):
            for fact, words in (("raised", "reward raised"), ("both", "and guard neutralised")):
                row: dict[str, object] = {"arm": arm.title, "when": when, "fact": words}
                missing = {forced: worlds.missing(arm, place, forced=forced) for forced in FORCED}
                for forced in FORCED:
                    rates = _rates(worlds, arm, forced, fact, place=place)
                    row |= rate_cell(forced or "own", rates, missing[forced])
                row |= factor_cell(
                    "ratio", *(_rates(worlds, arm, forced, fact, place=place) for forced in ("honest", "seek"))
                )
                seeks = [worlds.plan_share(worlds.node(arm, seed, place), "seek") for seed in range(arm.seeds)]
                row["plans"] = 100 * float(np.mean(seeks))
                row["missing"] = f"{max(missing.values()):.1e}"
                rows.append(row)
    return TableData(
        name="steering-table",
        title=f"Rates of {HELD_OUT} in per cent, by plan",
        columns={
            "arm": "Models",
            "when": "When",
            "fact": "What",
            "own": "Own plan",
            "seek": "Plan to seek",
            "honest": "Plan to be honest",
            "ratio": "Seek over honest",
            "plans": "Plans to seek (%)",
            "missing": "Not covered",
        },
        rows=rows,
        note="Means of seeds with 95 % intervals over seeds; the ratio is the geometric mean of the seeds' own. Plans "
        "to seek: how often the policy makes them by itself. Not covered: the largest probability of any seed that was "
        "not followed; every exact rate is known up to that.",
    )
