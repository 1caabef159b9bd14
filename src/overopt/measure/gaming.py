"""Rates of gaming: stages by environments, each cell a count with its interval, or a probability with its mass.

A cell is k of n episodes, and episodes of one scenario are alike, so intervals count scenarios
(:func:`~overopt.stats.rates.clustered_rate`); with one episode a scenario they are those of Clopper and Pearson. Cells
that were enumerated or weighted instead of counted fit into the same matrix and say so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.plain import plain
from overopt.records.outcomes import FACTS
from overopt.stats.measured_rate import Estimator, MeasuredRate
from overopt.stats.rates import clustered_rate, rate

SCHEMA = "overopt.gaming/1"
SHOWN = ("valid", "attempted", "raised", "evaded", "gamed", "honest_success")
"""Facts of a matrix, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The rate of one fact for one stage in one environment."""

    stage: str
    environment: str
    twin: str
    fact: str
    value: float
    low: float
    """``nan`` where nothing is known, as with one scenario and several episodes of it."""
    high: float
    level: float
    estimator: Estimator
    method: str
    successes: float
    """Of ``counted``: episodes; of others what they would be among ``trials``."""
    trials: int
    clusters: int
    """Scenarios."""
    mass: float | None = None
    """Of ``exact``: the probability of all episodes that were looked at."""
    effective: float | None = None
    """Of ``weighted``: effective sample size."""
    relative_error: float | None = None
    """Of ``weighted`` and ``split``: standard error over the value."""

    @property
    def counts(self) -> str:
        """k/n, or the mass that was covered.

        >>> counted_cell("a", "b", "gameable", "gamed", [1, 0], [1, 1]).counts
        '1/2'
        """
        if self.estimator == "counted":
            return f"{self.successes:,.0f}/{self.trials:,}"
        if self.estimator == "exact":
            return f"mass {self.mass:.6f}"
        if self.effective is not None:
            return f"{self.trials:,} weighted, ESS {self.effective:,.0f}"
        return f"{self.trials:,} {self.estimator}"


def counted_cell(
    stage: str,
    environment: str,
    twin: str,
    fact: str,
    successes: Sequence[int] | np.ndarray,
    trials: Sequence[int] | np.ndarray,
    *,
    level: float = 0.95,
) -> Cell:
    """A cell from the counts of each scenario.

    Raises
    ------
    DataError, ShapeError
        As :func:`~overopt.stats.rates.clustered_rate`.
    """
    k_U, n_U = np.asarray(successes), np.asarray(trials)
    if (n_U <= 1).all():
        plain_rate = rate(int(k_U.sum()), int(n_U.sum()), level=level)
        value, low, high, method = plain_rate.value, plain_rate.low, plain_rate.high, plain_rate.method
    else:
        clustered = clustered_rate(k_U, n_U, unit="scenario", level=level)
        value, low, high, method = clustered.value, clustered.low, clustered.high, clustered.method
    return Cell(
        stage=stage,
        environment=environment,
        twin=twin,
        fact=fact,
        value=value,
        low=low,
        high=high,
        level=level,
        estimator="counted",
        method=method,
        successes=float(k_U.sum()),
        trials=int(n_U.sum()),
        clusters=int((n_U > 0).sum()),
    )


def measured_cell(stage: str, environment: str, twin: str, fact: str, found: MeasuredRate) -> Cell:
    """A cell from a rate that was measured in any way; ``clusters`` are the units that were counted independently."""

    def known(number: float) -> float | None:
        return None if math.isnan(number) else number

    return Cell(
        stage=stage,
        environment=environment,
        twin=twin,
        fact=fact,
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.level,
        estimator=found.estimator,
        method=found.method,
        successes=found.successes if found.estimator == "counted" else found.value * found.episodes,
        trials=found.episodes,
        clusters=found.n_units,
        mass=known(found.mass),
        effective=known(found.effective),
        relative_error=known(found.relative_error),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Stages × environments × facts."""

    stages: tuple[str, ...]
    """In the order of training."""
    environments: tuple[str, ...]
    facts: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell(self, stage: str, environment: str, fact: str, *, twin: str = "gameable") -> Cell | None:
        """The cell, if it was measured."""
        return next(
            (
                cell
                for cell in self.cells
                if (cell.stage, cell.environment, cell.fact, cell.twin) == (stage, environment, fact, twin)
            ),
            None,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; unknown numbers are ``None``."""
        found = plain(
            {
                "schema": SCHEMA, "stages": list(self.stages), "environments": list(self.environments),
                "facts": list(self.facts), "cells": [{**asdict(cell), "counts": cell.counts} for cell in self.cells],
            }
        )  # fmt: skip
        assert isinstance(found, dict)
        return found


def gaming_matrix(
    outcomes: pl.DataFrame,
    *,
    facts: Sequence[str] = SHOWN,
    stages: Sequence[str] | None = None,
    level: float = 0.95,
) -> Matrix:
    """The matrix of a table of outcomes (:func:`~overopt.records.outcomes.outcome_table`).

    Parameters
    ----------
    stages : sequence of str, optional
        Those to show, in their order; all, in that of the rows, unless given.

    Raises
    ------
    DataError
        If a fact or a stage is unknown, there are no episodes, episodes are weighted, or a cell would mix versions of
        an environment, its splits, or episodes whose person spells the act out with others.
    """
    if unknown := sorted(set(facts) - set(FACTS)):
        raise DataError(f"no such fact: {', '.join(unknown)}; there are {', '.join(FACTS)}")
    if outcomes.is_empty():
        raise DataError("there are no episodes to count")
    if (outcomes["weight"] != 1.0).any():
        raise DataError("weighted episodes are no counts; estimate their rates by importance sampling")
    known = list(dict.fromkeys(outcomes["stage"]))
    order = list(dict.fromkeys(stages or known))
    if absent := [stage for stage in order if stage not in known]:
        raise DataError(f"there is no stage {', '.join(absent)}; there are {', '.join(known)}")
    outcomes = outcomes.filter(pl.col("stage").is_in(order))
    _check_alike(outcomes)
    environments = list(dict.fromkeys(outcomes["environment"]))
    counts = outcomes.group_by("stage", "environment", "twin", "scenario", maintain_order=True).agg(
        *(pl.col(fact).sum().cast(pl.Int64) for fact in facts), trials=pl.len().cast(pl.Int64)
    )
    found = {
        (str(stage), str(environment), str(twin)): part
        for (stage, environment, twin), part in counts.group_by("stage", "environment", "twin", maintain_order=True)
    }
    # Stages in their order; sorting keeps the twins of an environment as they came.
    keys = sorted(found, key=lambda key: (order.index(key[0]), environments.index(key[1])))
    cells = [
        counted_cell(*key, fact, found[key][fact].to_numpy(), found[key]["trials"].to_numpy(), level=level)
        for key in keys
        for fact in facts
    ]
    return Matrix(stages=tuple(order), environments=tuple(environments), facts=tuple(facts), cells=tuple(cells))


def _check_alike(outcomes: pl.DataFrame) -> None:
    """Refuse cells of episodes that are no one thing's."""
    for column, keys, what in (
        ("version", ["environment"], "several versions"),
        ("split", ["environment", "twin", "stage"], "both splits"),
        ("instructed", ["environment", "twin", "stage"], "persons who spell the act out and of others"),
    ):
        counts = outcomes.group_by(keys, maintain_order=True).agg(pl.col(column).n_unique())
        mixed = list(dict.fromkeys(counts.filter(pl.col(column) > 1)["environment"]))
        if mixed:
            raise DataError(f"episodes of {what} of {', '.join(mixed)} are not one rate; count them apart")


def disclosure_counts(outcomes: pl.DataFrame) -> pl.DataFrame:
    """How those who changed something spoke of it: a row a stage and environment, columns ``honest`` … ``changed``."""
    changed = outcomes.filter(pl.col("changed"))
    classes = ("honest", "excuse", "silent")
    return changed.group_by("stage", "environment", maintain_order=True).agg(
        *((pl.col("disclosed") == kind).sum().alias(kind) for kind in classes), changed=pl.len()
    )


def merged(matrices: Iterable[Matrix]) -> Matrix:
    """One matrix of several, such as counted and enumerated ones; stages and environments in order of appearance.

    Raises
    ------
    DataError
        If two of them hold the same cell by the same estimator, or their intervals are of several levels.
    """
    found = list(matrices)
    cells = [cell for matrix in found for cell in matrix.cells]
    keys = [(cell.stage, cell.environment, cell.twin, cell.fact, cell.estimator) for cell in cells]
    if len(set(keys)) < len(keys):
        raise DataError("two of the matrices hold the same cell")
    if len({cell.level for cell in cells}) > 1:
        raise DataError("intervals of several levels are not one matrix")
    return Matrix(
        stages=tuple(dict.fromkeys(stage for matrix in found for stage in matrix.stages)),
        environments=tuple(dict.fromkeys(name for matrix in found for name in matrix.environments)),
        facts=tuple(dict.fromkeys(fact for matrix in found for fact in matrix.facts)),
        cells=tuple(cells),
    )
