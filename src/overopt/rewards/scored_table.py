"""Score a table of replies, with a summary: what ``overopt score`` does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from overopt.errors import ConfigError, DataError
from overopt.protocols import Progress
from overopt.records.prompts import prompt_of, read_rows
from overopt.rewards.specs import open_scorer
from overopt.stats.bon import tie_rate

SCHEMA = "overopt.score/1"


def score_table(
    path: Path,
    scorers: Mapping[str, str],
    out: Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Add one column a scorer (its name → its spec, see :mod:`overopt.rewards.specs`) and write ``out``.

    The members of an ensemble get their common scale on these very replies, so they should be the base policy's.

    Raises
    ------
    DataError
        If the table lacks ``prompt`` or ``completion``, or holds no rows.
    ConfigError
        If a scorer's name is a column that is there already, or a scorer cannot be opened.
    """
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no rows")
    missing = [name for name in ("prompt", "completion") if name not in rows[0]]
    if missing:
        raise DataError(f"{path} has no column {' and '.join(map(repr, missing))}; it has {', '.join(rows[0])}")
    taken = [name for name in scorers if name in rows[0]]
    if taken:
        raise ConfigError(f"{path} has a column {taken[0]!r} already; give the scorer another name")
    prompts = [prompt_of(row["prompt"], f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    blank = [number for number, row in enumerate(rows, start=1) if row["completion"] is None]
    if blank:
        raise DataError(
            f"{path} has no completion in row {blank[0]}" + (f" and {len(blank) - 1} more" if len(blank) > 1 else "")
            + "; drop such rows, or write an empty text where the reply was empty"
        )  # fmt: skip
    completions = [str(row["completion"]) for row in rows]
    columns: dict[str, pl.Series] = {}
    summary: dict[str, Any] = {"schema": SCHEMA, "replies": len(rows)}
    for name, spec in scorers.items():
        scorer = open_scorer(spec, base=lambda: (prompts, completions), device=device, dtype=dtype)
        scores = scorer.score(prompts, completions, progress=progress)
        columns[name] = pl.Series(scores)
        summary |= {f"{name}_mean": float(scores.mean()), f"{name}_sd": float(scores.std())}
        summary[f"{name}_tie_rate"] = tie_rate(scores, sizes=_sizes(rows))
    frame = _frame(path, rows).with_columns(**columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(out, metadata=_metadata(path), statistics=False)
    return summary | {"table": str(out)}


def _sizes(rows: list[dict[str, Any]]) -> list[int]:
    """Lengths of the runs of rows that answer one prompt."""
    sizes: list[int] = []
    last: object = None
    for row in rows:
        key = row.get("prompt_id", json.dumps(row["prompt"]))
        if sizes and key == last:
            sizes[-1] += 1
        else:
            sizes.append(1)
        last = key
    return sizes


def _frame(path: Path, rows: list[dict[str, Any]]) -> pl.DataFrame:
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        return pl.read_parquet(path)
    return pl.DataFrame(
        [{k: v if isinstance(v, str | int | float | None) else json.dumps(v) for k, v in row.items()} for row in rows],
        infer_schema_length=None,
    )


def _metadata(path: Path) -> dict[str, str]:
    try:
        return {k: v for k, v in pl.read_parquet_metadata(path).items() if k == "overopt"}
    except (OSError, pl.exceptions.PolarsError):
        return {}
