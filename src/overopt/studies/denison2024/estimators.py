"""Do rates that are counted, weighted and split agree with the sums over all episodes?"""

import numpy as np
import polars as pl
from scipy.special import ndtr

from overopt.records.answers import Answer, Claim
from overopt.records.tables import read_table
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import UNKNOWN
from overopt.studies.denison2024.estimator_views import PER, RARE, cell_table, estimator_figures, rare_table
from overopt.studies.denison2024.words import CAVEATS, factor, mean_interval, observed_claim
from overopt.studies.denison2024.worlds import Worlds, stage_titles
from overopt.studies.study_tables import StudyTables

LIMIT = 3.3
"""Standard deviations within which every count should be."""
MOST = 40.0
"""Standard deviations that stand for more than a tail probability can say."""
RARE_LIMIT = 3.0
"""Reported standard errors within which every weighted rate should be."""
COVERED = 1.0
"""Of a million: the probability that may be left out of an enumeration."""
ENOUGH = 10
"""Episodes that are expected with a fact, and without it, from which on a count is about normal."""


def answer(tables: StudyTables) -> Answer:
    """Every estimator beside the enumeration."""
    worlds = Worlds(tables)
    cells, draws = _cells(worlds), _draws(worlds)
    config = worlds.config
    return Answer(
        id="estimators",
        title="Estimators beside each other",
        question="Do counting, weighting and splitting find the rates that enumeration finds?",
        how=(
            "The policies of the first seed of rho 1, at the start and after each stage, were enumerated: every "
            f"episode of more than {config.tolerance:g} probability was followed, so that each rate is known to lie "
            f"between what was found and that plus what was left out. Beside it {config.counted:,} episodes of each "
            "environment, as many of each scenario, were drawn and counted; the bounds of counts are those of Clopper "
            "and Pearson, since episodes of a scenario are independent and the scenarios are all there are. The rare "
            f"fact, raising the reward and neutralising its guard, was estimated {config.rare_draws} times from "
            "independent draws in three ways: by episodes of a tuned proposal, weighted back; by splitting at four "
            "levels on the way; and by counting as many episodes as weighting took, tuning included. Estimates are "
            "judged against the enumeration of the same policy, so that no other seed enters: intervals are over cells "
            "or draws."
        ),
        claims=[*_cell_claims(worlds, cells), *_rare_claims(worlds, draws)],
        figures=estimator_figures(worlds, cells, draws),
        tables=[cell_table(cells), *rare_table(worlds, draws)],
        caveats=[
            CAVEATS[0],
            "All estimators play the same game by the same rules: that they agree says nothing about a rule that is "
            "wrong. Rules have tests of their own.",
            "Other languages than this grammar cannot be enumerated; there the estimators stand alone.",
        ],
    )


def _cells(worlds: Worlds) -> pl.DataFrame:
    """Counts of all facts with their bounds, by ``place``, ``stage``, ``environment`` and ``fact``."""
    found = _estimates(worlds).filter(draw=0)
    n, p = pl.col("episodes"), (pl.col("exact_low") + pl.col("exact_high")) / 2
    return found.with_columns(
        # More than a tail probability can say, such as a count of what cannot be.
        z=pl.col("deviation").clip(-MOST, MOST),
        missing=pl.col("exact_high") - pl.col("exact_low"),
        is_open=(pl.col("exact_low") > 0) & (pl.col("exact_high") < 1),
        is_normal=(n * p >= ENOUGH) & (n * (1 - p) >= ENOUGH),
        normal_z=(pl.col("successes") - n * p) / (n * p * (1 - p)).sqrt(),
    )


def _draws(worlds: Worlds) -> pl.DataFrame:
    """The independent estimates of the rare rate."""
    return _estimates(worlds).filter(pl.col("draw") > 0)


def _estimates(worlds: Worlds) -> pl.DataFrame:
    arm = worlds.arms.main
    folder, places = worlds.tables.root / "estimates", range(len(arm.stages) + 1)
    paths = [folder / f"{worlds.node(arm, 0, place)}.parquet" for place in places]
    frames = [
        read_table(path, "game_estimates").with_columns(place=pl.lit(place), stage=pl.lit(title))
        for place, (path, title) in enumerate(zip(paths, stage_titles(arm), strict=True))
    ]
    return pl.concat(frames)


def _cell_claims(worlds: Worlds, cells: pl.DataFrame) -> list[Claim]:
    m = int(cells["is_open"].sum())
    largest = float(cells["z"].abs().max())  # type: ignore[arg-type]
    missing = 1e6 * float(cells["missing"].max())  # type: ignore[arg-type]
    counted = (
        f"{m} cells of {cells['place'].n_unique()} policies and {cells['environment'].n_unique()} environments, "
        f"{worlds.config.counted:,} episodes each"
    )
    chance = (
        f"The largest of {m} independent cells is expected at {expected_maximum(m):.2f} or less by chance, and above "
        f"{LIMIT} in {100 * chance_above(LIMIT, m):.2g} % of such tables; facts of one draw depend on each other, "
        "which makes both smaller."
        if m
        else "No rate lies between 0 and 1."
    )
    group_z = _mean_squares(cells)
    value, ci = mean_interval(group_z)
    return [
        observed_claim(
            "estimators-largest",
            f"largest deviation of a count from the enumeration in any cell, held against {LIMIT}",
            largest,
            limit=LIMIT,
            counted=counted,
            unit="standard deviations",
            sentences={
                "above": f"The worst count is {{value}} from the enumeration, more than {LIMIT}: one of the two is "
                "wrong, or it is one of the rare tables.",
                "below": f"Every count is within {LIMIT} standard deviations of the enumeration: {{value}} at the "
                "most.",
                "open": f"The worst count is {LIMIT} standard deviations from the enumeration.",
            },
            note=chance + (f" {MOST:g} stands for more than can be said." if largest >= MOST else ""),
        ),
        Claim(
            id="estimators-scatter",
            what="mean square of the deviations of counts, in standard deviations of the binomial distribution, 1 if "
            "chance is all there is; within 0.5 counts as that",
            value=value,
            ci=ci,
            counted=f"{len(group_z)} independent draws (a policy in an environment), facts of each averaged first",
            reference=1.0,
            margin=0.5,
            sentences={
                "above": "Counts scatter more than chance allows: mean square {value} {ci}.",
                "below": "Counts scatter less than chance makes them: mean square {value} {ci}.",
                "equal": "Counts scatter about the enumeration as chance makes them: mean square {value} {ci}.",
                "open": "Whether counts scatter as chance makes them is open: mean square {value} {ci}.",
            },
            note=f"Of facts that {ENOUGH} episodes at least are expected to show, and as many not; one of those that "
            "are the same episodes."
            if value is not None
            else f"no fact is expected in {ENOUGH} episodes and missing in as many",
        ),
        observed_claim(
            "estimators-covered",
            f"largest probability of an environment's episodes that enumeration left out, held against {COVERED:g} of "
            "a million",
            missing,
            limit=COVERED,
            counted=counted,
            unit="of a million",
            digits=3,
            sentences={
                "above": f"Enumeration leaves out more than {COVERED:g} of a million: {{value}} where it is most.",
                "below": f"Enumeration leaves out less than {COVERED:g} of a million everywhere: {{value}} where it is "
                "most.",
                "open": f"Enumeration leaves out {COVERED:g} of a million where it is most.",
            },
        ),
    ]


def expected_maximum(n: int) -> float:
    """Of the sizes of ``n`` independent normal deviates; an upper bound for dependent ones (Šidák 1967).

    >>> round(expected_maximum(1), 3), round(expected_maximum(100), 2)
    (0.798, 2.75)
    """
    x = np.linspace(0.0, 12.0, 12_001)
    return float(np.trapezoid(1 - _within(x, n), x))


def chance_above(limit: float, n: int) -> float:
    """That the largest size of ``n`` independent normal deviates exceeds ``limit``.

    >>> round(chance_above(1.96, 1), 3)
    0.05
    """
    return float(1 - _within(np.array(limit), n))


def _within(x: FloatArray, n: int) -> FloatArray:
    """Chance that all ``n`` are within ``x``."""
    return np.asarray((1 - 2 * ndtr(-x)) ** n)


def _mean_squares(cells: pl.DataFrame) -> FloatArray:
    """One number a draw: the mean over its facts that are about normal, each once."""
    normal = cells.filter("is_normal").unique(
        ["place", "environment", "exact_low", "successes"], keep="first", maintain_order=True
    )
    groups = normal.group_by("place", "environment", maintain_order=True).agg((pl.col("normal_z") ** 2).mean())
    return groups["normal_z"].to_numpy()


def _rare_claims(worlds: Worlds, draws: pl.DataFrame) -> list[Claim]:
    claims = [_bias_claim(draws, estimator) for estimator in RARE]
    start = draws.filter(place=0)
    exact = float(start["exact_low"][0])
    weighted = start.filter(estimator="weighted")
    episodes = int(weighted["episodes"][0])
    at = f"at the start, where it is {PER * exact:.3g} of {PER:,}"
    n = f"{worlds.config.rare_draws} independent draws"
    value, ci = mean_interval(100 * weighted["relative_error"].to_numpy())
    unseen = "" if value is not None else "a draw met no such episode, and has no relative error"
    claims.append(
        Claim(
            id="estimators-error",
            what=f"relative error of the weighted rate, {at}, from {episodes:,} episodes, held against 30 %",
            value=value,
            ci=ci,
            counted=n,
            unit="%",
            digits=1,
            reference=30.0,
            sentences={
                "above": "Weighting knows the rate to no better than 30 %: {value} {ci}.",
                "below": f"With {episodes:,} episodes weighting knows the rate to {{value}} {{ci}}, better than 30 %.",
                "open": "Whether weighting knows the rate to 30 % is open: {value} {ci}.",
            },
            note=unseen,
        )
    )
    claims += [_own_error_claim(draws, estimator) for estimator in ("weighted", "split")]
    nothing = "" if exact > 0 else "enumeration found no such episode"
    return [*claims, _budget_claim(exact, weighted, at, n, nothing or unseen)]


def _bias_claim(draws: pl.DataFrame, estimator: str) -> Claim:
    """Whether an estimator is right on average, over the draws of all policies."""
    own = draws.filter(pl.col("estimator") == estimator, pl.col("exact_low") > 0)
    value, ci = mean_interval((own["value"] / own["exact_low"]).to_numpy())
    words = RARE[estimator]
    return Claim(
        id=f"estimators-{estimator}",
        what=f"mean of the rate of the rare fact, {words}, over the exact one; within 30 % counts as the same",
        value=value,
        ci=ci,
        counted=f"{len(own)} independent draws of {own['place'].n_unique()} policies",
        reference=1.0,
        margin=0.3,
        sentences={
            "above": f"The rate of the rare fact, {words}, is too high on average: {{value}} times the exact one "
            "{ci}.",
            "below": f"The rate of the rare fact, {words}, is too low on average: {{value}} times the exact one "
            "{ci}.",
            "equal": f"The rate of the rare fact, {words}, is right on average within 30 %: {{value}} times the exact "
            "one {ci}.",
            "open": f"Whether the rate of the rare fact, {words}, is right on average within 30 % is open: {{value}} "
            "times the exact one {ci}.",
        },
        note="" if value is not None else "enumeration found no such episode",
    )


def _own_error_claim(draws: pl.DataFrame, estimator: str) -> Claim:
    """Whether an estimator knows its own error."""
    every = draws.filter(estimator=estimator)["deviation"].to_numpy()
    every = every[np.isfinite(every)]
    few = (
        " Where few runs reach the last level, an error that is estimated from them is too small as often as the rate."
        if estimator == "split"
        else ""
    )
    return observed_claim(
        f"estimators-{estimator}-largest",
        f"largest deviation of a {estimator} rate from the exact one, held against {RARE_LIMIT:g}",
        float(np.abs(every).max()) if every.size else None,
        limit=RARE_LIMIT,
        counted=f"{every.size} estimates of {draws['place'].n_unique()} policies",
        unit="reported standard errors",
        sentences={
            "above": f"Not every {estimator} rate is within {RARE_LIMIT:g} of its own standard errors: {{value}} at "
            "the most.",
            "below": f"Every {estimator} rate is within {RARE_LIMIT:g} of its own standard errors: {{value}} at the "
            "most.",
            "open": f"The worst {estimator} rate is {RARE_LIMIT:g} of its standard errors away.",
        },
        note=f"The largest of {every.size} is expected at {expected_maximum(every.size):.2f} by chance.{few}"
        if every.size
        else "no such episode was met in any draw",
    )


def _budget_claim(exact: float, weighted: pl.DataFrame, at: str, n: str, note: str) -> Claim:
    """How many episodes counting would have to draw to know the rate as well."""
    error, episodes = weighted["relative_error"].to_numpy(), weighted["episodes"].to_numpy().astype(np.float64)
    value, ci = (None, UNKNOWN) if note else factor(episodes, (1 - exact) / (exact * error**2))
    return Claim(
        id="estimators-budget",
        what=f"episodes that counting would need for the relative error of weighting over those that weighting took, "
        f"{at}",
        value=value,
        ci=ci,
        counted=n,
        digits=1,
        reference=1.0,
        sentences={
            "above": "Counting would need {value} times as many episodes {ci} to know the rate as well.",
            "below": "Counting would need fewer episodes to know the rate as well: {value} times as many {ci}.",
            "open": "Whether weighting saves episodes is open: counting would need {value} times as many {ci}.",
        },
        note=note,
    )
