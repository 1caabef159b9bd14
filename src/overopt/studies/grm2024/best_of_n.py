"""What does best-of-n against each method leave of gold?"""

import math

import numpy as np

from overopt.measure.bon import powers_of_two
from overopt.records.answers import Answer, Claim, FigureData, TableData
from overopt.rewards.ensemble import Calibration, combine
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, kl_bound
from overopt.stats.crossed_units import crossed_mean
from overopt.stats.estimate import FloatArray
from overopt.stats.overoptimization import over_optimization, prompt_draws
from overopt.stats.selection_duel import duel_win_rate
from overopt.studies.claims import known
from overopt.studies.grm2024.judged import Cell, Judgements, cells
from overopt.studies.grm2024.methods import BY_ID, METHODS, PLAIN
from overopt.studies.grm2024.pressure import DRAWS, Arm, degree_cells, gold_figure, last_claim, lost_claim, win_claim
from overopt.studies.study_tables import StudyTables

GRM_IDS = ("grm-sft", "grm-dpo", "grm-dpo-noref")
MEASURED = ("peak_gold", "peak_kl", "matched_gold", "area_lost", "last_gold")


def answer(tables: StudyTables) -> Answer:
    """Curves, degrees and win rates, with gold's labels and with wrong ones."""
    settings, judgements = tables.settings, Judgements(tables)
    gold = tables.gold()
    largest, matched = gold.shape[1], settings["matched_n"]
    counted = f"{judgements.seeds} seeds, {len(gold)} prompts"
    claims: list[Claim] = []
    rows, figure_rows = {}, []
    for rate, kind in ((0.0, "clean"), (settings["flip_rate"], "noisy")):
        labels = "gold's labels" if rate == 0 else f"{100 * rate:g} % wrong labels"
        wanted = [m.id for m in METHODS] if rate == 0 else settings["noisy_methods"]
        arms = {one.id: bon_arm(tables, judgements, one.id, rate) for one in METHODS if one.id in wanted}
        plain = arms[PLAIN]
        rows[kind] = [_row(tables, judgements, arm, plain) for arm in arms.values()]
        for arm in arms.values():
            figure_rows += _curve_rows(tables, judgements, arm, labels)
            if arm.method == PLAIN:
                continue
            at = f"at the best of {largest:,} with {labels}"
            name = f"bon-{kind}-{arm.method}"
            claims.append(last_claim(f"{name}-gold", at, arm, plain, counted))
            claims.append(
                win_claim(f"{name}-wins", at, win_rates(tables, judgements, arm, plain, largest), arm, counted)
            )
            if arm.method in GRM_IDS:
                up_to = f"up to the best of {largest:,} with {labels}"
                claims.append(lost_claim(f"{name}-lost", up_to, arm, plain, counted, ""))
    return Answer(
        id="best-of-n",
        title="Best-of-n",
        question="Does best-of-n gain more gold, and lose less of it, against models that generalise better?",
        how=(
            f"{largest:,} replies of {settings['policy']} to each of {len(gold)} prompts, drawn once; each method's "
            f"models, trained on {settings['pairs']:,} pairs, choose among the same ones. Curves are unbiased means "
            "over all choices of n, over d = √(ln n − (n − 1)/n). Ensembles are put on a common scale by the pool, as "
            "their scores differ in zero and unit. A win rate is the chance that the choice by a method has more gold "
            f"than an independent choice by Bradley-Terry of the same seed. The degree of over-optimization: gold at "
            f"n = {matched:,}, gold and KL at the peak, and the area between the curve and its peak."
        ),
        claims=claims,
        figures=[_figure(figure_rows)],
        tables=[_table(rows[kind], kind, tables) for kind in rows],
        caveats=[
            "ln n − (n − 1)/n is an upper bound of the KL; it is the same for all methods here.",
            "The peak and the area lost are those of measured curves: noise makes both larger, alike for all methods.",
        ],
    )


def pool_scores(tables: StudyTables, judgements: Judgements, cell: Cell, number: int) -> FloatArray:
    """(P, N) of a model of the cell, or its ensemble, on a scale of its own."""
    raw_MPN = np.stack([tables.raw_scores(name) for name in judgements.names(cell, number)])
    if len(raw_MPN) == 1:
        return np.asarray(raw_MPN[0])
    flat_MB = raw_MPN.reshape(len(raw_MPN), -1)
    how = "min" if BY_ID[cell.method].kind == "min" else "mean"
    scores_B = combine(Calibration.from_scores(flat_MB).apply(flat_MB), how)  # type: ignore[arg-type]  # one of both
    return scores_B.reshape(raw_MPN.shape[1:])


def bon_arm(
    tables: StudyTables,
    judgements: Judgements,
    method: str,
    rate: float,
    alpha: float | None = None,
    *,
    draws: int = DRAWS,
) -> Arm:
    """A method's curves over n, for each seed; without draws of prompts its degrees have no intervals."""
    cell, gold = judgements.cell(method, tables.settings["pairs"], rate, alpha), tables.gold()
    ns = powers_of_two(gold.shape[1])
    kl_K = np.array([kl_bound(n) for n in ns])
    rng = stream(tables.seed, "grm2024", "best-of-n")
    counts = prompt_draws(len(gold), draws, rng) if draws else None
    degrees, last = [], []
    for number in range(judgements.seeds):
        curve_PK = best_of_n_curve(pool_scores(tables, judgements, cell, number), gold, ns)
        curve_PK -= gold.mean(axis=1, keepdims=True)
        last.append(curve_PK[:, -1])
        degrees.append(
            over_optimization(
                kl_K,
                curve_PK,
                matched_kl=float(kl_bound(tables.settings["matched_n"])),
                end_kl=float(kl_K[-1]),
                counts=counts,
            )
        )
    return Arm(method=method, flip_rate=rate, degrees=degrees, last_SP=np.stack(last))


def win_rates(tables: StudyTables, judgements: Judgements, arm: Arm, plain: Arm, n: int) -> FloatArray:
    """(S, P) against Bradley-Terry of the same seed."""
    pairs, gold = tables.settings["pairs"], tables.gold()
    both = [judgements.cell(one.method, pairs, one.flip_rate) for one in (arm, plain)]
    found = []
    for number in range(judgements.seeds):
        own, other = (pool_scores(tables, judgements, cell, number) for cell in both)
        found.append(duel_win_rate(own, other, gold, n))
    return np.stack(found)


def _curve_rows(tables: StudyTables, judgements: Judgements, arm: Arm, labels: str) -> list[dict[str, object]]:
    gold = tables.gold()
    cell, ns = judgements.cell(arm.method, tables.settings["pairs"], arm.flip_rate), powers_of_two(gold.shape[1])
    curves_SPK = np.stack(
        [
            best_of_n_curve(pool_scores(tables, judgements, cell, number), gold, ns) - gold.mean(axis=1, keepdims=True)
            for number in range(judgements.seeds)
        ]
    )
    found = [crossed_mean([curves_SPK[:, :, k]]) for k in range(len(ns))]
    return [
        {
            "method": arm.title,
            "labels": labels,
            "n": n,
            "d": math.sqrt(float(kl_bound(n))),
            "gold": one.value,
            "low": known(one.low),
            "high": known(one.high),
        }
        for n, one in zip(ns, found, strict=True)
    ]


def _row(tables: StudyTables, judgements: Judgements, arm: Arm, plain: Arm) -> dict[str, object]:
    row: dict[str, object] = {"method": arm.title, **degree_cells(arm, MEASURED)}
    if arm.method == PLAIN:
        return row | {"wins_matched": None, "wins_last": None}
    largest = tables.gold().shape[1]
    for name, n in (("wins_matched", tables.settings["matched_n"]), ("wins_last", largest)):
        row |= cells(name, crossed_mean([100 * win_rates(tables, judgements, arm, plain, n)]))
    return row


def _figure(rows: list[dict[str, object]]) -> FigureData:
    return gold_figure(
        rows,
        name="bon-gold",
        pressure="best-of-n",
        caption="Means over seeds and prompts, as gains over the base policy; the rows of this figure hold 95 % "
        "intervals over both.",
        distance="√(ln n − (n − 1)/n) (√nats)",
    )


def _table(rows: list[dict[str, object]], kind: str, tables: StudyTables) -> TableData:
    settings = tables.settings
    largest, matched = tables.gold().shape[1], settings["matched_n"]
    labels = "gold's labels" if kind == "clean" else f"{100 * settings['flip_rate']:g} % of the labels turned round"
    return TableData(
        name=f"bon-{kind}",
        title=f"The degree of over-optimization in best-of-n, {labels}",
        columns={
            "method": "Method",
            "peak_gold": "Gold at its peak",
            "peak_kl": "KL at the peak (nats)",
            "matched_gold": f"Gold, n = {matched:,}",
            "last_gold": f"Gold, n = {largest:,}",
            "area_lost": "Area lost",
            "wins_matched": f"Wins over Bradley-Terry (%), n = {matched:,}",
            "wins_last": f"Wins over Bradley-Terry (%), n = {largest:,}",
        },
        rows=rows,
        digits=2,
        note=f"Brackets: 95 % intervals of levels, {settings['seeds']} seeds and {len(tables.prompt_ids)} prompts.",
    )
