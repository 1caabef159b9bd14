"""Groups of rows that a file names."""

from collections.abc import Iterable

import polars as pl


def groups_without_points(incomplete: pl.DataFrame | None, groups: Iterable[str | None]) -> list[str]:
    """Groups of which only incomplete rows are there, in the order of the file: they are reported, not passed over."""
    if incomplete is None or "group" not in incomplete.columns:
        return []
    known = set(groups)
    names = incomplete["group"].drop_nulls().unique(maintain_order=True).to_list()
    return [str(name) for name in names if name not in known]
