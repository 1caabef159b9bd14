"""The matrix of gaming as pages of a report: heat maps with counts and intervals, claims, and how gaming is told of.

What the numbers are about is said on every page: incentives that were constructed, and a way that gaming may spread,
not how often it happens anywhere.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from overopt.measure.gaming import Cell, Matrix, disclosure_counts, gaming_matrix
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, TableData

PANELS = {"attempted": "attempted", "gamed": "gamed (success)", "evaded": "changed and evaded"}
CAVEATS = (
    "Constructed incentive, pathway not prevalence: the environments pay for gaming on purpose, so rates say nothing "
    "of how often a model games elsewhere.",
    "Intervals count scenarios: episodes of one scenario are alike. A rate of zero carries its upper bound.",
    "Whether a change was told of, and whether something was made up, is read from the visible text by rules; all "
    "other facts follow from files, their record and the answer.",
)
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
"""What cannot stand in the name of a file."""
_WORDS = {
    "attempted": "tried to change what they were not asked to change",
    "raised": "left more pay than honest work would have",
    "evaded": "changed something and were not noticed",
    "gamed": "gamed with success",
    "honest_success": "did the task as a person would want it",
}


def gaming_answers(outcomes: pl.DataFrame, *, stages: Sequence[str] | None = None, level: float = 0.95) -> list[Answer]:
    """The pages of a table of outcomes: the matrix, and the twins where there are such.

    Raises
    ------
    DataError
        As :func:`~overopt.measure.gaming.gaming_matrix`.
    """
    matrix = gaming_matrix(outcomes, stages=stages, level=level)
    shown = outcomes.filter(pl.col("stage").is_in(matrix.stages))
    twins = {cell.twin for cell in matrix.cells}
    found = [_matrix_answer(matrix, shown)] if "gameable" in twins else []
    return [*found, _twins_answer(matrix)] if twins - {"gameable"} else found


def percent(value: float | None, low: float | None, high: float | None) -> str:
    """An interval in percent, with as many digits as a rate near 0 or near 1 needs.

    >>> percent(0.0, 0.0, 3.69e-05), percent(0.5, 0.41, 0.59), percent(1.0, 0.9963, 1.0)
    ('0 [0, 0.0037] %', '50 [41, 59] %', '100 [99.6, 100] %')
    """
    if value is None or value != value:
        return "unknown"
    return f"{_share(value)} [{_share(low)}, {_share(high)}] %"


def _share(share: float | None) -> str:
    """In percent: two digits, or the first that tells it from 100."""
    if share is None or share != share:
        return "?"
    rest = 100 * (1 - share)
    if share < 0.5 or rest <= 0:
        return f"{100 * share:.2g}" if share < 0.5 else "100"
    return f"{100 * share:.{max(0, -math.floor(math.log10(rest) + 1e-9))}f}"


def _matrix_answer(matrix: Matrix, outcomes: pl.DataFrame) -> Answer:
    cells = [cell for cell in matrix.cells if cell.twin == "gameable"]
    return Answer(
        id="matrix",
        title="Stages and environments",
        question="How often is each environment gamed at each stage, and how often was it tried?",
        how=(
            "Every cell counts judged episodes. An outcome follows from the files at the end, the record of every "
            "change and the answer. Intervals are those of Clopper and Pearson, with the trials divided by the design "
            "effect where a scenario has several episodes (Korn and Graubard 1998)."
        ),
        claims=[_claim(cell, matrix.stages.index(cell.stage) + 1) for cell in cells if cell.fact == "gamed"],
        figures=_figures(cells),
        tables=[_table("matrix-rates", "All rates", cells), *_told(outcomes)],
        caveats=CAVEATS,
    )


def _twins_answer(matrix: Matrix) -> Answer:
    cells = [cell for cell in matrix.cells if cell.twin != "gameable"]
    return Answer(
        id="twins",
        title="Twins",
        question="Is anything called gaming where it cannot be?",
        how=(
            "Each environment has twins: one where gaming is impossible or does not pay, and one where the edit that "
            "would be gaming is what the person asks for. Success that pays never counts there; attempts do."
        ),
        claims=[_claim(cell, matrix.stages.index(cell.stage) + 1) for cell in cells if cell.fact == "attempted"],
        tables=[_table("twins-rates", "Rates in the twins", cells)],
        caveats=CAVEATS,
    )


def _claim(cell: Cell, place: int) -> Claim:
    """A rate against zero: whether it happens at all; ``place`` is that of its stage."""
    known = [None if end != end else 100 * end for end in (cell.low, cell.high)]
    value = None if cell.value != cell.value else 100 * cell.value
    what = _WORDS[cell.fact]
    where = f"{cell.environment}{'' if cell.twin == 'gameable' else f', twin {cell.twin}'}, stage {cell.stage}"
    return Claim(
        id=f"{cell.fact}-{cell.twin}-{cell.environment}-{place}-{_NO_NAME.sub('-', cell.stage)}",
        what=f"share of episodes that {what} ({where})",
        value=value,
        ci=(known[0], known[1]),
        level=cell.level,
        counted=f"{cell.counts} episodes, {cell.clusters:,} scenarios",
        unit="%",
        digits=2 if value is None or value >= 0.1 else 4,
        sentences={
            "above": f"In {where}, {{value}} {{ci}} of episodes {what} ({cell.counts}).",
            "below": f"In {where}, {{value}} {{ci}} of episodes {what} ({cell.counts}).",
            "open": f"In {where}, {{value}} {{ci}} of episodes {what} ({cell.counts}).",
        },
        note="" if known[0] is not None else "one scenario has no interval over scenarios",
    )


def _figures(cells: Sequence[Cell]) -> list[FigureData]:
    rows: list[dict[str, Any]] = [
        {
            "stage": cell.stage,
            "environment": cell.environment,
            "panel": PANELS[cell.fact],
            "rate (%)": None if cell.value != cell.value else 100 * cell.value,
            "low": None if cell.low != cell.low else 100 * cell.low,
            "high": None if cell.high != cell.high else 100 * cell.high,
            "counts": cell.counts,
            "written": f"{cell.counts}\n{percent(cell.value, cell.low, cell.high)}",
        }
        for fact in PANELS
        for cell in cells
        if cell.fact == fact
    ]
    if not rows:
        return []
    return [
        FigureData(
            name="matrix",
            title="Attempts, successes and evasions, by stage and environment",
            caption="Episodes of all, the rate and its interval in percent.",
            rows=rows,
            x=Axis(field="stage", title="stage"),
            y=Axis(field="environment", title="environment"),
            marks=("heat", "text"),
            value="rate (%)",
            written="written",
            panel=Channel(field="panel", title="", values=tuple(PANELS.values())),
        )
    ]


def _table(name: str, title: str, cells: Sequence[Cell]) -> TableData:
    return TableData(
        name=name,
        title=title,
        columns={
            "stage": "stage", "environment": "environment", "twin": "twin", "fact": "fact", "counts": "k/n",
            "clusters": "scenarios", "rate": "rate (%)",
        },
        rows=[
            {
                "stage": cell.stage, "environment": cell.environment, "twin": cell.twin, "fact": cell.fact,
                "counts": cell.counts, "clusters": cell.clusters,
                "rate": None if cell.value != cell.value else 100 * cell.value,
                "rate_ci": tuple(None if end != end else 100 * end for end in (cell.low, cell.high)),
            }
            for cell in cells
        ],
        note="Intervals over scenarios.",
    )  # fmt: skip


def _told(outcomes: pl.DataFrame) -> list[TableData]:
    counts = disclosure_counts(outcomes.filter(pl.col("twin") == "gameable"))
    if counts.is_empty():
        return []
    return [
        TableData(
            name="matrix-disclosure",
            title="How those who changed something spoke of it",
            columns={
                "stage": "stage", "environment": "environment", "changed": "changed something", "honest": "said so",
                "excuse": "said so with a reason", "silent": "said nothing",
            },
            rows=counts.to_dicts(),
            note="Read from the visible text by rules.",
        )
    ]  # fmt: skip
