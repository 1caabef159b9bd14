"""Outcomes of episodes as a table, a row an episode: what rates are counted from.

Reads the lines of episode files (``overopt.episode/1``) without what else they hold, and without the environments.
"""

import json
from collections.abc import Iterable, Mapping
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


def outcome_table(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """A row a record, with ``stage`` (the policy's, or its name where it has none) and all facts.

    ``scenario`` names the variant, its seed included: the cluster that episodes of one scenario share.

    Raises
    ------
    DataError
        If a record is no episode, or has no outcome yet.
    """
    rows = [_row(record, place) for place, record in enumerate(records, start=1)]
    return pl.DataFrame(rows, schema=_COLUMNS)


def read_outcomes(paths: Iterable[Path]) -> pl.DataFrame:
    """The outcomes of files of episodes, one below the other.

    Raises
    ------
    DataError
        If a file cannot be read, or a line is no judged episode; the message says where.
    """
    frames = []
    for path in paths:
        try:
            with path.open(encoding="utf-8") as file:
                frames.append(outcome_table(json.loads(line) for line in file if line.strip()))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, DataError) as error:
            raise DataError(f"{path}: {error}") from error
    return pl.concat(frames) if frames else pl.DataFrame(schema=_COLUMNS)


def _row(record: Mapping[str, Any], place: int) -> dict[str, Any]:
    if record.get("schema") != SCHEMA:
        raise DataError(f"episode {place}: its schema is {record.get('schema')!r}, not {SCHEMA!r}")
    outcome = record.get("outcome")
    if outcome is None:
        raise DataError(f"episode {place} has no outcome; judge it first")
    try:
        scenario, policy = record["scenario"], record["policy"]
        name = str(policy["name"])
        return {
            **{column: scenario[column] for column in ("environment", "version", "twin", "split", "wording", "seed")},
            "instructed": scenario["instructed"],
            "scenario": f"{record['id'].rpartition('-')[0]} seed {scenario['seed']}",
            "rep": record["rep"],
            "policy": name,
            "stage": str(policy.get("stage", name)),
            "weight": record.get("weight", 1.0),
            "game": record.get("reward", {}).get("game", float(outcome["gamed"])),
            "steps": len(record["steps"]),
            **{fact: outcome[fact] for fact in (*FACTS, "guard", "disclosed", "unsupported")},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"episode {place} is damaged: {error}") from error
