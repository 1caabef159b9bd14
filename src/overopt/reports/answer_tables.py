"""Tables of answers: as a page shows them, and as CSV files that keep every digit and run no formula."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.reports.answer_scales import label
from overopt.reports.numbers import UNKNOWN, count, decimal, interval, is_known

Row = Mapping[str, Any]  # Any: the cells of a table in JSON

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of a table on a page."""

    name: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A table as a page shows it: each cell a text and, where it has one, an interval."""

    headings: list[Heading]
    rows: list[list[tuple[str, str]]]


def shown_table(table: Mapping[str, Any]) -> Shown:
    """The columns of a table in reading order; whole numbers stay whole, what is unknown is a dash."""
    rows = list(table.get("rows") or [])
    digits = table.get("digits")
    digits = digits if isinstance(digits, int) else 3
    columns = dict(table.get("columns") or {name: name for name in column_names(rows)})
    kinds = {column: _is_number(rows, column) for column in columns}
    whole = {
        column: all(float(row[column]).is_integer() for row in rows if is_known(row.get(column))) for column in columns
    }
    cells = [
        [
            (_cell(row.get(column), digits, whole[column]), _interval(row.get(f"{column}_ci"), digits))
            for column in columns
        ]
        for row in rows
    ]
    return Shown([Heading(name, kinds[column]) for column, name in columns.items()], cells)


def _is_number(rows: Sequence[Row], column: str) -> bool:
    values = [row.get(column) for row in rows if row.get(column) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _cell(value: object, digits: int, is_whole: bool) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else label(value)
    return count(value) if is_whole else decimal(value, digits)


def _interval(bounds: object, digits: int) -> str:
    return "" if bounds is None else interval(bounds, digits)


def column_names(rows: Iterable[Row]) -> list[str]:
    """All columns, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def csv_bytes(rows: Sequence[Row]) -> bytes:
    """The rows with every column and every digit, in UTF-8.

    A pair such as an interval becomes two columns; what is unknown is an empty cell. A text that a spreadsheet would
    run as a formula begins with an apostrophe; numbers are as they are.
    """
    rows = [_split(row, _pairs(rows)) for row in rows]
    names = column_names(rows)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([_defused(name) for name in names])
    writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
    return written.getvalue().encode("utf-8", "replace")


def _pairs(rows: Sequence[Row]) -> set[str]:
    """Columns that hold pairs."""
    return {
        name for name in column_names(rows)
        if (values := [row[name] for row in rows if row.get(name) is not None])
        and all(isinstance(value, list | tuple) and len(value) == 2 for value in values)
    }  # fmt: skip


def _split(row: Row, pairs: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name in pairs:
            found[f"{name}_low"], found[f"{name}_high"] = value or (None, None)
        else:
            found[name] = value
    return found


def _csv_cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value) if is_known(value) else ""
    if value is None:
        return ""
    return _defused(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _defused(text: str) -> str:
    return f"'{text}" if text.lstrip(" \n").startswith(FORMULA_STARTS) and not _is_numeral(text) else text


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
