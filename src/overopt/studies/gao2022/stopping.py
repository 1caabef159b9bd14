"""Is a run that a KL penalty held at a distance worth as much gold as one without it that was stopped there?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from overopt.measure.intervals import DRAWS
from overopt.measure.pools import mean_by_prompt
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.records.tables import read_table
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means_over_seeds
from overopt.studies.claims import UNKNOWN, Interval, crossed, over_units
from overopt.studies.gao2022.matched import first_reach, gold_where, of_draws, wider
from overopt.studies.gao2022.runs import Penalised, penalised_runs, several
from overopt.studies.study_tables import RunTable, StudyTables

MARGIN = 0.1
STILL = 0.2
"""Growth of KL over the last third of a run, as a share of its mean there, below which a run stands still."""
SOURCE = "Gao et al. 2022, section 3.6, figure 9"


def answer(tables: StudyTables) -> Answer:
    """Gold at the end of penalised runs less gold of free runs at that distance, and how far the policies are apart."""
    pairs = penalised_runs(tables)
    slow = penalised_runs(tables, is_slow=True)
    return Answer(
        id="stopping",
        title="Penalty or early stopping",
        question="Is a run that a KL penalty held at a distance worth what a free run was worth when it passed there?",
        how=(
            "The last policy of every run with a KL penalty is held against the run without one from the same seed, "
            "where that first reached the same KL to the base policy: straight between its measurements, and before "
            "the first of them along the law d(α − β ln d) through the first two. Gold is compared on the same "
            "held-out prompts. The same is done with free runs at a share of the learning rate, which pass there after "
            "more steps. Whether a penalised run had come to rest is read from the KL of its training batches: "
            "growth along a straight line over the last third of its steps, as a share of the mean KL there. For one "
            "penalty the two policies also answered the same prompts, and the exact KL of each reply to the other "
            "policy and to the base policy was taken, in both directions; so were those of two penalised runs of "
            "different seeds, which is what a seed alone does."
        ),
        claims=[
            _gold_claim(tables, pairs, is_slow=False),
            _gold_claim(tables, slow, is_slow=True),
            _rest_claim(tables, pairs),
            _apart_claim(tables),
            _seed_claim(tables),
        ],
        figures=[*_gold_figure(pairs, slow), *_log_figure(tables, pairs)],
        tables=[*_gold_table(tables, pairs, slow), *_apart_table(tables)],
        caveats=[
            "Seeds are paired: both runs of a pair saw the same prompts in the same order.",
            *_pace(pairs, "at the same learning rate"),
            *_pace(slow, f"at {tables.settings['slow_rate']:g} times the learning rate" if slow else ""),
            "The free policy is that of the measurement with the nearest KL, so the two distances to the start "
            "differ a little.",
        ],
    )


def _differences(pair: Penalised) -> FloatArray:
    """Gold at a penalised run's end less gold of the free run there (S, P); nan where that never came so far."""
    return np.stack(
        [
            held.gold_PK[:, -1] - gold_where(free, float(held.d_K[-1]))
            for held, free in zip(pair.held, pair.free, strict=True)
        ]
    )


def _over_seeds(values_SP: FloatArray, rng: np.random.Generator) -> tuple[float | None, Interval]:
    """Mean and the wider of two intervals: over seeds and prompts, and over seeds alone by Student's t."""
    value, both = crossed(values_SP, rng)
    return value, wider(both, over_units(values_SP.mean(axis=1), rng)[1])


def _pace(pairs: Sequence[Penalised], rate: str) -> list[str]:
    """Steps to the distances that are compared, as a caveat; none where no free run came so far."""
    taken = []
    for pair in pairs:
        for held, free in zip(pair.held, pair.free, strict=True):
            d = float(held.d_K[-1])
            if 0 < d <= free.d_K.max():
                way = np.maximum.accumulate(free.d_K)
                steps = np.array([free.steps], dtype=np.float64)
                taken.append((held.steps[-1], float(first_reach(way[None], d, steps)[0])))
    if not taken:
        return []
    held_steps, free_steps = np.mean(taken, axis=0).tolist()
    return [
        f"Where they are compared, penalised runs had taken {held_steps:.0f} steps on average and free runs {rate} "
        f"{free_steps:.0f}."
    ]


def _gold_claim(tables: StudyTables, pairs: Sequence[Penalised], *, is_slow: bool) -> Claim:
    """Against free runs of the usual rate, of which something is published, or against slow ones."""
    by_seed: dict[int, list[FloatArray]] = {}
    left_out = 0
    used = set()
    for pair in pairs:
        for seed, values_P in zip(pair.seeds, _differences(pair), strict=True):
            if np.isfinite(values_P).all():
                by_seed.setdefault(seed, []).append(values_P)
                used.add(pair.weight)
            else:
                left_out += 1
    value, ci = None, UNKNOWN
    notes = []
    if by_seed:
        values_SP = np.stack([np.mean(found, axis=0) for found in by_seed.values()])
        value, ci = _over_seeds(values_SP, stream(tables.seed, "stopping", "slow" if is_slow else "gold"))
    else:
        notes.append(f"no run with a penalty has a {'slow ' if is_slow else ''}run without one that came as far")
    if left_out:
        notes.append(f"{left_out} penalised runs ended farther out than the free run of their seed and are left out")
    early = sum(
        float(held.d_K[-1]) < float(free.d_K[free.d_K > 0].min(initial=np.inf))
        for pair in pairs
        for held, free in zip(pair.held, pair.free, strict=True)
    )
    if early:
        notes.append(f"{early} ended before the free run's first measurement, where its gold follows the law")
    rests = [one for pair in pairs if (one := _growth(pair)) is not None]
    still = sum(float(np.mean(growth)) <= STILL for growth in rests)
    if rests and not is_slow:
        notes.append(f"by the rule below, {still} of {len(rests)} penalties had brought their runs to rest")
    prompts = pairs[0].held[0].gold_PK.shape[0] if pairs else 0
    slowly = " a slow free run" if is_slow else ""
    pace = f" at {tables.settings.get('slow_rate', 1):g} times the learning rate" if is_slow else ""
    return Claim(
        id="stopping-gold-slow" if is_slow else "stopping-gold",
        what=f"gold at the end of a penalised run less that of a free run{pace} at the same KL, equal within {MARGIN} "
        "sd",
        value=value,
        ci=ci,
        counted=f"{several(len(by_seed), 'seed')} and {prompts} prompts, the wider of both together and seeds alone; "
        f"{several(len(used), 'weight')} of the penalty",
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": f"A penalty leaves {{size}} more gold {{ci}} than stopping{slowly} early at the same KL.",
            "below": f"A penalty leaves {{size}} less gold {{ci}} than stopping{slowly} early at the same KL.",
            "equal": f"A penalty is worth what stopping{slowly} early is: gold differs by {{value}} {{ci}}, within "
            f"{MARGIN} sd.",
            "open": f"Whether a penalty is worth what stopping{slowly} early is, is not decided: gold differs by "
            "{value} {ci}.",
        },
        published=None
        if is_slow
        else Published(
            finding="a KL penalty acts like stopping early: gold against KL stays the same",
            source=SOURCE,
            outcomes=("equal",),
        ),
        note="; ".join(notes),
    )


def _growth(pair: Penalised) -> list[float] | None:
    """Growth of KL over the last third of each run as a share of its mean there; ``None`` with too few steps."""
    found = [_growth_of(run) for run in pair.held]
    return found if all(math.isfinite(value) for value in found) else None


def _growth_of(run: RunTable) -> float:
    steps, kl = run.log["step"].to_numpy(), run.log["kl"].to_numpy()
    last = steps > steps.max() * 2 / 3
    if last.sum() < 3 or kl[last].mean() <= 0:
        return math.nan
    slope = float(np.polyfit(steps[last], kl[last], 1)[0])
    return slope * float(np.ptp(steps[last])) / float(kl[last].mean())


def _rest_claim(tables: StudyTables, pairs: Sequence[Penalised]) -> Claim:
    weight = tables.settings["compared_penalty"]
    of = next((pair for pair in pairs if pair.weight == weight), None)
    growth = None if of is None else _growth(of)
    value, ci = (None, UNKNOWN) if growth is None else over_units(growth, stream(tables.seed, "stopping", "rest"))
    return Claim(
        id="stopping-rest",
        what=f"growth of KL over the last third of the steps with penalty {weight:g}, as a share of its mean there; at "
        f"rest within {STILL:.0%}".replace("%", " %"),
        value=None if value is None else 100 * value,
        ci=UNKNOWN if ci[0] is None or ci[1] is None else (100 * ci[0], 100 * ci[1]),
        counted=several(len(growth or []), "seed"),
        unit="%",
        digits=0,
        margin=100 * STILL,
        sentences={
            "above": f"With penalty {weight:g} runs were still moving away when they ended: KL grew by {{value}} "
            f"{{ci}}.",
            "below": f"With penalty {weight:g} runs were coming back when they ended: KL fell by {{size}} {{ci}}.",
            "equal": f"With penalty {weight:g} runs had come to rest: over the last third KL changed by {{value}} "
            f"{{ci}}.",
            "open": f"Whether runs with penalty {weight:g} had come to rest is not decided: KL changed by {{value}} "
            f"{{ci}}.",
        },
        note="" if value is not None else "runs are too short, or there are none with that penalty",
    )


def _apart(tables: StudyTables, folder: str = "distances") -> dict[int, dict[str, FloatArray]]:
    """Seed → means by prompt (P,): KL to the other and to the start, of the penalised ("first") and the other policy.

    The other is that of stopping early, or with ``seed_distances`` that of the next seed's penalised run.
    """
    weight = tables.settings["compared_penalty"]
    of = next((pair for pair in penalised_runs(tables) if pair.weight == weight), None)
    found = {}
    for seed, run in zip(of.seeds, of.held, strict=True) if of is not None else ():
        if not tables.has(f"{folder}/{run.name}"):
            continue
        table = read_table(tables.root / f"{folder}/{run.name}.parquet", "policy_distances")
        found[seed] = {
            f"{who}_{column}": mean_by_prompt(table.filter(policy=who), f"kl_to_{column}", tables.prompt_ids)
            for who in ("first", "second")
            for column in ("other", "start")
        }
    return found


def _ratio(
    top: Sequence[FloatArray], bottom: Sequence[FloatArray], rng: np.random.Generator
) -> tuple[float | None, Interval]:
    """Mean of ``top`` over mean of ``bottom``, (P,) a seed each; the wider interval of prompts and seeds, and seeds."""
    if not top:
        return None, UNKNOWN
    values_SPK = np.stack([np.stack(top), np.stack(bottom)], axis=2)
    means = values_SPK.mean(axis=(0, 1))
    value = float(means[0] / means[1])
    draws = bootstrap_means_over_seeds(values_SPK, DRAWS, rng)
    by_seed = values_SPK.mean(axis=1)
    # Seeds weigh alike in their interval, by KL in the value: moved to it, as only the width is asked for.
    mean, over = over_units(by_seed[:, 0] / by_seed[:, 1], rng)
    moved = UNKNOWN
    if mean is not None and over[0] is not None and over[1] is not None:
        moved = (over[0] - mean + value, over[1] - mean + value)
    return value, wider(of_draws(value, draws[:, 0] / draws[:, 1], values_SPK.shape[1]), moved)


def _apart_claim(tables: StudyTables) -> Claim:
    apart = _apart(tables)
    weight = tables.settings["compared_penalty"]
    value, ci = _ratio(
        [one["first_other"] + one["second_other"] for one in apart.values()],
        [one["first_start"] + one["second_start"] for one in apart.values()],
        stream(tables.seed, "stopping", "apart"),
    )
    return Claim(
        id="stopping-apart",
        what=f"KL between the policies of penalty {weight:g} and of stopping at the same KL, over their KL to the "
        "start",
        value=value,
        ci=ci,
        counted=f"{several(len(apart), 'seed')} and {len(tables.prompt_ids)} prompts, the wider of both together and "
        "seeds alone; both directions",
        reference=1.0,
        sentences={
            "above": "The two policies are farther from each other than from the start: the KL between them is {value} "
            "{ci} times that to the start.",
            "below": "The two policies are closer to each other than to the start, though not the same policy: the KL "
            "between them is {value} {ci} times that to the start.",
            "open": "Whether the two policies are farther from each other than from the start is not decided: the KL "
            "between them is {value} {ci} times that to the start.",
        },
        note=(
            "0 is the same policy; for small steps squared distances add, so two policies that went equally far in "
            "unrelated directions would be at about 2"
            if apart
            else "no policies were compared"
        ),
    )


def _seed_claim(tables: StudyTables) -> Claim:
    stopped, seeds = _apart(tables), _apart(tables, "seed_distances")
    both = sorted(set(stopped) & set(seeds))
    weight = tables.settings["compared_penalty"]
    value, ci = _ratio(
        [stopped[seed]["first_other"] + stopped[seed]["second_other"] for seed in both],
        [seeds[seed]["first_other"] + seeds[seed]["second_other"] for seed in both],
        stream(tables.seed, "stopping", "seeds"),
    )
    return Claim(
        id="stopping-seeds",
        what=f"KL between the policies of penalty {weight:g} and of stopping at the same KL, over that between two "
        "penalised policies of different seeds",
        value=value,
        ci=ci,
        counted=f"{several(len(both), 'seed')} and {len(tables.prompt_ids)} prompts, the wider of both together and "
        "seeds alone; both directions",
        reference=1.0,
        sentences={
            "above": "The penalty changes the policy more than its seed does: {value} {ci} times the KL between two "
            "penalised runs of different seeds.",
            "below": "The penalty changes the policy less than its seed does: {value} {ci} times the KL between two "
            "penalised runs of different seeds.",
            "open": "Whether the penalty changes the policy more than its seed does is not decided: {value} {ci} "
            "times the KL between two penalised runs of different seeds.",
        },
        note="each seed is compared with the next; seeds have the same proxy and other training prompts"
        if both
        else "policies of different seeds were not compared",
    )


def _gold_figure(pairs: Sequence[Penalised], slow: Sequence[Penalised]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for found, stopped in ((pairs, "stopped early"), (slow, "slow, stopped early")):
        for pair in found:
            for seed, held, free, values_P in zip(pair.seeds, pair.held, pair.free, _differences(pair), strict=True):
                if not np.isfinite(values_P).all():
                    continue
                d = float(held.d_K[-1])
                gold = {"with the penalty": held.gold_PK[:, -1].mean()} if found is pairs else {}
                gold[stopped] = gold_where(free, d).mean()
                rows += [
                    {"penalty": f"{pair.weight:g}", "seed": seed, "d": d, "gold": float(value), "policy": name}
                    for name, value in gold.items()
                ]
    if not rows:
        return []
    return [
        FigureData(
            name="stopping-gold",
            title="Gold at the end of penalised runs, and of free runs stopped there",
            caption="Points at one distance are the runs of a seed. They carry the noise of "
            "some hundred replies each; the claim averages their differences.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the base policy at the end (√nats)", from_zero=True),
            y=Axis(field="gold", title="gold gained (standard deviations)"),
            marks=("point",),
            colour=Channel(field="penalty", title="KL penalty", is_ordered=True),
            shape=Channel(field="policy", title=""),
        )
    ]


def _log_figure(tables: StudyTables, pairs: Sequence[Penalised]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    kinds = [(f"{pair.weight:g}", pair.held) for pair in pairs]
    kinds += [("0", max((pair.free for pair in pairs), key=len))] if pairs else []
    for weight, runs in kinds:
        steps = sorted(set.intersection(*(set(run.log["step"].to_list()) for run in runs)))
        by_run = np.stack([run.log.filter(run.log["step"].is_in(steps)).sort("step")["kl"].to_numpy() for run in runs])
        rows += [
            {"penalty": weight, "step": step, "kl": float(kl)}
            for step, kl in zip(steps, by_run.mean(axis=0), strict=True)
        ]
    if not rows:
        return []
    return [
        FigureData(
            name="stopping-rest",
            title="KL by training step: do penalised runs come to rest?",
            caption="Of training batches before each step, mean over seeds.",
            rows=rows,
            x=Axis(field="step", title="training step"),
            y=Axis(field="kl", title="KL to the base policy (nats)", from_zero=True),
            marks=("line",),
            colour=Channel(
                field="penalty", title="KL penalty", is_ordered=True, values=("0", *(kind for kind, _ in kinds[:-1]))
            ),
        )
    ]


def _gold_table(tables: StudyTables, pairs: Sequence[Penalised], slow: Sequence[Penalised]) -> list[TableData]:
    rows = []
    for pair in pairs:
        values_SP, value, ci = _gold_at_rest(tables, pair, "table")
        beside = next((one for one in slow if one.weight == pair.weight), None)
        _, slow_value, slow_ci = ((), None, UNKNOWN) if beside is None else _gold_at_rest(tables, beside, "slow table")
        growth = _growth(pair)
        rows.append(
            {
                "penalty": pair.weight,
                "seeds": len(values_SP),
                "d": float(np.mean([run.d_K[-1] for run in pair.held])),
                "gold": value,
                "gold_ci": ci,
                "slow": slow_value,
                "slow_ci": slow_ci,
                "growth": None if growth is None else 100 * float(np.mean(growth)),
            }
        )
    if not rows:
        return []
    return [
        TableData(
            name="stopping-penalties",
            title="Each penalty against stopping early",
            columns={
                "penalty": "penalty (sd/nat)",
                "seeds": "seeds compared",
                "d": "d at the end",
                "gold": "gold, penalty less stopping (sd)",
                "slow": "less stopping a slow run (sd)",
                "growth": "KL growth in the last third (%)",
            },
            rows=rows,
        )
    ]


def _gold_at_rest(tables: StudyTables, pair: Penalised, of: str) -> tuple[FloatArray, float | None, Interval]:
    """Differences (S, P) of the seeds whose free runs came as far, with their mean and interval."""
    values_SP = _differences(pair)
    values_SP = values_SP[np.isfinite(values_SP).all(axis=1)]
    rng = stream(tables.seed, "stopping", of, f"{pair.weight:g}")
    return values_SP, *(_over_seeds(values_SP, rng) if len(values_SP) else (None, UNKNOWN))


def _apart_table(tables: StudyTables) -> list[TableData]:
    seeds = _apart(tables, "seed_distances")
    rows = [
        {
            "seed": seed,
            **{name: float(values.mean()) for name, values in one.items()},
            "next_seed": float(seeds[seed]["first_other"].mean()) if seed in seeds else None,
        }
        for seed, one in _apart(tables).items()
    ]
    if not rows:
        return []
    return [
        TableData(
            name="stopping-apart",
            title="KL between the two policies and to the start (nats)",
            columns={
                "seed": "seed",
                "first_other": "KL(penalised ‖ stopped)",
                "second_other": "KL(stopped ‖ penalised)",
                "first_start": "KL(penalised ‖ start)",
                "second_start": "KL(stopped ‖ start)",
                "next_seed": "KL(penalised ‖ penalised, next seed)",
            },
            rows=rows,
            digits=2,
        )
    ]
