"""How much of the text loss is best?"""

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.stats.crossed_units import crossed_mean
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import known
from overopt.studies.grm2024.judged import OUT_IDS, PERCENT, Judgements, cells
from overopt.studies.grm2024.methods import IN, PLAIN, SETS
from overopt.studies.grm2024.words import SETS_OF, WHERE, claim_of
from overopt.studies.study_tables import StudyTables

SFT = "grm-sft"
PAPER_RANGE = (0.005, 0.05)
"""Where α is best in figure 6 of the paper."""


def answer(tables: StudyTables) -> Answer:
    """Accuracy over α."""
    judgements, settings = Judgements(tables), tables.settings
    alphas, sizes = settings["alphas"], settings["sweep_sizes"]
    claims: list[Claim] = []
    for size in sizes:
        for where in ("out", IN.id):
            claims += [_gain(judgements, size, alpha, where) for alpha in alphas]
        claims += _range_claims(judgements, size, alphas)
    return Answer(
        id="alpha",
        title="The weight of the text loss",
        question="How large should α be, and does it cost accuracy in distribution?",
        how=(
            "GRM with the SFT loss, the mean over tokens of −ln p(chosen reply), at each α, on the same pairs with the "
            f"same {judgements.seeds} seeds; α = 0 is Bradley-Terry. The total is (1 − α) L_reward + α L_text. The "
            "paper's text loss is a log-sigmoid of a sum over tokens, so equal α are not equal pressures; its shape "
            "over α is what is compared."
        ),
        claims=claims,
        figures=[_figure(judgements, sizes, alphas)],
        tables=[_table(judgements, size, alphas) for size in sizes],
        caveats=["α was swept with one learning rate and one number of passes."],
    )


def _gain(judgements: Judgements, size: int, alpha: float, where: str) -> Claim:
    return claim_of(
        f"alpha-{alpha:g}-p{size}-{where}",
        f"accuracy {WHERE[where]} with α = {alpha:g} less that with α = 0, {size:,} pairs",
        judgements.gain(judgements.cell(SFT, size, alpha=alpha), judgements.cell(PLAIN, size), SETS_OF[where]),
        counted=judgements.counted(SETS_OF[where]),
        sentences={
            "above": f"With {size:,} pairs, α = {alpha:g} gains {{size}} {{ci}} {WHERE[where]}.",
            "below": f"With {size:,} pairs, α = {alpha:g} costs {{size}} {{ci}} {WHERE[where]}.",
            "open": f"With {size:,} pairs, α = {alpha:g} is not told apart from 0 {WHERE[where]}: {{value}} {{ci}}.",
        },
        unit="points",
    )


def _range_claims(judgements: Judgements, size: int, alphas: list[float]) -> list[Claim]:
    low, high = PAPER_RANGE
    inside = [alpha for alpha in alphas if low <= alpha <= high]
    beyond = [alpha for alpha in alphas if alpha > high]
    if not inside or not beyond:
        return []

    def mean(chosen: list[float], name: str) -> FloatArray:
        """(S, U) of a set."""
        found = [judgements.credits(judgements.cell(SFT, size, alpha=alpha))[name] for alpha in chosen]
        return np.asarray(np.mean(found, axis=0))

    shown = f"α of {low:g} to {high:g}"
    larger = " and ".join(f"{alpha:g}" for alpha in beyond)
    return [
        claim_of(
            f"alpha-range-p{size}",
            f"accuracy out of distribution with {shown} less that with {larger}, {size:,} pairs",
            crossed_mean([PERCENT * (mean(inside, name) - mean(beyond, name)) for name in OUT_IDS]),
            counted=judgements.counted(OUT_IDS),
            sentences={
                "above": f"With {size:,} pairs, {shown} is {{size}} more accurate {{ci}} out of distribution than "
                f"{larger}.",
                "below": f"With {size:,} pairs, {shown} is {{size}} less accurate {{ci}} out of distribution than "
                f"{larger}.",
                "open": f"With {size:,} pairs, whether {shown} or {larger} is more accurate out of distribution is "
                "open: {value} {ci}.",
            },
            published=Published(
                finding="α of .005 to .05 is best, and more costs accuracy",
                source="Yang et al. 2024 (2406.10216), figure 6",
                outcomes=("above",),
            ),
        )
    ]


def _figure(judgements: Judgements, sizes: list[int], alphas: list[float]) -> FigureData:
    rows = []
    for size in sizes:
        plain = judgements.cell(PLAIN, size)
        for where, sets in SETS_OF.items():
            rows.append(
                {
                    "alpha": 0.0,
                    "gain": 0.0,
                    "low": None,
                    "high": None,
                    "where": WHERE[where],
                    "pairs": f"{size:,}",
                }
            )
            for alpha in alphas:
                found = judgements.gain(judgements.cell(SFT, size, alpha=alpha), plain, sets)
                ends = {"low": known(found.low), "high": known(found.high)}
                rows.append({"alpha": alpha, "gain": found.value, **ends, "where": WHERE[where], "pairs": f"{size:,}"})
    return FigureData(
        name="alpha-gains",
        title="Accuracy over α, less that at α = 0",
        caption="Bars are 95 % intervals over seeds and prompts, of differences on the same pairs with the same seeds.",
        rows=rows,
        x=Axis(field="alpha", title="α", scale="sqrt"),
        y=Axis(field="gain", title="gain over α = 0 (points)"),
        low="low",
        high="high",
        colour=Channel(field="where", title=""),
        panel=Channel(field="pairs", title="training pairs"),
        reference=0.0,
    )


def _table(judgements: Judgements, size: int, alphas: list[float]) -> TableData:
    rows = []
    for alpha in (0.0, *alphas):
        cell = judgements.cell(SFT, size, alpha=alpha)
        row: dict[str, object] = {"alpha": f"{alpha:g}"}
        for one in SETS:
            row |= cells(one.id, judgements.accuracy(cell, (one.id,)))
        row |= cells("out", judgements.accuracy(cell, OUT_IDS))
        nats = judgements.reply_nats(cell)
        rows.append(row | {"nats": None if nats is None else round(float(nats.mean()), 3)})
    return TableData(
        name=f"alpha-p{size}",
        title=f"Accuracy in per cent over α, {size:,} training pairs",
        columns={
            "alpha": "α",
            **{one.id: one.title.capitalize() for one in SETS},
            "out": "Mean out of distribution",
            "nats": "Language model (nats a token)",
        },
        rows=rows,
        digits=1,
        note=f"Brackets: 95 % intervals over {judgements.seeds} seeds and the prompts of a set, for levels.",
    )
