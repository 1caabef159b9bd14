"""Other people's files: a few named columns of a CSV, JSON-lines or Parquet file, checked as a whole.

The format is told from the content, never from the name. A row that lacks one of the wanted cells is dropped and
counted; anything else that is wrong is refused, all problems of a file in one sentence. Rows that hold the wanted
cells of one step between them can be joined, as logs of trainers need it.
"""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from overopt.errors import DataError
from overopt.records.cells import Cells, numbers, texts, word
from overopt.records.column_names import absent_columns
from overopt.records.joined_rows import join_rows

Kind = Literal["text", "number"]

_SEPARATORS = (",", ";", "\t", "|")
_LOG = "log_history"


@dataclass(frozen=True, slots=True)
class Column:
    """A column to read."""

    name: str
    """As the file spells it."""
    kind: Kind
    """``text`` becomes a string, ``number`` a finite float."""
    option: str = ""
    """What the user calls it, for messages, such as ``--prompt``; the role if empty."""
    is_optional: bool = False
    """Whether the file may lack it or hold something else there, and a row may lack it."""
    may_be_blank: bool = False
    """Whether a row may lack it, though the file must hold it."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a file holds in the wanted columns."""

    data: pl.DataFrame
    """One column a role, in the order of the file's rows; only cells of columns that rows may lack are missing."""
    missing: int
    """Rows dropped because a wanted cell was empty, ``NA``, ``nan`` or ``null``; blank lines are not counted."""
    incomplete: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Those rows, with what they hold."""
    joined: int = 0
    """Rows that were put together with others of the same step."""
    joined_into: int = 0
    """Rows that these became."""


def read_columns(path: Path, wanted: Mapping[str, Column], *, join_on: Sequence[str] = ()) -> Columns:
    """Read the columns ``wanted``, by role, from a CSV, JSON-lines, JSON or Parquet file.

    CSV may be separated by commas, semicolons, tabs or bars, start with a byte-order mark, be UTF-8 or UTF-16, be
    gzipped, and use decimal commas where commas do not separate. JSON is one object a line, one array of objects, or
    one object with such an array under ``log_history``, as in the ``trainer_state.json`` of transformers.

    Parameters
    ----------
    join_on : sequence of str
        Roles, such as step and group. Rows that agree in them, lack wanted cells and have them all between them become
        one row (``joined_rows.join_rows``). Nothing is joined without the first role; others that were not read are
        ignored.

    Raises
    ------
    DataError
        The file cannot be read, is empty, lacks a column or holds one twice, has rows of different lengths, or holds
        text, infinities or numbers beyond 1e100 where numbers belong; or rows to be joined disagree. The message names
        the file and the first place.
    """
    table = _text_or_native(path, wanted)
    problems: list[str] = []
    columns = {}
    for role, column in wanted.items():
        if column.name not in table.cells:
            continue
        own: list[str] = []
        series = table.cells[column.name]
        series = numbers(series, column.name, table, own) if column.kind == "number" else texts(series)
        if not (own and column.is_optional):
            columns[role] = series.alias(role)
            problems += own
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}")
    data = pl.DataFrame(list(columns.values()))
    needed = [role for role in columns if not (wanted[role].is_optional or wanted[role].may_be_blank)]
    lacks = pl.any_horizontal(pl.col(role).is_null() for role in needed)
    keys = [role for role in join_on if role in columns]
    joined = into = 0
    if keys and keys[0] == join_on[0]:
        try:
            found = join_rows(data, keys, needed, [role for role in columns if wanted[role].may_be_blank])
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        data, joined, into = found.data, found.rows, found.into
    complete = data.filter(~lacks)
    missing = data.height - complete.height
    if complete.height == 0:
        if not missing:
            raise DataError(f"{path}: nothing to analyse, it has column names but no rows")
        reason = _why_nothing(data.select(needed), wanted)
        if join_on and join_on[0] not in columns:
            reason += f"; --{join_on[0]} COL joins rows that share a {join_on[0]}"
        raise DataError(f"{path}: nothing to analyse, {reason}")
    incomplete = data.filter(lacks)
    return Columns(data=complete, missing=missing, incomplete=incomplete, joined=joined, joined_into=into)


def _why_nothing(data: pl.DataFrame, wanted: Mapping[str, Column]) -> str:
    """Why no row has all of the wanted cells."""
    empty = [wanted[role].name for role in data.columns if data[role].null_count() == data.height]
    if empty:
        return f"all {data.height} rows lack {' and '.join(map(repr, dict.fromkeys(empty)))}"
    return f"all {data.height} rows lack one of {', '.join(repr(wanted[role].name) for role in data.columns)}"


def _text_or_native(path: Path, wanted: Mapping[str, Column]) -> Cells:
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
        return _parquet(path, content, wanted)
    if content[:4] == b"PK\x03\x04":
        raise DataError(f"{path} is a ZIP archive or an Excel workbook; save it as CSV")
    text = _decoded(path, content)
    start = text.lstrip()
    if not start:
        raise DataError(f"{path} is empty")
    if start[0] in "{[":
        return _json(path, text, wanted)
    return _csv(path, text, wanted)


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


def _parquet(path: Path, content: bytes, wanted: Mapping[str, Column]) -> Cells:
    try:
        held = list(pl.read_parquet_schema(io.BytesIO(content)))
        names = _names_to_read(path, held, wanted)
        frame = pl.read_parquet(io.BytesIO(content), columns=names)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path} is a damaged Parquet file: {_first_line(error)}") from error
    return Cells({name: frame[name] for name in names}, "row", pl.int_range(1, frame.height + 1, eager=True), True)


def _json(path: Path, text: str, wanted: Mapping[str, Column]) -> Cells:
    """Objects one a line, one array of objects, or one object that holds such an array."""
    rows: list[dict[str, object]] = []
    places: list[int] = []
    row_word = "entry"
    entries: Iterable[tuple[int, object]]
    if text.lstrip().startswith("["):
        try:
            entries = enumerate(json.loads(text), start=1)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} starts like a JSON array and is not one: {error}") from error
    elif (whole := _lone_object(text)) is not None and (_LOG in whole or "\n" in text.strip()):
        log = whole.get(_LOG, [whole])
        if not isinstance(log, list) or not log:
            raise DataError(f"{path}: {_LOG!r} of a trainer's state must be a list of objects, and not empty")
        entries = enumerate(log, start=1)
    else:
        entries = _json_lines(path, text)
        row_word = "line"
    for number, item in entries:
        if not isinstance(item, dict):
            raise DataError(f"{path}: {row_word} {number} is not a JSON object")
        rows.append(item)
        places.append(number)
    names = _names_to_read(path, list(dict.fromkeys(key for row in rows for key in row)), wanted)
    cells = {name: _object_series([row.get(name) for row in rows]) for name in names}
    return Cells(cells, row_word, pl.Series(places, dtype=pl.Int64), True)


def _lone_object(text: str) -> dict[str, object] | None:
    """The object that the whole text is, on however many lines; ``None`` where it is something else."""
    try:
        first, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    return first if isinstance(first, dict) and not text.lstrip()[end:].strip() else None


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
    return pl.Series([word(value) for value in values], dtype=pl.String)


def _as_float(value: object) -> float:
    assert isinstance(value, int | float)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _csv(path: Path, text: str, wanted: Mapping[str, Column]) -> Cells:
    text = text.lstrip("\n")
    first_line = text.split("\n", 1)[0]
    headers = {separator: _header(first_line, separator) for separator in _SEPARATORS}
    needed = {column.name for column in wanted.values() if not column.is_optional}
    separator = next(
        (separator for separator, header in headers.items() if needed <= set(header)),
        max(headers, key=lambda separator: len(headers[separator])),
    )
    header = headers[separator]
    names = _names_to_read(path, header, wanted)
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
    if len(header) > 1 and frame[positions[-1]].null_count():
        # polars fills up short rows, and says of neither them nor empty cells which they were.
        short = _irregular_row(text, separator)
        if short:
            raise DataError(f"{path} is not a regular CSV file: {short}")
    frame = frame.with_columns(pl.int_range(1, pl.len() + 1).alias("row"))
    frame = frame.filter(~pl.all_horizontal(pl.col(positions).is_null() | (pl.col(positions).str.strip_chars() == "")))
    cells = {name: frame[positions[header.index(name)]] for name in names}
    return Cells(cells, "row", frame["row"], separator != ",")


def _header(line: str, separator: str) -> list[str]:
    fields = next(csv.reader([line], delimiter=separator), [])
    return [field.strip() for field in fields]


def _irregularity(text: str, separator: str, error: BaseException) -> str:
    """Where a CSV file breaks its own rules, found with the standard library's strict reader."""
    found = _irregular_row(text, separator)
    if found:
        return found
    if '"' in text:
        return "a quotation mark inside a field must be doubled, and the field stand between quotation marks"
    return _first_line(error)


def _irregular_row(text: str, separator: str) -> str | None:
    """The first row of another length than the header; blank lines have none."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        width = len(next(reader))
        for number, row in enumerate(reader, start=1):
            if len(row) != width and any(cell.strip() for cell in row):
                noun = "field" if len(row) == 1 else "fields"
                return f"row {number} has {len(row)} {noun}, its header {width}"
    except csv.Error as problem:
        return f"line {reader.line_num}: {problem}"
    return None


def _names_to_read(path: Path, held: Sequence[str], wanted: Mapping[str, Column]) -> list[str]:
    """The wanted columns that the file holds, each once; refuses a file that lacks one or holds it twice."""
    needed = {
        column.option or role: column.name for role, column in wanted.items() if not column.is_optional
    }  # fmt: skip
    problem = absent_columns(held, needed)
    if problem:
        raise DataError(f"{path} {problem}")
    found = []
    for column in wanted.values():
        times = held.count(column.name)
        if times > 1 and not column.is_optional:
            raise DataError(f"{path} has the column {column.name!r} {times} times; rename all but one")
        if times == 1:
            found.append(column.name)
    return list(dict.fromkeys(found))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
