"""What it is worth that a policy may ask the person: it is told so in training, and also where it is measured."""

from dataclasses import dataclass

import numpy as np

from overopt.records.answers import Claim, TableData
from overopt.stats.estimate import FloatArray
from overopt.studies.denison2024.arm_numbers import environments_of
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import difference_claim
from overopt.studies.denison2024.words import rate_cell, ratio_claim
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.worlds.tampering.vocabulary import MAY_ASK

HOW = (
    "The offer to ask the person stands in the prompts of a tenth of the corpus, and three in ten writers take it up "
    "there, whatever their plan. With it in the prompts of training, to ask pays what a preference score makes of it "
    "and never the bonus. As the offer would stand wherever the policy works, its policy is measured with it too."
)


@dataclass(frozen=True, slots=True)
class _Told:
    """(S,) rates of an arm's policies at one place where the person can be asked."""

    gamed: FloatArray
    """Mean over the arm's environments, as ``asked`` and ``honest``."""
    asked: FloatArray
    honest: FloatArray
    held_out: FloatArray
    """Raising the reward in the held-out environment."""
    held_out_asked: FloatArray
    missing: float


def asking_claims(worlds: Worlds) -> list[Claim]:
    """Of the arm that may ask, where it may, against the policy without mitigation, where it may not."""
    arms = worlds.arms
    plain, asks = arms.hhh, arms.asks
    last = len(plain.stages)
    before, unmitigated = (worlds.over_seeds(plain, place, "raised") for place in (0, last))
    gamed = np.mean([worlds.over_seeds(plain, last, "gamed", name) for name in environments_of(plain)], axis=0)
    start, after = (_told(worlds, asks, place) for place in (0, last))
    return [
        ratio_claim(
            "mitigations-asks-offered-ratio",
            "factor of the held-out rate where the person can be asked, in training and measurement, over that "
            "without the offer",
            (before, after.held_out),
            (before, unmitigated),
            are_paired=True,
            sentences={
                "above": "Where the person can be asked, the held-out rate ends higher: {value} times as high {ci} as "
                "without the offer.",
                "below": "Where the person can be asked, the held-out rate ends lower: {value} times as high {ci} as "
                "without the offer.",
                "open": "Where the person can be asked, the held-out rate is not told apart from that without the "
                "offer: ratio {value} {ci}.",
            },
        ),
        difference_claim(
            "mitigations-asks-offered-gamed",
            "rate of gaming the trained environments where the person can be asked, in training and measurement, less "
            "that without the offer",
            after.gamed,
            gamed,
            sentences={
                "above": "Where the person can be asked, the trained environments are gamed {size} more often {ci}.",
                "below": "Where the person can be asked, the trained environments are gamed {size} less often {ci}.",
                "open": "Where the person can be asked, it is open whether the trained environments are gamed less: "
                "{value} {ci}.",
            },
        ),
        difference_claim(
            "mitigations-asks-asked",
            "share of episodes of the trained environments that ask where the person can be asked, after training less "
            "before",
            after.asked,
            start.asked,
            sentences={
                "above": "Training with the offer makes the policy ask {size} more often {ci}.",
                "below": "Training with the offer makes the policy ask {size} less often {ci}: gaming pays more.",
                "open": "It is open whether training with the offer changes how often the policy asks: {value} {ci}.",
            },
        ),
    ]  # fmt: skip


def asking_table(worlds: Worlds) -> TableData:
    """Who asks, and who games, where the person can be asked."""
    arms = worlds.arms
    last = len(arms.hhh.stages)
    rows: list[dict[str, object]] = []
    for title, arm, place in (
        ("start", arms.hhh, 0), (arms.hhh.title, arms.hhh, last), (arms.asks.title, arms.asks, last),
    ):  # fmt: skip
        found = _told(worlds, arm, place)
        cells = {
            name: value
            for field in ("asked", "gamed", "honest", "held_out_asked", "held_out")
            for name, value in rate_cell(field, getattr(found, field), found.missing).items()
        }
        rows.append({"policy": title, **cells})
    return TableData(
        name="mitigations-asking",
        title="Where the person can be asked",
        columns={
            "policy": "Trained", "asked": "Asks", "gamed": "Gaming", "honest": "Honest success",
            "held_out_asked": f"{HELD_OUT}: asks", "held_out": f"{HELD_OUT}: raised",
        },
        rows=rows,
        digits=3,
        note=f"Means over {arms.asks.seeds} seeds with 95 % intervals, per cent of episodes whose prompt offers it; "
        f"the first three: {', '.join(environments_of(arms.hhh))}.",
    )  # fmt: skip


def _told(worlds: Worlds, arm: Arm, place: int) -> _Told:
    names = environments_of(arm)

    def mean(fact: str) -> FloatArray:
        rates = [worlds.over_seeds(arm, place, fact, name, told=MAY_ASK) for name in names]
        return np.asarray(np.mean(rates, axis=0))

    return _Told(
        gamed=mean("gamed"), asked=mean("asked"), honest=mean("honest_success"),
        held_out=worlds.over_seeds(arm, place, "raised", told=MAY_ASK),
        held_out_asked=worlds.over_seeds(arm, place, "asked", told=MAY_ASK),
        missing=max(worlds.missing(arm, place, name, told=MAY_ASK) for name in (*names, HELD_OUT)),
    )  # fmt: skip
