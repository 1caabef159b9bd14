"""RL against best-of-n: what the same proxy, and the same gold, costs in KL (Gao et al. 2022, section 3.4, figure 8).

Axes: S seeds of one proxy size, P prompts, K points, D draws of prompts; draw 0 of every matrix is all prompts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import DRAWS
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curves, kl_bound
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_counts
from overopt.studies.claims import UNKNOWN, Interval, known
from overopt.studies.gao2022.main_proxies import main_proxies, size_runs
from overopt.studies.gao2022.matched import early_gold, first_reach, of_draws
from overopt.studies.study_tables import StudyTables

SHARE = 0.75
"""Of the highest score that both methods reach: where their KL is compared."""
SHARES = (0.25, 0.5, 0.75)
EARLY = np.arange(1, 8) / 8
"""Of RL's first measured distance: there gold follows the law through the first two measurements, the proxy a line."""
MARGIN = 0.1
SOURCE = "Gao et al. 2022, section 3.4, figure 8"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """A method against one proxy; all (1 + D, K), from 0 on, means over the prompts of a draw."""

    d: FloatArray
    proxy: FloatArray
    gold: FloatArray
    first: float = 0.0
    """Distance of the first measurement, over all prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """A proxy size, its seeds side by side."""

    base: str
    parameters: int
    rl: tuple[_Curve, ...]
    bon: tuple[_Curve, ...]


def answer(tables: StudyTables) -> Answer:
    """KL of RL over KL of best-of-n at equal proxy and at equal gold, and gold at equal proxy."""
    sizes = _read(tables)
    return Answer(
        id="methods",
        title="RL against best-of-n",
        question="What do RL and best-of-n spend in KL for the same proxy and the same gold, and which is better gold?",
        how=(
            "PPO without a penalty and best-of-n against the same proxies, of every size; PPO's KL is the exact KL "
            "of whole replies to the base policy, that of best-of-n is ln n − (n − 1)/n. Both are read where the "
            f"mean over prompts first reaches a score, straight between measured points, at {SHARE:g} of the highest "
            "one that both reach against that proxy; before PPO's first measurement gold follows the law d(α − β ln "
            "d) through the first two, and the proxy is proportional to d. Prompts are resampled for all proxies and "
            "both methods at once, and the whole comparison is made again. Proxies weigh alike."
        ),
        claims=[
            _cost_claim(tables, sizes, "proxy"),
            _cost_claim(tables, sizes, "gold"),
            _relation_claim(tables, sizes),
        ],
        figures=_figures(sizes),
        tables=_tables(tables, sizes),
        caveats=[
            "RL with λ = 1, a short warm-up and few steps: another setting may spend its KL otherwise.",
            "The KL of best-of-n by the formula is an upper bound, exact without ties; PPO's is measured.",
        ],
    )


def _read(tables: StudyTables) -> list[_Size]:
    counts = bootstrap_counts(len(tables.prompt_ids), DRAWS, stream(tables.seed, "methods", "prompts"))
    shares_DP = np.vstack([np.ones(len(tables.prompt_ids)), counts]) / len(tables.prompt_ids)
    runs = size_runs(tables)
    found = []
    for base, names in main_proxies(tables).items():
        names = [name for name in names if name in runs]
        if names:
            found.append(
                _Size(
                    base=base,
                    parameters=tables.proxy(names[0]).parameters,
                    rl=tuple(_reinforced(tables, runs[name], shares_DP) for name in names),
                    bon=tuple(_best_of_n(tables, name, shares_DP) for name in names),
                )
            )
    return found


def _reinforced(tables: StudyTables, name: str, shares_DP: FloatArray) -> _Curve:
    run = tables.run(name)
    d, proxy, gold = (shares_DP @ values for values in (run.kl_PK[:, 1:], run.proxy_PK[:, 1:], run.gold_PK[:, 1:]))
    d = np.sqrt(np.clip(d, 0, None))
    zero = np.zeros((len(d), 1))
    if d.shape[1] < 2 or not (d[:, 0] > 0).all() or not (d[:, 1] > d[:, 0]).all():
        return _Curve(d=np.hstack([zero, d]), proxy=np.hstack([zero, proxy]), gold=np.hstack([zero, gold]))
    early = d[:, :1] * EARLY
    return _Curve(
        d=np.hstack([zero, early, d]),
        proxy=np.hstack([zero, proxy[:, :1] * EARLY, proxy]),
        gold=np.hstack([zero, early_gold(d[:, :2], gold[:, :2], early), gold]),
        first=float(d[0, 0]),
    )


def _best_of_n(tables: StudyTables, name: str, shares_DP: FloatArray) -> _Curve:
    scores = tables.scores(name)
    ns = powers_of_two(scores.shape[1])
    proxy_PK, gold_PK = best_of_n_curves(scores, [scores, tables.gold()], ns)
    d = np.tile(np.sqrt(np.asarray(kl_bound(ns))), (len(shares_DP), 1))
    return _Curve(
        d=d, proxy=shares_DP @ (proxy_PK - proxy_PK[:, :1]), gold=shares_DP @ (gold_PK - gold_PK[:, :1])
    )  # fmt: skip


def _pairs(sizes: Sequence[_Size]) -> list[tuple[_Size, _Curve, _Curve]]:
    return [(size, rl, bon) for size in sizes for rl, bon in zip(size.rl, size.bon, strict=True)]


def _shared_level(rl: _Curve, bon: _Curve, what: str) -> FloatArray:
    """The highest score that both reach (1 + D,), nan where that is no gain."""
    level = np.minimum(getattr(rl, what).max(axis=1), getattr(bon, what).max(axis=1))
    return np.asarray(np.where(level > 0, level, np.nan))


def _log_ratio(rl: _Curve, bon: _Curve, what: str, share: float) -> FloatArray:
    """ln of RL's KL over that of best-of-n (1 + D,) where each first reaches a share of the highest common score."""
    level = share * _shared_level(rl, bon, what)
    rl_d, bon_d = (first_reach(getattr(one, what), level, one.d) for one in (rl, bon))
    return np.asarray(2 * np.log(rl_d / bon_d))


def _gold_at_proxy(rl: _Curve, bon: _Curve) -> FloatArray:
    """Gold of RL less that of best-of-n (1 + D,) at equal proxy, mean over the shares."""
    level = _shared_level(rl, bon, "proxy")
    rl_gold, bon_gold = (
        np.mean([first_reach(one.proxy, share * level, one.gold) for share in SHARES], axis=0) for one in (rl, bon)
    )
    return np.asarray(rl_gold - bon_gold)


def _mean(
    tables: StudyTables, sizes: Sequence[_Size], of: Callable[[_Curve, _Curve], FloatArray]
) -> tuple[float | None, Interval, int]:
    """Mean over sizes and seeds with its interval over prompts, and how many proxies had to be left out."""
    found = [of(rl, bon) for _, rl, bon in _pairs(sizes)]
    usable = [draws for draws in found if math.isfinite(draws[0])]
    if not usable:
        return None, UNKNOWN, len(found)
    draws = np.mean(usable, axis=0)
    value = float(draws[0])
    return value, of_draws(value, draws[1:], len(tables.prompt_ids)), len(found) - len(usable)


def _exp(value: float | None, ci: Interval) -> tuple[float | None, Interval]:
    ends = tuple(None if end is None else math.exp(end) for end in ci)
    return None if value is None else math.exp(value), (ends[0], ends[1])


def _cost_claim(tables: StudyTables, sizes: Sequence[_Size], what: str) -> Claim:
    value, ci, left_out = _mean(tables, sizes, lambda rl, bon: _log_ratio(rl, bon, what, SHARE))
    value, ci = _exp(value, ci)
    return Claim(
        id=f"methods-kl-{what}",
        what=f"KL of PPO over KL of best-of-n at equal {what}, geometric mean over proxies",
        value=value,
        ci=ci,
        counted=_counted(tables, sizes),
        unit="times",
        reference=1.0,
        sentences={
            "above": f"For the same {what} PPO spends {{value}} {{ci}} the KL of best-of-n.",
            "below": f"For the same {what} PPO spends {{value}} {{ci}} the KL of best-of-n: it is the cheaper of the "
            "two.",
            "open": f"Which spends more KL for the same {what} is not decided: PPO spends {{value}} {{ci}} that of "
            "best-of-n.",
        },
        published=Published(
            finding="RL spends far more KL than best-of-n for the same scores", source=SOURCE, outcomes=("above",)
        ),
        note="; ".join(filter(None, [_note(value, ci, left_out), _early_note(sizes, what)])),
    )


def _early_note(sizes: Sequence[_Size], what: str) -> str:
    """Says where the law before PPO's first measurement decides."""
    early = 0
    for _, rl, bon in _pairs(sizes):
        reached = first_reach(getattr(rl, what), SHARE * _shared_level(rl, bon, what), rl.d)[0]
        early += bool(reached < rl.first)
    return f"against {early} proxies PPO is there before its first measurement" if early else ""


def _relation_claim(tables: StudyTables, sizes: Sequence[_Size]) -> Claim:
    value, ci, left_out = _mean(tables, sizes, _gold_at_proxy)
    return Claim(
        id="methods-relation",
        what=f"gold of PPO less gold of best-of-n at equal proxy, equal within {MARGIN} sd",
        value=value,
        ci=ci,
        counted=_counted(tables, sizes),
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": "At the same proxy PPO has {size} more gold {ci} than best-of-n.",
            "below": "At the same proxy PPO has {size} less gold {ci} than best-of-n.",
            "equal": f"At the same proxy both methods have the same gold within {MARGIN} sd: {{value}} {{ci}}.",
            "open": "Which method has more gold at the same proxy is not decided: {value} {ci}.",
        },
        published=Published(
            finding="proxy and gold are related much alike in both methods, rather better in RL",
            source=SOURCE,
            outcomes=("equal", "above"),
        ),
        note=_note(value, ci, left_out),
    )


def _note(value: float | None, ci: Interval, left_out: int) -> str:
    if value is None:
        return "no proxy has a gain that both methods reach"
    notes = [f"{left_out} proxies without a gain that both methods reach are left out"] if left_out else []
    if ci[0] is None:
        notes.append("too few prompts, or too many draws of them without a gain that both methods reach")
    return "; ".join(notes)


def _figures(sizes: Sequence[_Size]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for method, curve in (("PPO", size.rl[0]), ("best-of-n", size.bon[0])):
            for k in np.flatnonzero((curve.d[0] == 0) | (curve.d[0] >= curve.first)).tolist():
                numbers = {"d": curve.d, "proxy": curve.proxy, "gold": curve.gold}
                row = {name: float(values[0, k]) for name, values in numbers.items()}
                rows.append({"size": size.base, "method": method, "k": k, **row})
    if not rows:
        return []
    colour = Channel(field="size", title="proxy", is_ordered=True, values=tuple(size.base for size in sizes))
    methods = Channel(field="method", title="", values=("best-of-n", "PPO"))
    return [
        FigureData(
            name="methods-relation",
            title="Gold against proxy, by method",
            caption="One proxy of each size; lines run from the base policy outwards, points are measured.",
            rows=rows,
            x=Axis(field="proxy", title="proxy gained (standard deviations of gold)", from_zero=True),
            y=Axis(field="gold", title="gold gained (standard deviations)"),
            colour=colour,
            dash=methods,
            order="k",
            reference=0.0,
        ),
        FigureData(
            name="methods-proxy",
            title="Proxy against distance, by method",
            caption="The same runs and pools.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the base policy (√nats)", from_zero=True),
            y=Axis(field="proxy", title="proxy gained (standard deviations of gold)"),
            colour=colour,
            panel=methods,
            order="k",
        ),
    ]


def _tables(tables: StudyTables, sizes: Sequence[_Size]) -> list[TableData]:
    rows = []
    for size in sizes:
        row: dict[str, Any] = {"proxy": size.base, "parameters": size.parameters, "seeds": len(size.rl)}
        for what in ("proxy", "gold"):
            for share in SHARES:
                value, ci, _ = _mean(tables, [size], lambda rl, bon, w=what, s=share: _log_ratio(rl, bon, w, s))  # type: ignore[misc]
                row[f"{what}_{share:g}"], row[f"{what}_{share:g}_ci"] = _exp(value, ci)
        row["gold_rl"], row["gold_rl_ci"], _ = _mean(tables, [size], _gold_at_proxy)
        row["level"] = known(float(np.mean([_shared_level(rl, bon, "proxy")[0] for _, rl, bon in _pairs([size])])))
        rows.append(row)
    if not rows:
        return []
    shares = {
        f"{what}_{share:g}": f"KL ratio at {share:g} of the {what}" for what in ("proxy", "gold") for share in SHARES
    }
    return [
        TableData(
            name="methods-sizes",
            title="KL of PPO over KL of best-of-n",
            columns={
                "proxy": "proxy",
                "seeds": "seeds",
                "level": "highest common proxy (sd)",
                **shares,
                "gold_rl": "gold at equal proxy, PPO less best-of-n (sd)",
            },
            rows=rows,
            digits=2,
            note="Shares are of the highest score that both methods reach against a proxy.",
        )
    ]


def _counted(tables: StudyTables, sizes: Sequence[_Size]) -> str:
    proxies = len(_pairs(sizes))
    return f"{len(tables.prompt_ids)} prompts; {proxies} proxies of {len(sizes)} sizes in each"
