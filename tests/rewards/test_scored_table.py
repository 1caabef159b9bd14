"""Tables of replies, scored: nothing is guessed where a reply is missing."""

import json

import polars as pl
import pytest

from overopt.errors import ConfigError, DataError
from overopt.rewards.scored_table import score_table

ROWS = [{"prompt": "Hi\n", "completion": text} for text in ("I am fine.", "", "What a day!")]


def replies(tmp_path, rows):
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_an_empty_reply_is_scored_and_a_missing_one_refused(tmp_path):
    out = tmp_path / "scored.parquet"
    summary = score_table(replies(tmp_path, ROWS), {"gold": "rubric"}, out)
    assert summary["replies"] == 3
    assert pl.read_parquet(out)["gold"].is_finite().all()
    missing = [*ROWS, {"prompt": "Hi\n", "completion": None}, {"prompt": "Hi\n", "completion": None}]
    with pytest.raises(DataError, match=r"no completion in row 4 and 1 more; drop such rows"):
        score_table(replies(tmp_path, missing), {"gold": "rubric"}, tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


def test_a_scorer_never_replaces_a_column(tmp_path):
    rows = [{**row, "gold": 0.5} for row in ROWS]
    with pytest.raises(ConfigError, match="a column 'gold' already"):
        score_table(replies(tmp_path, rows), {"gold": "rubric"}, tmp_path / "scored.parquet")
