"""Several passes over few pairs against one pass over as many fresh ones (Gao et al. 2022, figure 13).

Axes: S training seeds, B held-out pairs, D draws.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.measure.intervals import DRAWS
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means_over_seeds
from overopt.studies.claims import UNKNOWN, Interval, crossed
from overopt.studies.gao2022.held_out import pair_hits, pair_losses
from overopt.studies.gao2022.matched import of_draws
from overopt.studies.study_tables import ProxyTable, StudyTables

SOURCE = "Gao et al. 2022, figure 13"
PUBLISHED = {"once": 0.686109, "fresh": 0.654857, "again": 0.683869}
"""Held-out losses of the paper's proxies, in nats a pair."""
TRAINED = {"once": "one pass over 2,000 pairs", "fresh": "one pass over 8,000", "again": "four passes over 2,000 pairs"}
_CHANCE_LOSS = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Held-out loss (S, B) of three ways to train, the same seeds and pairs in each."""

    seeds: tuple[str, ...]
    once: FloatArray
    """One pass over few pairs."""
    fresh: FloatArray
    """One pass over several times as many."""
    again: FloatArray
    """Several passes over the few."""


def answer(tables: StudyTables) -> Answer:
    """Held-out losses, paired over pairs and seeds."""
    few, epochs = int(tables.settings["epochs_pairs"]), int(tables.settings["epochs"])
    many = few * epochs
    losses = _losses(tables)
    seeds = len(losses.seeds) if losses else 0
    pairs = losses.once.shape[1] if losses else 0
    counted = f"{pairs} held-out pairs and {seeds} training seeds, crossed"
    return Answer(
        id="epochs",
        title="Passes over pairs",
        question=f"Are {epochs} passes over the same pairs worth {epochs} times as many pairs?",
        how=(
            f"Proxies of one size, from the same seeds: one pass over {few:,} pairs, {epochs} passes over these, and "
            f"one pass over {many:,} pairs that hold them. The last two take the same number of steps. Held-out "
            "Bradley-Terry loss with gold's own labels, on the same held-out pairs for all."
        ),
        claims=[
            _share(tables, losses, counted, epochs),
            _difference(
                tables, losses, counted, "again", "fresh", id="epochs-fresh", expected="above",
                words=f"{epochs} passes over {few:,} pairs instead of one over {many:,}",
            ),
            _difference(
                tables, losses, counted, "again", "once", id="epochs-again", expected="below",
                words=f"{epochs} passes over {few:,} pairs instead of one",
            ),
        ],
        figures=_figures(tables),
        tables=_tables(tables, losses, few, many, epochs),
        caveats=[
            "One size of proxy and one learning rate, set for all questions and tuned for none of the three.",
            "Loss also punishes confidence: a proxy whose order of replies is better can have a higher loss.",
        ],
    )  # fmt: skip


def _proxies(tables: StudyTables) -> dict[tuple[int, int], dict[str, ProxyTable]]:
    """Pairs and passes → seed → proxy, of those that were trained for this question."""
    found: dict[tuple[int, int], dict[str, ProxyTable]] = {}
    for proxy in tables.proxies():
        epochs = int(proxy.settings["training"]["epochs"])
        start = f"{proxy.base}-p{proxy.pairs}-e{epochs}-s"
        if proxy.name.startswith(start) and proxy.name.removeprefix(start).isdigit():
            found.setdefault((proxy.pairs, epochs), {})[proxy.name.removeprefix(start)] = proxy
    return found


def _losses(tables: StudyTables) -> Losses | None:
    few, epochs = int(tables.settings["epochs_pairs"]), int(tables.settings["epochs"])
    proxies = _proxies(tables)
    kinds = {"once": (few, 1), "fresh": (few * epochs, 1), "again": (few, epochs)}
    if any(kind not in proxies for kind in kinds.values()):
        return None
    common = set.intersection(*(set(proxies[kind]) for kind in kinds.values()))
    seeds = tuple(sorted(common, key=int))
    if not seeds:
        return None
    stacked = {
        name: np.stack([pair_losses(tables, proxies[kind][seed]) for seed in seeds]) for name, kind in kinds.items()
    }
    return Losses(seeds=seeds, **stacked)


def _share(tables: StudyTables, losses: Losses | None, counted: str, epochs: int) -> Claim:
    value, ci = None, UNKNOWN
    note = "the study trained no proxies for it"
    if losses is not None:
        value, ci = _share_of_gain(tables, losses)
        note = "" if None not in ci else "whether fresh pairs lower the loss at all is not certain"
    return Claim(
        id="epochs-share",
        what="share of what fresh pairs lower the loss by that passes over the same pairs reach",
        value=value,
        ci=ci,
        counted=counted,
        reference=1.0,
        sentences={
            "above": f"{epochs} passes lower the held-out loss more than {epochs} times the pairs: {{value}} {{ci}} "
            "times as much.",
            "below": f"{epochs} passes are not {epochs} times the data: they reach {{value}} {{ci}} of what fresh "
            "pairs lower the loss by.",
            "open": f"Whether {epochs} passes are worth {epochs} times the data is not decided: they reach {{value}} "
            "{ci} of what fresh pairs lower the loss by.",
        },
        published=Published(
            finding="four passes over 2,000 pairs reach "
            f"{_share_of(PUBLISHED['once'], PUBLISHED['fresh'], PUBLISHED['again']):.2f} of what 8,000 pairs reach: "
            f"loss {PUBLISHED['once']:.4f} → {PUBLISHED['again']:.4f}, against {PUBLISHED['fresh']:.4f}",
            source=SOURCE,
            outcomes=("below",),
        ),
        note=note,
    )


def _share_of_gain(tables: StudyTables, losses: Losses) -> tuple[float | None, Interval]:
    """Over seeds and pairs; unknown where a draw in a hundred has no gain from fresh pairs to compare with."""
    values_SB3 = np.stack([losses.once, losses.fresh, losses.again], axis=2)
    rng = stream(tables.seed, "epochs", "share")
    draws_D3 = bootstrap_means_over_seeds(values_SB3, DRAWS, rng)
    once, fresh, again = values_SB3.mean(axis=(0, 1)).tolist()
    if not once > fresh:
        return None, UNKNOWN
    is_gain = draws_D3[:, 0] > draws_D3[:, 1]
    share_D = np.where(is_gain, _share_of(draws_D3[:, 0], draws_D3[:, 1], draws_D3[:, 2]), np.nan)
    value = float(_share_of(once, fresh, again))
    return value, of_draws(value, share_D, values_SB3.shape[1])


def _share_of(once: Any, fresh: Any, again: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (once - again) / (once - fresh)


def _difference(
    tables: StudyTables,
    losses: Losses | None,
    counted: str,
    first: str,
    second: str,
    *,
    id: str,
    expected: str,
    words: str,
) -> Claim:
    value, ci = None, UNKNOWN
    if losses is not None:
        rng = stream(tables.seed, "epochs", id)
        value, ci = crossed(getattr(losses, first) - getattr(losses, second), rng)
    published = f"{PUBLISHED[first] - PUBLISHED[second]:+.4f}".replace("-", "\N{MINUS SIGN}")
    return Claim(
        id=id,
        what=f"change of the held-out loss with {words}",
        value=value,
        ci=ci,
        counted=counted,
        unit="nats",
        digits=4,
        sentences={
            "above": f"With {words} the held-out loss is {{size}} {{ci}} higher.",
            "below": f"With {words} the held-out loss is {{size}} {{ci}} lower.",
            "open": f"Whether the held-out loss differs with {words} is not decided: {{value}} {{ci}}.",
        },
        published=Published(
            finding=f"{TRAINED[first]} against {TRAINED[second]}: loss {PUBLISHED[first]:.4f} against "
            f"{PUBLISHED[second]:.4f}, {published} nats",
            source=SOURCE,
            outcomes=("above",) if expected == "above" else ("below",),
        ),
        note="" if losses is not None else "the study trained no proxies for it",
    )


def _figures(tables: StudyTables) -> list[FigureData]:
    rows: list[dict[str, Any]] = []
    for (pairs, epochs), by_seed in sorted(_proxies(tables).items()):
        stacked = np.stack([pair_losses(tables, proxy) for proxy in by_seed.values()])
        value, (low, high) = crossed(stacked, stream(tables.seed, "epochs", "figure", pairs, epochs))
        rows.append(
            {
                "steps": pairs * epochs, "way": "fresh pairs" if epochs == 1 else "the same pairs again",
                "training": f"{pairs:,} × {epochs}", "loss": value, "low": low, "high": high,
            }
        )  # fmt: skip
    if not rows:
        return []
    return [
        FigureData(
            name="epochs-loss",
            title="Held-out loss against pairs seen",
            caption="Mean over seeds, 95 % intervals over seeds and held-out pairs; they are wider than those of the "
            "differences, which are paired. The line is chance, ln 2.",
            rows=rows,
            x=Axis(field="steps", title="pairs seen in training, each pass counted", scale="log"),
            y=Axis(field="loss", title="held-out loss (nats a pair)"),
            marks=("point",),
            low="low",
            high="high",
            colour=Channel(field="way", title="", values=("fresh pairs", "the same pairs again")),
            shape=Channel(field="way", title="", values=("fresh pairs", "the same pairs again")),
            reference=_CHANCE_LOSS,
        )
    ]


def _tables(tables: StudyTables, losses: Losses | None, few: int, many: int, epochs: int) -> list[TableData]:
    if losses is None:
        return []
    kinds = {"once": (few, 1), "fresh": (many, 1), "again": (few, epochs)}
    proxies = _proxies(tables)
    rows = []
    for name, (pairs, passes) in kinds.items():
        rng = stream(tables.seed, "epochs", "table", name)
        value, ci = crossed(getattr(losses, name), rng)
        hits = [pair_hits(tables, proxies[pairs, passes][seed]).mean() for seed in losses.seeds]
        rows.append(
            {
                "pairs": pairs, "passes": passes, "loss": value, "loss_ci": list(ci),
                "seeds": ", ".join(f"{loss:.4f}" for loss in getattr(losses, name).mean(axis=1)),
                "accuracy": float(np.mean(hits)),
                "published": PUBLISHED[name] if (few, many, epochs) == (2_000, 8_000, 4) else None,
            }
        )  # fmt: skip
    return [
        TableData(
            name="epochs-losses",
            title="Held-out loss",
            columns={
                "pairs": "pairs", "passes": "passes", "loss": "loss (nats)", "seeds": "each seed",
                "accuracy": "accuracy", "published": "loss in the paper",
            },
            rows=rows,
            digits=4,
        )
    ]  # fmt: skip
