"""One table of prompts and scores, written in every way a file comes, is read as the same table or refused by name."""

import gzip
import io
import json
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import DataError
from overopt.records.cells import LARGEST
from overopt.records.column_names import likely_column
from overopt.records.files import Column, read_columns

WANTED = {"prompt": Column("question", "text"), "proxy": Column("score", "number")}
ROWS = [("a", 1.5), ("b", -2.25), ("a", 3.0)]
CSV = "question,score,other\na,1.5,x\nb,-2.25,y\na,3,z\n"


def write(tmp_path, content):
    path = tmp_path / "scores.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, wanted=None):
    return read_columns(write(tmp_path, content), wanted or WANTED)


def parquet(**columns):
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


SAME_TABLE = {
    "plain": CSV,
    "byte-order mark": b"\xef\xbb\xbf" + CSV.encode(),
    "utf-16, little end first": b"\xff\xfe" + CSV.encode("utf-16-le"),
    "utf-16, big end first": b"\xfe\xff" + CSV.encode("utf-16-be"),
    "gzipped": gzip.compress(CSV.encode()),
    "carriage returns and line feeds": CSV.replace("\n", "\r\n"),
    "carriage returns alone": CSV.replace("\n", "\r"),
    "no end of the last line": CSV.rstrip("\n"),
    "blank lines before, between and after": "\n\n" + CSV.replace("b,", "\nb,") + "\n\n",
    "semicolons": CSV.replace(",", ";"),
    "tabs": CSV.replace(",", "\t"),
    "bars": CSV.replace(",", "|"),
    "decimal commas": "question;score\na;1,5\nb;-2,25\na;3\n",
    "other columns first": "x,score,question\n0,1.5,a\n0,-2.25,b\n0,3,a\n",
    "blanks about names and cells": "question , score\n a ,1.5\nb, -2.25 \na,3\n",
    "quoted": 'question,score\n"a","1.5"\n"b",-2.25\n"a",3\n',
    "quoted names with separators": '"question","score","a, b"\na,1.5,"x, y"\nb,-2.25,""\na,3,z\n',
    "exponents": "question,score\na,15e-1\nb,-.225E1\na,+3\n",
    "lines of JSON": "".join(json.dumps({"question": q, "score": s, "z": [1]}) + "\n" for q, s in ROWS),
    "lines of JSON with numbers as text": "".join(json.dumps({"question": q, "score": str(s)}) + "\n" for q, s in ROWS),
    "one JSON array": json.dumps([{"question": q, "score": s} for q, s in ROWS], indent=1),
    "the state of a trainer": json.dumps({"log_history": [{"question": q, "score": s} for q, s in ROWS], "step": 3}),
    "the state of a trainer, indented": json.dumps(
        {"epoch": 1, "log_history": [{"question": q, "score": s, "loss": 1} for q, s in ROWS]}, indent=2
    ),
    "Parquet": parquet(question=["a", "b", "a"], score=[1.5, -2.25, 3.0], z=[[1], [2], None]),
    "Parquet of text": parquet(question=["a", "b", "a"], score=["1.5", "-2.25", "3"]),
    "Parquet of categories": parquet(
        question=pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        score=pl.Series([1.5, -2.25, 3.0], dtype=pl.Float32),
    ),
}


@pytest.mark.parametrize("content", SAME_TABLE.values(), ids=SAME_TABLE)
def test_the_same_table_in_another_spelling_reads_the_same(tmp_path, content):
    found = read(tmp_path, content)
    assert found.data.rows() == ROWS
    assert found.data.columns == ["prompt", "proxy"]
    assert found.missing == 0


@pytest.mark.parametrize("word", ["", " ", "NA", "n/a", "#N/A", "NaN", "nan", "NULL", "none", '""'])
@pytest.mark.parametrize("place", ["a,{}", "{},1"])
def test_a_row_that_lacks_a_wanted_cell_is_dropped_and_counted(tmp_path, word, place):
    found = read(tmp_path, f"question,score,other\n{place.format(word)},x\nb,2,y\n")
    assert (found.data.rows(), found.missing) == ([("b", 2.0)], 1)


def test_missing_cells_of_json_and_parquet_are_dropped_and_counted(tmp_path):
    lines = '{"question": "a"}\n{"question": null, "score": 1}\n{"question": "b", "score": 2}\n{"score": NaN}\n'
    found = read(tmp_path, lines)
    assert (found.data.rows(), found.missing) == ([("b", 2.0)], 3)
    found = read(tmp_path, parquet(question=["a", None, "b", "c"], score=[None, 1.0, 2.0, math.nan]))
    assert (found.data.rows(), found.missing) == ([("b", 2.0)], 3)


def test_a_missing_cell_of_a_column_nobody_asked_for_costs_nothing(tmp_path):
    assert read(tmp_path, "question,score,other\na,1,\nb,2,NA\n").missing == 0


@pytest.mark.parametrize(
    "content",
    [
        "question,score\n3,1\n7,2\n",
        '{"question": 3, "score": 1}\n{"question": 7.0, "score": 2}\n',
        '{"question": "3", "score": 1}\n{"question": "7", "score": 2}\n',
        parquet(question=[3, 7], score=[1, 2]),
        parquet(question=[3.0, 7.0], score=[1, 2]),
        parquet(question=[3.0, None, 7.0], score=[1, 1, 2]),
    ],
    ids=["csv", "json numbers", "json text", "integers", "floats", "floats because one is missing"],
)
def test_a_number_is_one_id_however_it_is_stored(tmp_path, content):
    assert read(tmp_path, content).data.rows() == [("3", 1.0), ("7", 2.0)]


def test_ids_keep_their_digits(tmp_path):
    found = read(tmp_path, "question,score\n007,1\n1e3,2\n9007199254740993,3\n")
    assert found.data["prompt"].to_list() == ["007", "1e3", "9007199254740993"]


def test_text_keeps_separators_quotes_and_line_ends_of_its_cell(tmp_path):
    found = read(tmp_path, 'question,score\n"one, ""two""\nthree",1\n"été – 東",2\n')
    assert found.data["prompt"].to_list() == ['one, "two"\nthree', "été – 東"]


def test_one_column_may_play_two_roles(tmp_path):
    found = read(tmp_path, CSV, WANTED | {"gold": Column("score", "number")})
    assert found.data["gold"].to_list() == found.data["proxy"].to_list()


def test_commas_do_not_stand_for_points_where_they_separate_or_points_stand_too(tmp_path):
    with pytest.raises(DataError, match=r"'score' is not a number in 1 of 2 rows, the first one '1,5' in row 1"):
        read(tmp_path, "question;score\na;1,5\nb;2.5\n")
    with pytest.raises(DataError, match="'1,5' in row 1"):
        read(tmp_path, 'question,score\na,"1,5"\nb,"2,5"\n')


REFUSED = {
    "empty": ("", "is empty"),
    "only blanks": (" \n\n", "is empty"),
    "only a header": ("question,score\n", "column names but no rows"),
    "nothing but missing": ("question,score\na,\nb,NA\n", "all 2 rows lack 'score'"),
    "misspelt": ("questions,score\na,1\n", r"no column 'question'; it has questions, score; did you mean questions\?"),
    "two absent": ("a,b\n1,2\n", "no columns 'question', 'score'; it has a, b"),
    "twice": ("question,score,score\na,1,2\n", "the column 'score' 2 times"),
    "text": ("question,score\na,1\nb,two\nc,three\n", "not a number in 2 of 3 rows, the first one 'two' in row 2"),
    "infinite": ("question,score\na,1\nb,-inf\n", "infinite in 1 of 2 rows, the first one '-inf' in row 2"),
    "too large": ("question,score\na,1\nb,1e101\n", r"beyond 1e\+100 in 1 of 2 rows, the first one '1e101' in row 2"),
    "rows after a blank line": ("question,score\na,1\n\nb,two\n", "'two' in row 3"),
    "nowhere together": ("question,score\na,\n,2\n", "all 2 rows lack one of 'question', 'score'"),
    "a row too short": ("question,score,x\na,1,z\n\nb,2\n", "row 3 has 2 fields, its header 3"),
    "a row far too short": ("question,score,x\na,1,\nb\n", "row 2 has 1 field, its header 3"),
    "a name in another case": ("Question,SCORE\na,1\n", "did you mean Question SCORE"),
    "a column without a name": (",a\n1,2\n", r"it has \(unnamed\), a$"),
    "a log that is none": ('{"log_history": 3, "question": "a"}', "must be a list of objects"),
    "an empty log": ('{"log_history": []}', "must be a list of objects, and not empty"),
    "a log with a number in it": ('{"log_history": [{"question": "a", "score": 1}, 2]}', "entry 2 is not a JSON obj"),
    "a row too long": ("question,score\na,1\nb,2,3\n", "row 2 has 3 fields, its header 2"),
    "an open quotation mark": ('question,score\na,1\n"b,2\n', "not a regular CSV file"),
    "damaged gzip": (gzip.compress(CSV.encode())[:-9], "gzipped and damaged"),
    "damaged Parquet": (parquet(question=["a"], score=[1.0])[:-9], "damaged Parquet"),
    "a workbook": (b"PK\x03\x04rest", "Excel workbook; save it as CSV"),
    "latin-1": ("question,score\na,1\né,2\n".encode("latin-1"), "not UTF-8 text: line 3"),
    "zero bytes": (b"question,score\x00\n", "zero bytes"),
    "not JSON": ('{"question": "a", "score": 1}\n{"question": \n', "line 2 is not JSON"),
    "not an object": ('{"question": "a", "score": 1}\n[1, 2]\n', "line 2 is not a JSON object"),
    "not an array": ('[{"question": "a"', "not one"),
    "a number no float holds": ('{"question": "a", "score": 1' + "0" * 400 + "}\n", "infinite in 1 of 1 rows"),
    "truth for a number": ('{"question": "a", "score": true}\n', "'true' in line 1"),
    "a list for a number": ('{"question": "a", "score": [1]}\n', "not a number"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence_that_names_the_file(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as refusal:
        read(tmp_path, content)
    assert "scores.dat" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_one_object_on_one_line_or_on_several_is_one_row(tmp_path):
    for indent in (None, 2):
        assert read(tmp_path, json.dumps({"question": "a", "score": 1}, indent=indent)).data.rows() == [("a", 1.0)]


def test_empty_cells_at_the_end_of_a_row_and_blank_lines_do_not_make_it_short(tmp_path):
    found = read(tmp_path, 'question,score,other\na,1,\n\nb,2,""\n  \nc,3,"x,\n"\n')
    assert (found.data["prompt"].to_list(), found.missing) == (["a", "b", "c"], 0)


def test_an_absent_column_is_asked_back_by_its_option(tmp_path):
    wanted = {"prompt": Column("prompt", "text", "--prompt"), "a": Column("a", "number", "--a")}
    with pytest.raises(DataError, match=r"has no columns 'prompt', 'a'; .* --prompt prompt_id --a score_a\?$"):
        read(tmp_path, ",prompt_id,score_a,score_b\n0,a,1,2\n", wanted)


@pytest.mark.parametrize(
    ("name", "held", "meant"),
    [
        ("a", ["len_a_b", "score_a"], "score_a"),
        ("step", ["steps_per_second", "train/global_step"], "train/global_step"),
        ("gold", ["golden", "eval/gold"], "eval/gold"),
        ("kl", ["objective/kl", "KL"], "KL"),
        ("kl", ["klein", "approxKL"], "approxKL"),
        ("proxy", ["objective/scores", "loss"], None),
        ("gold", [], None),
    ],
)
def test_the_column_that_was_meant_is_found_by_its_words(name, held, meant):
    assert likely_column(name, held) == meant


LOG = {
    "step": Column("global_step", "number"), "proxy": Column("reward", "number"), "gold": Column("eval/gold", "number"),
}  # fmt: skip


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


SPLIT = lines(
    {"global_step": 1, "reward": 0.5}, {"global_step": 1, "eval/gold": 2.0}, {"global_step": 2, "reward": 0.7},
    {"global_step": 3, "eval/gold": 3.0, "reward": 0.8}, {"global_step": 4, "eval/gold": 4.0},
    {"global_step": 4, "reward": 0.9}, {"global_step": 4, "train_runtime": 9},
)  # fmt: skip


def test_rows_of_one_step_are_joined_where_none_has_all_values(tmp_path):
    found = read_columns(write(tmp_path, SPLIT), LOG, join_on=("step", "group"))
    assert found.data.rows() == [(1.0, 0.5, 2.0), (3.0, 0.8, 3.0), (4.0, 0.9, 4.0)]
    assert (found.joined, found.joined_into, found.missing) == (4, 2, 2)
    alone = read(tmp_path, SPLIT, LOG)
    assert (alone.data.rows(), alone.joined, alone.missing) == ([(3.0, 0.8, 3.0)], 0, 6)


def test_rows_of_different_groups_are_never_joined(tmp_path):
    content = lines(
        {"run": "a", "global_step": 1, "reward": 0.5}, {"run": "b", "global_step": 1, "eval/gold": 2.0},
        {"run": "b", "global_step": 1, "reward": 0.7}, {"global_step": 1, "eval/gold": 7},
    )  # fmt: skip
    wanted = LOG | {"group": Column("run", "text")}
    found = read_columns(write(tmp_path, content), wanted, join_on=("step", "group"))
    assert found.data.rows() == [(1.0, 0.7, 2.0, "b")]
    assert (found.joined, found.missing) == (2, 2)


def test_a_group_alone_joins_nothing(tmp_path):
    content = lines({"run": "a", "reward": 0.5}, {"run": "a", "eval/gold": 2.0}, {"run": "a", "x": 1})
    wanted = {"proxy": LOG["proxy"], "gold": LOG["gold"], "group": Column("run", "text")}
    with pytest.raises(DataError, match="--step COL joins rows that share a step"):
        read_columns(write(tmp_path, content), wanted, join_on=("step", "group"))


def test_a_value_that_may_be_blank_is_joined_from_a_row_of_its_own(tmp_path):
    content = lines(
        {"global_step": 1, "reward": 0.5}, {"global_step": 1, "eval/gold": 2.0}, {"global_step": 1, "se": 0.1},
        {"global_step": 2, "reward": 0.7, "eval/gold": 3.0}, {"global_step": 2, "se": 0.2},
        {"global_step": 3, "reward": 0.8, "eval/gold": 4.0}, {"global_step": 4, "se": 0.4},
    )  # fmt: skip
    wanted = LOG | {"gold_se": Column("se", "number", may_be_blank=True)}
    found = read_columns(write(tmp_path, content), wanted, join_on=("step", "group"))
    assert found.data.select("step", "proxy", "gold", "gold_se").rows() == [
        (1.0, 0.5, 2.0, 0.1), (2.0, 0.7, 3.0, 0.2), (3.0, 0.8, 4.0, None),
    ]  # fmt: skip
    assert (found.joined, found.joined_into, found.missing) == (5, 2, 1)
    twice = content + lines({"global_step": 2, "se": 0.3})
    with pytest.raises(DataError, match="step 2 has two values of gold_se"):
        read_columns(write(tmp_path, twice), wanted, join_on=("step", "group"))


def test_two_values_at_one_step_are_refused_and_never_averaged(tmp_path):
    twice = SPLIT + lines({"global_step": 4, "eval/gold": 4.5})
    with pytest.raises(DataError, match=r"scores.dat: step 4 has two values of gold .* 4 and 4\.5; "):
        read_columns(write(tmp_path, twice), LOG, join_on=("step", "group"))
    same = SPLIT + lines({"global_step": 4, "eval/gold": 4.0})
    assert read_columns(write(tmp_path, same), LOG, join_on=("step", "group")).data.height == 3
    # Two values at a step that is not evaluated, or beside a row that lacks nothing, decide nothing.
    harmless = SPLIT + lines({"global_step": 2, "reward": 1}, {"global_step": 3, "reward": 1})
    found = read_columns(write(tmp_path, harmless), LOG, join_on=("step", "group"))
    assert (found.data.height, found.missing) == (3, 4)


def test_rows_that_lack_nothing_stay_apart_even_at_one_step(tmp_path):
    content = lines(*({"global_step": 1, "reward": k, "eval/gold": k} for k in (1, 2)), {"global_step": 1, "reward": 3})
    found = read_columns(write(tmp_path, content), LOG, join_on=("step", "group"))
    assert found.data.rows() == [(1.0, 1.0, 1.0), (1.0, 2.0, 2.0)]
    assert (found.joined, found.missing) == (0, 1)


@pytest.mark.parametrize("step", ["none,", "", "x,"], ids=["missing", "no such column", "text"])
def test_an_optional_column_costs_no_row_and_may_be_absent_or_odd(tmp_path, step):
    content = f"{'step,' if step else ''}question,score\n{step}a,1\n"
    found = read(tmp_path, content, WANTED | {"step": Column("step", "number", is_optional=True)})
    assert found.data.select("prompt", "proxy").rows() == [("a", 1.0)]


def test_all_problems_of_a_file_are_named_at_once(tmp_path):
    with pytest.raises(DataError, match=r"'score' is not a number.*; a cell of 'gold' is infinite"):
        read(tmp_path, "question,score,gold\na,x,1\nb,2,inf\n", WANTED | {"gold": Column("gold", "number")})


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_columns(tmp_path / "absent.csv", WANTED)
    with pytest.raises(DataError, match="cannot read"):
        read_columns(tmp_path, WANTED)


TABLES = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).filter(
            lambda text: text.strip().lower() not in {"", "na", "n/a", "#n/a", "nan", "null", "none"}
        ),
        st.floats(-LARGEST, LARGEST),
    ),
    min_size=1,
)


@given(TABLES)
def test_any_table_comes_back_from_every_format(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    expected = [(text.strip(), number) for text, number in rows]
    frame = pl.DataFrame({"question": [row[0] for row in rows], "score": [row[1] for row in rows]})
    for content in (
        frame.write_csv(quote_style="non_numeric").encode(),
        frame.write_csv(separator=";", quote_style="always").encode("utf-16"),
        "".join(json.dumps({"question": text, "score": number}) + "\n" for text, number in rows).encode(),
        json.dumps(frame.to_dicts()).encode(),
        parquet(question=frame["question"], score=frame["score"]),
    ):
        assert read(folder, content).data.rows() == expected
