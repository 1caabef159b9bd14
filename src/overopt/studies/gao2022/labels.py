"""Labels of other kinds than gold's sign: drawn by chance, soft, and turned round, against clean ones.

Gao et al. 2022, section 2 (sampled labels); Coste et al. 2023, arXiv:2310.02743 (a quarter turned round). Axes: S
training seeds, P prompts, B held-out pairs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import UNKNOWN, Interval, crossed, ends
from overopt.studies.gao2022.coefficients import fitted_maximum, gold_gains, largest_n
from overopt.studies.gao2022.held_out import held_out_pairs, pair_hits, pair_losses, soft_labels
from overopt.studies.gao2022.main_proxies import is_main, reference_base
from overopt.studies.study_tables import ProxyTable, StudyTables

MARGIN = 0.1
CLEAN = "hard"
COSTE_RATE = 0.25
NOISIER = Published(
    finding="labels drawn with gold's probability were tried and only called noisier",
    source="Gao et al. 2022, section 2",
    why_not="no number or curve is given",
)
FLIPPED = Published(
    finding="with a quarter of the labels turned round a proxy is over-optimized to lower gold",
    source="Coste et al. 2023, arXiv:2310.02743, 25 % label noise",
    outcomes=("below",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Proxies that were told one kind of label, by training seed."""

    name: str
    """``hard``, ``sampled``, ``soft``, or ``10 % flipped``."""
    flip_rate: float
    proxies: dict[str, ProxyTable]
    """Seed → proxy."""

    def names(self, seeds: list[str]) -> list[str]:
        return [self.proxies[seed].name for seed in seeds]


def answer(tables: StudyTables) -> Answer:
    """Each kind of label less clean hard ones, paired over prompts and seeds."""
    kinds = _kinds(tables)
    clean = kinds.get(CLEAN)
    flips = sorted((k for k in kinds.values() if k.flip_rate > 0), key=lambda kind: -kind.flip_rate)
    claims = [_gold_claim(tables, clean, kind, FLIPPED if kind.flip_rate == COSTE_RATE else None) for kind in flips]
    others = {"sampled": NOISIER, "soft": None}
    claims += [_gold_claim(tables, clean, kinds[name], by) for name, by in others.items() if name in kinds]
    claims.append(_accuracy_claim(tables, clean, flips[0] if flips else None))
    return Answer(
        id="labels",
        title="Kinds of labels",
        question="What do noisy and soft labels do to a proxy and to the gold it yields?",
        how=(
            "Proxies of one size and number of pairs, each told another kind of label of the same pairs. Hard: the "
            "sign of gold's difference. Sampled: drawn with the Bradley-Terry probability of that difference in "
            f"standard deviations of gold, which contradicts gold in {_contradicted(tables)} of held-out pairs. "
            "Soft: that probability itself. Flipped: hard labels of which a share is turned round. Best-of-n over "
            f"{largest_n(tables):,} replies a prompt; held-out pairs are always judged by gold's own labels. "
            "Differences are from clean hard labels with the same seed, prompt by prompt."
        ),
        claims=claims,
        figures=_figures(tables, kinds),
        tables=_tables(tables, kinds),
        caveats=[
            "Few training seeds: what another seed would change is a rough guess.",
            "Coste et al. find what they do for PPO as well; ours is best-of-n alone.",
        ],
    )


def _kinds(tables: StudyTables) -> dict[str, Kind]:
    """Clean hard labels first; proxies of rounds and passes are left out by their names."""
    base, pairs = reference_base(tables), int(tables.settings["pairs"])
    found: dict[str, Kind] = {}
    for proxy in tables.proxies():
        labels = proxy.settings["labels"]
        rate, seed = float(labels["flip_rate"]), proxy.name.rpartition("-s")[2]
        is_clean = labels["kind"] == "hard" and rate == 0
        if proxy.base != base or proxy.pairs != pairs or not tables.has(f"scores/{proxy.name}"):
            continue
        if is_clean and not is_main(proxy, pairs):
            continue
        name = str(labels["kind"]) if rate == 0 else f"{100 * rate:g} % flipped"
        found.setdefault(name, Kind(name=name, flip_rate=rate, proxies={})).proxies[seed] = proxy
    order = [CLEAN, "soft", "sampled"]
    ranked = sorted(found.values(), key=lambda k: (order.index(k.name) if k.name in order else 9, k.flip_rate))
    return {kind.name: kind for kind in ranked}


def _common(clean: Kind | None, kind: Kind | None) -> list[str]:
    if clean is None or kind is None:
        return []
    return sorted(set(clean.proxies) & set(kind.proxies), key=int)


def _gold_difference(
    tables: StudyTables, clean: Kind | None, kind: Kind, n: int | None = None
) -> tuple[float | None, Interval]:
    """Gold of the best of ``n``, of all unless given, less that with clean labels."""
    seeds = _common(clean, kind)
    if clean is None or not seeds:
        return None, UNKNOWN
    difference_SP = gold_gains(tables, kind.names(seeds), n) - gold_gains(tables, clean.names(seeds), n)
    return crossed(difference_SP, stream(tables.seed, "labels", kind.name, 0 if n is None else n))


def _gold_claim(tables: StudyTables, clean: Kind | None, kind: Kind, published: Published | None) -> Claim:
    value, ci = _gold_difference(tables, clean, kind)
    n, words = largest_n(tables), _words(kind)
    return Claim(
        id=f"labels-{_slug(kind)}-gold",
        what=f"gold at n = {n:,} with {words} less that with clean hard ones, equal within {MARGIN} sd",
        value=value,
        ci=ci,
        counted=f"{len(tables.prompt_ids)} prompts and {len(_common(clean, kind))} training seeds, crossed",
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": f"With {words} gold at n = {n:,} is {{size}} {{ci}} higher than with clean hard ones.",
            "below": f"With {words} gold at n = {n:,} is {{size}} {{ci}} lower than with clean hard ones.",
            "equal": f"With {words} gold at n = {n:,} is the same as with clean hard ones within {MARGIN} sd: "
            "{value} {ci}.",
            "open": f"Whether {words} change gold at n = {n:,} is not decided: {{value}} {{ci}}.",
        },
        published=published,
        note="" if value is not None else "no seed was trained with both kinds of labels",
    )


def _accuracy_claim(tables: StudyTables, clean: Kind | None, kind: Kind | None) -> Claim:
    value, ci = None, UNKNOWN
    seeds, words = _common(clean, kind), "labels of which a share is turned round"
    if clean is not None and kind is not None and seeds:
        words = _words(kind)
        value, ci = crossed(_hits(tables, kind, seeds) - _hits(tables, clean, seeds), _rng(tables, kind, "accuracy"))
    pairs = len(kind.proxies[seeds[0]].pair_scores) if kind is not None and seeds else 0
    return Claim(
        id="labels-accuracy",
        what=f"accuracy on clean held-out pairs with {words} less that with clean hard ones",
        value=value,
        ci=ci,
        counted=f"{pairs} held-out pairs and {len(seeds)} training seeds, crossed",
        digits=3,
        sentences={
            "above": f"With {words} a proxy is right in {{size}} {{ci}} more of the clean held-out pairs.",
            "below": f"With {words} a proxy is right in {{size}} {{ci}} fewer of the clean held-out pairs.",
            "open": f"Whether {words} cost accuracy is not decided: {{value}} {{ci}}.",
        },
        note="" if value is not None else "no proxy was told labels of which a share is turned round",
    )


def _hits(tables: StudyTables, kind: Kind, seeds: list[str]) -> FloatArray:
    return np.stack([pair_hits(tables, kind.proxies[seed]) for seed in seeds])


def _figures(tables: StudyTables, kinds: dict[str, Kind]) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for kind in kinds.values():
        for point in tables.best_of_n([proxy.name for proxy in kind.proxies.values()])["curve"]:
            at = {"labels": kind.name, "n": point["n"], "d": math.sqrt(point["kl_bound"])}
            for quantity in ("gold", "proxy"):
                low, high = ends(point[f"{quantity}_ci"])
                rows.append({**at, "quantity": quantity, "value": point[quantity], "low": low, "high": high})
    if not rows:
        return []
    return [
        FigureData(
            name="labels-curves",
            title="Gold and proxy of best-of-n against distance, by kind of label",
            caption="Means over training seeds; bands are 95 % intervals over prompts and seeds, wider than those of "
            "the paired differences. Each proxy is recalibrated on clean held-out pairs.",
            rows=rows,
            x=Axis(field="d", title="d = √KL to the base policy (√nats)", from_zero=True),
            y=Axis(field="value", title="gain (standard deviations of gold)"),
            marks=("band", "line"),
            low="low",
            high="high",
            colour=Channel(field="labels", title="labels", values=tuple(kinds)),
            panel=Channel(field="quantity", title="", values=("gold", "proxy")),
            reference=0.0,
        )
    ]


def _tables(tables: StudyTables, kinds: dict[str, Kind]) -> list[TableData]:
    clean = kinds.get(CLEAN)
    peak_n = None
    if clean is not None:
        curve = tables.best_of_n([proxy.name for proxy in clean.proxies.values()])["curve"]
        peak_n = max(curve, key=lambda point: float(point["gold"]))["n"]
    rows = []
    for kind in kinds.values():
        record = tables.best_of_n([proxy.name for proxy in kind.proxies.values()])
        last = record["curve"][-1]
        hits = _hits(tables, kind, list(kind.proxies))
        losses = np.stack([pair_losses(tables, proxy) for proxy in kind.proxies.values()])
        accuracy, accuracy_ci = crossed(hits, _rng(tables, kind, "table accuracy"))
        loss, loss_ci = crossed(losses, _rng(tables, kind, "table loss"))
        is_other = kind.name != CLEAN
        at_end = _gold_difference(tables, clean, kind) if is_other else (None, UNKNOWN)
        at_peak = _gold_difference(tables, clean, kind, peak_n) if is_other and peak_n else (None, UNKNOWN)
        rows.append(
            {
                "labels": kind.name, "seeds": len(kind.proxies), "accuracy": accuracy, "accuracy_ci": list(accuracy_ci),
                "loss": loss, "loss_ci": list(loss_ci), "gold": last["gold"], "gold_ci": list(ends(last["gold_ci"])),
                "difference": at_end[0], "difference_ci": list(at_end[1]), "at_peak": at_peak[0],
                "at_peak_ci": list(at_peak[1]), "maximum": fitted_maximum(record), "peak": record["drop"]["peak"],
                "verdict": record["drop"]["verdict"].replace("_", " "),
            }
        )  # fmt: skip
    if not rows:
        return []
    peak = "" if peak_n is None else f" at n = {peak_n:,}"
    return [
        TableData(
            name="labels-kinds",
            title="Kinds of labels",
            columns={
                "labels": "labels", "seeds": "seeds", "accuracy": "accuracy", "loss": "held-out loss (nats)",
                "gold": "gold at the largest n (sd)", "difference": "less clean, at the largest n (sd)",
                "at_peak": f"less clean{peak} (sd)", "maximum": "fitted maximum (sd)", "peak": "n of the peak",
                "verdict": "best-of-n",
            },
            rows=rows,
            note="Accuracy and loss are with gold's own labels. The n of one column is where clean labels yield most, "
            "which favours them a little.",
        )
    ]  # fmt: skip


def _contradicted(tables: StudyTables) -> str:
    """Expected share of sampled labels against gold, in words."""
    gold_margin = next((held_out_pairs(tables, proxy).gold_margin for proxy in tables.proxies()), np.empty(0))
    if not gold_margin.size:
        return "an unknown share"
    return f"{100 * float(np.mean(1 - soft_labels(gold_margin, tables.gold_map))):.0f} %"


def _words(kind: Kind) -> str:
    return f"{kind.name} labels" if kind.flip_rate == 0 else f"{100 * kind.flip_rate:g} % of labels turned round"


def _slug(kind: Kind) -> str:
    return kind.name if kind.flip_rate == 0 else f"flip{round(100 * kind.flip_rate)}"


def _rng(tables: StudyTables, kind: Kind, what: str) -> np.random.Generator:
    return stream(tables.seed, "labels", kind.name, what)
