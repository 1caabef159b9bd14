"""Do larger policies gain less, and overoptimize elsewhere (Gao et al. 2022, section 3.5, figures 7, 22 to 24)?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import Curve, curve_intervals
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curves, kl_bound
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import UNKNOWN, Interval, crossed, known
from overopt.studies.gao2022.equality import what_equal_takes
from overopt.studies.gao2022.matched import (
    at_distances,
    curve_rows,
    first_reach,
    of_draws,
    point_rows,
    shared_distances,
)
from overopt.studies.gao2022.runs import PolicyTables, policies, reference_proxy
from overopt.studies.study_tables import RunTable, StudyTables

GAP_MARGIN = 10
"""Percent of the mean gap."""
PEAK_MARGIN = 0.5
POINTS = 12
"""Distances at which runs are compared."""
SOURCE = "Gao et al. 2022, section 3.5, figure 7"
ALONE = "one run of each policy: what another seed would change is not in the interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """What one initial policy did against the proxy; best-of-n at the n that all pools hold."""

    about: PolicyTables
    ns: tuple[int, ...]
    bon_proxy_PK: FloatArray
    bon_gold_PK: FloatArray
    """Gains over the policy's own replies, K the ns above 1."""
    run: RunTable | None


def answer(tables: StudyTables) -> Answer:
    """Gold, gap and peak against the size of the initial policy, the proxy being the same."""
    found = _read(tables)
    proxy = reference_proxy(tables)
    gap = _gap_claim(tables, found)
    names = ", ".join(f"{one.about.label} ({one.about.parameters:,} parameters)" for one in found)
    return Answer(
        id="policies",
        title="Policy size",
        question="Do larger policies gain less from the same proxy, and do they overoptimize it more?",
        how=(
            f"Best-of-n and PPO from {names or 'no policies'}, all against the proxy {proxy}. Gains are over each "
            "policy's own replies to the same held-out prompts, in standard deviations of gold on the main policy. "
            "Where gold turns is read where it has fallen to half of its highest mean, straight between "
            "measurements: the law d(α − β ln d) has that place at a fixed multiple of its peak, and a flat peak has "
            "no place of its own. Trends are contrasts of these policies prompt by prompt, per ten times the "
            "parameters: their intervals are over prompts, and speak of these policies rather than of all policies "
            "of those sizes."
        ),
        claims=[
            _gain_claim(tables, found, "bon"),
            _gain_claim(tables, found, "rl"),
            _peak_claim(tables, found),
            gap,
        ],
        figures=_figures(tables, found),
        tables=_tables(tables, found),
        caveats=[
            "One run of PPO and one proxy for each policy: what another seed would change is not in the intervals.",
            "The proxy was trained on replies of the main policy, so other policies are also a shift of its data, as "
            "in Gao et al.",
            *what_equal_takes(gap, "The change of the gap between proxy and gold"),
        ],
    )


def _read(tables: StudyTables) -> list[_Policy]:
    proxy, about = reference_proxy(tables), policies(tables)
    if proxy is None or not about:
        return []
    most = min(tables.gold(one.pool).shape[1] for one in about)
    ns = powers_of_two(most)
    found = []
    for one in about:
        scores = tables.scores(proxy, one.scores, one.pool)
        curves = best_of_n_curves(scores, [scores, tables.gold(one.pool)], ns)
        gains = curves[:, :, 1:] - curves[:, :, :1]
        run = tables.run(one.run) if one.run in tables.runs() else None
        found.append(
            _Policy(about=one, ns=tuple(ns[1:]), bon_proxy_PK=gains[0], bon_gold_PK=gains[1], run=run)
        )  # fmt: skip
    return found


def _slope_by_prompt(found: Sequence[_Policy], values: Sequence[FloatArray]) -> FloatArray:
    """Change (P,) for ten times the parameters along a straight line; values (P,) a policy."""
    x = np.log10([one.about.parameters for one in found])
    centred = x - x.mean()
    return np.asarray(np.tensordot(centred / np.sum(centred**2), np.stack(values), axes=1))


def _trend(
    tables: StudyTables, found: Sequence[_Policy], name: str, value_of: Callable[[_Policy], FloatArray]
) -> tuple[float | None, Interval]:
    if len({one.about.parameters for one in found}) < 2:
        return None, UNKNOWN
    slope_P = _slope_by_prompt(found, [value_of(one) for one in found])
    return crossed(slope_P[None], stream(tables.seed, "policies", name))


def _with_runs(found: Sequence[_Policy]) -> tuple[list[_Policy], FloatArray]:
    """The policies that PPO trained, and the distances that all their runs reach."""
    trained = [one for one in found if one.run is not None]
    return trained, shared_distances([one.run for one in trained if one.run is not None], POINTS)


def _best_distance(trained: Sequence[_Policy], d_K: FloatArray) -> FloatArray:
    """The one distance (1,) where gold is highest on average over policies; chosen from all, it favours none."""
    gold_K = np.mean([at_distances([one.run], "gold", d_K)[0].mean(axis=0) for one in trained if one.run], axis=0)
    return np.asarray(d_K[[int(gold_K.argmax())]])


def _at(policy: _Policy, quantity: Any, d_K: FloatArray) -> FloatArray:
    assert policy.run is not None
    return np.asarray(at_distances([policy.run], quantity, d_K)[0].mean(axis=1))


def _gain_claim(tables: StudyTables, found: Sequence[_Policy], method: str) -> Claim:
    trained, d_K = _with_runs(found)
    value: float | None
    if method == "bon":
        value, ci = _trend(tables, found, "bon", lambda one: one.bon_gold_PK.mean(axis=1))
        where = f"averaged over n = 2, 4 … {found[0].ns[-1]}" if found else "averaged over n"
        label = "best-of-n"
    else:
        value, ci = None, UNKNOWN
        where, label = "at the distance where gold is highest on average over policies", "PPO"
        if d_K.size:
            best = _best_distance(trained, d_K)
            value, ci = _trend(tables, trained, "rl", partial(_at, quantity="gold", d_K=best))
            where += f", d = {best[0]:.2f}"
    return Claim(
        id=f"policies-{method}-gain",
        what=f"change of the gold that {label} gains for ten times the policy's parameters, {where}",
        value=value,
        ci=ci,
        counted=_counted(found if method == "bon" else trained),
        unit="sd",
        sentences={
            "above": f"Larger policies gain more gold from {label}: {{value}} {{ci}} for ten times the parameters.",
            "below": f"Larger policies gain less gold from {label}: {{value}} {{ci}} for ten times the parameters.",
            "open": f"Whether larger policies gain less gold from {label} is not decided: {{value}} {{ci}} for ten "
            "times the parameters.",
        },
        published=Published(
            finding="the larger policy gains less gold from the same proxy", source=SOURCE, outcomes=("below",)
        ),
        note="this study has fewer than two sizes of policy" if value is None else "" if method == "bon" else ALONE,
    )


def _gap_claim(tables: StudyTables, found: Sequence[_Policy]) -> Claim:
    trained, d_K = _with_runs(found)
    value, ci, note = None, UNKNOWN, "fewer than two sizes of policy were trained"
    if d_K.size and len({one.about.parameters for one in trained}) > 1:
        gaps = [_at(one, "gap", d_K) for one in trained]
        both_PK = np.stack([_slope_by_prompt(trained, gaps), np.mean(gaps, axis=0)], axis=1)
        curve = curve_intervals(both_PK[None], stream(tables.seed, "policies", "gap"))
        note = "there is no gap to speak of"
        if curve.low[1] > 0:
            value = 100 * float(curve.mean[0] / curve.mean[1])
            ci = of_draws(value, 100 * curve.draws[:, 0] / curve.draws[:, 1], len(tables.prompt_ids))
            note = ALONE
    return Claim(
        id="policies-gap",
        what="change of proxy less gold in PPO for ten times the policy's parameters, averaged over the distances that "
        f"all runs reach, as a share of the mean gap; equal within {GAP_MARGIN} %",
        value=value,
        ci=ci,
        counted=_counted(trained),
        unit="%",
        digits=0,
        margin=GAP_MARGIN,
        sentences={
            "above": "Larger policies overoptimize more: at equal distance the gap between proxy and gold grows by "
            "{value} {ci} for ten times the parameters.",
            "below": "Larger policies overoptimize less: at equal distance the gap between proxy and gold shrinks by "
            "{size} {ci} for ten times the parameters.",
            "equal": "Policies of all sizes have the same gap between proxy and gold at equal distance, within "
            f"{GAP_MARGIN} %: {{value}} {{ci}} for ten times the parameters.",
            "open": "Whether larger policies have another gap between proxy and gold at equal distance is not decided: "
            "{value} {ci} for ten times the parameters.",
        },
        published=Published(
            finding="policies of both sizes have about the same gap between proxy and gold at equal KL",
            source="Gao et al. 2022, section 3.5, figure 24",
            outcomes=("equal",),
        ),
        note=note,
    )


def _peak_claim(tables: StudyTables, found: Sequence[_Policy]) -> Claim:
    trained, _ = _with_runs(found)
    value: float | None = None
    ci, note = UNKNOWN, "fewer than two sizes of policy were trained"
    if len(trained) > 1:
        first, last = (_lost_half(tables, one) for one in (trained[0], trained[-1]))
        kept = [one.about.label for one, (d, _) in ((trained[0], first), (trained[-1], last)) if not math.isfinite(d)]
        note = f"gold of {' and '.join(kept)} did not fall to half of its highest" if kept else ""
        if not kept:
            value = last[0] - first[0]
            ci = of_draws(value, last[1] - first[1], len(tables.prompt_ids))
            note = ALONE if ci[0] is not None else "in many draws of prompts gold does not fall to half of its highest"
    return Claim(
        id="policies-peak",
        what=f"d where PPO has lost half of its highest gold, largest policy less smallest, equal within {PEAK_MARGIN}",
        value=value,
        ci=ci,
        counted=_counted([trained[0], trained[-1]] if len(trained) > 1 else trained),
        unit="√nats",
        margin=PEAK_MARGIN,
        sentences={
            "above": "The largest policy loses its gold {value} farther out {ci} than the smallest.",
            "below": "The largest policy loses its gold {size} earlier {ci} than the smallest.",
            "equal": f"The largest and the smallest policy lose their gold at the same distance within {PEAK_MARGIN}: "
            "{value} {ci}.",
            "open": "Whether the largest policy loses its gold elsewhere is not decided: {value} {ci}.",
        },
        published=Published(finding="gold peaks at about the same KL", source=SOURCE, outcomes=("equal",)),
        note=note,
    )


def _lost_half(tables: StudyTables, policy: _Policy) -> tuple[float, FloatArray]:
    """d where gold has fallen to half of its highest, and its draws (D,); nan where it has not.

    All policies draw the same prompts.
    """
    assert policy.run is not None
    kl, gold = (
        curve_intervals(values[None], stream(tables.seed, "policies", "peak"))
        for values in (policy.run.kl_PK, policy.run.gold_PK)
    )
    d_DK = np.sqrt(np.clip(np.vstack([kl.mean, kl.draws]), 0, None))
    gold_DK = np.vstack([gold.mean, gold.draws])
    peak_D = gold_DK.max(axis=1)
    # Before its peak the curve counts as being there: only the way down is looked at.
    is_before = np.arange(gold_DK.shape[1]) < gold_DK.argmax(axis=1)[:, None]
    lost_DK = np.where(is_before, 0.0, peak_D[:, None] - gold_DK)
    found = np.where(peak_D > 0, first_reach(lost_DK, peak_D / 2, d_DK), np.nan)
    return float(found[0]), found[1:]


def _figures(tables: StudyTables, found: Sequence[_Policy]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for one in found:
        d_K = np.sqrt(np.asarray(kl_bound(list(one.ns))))
        for quantity, values_PK in (("gold", one.bon_gold_PK), ("proxy less gold", one.bon_proxy_PK - one.bon_gold_PK)):
            labels = {"policy": one.about.label, "parameters": one.about.parameters, "panel": f"best-of-n: {quantity}"}
            rng = stream(tables.seed, "policies", "figure", "bon", quantity)
            rows.append({**labels, "d": 0.0, "value": 0.0, "low": None, "high": None})
            rows += point_rows(d_K, _curve(values_PK, rng), **labels)
        if one.run is None:
            continue
        for quantity, of in (("gold", "gold"), ("proxy less gold", "gap")):
            labels = {"policy": one.about.label, "parameters": one.about.parameters, "panel": f"PPO: {quantity}"}
            rng = stream(tables.seed, "policies", "figure", "rl", quantity)
            rows += curve_rows([one.run], of, shared_distances([one.run], 8), rng, **labels)  # type: ignore[arg-type]
    if not rows:
        return []
    return [
        FigureData(
            name="policies-gain",
            title="Gold, and the gap between proxy and gold, by policy size",
            caption="The same proxy for all. Bands are 95 % intervals over prompts.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the policy's own start (√nats)", from_zero=True),
            y=Axis(field="value", title="gain over the policy's start (standard deviations of gold)"),
            marks=("band", "line", "point"),
            low="low",
            high="high",
            colour=Channel(
                field="policy",
                title="initial policy",
                is_ordered=True,
                values=tuple(one.about.label for one in found),
            ),
            panel=Channel(
                field="panel",
                title="",
                values=("best-of-n: gold", "PPO: gold", "best-of-n: proxy less gold", "PPO: proxy less gold"),
            ),
            reference=0.0,
        )
    ]


def _tables(tables: StudyTables, found: Sequence[_Policy]) -> list[TableData]:
    trained, d_K = _with_runs(found)
    best = _best_distance(trained, d_K) if d_K.size else d_K
    rows = []
    for one in found:
        start = tables.gold(one.about.pool).mean()
        row: dict[str, Any] = {
            "policy": one.about.label,
            "parameters": one.about.parameters,
            "start": float(start),
            "bon": float(one.bon_gold_PK.mean()),
            "rl": float(_at(one, "gold", best).mean()) if one in trained and d_K.size else None,
            "gap": float(_at(one, "gap", d_K).mean()) if one in trained and d_K.size else None,
            "lost": None,
            "lost_ci": UNKNOWN,
        }
        if one in trained:
            d, draws = _lost_half(tables, one)
            row["lost"], row["lost_ci"] = known(d), of_draws(known(d), draws, len(tables.prompt_ids))
        rows.append(row)
    if not rows:
        return []
    return [
        TableData(
            name="policies-sizes",
            title="One proxy, several policies",
            columns={
                "policy": "initial policy",
                "parameters": "parameters",
                "start": "its own gold (sd)",
                "bon": "best-of-n gain (sd)",
                "rl": "PPO gain (sd)",
                "gap": "PPO proxy less gold (sd)",
                "lost": "d where PPO has lost half",
            },
            rows=rows,
            note="Gains of best-of-n are means over the n, gaps over the distances that all policies have in common; "
            f"PPO's gains are those at d = {best[0]:.2f}."
            if d_K.size
            else "Gains of best-of-n are means over the n that all policies have in common.",
        )
    ]


def _curve(values_PK: FloatArray, rng: np.random.Generator) -> Curve:
    return curve_intervals(values_PK[None], rng)


def _counted(found: Sequence[_Policy]) -> str:
    if not found:
        return "nothing"
    times = math.prod((found[-1].about.parameters, 1 / found[0].about.parameters))
    return f"{len(found[0].bon_gold_PK)} prompts, {len(found)} policies over {times:.1f} times the parameters"
