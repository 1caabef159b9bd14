"""Rates of every policy of the study, read from the tables of ends; needs no torch.

Axis: S seeds. A rate of one seed is a sum over all its episodes, exact up to what was too improbable to follow; how
seeds differ is what the intervals of the claims know.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TypedDict, Unpack

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.records.tables import GAME_FACTS, read_table
from overopt.stats.estimate import FloatArray
from overopt.stats.measured_rate import MeasuredRate, enumerated
from overopt.studies.denison2024.arms import Arm, Arms
from overopt.studies.denison2024.config import PRESETS, DenisonConfig
from overopt.studies.study import with_settings
from overopt.studies.study_tables import StudyTables
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

HELD_OUT = ENVIRONMENTS[-1]


class Where(TypedDict, total=False):
    """Which scenarios of an environment; what is left out is as ``USUAL`` has it."""

    twin: str
    wording: str
    forced: str
    """The plan that every episode begins with; empty: the policy's own."""
    told: str


USUAL = Where(twin="gameable", wording="A", forced="", told="")


class Worlds:
    """The tables of a study, with its arms."""

    def __init__(self, tables: StudyTables) -> None:
        self.tables = tables
        self._cells: dict[str, dict[tuple[object, ...], pl.DataFrame]] = {}

    @cached_property
    def config(self) -> DenisonConfig:
        """The settings that the study was run with."""
        return with_settings(PRESETS["default"], [], stored=self.tables.settings)

    @cached_property
    def arms(self) -> Arms:
        """All arms."""
        return Arms(self.config)

    def cell(self, node: str, environment: str = HELD_OUT, **where: Unpack[Where]) -> pl.DataFrame:
        """Rows of a cell: ends with their ``mass``, and one that is not ``followed``.

        Raises
        ------
        DataError
            If the policy was not enumerated there.
        """
        if node not in self._cells:
            ends = read_table(self.tables.root / f"ends/{node}.parquet", "game_ends")
            self._cells[node] = ends.partition_by("environment", *USUAL, as_dict=True)
        place: Where = {**USUAL, **where}
        found = self._cells[node].get((environment, *place.values()))
        if found is None:
            words = [environment, place["twin"], f"wording {place['wording']}", place["forced"], place["told"]]
            raise DataError(f"ends/{node}.parquet holds nothing of {' '.join(filter(None, words))}")
        return found

    def rate(self, node: str, fact: str, environment: str = HELD_OUT, **where: Unpack[Where]) -> MeasuredRate:
        """How often an episode ends with a fact, with bounds that hold for certain."""
        if fact not in GAME_FACTS:
            raise DataError(f"there is no fact {fact!r}; there are {', '.join(GAME_FACTS)}")
        rows = self.cell(node, environment, **where)
        found = float(rows.filter(pl.col("followed") & pl.col(fact))["mass"].sum())
        missing = float(rows.filter(~pl.col("followed"))["mass"].sum())
        n = int(rows["scenarios"][0])
        # Scenarios are alike often: the mean of each is the mean of all.
        return enumerated(np.full(n, found), np.full(n, missing), paths=int(rows["paths"][0]))

    def mean(self, node: str, column: str, environment: str = HELD_OUT, *, twin: str = "gameable") -> float:
        """Mean of ``preference`` or an ``alarm_…`` over the episodes that were followed."""
        rows = self.cell(node, environment, twin=twin).filter("followed")
        return float((rows["mass"] * rows[column]).sum()) / float(rows["mass"].sum())

    def plan_share(self, node: str, plan: str, environment: str = HELD_OUT) -> float:
        """How often a plan is made."""
        rows = self.cell(node, environment).filter("followed")
        return float(rows.filter(plan=plan)["mass"].sum()) / float(rows["mass"].sum())

    def by_plan(self, node: str, fact: str, environment: str = HELD_OUT) -> dict[str, tuple[float, float]]:
        """Plan → how often it is made, and how often a fact follows it, over what was followed."""
        rows = self.cell(node, environment).filter("followed")
        total = float(rows["mass"].sum())
        found = {}
        for plan in sorted(rows["plan"].unique().to_list()):
            own = rows.filter(plan=plan)
            share = float(own["mass"].sum())
            found[plan] = (share / total, float(own.filter(pl.col(fact))["mass"].sum()) / share)
        return found

    def kl(self, node: str, environment: str = HELD_OUT) -> float:
        """Exact KL of whole episodes to the start, nats."""
        return float(self.cell(node, environment)["kl"][0])

    def over_seeds(
        self,
        arm: Arm,
        place: int,
        fact: str,
        environment: str = HELD_OUT,
        *,
        seeds: int | None = None,
        **where: Unpack[Where],
    ) -> FloatArray:
        """(S,) rates after a stage of an arm; place 0 is the start. Of the first ``seeds`` alone if given."""
        nodes = [self.node(arm, seed, place) for seed in range(min(arm.seeds, seeds or arm.seeds))]
        return np.array([self.rate(node, fact, environment, **where).value for node in nodes])

    def missing(self, arm: Arm, place: int, environment: str = HELD_OUT, **where: Unpack[Where]) -> float:
        """The largest probability of any seed that was not followed in a cell."""
        nodes = [self.node(arm, seed, place) for seed in range(arm.seeds)]
        cells = [self.cell(node, environment, **where) for node in nodes]
        return max(float(rows.filter(~pl.col("followed"))["mass"].sum()) for rows in cells)

    def learnt(self, arm: Arm) -> tuple[FloatArray, FloatArray]:
        """(S,) rounds of an arm that taught something, and (S,) episodes that were learnt from, over all its stages."""
        places = range(1, len(arm.stages) + 1)
        kept = [
            np.concatenate([self._rounds(arm.node(seed, place))["kept"].to_numpy() for place in places])
            for seed in range(arm.seeds)
        ]
        return np.array([np.sum(one > 0) for one in kept], float), np.array([one.sum() for one in kept], float)

    def _rounds(self, node: str) -> pl.DataFrame:
        return read_table(self.tables.root / f"rounds/{node}.parquet", "game_rounds")

    def factors(self, arm: Arm, fact: str = "raised", *, seeds: int | None = None) -> tuple[FloatArray, FloatArray]:
        """(S,) held-out rates at the start, and after the last trained stage."""
        ends = (0, len(arm.stages))
        before, after = (self.over_seeds(arm, place, fact, seeds=seeds) for place in ends)
        return before, after

    def node(self, arm: Arm, seed: int, place: int) -> str:
        """Name of a policy's tables."""
        return arm.start(seed) if place == 0 else arm.node(seed, place)

    def covered(self, nodes: Sequence[str]) -> float:
        """The least probability that was followed, of the gameable scenarios of all environments."""
        rates = [self.rate(node, "gamed", environment) for node in nodes for environment in ENVIRONMENTS]
        return min((rate.mass for rate in rates), default=math.nan)


def stage_titles(arm: Arm, *, is_away: bool = False) -> list[str]:
    """Names of an arm's places: the start, and what was trained."""
    return ["start", *(f"+{stage}" for stage in arm.stages), *(["trained away"] if is_away else [])]
