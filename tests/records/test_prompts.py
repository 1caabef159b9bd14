"""Prompts of a file, plain or chat, are read as they are or refused by row."""

import json

import polars as pl
import pytest

from overopt.errors import DataError
from overopt.records.prompts import prompt_of, read_prompts

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def write(tmp_path, content, name="prompts"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(tmp_path, **columns):
    path = tmp_path / "prompts.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_texts_come_from_every_format(tmp_path):
    rows = [{"prompt": "one\ntwo"}, {"prompt": "three, four"}]
    for path in (
        write(tmp_path, lines(*rows)),
        write(tmp_path, json.dumps(rows), "array"),
        write(tmp_path, 'prompt,other\n"one\ntwo",1\n"three, four",2\n', "csv"),
        write(tmp_path, b"\xef\xbb\xbf" + lines(*rows).encode(), "mark"),
        parquet(tmp_path, prompt=["one\ntwo", "three, four"]),
    ):
        found = read_prompts(path)
        assert (found.prompts, found.ids, found.column) == (["one\ntwo", "three, four"], ["0", "1"], "prompt")


def test_conversations_come_from_json_and_parquet(tmp_path):
    for path in (
        write(tmp_path, lines({"messages": CHAT, "id": "a"})),
        parquet(tmp_path, messages=[CHAT], id=["a"]),
        parquet(tmp_path, prompt=[json.dumps(CHAT)], prompt_id=["a"]),
    ):
        found = read_prompts(path)
        assert (found.prompts, found.ids) == ([CHAT], ["a"])


def test_turns_keep_only_role_and_content(tmp_path):
    assert prompt_of([{**CHAT[1], "name": "x"}], "row 1") == [CHAT[1]]


def test_a_text_that_only_looks_like_json_is_a_text():
    assert prompt_of("[{not json", "row 1") == "[{not json"


def test_a_column_may_be_named_and_rows_limited(tmp_path):
    path = write(tmp_path, lines(*({"prompt": "no", "question": f"q{n}"} for n in range(5))))
    assert read_prompts(path, column="question", limit=2).prompts == ["q0", "q1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no rows"),
        ("prompt\n", "holds no rows"),
        (lines({"question": "a"}), "no column 'prompt'; it has question"),
        (lines({"prompt": "a"}, {"prompt": 3}), "row 2: a prompt is a text or a list of turns"),
        (lines({"prompt": "a"}, {}), "row 2: a prompt is"),
        (lines({"messages": [{"role": "user"}]}), "row 1: a prompt is"),
        (lines({"messages": []}), "row 1: a prompt is"),
        (lines({"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}), "the id '1' more than once"),
        ('{"prompt": "a"}\n{"prompt": \n', "line 2 is not JSON"),
        ("[1, 2]", "something else than objects"),
        (b"\xff\xfe\xff", "cannot read"),
        (b"PAR1damaged", "cannot read"),
    ],
)
def test_what_holds_no_prompts_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as refusal:
        read_prompts(write(tmp_path, content))
    assert "\n" not in str(refusal.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_prompts(tmp_path / "absent")
