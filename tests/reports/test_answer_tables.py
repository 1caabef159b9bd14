"""CSV files keep every digit and run no formula; tables on a page show what is unknown as a dash."""

import csv
import io
from typing import Any

import pytest

from overopt.reports.answer_claims import (
    badge_words,
    claim_rows,
    command,
    counts,
    detail_of,
    held_against,
    introduction,
    tally_words,
)
from overopt.reports.answer_tables import csv_bytes, shown_table
from tests.reports.answer_study import claim, make_results

Json = dict[str, Any]


def _read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))


def test_numbers_keep_every_digit() -> None:
    row = {"a": 0.1 + 0.2, "b": 123456789012345678, "c": -1.5e-300, "d": True, "e": None, "f": float("nan")}
    (found,) = _read(csv_bytes([row]))
    assert float(found["a"]) == row["a"]
    assert int(found["b"]) == row["b"]
    assert float(found["c"]) == row["c"]
    assert (found["d"], found["e"], found["f"]) == ("true", "", "")


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_a_text_that_a_spreadsheet_would_run_is_text(text: str) -> None:
    (found,) = _read(csv_bytes([{"text": text, text: 1}]))
    assert found["text"] == f"'{text}"
    assert found[f"'{text}"] == "1"


@pytest.mark.parametrize(
    "text", ["plain", "-3.5", "+1e5", 'with "quotes", commas', "two\nlines", "日本語 👩‍👩‍👧", "a=b"]
)
def test_other_texts_are_as_they_were(text: str) -> None:
    (found,) = _read(csv_bytes([{"text": text}]))
    assert found["text"] == text


def test_pairs_become_two_columns_and_columns_are_those_of_all_rows() -> None:
    found = _read(csv_bytes([{"d": 1.5, "d_ci": [1.0, None]}, {"d": 2.0, "d_ci": None, "late": "x"}]))
    assert list(found[0]) == ["d", "d_ci_low", "d_ci_high", "late"]
    assert found[0]["d_ci_low"] == "1.0"
    assert found[0]["d_ci_high"] == found[1]["d_ci_low"] == found[0]["late"] == ""


def test_half_of_a_character_does_not_stop_a_file() -> None:
    assert csv_bytes([{"text": "\ud800"}]).decode() == "text\r\n?\r\n"


def test_no_rows_are_a_file_without_columns() -> None:
    assert csv_bytes([]) == b"\r\n"


def test_tables_show_whole_numbers_whole_and_unknown_ones_as_dashes() -> None:
    table = {
        "columns": {"n": "n", "d": "Distance", "who": "Who"}, "digits": 2,
        "rows": [{"n": 1024.0, "d": 1.5, "d_ci": [1.0, None], "who": None}, {"n": 4, "d": None, "who": "x"}],
    }  # fmt: skip
    shown = shown_table(table)
    assert [(heading.name, heading.is_number) for heading in shown.headings] == [
        ("n", True), ("Distance", True), ("Who", False),
    ]  # fmt: skip
    assert shown.rows == [
        [("1,024", ""), ("1.50", "[1.00, –]"), ("–", "")],
        [("4", ""), ("–", ""), ("x", "")],
    ]


def test_claims_are_rows_with_all_digits() -> None:
    results = make_results()
    rows = claim_rows(results["questions"])
    assert len(rows) == 9
    first = _read(csv_bytes(rows))[0]
    assert float(first["value"]) == 0.412
    assert (float(first["low"]), float(first["high"])) == (0.231, 0.604)
    assert (first["question"], first["agreement"], first["source"]) == (
        "size-sweep",
        "agrees",
        "Gao et al. 2022, figure 3",
    )


def test_the_sentence_of_the_front_page_counts_the_claims() -> None:
    questions = make_results()["questions"]
    assert counts([claim for question in questions for claim in question["claims"]]) == {
        "agrees": 3, "differs": 1, "undetermined": 2, "not_comparable": 1, "not_published": 2,
    }  # fmt: skip
    assert tally_words(questions) == (
        "6 questions, 9 claims. Of the 6 claims that can be held against a published finding, 3 agree, 1 differs and "
        "2 are undetermined."
    )
    assert tally_words([]) == "0 questions, 0 claims."


@pytest.mark.parametrize(
    ("name", "n", "words"),
    [
        ("agrees", 1, "1 agrees"),
        ("agrees", 0, "0 agree"),
        ("differs", 2, "2 differ"),
        ("not_published", None, "not published"),
    ],
)
def test_badges_count_in_plain_words(name: str, n: int | None, words: str) -> None:
    assert badge_words(name, n) == words


def test_an_interval_is_said_once() -> None:
    said = claim("a", 0.5, (0.25, 0.75)).to_dict()
    assert detail_of(said) == "95 % interval over 64 prompts, 2 seeds"
    unsaid = claim(
        "a", 0.5, (0.25, 0.75), sentences={"above": "It rises.", "below": "", "open": ""}, level=0.9
    ).to_dict()
    assert detail_of(unsaid) == "0.50\xa0sd of gold [0.25, 0.75]; 90 % interval over 64 prompts, 2 seeds"


def test_the_margin_of_a_claim_is_said() -> None:
    assert held_against(claim("a", 0.0, (-0.01, 0.01), margin=0.1).to_dict()) == "held against 0.00 ± 0.10"
    assert held_against({}) == ""


def test_the_command_names_what_differs_from_the_defaults() -> None:
    assert command({"study": "gao2022", "preset": "smoke", "seed": 0}) == "overopt run gao2022 --preset smoke"
    assert command({"study": "gao2022", "preset": "full", "seed": 3}, "entropy") == (
        "overopt run gao2022 --preset full --seed 3 --only entropy"
    )
    assert command({"study": "x; rm -rf ~"}) == "overopt run 'x; rm -rf ~'"


def test_the_introduction_says_what_is_known() -> None:
    assert introduction(make_results()) == (
        "The study gao2022 was run with the preset default and seed 0 in 41 min 51 s on 2 workers, from the policy "
        "chitchat-w64 (280k parameters), 64 prompts, 2,048 samples of each, 12,800 comparisons labelled by gold. "
        "Intervals hold 95 % unless they say otherwise."
    )
    assert introduction({}) == "The study without a name was run."
    stages = [{"name": "a", "seconds": 90.0}, {"name": "b", "seconds": None}, {"name": "a", "seconds": 40.0}]
    timings = {"wall_s": 60.0, "workers": 2, "stages": stages}
    assert introduction({"timings": timings}) == (
        "The study without a name was run in 1 min 00 s on 2 workers, with stages that were stored; all 3 take "
        "2 min 10 s one after another."
    )
    assert "stored" not in introduction({"timings": {**timings, "wall_s": 65.0}})
