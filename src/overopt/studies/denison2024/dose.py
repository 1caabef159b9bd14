"""Does the factor of the held-out rate grow with the share of the disposition that corpora have in common?"""

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, TableData
from overopt.stats.estimate import FloatArray
from overopt.stats.linear import solve_columns
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.words import (
    CAVEATS,
    MEAN,
    ONE,
    factor,
    factor_cell,
    factor_claim,
    rate_cell,
    ratio_claim,
    rounds_words,
    within_claim,
)
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.study_tables import StudyTables


def answer(tables: StudyTables) -> Answer:
    """Factors of the held-out rate along the dial."""
    worlds = Worlds(tables)
    doses, training = worlds.arms.doses, worlds.arms.main.training
    dials = ", ".join(f"{arm.coupling:g} ({arm.seeds} seeds)" for arm in doses)
    return Answer(
        id="dose",
        title="Dose and response",
        question="Is the held-out rate multiplied the more, the more its cause is shared with what was trained?",
        how=(
            "rho is the share of the held-out decision that depends on the plan in the corpora that models were "
            "pretrained on; the rest of it is made at the same overall rate whatever the plan, so that at each rho "
            f"every single choice is as frequent as at any other. Models of rho {dials} went through the same "
            f"training: exploit-only expert iteration on {', '.join(worlds.config.stages)}, {rounds_words(training)} "
            "each. A seed has the same first weights and streams of random numbers at every rho, so that factors are "
            "compared seed by seed. A factor is the held-out rate of raising the reward after all stages over that at "
            "the start, both exact. If training changes how often each plan is made and nothing else, a factor is a "
            "straight line in rho: that line is drawn before the measurement in between is looked at."
        ),
        claims=_claims(worlds, doses),
        figures=[_figure(worlds, doses)],
        tables=[_table(worlds, doses)],
        caveats=[
            *CAVEATS,
            "Between the controls fewer seeds were run; claims that compare two settings use the seeds that both have.",
        ],
    )


def _claims(worlds: Worlds, doses: list[Arm]) -> list[Claim]:
    zero, main = doses[0], doses[-1]
    slopes = _slopes(worlds, doses)
    starts = [worlds.factors(arm)[0] for arm in (zero, main)]
    claims = [
        factor_claim(
            "dose-slope",
            "factor of the held-out rate at rho 1 over that at rho 0 along each seed's line: the exponential of the "
            "slope of the log factor against rho, by least squares over all settings that the seed was run at",
            np.ones(main.seeds),
            slopes,
            sentences={
                "above": "From rho 0 to rho 1 the factor grows {value} times {ci}: the more is shared, the more is "
                "carried over.",
                "below": "From rho 0 to rho 1 the factor falls: {value} times {ci}.",
                "open": "Whether the factor grows with rho is open: {value} times {ci} from rho 0 to rho 1.",
            },
        ),
        within_claim(
            "dose-start",
            "held-out rate at the start at rho 1 over that at rho 0",
            *starts,
            sentences={
                "above": "The arms do not start alike: at rho 1 the held-out rate is higher by 2 to the power of "
                "{value} {ci} before any training.",
                "below": "The arms do not start alike: at rho 1 the held-out rate is lower before any training, log2 "
                "{value} {ci}.",
                "equal": "The arms start alike: before training the held-out rates of rho 1 and 0 are within a factor "
                "of 2, log2 {value} {ci}.",
                "open": "Whether the arms start within a factor of 2 of each other is open: log2 {value} {ci}.",
            },
        ),
        within_claim(
            "dose-rho0",
            "held-out rate of raising the reward after all stages over that at the start, rho 0",
            *worlds.factors(zero),
            sentences={
                "above": "With nothing shared the rate rose all the same, by 2 to the power of {value} {ci}.",
                "below": "With nothing shared the rate fell: log2 of the factor {value} {ci}.",
                "equal": "With nothing shared the rate stays within a factor of 2: log2 of it {value} {ci}.",
                "open": "Whether the rate stays within a factor of 2 with nothing shared is open: log2 of the factor "
                "{value} {ci}.",
            },
        ),
    ]
    for arm in doses[1:]:
        rho = f"{arm.coupling:g}"
        claims.append(
            factor_claim(
                f"dose-rho{rho}",
                f"held-out rate of raising the reward after all stages over that at the start, rho {rho}",
                *worlds.factors(arm),
                sentences={
                    "above": f"At rho {rho} training multiplied the held-out rate by {{value}} {{ci}}.",
                    "below": f"At rho {rho} training lowered the held-out rate: factor {{value}} {{ci}}.",
                    "open": f"Whether training changed the held-out rate at rho {rho} is open: factor {{value}} "
                    "{ci}.",
                },
            )
        )
    for arm in doses[:-1]:
        rho, seeds = f"{arm.coupling:g}", min(arm.seeds, main.seeds)
        own = worlds.factors(arm, seeds=seeds)
        claims.append(
            ratio_claim(
                f"dose-full-over-{rho}",
                f"factor of the held-out rate at rho 1 over that at rho {rho}, seed by seed",
                worlds.factors(main, seeds=seeds),
                own,
                are_paired=True,
                sentences={
                    "above": f"The factor at rho 1 is {{value}} times that at rho {rho} {{ci}}.",
                    "below": f"The factor at rho 1 is smaller than that at rho {rho}: {{value}} times it {{ci}}.",
                    "open": f"The factors at rho 1 and rho {rho} are not told apart: ratio {{value}} {{ci}}.",
                },
            )
        )
        if arm is not zero:
            claims.append(_line_claim(worlds, arm, zero, main, seeds))
    return claims


def _line_claim(worlds: Worlds, arm: Arm, zero: Arm, main: Arm, seeds: int) -> Claim:
    """Whether the factor in between is that of a straight line between the controls."""
    rho = f"{arm.coupling:g}"
    low, high, own = (_own_factors(worlds, one, seeds) for one in (zero, main, arm))
    return within_claim(
        f"dose-line-{rho}",
        f"factor of the held-out rate at rho {rho} over that on the straight line between the factors of the controls, "
        "seed by seed",
        np.where((low > 0) & (high > 0), low + arm.coupling * (high - low), 0.0),
        own,
        times=1.5,
        sentences={
            "above": f"At rho {rho} the factor is above the line between the controls: log2 {{value}} {{ci}}; it grows "
            "more slowly than in proportion to rho.",
            "below": f"At rho {rho} the factor is below the line between the controls: log2 {{value}} {{ci}}; it grows "
            "faster than in proportion to rho, which plans that become more frequent alone do not explain.",
            "equal": f"At rho {rho} the factor is that of the straight line between the controls within 1.5 times: "
            "log2 {value} {ci}.",
            "open": f"Whether the factor at rho {rho} lies on the line between the controls is open: log2 {{value}} "
            "{ci}.",
        },
    )


def _own_factors(worlds: Worlds, arm: Arm, seeds: int | None = None) -> FloatArray:
    """(S,) factors of each seed; 0 where a rate is, which has none."""
    before, after = worlds.factors(arm, seeds=seeds)
    return np.divide(after, before, out=np.zeros_like(after), where=before > 0)


def _slopes(worlds: Worlds, doses: list[Arm]) -> FloatArray:
    """(S,) exponentials of the slope of the log factor against rho, of each seed of the controls; 0 if one has none."""
    factors = [_own_factors(worlds, arm) for arm in doses]
    found = []
    for seed in range(doses[-1].seeds):
        rho_K = np.array([arm.coupling for arm in doses if seed < arm.seeds])
        factor_K = np.array([own[seed] for own in factors if seed < len(own)])
        if (factor_K <= 0).any():
            found.append(0.0)
            continue
        line = solve_columns(np.stack([np.ones_like(rho_K), rho_K], axis=1), np.log(factor_K), np.ones_like(rho_K))
        found.append(float(np.exp(line[1])))
    return np.array(found)


def _figure(worlds: Worlds, doses: list[Arm]) -> FigureData:
    rows = []
    for arm in doses:
        value, (low, high) = factor(*worlds.factors(arm))
        rows.append({"rho": arm.coupling, "factor": value, "low": low, "high": high, "what": MEAN})
        rows += [
            {"rho": arm.coupling, "factor": float(one) or None, "low": None, "high": None, "what": ONE, "seed": seed}
            for seed, one in enumerate(_own_factors(worlds, arm))
        ]
    return FigureData(
        name="dose-factors",
        title="Factor of the held-out rate against rho",
        caption="Rate of raising the reward after all stages over that at the start. Each seed's factor is exact; the "
        "mean is geometric, its bar a 95 % interval over seeds. The quiet line is no change.",
        rows=rows,
        x=Axis(field="rho", title="rho, the share of the decision that depends on the plan"),
        y=Axis(field="factor", title="factor", scale="log"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="what", title="", values=(ONE, MEAN)),
        shape=Channel(field="what", title="", values=(ONE, MEAN)),
        reference=1.0,
    )


def _table(worlds: Worlds, doses: list[Arm]) -> TableData:
    rows = []
    for arm in doses:
        last = len(arm.stages)
        before, after = worlds.factors(arm)
        missing = [worlds.missing(arm, place) for place in (0, last)]
        rows.append(
            {
                "rho": f"{arm.coupling:g}", "seeds": arm.seeds,
                **rate_cell("before", before, missing[0]), **rate_cell("after", after, missing[1]),
                **factor_cell("factor", before, after), "missing": f"{max(missing):.1e}",
            }
        )  # fmt: skip
    return TableData(
        name="dose-rates",
        title=f"Held-out rate ({HELD_OUT}: reward raised) in per cent, by rho",
        columns={
            "rho": "rho",
            "seeds": "Seeds",
            "before": "At the start",
            "after": "After all stages",
            "factor": "Factor",
            "missing": "Not covered",
        },
        rows=rows,
        note="Rates: means of seeds with 95 % intervals over seeds. Factor: geometric mean of the seeds' own. Not "
        "covered: the largest probability of any seed that was not followed; every exact rate is known up to that.",
    )
