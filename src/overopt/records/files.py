"""Other people's files: a few named columns of a CSV, JSON-lines or Parquet file, checked as a whole.

The format is told from the content, never from the name. A row that lacks one of the wanted cells is dropped and
counted; anything else that is wrong is refused, all problems of a file in one sentence.
"""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import polars as pl

from overopt.errors import DataError

Kind = Literal["text", "number"]

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none"})
"""Spellings of a missing cell, without regard to case and surrounding blanks."""

LARGEST = 1e100
"""Numbers beyond it are refused: their squares, and sums of these, would overflow."""

_SEPARATORS = (",", ";", "\t", "|")
_DECIMAL_COMMA = r"^[+-]?\d+(,\d+)?([eE][+-]?\d+)?$"
_SHOWN_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A column to read."""

    name: str
    """As the file spells it."""
    kind: Kind
    """``text`` becomes a string, ``number`` a finite float."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a file holds in the wanted columns."""

    data: pl.DataFrame
    """One column a role, in the order of the file's rows; no cell is missing."""
    missing: int
    """Rows dropped because a wanted cell was empty, ``NA``, ``nan`` or ``null``; blank lines are not counted."""


def read_columns(path: Path, wanted: Mapping[str, Column]) -> Columns:
    """Read the columns ``wanted``, by role, from a CSV, JSON-lines, JSON or Parquet file.

    CSV may be separated by commas, semicolons, tabs or bars, start with a byte-order mark, be UTF-8 or UTF-16, be
    gzipped, and use decimal commas where commas do not separate.

    Raises
    ------
    DataError
        The file cannot be read, is empty, lacks a column or holds one twice, has rows of different lengths, or holds
        text, infinities or numbers beyond 1e100 where numbers belong. The message names the file and the first place.
    """
    table = _text_or_native(path, [column.name for column in wanted.values()])
    problems: list[str] = []
    columns = []
    for role, column in wanted.items():
        series = table.cells[column.name]
        series = _numbers(series, column.name, table, problems) if column.kind == "number" else _texts(series)
        columns.append(series.alias(role))
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}")
    data = pl.DataFrame(columns)
    complete = data.filter(~pl.any_horizontal(pl.all().is_null()))
    missing = data.height - complete.height
    if complete.height == 0:
        reason = f"all {missing} rows lack a wanted value" if missing else "it has column names but no rows"
        raise DataError(f"{path}: nothing to analyse, {reason}")
    return Columns(data=complete, missing=missing)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The wanted columns as the file holds them, blank lines removed."""

    cells: dict[str, pl.Series]
    row_word: str
    """What a row is called in a message: a line of JSON, a row below the header."""
    row_numbers: pl.Series
    """Number of each row in the file, from 1."""
    comma_is_free: bool
    """Whether a comma can stand for a decimal point."""


def _text_or_native(path: Path, names: Sequence[str]) -> _Cells:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is gzipped and damaged: {error}") from error
    if content[:4] == b"PAR1":
        return _parquet(path, content, names)
    if content[:4] == b"PK\x03\x04":
        raise DataError(f"{path} is a ZIP archive or an Excel workbook; save it as CSV")
    text = _decoded(path, content)
    start = text.lstrip()
    if not start:
        raise DataError(f"{path} is empty")
    if start[0] in "{[":
        return _json(path, text, names)
    return _csv(path, text, names)


def _decoded(path: Path, content: bytes) -> str:
    """Text without a byte-order mark, lines ended by a line feed."""
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8 text: line {line} holds bytes that do not decode; save it as UTF-8"
        ) from (error)
    if "\x00" in text:
        raise DataError(f"{path} is neither CSV, JSON lines nor Parquet: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parquet(path: Path, content: bytes, names: Sequence[str]) -> _Cells:
    try:
        held = list(pl.read_parquet_schema(io.BytesIO(content)))
        _check_columns(path, held, names)
        frame = pl.read_parquet(io.BytesIO(content), columns=list(dict.fromkeys(names)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path} is a damaged Parquet file: {_first_line(error)}") from error
    return _Cells({name: frame[name] for name in names}, "row", pl.int_range(1, frame.height + 1, eager=True), True)


def _json(path: Path, text: str, names: Sequence[str]) -> _Cells:
    """Objects one a line, or one array of objects."""
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} starts like a JSON array and is not one: {error}") from error
        entries: Iterable[tuple[int, object]] = enumerate(items, start=1)
        row_word = "entry"
    else:
        entries = _json_lines(path, text)
        row_word = "line"
    for number, item in entries:
        if not isinstance(item, dict):
            raise DataError(f"{path}: {row_word} {number} is not a JSON object")
        rows.append(item)
        numbers.append(number)
    _check_columns(path, list(dict.fromkeys(key for row in rows for key in row)), names)
    cells = {name: _object_series([row.get(name) for row in rows]) for name in names}
    return _Cells(cells, row_word, pl.Series(numbers, dtype=pl.Int64), True)


def _json_lines(path: Path, text: str) -> Iterable[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: line {number} is not JSON: {error}") from error


def _object_series(values: list[object]) -> pl.Series:
    """Numbers as they are, if all are; else everything in the words of the file."""
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return pl.Series([None if value is None else _as_float(value) for value in values], dtype=pl.Float64)
    return pl.Series([_word(value) for value in values], dtype=pl.String)


def _as_float(value: object) -> float:
    assert isinstance(value, int | float)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _word(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv(path: Path, text: str, names: Sequence[str]) -> _Cells:
    text = text.lstrip("\n")
    first_line = text.split("\n", 1)[0]
    headers = {separator: _header(first_line, separator) for separator in _SEPARATORS}
    separator = next(
        (separator for separator, header in headers.items() if set(names) <= set(header)),
        max(headers, key=lambda separator: len(headers[separator])),
    )
    header = headers[separator]
    _check_columns(path, header, names)
    positions = [f"{position}" for position in range(len(header))]
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode()),
            separator=separator,
            infer_schema=False,
        )
        frame.columns = positions
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path} is not a regular CSV file: {_irregularity(text, separator, error)}") from error
    frame = frame.with_columns(pl.int_range(1, pl.len() + 1).alias("row"))
    frame = frame.filter(~pl.all_horizontal(pl.col(positions).is_null() | (pl.col(positions) == "")))
    cells = {name: frame[positions[header.index(name)]] for name in names}
    return _Cells(cells, "row", frame["row"], separator != ",")


def _header(line: str, separator: str) -> list[str]:
    fields = next(csv.reader([line], delimiter=separator), [])
    return [field.strip() for field in fields]


def _irregularity(text: str, separator: str, error: BaseException) -> str:
    """Where a CSV file breaks its own rules, found with the standard library's strict reader."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        width = len(next(reader))
        for number, row in enumerate(reader, start=1):
            if len(row) > width:
                return f"row {number} has {len(row)} fields, its header {width}"
    except csv.Error as problem:
        return f"line {reader.line_num}: {problem}"
    if '"' in text:
        return "a quotation mark inside a field must be doubled, and the field stand between quotation marks"
    return _first_line(error)


def _check_columns(path: Path, held: Sequence[str], names: Sequence[str]) -> None:
    absent = [name for name in dict.fromkeys(names) if name not in held]
    if absent:
        shown = ", ".join(held[:_SHOWN_COLUMNS]) + (", …" if len(held) > _SHOWN_COLUMNS else "")
        hints = [match for name in absent for match in get_close_matches(name, held, n=1)]
        hint = f"; did you mean {' and '.join(hints)}?" if hints else ""
        noun = "column" if len(absent) == 1 else "columns"
        raise DataError(f"{path} has no {noun} {', '.join(map(repr, absent))}; it has {shown or 'none'}{hint}")
    twice = [name for name in dict.fromkeys(names) if held.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} {held.count(twice[0])} times; rename all but one")


def _texts(series: pl.Series) -> pl.Series:
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


def _numbers(series: pl.Series, name: str, table: _Cells, problems: list[str]) -> pl.Series:
    """Floats of at most ``LARGEST``; null where the cell is missing. What is neither is described in ``problems``."""
    if series.dtype.is_numeric():
        numbers = series.cast(pl.Float64)
        is_missing = numbers.is_null() | numbers.is_nan()
        words = series
    else:
        words = _as_string(series).str.strip_chars()
        is_missing = words.is_null() | words.str.to_lowercase().is_in(list(MISSING))
        numbers = words.cast(pl.Float64, strict=False)
        if table.comma_is_free and (numbers.is_null() & ~is_missing).any():
            numbers = _with_decimal_commas(words, is_missing, numbers)
    is_text = numbers.is_null() & ~is_missing
    is_infinite = numbers.is_infinite().fill_null(False)
    is_huge = ((numbers.abs() > LARGEST) & numbers.is_finite()).fill_null(False)
    problem_kinds = ((is_text, "not a number"), (is_infinite, "infinite"), (is_huge, f"beyond {LARGEST:g}"))
    for is_bad, what in problem_kinds:
        if is_bad.any():
            index = int(is_bad.arg_true()[0])
            problems.append(
                f"a cell of {name!r} is {what} in {int(is_bad.sum())} of {len(is_bad)} rows, the first one "
                f"{_shown(words[index])} in {table.row_word} {table.row_numbers[index]}"
            )
    return pl.select(pl.when(~is_missing).then(numbers)).to_series()


def _with_decimal_commas(words: pl.Series, is_missing: pl.Series, numbers: pl.Series) -> pl.Series:
    """The column read with decimal commas, if all of it can be."""
    if not words.filter(~is_missing).str.contains(_DECIMAL_COMMA).all():
        return numbers
    return words.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)


def _as_string(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return series
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        return pl.Series([_word(str(value)) if value is not None else None for value in series], dtype=pl.String)
    return series.cast(pl.String)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
