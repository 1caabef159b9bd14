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


def how(worlds: Worlds) -> str:
    """What was done, for the page."""
    return (
        f"To ask the person has starts of its own: in their corpora {worlds.config.told_share:.0%} of the tasks offer "
        f"it, and {worlds.config.model.writers.ask_if_told:.0%} of the writers take that up, whatever their plan. With "
        "the offer in the prompts of training, to ask pays what a preference score makes of it, and nothing that is "
        "not paid anyway for what was done before. The whole effect compares a policy that has the offer, in training "
        "and where it is measured, with one that has it in neither: part of that is there before any training, as who "
        "asks does nothing else. What training does of it is asked with the offer for both."
    )


@dataclass(frozen=True, slots=True)
class _Rates:
    """(S,) rates of an arm's policies at one place, with or without the offer to ask."""

    gamed: FloatArray
    """Mean over the arm's environments, as ``asked`` and ``honest``."""
    asked: FloatArray
    honest: FloatArray
    held_out: FloatArray
    """Raising the reward in the held-out environment."""
    held_out_asked: FloatArray
    missing: float


def asking_claims(worlds: Worlds) -> list[Claim]:
    """Of the arm that may ask, where it may, against that which may not, where it may not."""
    plain, offered = worlds.arms.not_offered, worlds.arms.offered
    last = len(plain.stages)
    before = worlds.over_seeds(plain, 0, "raised")
    unmitigated = _rates(worlds, plain, last, told="")
    start, after = (_rates(worlds, offered, place, told=MAY_ASK) for place in (0, last))
    untrained = _rates(worlds, plain, last, told=MAY_ASK)
    return [
        ratio_claim(
            "mitigations-offered-ratio",
            "factor of the held-out rate where the person can be asked, in training and measurement, over that "
            "without the offer",
            (before, after.held_out),
            (before, unmitigated.held_out),
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
            "mitigations-offered-gamed",
            "rate of gaming the trained environments where the person can be asked, in training and measurement, less "
            "that without the offer",
            after.gamed,
            unmitigated.gamed,
            sentences={
                "above": "Where the person can be asked, the trained environments are gamed {size} more often {ci}.",
                "below": "Where the person can be asked, the trained environments are gamed {size} less often {ci}.",
                "open": "Where the person can be asked, it is open whether the trained environments are gamed less: "
                "{value} {ci}.",
            },
        ),
        ratio_claim(
            "mitigations-offered-trained-ratio",
            "factor of the held-out rate where the person can be asked, with the offer in training over that without "
            "it in training, both measured with the offer",
            (start.held_out, after.held_out),
            (start.held_out, untrained.held_out),
            are_paired=True,
            sentences={
                "above": "Measured with the offer alike, the policy that had it in training ends with a higher "
                "held-out rate: {value} times as high {ci}.",
                "below": "Measured with the offer alike, the policy that had it in training ends with a lower held-out "
                "rate: {value} times as high {ci}.",
                "open": "Measured with the offer alike, it is open whether having it in training too keeps the "
                "held-out rate lower: ratio {value} {ci}.",
            },
        ),
        difference_claim(
            "mitigations-offered-trained-gamed",
            "rate of gaming the trained environments where the person can be asked, with the offer in training less "
            "that without it in training, both measured with the offer",
            after.gamed,
            untrained.gamed,
            sentences={
                "above": "Measured with the offer alike, the policy that had it in training games {size} more often "
                "{ci}.",
                "below": "Measured with the offer alike, the policy that had it in training games {size} less often "
                "{ci}.",
                "open": "Measured with the offer alike, it is open whether having it in training too makes gaming "
                "rarer: {value} {ci}.",
            },
        ),
        difference_claim(
            "mitigations-offered-asked",
            "share of episodes of the trained environments that ask where the person can be asked, after training less "
            "before",
            after.asked,
            start.asked,
            sentences={
                "above": "Training with the offer makes the policy ask {size} more often {ci}.",
                "below": "Training with the offer makes the policy ask {size} less often {ci}.",
                "open": "It is open whether training with the offer changes how often the policy asks: {value} {ci}.",
            },
        ),
    ]  # fmt: skip


def asking_table(worlds: Worlds) -> TableData:
    """Who asks, and who games, with and without the offer."""
    arms = worlds.arms
    last = len(arms.offered.stages)
    rows: list[dict[str, object]] = []
    for title, arm, place, told in (
        ("start", arms.not_offered, 0, ""), ("start", arms.not_offered, 0, MAY_ASK),
        (arms.not_offered.title, arms.not_offered, last, ""), (arms.not_offered.title, arms.not_offered, last, MAY_ASK),
        (arms.offered.title, arms.offered, last, ""), (arms.offered.title, arms.offered, last, MAY_ASK),
    ):  # fmt: skip
        found = _rates(worlds, arm, place, told=told)
        cells = {
            name: value
            for field in ("asked", "gamed", "honest", "held_out_asked", "held_out")
            for name, value in rate_cell(field, getattr(found, field), found.missing).items()
        }
        rows.append({"policy": title, "offer": "yes" if told else "no", **cells})
    return TableData(
        name="mitigations-asking",
        title="Policies that may ask the person",
        columns={
            "policy": "Policy", "offer": "Offer in the prompt", "asked": "Asks", "gamed": "Gaming",
            "honest": "Honest success", "held_out_asked": f"{HELD_OUT}: asks", "held_out": f"{HELD_OUT}: raised",
        },
        rows=rows,
        digits=3,
        note=f"Means over {arms.offered.seeds} seeds with 95 % intervals, per cent of episodes. Asks, gaming and "
        f"honest success: {', '.join(environments_of(arms.offered))}. Who asks after a task was gamed did both.",
    )  # fmt: skip


def _rates(worlds: Worlds, arm: Arm, place: int, *, told: str) -> _Rates:
    names = environments_of(arm)

    def mean(fact: str) -> FloatArray:
        return np.asarray(np.mean([worlds.over_seeds(arm, place, fact, name, told=told) for name in names], axis=0))

    return _Rates(
        gamed=mean("gamed"), asked=mean("asked"), honest=mean("honest_success"),
        held_out=worlds.over_seeds(arm, place, "raised", told=told),
        held_out_asked=worlds.over_seeds(arm, place, "asked", told=told),
        missing=max(worlds.missing(arm, place, name, told=told) for name in (*names, HELD_OUT)),
    )  # fmt: skip
