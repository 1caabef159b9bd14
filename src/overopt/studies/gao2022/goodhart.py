"""Where the lost gold went: the split of proxy gain less gold gain along best-of-n and along PPO (Gao et al., 4.2).

Proxies are in units in which they spread as gold does over base replies to one prompt, so that gold's slope on them is
their correlation. The study's recalibrated proxies would not do: they are scaled to foretell gold, whose slope on them
is therefore about 1, and noise would seem to cost nothing.

Axes: P prompts, N replies of the base policy, M of a policy, S training seeds of a proxy.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import LEVEL
from overopt.measure.pools import as_matrices
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Outcome, Published, TableData
from overopt.seeding import stream
from overopt.stats.bon import kl_bound
from overopt.stats.estimate import FloatArray
from overopt.stats.goodhart import MAX_UNIDENTIFIED_SHARE, GoldLoss, decompose_best_of_n, decompose_policy
from overopt.stats.resampling import IntArray
from overopt.studies.claims import UNKNOWN, Interval, known, slope_over_sizes
from overopt.studies.gao2022.leaving_out import without_prompts
from overopt.studies.gao2022.main_proxies import main_proxies, reference_base, size_runs
from overopt.studies.study_tables import StudyTables

PARTS = {
    "regressional": "regressional: the proxy's noise",
    "extremal": "extremal: the relation bends",
    "shift": "shift: worth other than base replies of equal proxy",
    "unidentified": "extremal or shift: beyond the base's proxies",
}
DRAWS = 200
GROUPS = 8
"""Of prompts, left out in turn for the claims; each costs six splits."""
MEASURED_STEPS = 5
"""Of a run in the figure, gold's peak and the last among them."""
BON, PPO = "best-of-n", "PPO"
WITHOUT_SPLIT = Published(
    finding="names four kinds of Goodhart's law: regressional loss would follow from noise alone, straight in d; of "
    "causal loss no case was isolated, and adversarial loss is not expected at these strengths",
    source="Gao et al. 2022, section 4.2 and appendix A",
    why_not="the paper does not measure how much gold each kind costs",
)
Number = tuple[float | None, Interval]
NOTHING: Number = (None, UNKNOWN)


class _Split(NamedTuple):
    """One place on one curve."""

    method: str
    proxy: str
    base: str
    place: int
    """n, or the step."""
    kl: float
    loss: GoldLoss
    is_peak: bool
    is_end: bool


def answer(tables: StudyTables) -> Answer:
    """Split the loss of each size of proxy along both methods, and ask which part is larger at the peak and the end."""
    sizes = main_proxies(tables)
    if not sizes:
        raise DataError(f"{tables.root} holds no proxy trained on all pairs with scores of the pool")
    splits, constant = _splits(tables, sizes)
    reference = reference_base(tables) or next(iter(sizes))
    prompts, pool = len(tables.prompt_ids), tables.gold().shape[1]
    numbers = _reference_numbers(tables, sizes[reference]) if reference not in constant else {}
    runs = [name for name in sizes[reference] if name in size_runs(tables)]
    replies = tables.settings["rl_replies"]
    seeds = len(sizes[reference])
    slope, slope_ci = _trend(tables, sizes, splits)
    no_run = "" if runs else "the reference proxy has no run of PPO"
    shift = numbers.get("ppo-end-shift", NOTHING)
    claims = [
        _dominance_claim(
            "bon-end",
            f"best-of-{pool:,}",
            "the bend of the relation (extremal)",
            numbers.get("bon-end", NOTHING),
            numbers.get("bon-end-gap", NOTHING),
            f"{prompts} prompts; {seeds} seeds of {reference}, averaged",
            "" if numbers else "the proxy is constant",
            WITHOUT_SPLIT,
        ),
        _dominance_claim(
            "ppo-peak",
            "PPO where gold peaks",
            "what scores of base replies do not foretell in a line (extremal, shift)",
            numbers.get("ppo-peak", NOTHING),
            numbers.get("ppo-peak-gap", NOTHING),
            f"{prompts} prompts; {len(runs)} runs against {reference}, averaged",
            no_run,
            None,
        ),
        _dominance_claim(
            "ppo-end",
            "PPO at its last step",
            "what scores of base replies do not foretell in a line (extremal, shift)",
            numbers.get("ppo-end", NOTHING),
            numbers.get("ppo-end-gap", NOTHING),
            f"{prompts} prompts; {len(runs)} runs against {reference}, averaged",
            no_run,
            None,
        ),
        Claim(
            id="goodhart-shift",
            what="gold that PPO's replies have less than base replies of equal proxy at the last step (causal or "
            "adversarial; best-of-n has none by construction)",
            value=shift[0],
            ci=shift[1],
            counted=f"{prompts} prompts; {len(runs)} runs against {reference}, averaged",
            unit="sd",
            sentences={
                "above": "By the last step of PPO replies are worth less gold than base replies that the proxy likes "
                "as much, by {value} {ci}: a loss that choosing among base replies cannot show.",
                "below": "At the last step of PPO replies are worth more gold than base replies that the proxy likes "
                "as much, by {size} {ci}.",
                "open": "Whether PPO's replies are worth less gold than base replies of equal proxy is open: {value} "
                "{ci}.",
            },
            note=no_run
            or (
                ""
                if shift[0] is not None
                else f"more than {MAX_UNIDENTIFIED_SHARE:.0%} of its replies have proxies that no base reply has"
            ),
        ),
        Claim(
            id="goodhart-slope",
            what="change of the correlation of proxy and gold among base replies to one prompt, for ten times the "
            "proxy's parameters",
            value=slope,
            ci=slope_ci,
            counted=f"{len(sizes) - len(constant)} sizes of proxy",
            sentences={
                "above": "Larger proxies lose less to noise: their correlation with gold grows by {value} {ci} for ten "
                "times the parameters.",
                "below": "Larger proxies lose more to noise: their correlation with gold falls by {size} {ci} for ten "
                "times the parameters.",
                "open": "The loss to noise does not clearly change with size: the correlation with gold by {value} "
                "{ci} for ten times the parameters.",
            },
            published=Published(
                finding="the straight term, which noise alone would give, is larger for larger reward models",
                source="Gao et al. 2022, figure 3, section 4.2 and appendix A",
                outcomes=("above",),
            ),
            note="" if slope_ci[0] is not None else "two sizes have no scatter to tell an interval from",
        ),
    ]
    figures = [figure for method in (BON, PPO) for figure in _figure(method, splits, sizes, prompts)]
    left_out = f" Left out, their proxies being constant: {', '.join(sorted(constant))}." if constant else ""
    return Answer(
        id="goodhart",
        title="Which Goodhart it is",
        question="Of the gold that the proxy promised and the policy did not get, how much did each kind of Goodhart's "
        "law take?",
        how=(
            f"What the proxy gained less what gold gained is split with the {pool:,} base replies to each of {prompts} "
            "prompts, in units in which both spread alike over the base replies to a prompt: gold's. Regressional is "
            "what the straight line of gold on the proxy loses, whose slope is their correlation; extremal is what the "
            "base's own relation, a curve of straight pieces, loses beyond the line; shift is what a policy's replies "
            "lose beyond base replies of equal proxy; where proxies are higher than those "
            f"of all base replies the last two cannot be told apart. PPO has {replies} replies to a prompt at a step. "
            f"Parts of a figure have {LEVEL:.0%} bootstrap intervals over prompts; differences of parts come from "
            "leaving out prompts in turn."
        ),
        claims=claims,
        figures=figures,
        tables=[_table(splits)],
        caveats=[
            "Shift is causal and adversarial loss together: scores alone never tell these two apart.",
            "How much a proxy promised depends on its unit. Here a proxy spreads as gold does; were it gold plus "
            "independent noise, as in the paper's appendix A, it would spread more and the regressional part would be "
            "larger; scaled to foretell gold, as elsewhere in this study, it has next to none.",
            f"Figures show one training seed of each size; the claims average those of {reference}.{left_out}",
            "The prompts that tell where gold peaks also measure the parts there.",
            "Intervals are over prompts: another training seed of a proxy or a run would move the parts besides.",
        ],
    )


def _dominance_claim(
    key: str, where: str, rest: str, found: Number, gap: Number, counted: str, note: str, published: Published | None
) -> Claim:
    """Which part is the larger; unknown unless gold was certainly lost, since parts of nothing are no shares of it."""
    value, (low, high) = gap
    if value is not None and low is not None and high is not None and low <= 0:
        found = NOTHING
        note = note or f"that gold was lost at all is not certain: {value:.2f} [{low:.2f}, {high:.2f}] sd".replace(
            "-", "\N{MINUS SIGN}"
        )
    sentences: dict[Outcome, str] = {
        "above": f"In {where} most of the lost gold is the proxy's noise (regressional): it takes {{value}} {{ci}} "
        f"more than {rest}.",
        "below": f"In {where} most of the lost gold is {rest}: it takes {{size}} {{ci}} more than the proxy's noise "
        "(regressional).",
        "open": f"In {where} neither the proxy's noise (regressional) nor {rest} clearly takes more: {{value}} {{ci}}.",
    }
    return Claim(
        id=f"goodhart-{key}",
        what=f"regressional part of the lost gold less the rest, {where}",
        value=found[0],
        ci=found[1],
        counted=counted,
        unit="sd",
        sentences=sentences,
        published=published,
        note=note or ("" if found[1][0] is not None else "too few prompts for an interval"),
    )


def _splits(tables: StudyTables, sizes: Mapping[str, Sequence[str]]) -> tuple[list[_Split], set[str]]:
    """Of one proxy of each size; and the sizes whose proxy is constant."""
    found: list[_Split] = []
    constant: set[str] = set()
    ns = powers_of_two(tables.gold().shape[1])
    shown = [n for k, n in enumerate(ns) if k % 2 == 0 or n == ns[-1]]
    for base, proxies in sizes.items():
        peak = int(tables.best_of_n(proxies)["drop"]["peak"])
        proxy, gold = proxies[0], tables.gold()
        if not _spread(tables.scores(proxy)) > 0:
            constant.add(base)
            continue
        scores = _factor(tables, proxy) * tables.scores(proxy)
        for n in sorted({*shown, peak}):
            rng = stream(tables.seed, "goodhart", proxy, n)
            loss = decompose_best_of_n(scores, gold, n, rng=rng, draws=DRAWS)
            found.append(_Split(BON, proxy, base, n, float(kl_bound(n)), loss, n == peak, n == ns[-1]))
        found += _policy_splits(tables, proxy, base)
    return found, constant


def _policy_splits(tables: StudyTables, proxy: str, base: str) -> list[_Split]:
    name = size_runs(tables).get(proxy)
    if name is None:
        return []
    run = tables.run(name)
    peak = run.steps.index(tables.run_record(name)["drop"]["peak"])
    last = len(run.steps) - 1
    chosen = np.unique(np.linspace(1, last, MEASURED_STEPS).round().astype(int)).tolist()
    found = []
    for k in sorted({*chosen, peak, last}):
        rng = stream(tables.seed, "goodhart", name, run.steps[k])
        scores = _policy_scores(tables, proxy, name, run.steps[k])
        base_scores = _factor(tables, proxy) * tables.scores(proxy)
        loss = decompose_policy(base_scores, tables.gold(), *scores, rng=rng, draws=DRAWS)
        kl = max(float(run.kl_PK[:, k].mean()), 0.0)
        found.append(_Split(PPO, proxy, base, run.steps[k], kl, loss, k == peak, k == last))
    return found


def _policy_scores(tables: StudyTables, proxy: str, run: str, step: int) -> tuple[FloatArray, FloatArray]:
    """Proxy and gold (P, M) of the replies of a step, in gold's units."""
    replies = tables.run(run).replies.filter(pl.col("step") == step)
    found = as_matrices(replies, ["proxy", "gold"]).columns
    scores = _factor(tables, proxy) * tables.proxy_map(proxy).apply(found["proxy"])
    return scores, tables.gold_map.apply(found["gold"])


def _factor(tables: StudyTables, proxy: str) -> float:
    """From recalibrated scores to units in which the proxy spreads as gold does."""
    return _spread(tables.gold()) / _spread(tables.scores(proxy))


def _spread(scores_PN: FloatArray) -> float:
    """Standard deviation within prompts."""
    return float((scores_PN - scores_PN.mean(axis=1, keepdims=True)).std())


def _reference_numbers(tables: StudyTables, proxies: Sequence[str]) -> dict[str, Number]:
    """Regressional part less the rest, the shift at the end, and what was lost; means over the proxies."""
    gold, n = tables.gold(), tables.gold().shape[1]
    runs = {proxy: run for proxy, run in size_runs(tables).items() if proxy in proxies}
    in_units = {proxy: _factor(tables, proxy) * tables.scores(proxy) for proxy in proxies}
    places = {}
    for proxy, name in runs.items():
        peak, last = tables.run_record(name)["drop"]["peak"], tables.run(name).steps[-1]
        places[proxy] = [_policy_scores(tables, proxy, name, step) for step in (peak, last)]

    def numbers(rows: IntArray) -> FloatArray:
        values = np.full((len(proxies), 7), np.nan)
        for p, proxy in enumerate(proxies):
            # The draws are not used: leaving out prompts gives the interval of differences that parts do not have.
            unused = np.random.default_rng(0)
            scores = in_units[proxy][rows]
            loss = decompose_best_of_n(scores, gold[rows], n, rng=unused, draws=1)
            values[p, 0], values[p, 4] = _regressional_less_rest(loss), loss.gap.value
            for k, of_policy in enumerate(places.get(proxy, [])):
                both = [matrix[rows] for matrix in of_policy]
                loss = decompose_policy(scores, gold[rows], *both, rng=unused, draws=1)
                values[p, 1 + k], values[p, 5 + k] = _regressional_less_rest(loss), loss.gap.value
                values[p, 3] = loss.shift.value
        return np.array([_mean(column) for column in values.T])

    rng = stream(tables.seed, "goodhart", "prompts")
    keys = ("bon-end", "ppo-peak", "ppo-end", "ppo-end-shift", "bon-end-gap", "ppo-peak-gap", "ppo-end-gap")
    return dict(zip(keys, without_prompts(numbers, len(gold), rng, groups=GROUPS), strict=True))


def _regressional_less_rest(loss: GoldLoss) -> float:
    return 2 * loss.regressional.value - loss.gap.value


def _mean(values: FloatArray) -> float:
    """Over the proxies that have a number."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _trend(tables: StudyTables, sizes: Mapping[str, Sequence[str]], splits: Sequence[_Split]) -> Number:
    """Of gold's slope on the proxy."""
    slopes = {split.base: split.loss.slope.value for split in splits if split.method == BON}
    if len(slopes) < 2:
        return None, UNKNOWN
    parameters = [tables.proxy(sizes[base][0]).parameters for base in slopes]
    return slope_over_sizes(parameters, list(slopes.values()))


def _figure(
    method: str, splits: Sequence[_Split], sizes: Mapping[str, Sequence[str]], prompts: int
) -> list[FigureData]:
    """Parts upon each other along d; none without the method."""
    rows: list[dict[str, Any]] = []
    # Best-of-n chooses among base replies: it has no other parts.
    parts = list(PARTS)[:2] if method == BON else list(PARTS)
    for split in splits:
        if split.method != method:
            continue
        values = [getattr(split.loss, part).value for part in parts]
        # A part that is not known is contained in the unidentified one.
        tops = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))]).tolist()
        for part, value, (bottom, top) in zip(parts, values, pairwise(tops), strict=True):
            low, high = getattr(split.loss, part).ci
            rows.append(
                {
                    "proxy": split.base,
                    "place": split.place,
                    "d": math.sqrt(split.kl),
                    "part": PARTS[part],
                    "bottom": bottom,
                    "top": top,
                    "value": known(value),
                    "value_low": known(low),
                    "value_high": known(high),
                    "gap": split.loss.gap.value,
                    "beyond": split.loss.unidentified_share,
                }
            )
    if not rows:
        return []
    return [
        FigureData(
            name=f"goodhart-{'bon' if method == BON else 'ppo'}",
            title=f"Where the lost gold went: {method}",
            caption="Proxy gain less gold gain, its parts upon each other, the top line being the whole loss; a part "
            f"that is negative, gold gained, takes the next one down. Intervals over {prompts} prompts: see the table.",
            rows=rows,
            x=Axis(field="d", title="d = √KL, √nats", from_zero=True),
            y=Axis(field="top", title="proxy gain less gold gain, sd", from_zero=True),
            marks=("line", "band"),
            low="bottom",
            high="top",
            colour=Channel(field="part", title="part", values=tuple(PARTS[part] for part in parts)),
            panel=Channel(field="proxy", title="proxy", is_ordered=True, values=tuple(sizes)),
            reference=0.0,
        )
    ]


def _table(splits: Sequence[_Split]) -> TableData:
    rows = []
    for split in splits:
        if not (split.is_peak or split.is_end):
            continue
        loss = split.loss
        where = "n" if split.method == BON else "step"
        marks = [mark for mark, holds in (("peak", split.is_peak), ("end", split.is_end)) if holds]
        row: dict[str, Any] = {
            "proxy": split.base,
            "method": split.method,
            "place": f"{where} = {split.place:,} ({' and '.join(marks)})",
            "beyond": loss.unidentified_share,
        }
        for name in ("proxy_gain", "gold_gain", "gap", *PARTS):
            part = getattr(loss, name)
            row[name] = known(part.value)
            row[f"{name}_ci"] = (known(part.ci[0]), known(part.ci[1]))
        rows.append(row)
    return TableData(
        name="goodhart-parts",
        title="Parts of the lost gold where gold peaks and at the end",
        columns={
            "proxy": "proxy",
            "method": "method",
            "place": "place",
            "proxy_gain": "proxy gain",
            "gold_gain": "gold gain",
            "gap": "lost",
            "regressional": "regressional",
            "extremal": "extremal",
            "shift": "shift",
            "unidentified": "extremal or shift",
            "beyond": "replies beyond the base's proxies, share",
        },
        rows=rows,
        digits=2,
        note="In standard deviations of gold. Empty: contained in 'extremal or shift', because too many replies lie "
        "beyond the proxies of the base.",
    )
