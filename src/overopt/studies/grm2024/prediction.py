"""Does accuracy say how a reward model fares when it is optimised against?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.measure.optimization_degree import accuracy_predicts, degrees
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, TableData
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import known
from overopt.studies.grm2024.best_of_n import bon_arm
from overopt.studies.grm2024.judged import OUT_IDS, Cell, Judgements
from overopt.studies.grm2024.methods import BY_ID, IN, METHODS, SETS
from overopt.studies.grm2024.ppo import rl_arm
from overopt.studies.study_tables import StudyTables

MEAN_OUT = "out of distribution"
IN_TITLE = "in distribution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degree:
    """One measure of what optimising costs, of many models."""

    id: str
    title: str
    names: list[str]
    groups: list[str]
    cells: list[tuple[Cell, int]]
    values_M: FloatArray


def answer(tables: StudyTables) -> Answer:
    """Rank correlations of accuracy with the degree of over-optimization, over all models of one size."""
    judgements, settings = Judgements(tables), tables.settings
    measured = _degrees(tables, judgements)
    reports = {one.id: _report(one, judgements, tables.seed) for one in measured}
    claims: list[Claim] = []
    for one in measured:
        claims += _claims(one, reports[one.id])
    return Answer(
        id="prediction",
        title="Accuracy and over-optimization",
        question="Does a model's accuracy foretell how much gold optimising against it leaves?",
        how=(
            f"All models that learned from {settings['pairs']:,} pairs and were optimised against: every method, every "
            "α of GRM, gold's labels and wrong ones. Their accuracy on each set of pairs, and on the mean of those "
            "out of distribution, is ranked against gold at the largest n of best-of-n, against the area lost there, "
            f"and against gold at {settings['matched_kl']:g} nats of PPO. Seeds of one method, α and kind of labels "
            "count as one unit: left out together, and one in the interval."
        ),
        claims=claims,
        figures=[_figure(measured[0], judgements)],
        tables=[_table(measured, reports)],
        caveats=[
            "Methods differ in much besides accuracy, and wrong labels move accuracy and gold at once: a correlation "
            "over all of them does not say that accuracy alone decides.",
            "The difference between two correlations is over the same models, resampled together.",
        ],
    )


def _degrees(tables: StudyTables, judgements: Judgements) -> list[Degree]:
    settings = tables.settings
    kinds: list[tuple[str, float, float | None]] = [(one.id, 0.0, None) for one in METHODS]
    kinds += [(name, settings["flip_rate"], None) for name in settings["noisy_methods"]]
    kinds += [("grm-sft", 0.0, alpha) for alpha in settings["alphas"] if alpha != settings["text_weight"]]
    names: list[str] = []
    groups: list[str] = []
    cells: list[tuple[Cell, int]] = []
    golds: list[float] = []
    areas: list[float] = []
    for method, rate, alpha in kinds:
        arm = bon_arm(tables, judgements, method, rate, alpha, draws=0)
        cell = judgements.cell(method, settings["pairs"], rate, alpha)
        golds += degrees(arm.degrees, "last_gold").tolist()
        areas += degrees(arm.degrees, "area_lost").tolist()
        for number in range(judgements.seeds):
            cells.append((cell, number))
            groups.append(_group(cell))
            names.append(f"{_group(cell)}, seed {number}")
    found = [
        Degree(id=name, title=title, names=names, groups=groups, cells=cells, values_M=np.array(values))
        for name, title, values in (
            ("bon-gold", "gold at the largest n", golds),
            ("bon-lost", "area lost in best-of-n", areas),
        )
    ]
    runs = [(name, 0.0) for name in settings["ppo_methods"]]
    runs += [(name, settings["flip_rate"]) for name in settings["noisy_ppo_methods"]]
    kept: list[tuple[Cell, int, float]] = []
    for method, rate in runs:
        values = degrees(rl_arm(tables, method, rate).degrees, "matched_gold")
        cell = judgements.cell(method, settings["pairs"], rate)
        kept += [(cell, number, float(value)) for number, value in enumerate(values) if np.isfinite(value)]
    found.append(
        Degree(
            id="ppo-gold",
            title=f"gold at {settings['matched_kl']:g} nats of PPO",
            names=[f"{_group(cell)}, seed {number}" for cell, number, _ in kept],
            groups=[_group(cell) for cell, _, _ in kept],
            cells=[(cell, number) for cell, number, _ in kept],
            values_M=np.array([value for _, _, value in kept]),
        )
    )
    return found


def _group(cell: Cell) -> str:
    alpha = "" if cell.alpha is None else f", α = {cell.alpha:g}"
    labels = f", {100 * cell.flip_rate:g} % wrong" if cell.flip_rate else ""
    return f"{BY_ID[cell.method].title}{alpha}{labels}"


def _accuracies(one: Degree, judgements: Judgements) -> dict[str, FloatArray]:
    by_set = {
        judged.id: np.array([float(judgements.credits(cell)[judged.id][number].mean()) for cell, number in one.cells])
        for judged in SETS
    }
    found = {IN_TITLE: by_set[IN.id], MEAN_OUT: np.mean([by_set[name] for name in OUT_IDS], axis=0)}
    return found | {judged.title: by_set[judged.id] for judged in SETS if judged is not IN}


def _report(one: Degree, judgements: Judgements, seed: int) -> dict[str, Any] | None:
    """``None`` where there are too few models, or their degrees do not differ."""
    if one.values_M.size < 3 or np.ptp(one.values_M) == 0:
        return None
    accuracies = _accuracies(one, judgements)
    both = {title: accuracies.pop(title) for title in (IN_TITLE, MEAN_OUT)}
    usual: dict[str, Any] = {"names": one.names, "group": one.groups, "seed": seed}
    report = accuracy_predicts(both, one.values_M, **usual)
    for title, values_M in accuracies.items():
        # Each by itself: only the two means are held against each other.
        report["predictors"] |= accuracy_predicts({title: values_M}, one.values_M, **usual)["predictors"]
    return report


def _claims(one: Degree, report: Mapping[str, Any] | None) -> list[Claim]:
    none = "too few runs went so far" if one.id == "ppo-gold" else "the models do not differ in it"
    counted = f"{one.values_M.size} models of {len(set(one.groups))} kinds"
    claims = []
    for name, title in (("in", IN_TITLE), ("out", MEAN_OUT)):
        found = {} if report is None else report["predictors"][title]
        value = known(found.get("correlation"))
        claims.append(
            Claim(
                id=f"prediction-{one.id}-{name}",
                what=f"rank correlation of accuracy {title} with {one.title}",
                value=value,
                ci=(None, None) if value is None else _around(value, found["ci"]),
                counted=counted,
                sentences={
                    "above": f"Models that are more accurate {title} have more {one.title}: {{value}} {{ci}}.",
                    "below": f"Models that are more accurate {title} have less {one.title}: {{value}} {{ci}}.",
                    "open": f"Accuracy {title} does not foretell {one.title} as far as is known: {{value}} {{ci}}.",
                },
                note=none if value is None else "",
            )
        )
    difference = next(
        (d for d in report["differences"] if (d["first"], d["second"]) == (IN_TITLE, MEAN_OUT)), None
    ) if report is not None else None  # fmt: skip
    # An area lost is the worse the larger it is: there the better foreteller has the lower correlation.
    sign = 1.0 if one.id == "bon-lost" else -1.0
    value = None if difference is None else known(difference["difference"])
    ci: tuple[float | None, float | None] = (None, None)
    if value is not None and difference is not None:
        low, high = _around(value, difference["ci"])
        value = sign * value
        if low is not None and high is not None:
            ci = (low, high) if sign > 0 else (-high, -low)
    claims.append(
        Claim(
            id=f"prediction-{one.id}-difference",
            what=f"how much better accuracy {MEAN_OUT} ranks models by {one.title} than accuracy {IN_TITLE} does "
            "(difference of rank correlations)",
            value=value,
            ci=ci,
            counted=counted,
            sentences={
                "above": f"Accuracy {MEAN_OUT} foretells {one.title} better than accuracy {IN_TITLE}: by {{size}} "
                "{ci} of rank correlation.",
                "below": f"Accuracy {MEAN_OUT} foretells {one.title} worse than accuracy {IN_TITLE}: by {{size}} "
                "{ci} of rank correlation.",
                "open": f"Whether accuracy in or out of distribution foretells {one.title} better is open: {{value}} "
                "{ci}.",
            },
            note=none if value is None else "",
        )
    )
    return claims


def _around(value: float, ci: list[float | None]) -> tuple[float | None, float | None]:
    """The interval, which a bootstrap may leave beside its estimate."""
    low, high = ci
    return (None, None) if low is None or high is None else (min(low, value), max(high, value))


def _figure(one: Degree, judgements: Judgements) -> FigureData:
    accuracies = _accuracies(one, judgements)
    rows = []
    for title in (IN_TITLE, MEAN_OUT):
        for (cell, number), accuracy, value in zip(one.cells, accuracies[title], one.values_M, strict=True):
            rows.append(
                {
                    "where": title,
                    "accuracy": 100 * float(accuracy),
                    "gold": float(value),
                    "method": BY_ID[cell.method].title,
                    "labels": "wrong labels" if cell.flip_rate else "gold's labels",
                    "model": f"{_group(cell)}, seed {number}",
                }
            )
    return FigureData(
        name="prediction-bon",
        title=f"{one.title[0].upper()}{one.title[1:]} over accuracy, a point a model",
        caption="All models of one number of training pairs; the α of the sweep are points of GRM, SFT.",
        rows=rows,
        x=Axis(field="accuracy", title="accuracy (%)"),
        y=Axis(field="gold", title=f"{one.title} (sd)"),
        marks=("point",),
        colour=Channel(field="method", title="method"),
        shape=Channel(field="labels", title="labels"),
        panel=Channel(field="where", title=""),
    )


def _table(measured: list[Degree], reports: Mapping[str, Mapping[str, Any] | None]) -> TableData:
    rows = []
    for one in measured:
        report = reports[one.id]
        for title in (IN_TITLE, MEAN_OUT, *(judged.title for judged in SETS if judged is not IN)):
            found = {} if report is None else report["predictors"][title]
            rows.append(
                {
                    "degree": one.title,
                    "accuracy": title,
                    "models": int(one.values_M.size),
                    "correlation": found.get("correlation"),
                    "correlation_ci": list(found.get("ci", [None, None])),
                    "lowest": found.get("lowest"),
                    "highest": found.get("highest"),
                    "skill": found.get("skill"),
                }
            )
    return TableData(
        name="prediction-correlations",
        title="Rank correlation of accuracy with what optimising leaves",
        columns={
            "degree": "Of",
            "accuracy": "Accuracy on",
            "models": "Models",
            "correlation": "Rank correlation",
            "lowest": "Lowest without a kind",
            "highest": "Highest without a kind",
            "skill": "Skill",
        },
        rows=rows,
        digits=2,
        note="Brackets: 95 % intervals that count a kind of model (method, α, labels) once. Skill: 1 foretells each "
        "kind from the others exactly, 0 is no better than their mean. A model whose accuracy foretells loss "
        "correlates below 0 with the area lost.",
    )
