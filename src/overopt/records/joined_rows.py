"""Rows of one step put together, for logs whose training and evaluation numbers stand on rows of their own.

Axes: R rows as a file holds them. Rows that lack nothing are never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from overopt.errors import DataError

_ORDER = "row of the file"
_WHOLE = "lacks nothing"


@dataclass(frozen=True, slots=True)
class Joined:
    """A table some of whose rows were put together from several."""

    data: pl.DataFrame
    """The rows of the file, those that were joined standing where the first of them stood."""
    rows: int
    """How many rows were joined."""
    into: int
    """How many rows they became."""


def join_rows(data: pl.DataFrame, keys: Sequence[str], needed: Sequence[str], welcome: Sequence[str] = ()) -> Joined:
    """Put rows together that agree in ``keys``, lack some of the columns ``needed`` and have them all between them.

    Columns ``welcome`` are joined too where a row of these keys has them. Where a row that lacks nothing has the same
    keys, nothing is joined: the others add nothing to it.

    Raises
    ------
    DataError
        If rows that would be joined have two values in one column, since taking either or their mean would be a guess.
    """
    asked = [name for name in needed if name not in keys]
    values = [*asked, *(name for name in welcome if name not in keys)]
    data = data.with_row_index(_ORDER)
    has_keys = pl.all_horizontal(pl.col(key).is_not_null() for key in keys)
    has = {name: pl.col(name).is_not_null() for name in values}
    is_whole = pl.all_horizontal(
        has[name] if name in asked else has[name] | ~has[name].any().over(keys) for name in values
    )
    parts = data.filter(has_keys).with_columns(is_whole.alias(_WHOLE)).filter(~pl.col(_WHOLE).any().over(keys))
    # A row with none of the values (the summary at the end of a log) is no part of anything.
    parts = parts.drop(_WHOLE).filter(pl.any_horizontal(has.values()))
    parts = parts.filter(pl.all_horizontal(has[name].any().over(keys) for name in asked))
    if parts.height == 0:
        return Joined(data.drop(_ORDER), 0, 0)
    others = [name for name in data.columns if name not in (*keys, _ORDER)]
    counts = parts.group_by(keys, maintain_order=True).agg(pl.col(name).drop_nulls().n_unique() for name in values)
    for name in values:
        clash = counts.filter(pl.col(name) > 1)
        if clash.height:
            _refuse(parts, clash.row(0, named=True), keys, name, clash.height)
    joined = parts.group_by(keys, maintain_order=True).agg(
        pl.col(_ORDER).first(), *(pl.col(name).drop_nulls().first() for name in others)
    )
    rest = data.join(parts.select(_ORDER), on=_ORDER, how="anti")
    together = pl.concat([rest, joined.select(data.columns)]).sort(_ORDER).drop(_ORDER)
    return Joined(together, parts.height, joined.height)


def _refuse(parts: pl.DataFrame, clash: dict[str, object], keys: Sequence[str], name: str, clashes: int) -> None:
    at = pl.all_horizontal(pl.col(key) == clash[key] for key in keys)
    first, second = parts.filter(at)[name].drop_nulls().unique(maintain_order=True).head(2)
    where = ", ".join(f"{key} {_shown(clash[key])}" for key in reversed(keys))
    more = f" (and at {clashes - 1} more)" if clashes > 1 else ""
    raise DataError(
        f"{where}{more} has two values of {name} on rows that are to be joined, {_shown(first)} and {_shown(second)}; "
        "keep one, or name the column that tells the rows apart"
    )


def _shown(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
