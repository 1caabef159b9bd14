import itertools
import math

import numpy as np
import pytest

from overopt.errors import ConfigError, ShapeError
from overopt.measure.text_features import (
    distinct_share,
    expected_types,
    identical_share,
    ngrams,
    text_features,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rock-n-roll, isn't it?", ["rock", "n", "roll", "isn't", "it"]),
        ("don’t 'quote' dogs'", ["don't", "quote", "dogs"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("私は3歳です", ["私", "は", "3", "歳", "で", "す"]),
        ("ที่ นี่", ["ที่", "นี่"]),
        ("co\u00adoperate", ["cooperate"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("😀 ... !!", []),
        ("x² 3.5", ["x²", "3", "5"]),
        ("", []),
    ],
)
def test_words_of_any_script(text, words):
    assert words_of(text) == words


def test_ascii_texts_take_the_same_rules_as_all_others():
    texts = ["Don't stop", "a'b'c 'd' e''f", "it's_me 3rd", "rock-n-roll", "O'Neill's", "x"]
    for text in texts:
        with_a_mark_that_is_no_word = text + " ☃"
        assert words_of(with_a_mark_that_is_no_word) == words_of(text)


def test_features_of_a_reply_counted_by_hand():
    found = text_features(["So, do you like red tea?"], ["Tea, you know, tea you know? Why? Why not?"])
    # tea you know tea you know why why not
    assert found.words[0] == 9
    assert found.different_words[0] == 5
    assert found.repeated_words[0] == pytest.approx(4 / 9)
    # tea-you you-know know-tea tea-you you-know know-why why-why why-not: two of eight were there before.
    assert found.repeated_bigrams[0] == pytest.approx(2 / 8)
    assert found.questions[0] == 3
    assert found.shared_words[0] == pytest.approx(2 / 5)


def test_question_marks_of_other_scripts_count():
    assert text_features([""] * 3, ["好吗？", "لماذا؟", "τι;"]).questions.tolist() == [1, 1, 0]
    assert text_features([""], ["τι\u037e"]).questions.tolist() == [1]


def test_a_reply_without_words_repeats_nothing_and_shares_nothing():
    found = text_features(["hi"], [":)"])
    assert [float(value[0]) for value in found] == [0, 0, 0, 0, 0, 0]


def test_prompts_and_replies_must_be_as_many():
    with pytest.raises(ShapeError, match="2 completions; got 1"):
        text_features(["a"], ["b", "c"])


@pytest.mark.parametrize("drawn", [1, 2, 3, 5, 7])
def test_expected_types_is_the_mean_over_every_draw(drawn):
    tokens = "aaabbcd"
    counts = [tokens.count(letter) for letter in "abcd"]
    every = [len(set(draw)) for draw in itertools.combinations(tokens, drawn)]
    assert expected_types(counts, drawn) == pytest.approx(np.mean(every), abs=1e-12)


def test_more_tokens_than_there_are_is_unknown():
    assert math.isnan(expected_types([2, 1], 4))
    assert math.isnan(distinct_share([["a", "b"]], 2, 2))


def test_distinct_share_does_not_fall_with_more_text_of_the_same_kind():
    rng = np.random.default_rng(0)
    words = [str(word) for word in rng.integers(50, size=4_000)]
    few = [words[:400]]
    many = [words[k : k + 10] for k in range(0, 4_000, 10)]
    plain = len(set(words[:400])) / 400, len(set(words)) / 4_000
    assert plain[0] > 5 * plain[1]
    assert distinct_share(few, 1, 100) == pytest.approx(distinct_share(many, 1, 100), rel=0.05)


def test_ngrams_do_not_cross_texts():
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    # Of a-b and c-d alone, without b-c, both are drawn.
    assert distinct_share([["a", "b"], ["c", "d"]], 2, 2) == 1.0


def test_distinct_share_needs_something_to_draw():
    with pytest.raises(ConfigError, match="at least 1"):
        distinct_share([["a"]], 0, 1)


def test_identical_replies_count_across_prompts_only():
    same_prompt = identical_share([["hi"], ["hi"], ["yes"]], [1, 1, 2])
    across = identical_share([["hi"], ["hi"], ["yes"]], [1, 2, 2])
    assert same_prompt == 0
    assert across == pytest.approx(2 / 3)
    assert math.isnan(identical_share([], []))
