"""Is it the order of the environments that matters, or how many different ones there are?"""

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.stats.estimate import FloatArray
from overopt.stats.rate_comparison import compare_rates
from overopt.studies.denison2024.arm_numbers import NUMBER_COLUMNS, log2_factors, number_cells, numbers
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import difference_claim, mean_claim
from overopt.studies.denison2024.words import (
    CAVEATS,
    MEAN,
    ONE,
    SOURCE,
    ZERO_RATE,
    factor,
    factor_claim,
    mean_interval,
    ratio_claim,
    rounds_words,
)
from overopt.studies.denison2024.worlds import Worlds
from overopt.studies.study_tables import StudyTables
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

MARGIN = 1.0
"""Of log2 of a ratio of factors: within a factor of 2 counts as no difference."""
IN_ORDER = "in order"


def answer(tables: StudyTables) -> Answer:
    """The held-out rate after other orders, after all at once, and after one environment alone."""
    worlds = Worlds(tables)
    others = _others(worlds)
    main, training = worlds.arms.main, worlds.arms.main.training
    claims = [_raised_claim(worlds, arm) for arm in [main, *others]]
    for arm in others:
        claims += _beside_order(worlds, arm)
    if {"together", "last-alone"} <= {arm.id for arm in others}:
        claims.append(_diversity_claim(worlds, others))
    return Answer(
        id="order",
        title="Order and diversity",
        question="Does the order of the environments matter, or how many different ones are trained?",
        how=(
            f"Exploit-only expert iteration at rho 1 from the same pretrained models, seed by seed: {_titles(worlds)}. "
            "Every way has as many rounds in all, "
            f"{rounds_words(training, rounds=training.rounds * len(main.stages))}: one environment alone has "
            f"{len(main.stages)} times as many as it has in the curriculum. The table says how many rounds taught "
            "something, and from how many episodes. Ways are compared seed by seed by the factor of the held-out rate. "
            "Whether order matters is asked with a margin chosen beforehand: a ratio of factors within 2 counts as no "
            "difference. Whether diversity matters more than order is asked for each seed: by how many doublings the "
            "curriculum exceeds its last environment alone, less the distance, whatever its sign, between the "
            "curriculum and all at once; noise in that distance counts against diversity."
        ),
        claims=claims,
        figures=[_figure(worlds, [main, *others]), _heat(worlds, [main, *others])],
        tables=[_table(worlds, [main, *others])],
        caveats=[
            f"Of single environments only the last, {main.stages[-1]}, was trained alone: another one alone could do "
            "more or less.",
            "Rounds, not learning, are equal: what is learnt early leaves the rest of its rounds empty, and one "
            "environment alone then learns from fewer episodes than four.",
            "Trained all at once, each round's prompts are shared between the environments, and so is what is kept.",
            *CAVEATS,
        ],
    )


def _others(worlds: Worlds) -> list[Arm]:
    """The ways that differ from the curriculum in order: with a single stage none but itself is left."""
    main = worlds.arms.main
    return [arm for arm in worlds.arms.orders if (arm.stages, arm.training) != (main.stages, main.training)]


def _title(arm: Arm, worlds: Worlds) -> str:
    """As it follows "trained"."""
    if arm.id == worlds.arms.main.id:
        return IN_ORDER
    return f"on {arm.title}" if arm.id == "last-alone" else arm.title


def _titles(worlds: Worlds) -> str:
    found = [f"{IN_ORDER} ({', '.join(worlds.arms.main.stages)})", *(_title(arm, worlds) for arm in _others(worlds))]
    return ", ".join(found)


def _raised_claim(worlds: Worlds, arm: Arm) -> Claim:
    title = _title(arm, worlds)
    published = {
        worlds.arms.main.id: "PPO, stages in order: from 0 of 100,000 to 5 of 10,000",
        "together": "PPO, all environments at once: from 0 of 100,000 to 6 of 10,000",
    }
    return factor_claim(
        f"order-raised-{arm.id}",
        f"held-out rate of raising the reward after training {title} over that at the start",
        *worlds.factors(arm),
        sentences={
            "above": f"Trained {title}, the held-out rate was multiplied by {{value}} {{ci}}.",
            "below": f"Trained {title}, the held-out rate fell: factor {{value}} {{ci}}.",
            "open": f"Whether the held-out rate changed when trained {title} is open: factor {{value}} {{ci}}.",
        },
        published=Published(finding=published[arm.id], source=SOURCE, outcomes=("above",))
        if arm.id in published
        else None,
    )


def _beside_order(worlds: Worlds, arm: Arm) -> list[Claim]:
    """A way against the curriculum in its order, on the same starts."""
    main, seeds, title = worlds.arms.main, arm.seeds, _title(arm, worlds)
    doublings = log2_factors(*worlds.factors(arm)) - log2_factors(*worlds.factors(main, seeds=seeds))
    ends = [numbers(worlds, one, environments=ENVIRONMENTS[:-1]).first(seeds) for one in (arm, main)]
    learnt = difference_claim(
        f"order-learnt-{arm.id}",
        f"rate of gaming, mean over {', '.join(ENVIRONMENTS[:-1])}, after training {title} less that {IN_ORDER}",
        ends[0].gamed,
        ends[1].gamed,
        sentences={
            "above": f"Trained {title}, the policy games these environments {{size}} more often {{ci}} than "
            f"{IN_ORDER}.",
            "below": f"Trained {title}, the policy games these environments {{size}} less often {{ci}} than "
            f"{IN_ORDER}.",
            "open": f"Whether the policy games these environments more often when trained {title} is open: "
            "{value} {ci}.",
        },
    )
    if arm.id == "last-alone":
        compared = ratio_claim(
            "order-ratio-last-alone",
            f"factor of the held-out rate after {arm.title} over that after the curriculum",
            worlds.factors(arm),
            worlds.factors(main, seeds=seeds),
            are_paired=True,
            sentences={
                "above": f"{arm.title.capitalize()} raised the held-out rate more than the curriculum: {{value}} times "
                "its factor {ci}.",
                "below": f"{arm.title.capitalize()} raised the held-out rate less than the curriculum: {{value}} times "
                "its factor {ci}.",
                "open": f"{arm.title.capitalize()} and the curriculum are not told apart: ratio of factors {{value}} "
                "{ci}.",
            },
            published=Published(
                finding="the diversity of environments matters for generalisation", source=f"{SOURCE}, on PPO",
                outcomes=("below",),
            ),
        )  # fmt: skip
    else:
        compared = mean_claim(
            f"order-ratio-{arm.id}",
            f"log2 of the factor of the held-out rate when trained {title} over that {IN_ORDER}; within "
            f"{MARGIN:g}, a factor of 2, counts as no difference",
            doublings,
            unit="",
            scale=1.0,
            digits=2,
            margin=MARGIN,
            sentences={
                "above": f"Trained {title}, the held-out rate rose more than {IN_ORDER}: log2 of the ratio "
                "{value} {ci}.",
                "below": f"Trained {title}, the held-out rate rose less than {IN_ORDER}: log2 of the ratio "
                "{value} {ci}.",
                "equal": f"Trained {title}, the held-out rate rose by the same factor as {IN_ORDER}, within 2: "
                "log2 of the ratio {value} {ci}.",
                "open": f"Whether the held-out rate rises by another factor when trained {title} is open: log2 of "
                "the ratio {value} {ci}.",
            },
            published=_published_order() if arm.id == "together" else None,
            missing=ZERO_RATE,
        )
    return [compared, learnt]


def _published_order() -> Published:
    found = compare_rates(6, 10_000, 5, 10_000)
    return Published(
        finding=f"all at once 6 of 10,000, in order 5 of 10,000: ratio {found.ratio:.2g}, 95 % interval "
        f"{found.ratio_ci[0]:.2g} to {found.ratio_ci[1]:.2g}",
        source=f"{SOURCE}, PPO; the interval (Koopman) is ours",
        outcomes=("equal",),
    )


def _diversity_claim(worlds: Worlds, others: list[Arm]) -> Claim:
    by_id = {arm.id: arm for arm in others}
    seeds = min(by_id[name].seeds for name in ("together", "last-alone"))
    main = log2_factors(*worlds.factors(worlds.arms.main, seeds=seeds))
    alone, together = (log2_factors(*worlds.factors(by_id[name], seeds=seeds)) for name in ("last-alone", "together"))
    values: FloatArray = (main - alone) - np.abs(together - main)
    return mean_claim(
        "order-diversity",
        "log2 of the curriculum's factor over that of its last environment alone, less the absolute log2 of that of "
        "all at once over the curriculum's",
        values,
        unit="",
        scale=1.0,
        digits=2,
        sentences={
            "above": "Diversity matters more than order: by {value} {ci} doublings of the held-out rate.",
            "below": "Diversity does not matter more than order: {value} {ci} doublings of the held-out rate.",
            "open": "Whether diversity matters more than order is open: {value} {ci} doublings of the held-out rate.",
        },
        published=Published(
            finding="diversity matters more than order, since training all at once does as much as in order",
            source=f"{SOURCE}, on PPO",
            outcomes=("above",),
        ),
        missing=ZERO_RATE,
    )


def _figure(worlds: Worlds, arms: list[Arm]) -> FigureData:
    rows: list[dict[str, object]] = []
    for arm in arms:
        value, (low, high) = factor(*worlds.factors(arm))
        title = _title(arm, worlds)
        rows.append({"way": title, "what": MEAN, "factor": value, "low": low, "high": high})
        logs = log2_factors(*worlds.factors(arm))
        rows += [
            {
                "way": title, "what": ONE, "factor": float(2**one) if np.isfinite(one) else None,
                "low": None, "high": None, "seed": seed,
            }
            for seed, one in enumerate(logs)
        ]  # fmt: skip
    return FigureData(
        name="order-factors",
        title="Factor of the held-out rate, by way of training",
        caption="Geometric mean over seeds with its 95 % interval, and each seed, which has the same start "
        "everywhere. The quiet line is no change.",
        rows=rows,
        x=Axis(field="way", title="trained"),
        y=Axis(field="factor", title="factor", scale="log"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="what", title="", values=(ONE, MEAN)),
        reference=1.0,
    )


def _heat(worlds: Worlds, arms: list[Arm]) -> FigureData:
    """What each way learnt where: the first guess why factors differ."""
    rows = []
    for arm in arms:
        for environment in ENVIRONMENTS:
            fact = "raised" if environment == ENVIRONMENTS[-1] else "gamed"
            value, (low, high) = mean_interval(worlds.over_seeds(arm, len(arm.stages), fact, environment))
            assert value is not None
            between = (
                "one seed"
                if low is None or high is None
                else f"[{100 * max(low, 0.0):.3g}, {100 * min(high, 1.0):.3g}]"
            )
            rows.append(
                {
                    "way": _title(arm, worlds), "environment": environment, "rate": 100 * value,
                    "log_rate": float(np.log10(max(value, 1e-6))), "text": f"{100 * value:.3g} %\n{between}",
                }
            )  # fmt: skip
    return FigureData(
        name="order-heat",
        title="Gaming of every environment at the end, by way of training",
        caption=f"Mean over seeds in per cent, brackets: 95 % interval over seeds; of {ENVIRONMENTS[-1]} the rate of "
        "raising the reward. The shade is log10 of the rate.",
        rows=rows,
        x=Axis(field="environment", title="environment"),
        y=Axis(field="way", title="trained"),
        marks=("heat", "text"),
        value="log_rate",
        written="text",
    )


def _table(worlds: Worlds, arms: list[Arm]) -> TableData:
    rows = []
    for arm in arms:
        taught, learnt_from = worlds.learnt(arm)
        row: dict[str, object] = {
            "way": _title(arm, worlds), "seeds": arm.seeds,
            "taught": f"{taught.sum():.0f} of {arm.seeds * len(arm.stages) * arm.training.rounds}",
            "learnt_from": round(learnt_from.mean()),
        }  # fmt: skip
        places = (0, len(arm.stages))
        before, after = (numbers(worlds, arm, place, environments=ENVIRONMENTS[:-1]) for place in places)
        rows.append(row | number_cells(before, after))
    return TableData(
        name="order-numbers",
        title="What each way of training did",
        columns={
            "way": "Trained",
            "seeds": "Seeds",
            "taught": "Rounds that taught, all seeds",
            "learnt_from": "Episodes learnt from, a seed",
            **NUMBER_COLUMNS,
        },
        rows=rows,
        digits=3,
        note=f"Means over seeds with 95 % intervals; rates in per cent; gaming, plans and KL are means over "
        f"{', '.join(ENVIRONMENTS[:-1])}, whether or not they were trained.",
    )  # fmt: skip
