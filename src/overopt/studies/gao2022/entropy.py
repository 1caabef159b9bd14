"""Gold with the policy's entropy on the axis in place of d, and how entropy and KL move together.

KL and entropy of whole replies are tied: KL(π ‖ ρ) = H(ρ) − H(π) + [E_π(−ln ρ) − H(ρ)], the entropy that was lost and
how much less likely the replies became under the start policy ρ. Axes: P prompts, K measured steps, R runs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.intervals import LEVEL
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.linear import solve_columns
from overopt.stats.resampling import IntArray
from overopt.studies.claims import UNKNOWN, Interval, known, over_units
from overopt.studies.gao2022.leaving_out import without_prompts, without_prompts_or_runs
from overopt.studies.gao2022.main_proxies import free_runs, held_runs, main_proxies, reference_base
from overopt.studies.study_tables import StudyTables

MIN_POINTS = 5
"""Measured steps that a comparison needs: two coefficients, one point left out, and two to see them fail."""
COLLAPSED = 0.5
"""Share of the start's entropy a token below which a policy counts as collapsed."""
FALLEN = ("overoptimized", "collapsed")


class _Run(NamedTuple):
    """A run with the base policy's entropy and length on the same prompts; matrices (P, K)."""

    name: str
    proxy: str
    base: str
    penalty: float
    steps: tuple[int, ...]
    kl: FloatArray
    gold: FloatArray
    entropy: FloatArray
    length: FloatArray
    entropy_P: FloatArray
    length_P: FloatArray


def answer(tables: StudyTables) -> Answer:
    """Compare the axes run by run and across penalties; split KL; look at entropy where gold peaks."""
    runs = _runs(tables)
    free = [run for run in runs if run.penalty == 0]
    if not free:
        raise DataError(f"{tables.root / 'rl'} holds no run of a main proxy without a penalty")
    n_prompts = len(tables.prompt_ids)
    judged = [run for run in free if len(run.steps) - 1 >= MIN_POINTS]
    rng = stream(tables.seed, "entropy", "prompts")
    unknown: list[tuple[float | None, Interval]] = [(None, UNKNOWN)]
    too_short = f"no run has {MIN_POINTS} measured steps with a KL above 0"
    ratios = unknown * 2
    if judged:
        ratios = without_prompts_or_runs(lambda rows: _error_ratios(judged, rows), n_prompts, rng)
    reference = reference_base(tables)
    of_reference = [run for run in runs if run.base == reference and run.proxy == _first(tables, reference)]
    penalties = sorted({run.penalty for run in of_reference})
    across = unknown
    if len(penalties) > 1 and sum(len(run.steps) - 1 for run in of_reference) >= 2 * MIN_POINTS:
        across = without_prompts(lambda rows: _across(of_reference, penalties, rows), n_prompts, rng)
    share = without_prompts_or_runs(lambda rows: _lost_share(free, rows), n_prompts, rng)[0]
    fallen = [run for run in free if tables.run_record(run.name)["verdict"] in FALLEN]
    at_peak = [_kept_entropy(run, _peak(tables, run)) for run in fallen]
    kept = over_units(at_peak, rng) if fallen else (None, UNKNOWN)
    of = f"{n_prompts} prompts, {len(judged)} runs"
    claims = [
        _axis_claim("token", "a token", _ratio(ratios[0]), of, "" if judged else too_short),
        _axis_claim("reply", "a reply", _ratio(ratios[1]), of, "" if judged else too_short),
        Claim(
            id="entropy-across-penalties",
            what="error of gold foretold from the entropy a token over that of gold foretold from d, each penalty from "
            "the curve of the other penalties",
            value=_ratio(across[0])[0],
            ci=_ratio(across[0])[1],
            counted=f"{n_prompts} prompts, {len(of_reference)} runs with {len(penalties)} penalties",
            reference=1.0,
            sentences={
                "above": "Runs with different KL penalties share a curve of gold against d rather than against "
                "entropy: from entropy the error is {value} {ci} times that from d.",
                "below": "Runs with different KL penalties share a curve of gold against entropy rather than against "
                "d: from entropy the error is {value} {ci} times that from d.",
                "open": "Neither d nor entropy clearly brings runs with different penalties onto one curve: the error "
                "from entropy is {value} {ci} times that from d.",
            },
            note="" if across[0][0] is not None else "there are not enough runs with different penalties",
        ),
        Claim(
            id="entropy-share-of-kl",
            what="share of the KL at the end of a run that is entropy lost, the rest being replies that the start "
            "policy finds less likely",
            value=share[0],
            ci=share[1],
            counted=f"{n_prompts} prompts, {len(free)} runs",
            reference=0.5,
            sentences={
                "above": "Most of the KL is lost entropy: {value} {ci} of it at the end of a run.",
                "below": "Lost entropy is the smaller part of the KL, {value} {ci} of it at the end of a run (below 0: "
                "entropy grew); the rest is moving to replies that the start policy finds less likely.",
                "open": "Whether most of the KL is lost entropy stays open: {value} {ci} of it.",
            },
            note="" if share[1][0] is not None else "too few prompts for an interval",
        ),
        Claim(
            id="entropy-at-peak",
            what=f"entropy a token where gold peaks, as a share of the start's, held against {COLLAPSED} (collapse), "
            "in runs whose gold falls",
            value=kept[0],
            ci=kept[1],
            counted=f"{len(fallen)} runs whose gold falls",
            reference=COLLAPSED,
            sentences={
                "above": "Gold turns before entropy collapses: at its peak the policy has {value} {ci} of its entropy "
                "a token.",
                "below": "Entropy collapses before gold turns: at the peak of gold only {value} {ci} of the entropy a "
                "token is left.",
                "open": "Whether entropy collapses before gold turns is not settled: {value} {ci} of it is left at the "
                "peak.",
            },
            note="" if len(fallen) >= 4 else f"gold clearly falls in {len(fallen)} of {len(free)} runs, 4 are needed",
        ),
    ]
    shown = list({run.base: run for run in reversed(free)}.values())[::-1]
    return Answer(
        id="entropy",
        title="Entropy in place of KL",
        question="What does gold look like with entropy on the axis, and does it fit better than d?",
        how=(
            f"PPO runs against all sizes of proxy and, against {reference or 'one'}, with KL penalties. At each "
            f"measured step the entropy of whole replies (sum over tokens, nats) is known for {n_prompts} held-out "
            "prompts beside KL and gold; a token's entropy is that of all replies over their tokens. The base policy's "
            "is from its pool. On both axes gold is x (a − b x) with x = d or x = entropy lost since the start: two "
            "coefficients, the same points, equal weights. Each measured step is foretold from the others of its run; "
            "the root mean square errors are compared run by run (geometric mean of their ratio). Across penalties, "
            "all steps with one penalty are foretold from the runs with the others. Prompts are left out in turn for "
            f"{LEVEL:.0%} intervals, to which the scatter of runs is added."
        ),
        claims=claims,
        figures=[
            _gold_figure(shown, tables.seed),
            _path_figure(shown),
            _split_figure(of_reference or free),
            *_penalty_figure(of_reference),
        ],
        tables=[_table(free, tables)],
        caveats=[
            "Entropy of a whole reply grows with its length; entropy a token does not, and is what training logs show.",
            "Runs against different proxies share training prompts and seeds, and are taken as independent.",
            f"{tables.settings['rl_replies']} replies to each prompt at a step: both axes have noise, which blurs the "
            "curves; that of entropy a token is the larger where it changes little.",
            "The peak of gold is chosen from the same measurements as the entropy at it.",
        ],
    )


def _axis_claim(key: str, unit: str, found: tuple[float | None, Interval], counted: str, note: str) -> Claim:
    return Claim(
        id=f"entropy-fit-{key}",
        what=f"error of gold foretold from the entropy lost {unit} over that of gold foretold from d, within runs",
        value=found[0],
        ci=found[1],
        counted=counted,
        reference=1.0,
        sentences={
            "above": f"d is the better axis: from the entropy lost {unit} gold is foretold {{value}} {{ci}} times as "
            "wrongly as from d.",
            "below": f"Entropy is the better axis: from the entropy lost {unit} gold is foretold with {{value}} {{ci}} "
            "times the error that it has from d.",
            "open": f"Neither axis is clearly better: from the entropy lost {unit} the error is {{value}} {{ci}} times "
            "that from d.",
        },
        note=note,
    )


def _runs(tables: StudyTables) -> list[_Run]:
    pool = tables.raw_pool()
    entropy_P, length_P = (pool.columns[name].mean(axis=1) for name in ("entropy", "length"))
    found = []
    for base, proxies in main_proxies(tables).items():
        for proxy in proxies:
            named = [(0.0, name) for name in free_runs(tables, proxy)]
            named += [(penalty, name) for penalty, names in held_runs(tables, proxy).items() for name in names]
            for penalty, name in named:
                run = tables.run(name)
                found.append(
                    _Run(
                        name, proxy, base, penalty, run.steps, run.kl_PK, run.gold_PK, run.entropy_PK, run.length_PK,
                        entropy_P, length_P,
                    )
                )  # fmt: skip
    return found


def _first(tables: StudyTables, base: str | None) -> str | None:
    return None if base is None else main_proxies(tables)[base][0]


def _d(run: _Run, rows: IntArray) -> FloatArray:
    return np.asarray(np.sqrt(np.clip(run.kl[rows].mean(axis=0), 0.0, None)))


def _lost_token(run: _Run, rows: IntArray) -> FloatArray:
    """Nats a token, (K,)."""
    start = run.entropy_P[rows].mean() / run.length_P[rows].mean()
    return np.asarray(start - run.entropy[rows].mean(axis=0) / np.maximum(run.length[rows].mean(axis=0), 1e-9))


def _lost_reply(run: _Run, rows: IntArray) -> FloatArray:
    """Nats a reply, (K,)."""
    return np.asarray(run.entropy_P[rows].mean() - run.entropy[rows].mean(axis=0))


def _error_ratios(runs: Sequence[_Run], rows: IntArray) -> FloatArray:
    """ln of the error from entropy over that from d, (2, R): a token, a reply."""
    found = np.empty((2, len(runs)))
    for r, run in enumerate(runs):
        gold = run.gold[rows].mean(axis=0)[1:]
        of_d = _left_out_error(_d(run, rows)[1:], gold)
        found[:, r] = [_ln(_left_out_error(axis(run, rows)[1:], gold) / of_d) for axis in (_lost_token, _lost_reply)]
    return found


def _left_out_error(x: FloatArray, gold: FloatArray) -> float:
    """Root mean square of each point less what x (a - b x), fitted to the others, foretells for it."""
    columns = np.stack([x, -(x**2)], axis=-1)
    weights = 1 - np.eye(x.size)
    coefficients = solve_columns(np.broadcast_to(columns, (x.size, *columns.shape)), gold, weights)
    return float(np.sqrt(np.mean((np.sum(columns * coefficients, axis=-1) - gold) ** 2)))


def _across(runs: Sequence[_Run], penalties: Sequence[float], rows: IntArray) -> FloatArray:
    """ln of the error from entropy a token over that from d, each penalty foretold from the others."""

    def error(axis: Callable[[_Run, IntArray], FloatArray]) -> float:
        x = np.concatenate([axis(run, rows)[1:] for run in runs])
        gold = np.concatenate([run.gold[rows].mean(axis=0)[1:] for run in runs])
        of = np.concatenate([np.full(len(run.steps) - 1, run.penalty) for run in runs])
        columns = np.stack([x, -(x**2)], axis=-1)
        missed = [
            (columns[of == penalty] @ solve_columns(columns, gold, (of != penalty).astype(np.float64))
             - gold[of == penalty]) ** 2
            for penalty in penalties
        ]  # fmt: skip
        return math.sqrt(float(np.mean([one.mean() for one in missed])))

    return np.array([_ln(error(_lost_token) / error(_d))])


def _lost_share(runs: Sequence[_Run], rows: IntArray) -> FloatArray:
    """(1, R)."""
    shares = []
    for run in runs:
        kl = run.kl[rows, -1].mean()
        shares.append(_lost_reply(run, rows)[-1] / kl if kl > 0 else math.nan)
    return np.array([shares])


def _kept_entropy(run: _Run, peak: int) -> float:
    """Share of the start's entropy a token at a measured step."""
    start = run.entropy_P.mean() / run.length_P.mean()
    return float(run.entropy[:, peak].mean() / run.length[:, peak].mean() / start)


def _peak(tables: StudyTables, run: _Run) -> int:
    return run.steps.index(tables.run_record(run.name)["drop"]["peak"])


def _ratio(found: tuple[float | None, Interval]) -> tuple[float | None, Interval]:
    """A mean of logarithms as a geometric mean."""
    value, (low, high) = found
    ends = tuple(None if end is None else math.exp(min(end, 700.0)) for end in (low, high))
    return None if value is None else math.exp(value), (ends[0], ends[1])


def _ln(value: float) -> float:
    return math.log(value) if value > 0 and math.isfinite(value) else math.nan


def _rows(run: _Run) -> list[dict[str, Any]]:
    every = np.arange(len(run.entropy_P))
    d, token, reply = _d(run, every), _lost_token(run, every), _lost_reply(run, every)
    kl, gold = run.kl.mean(axis=0), run.gold.mean(axis=0)
    per_token = run.entropy.mean(axis=0) / np.maximum(run.length.mean(axis=0), 1e-9)
    return [
        {
            "proxy": run.base, "run": run.name, "penalty": f"{run.penalty:g}", "step": step, "d": float(d[k]),
            "kl": float(kl[k]), "gold": float(gold[k]), "entropy": float(run.entropy[:, k].mean()),
            "per_token": float(per_token[k]), "lost_token": float(token[k]), "lost_reply": float(reply[k]),
        }
        for k, step in enumerate(run.steps)
    ]  # fmt: skip


def _by_size(runs: Sequence[_Run]) -> Channel:
    bases = tuple(dict.fromkeys(run.base for run in runs))
    return Channel(field="proxy", title="proxy", is_ordered=True, values=bases)


def _gold_figure(runs: Sequence[_Run], seed: int) -> FigureData:
    rows = []
    for run in runs:
        rng = stream(seed, "entropy", "figure", run.name)
        for k, row in enumerate(_rows(run)):
            _, (low, high) = over_units(run.gold[:, k], rng)
            rows.append(row | {"low": low, "high": high})
    return FigureData(
        name="entropy-gold",
        title="Gold against the entropy that was lost",
        caption=f"PPO, one run for each size of proxy, in the order of its steps, with {LEVEL:.0%} intervals over "
        "prompts. Left of 0 the policy has gained entropy.",
        rows=rows,
        x=Axis(field="lost_token", title="entropy lost since the start, nats a token"),
        y=Axis(field="gold", title="gold above the base policy, sd"),
        marks=("line", "band"),
        low="low",
        high="high",
        colour=_by_size(runs),
        order="step",
        reference=0.0,
    )


def _path_figure(runs: Sequence[_Run]) -> FigureData:
    return FigureData(
        name="entropy-kl",
        title="Entropy as KL grows",
        caption="The same runs: entropy a token against the distance from the base policy.",
        rows=[row for run in runs for row in _rows(run)],
        x=Axis(field="d", title="d = √KL, √nats"),
        y=Axis(field="per_token", title="entropy, nats a token", from_zero=True),
        colour=_by_size(runs),
        order="step",
    )


def _split_figure(runs: Sequence[_Run]) -> FigureData:
    run = next(run for run in runs if run.penalty == 0)
    names = {"KL": "kl", "entropy lost": "lost_reply", "less likely under the start": "moved"}
    rows = []
    for row in _rows(run):
        row["moved"] = row["kl"] - row["lost_reply"]
        rows += [{"step": row["step"], "d": row["d"], "part": part, "nats": row[key]} for part, key in names.items()]
    return FigureData(
        name="entropy-split",
        title="What KL is made of",
        caption=f"Run {run.name}: KL of whole replies is the entropy lost plus how much less likely the replies became "
        "under the start policy. Longer replies have more entropy, so the entropy lost can be negative.",
        rows=rows,
        x=Axis(field="step", title="step of PPO"),
        y=Axis(field="nats", title="nats a reply"),
        colour=Channel(field="part", title="part", values=tuple(names)),
        reference=0.0,
    )


def _penalty_figure(runs: Sequence[_Run]) -> list[FigureData]:
    """One run for each penalty; none where there is only one penalty."""
    shown = list({run.penalty: run for run in reversed(list(runs))}.values())
    shown.sort(key=lambda run: run.penalty)
    if len(shown) < 2:
        return []
    return [
        FigureData(
            name="entropy-penalties",
            title="The same with KL penalties",
            caption=f"One run for each penalty, against {shown[0].proxy}, in the order of its steps.",
            rows=[row for run in shown for row in _rows(run)],
            x=Axis(field="lost_token", title="entropy lost since the start, nats a token"),
            y=Axis(field="gold", title="gold above the base policy, sd"),
            colour=Channel(
                field="penalty", title="KL penalty", is_ordered=True, values=tuple(f"{run.penalty:g}" for run in shown)
            ),
            order="step",
            reference=0.0,
        )
    ]


def _table(runs: Sequence[_Run], tables: StudyTables) -> TableData:
    rows = []
    every = np.arange(len(tables.prompt_ids))
    for run in runs:
        record, peak = tables.run_record(run.name), _peak(tables, run)
        share = float(_lost_share([run], every)[0, 0])
        rows.append(
            {
                "run": run.name,
                "verdict": record["verdict"].replace("_", " "),
                "peak": run.steps[peak],
                "start": float(run.entropy_P.mean() / run.length_P.mean()),
                "kept": _kept_entropy(run, peak),
                "kept_end": _kept_entropy(run, len(run.steps) - 1),
                "kl": float(run.kl[:, -1].mean()),
                "share": known(share),
                "residual": _residual(tables, run),
            }
        )
    return TableData(
        name="entropy-runs",
        title="Entropy where gold peaks and at the end, run by run",
        columns={
            "run": "run",
            "verdict": "verdict",
            "peak": "step of gold's peak",
            "start": "entropy at the start, nats a token",
            "kept": "share left at the peak",
            "kept_end": "share left at the end",
            "kl": "KL at the end, nats",
            "share": "share of KL that is lost entropy",
            "residual": "KL less its parts, nats",
        },
        rows=rows,
        note="KL is measured by itself, not as the sum of its parts: what is left over is 0 up to sampling.",
    )


def _residual(tables: StudyTables, run: _Run) -> float:
    """KL + H(π) + E(ln ρ), a mean over all measured replies: 0 but for the luck of ln ρ, the one that is sampled."""
    replies = tables.run(run.name).replies
    found = replies.select((pl.col("kl") + pl.col("entropy") + pl.col("reference_logprob")).mean()).item()
    return float(found)
