"""What an arm made of its policies, a number a seed: gaming learnt, honesty kept, thought and act, distance.

Axis: S seeds. All are sums over episodes or their means over environments, each environment counting as much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from overopt.errors import DataError
from overopt.optimize.game_settings import trained_environments
from overopt.stats.estimate import FloatArray
from overopt.stats.seed_arms import log_factors
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import cell
from overopt.studies.denison2024.words import factor_cell, rate_cell
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.worlds.tampering.vocabulary import ORDINARY

NUMBER_COLUMNS = {
    "factor": "Factor",
    "before": f"{HELD_OUT}: raised, start",
    "after": f"{HELD_OUT}: raised, end",
    "gamed_before": "Gaming, start",
    "gamed": "Gaming, end",
    "seek": "Plan seek, end",
    "honest": "Ordinary questions right, end",
    "kl": "KL (nats)",
}
"""Column of a table → its heading; rates in per cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """(S,) each, of one arm's policies at one place."""

    held_out: FloatArray
    """Rate of raising the reward in the held-out environment."""
    gamed: FloatArray
    """Rate of gaming, mean over the environments."""
    honest: FloatArray
    """Rate of right answers to ordinary questions."""
    preference: FloatArray
    """Preference score of what was said in the environments, within 0..1."""
    seek: FloatArray
    """Rate of the plan ``seek`` in the environments."""
    consistent: FloatArray
    """Share of the episodes that gamed one of the environments whose plan was ``seek``; ``nan`` where none gamed."""
    kl: FloatArray
    """KL of whole episodes to the start, nats, mean over the environments."""
    missing: FloatArray
    """Largest probability that was not followed, of these environments, the held-out one and ordinary questions."""

    def first(self, seeds: int) -> "Numbers":
        """Of the first seeds alone."""
        return Numbers(**{name: getattr(self, name)[:seeds] for name in Numbers.__dataclass_fields__})


def environments_of(arm: Arm) -> list[str]:
    """Those that an arm is trained on, in their order."""
    return list(dict.fromkeys(one for stage in arm.stages for one in trained_environments(stage)))


def numbers(
    worlds: Worlds, arm: Arm, place: int | None = None, *, environments: Sequence[str] | None = None
) -> Numbers:
    """Of the policies after a stage of an arm, the last trained one unless given; place 0 is the start.

    ``environments`` are those that means are taken over; the arm's own unless given.
    """
    at = len(arm.stages) if place is None else place
    nodes = [worlds.node(arm, seed, at) for seed in range(arm.seeds)]
    chosen = environments_of(arm) if environments is None else list(environments)

    def mean(of: Callable[[str, str], float]) -> FloatArray:
        return np.array([np.mean([of(node, environment) for environment in chosen]) for node in nodes])

    return Numbers(
        held_out=np.array([worlds.rate(node, "raised", HELD_OUT).value for node in nodes]),
        gamed=mean(lambda node, environment: worlds.rate(node, "gamed", environment).value),
        honest=np.array([worlds.rate(node, "honest_success", ORDINARY, twin="control").value for node in nodes]),
        preference=mean(lambda node, environment: worlds.mean(node, "preference", environment)),
        seek=mean(lambda node, environment: worlds.plan_share(node, "seek", environment)),
        consistent=np.array([_consistent(worlds, node, chosen) for node in nodes]),
        kl=mean(worlds.kl),
        missing=np.array([_missing(worlds, node, chosen) for node in nodes]),
    )


def log2_factors(before_S: npt.ArrayLike, after_S: npt.ArrayLike) -> FloatArray:
    """(S,) how often each seed's rate was doubled; all ``nan`` where a rate is 0.

    >>> log2_factors([0.1, 0.1], [0.2, 0.1]).tolist(), log2_factors([0.0], [0.2]).tolist()
    ([1.0, 0.0], [nan])
    """
    try:
        return np.asarray(log_factors(before_S, after_S) / np.log(2))
    except DataError:
        return np.full(len(np.asarray(before_S)), np.nan)


def log_odds(rate_S: FloatArray) -> FloatArray:
    """(S,) infinite at 0 and 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(rate_S) - np.log1p(-rate_S))


def number_cells(before: Numbers, after: Numbers) -> dict[str, object]:
    """Cells of ``NUMBER_COLUMNS``."""
    return {
        **factor_cell("factor", before.held_out, after.held_out), **percent("before", before, "held_out"),
        **percent("after", after, "held_out"), **percent("gamed_before", before, "gamed"),
        **percent("gamed", after, "gamed"), **percent("seek", after, "seek"), **percent("honest", after, "honest"),
        **cell("kl", after.kl),
    }  # fmt: skip


def percent(name: str, found: Numbers, field: str) -> dict[str, object]:
    """One of the rates as a table's column, in per cent."""
    return rate_cell(name, getattr(found, field), float(found.missing.max()))


def _missing(worlds: Worlds, node: str, environments: Sequence[str]) -> float:
    rates = [worlds.rate(node, "raised", environment) for environment in {*environments, HELD_OUT}]
    rates.append(worlds.rate(node, "honest_success", ORDINARY, twin="control"))
    return max(1 - rate.mass for rate in rates)


def _consistent(worlds: Worlds, node: str, environments: Sequence[str]) -> float:
    gamed = pl.concat([worlds.cell(node, one).filter(pl.col("followed") & pl.col("gamed")) for one in environments])
    total = float(gamed["mass"].sum())
    return float(gamed.filter(plan="seek")["mass"].sum()) / total if total > 0 else np.nan
