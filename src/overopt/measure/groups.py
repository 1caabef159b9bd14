"""Groups of rows that a file names, and rows of one step within them."""

from collections.abc import Iterable

import polars as pl


def groups_without_points(incomplete: pl.DataFrame | None, groups: Iterable[str | None]) -> list[str]:
    """Groups of which only incomplete rows are there, in the order of the file: they are reported, not passed over."""
    if incomplete is None or "group" not in incomplete.columns:
        return []
    known = set(groups)
    names = incomplete["group"].drop_nulls().unique(maintain_order=True).to_list()
    return [str(name) for name in names if name not in known]


def one_row_a_step(points: pl.DataFrame) -> tuple[pl.DataFrame, int | None]:
    """Means of the rows of one ``step`` (and ``group``), which leaves, and of how many rows: ``None`` if of one each.

    A table with one row a reply is thereby read as one point a step. ``gold_se`` becomes that of a mean of independent
    rows, and unknown where one of them lacks it.
    """
    if "step" not in points.columns:
        return points, None
    keys = [name for name in ("group", "step") if name in points.columns]
    if points.select(keys).n_unique() == points.height:
        return points.drop("step"), None
    means = [pl.col(name).mean() for name in ("kl", "gold")]
    if "gold_se" in points.columns:
        known = pl.col("gold_se").is_not_null().all()
        means.append(pl.when(known).then((pl.col("gold_se") ** 2).sum().sqrt() / pl.len()).alias("gold_se"))
    return points.group_by(keys, maintain_order=True).agg(means).drop("step"), points.height
