"""Tables say what they are, and are refused when they are not."""

import polars as pl
import pytest

from overopt.errors import ArtifactError, DataError
from overopt.records.tables import check_tables, read_table, seal_tables, settings_of, write_table

SCORES = pl.DataFrame({"prompt_id": [1, 2], "sample_id": [0, 0], "proxy": [0.5, -1.0], "note": ["x", "y"]})


def test_a_table_comes_back_with_its_settings_and_only_its_columns(tmp_path):
    path = tmp_path / "scores.parquet"
    write_table(SCORES, path, "scores", {"seed": 3, "sampler": {"temperature": 0.7}})
    assert read_table(path, "scores").equals(SCORES.drop("note"))
    assert settings_of(path, "scores") == {"seed": 3, "sampler": {"temperature": 0.7}}


def test_a_table_of_another_kind_is_refused(tmp_path):
    write_table(SCORES, tmp_path / "t.parquet", "scores", {})
    with pytest.raises(DataError, match="holds scores of version 1; expected samples"):
        read_table(tmp_path / "t.parquet", "samples")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"prompt_id,proxy\n1,2\n"])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet is not a table of a study"):
        read_table(tmp_path / "t.parquet", "scores")
    with pytest.raises(DataError, match="is not a table"):
        read_table(tmp_path / "missing.parquet", "scores")


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    SCORES.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="is not a table of a study"):
        read_table(tmp_path / "t.parquet", "scores")


def test_a_missing_column_is_refused_when_written(tmp_path):
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        write_table(SCORES.drop("proxy"), tmp_path / "t.parquet", "scores", {})


def test_changes_since_sealing_are_named(tmp_path):
    write_table(SCORES, tmp_path / "a.parquet", "scores", {})
    seal_tables(tmp_path)
    check_tables(tmp_path)
    write_table(SCORES, tmp_path / "b.parquet", "scores", {})
    with pytest.raises(ArtifactError, match=r"b\.parquet is not the study's"):
        check_tables(tmp_path)
    (tmp_path / "b.parquet").unlink()
    write_table(SCORES.reverse(), tmp_path / "a.parquet", "scores", {})
    with pytest.raises(ArtifactError, match=r"a\.parquet was changed"):
        check_tables(tmp_path)
