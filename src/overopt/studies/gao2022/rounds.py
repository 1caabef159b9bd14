"""Iterated RLHF: rounds of fresh labels against one round, and against what the law predicts (Gao et al. 2022, 4.3).

Axes: S seeds, P prompts, K points, D draws of prompts; draw 0 of every matrix is all prompts.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.measure.intervals import DRAWS, curve_intervals
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import MIN_POINTS, fit_law
from overopt.stats.laws import fit_coefficients, law_value
from overopt.stats.least_squares import point_weights
from overopt.stats.resampling import IntArray, bootstrap_counts
from overopt.studies.claims import UNKNOWN, Interval
from overopt.studies.gao2022.coefficients import is_usable
from overopt.studies.gao2022.matched import first_reach, of_draws
from overopt.studies.gao2022.runs import several
from overopt.studies.study_tables import RunTable, StudyTables

MARGIN = 0.1
SOURCE = "Gao et al. 2022, section 4.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """A policy's way, all (1 + D, K), means over the prompts of a draw."""

    d: FloatArray
    gold: FloatArray
    round: tuple[int, ...]
    """(K,) in which each point was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seed:
    """The runs of a seed; those that are missing are ``None``."""

    number: int
    rounds: _Path
    """All rounds, end to end."""
    ends: tuple[int, ...]
    """Index of the last point of each round."""
    single: _Path | None
    at_once: _Path | None
    alpha: FloatArray
    beta: FloatArray
    """(1 + D,) of the law of a single round."""
    status: str
    """Of that fit."""
    is_told: bool
    """Whether that fit says enough to predict by: identified, and usable as in a trend."""
    farthest: float
    """Largest d that the law was fitted on; it predicts nothing beyond."""


def answer(tables: StudyTables) -> Answer:
    """Gold of the last round less the prediction, a single round, and one round with all labels."""
    seeds = _read(tables)
    config = tables.settings
    rounds, pairs = config["rounds"], config["pairs"] // config["rounds"]
    return Answer(
        id="rounds",
        title="Rounds of labels",
        question="What do rounds of fresh labels gain, and is it what the law of a single round predicts?",
        how=(
            f"{rounds} rounds of PPO, {config['round_steps']} steps each, go on from one another. Before each, gold "
            f"labels {pairs:,} more pairs of the policy's replies of then, and a new proxy is trained on all pairs so "
            "far. KL is to the first policy throughout. Beside it, one run of as many steps against the first "
            f"round's proxy, and one against a proxy that was given all {config['pairs']:,} labels at once, of the "
            "first policy's replies. α and β of d(α − β ln d) are fitted to the single run up to the distance that "
            "the rounds reach; the prediction in round k is d(α − β ln d + β ln k). It is judged at the end of the "
            "last round, or, where the single run stayed short of that, where the rounds first pass the largest d that "
            "the law was fitted on, with the k of the round that passes there. Laws that are not identified predict "
            "nothing. Prompts are resampled for all runs at once, and the fit with them; seeds are averaged."
        ),
        claims=[
            _prediction_claim(tables, seeds),
            _against_claim(tables, seeds, "single"),
            _against_claim(tables, seeds, "at_once"),
        ],
        figures=_figures(seeds),
        tables=_tables(tables, seeds),
        caveats=[
            f"{several(len(seeds), 'seed')}: intervals are over prompts, and hold for these runs.",
            "Rounds take their labels from other prompts each, and each starts its optimiser anew, with a warm-up.",
            "The prediction assumes that every round has the same α and β, and that rounds of equal length share d "
            "evenly.",
        ],
    )


def _read(tables: StudyTables) -> list[_Seed]:
    names = set(tables.runs())
    counts = bootstrap_counts(len(tables.prompt_ids), DRAWS, stream(tables.seed, "rounds", "prompts"))
    shares_DP = np.vstack([np.ones(len(tables.prompt_ids)), counts]) / len(tables.prompt_ids)
    found = []
    for number in sorted(int(match[1]) for name in names if (match := re.fullmatch(r"round1-s(\d+)", name))):
        runs: list[RunTable] = []
        while f"round{len(runs) + 1}-s{number}" in names:
            runs.append(tables.run(f"round{len(runs) + 1}-s{number}"))
        single, at_once = (
            _path([tables.run(f"{kind}-s{number}")], shares_DP) if f"{kind}-s{number}" in names else None
            for kind in ("single", "at-once")
        )
        way = _path(runs, shares_DP)
        alpha = beta = np.full(len(shares_DP), math.nan)
        status, is_told, farthest = "missing", False, 0.0
        if single is not None:
            run = tables.run(f"single-s{number}")
            use = _in_reach(single, float(way.d[0].max()))
            alpha, beta, status, is_told = _law(tables, run, single, use)
            farthest = float(single.d[0, use].max(initial=0.0))
        found.append(
            _Seed(
                number=number,
                rounds=way,
                ends=tuple((np.cumsum([len(run.steps) for run in runs]) - 1).tolist()),
                single=single,
                at_once=at_once,
                alpha=alpha,
                beta=beta,
                status=status,
                is_told=is_told,
                farthest=farthest,
            )
        )
    return found


def _path(runs: Sequence[RunTable], shares_DP: FloatArray) -> _Path:
    kl = np.concatenate([shares_DP @ run.kl_PK for run in runs], axis=1)
    return _Path(
        d=np.sqrt(np.clip(kl, 0, None)),
        gold=np.concatenate([shares_DP @ run.gold_PK for run in runs], axis=1),
        round=tuple(k + 1 for k, run in enumerate(runs) for _ in run.steps),
    )


def _in_reach(path: _Path, limit: float) -> IntArray:
    """Points of the single run up to the distance ``limit`` and the first one beyond; all, where those are too few."""
    d_K = path.d[0]
    use = (d_K > 0) & (d_K <= limit)
    # With it the law is fitted on both sides of the limit, so that nothing is extrapolated.
    use[np.flatnonzero(d_K > limit)[:1]] = True
    return np.flatnonzero(use if use.sum() >= MIN_POINTS else d_K > 0)


def _law(tables: StudyTables, run: RunTable, path: _Path, use: IntArray) -> tuple[FloatArray, FloatArray, str, bool]:
    """alpha and beta (1 + D,) of some points of the single run, the status of that fit, and whether it can predict."""
    rng = stream(tables.seed, "rounds", "law", run.name)
    gold = curve_intervals(run.gold_PK[None], rng)
    kl_K = path.d[0, use] ** 2
    fit = fit_law(
        "rl",
        kl_K,
        path.gold[0, use],
        gold_se=gold.se[use],
        kl_draws=path.d[1:, use] ** 2,
        gold_draws=path.gold[1:, use],
        n_units=len(tables.prompt_ids),
    )
    if not math.isfinite(fit.alpha):
        unknown = np.full(len(path.d), math.nan)
        return unknown, unknown, fit.status, False
    found = fit_coefficients("rl", path.d[:, use], path.gold[:, use], point_weights(kl_K, gold.se[use], kl_K > 0))
    return found.alpha, found.beta, fit.status, fit.status != "unidentified" and is_usable(fit.to_dict())


def _predicted(seed: _Seed, k: int, d_D: FloatArray) -> FloatArray:
    """Gold after ``k`` rounds at the distances (1 + D,) by the law of a single round."""
    safe = np.maximum(d_D, 1e-9)
    return np.asarray(law_value("rl", safe, seed.alpha, seed.beta) + seed.beta * safe * math.log(k))


def _judged(seed: _Seed) -> tuple[FloatArray, float, int]:
    """Measured less predicted gold (1 + D,) at the last d in the law's reach, that d, and the round there."""
    end = float(seed.rounds.d[0, -1])
    if end <= seed.farthest:
        k = _last_round(seed)
        return seed.rounds.gold[:, -1] - _predicted(seed, k, seed.rounds.d[:, -1]), end, k
    way = np.maximum.accumulate(seed.rounds.d, axis=1)
    k = seed.rounds.round[int(np.argmax(way[0] >= seed.farthest))]
    # A draw that stays short of it is read at its own farthest point.
    d_D = np.minimum(seed.farthest, way[:, -1])
    return first_reach(way, d_D, seed.rounds.gold) - _predicted(seed, k, d_D), seed.farthest, k


def _last_round(seed: _Seed) -> int:
    return len(seed.ends)


def _prediction_claim(tables: StudyTables, seeds: Sequence[_Seed]) -> Claim:
    told = {seed.number: _judged(seed) for seed in seeds if seed.is_told}
    # In the first round the prediction is the law itself, and says nothing of rounds.
    usable = {number: found for number, found in told.items() if found[2] > 1}
    value, ci = _mean(tables, [draws for draws, _, _ in usable.values()])
    untold = [f"seed {seed.number} {seed.status.replace('_', ' ')}" for seed in seeds if not seed.is_told]
    early = [number for number in told if number not in usable]
    notes = ["there are no rounds"] if not seeds else []
    if untold:
        notes.append(f"left out, since the fit of the single run is nothing to predict from: {', '.join(untold)}")
    if early:
        seeds_of = f"seed {', '.join(map(str, early))}"
        notes.append(f"left out, since the single run ended at a d that the first round passes: {seeds_of}")
    if usable:
        places = [f"seed {number} at d = {d:.2f} in round {k}" for number, (_, d, k) in usable.items()]
        notes.append(f"judged {', '.join(places)}")
    return Claim(
        id="rounds-prediction",
        what="gold of the rounds less d(α − β ln d + β ln k) with α and β of the single run, at the farthest d that "
        f"both reach, equal within {MARGIN} sd",
        value=value,
        ci=ci,
        counted=_counted(tables, list(usable)),
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": "Rounds of labels gain {size} more gold {ci} than the law of a single round predicts.",
            "below": "Rounds of labels gain {size} less gold {ci} than the law of a single round predicts.",
            "equal": f"Rounds of labels gain what the law of a single round predicts, within {MARGIN} sd: {{value}} "
            f"{{ci}}.",
            "open": "Whether rounds of labels gain what the law of a single round predicts is not decided: {value} "
            "{ci}.",
        },
        published=Published(
            finding="predicted, not measured: R = d(α − β ln d + β ln k) after k rounds",
            source=SOURCE,
            outcomes=("equal",),
        ),
        note="; ".join(notes),
    )


def _difference(seed: _Seed, other: _Path | None) -> tuple[FloatArray, float] | None:
    """Gold of the last round less another path's (1 + D,) at the largest d both reach, and d; ``None`` before it."""
    if other is None or _last_round(seed) < 2:
        return None
    d = min(float(seed.rounds.d[0].max()), float(other.d[0].max()))
    start = seed.ends[-2]
    last = _Path(
        d=seed.rounds.d[:, start:], gold=seed.rounds.gold[:, start:], round=seed.rounds.round[start:]
    )  # fmt: skip
    if d <= last.d[0, 0]:
        return None
    # A draw that stays short of d is read at its own farthest point.
    both = [
        first_reach(np.maximum.accumulate(path.d, axis=1), np.minimum(d, path.d.max(axis=1)), path.gold)
        for path in (last, other)
    ]
    return both[0] - both[1], d


def _against_claim(tables: StudyTables, seeds: Sequence[_Seed], kind: str) -> Claim:
    found = {seed.number: _difference(seed, getattr(seed, kind)) for seed in seeds}
    usable = [one for one in found.values() if one is not None]
    value, ci = _mean(tables, [draws for draws, _ in usable])
    name = {"single": "the single run against the first proxy", "at_once": "one round with all labels at once"}[kind]
    notes = []
    if value is None:
        notes.append("the last round and the other run share no distance")
    elif len(usable) < len(seeds):
        notes.append(f"in {several(len(seeds) - len(usable), 'seed')} the other run ended before the last round began")
    if usable:
        notes.append(f"compared at d = {np.mean([d for _, d in usable]):.2f}")
    published = {
        "single": Published(
            finding="predicted, not measured: k rounds gain βd ln k over a single one",
            source=SOURCE,
            outcomes=("above",),
        ),
        "at_once": None,
    }[kind]
    margin = MARGIN if kind == "at_once" else None
    return Claim(
        id={"single": "rounds-gain", "at_once": "rounds-budget"}[kind],
        what=f"gold of the last round less that of {name} at the largest distance that both reach"
        + (f", equal within {MARGIN} sd" if margin else ""),
        value=value,
        ci=ci,
        counted=_counted(tables, usable),
        unit="sd",
        margin=margin,
        sentences={
            "above": f"At equal distance the last round has {{size}} more gold {{ci}} than {name}.",
            "below": f"At equal distance the last round has {{size}} less gold {{ci}} than {name}.",
            "equal": f"At equal distance the last round has the gold of {name}, within {MARGIN} sd: {{value}} {{ci}}.",
            "open": f"Whether the last round has more gold than {name} at equal distance is not decided: {{value}} "
            f"{{ci}}.",
        },
        published=published,
        note="; ".join(notes),
    )


def _mean(tables: StudyTables, draws: Sequence[FloatArray]) -> tuple[float | None, Interval]:
    """Mean over seeds of values (1 + D,) with its interval over prompts."""
    known = [one for one in draws if math.isfinite(one[0])]
    if not known:
        return None, UNKNOWN
    mean = np.mean(known, axis=0)
    return float(mean[0]), of_draws(float(mean[0]), mean[1:], len(tables.prompt_ids))


def _figures(seeds: Sequence[_Seed]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        panel = f"seed {seed.number}"

        def add(kind: str, d: float, gold: float, k: int, order: int, *, panel: str = panel) -> None:
            rows.append({"panel": panel, "kind": kind, "round": k, "d": d, "gold": gold, "order": order})

        for k in range(seed.rounds.d.shape[1]):
            add("rounds", float(seed.rounds.d[0, k]), float(seed.rounds.gold[0, k]), seed.rounds.round[k], k)
        for kind, path in (("single", seed.single), ("all labels at once", seed.at_once)):
            for k in range(path.d.shape[1]) if path is not None else ():
                assert path is not None
                add(kind, float(path.d[0, k]), float(path.gold[0, k]), 1, k)
        for k, end in enumerate(seed.ends):
            d_D = seed.rounds.d[:, end]
            if seed.is_told and d_D[0] <= seed.farthest:
                add("predicted", float(d_D[0]), float(_predicted(seed, k + 1, d_D)[0]), k + 1, k)
    if not rows:
        return []
    return [
        FigureData(
            name="rounds-gold",
            title="Gold by rounds, in a single round, and as predicted",
            caption="Rounds go on from one another; the prediction stands at the end of each round that "
            "the law of the single run reaches.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the first policy (√nats)", from_zero=True),
            y=Axis(field="gold", title="gold gained (standard deviations)"),
            colour=Channel(field="kind", title="", values=("rounds", "single", "all labels at once", "predicted")),
            panel=Channel(field="panel", title=""),
            order="order",
            reference=0.0,
        )
    ]


def _tables(tables: StudyTables, seeds: Sequence[_Seed]) -> list[TableData]:
    rows = []
    most = min((_last_round(seed) for seed in seeds), default=0)
    for k in range(1, most + 1):
        ends = [(seed, seed.ends[k - 1]) for seed in seeds]
        gold = [seed.rounds.gold[:, end] for seed, end in ends]
        predicted = [
            _predicted(seed, k, seed.rounds.d[:, end])
            if seed.is_told and seed.rounds.d[0, end] <= seed.farthest
            else np.full(len(shares), math.nan)
            for (seed, end), shares in zip(ends, gold, strict=True)
        ]
        row: dict[str, Any] = {"round": k, "d": float(np.mean([seed.rounds.d[0, end] for seed, end in ends]))}
        row["gold"], row["gold_ci"] = _mean(tables, gold)
        row["predicted"], row["predicted_ci"] = _mean(tables, predicted)
        row["difference"], row["difference_ci"] = _mean(
            tables, [measured - by_law for measured, by_law in zip(gold, predicted, strict=True)]
        )
        rows.append(row)
    if not rows:
        return []
    ends_of = {
        "single": [seed.single for seed in seeds if seed.single is not None],
        "all labels at once": [seed.at_once for seed in seeds if seed.at_once is not None],
    }
    others = []
    for kind, paths in ends_of.items():
        if paths:
            row = {"kind": kind, "d": float(np.mean([path.d[0, -1] for path in paths]))}
            row["gold"], row["gold_ci"] = _mean(tables, [path.gold[:, -1] for path in paths])
            row["best"] = float(np.mean([path.gold[0].max() for path in paths]))
            others.append(row)
    found = [
        TableData(
            name="rounds-ends",
            title="After each round",
            columns={
                "round": "round",
                "d": "d",
                "gold": "gold (sd)",
                "predicted": "predicted (sd)",
                "difference": "measured less predicted (sd)",
            },
            rows=rows,
            note="Means over seeds. Predictions are those of seeds whose single run has an identified law and reaches "
            "that d; the last column is over the same seeds.",
        )
    ]
    if others:
        found.append(
            TableData(
                name="rounds-others",
                title="Runs of a single round, at their end",
                columns={"kind": "run", "d": "d", "gold": "gold (sd)", "best": "highest measured gold (sd)"},
                rows=others,
                note="Means over seeds. The highest of several noisy measurements is too high on average.",
            )
        )
    return found


def _counted(tables: StudyTables, usable: Sequence[object]) -> str:
    return f"{len(tables.prompt_ids)} prompts; {several(len(usable), 'seed')}, averaged"
