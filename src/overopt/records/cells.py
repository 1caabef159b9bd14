"""Cells of other people's files as numbers and texts, and what is wrong with those that are neither."""

import json
from dataclasses import dataclass

import polars as pl

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none"})
"""Spellings of a missing cell, without regard to case and surrounding blanks."""

LARGEST = 1e100
"""Numbers beyond it are refused: their squares, and sums of these, would overflow."""

_DECIMAL_COMMA = r"^[+-]?\d+(,\d+)?([eE][+-]?\d+)?$"


@dataclass(frozen=True, slots=True)
class Cells:
    """Wanted columns as a file holds them, blank lines removed."""

    cells: dict[str, pl.Series]
    row_word: str
    """What a row is called in a message: a line of JSON, a row below the header."""
    row_numbers: pl.Series
    """Number of each row in the file, from 1."""
    comma_is_free: bool
    """Whether a comma can stand for a decimal point."""


def texts(series: pl.Series) -> pl.Series:
    """Strings without surrounding blanks; null where the cell is missing."""
    if series.dtype.is_float():
        # A whole number is one id, however it was stored: 3 and 3.0.
        whole = series.is_finite() & (series == series.round()) & (series.abs() < 2**53)
        text = pl.select(
            pl.when(whole).then(series.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(series.cast(pl.String))
        ).to_series()
    else:
        text = _as_string(series)
    text = text.str.strip_chars()
    return pl.select(pl.when(~text.str.to_lowercase().is_in(list(MISSING))).then(text)).to_series()


def numbers(series: pl.Series, name: str, table: Cells, problems: list[str]) -> pl.Series:
    """Floats of at most ``LARGEST``; null where the cell is missing. What is neither is described in ``problems``."""
    if series.dtype.is_numeric():
        found = series.cast(pl.Float64)
        is_missing = found.is_null() | found.is_nan()
        words = series
    else:
        words = _as_string(series).str.strip_chars()
        is_missing = words.is_null() | words.str.to_lowercase().is_in(list(MISSING))
        found = words.cast(pl.Float64, strict=False)
        if table.comma_is_free and (found.is_null() & ~is_missing).any():
            found = _with_decimal_commas(words, is_missing, found)
    is_text = found.is_null() & ~is_missing
    is_infinite = found.is_infinite().fill_null(False)
    is_huge = ((found.abs() > LARGEST) & found.is_finite()).fill_null(False)
    problem_kinds = ((is_text, "not a number"), (is_infinite, "infinite"), (is_huge, f"beyond {LARGEST:g}"))
    for is_bad, what in problem_kinds:
        if is_bad.any():
            index = int(is_bad.arg_true()[0])
            problems.append(
                f"a cell of {name!r} is {what} in {int(is_bad.sum())} of {len(is_bad)} rows, the first one "
                f"{_shown(words[index])} in {table.row_word} {table.row_numbers[index]}"
            )
    return pl.select(pl.when(~is_missing).then(found)).to_series()


def _with_decimal_commas(words: pl.Series, is_missing: pl.Series, found: pl.Series) -> pl.Series:
    """The column read with decimal commas, if all of it can be."""
    if not words.filter(~is_missing).str.contains(_DECIMAL_COMMA).all():
        return found
    return words.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)


def _as_string(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return series
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        return pl.Series([word(str(value)) if value is not None else None for value in series], dtype=pl.String)
    return series.cast(pl.String)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def word(value: object) -> str | None:
    """A value of JSON as text, strings as they are."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
