"""The answer of a command on a terminal, or in a pipe.

A table stands on one line a row where that fits, else values stand above their intervals; from 80 columns on no number
is cut in two.
"""

import os
import sys
from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from overopt.reports.command_answers import VERDICTS, Answer, Cell, Heading

Item = TypeVar("Item")

_STYLES = {"bad": "bold red", "good": "green"}
_PIPE_WIDTH = 10_000
"""Columns of what is no terminal: a program or a pager breaks lines where it likes."""


def answer_console() -> Console:
    """Standard output, as wide as its window or as ``COLUMNS``; a pipe has no width."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if has_width else _PIPE_WIDTH, highlight=False)


def print_answer(answer: Answer, console: Console) -> None:
    """The table, then the verdict, the sentences, and how to read the numbers."""
    table, notes = _table(answer.headings, answer.rows), list(answer.notes)
    if not _fits(table, console):
        table = _table(*_stacked(answer.headings, answer.rows))
    spare = [heading.name for heading in answer.headings if heading.is_spare]
    if spare and not _fits(table, console):
        kept = [index for index, heading in enumerate(answer.headings) if not heading.is_spare]
        table = _table(*_stacked(_at(answer.headings, kept), [_at(row, kept) for row in answer.rows]))
        notes.append(f"no room for {' and '.join(spare)}: see --json, or a wider window")
    console.print(table)
    if answer.verdict is not None:
        head, separator, rest = answer.lead.partition(":")
        style = _STYLES.get(VERDICTS.get(answer.verdict, ""), "bold yellow")
        console.print(Text.assemble((head, style), separator, rest))
    for sentence in answer.sentences:
        console.print(Text(sentence))
    for note in notes:
        console.print(Text(note, style="dim"))


def _fits(table: Table, console: Console) -> bool:
    whole = console.options.update(width=_PIPE_WIDTH)
    return console.measure(table, options=whole).maximum <= console.width


def _at(items: list[Item], indices: list[int]) -> list[Item]:
    return [items[index] for index in indices]


def _table(headings: list[Heading], rows: list[list[Cell]]) -> Table:
    table = Table(box=None, padding=(0, 2 if len(headings) < 8 else 1, 0, 0), pad_edge=False)
    for index, heading in enumerate(headings):
        # A name may be as long as it likes; all else keeps its line.
        is_name = index == 0 and heading.is_text
        table.add_column(
            heading.name, justify="left" if heading.is_text else "right", no_wrap=not is_name, vertical="top",
            overflow="fold", min_width=min(12, max(map(len, heading.name.split("\n")))) if is_name else None,
        )  # fmt: skip
    for row in rows:
        table.add_row(*(Text(" ".join(cell)) for cell in row))
    return table


def _stacked(headings: list[Heading], rows: list[list[Cell]]) -> tuple[list[Heading], list[list[Cell]]]:
    """The same table with two or three lines a row."""
    found: list[Heading] = []
    for heading in headings:
        name = heading.name.replace(" ", "\n", 1)
        if heading.is_beneath:
            name = f"{found.pop().name}\n{name}"
        found.append(Heading(name, heading.is_text))
    return found, [list(_stacked_row(headings, row)) for row in rows]


def _stacked_row(headings: list[Heading], row: list[Cell]) -> Iterator[Cell]:
    lines: list[str] = []
    for heading, cell in zip(headings, row, strict=True):
        if not heading.is_beneath and lines:
            yield ("\n".join(lines),)
            lines = []
        lines += cell
    yield ("\n".join(lines),)
