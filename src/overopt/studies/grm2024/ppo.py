"""What does PPO against each method leave of gold?"""

import numpy as np
import polars as pl

from overopt.measure.pools import as_matrices
from overopt.records.answers import Answer, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.crossed_units import crossed_mean
from overopt.stats.estimate import FloatArray
from overopt.stats.overoptimization import over_optimization, prompt_draws
from overopt.studies.grm2024.judged import cells
from overopt.studies.grm2024.methods import BY_ID, GRM, METHODS, PLAIN, PPO_WINS
from overopt.studies.grm2024.names import run_name
from overopt.studies.grm2024.pressure import (
    DRAWS,
    Arm,
    degree_cells,
    degree_difference,
    gold_figure,
    last_claim,
    lost_claim,
    matched_claim,
    win_claim,
    wins,
)
from overopt.studies.study_tables import RunTable, StudyTables

MEASURED = ("peak_gold", "peak_kl", "matched_gold", "area_lost")
CURVE_POINTS = 14


def answer(tables: StudyTables) -> Answer:
    """Curves, degrees and win rates of the runs."""
    settings = tables.settings
    matched, n_prompts = settings["matched_kl"], len(tables.prompt_ids)
    claims: list[Claim] = []
    rows, figure_rows = {}, []
    for rate, kind in ((0.0, "clean"), (settings["flip_rate"], "noisy")):
        labels = "gold's labels" if rate == 0 else f"{100 * rate:g} % wrong labels"
        chosen = settings["ppo_methods" if rate == 0 else "noisy_ppo_methods"]
        arms = {one.id: rl_arm(tables, one.id, rate) for one in METHODS if one.id in chosen}
        plain = arms[PLAIN]
        counted = f"{settings['seeds']} seeds, {n_prompts} prompts"
        rows[kind] = [_row(tables, arm, plain) for arm in arms.values()]
        for arm in arms.values():
            figure_rows += _curve_rows(tables, arm, labels)
            if arm.method == PLAIN:
                continue
            name, never = f"ppo-{kind}-{arm.method}", f"a run never went as far as {matched:g} nats"
            at = f"at {matched:g} nats of PPO with {labels}"
            found = degree_difference(arm.degrees, plain.degrees, "matched_gold", n_prompts)
            claims.append(matched_claim(f"{name}-matched", at, found, arm, counted, never))
            claims.append(
                win_claim(f"{name}-wins", at, win_rates(tables, arm, plain, matched), arm, counted, note=never)
            )
            end = f"at the end of PPO with {labels}"
            claims.append(last_claim(f"{name}-final", end, arm, plain, counted))
            win, tie, _ = PPO_WINS
            claims.append(
                win_claim(
                    f"{name}-final-wins",
                    end,
                    win_rates(tables, arm, plain, None),
                    arm,
                    counted,
                    published=Published(
                        finding=f"GRM wins {win} %, ties {tie} %: {win + tie / 2:g} % with ties one half, judged by "
                        "GPT-4o",
                        source="Yang et al. 2024 (2406.10216), table 14, Gemma",
                        outcomes=("above",),
                    )
                    if arm.method in GRM
                    else None,
                )
            )
            if arm.method in GRM:
                reach = settings["end_kl"]
                up_to = f"up to {reach:g} nats of PPO with {labels}"
                note = f"a run never went as far as {reach:g} nats"
                claims.append(lost_claim(f"{name}-lost", up_to, arm, plain, counted, note))
    return Answer(
        id="ppo",
        title="PPO",
        question="Does PPO gain more gold, and lose less of it, against models that generalise better?",
        how=(
            f"PPO of {settings['policy']} without a penalty, {settings['rl']['steps']} steps, the same settings and "
            f"random streams for every method, once against the model of each of {settings['seeds']} seeds that "
            f"learned from {settings['pairs']:,} pairs. Rewards are in units of the model's spread over the base "
            f"policy's replies. KL is exact and of whole replies to {n_prompts} held-out prompts. Methods are compared "
            f"where a run first reaches {matched:g} nats, and at its last measured step. A win rate compares every "
            f"reply with every reply of the run against Bradley-Terry of the same seed to the same prompt, by gold; at "
            f"{matched:g} nats at the measurements that are nearest."
        ),
        claims=claims,
        figures=[_figure(figure_rows)],
        tables=[_table(found, kind, tables) for kind, found in rows.items()],
        caveats=[
            "Final policies have gone as far as their runs took them: a method may end with more gold because it went "
            "less far.",
            "A run that never went as far as the common distance has no number there: by itself that is neither good "
            "nor bad.",
            "Three seeds: a seed's model and its run change together.",
        ],
    )


def runs_of(tables: StudyTables, method: str, rate: float) -> list[RunTable]:
    """The runs of a method, a seed each."""
    return [tables.run(run_name(method, rate, number)) for number in range(tables.settings["seeds"])]


def rl_arm(tables: StudyTables, method: str, rate: float) -> Arm:
    """A method's runs."""
    settings, runs = tables.settings, runs_of(tables, method, rate)
    counts = prompt_draws(len(tables.prompt_ids), DRAWS, stream(tables.seed, "grm2024", "ppo"))
    degrees = [
        over_optimization(
            run.kl_PK, run.gold_PK, matched_kl=settings["matched_kl"], end_kl=settings["end_kl"], counts=counts
        )
        for run in runs
    ]
    last_SP = np.stack([run.gold_PK[:, -1] for run in runs])
    return Arm(method=method, flip_rate=rate, degrees=degrees, last_SP=last_SP)


def win_rates(tables: StudyTables, arm: Arm, plain: Arm, kl: float | None) -> FloatArray | None:
    """(S, P) at the measurement nearest to ``kl``, or the last one; none if a run never went so far."""
    found = []
    for pair in zip(*(runs_of(tables, one.method, one.flip_rate) for one in (arm, plain)), strict=True):
        golds = [_gold_at(run, kl) for run in pair]
        if golds[0] is None or golds[1] is None:
            return None
        found.append(wins(golds[0], golds[1]))
    return np.stack(found)


def _gold_at(run: RunTable, kl: float | None) -> FloatArray | None:
    """(P, R) of the replies there."""
    place = len(run.steps) - 1
    if kl is not None:
        if run.d_K.max() ** 2 < kl:
            return None
        place = int(np.argmin(np.abs(run.d_K - np.sqrt(kl))))
    replies = run.replies.filter(pl.col("step") == run.steps[place])
    return as_matrices(replies, ["gold"]).columns["gold"]


def _row(tables: StudyTables, arm: Arm, plain: Arm) -> dict[str, object]:
    row: dict[str, object] = {"method": arm.title, **degree_cells(arm, MEASURED)}
    row |= cells("last_gold", crossed_mean([arm.last_SP]))
    reached = [float(run.d_K[-1] ** 2) for run in runs_of(tables, arm.method, arm.flip_rate)]
    row["last_kl"] = float(np.mean(reached))
    for name, kl in (("wins_matched", tables.settings["matched_kl"]), ("wins_last", None)):
        rates = None if arm.method == PLAIN else win_rates(tables, arm, plain, kl)
        row |= {name: None, f"{name}_ci": [None, None]} if rates is None else cells(name, crossed_mean([100 * rates]))
    return row


def _curve_rows(tables: StudyTables, arm: Arm, labels: str) -> list[dict[str, object]]:
    """Mean over seeds where the runs first reach a distance, as far as all of them go."""
    runs = runs_of(tables, arm.method, arm.flip_rate)
    reach = min(float(run.d_K.max()) for run in runs)
    rows: list[dict[str, object]] = []
    for d in np.linspace(0, reach, CURVE_POINTS + 1)[1:].tolist():
        at_SP = np.stack([run.gold_at(d) for run in runs])
        found = crossed_mean([at_SP])
        at = {"method": arm.title, "labels": labels, "d": d}
        rows.append(at | {"gold": found.value, **_ends(found.low, found.high)})
    return rows


def _ends(low: float, high: float) -> dict[str, float | None]:
    return {"low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None}


def _figure(rows: list[dict[str, object]]) -> FigureData:
    return gold_figure(
        rows,
        name="ppo-gold",
        pressure="PPO",
        caption="Means over seeds where their runs first reach a distance; a curve ends where the first of them does. "
        "The rows of this figure hold 95 % intervals over seeds and prompts.",
        distance="√KL to the base policy (√nats)",
    )


def _table(rows: list[dict[str, object]], kind: str, tables: StudyTables) -> TableData:
    settings = tables.settings
    labels = "gold's labels" if kind == "clean" else f"{100 * settings['flip_rate']:g} % of the labels turned round"
    return TableData(
        name=f"ppo-{kind}",
        title=f"The degree of over-optimization in PPO, {labels}",
        columns={
            "method": "Method",
            "peak_gold": "Gold at its peak",
            "peak_kl": "KL at the peak (nats)",
            "matched_gold": f"Gold at {settings['matched_kl']:g} nats",
            "area_lost": f"Area lost up to {settings['end_kl']:g} nats",
            "last_gold": "Gold at the end",
            "last_kl": "KL at the end (nats)",
            "wins_matched": f"Wins over {BY_ID[PLAIN].title} (%), {settings['matched_kl']:g} nats",
            "wins_last": "Wins (%), at the end",
        },
        rows=rows,
        digits=2,
        note=f"Brackets: 95 % intervals of levels, {settings['seeds']} seeds and {len(tables.prompt_ids)} prompts. "
        "Numbers at a distance are empty where a run never went so far.",
    )
