"""How KL grows in training: by step, penalty, proxy and policy size (Gao et al. 2022, figures 14 to 16 and 25)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.records.tables import read_table, settings_of
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.trends import log_trend
from overopt.studies.claims import UNKNOWN, Interval, over_units, slope_over_sizes
from overopt.studies.gao2022.runs import penalised_runs, reference_proxy, several
from overopt.studies.study_tables import POOL, ProxyTable, StudyTables

MARGIN = 0.25
"""About the exponent 2 that counts as quadratic."""
LAST = "mean KL of the last tenth of the training batches"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The training log of a run, and what it was."""

    name: str
    proxy: ProxyTable
    policy: str
    """Label of the initial policy."""
    penalty: float
    updates: FloatArray
    """Steps taken before each batch, those of the warm-up counted by their share of the learning rate; above 0."""
    kl: FloatArray
    """Of the batch, nats."""
    clipped: FloatArray
    is_warm: FloatArray
    """1 from the first batch after the warm-up on, else 0."""


def answer(tables: StudyTables) -> Answer:
    """The exponent of growth, what a penalty does to it, and KL against proxy and policy size."""
    runs = _read(tables)
    free = [run for run in runs if run.penalty == 0 and tables.origin(run.name)["pool"] == POOL]
    return Answer(
        id="distance",
        title="How KL grows",
        question="How fast does KL grow in training, and what do penalty, proxy and policy change about it?",
        how=(
            "KL is the exact KL of whole replies to the base policy, of each training batch before its step. Steps "
            "of the learning rate's warm-up count by their share of the full rate. The exponent p of KL ∝ steps^p is "
            "the slope of log KL against log steps after the warm-up, by least squares, run by run; runs are the "
            "units."
        ),
        claims=[_exponent_claim(tables, free), _penalty_claim(tables, runs), _size_claim(tables, free)],
        figures=_figures(tables, runs),
        tables=_tables(tables, runs),
        caveats=[
            "Runs against proxies of different sizes are pooled for the exponent: they share prompts and the policy.",
            "Growth depends on optimiser and learning rate; ours is AdamW at one rate.",
        ],
    )


def _read(tables: StudyTables) -> list[_Run]:
    """The runs of the usual length and learning rate against plain proxies; those of rounds have their own lengths."""
    found = []
    proxies = {proxy.name: proxy for proxy in tables.proxies()}
    for name in tables.runs():
        proxy = tables.origin(name)["proxy"]
        path = tables.root / f"logs/{name}.parquet"
        if not (name.startswith(f"{proxy}-") and proxy in proxies and path.exists()):
            continue
        about, log = settings_of(path, "rl_log"), read_table(path, "rl_log").sort("step")
        if about["rl"]["learning_rate"] != tables.settings["rl"]["learning_rate"]:
            continue
        steps = log["step"].to_numpy()
        warm_up = int(about["rl"]["warm_up"])
        taken = np.cumsum(np.minimum(1.0, np.arange(1, int(steps.max()) + 1) / max(1, warm_up)))
        is_later = steps > 1
        found.append(
            _Run(
                name=name,
                proxy=proxies[proxy],
                policy=str(about["reference"]).rstrip("/").rpartition("/")[2],
                penalty=float(about["rl"]["kl_coef"]),
                updates=taken[steps[is_later] - 2],
                kl=log["kl"].to_numpy()[is_later],
                clipped=log["clip_fraction"].to_numpy()[is_later],
                is_warm=(steps[is_later] > warm_up).astype(np.float64),
            )
        )
    return found


def _exponent(run: _Run, part: str = "all") -> float:
    """Slope of log KL against log steps after the warm-up, or over the first or second half of those; else nan."""
    use = np.flatnonzero((run.is_warm > 0) & (run.kl > 0))
    half = len(use) // 2
    use = {"all": use, "early": use[:half], "late": use[half:]}[part]
    if len(use) < 3:
        return math.nan
    return log_trend(run.updates[use], np.log10(run.kl[use])).slope


def _exponent_claim(tables: StudyTables, free: Sequence[_Run]) -> Claim:
    exponents = np.array([_exponent(run) for run in free])
    value, ci = over_units(exponents, stream(tables.seed, "distance", "exponent"))
    few = f"{np.isfinite(exponents).sum()} runs have three steps after the warm-up"
    return Claim(
        id="distance-exponent",
        what=f"exponent p of KL ∝ steps^p without a penalty, quadratic within {MARGIN}",
        value=value,
        ci=ci,
        counted=f"{int(np.isfinite(exponents).sum())} runs",
        reference=2.0,
        margin=MARGIN,
        sentences={
            "above": "Without a penalty KL grows faster than quadratically: with the power {value} {ci} of the step.",
            "below": "Without a penalty KL grows more slowly than quadratically: with the power {value} {ci} of the "
            "step.",
            "equal": "Without a penalty KL grows about quadratically: with the power {value} {ci} of the step.",
            "open": "Without a penalty KL grows with the power {value} {ci} of the step, which may be quadratic.",
        },
        published=Published(
            finding="without a penalty KL grows about quadratically with the steps",
            source="Gao et al. 2022, figures 14 and 16",
            outcomes=("equal",),
        ),
        note=few if value is None or ci[0] is None else "",
    )


def _penalty_claim(tables: StudyTables, runs: Sequence[_Run]) -> Claim:
    """KL of the last batches with the heaviest penalty over that without one, seed by seed."""
    weight = max(tables.settings["penalties"], default=0.0)
    value, ci, seeds = _last_kl_ratio(tables, runs, weight)
    return Claim(
        id="distance-penalty",
        what=f"{LAST} with penalty {weight:g}, as a share of that without one from the same seed",
        value=value,
        ci=ci,
        counted=several(seeds, "seed"),
        digits=3,
        reference=1.0,
        sentences={
            "above": f"With penalty {weight:g} KL ends larger: the {LAST} is {{value}} {{ci}} times that without one.",
            "below": f"With penalty {weight:g} KL ends smaller: the {LAST} is {{value}} {{ci}} times that without one.",
            "open": f"Whether KL ends smaller with penalty {weight:g} is not decided: the {LAST} is {{value}} {{ci}} "
            "times that without one.",
        },
        published=Published(
            finding="the heavier the penalty, the slower KL grows",
            source="Gao et al. 2022, figure 14",
            outcomes=("below",),
        ),
        note="" if seeds > 3 else f"an interval needs four seeds, and there are {seeds}",
    )


def _last_kl_ratio(tables: StudyTables, runs: Sequence[_Run], weight: float) -> tuple[float | None, Interval, int]:
    """Geometric mean over seeds."""
    by_name = {run.name: run for run in runs}
    pair = next((pair for pair in penalised_runs(tables) if pair.weight == weight), None)
    if pair is None:
        return None, UNKNOWN, 0
    logs = [
        math.log(_last(by_name[held.name]) / _last(by_name[free.name]))
        for held, free in zip(pair.held, pair.free, strict=True)
    ]
    value, ci = over_units(logs, stream(tables.seed, "distance", "penalty", f"{weight:g}"))
    if value is None:
        return None, UNKNOWN, 0
    ends = [None if end is None else math.exp(end) for end in ci]
    return math.exp(value), (ends[0], ends[1]), len(logs)


def _last(run: _Run) -> float:
    """KL over the last tenth of the batches, at least one."""
    return float(run.kl[-max(1, len(run.kl) // 10) :].mean())


def _size_claim(tables: StudyTables, free: Sequence[_Run]) -> Claim:
    by_size: dict[int, list[float]] = {}
    for run in free:
        if run.proxy.name.startswith(f"{run.proxy.base}-p{tables.settings['pairs']}-s") and _last(run) > 0:
            by_size.setdefault(run.proxy.parameters, []).append(math.log10(_last(run)))
    sizes = sorted(by_size)
    value, ci = (
        slope_over_sizes(sizes, [float(np.mean(by_size[size])) for size in sizes])
        if len(sizes) > 1
        else (None, UNKNOWN)
    )
    return Claim(
        id="distance-proxy-size",
        what=f"change of the log10 of the {LAST} for ten times the proxy's parameters",
        value=value,
        ci=ci,
        counted=f"{len(sizes)} sizes, seeds averaged",
        sentences={
            "above": "Against larger proxies PPO goes farther in the same steps: log10 KL grows by {value} {ci} for "
            "ten times the parameters.",
            "below": "Against larger proxies PPO stays closer in the same steps: log10 KL falls by {size} {ci} for ten "
            "times the parameters.",
            "open": "Whether the proxy's size changes how far PPO goes is not decided: log10 KL changes by {value} "
            "{ci} for ten times the parameters.",
        },
        published=Published(
            finding="curves of KL by step for each proxy size, without a statement about size",
            source="Gao et al. 2022, figure 16",
            why_not="the paper shows curves and no number",
        ),
        note="" if value is not None else "fewer than two sizes of proxy were trained against",
    )


def _figures(tables: StudyTables, runs: Sequence[_Run]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for run, kind, value in _kinds(tables, runs):
        rows += [
            {"panel": kind, "kind": value, "run": run.name, "steps": float(x), "kl": float(y), "clipped": float(z)}
            for x, y, z in zip(run.updates, run.kl, run.clipped, strict=True)
            if y > 0
        ]
    if not rows:
        return []
    frame = pl.DataFrame(rows).group_by("panel", "kind", "steps", maintain_order=True)
    means = frame.agg(pl.col("kl").log().mean().exp(), pl.col("clipped").mean()).to_dicts()
    order = tuple(dict.fromkeys(row["kind"] for row in means))
    panel = Channel(field="panel", title="", values=tuple(dict.fromkeys(row["panel"] for row in means)))
    colour = Channel(field="kind", title="", values=order)
    steps = Axis(field="steps", title="steps at the full learning rate", scale="log")
    found = [
        FigureData(
            name="distance-steps",
            title="KL by step: penalties, proxy sizes and policy sizes",
            caption="Geometric means over seeds. On these axes a power of the step is a straight line; 2 for "
            "quadratic.",
            rows=means,
            x=steps,
            y=Axis(field="kl", title="KL to the base policy (nats)", scale="log"),
            marks=("line",),
            colour=colour,
            panel=panel,
        )
    ]
    clipped = [row for row in means if math.isfinite(row["clipped"])]
    if clipped:
        found.append(
            FigureData(
                name="distance-clipped",
                title="Share of tokens that PPO's clipping leaves without a gradient",
                caption="Mean over passes of a step and over seeds.",
                rows=clipped,
                x=Axis(field="steps", title="steps at the full learning rate"),
                y=Axis(field="clipped", title="clipped share", from_zero=True),
                marks=("line",),
                colour=colour,
                panel=panel,
            )
        )
    return found


def _kinds(tables: StudyTables, runs: Sequence[_Run]) -> list[tuple[_Run, str, str]]:
    """Runs by panel: the reference proxy by penalty, free runs by proxy size, the reference proxy by policy."""
    reference = reference_proxy(tables)
    of_reference = [run for run in runs if run.proxy.name == reference]
    main = [run for run in of_reference if tables.origin(run.name)["pool"] == POOL]
    sized = sorted(
        (run for run in runs if run.penalty == 0 and tables.origin(run.name)["pool"] == POOL),
        key=lambda run: run.proxy.parameters,
    )
    free = [run for run in of_reference if run.penalty == 0]
    found = [
        (run, "by penalty", "no penalty" if run.penalty == 0 else f"penalty {run.penalty:g}")
        for run in sorted(main, key=lambda run: run.penalty)
    ]
    found += [(run, "by proxy", f"proxy {run.proxy.base}") for run in sized]
    if len({run.policy for run in free}) > 1:
        found += [(run, "by policy", f"policy {run.policy}") for run in free]
    return found


def _tables(tables: StudyTables, runs: Sequence[_Run]) -> list[TableData]:
    groups: dict[tuple[str, str], list[_Run]] = {}
    for run, panel, kind in _kinds(tables, runs):
        groups.setdefault((panel, kind), []).append(run)
    rows = []
    for (panel, kind), members in groups.items():
        row: dict[str, Any] = {"panel": panel, "kind": kind, "runs": len(members)}
        row["kl"] = float(np.mean([_last(run) for run in members]))
        for part in ("all", "early", "late"):
            rng = stream(tables.seed, "distance", "table", panel, kind, part)
            row[part], row[f"{part}_ci"] = over_units([_exponent(run, part) for run in members], rng)
        clipped = [float(np.mean(run.clipped)) for run in members]
        row["clipped"] = 100 * float(np.mean(clipped)) if all(map(math.isfinite, clipped)) else None
        rows.append(row)
    if not rows:
        return []
    return [
        TableData(
            name="distance-growth",
            title="KL of the last batches, and the exponent of its growth",
            columns={
                "panel": "",
                "kind": "runs",
                "runs": "number",
                "kl": "KL of the last tenth of the batches (nats)",
                "all": "exponent",
                "early": "first half",
                "late": "second half",
                "clipped": "clipped (%)",
            },
            rows=rows,
            digits=2,
            note="Exponents of the steps after the warm-up; intervals over runs from four runs on.",
        )
    ]
