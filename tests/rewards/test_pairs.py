"""What counts as the same text to score."""

import pytest

from overopt.errors import DataError, ShapeError
from overopt.rewards.pairs import answered_text, check_paired, distinct_pairs

TURNS = [{"role": "user", "content": "Hi"}]


def test_equal_pairs_are_kept_once_in_the_order_they_came():
    found = distinct_pairs(["a", "b", "a", "a"], ["x", "x", "y", "x"])
    assert list(zip(found.prompts, found.completions, strict=True)) == [("a", "x"), ("b", "x"), ("a", "y")]
    assert found.place_B.tolist() == [0, 1, 2, 0]


def test_equal_conversations_are_one_and_their_json_is_another():
    as_json = '[{"role": "user", "content": "Hi"}]'
    found = distinct_pairs([TURNS, [dict(TURNS[0])], as_json], ["x", "x", "x"])
    assert found.place_B.tolist() == [0, 0, 1]


def test_pairs_that_read_the_same_when_joined_are_different():
    assert distinct_pairs(["ab", "a"], ["c", "bc"]).place_B.tolist() == [0, 1]


def test_a_reply_answers_the_last_turn_of_the_user():
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "well"},
        {"role": "user", "content": "second"},
        {"role": "system", "content": "rules"},
    ]
    assert answered_text(turns) == "second"
    assert answered_text("plain") == "plain"
    with pytest.raises(DataError, match="without a turn of its user"):
        answered_text([{"role": "system", "content": "rules"}])


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ShapeError, match="2 prompts do not go with 1 completions"):
        check_paired(["a", "b"], ["c"])
    with pytest.raises(ShapeError, match="got a single text"):
        check_paired("ab", "cd")
    with pytest.raises(DataError, match="completion 1 is not a text but None"):
        check_paired(["a", "b"], ["c", None])


@pytest.mark.parametrize("pair", [("a\ud800", "b"), ("a", "b\udfff"), ([{"role": "user", "content": "\ud800"}], "b")])
def test_half_a_character_is_refused(pair):
    """A JSON file can spell one; tokenizers and servers would fail on it in the middle of a run."""
    with pytest.raises(DataError, match=r"pair 1 holds half a character \('.ud"):
        distinct_pairs(["é", pair[0]], ["é", pair[1]])
