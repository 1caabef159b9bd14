"""Every method beside one proxy, on the same prompts: the answer to both questions of the study.

Axes: R runs of a method, P prompts, K points, M members of an ensemble.
"""

from dataclasses import dataclass

import numpy as np

from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import LEVEL
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Outcome, Published, TableData
from overopt.rewards.ensemble import Calibration, combine
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, kl_bound
from overopt.stats.estimate import FloatArray
from overopt.stats.overoptimization import (
    OverOptimization,
    difference,
    mean_over_runs,
    over_optimization,
    prompt_draws,
)
from overopt.stats.resampling import MIN_UNITS
from overopt.stats.stopping import ForecastStop, Prefix, Run
from overopt.studies.claims import UNKNOWN, Interval, crossed, known, over_units
from overopt.studies.mitigations.methods import METHODS, STOPPED, STOPPED_TITLE, Method
from overopt.studies.study_tables import RunTable, StudyTables

DRAWS = 1_000
REGRET_MARGIN = 0.1
"""Standard deviations of gold within which the forecast and hindsight count as equal."""
_COSTE = "Coste et al. 2023 (2310.02743), final-policy win rates over one proxy"
_FU = "Fu et al. 2025 (2502.18770), win rates after over-optimization"
_FINAL: dict[str, tuple[str, tuple[Outcome, ...], str]] = {
    "mean": ("ensembles' mean wins over one proxy: 58 % (PPO, clean labels), 60 % (25 % noise)", ("above",), _COSTE),
    "wco": ("the worst case wins over one proxy: 59 % (PPO, clean), 62 % (25 % noise)", ("above",), _COSTE),
    "uwo": ("uncertainty weighting wins over one proxy: 60 % (PPO, clean), 63 % (25 % noise)", ("above",), _COSTE),
    "warm": ("the plain reward ends at 0.4 % of wins, averaged weights keep 63 %", ("above",), _FU),
    "par": ("the plain reward ends at 0.4 % of wins, PAR keeps 75 %", ("above",), _FU),
    "clip": ("the plain reward ends at 0.4 % of wins, clipped rewards at 0 %", (), _FU),
}
"""What was published of final policies in PPO."""
_BEST_OF_N: dict[str, tuple[str, str]] = {
    "mean": ("wins over one proxy in best-of-n: 55 / 58 % (clean / noisy)", _COSTE),
    "wco": ("wins over one proxy in best-of-n: 57 / 58 % (clean / noisy)", _COSTE),
    "uwo": ("wins over one proxy in best-of-n: 57 / 58 % (clean / noisy)", _COSTE),
    "warm": ("averaged weights are better than one proxy", "Rame et al. 2024 (2401.12187)"),
}


@dataclass(frozen=True, slots=True)
class _Arm:
    """One method's runs."""

    id: str
    title: str
    runs: list[RunTable]
    found: OverOptimization
    near: OverOptimization
    """The same with the area lost up to the common KL alone."""
    final_P: FloatArray
    """Gold of the final policy, the last measured step; mean over runs."""
    proxies: int
    """Proxies trained for one run."""
    passes: int
    """Proxies that read each reply."""


@dataclass(frozen=True, slots=True)
class _Stopped:
    """The forecast decides on one half of the prompts, and gold is taken on the other, both ways."""

    kept_RP: FloatArray
    """Where the forecast stopped."""
    best_RP: FloatArray
    """At the step that looks best once the run is over."""
    last_RP: FloatArray
    """At the last measured step."""
    n_bought: float
    """Measured steps whose gold was bought, on average."""


def answer_about(tables: StudyTables, question: str, rate: float) -> Answer:
    """The comparison with labels of which a share ``rate`` is turned round."""
    settings = tables.settings
    n_prompts = len(tables.prompt_ids)
    counts = prompt_draws(n_prompts, DRAWS, stream(tables.seed, "mitigations", question))
    arms = [_arm(tables, method, question, counts) for method in METHODS]
    single = arms[0]
    labels = "gold's own labels" if rate == 0 else f"{100 * rate:g} % of the labels turned round"
    counted = f"{n_prompts} prompts, mean over {len(single.runs)} run{'s' * (len(single.runs) > 1)}"
    claims = [_matched_claim(arm, single, question, counted, settings["matched_kl"]) for arm in arms[1:]]
    claims += [_final_claim(tables, arm, single, question, counted) for arm in arms[1:]]
    stopped = _stopped(single, tables.settings["stop_probability"])
    claims += _stop_claims(tables, stopped, question)
    bon_rows, bon_claims = _best_of_n(tables, question, rate)
    return Answer(
        id=question,
        title=f"Mitigations, {'clean' if rate == 0 else 'noisy'} labels",
        question=f"Which methods lose less gold to over-optimization than one proxy, with {labels}?",
        how=(
            f"{settings['members']} proxies of the size {settings['proxy']} learned from the same "
            f"{settings['pairs']:,} pairs, with {labels}. PPO with the same settings pushed against one of them, "
            "against ensembles of all, against the proxy of their mean weights, and against one of them with its "
            f"reward shaped: PAR, clipping at ±{settings['clip']:g} standard deviations, "
            f"{settings['length_penalty']:g} off for each token beyond {settings['length_target']}. Gold is compared "
            f"on the same prompts where each run first reaches {settings['matched_kl']:g} nats, and at its last "
            "measured step, the final policy; the area lost is that between the curve and its peak, over d, up to "
            f"{settings['matched_kl']:g} and up to {settings['end_kl']:g} nats."
        ),
        claims=[*claims, *bon_claims],
        figures=[_curves(arms, question), _bon_figure(bon_rows, question)],
        tables=[_table(tables, arms, stopped, question)],
        caveats=[
            "Runs of ensembles differ in their random streams only; runs with one proxy also in the proxy. Intervals "
            "of the difference to one proxy are over prompts alone: another run would move it by more.",
            "Final policies have gone as far as their runs took them: a method may end with more gold because it "
            "went less far.",
            "A run that never went as far as the common distance has no number there: by itself that is neither good "
            "nor bad.",
            "The peak and the area lost are those of measured curves: noise makes both larger, by about as much for "
            "every method.",
        ],
    )


def _arm(tables: StudyTables, method: Method, question: str, counts: FloatArray) -> _Arm:
    prefix = f"{method.id}-{question}-r"
    runs = [tables.run(name) for name in tables.runs() if name.startswith(prefix)]
    matched = tables.settings["matched_kl"]

    def numbers(end_kl: float) -> OverOptimization:
        return mean_over_runs(
            [
                over_optimization(run.kl_PK, run.gold_PK, matched_kl=matched, end_kl=end_kl, counts=counts)
                for run in runs
            ]
        )

    members = tables.settings["members"]
    trained = members if method.combine != "single" or method.is_averaged else 1
    passes = members if method.combine != "single" else 1
    return _Arm(
        id=method.id,
        title=method.title,
        runs=runs,
        found=numbers(tables.settings["end_kl"]),
        near=numbers(matched),
        final_P=np.mean([run.gold_PK[:, -1] for run in runs], axis=0),
        proxies=trained,
        passes=passes,
    )


def _matched_claim(arm: _Arm, single: _Arm, question: str, counted: str, matched_kl: float) -> Claim:
    n_prompts = len(single.runs[0].gold_PK)
    value, (low, high) = difference(arm.found, single.found, "matched_gold", n_prompts)
    known = np.isfinite(value)
    ends: Interval = (float(low), float(high)) if known and np.isfinite([low, high]).all() else UNKNOWN
    note = "" if known else f"a run never went as far as {matched_kl:g} nats"
    if known and ends == UNKNOWN and n_prompts >= MIN_UNITS:
        note = f"in too many draws of prompts a run does not go as far as {matched_kl:g} nats"
    published = None
    if arm.id in _FINAL:
        finding, _, source = _FINAL[arm.id]
        why_not = "published are win rates of final policies, not gold at equal KL"
        published = Published(finding=finding, source=source, why_not=why_not)
    return Claim(
        id=f"{question}-{arm.id}-matched",
        what=f"gold with {arm.title} less gold with one proxy, PPO at {matched_kl:g} nats",
        value=float(value) if known else None,
        ci=ends,
        counted=counted,
        unit="sd",
        sentences=_sentences(f"At {matched_kl:g} nats of PPO, {arm.title}"),
        published=published,
        note=note,
    )


def _final_claim(tables: StudyTables, arm: _Arm, single: _Arm, question: str, counted: str) -> Claim:
    value, ci = over_units(arm.final_P - single.final_P, stream(tables.seed, "mitigations", question, "final", arm.id))
    published = None
    if arm.id in _FINAL:
        finding, outcomes, source = _FINAL[arm.id]
        why_not = "" if outcomes else "it says of no difference how small it is"
        published = Published(finding=finding, source=source, outcomes=outcomes, why_not=why_not)
    return Claim(
        id=f"{question}-{arm.id}-final",
        what=f"gold of the final policy of PPO with {arm.title} less that with one proxy",
        value=value,
        ci=ci,
        counted=counted,
        unit="sd",
        sentences=_sentences(f"At the end of PPO, {arm.title}"),
        published=published,
    )


def _sentences(what: str) -> dict[Outcome, str]:
    """Of a difference of gold to one proxy."""
    return {
        "above": f"{what} has {{size}} more gold {{ci}} than one proxy.",
        "below": f"{what} has {{size}} less gold {{ci}} than one proxy.",
        "open": f"{what} is not told apart from one proxy: {{value}} {{ci}}.",
    }


def _stopped(single: _Arm, probability: float) -> _Stopped:
    shape = (len(single.runs), len(single.final_P))
    found, n_bought = np.empty((3, *shape)), 0
    for number, run in enumerate(single.runs):
        halves = [np.arange(k, shape[1], 2) for k in (0, 1)]
        for seen, judged in (halves, halves[::-1]):
            place, bought = _forecast_stop(run, seen, probability)
            top = int(np.argmax(run.gold_PK[seen].mean(axis=0)))
            found[:, number, judged] = run.gold_PK[judged][:, [place, top, -1]].T
            n_bought += bought
    kept_RP, best_RP, last_RP = found
    return _Stopped(kept_RP, best_RP, last_RP, n_bought / (2 * shape[0]))


def _stop_claims(tables: StudyTables, stopped: _Stopped, question: str) -> list[Claim]:
    rng = stream(tables.seed, "mitigations", question, "stop")
    gain, gain_ci = crossed(stopped.kept_RP - stopped.last_RP, rng)
    regret, regret_ci = crossed(stopped.best_RP - stopped.kept_RP, rng)
    n_runs, n_prompts = stopped.kept_RP.shape
    counted = f"{n_prompts} prompts, {n_runs} run{'s' * (n_runs > 1)}; decided on the other half of the prompts"
    note = f"gold was bought at {stopped.n_bought:.1f} of the measured steps on average"
    return [
        Claim(
            id=f"{question}-{STOPPED}-gain",
            what=f"gold where the forecast stops less gold of the final policy ({STOPPED_TITLE})",
            value=gain,
            ci=gain_ci,
            counted=counted,
            unit="sd",
            sentences={
                "above": "Stopping by forecast keeps {size} of gold {ci} that the run would have lost.",
                "below": "Stopping by forecast gives away {size} of gold {ci} that the run would have gained.",
                "open": "Whether stopping by forecast gains over going on is open: {value} {ci}.",
            },
            note=note,
        ),
        Claim(
            id=f"{question}-{STOPPED}-regret",
            what="gold at the step that looks best once the run is over less gold where the forecast stopped, equal "
            f"within {REGRET_MARGIN:g} sd",
            value=regret,
            ci=regret_ci,
            counted=counted,
            unit="sd",
            margin=REGRET_MARGIN,
            sentences={
                "above": "Hindsight would have kept {size} more gold {ci} than the forecast did.",
                "below": "The forecast kept {size} more gold {ci} than the step that looks best in hindsight.",
                "equal": f"The forecast stopped within {REGRET_MARGIN:g} sd of the best step in hindsight: {{value}} "
                "{ci}.",
                "open": "What hindsight would have gained over the forecast is open: {value} {ci}.",
            },
            note=note,
        ),
    ]


def _forecast_stop(run: RunTable, prompts: np.ndarray, probability: float) -> tuple[int, int]:
    """The measured step that the forecast keeps, seeing these prompts only, and how many golds it bought."""
    gold_UK = run.gold_PK[prompts] - run.gold_PK[prompts, :1]
    d_K = np.sqrt(np.clip(run.kl_PK[prompts].mean(axis=0), 0.0, None))
    gold_K = gold_UK.mean(axis=0)
    error_K = gold_UK.std(axis=0, ddof=1) / np.sqrt(len(prompts))
    seen_run = Run(d=d_K, gold=gold_K, gold_se=error_K, true_gold=gold_K, gold_by_unit=gold_UK)
    rule, bought = ForecastStop(probability=probability), set[int]()
    for length in range(1, len(d_K) + 1):
        seen = Prefix(seen_run, length, bought)
        if rule(seen):
            break
    return rule.keeps(seen), len(bought)


def _best_of_n(tables: StudyTables, question: str, rate: float) -> tuple[list[dict[str, object]], list[Claim]]:
    """Curves of best-of-n by single members, ensembles and averaged weights, and their gold at the largest n."""
    members = [
        proxy.name
        for proxy in tables.proxies()
        if proxy.settings["labels"]["flip_rate"] == rate and "averaged" not in proxy.settings
    ]
    raw_MPN = np.stack([tables.raw_scores(name) for name in members])
    shape = raw_MPN.shape[1:]
    flat_MB = Calibration.from_scores(raw_MPN.reshape(len(members), -1)).apply(raw_MPN.reshape(len(members), -1))
    scores: dict[str, list[FloatArray]] = {
        "single": [*raw_MPN],
        "mean": [combine(flat_MB, "mean").reshape(shape)],
        "wco": [combine(flat_MB, "min").reshape(shape)],
        "uwo": [combine(flat_MB, "uwo", tables.settings["uwo_best_of_n"]).reshape(shape)],
        "warm": [tables.raw_scores(f"warm-{question}")],
    }
    gold, titles = tables.gold(), {method.id: method.title for method in METHODS}
    ns = powers_of_two(gold.shape[1])
    curves = {}
    rows: list[dict[str, object]] = []
    for name, matrices in scores.items():
        curve_PK = np.mean([best_of_n_curve(matrix, gold, ns) for matrix in matrices], axis=0)
        curves[name] = curve_PK - curve_PK[:, :1]
        for k, n in enumerate(ns):
            value, (low, high) = crossed(
                curves[name][None, :, k], stream(tables.seed, "mitigations", question, "bon", name, n)
            )
            d = float(np.sqrt(kl_bound(n)))
            rows.append({"method": titles[name], "n": n, "d": d, "gold": value, "low": low, "high": high})
    claims = []
    for name in list(scores)[1:]:
        gain = curves[name][:, -1] - curves["single"][:, -1]
        value, ci = crossed(gain[None], stream(tables.seed, "mitigations", question, "bon-gain", name))
        finding, source = _BEST_OF_N[name]
        claims.append(
            Claim(
                id=f"{question}-{name}-bon",
                what=f"gold of best-of-{ns[-1]:,} with {titles[name]} less the mean over single proxies",
                value=value,
                ci=ci,
                counted=f"{len(gold)} prompts; {len(members)} members",
                unit="sd",
                sentences=_sentences(f"Best of {ns[-1]:,} by {titles[name]}"),
                published=Published(finding=finding, source=source, outcomes=("above",)),
            )
        )
    return rows, claims


def _curves(arms: list[_Arm], question: str) -> FigureData:
    rows = [
        {
            "method": arm.title,
            "run": f"run {number}",
            "step": step,
            "d": float(run.d_K[k]),
            "gold": float(run.gold_PK[:, k].mean()),
            "proxy": float(run.proxy_PK[:, k].mean()),
        }
        for arm in arms
        for number, run in enumerate(arm.runs)
        for k, step in enumerate(run.steps)
    ]
    return FigureData(
        name=f"{question}-rl",
        title="Gold against distance in PPO, method by method",
        caption="Each line is a run; points are measurements in the order of training.",
        rows=rows,
        x=Axis(field="d", title="√KL to the base policy (√nats)", from_zero=True),
        y=Axis(field="gold", title="gold (sd on the base policy)"),
        colour=Channel(field="method", title="method"),
        dash=Channel(field="run", title="run"),
        order="step",
        reference=0.0,
    )


def _bon_figure(rows: list[dict[str, object]], question: str) -> FigureData:
    return FigureData(
        name=f"{question}-bon",
        title="Gold against distance in best-of-n",
        caption=f"One proxy: the mean over members. The table holds {100 * LEVEL:g} % intervals over prompts.",
        rows=rows,
        x=Axis(field="d", title="√(ln n − (n − 1)/n) (√nats)", from_zero=True),
        y=Axis(field="gold", title="gold (sd on the base policy)"),
        colour=Channel(field="method", title="method"),
        reference=0.0,
    )


def _table(tables: StudyTables, arms: list[_Arm], stopped: _Stopped, question: str) -> TableData:
    n_prompts, settings = len(tables.prompt_ids), tables.settings
    measures = ("peak_gold", "peak_kl", "matched_gold", "area_near", "area_lost")

    def final(name: str, gold_P: FloatArray) -> dict[str, object]:
        value, ends = over_units(gold_P, stream(tables.seed, "mitigations", question, "final-gold", name))
        return {"final_gold": value, "final_gold_ci": list(ends)}

    rows: list[dict[str, object]] = []
    for arm in arms:
        row: dict[str, object] = {"method": arm.title}
        for measure in measures:
            of, read = (arm.near, "area_lost") if measure == "area_near" else (arm.found, measure)
            value, ends = of.value(read), of.interval(read, n_prompts)
            row[measure] = known(value)
            row[f"{measure}_ci"] = [known(end) for end in ends]
        row |= final(arm.id, arm.final_P)
        rows.append(row | {"proxies": arm.proxies, "passes": arm.passes, "bought": None})
    kept = final(STOPPED, stopped.kept_RP.mean(axis=0))
    costs = {"proxies": arms[0].proxies, "passes": arms[0].passes, "bought": stopped.n_bought}
    rows.append({"method": STOPPED_TITLE, **dict.fromkeys(measures), **kept, **costs})
    return TableData(
        name=f"{question}-methods",
        title="PPO, mean over runs",
        columns={
            "method": "Method",
            "peak_gold": "Gold at its peak",
            "peak_kl": "KL at the peak (nats)",
            "matched_gold": f"Gold at {settings['matched_kl']:g} nats",
            "area_near": f"Area lost up to {settings['matched_kl']:g} nats",
            "area_lost": f"Area lost up to {settings['end_kl']:g} nats",
            "final_gold": "Gold at the end",
            "proxies": "Proxies trained",
            "passes": "Passes a reply",
            "bought": "Golds bought",
        },
        rows=rows,
        digits=2,
        note=(
            f"Brackets: {100 * LEVEL:g} % intervals over {n_prompts} prompts. Gold at the end is that of the final "
            "policy, the last measured step, however far its run went; of the run stopped by forecast that of the "
            "step it keeps, chosen on the other half of the prompts. The area lost (gold × √nats) is empty for a "
            "method with a run that never went that far. Golds bought: measured steps whose gold the forecast asked "
            "for."
        ),
    )
