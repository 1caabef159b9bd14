"""Size of the proxy × number of pairs: held-out loss, gold, and whether equal loss means equal gold.

Gao et al. 2022, figures 4 to 6, 10 to 12 and 17 to 21. Axes: C cells of the grid, P prompts, B held-out pairs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.linear import solve_columns
from overopt.stats.trends import log_trend
from overopt.studies.claims import UNKNOWN, Interval, ends, over_units
from overopt.studies.gao2022.coefficients import fitted_maximum, gold_gains, is_usable, largest_n, left_out
from overopt.studies.gao2022.held_out import pair_hits, pair_losses
from overopt.studies.gao2022.leaving_out import without_prompts
from overopt.studies.gao2022.main_proxies import is_main
from overopt.studies.gao2022.matched import wider
from overopt.studies.study_tables import ProxyTable, StudyTables

CHANCE_PAIRS = 2_000
CHANCE_MARGIN = 0.05
LOSS_MARGIN = 0.1
MIN_CELLS = 8
"""Twice the coefficients of gold against loss and size."""
_CHANCE_LOSS = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A proxy of one size, trained once on so many pairs."""

    proxy: ProxyTable
    bon: dict[str, Any]
    gold_P: FloatArray
    """Gold at the largest n."""


def answer(tables: StudyTables) -> Answer:
    """The grid of sizes and pairs."""
    cells = _cells(tables)
    missing = left_out(cell.bon["fit"] for cell in cells)
    return Answer(
        id="data",
        title="Number of pairs",
        question="How many labelled pairs does a proxy need, and is its held-out loss all that matters?",
        how=(
            f"One proxy for each of {len({c.proxy.base for c in cells})} sizes and "
            f"{len({c.proxy.pairs for c in cells})} numbers of pairs, the smaller sets being the first pairs of the "
            "larger ones, with as many passes over each. Loss and accuracy are over held-out pairs with gold's own "
            f"labels. Best-of-n over {largest_n(tables):,} replies a prompt, with R = d(α − βd) fitted to it; the "
            "fitted maximum is the largest value of the law over the measured distances. "
            + (f"In trends of coefficients {missing}." if missing else "")
        ),
        claims=[
            _chance(tables, cells),
            _more_gold(tables, cells),
            _equal_loss(tables, cells),
            _slope(tables, cells, "alpha"),
            _slope(tables, cells, "beta"),
        ],
        figures=_figures(tables, cells),
        tables=_tables(tables, cells),
        caveats=[
            "One proxy a cell: what another training seed would change shows as scatter between cells.",
            "Passes are the same for all numbers of pairs, so small sets also mean few steps.",
            *_ranges(cells),
        ],
    )


def _cells(tables: StudyTables) -> list[Cell]:
    """Proxies of seed 0 for every size that has several numbers of pairs."""
    counts = sorted({int(pairs) for pairs in (*tables.settings["fewer_pairs"], tables.settings["pairs"])})
    found = [
        proxy
        for proxy in tables.proxies()
        if proxy.pairs in counts
        and is_main(proxy, proxy.pairs)
        and proxy.name.endswith("-s0")
        and tables.has(f"scores/{proxy.name}")
    ]
    bases = [proxy.base for proxy in found]
    return [
        Cell(proxy=proxy, bon=tables.best_of_n([proxy.name]), gold_P=gold_gains(tables, [proxy.name])[0])
        for proxy in found
        if bases.count(proxy.base) > 1
    ]


def _by_size(cells: list[Cell]) -> list[list[Cell]]:
    """Cells of one size, by pairs."""
    bases = dict.fromkeys(cell.proxy.base for cell in cells)
    return [[cell for cell in cells if cell.proxy.base == base] for base in bases]


def _chance(tables: StudyTables, cells: list[Cell]) -> Claim:
    few = [cell for cell in cells if cell.proxy.pairs < CHANCE_PAIRS]
    value, ci = None, UNKNOWN
    if few:
        hits_CB = np.stack([pair_hits(tables, cell.proxy) for cell in few])
        value, ci = over_units(hits_CB.mean(axis=0) - 0.5, stream(tables.seed, "data", "chance"))
    pairs = sorted({cell.proxy.pairs for cell in few})
    listed = " or ".join(f"{count:,}" for count in pairs)
    return Claim(
        id="data-chance",
        what=f"accuracy on held-out pairs above one half of proxies trained on fewer than {CHANCE_PAIRS:,} pairs, near "
        f"chance within {CHANCE_MARGIN}",
        value=value,
        ci=ci,
        counted=f"{len(few[0].proxy.pair_scores) if few else 0} held-out pairs, mean over {len(few)} proxies",
        digits=3,
        margin=CHANCE_MARGIN,
        sentences={
            "above": f"With {listed} pairs proxies already are right {{size}} {{ci}} more often than a coin.",
            "below": f"With {listed} pairs proxies are wrong more often than a coin, by {{size}} {{ci}}.",
            "equal": f"With {listed} pairs proxies are near chance: {{value}} {{ci}} above one half.",
            "open": f"Whether proxies trained on {listed} pairs are better than a coin is not decided: {{value}} "
            "{ci} above one half.",
        },
        published=Published(
            finding="below about 2,000 comparisons proxies of all sizes are near chance",
            source="Gao et al. 2022, section 3.3, figure 4",
            outcomes=("equal",),
        ),
        note="" if few else f"no proxy was trained on fewer than {CHANCE_PAIRS:,} pairs",
    )


def _more_gold(tables: StudyTables, cells: list[Cell]) -> Claim:
    value, ci = None, UNKNOWN
    sizes = _by_size(cells)
    if sizes:
        difference_P = np.mean([of_size[-1].gold_P - of_size[0].gold_P for of_size in sizes], axis=0)
        value, ci = over_units(difference_P, stream(tables.seed, "data", "gold"))
    n = largest_n(tables)
    return Claim(
        id="data-gold",
        what=f"gold at n = {n:,} with the most pairs less that with the fewest, mean over sizes",
        value=value,
        ci=ci,
        counted=f"{len(tables.prompt_ids)} prompts, mean over {len(sizes)} sizes",
        unit="sd",
        sentences={
            "above": f"More pairs give more gold: {{size}} {{ci}} at n = {n:,}, the most against the fewest.",
            "below": f"More pairs give less gold: {{size}} {{ci}} at n = {n:,}, the most against the fewest.",
            "open": f"Whether more pairs give more gold is not decided: {{value}} {{ci}} at n = {n:,}.",
        },
        published=Published(
            finding="more pairs give more gold", source="Gao et al. 2022, figures 4 and 10", outcomes=("above",)
        ),
        note="" if sizes else "no size was trained on several numbers of pairs",
    )


def _equal_loss(tables: StudyTables, cells: list[Cell]) -> Claim:
    """Gold regressed on loss, its square and size: what size adds; over cells and over prompts, the wider interval."""
    value, ci = None, UNKNOWN
    if len(cells) >= MIN_CELLS:
        value, ci = _size_at_equal_loss(tables, cells)
    return Claim(
        id="data-equal-loss",
        what=f"change of gold for ten times the parameters at equal held-out loss, equal within {LOSS_MARGIN} sd",
        value=value,
        ci=ci,
        counted=f"{len(cells)} cells of the grid left out in turn and {len(tables.prompt_ids)} prompts, the wider",
        unit="sd",
        margin=LOSS_MARGIN,
        sentences={
            "above": "At equal held-out loss larger proxies yield more gold: {size} {ci} for ten times the parameters.",
            "below": "At equal held-out loss larger proxies yield less gold: {size} {ci} for ten times the parameters.",
            "equal": f"Equal held-out loss means equal gold within {LOSS_MARGIN} sd: ten times the parameters add "
            "{value} {ci}.",
            "open": "Whether size matters for gold at equal held-out loss is not decided: {value} {ci} for ten times "
            "the parameters.",
        },
        published=Published(
            finding="proxies of equal held-out loss reach about the same gold, with weak support",
            source="Gao et al. 2022, figure 6",
            outcomes=("equal",),
        ),
        note="" if value is not None else f"a regression takes {MIN_CELLS} cells of several sizes and losses",
    )


def _size_at_equal_loss(tables: StudyTables, cells: list[Cell]) -> tuple[float | None, Interval]:
    loss_C = np.array([cell.proxy.loss.value for cell in cells])
    size_C = np.log10([cell.proxy.parameters for cell in cells])
    loss_C = loss_C - loss_C.mean()
    columns_C4 = np.stack([np.ones(len(cells)), loss_C, loss_C**2, size_C - size_C.mean()], axis=1)
    gold_PC = np.stack([cell.gold_P for cell in cells], axis=1)

    def of_cells(rows: Any) -> FloatArray:
        found = solve_columns(columns_C4[rows], gold_PC[:, rows].mean(axis=0), np.ones(len(rows)))
        return np.asarray(found[-1:])

    ((value, over_cells),) = without_prompts(
        of_cells, len(cells), stream(tables.seed, "data", "cells"), groups=len(cells)
    )
    if value is None:
        return None, UNKNOWN
    by_prompt = solve_columns(columns_C4, gold_PC, np.ones(len(cells)))[:, -1]
    _, over_prompts = over_units(by_prompt, stream(tables.seed, "data", "prompts"))
    return value, wider(over_cells, over_prompts)


def _with_trend(cells: list[Cell]) -> list[list[Cell]]:
    """Of each size the cells with a usable fit, where these have several numbers of pairs."""
    known = [[cell for cell in of_size if is_usable(cell.bon["fit"])] for of_size in _by_size(cells)]
    return [of_size for of_size in known if len({cell.proxy.pairs for cell in of_size}) > 1]


def _ranges(cells: list[Cell]) -> list[str]:
    """The numbers of pairs behind the trends of coefficients, as a caveat."""
    ranges: dict[str, list[str]] = {}
    for of_size in _with_trend(cells):
        pairs = [cell.proxy.pairs for cell in of_size]
        ranges.setdefault(f"{min(pairs):,} to {max(pairs):,}", []).append(of_size[0].proxy.base)
    if not ranges:
        return []
    listed = "; ".join(f"{', '.join(bases)} over {pairs}" for pairs, bases in ranges.items())
    if len(ranges) == 1:
        return [f"The changes of α and β with the number of pairs are those of {listed} pairs."]
    return [
        "The changes of α and β with the number of pairs are means over sizes whose usable fits span different "
        f"numbers of pairs: {listed}."
    ]


def _slope(tables: StudyTables, cells: list[Cell], name: str) -> Claim:
    slopes = []
    for of_size in _with_trend(cells):
        trend = log_trend([cell.proxy.pairs for cell in of_size], [cell.bon["fit"][name] for cell in of_size])
        slopes.append(trend.slope)
    value, ci = over_units(slopes, stream(tables.seed, "data", name)) if slopes else (None, UNKNOWN)
    letter = {"alpha": "α", "beta": "β"}[name]
    return Claim(
        id=f"data-{name}",
        what=f"change of {letter} of best-of-n for ten times the pairs, mean over sizes",
        value=value,
        ci=ci,
        counted=f"{len(slopes)} sizes",
        digits=3,
        sentences={
            "above": f"{letter} of best-of-n rises with the number of pairs, by {{size}} {{ci}} for ten times as many.",
            "below": f"{letter} of best-of-n falls with the number of pairs, by {{size}} {{ci}} for ten times as many.",
            "open": f"Whether {letter} of best-of-n changes with the number of pairs is not decided: {{value}} {{ci}} "
            "for ten times as many.",
        },
        published=Published(
            finding=f"{letter} against the number of pairs, size by size",
            source="Gao et al. 2022, figures 17 and 18",
            why_not="the paper plots it without a statement that could be held against ours",
        ),
        note="" if len(slopes) > 3 else "an interval takes four sizes with usable fits at two numbers of pairs",
    )


def _figures(tables: StudyTables, cells: list[Cell]) -> list[FigureData]:
    if not cells:
        return []
    n = largest_n(tables)
    curves, golds, losses, coefficients = [], [], [], []
    for cell in cells:
        at = {"parameters": cell.proxy.parameters, "pairs": cell.proxy.pairs}
        for point in cell.bon["curve"]:
            low, high = ends(point["gold_ci"])
            d = math.sqrt(point["kl_bound"])
            curves.append({**at, "d": d, "n": point["n"], "gold": point["gold"], "low": low, "high": high})
        last, maximum, peak = cell.bon["curve"][-1], fitted_maximum(cell.bon), cell.bon["fit"]["peak"]
        low, high = ends(last["gold_ci"])
        loss = cell.proxy.loss
        golds.append(
            {**at, "loss": loss.value, "kind": f"at n = {n:,}", "gold": last["gold"], "low": low, "high": high}
        )
        if maximum is not None:
            low, high = ends(peak["gold_ci"]) if peak is not None and maximum == peak["gold"] else (None, None)
            row = {"loss": loss.value, "kind": "fitted maximum", "gold": maximum, "low": low, "high": high}
            golds.append({**at, **row})
        _, (low, high) = over_units(pair_losses(tables, cell.proxy), stream(tables.seed, "data", "loss"))
        losses.append({**at, "loss": loss.value, "low": low, "high": high})
        for name, letter in (("alpha", "α"), ("beta", "β")):
            if is_usable(cell.bon["fit"]):
                low, high = ends(cell.bon["fit"][f"{name}_ci"])
                value = cell.bon["fit"][name]
                coefficients.append({**at, "coefficient": letter, "value": value, "low": low, "high": high})
    size = Channel(field="parameters", title="parameters of the proxy", is_ordered=True)
    pairs = Axis(field="pairs", title="training pairs", scale="log")
    figures = [
        FigureData(
            name="data-curves",
            title="Gold of best-of-n against distance, by number of pairs",
            caption="One panel a size of the proxy; bands are 95 % intervals over prompts.",
            rows=curves,
            x=Axis(field="d", title="d = √KL to the base policy (√nats)", from_zero=True),
            y=Axis(field="gold", title="gold (standard deviations)"),
            marks=("band", "line"),
            low="low",
            high="high",
            colour=Channel(field="pairs", title="training pairs", is_ordered=True),
            panel=Channel(field="parameters", title="parameters"),
            reference=0.0,
        ),
        FigureData(
            name="data-gold",
            title="Gold against the number of pairs",
            caption=f"At n = {n:,}, with 95 % intervals over prompts, and the largest value of the fitted law over the "
            "measured distances, with an interval where that is a peak.",
            rows=golds,
            x=pairs,
            y=Axis(field="gold", title="gold (standard deviations)"),
            low="low",
            high="high",
            colour=size,
            panel=Channel(field="kind", title=""),
            reference=0.0,
        ),
        FigureData(
            name="data-loss",
            title="Held-out loss against the number of pairs",
            caption="Bradley-Terry loss with gold's own labels; 95 % intervals over held-out pairs. The line is "
            "chance, ln 2.",
            rows=losses,
            x=pairs,
            y=Axis(field="loss", title="held-out loss (nats a pair)"),
            low="low",
            high="high",
            colour=size,
            reference=_CHANCE_LOSS,
        ),
        FigureData(
            name="data-loss-gold",
            title="Gold against held-out loss",
            caption=f"One point a proxy, gold at n = {n:,}, 95 % intervals over prompts. If loss were all that "
            "matters, sizes would lie on one curve.",
            rows=[row for row in golds if row["kind"] != "fitted maximum"],
            x=Axis(field="loss", title="held-out loss (nats a pair)"),
            y=Axis(field="gold", title="gold (standard deviations)"),
            marks=("point",),
            low="low",
            high="high",
            colour=size,
            reference=0.0,
        ),
    ]
    if coefficients:
        figures.append(
            FigureData(
                name="data-coefficients",
                title="Coefficients of best-of-n against the number of pairs",
                caption="95 % intervals over prompts; fits that explain little of their curve are left out.",
                rows=coefficients,
                x=pairs,
                y=Axis(field="value", title="coefficient"),
                low="low",
                high="high",
                colour=size,
                panel=Channel(field="coefficient", title="", values=("α", "β")),
            )
        )
    return figures


def _tables(tables: StudyTables, cells: list[Cell]) -> list[TableData]:
    rows = []
    for cell in cells:
        last, drop = cell.bon["curve"][-1], cell.bon["drop"]
        rows.append(
            {
                "size": cell.proxy.base, "parameters": cell.proxy.parameters, "pairs": cell.proxy.pairs,
                "loss": cell.proxy.loss.value, "accuracy": float(pair_hits(tables, cell.proxy).mean()),
                "gold": last["gold"], "gold_ci": list(ends(last["gold_ci"])),
                "maximum": fitted_maximum(cell.bon), "fit": cell.bon["fit"]["status"],
                "verdict": drop["verdict"].replace("_", " "),
            }
        )  # fmt: skip
    if not rows:
        return []
    return [
        TableData(
            name="data-grid",
            title="Size × pairs",
            columns={
                "size": "proxy", "parameters": "parameters", "pairs": "pairs", "loss": "held-out loss (nats)",
                "accuracy": "accuracy", "gold": f"gold at n = {largest_n(tables):,} (sd)",
                "maximum": "fitted maximum (sd)", "fit": "fit", "verdict": "best-of-n",
            },
            rows=rows,
        )
    ]  # fmt: skip
