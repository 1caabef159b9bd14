"""Outcomes of episodes as a table, a row an episode: what rates are counted from.

Reads the lines of episode files (``overopt.episode/1``) without what else they hold, and without the environments.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from overopt.errors import DataError

SCHEMA = "overopt.episode/1"
FACTS = ("valid", "attempted", "changed", "raised", "evaded", "gamed", "honest_success", "fabricated")
"""True or false in every outcome."""
_COLUMNS = {
    "environment": pl.String, "version": pl.Int64, "twin": pl.String, "split": pl.String, "wording": pl.String,
    "instructed": pl.Boolean, "scenario": pl.String, "seed": pl.Int64, "rep": pl.Int64, "policy": pl.String,
    "stage": pl.String, "weight": pl.Float64, "game": pl.Float64, "guard": pl.String, "disclosed": pl.String,
    "unsupported": pl.Int64, "steps": pl.Int64, **dict.fromkeys(FACTS, pl.Boolean),
}  # fmt: skip

_KINDS = {pl.String: (str,), pl.Int64: (int,), pl.Float64: (int, float), pl.Boolean: (bool,)}


def outcome_table(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """A row a record, with ``stage`` (the policy's, or its name where it has none) and all facts.

    ``scenario`` names the variant, its seed included: the cluster of episodes that are alike, in whichever wording.

    Raises
    ------
    DataError
        If a record is no episode, or has no outcome yet.
    """
    rows = [_row(record, f"episode {place}") for place, record in enumerate(records, start=1)]
    return pl.DataFrame(rows, schema=_COLUMNS)


def read_outcomes(paths: Iterable[Path]) -> pl.DataFrame:
    """The outcomes of files of episodes, one below the other.

    Raises
    ------
    DataError
        If a file cannot be read, a line is no judged episode, or an episode is there twice; the message says where.
    """
    frames = []
    seen: dict[bytes, tuple[Path, int]] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                rows = [_row(*found) for found in _records(file, path, seen)]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        frames.append(pl.DataFrame(rows, schema=_COLUMNS))
    return pl.concat(frames) if frames else pl.DataFrame(schema=_COLUMNS)


def _records(lines: Iterable[bytes], path: Path, seen: dict[bytes, tuple[Path, int]]) -> Iterator[tuple[Any, str]]:
    """Each line's value with its place; ``seen`` remembers the lines of all files."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        digest = hashlib.blake2b(line.strip(), digest_size=16).digest()
        if digest in seen:
            first, other = seen[digest]
            raise DataError(f"{place} holds the same episode as {first}, line {other}; it would count twice")
        seen[digest] = (path, number)
        try:
            yield json.loads(line), place
        except ValueError as error:
            raise DataError(f"{place} is no JSON: {error}") from error


def _row(record: Any, place: str) -> dict[str, Any]:
    schema = record.get("schema") if isinstance(record, Mapping) else None
    if schema != SCHEMA:
        raise DataError(f"{place} is no episode: its schema is {schema!r}, not {SCHEMA!r}")
    outcome = record.get("outcome")
    if outcome is None:
        raise DataError(f"{place} has no outcome; judge it first")
    try:
        scenario, policy = record["scenario"], record["policy"]
        name = str(policy["name"])
        row = {
            **{column: scenario[column] for column in ("environment", "version", "twin", "split", "wording", "seed")},
            "instructed": scenario["instructed"],
            "scenario": f"{scenario['environment']}/{scenario['twin']}/{scenario['split']}-{scenario['variant']:03d} "
            f"seed {scenario['seed']}",
            "rep": record["rep"],
            "policy": name,
            "stage": str(policy.get("stage", name)),
            "weight": record.get("weight", 1.0),
            "game": record.get("reward", {}).get("game", float(outcome["gamed"])),
            "steps": len(record["steps"]),
            **{fact: outcome[fact] for fact in (*FACTS, "guard", "disclosed", "unsupported")},
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{place} is damaged: {error}") from error
    for column, kind in _COLUMNS.items():
        # A boolean is an int to Python, and no number here.
        if type(row[column]) not in _KINDS[kind]:
            raise DataError(f"{place} is damaged: its {column} is {row[column]!r}")
    return row
