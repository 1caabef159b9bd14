"""Columns of made tables replaced by others whose truth a test knows."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from gao2022.made_tables import GOLD_MEAN, GOLD_SD, UNIT
from overopt.records.tables import Kind, read_table, settings_of, write_table
from overopt.studies.study_tables import StudyTables


def change(path: Path, kind: Kind, make: Callable[[pl.DataFrame], dict[str, object]]) -> None:
    """Write the table again with the columns that ``make`` gives, rows in the order of prompt and sample."""
    order = [name for name in ("step", "prompt_id", "sample_id") if name in read_table(path, kind).columns]
    frame = read_table(path, kind).sort(order)
    columns = {name: value if isinstance(value, pl.Expr) else pl.Series(value) for name, value in make(frame).items()}
    settings = settings_of(path, kind)
    write_table(frame.with_columns(**columns), path, kind, settings)


def raw_gold(gold):
    """Raw gold of what is given in standard deviations on the base policy."""
    return GOLD_MEAN + GOLD_SD * UNIT * gold


def opened_again(tables: StudyTables) -> StudyTables:
    """The tables without what was read from them before they were changed."""
    runs = {name: tables.origin(name) for name in tables.runs()}
    return StudyTables(tables.root.parent, {"settings": tables.settings, "seed": tables.seed, "runs": runs})
