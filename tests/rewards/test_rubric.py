"""The gold rubric against its documented formulas, worked by hand from published word valences."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.errors import DataError, ShapeError
from overopt.rewards.rubric import FUNCTION_WORDS, PARTS, GoldRubric, words_of

RANGES = {
    "valence": (-1.5, 1.5),
    "relevance": (0, 1),
    "repetition": (-3, 0),
    "length": (-1, 1),
    "question": (-0.5, 0.5),
}
VALENCE = {"good": 1.9, "great": 3.1, "bad": -2.5, "horrible": -2.5, "nice": 1.8, "fun": 2.3}
"""Hutto and Gilbert's means of ten raters, as in the file vader_lexicon.txt."""

RUBRIC = GoldRubric()


def parts_of(prompt: str, completion: str) -> dict[str, float]:
    return {name: float(values[0]) for name, values in RUBRIC.score_parts([prompt], [completion]).parts.items()}


def length_part(n_words: int) -> float:
    return 2 * math.exp(-(math.log(n_words / 12) ** 2) / (2 * 0.7**2)) - 1


def test_an_example_worked_by_hand():
    """11 words, 10 of them different, 10 pairs, all different; "good" twice; "dogs" shared; one question mark."""
    prompt = "I have two dogs.\nReally? Dogs are the best!\n"
    reply = "That sounds good, dogs bring good company. What are their names?"
    found = parts_of(prompt, reply)
    kindness = 2 * VALENCE["good"] / 3
    assert found["valence"] == pytest.approx(1.5 * kindness * math.exp(1 - kindness))
    assert found["relevance"] == pytest.approx(1 - math.exp(-1))
    assert found["repetition"] == pytest.approx(-2 * (1 / 11))
    assert found["length"] == pytest.approx(length_part(11))
    assert found["question"] == 0.5
    assert float(RUBRIC.score([prompt], [reply])[0]) == pytest.approx(math.fsum(found.values()))


def test_an_unkind_example_worked_by_hand():
    """6 words, 3 different; 5 pairs, 3 different: "bad bad", "bad day", "day horrible"."""
    found = parts_of("How was your day?\n", "bad bad bad bad day horrible")
    assert found["valence"] == pytest.approx(1.5 * math.tanh((4 * VALENCE["bad"] + VALENCE["horrible"]) / 2))
    assert found["relevance"] == pytest.approx(1 - math.exp(-1))
    assert found["repetition"] == pytest.approx(-2 * (3 / 6) - 1 * (2 / 5))
    assert found["length"] == pytest.approx(length_part(6))
    assert found["question"] == 0.0


def test_the_best_length_is_12_words_and_falls_on_both_sides():
    filler = [f"word{number}" for number in range(60)]
    scores = [parts_of("x", " ".join(filler[:count]))["length"] for count in range(1, 61)]
    assert scores[11] == 1.0
    assert (np.diff(scores[:12]) > 0).all()
    assert (np.diff(scores[11:]) < 0).all()


def test_kindness_is_best_in_small_amounts():
    """Over-praise is the way a proxy goes wrong here: the true score must fall beyond s = 3."""
    scores = [parts_of("x", " ".join(["good"] * count))["valence"] for count in range(30)]
    assert scores[0] == 0
    assert max(scores) == scores[2]
    assert scores[2] > 1.4
    assert (np.diff(scores[2:]) < 0).all()
    assert scores[29] < 0.01


@pytest.mark.parametrize("completion", ["", "   ", "?!", "…", "???"])
def test_a_reply_without_words_scores_minus_1(completion):
    found = parts_of("Is it?", completion)
    assert found == {"valence": 0, "relevance": 0, "repetition": 0, "length": -1, "question": 0}
    assert float(RUBRIC.score(["Is it?"], [completion])[0]) == -1


BASE = "green tables stand under seven lamps"
PROMPT = "Lamps and tables?\n"


@pytest.mark.parametrize(
    ("changed", "part", "sign"),
    [
        (BASE + "?", {"question"}, +1),
        (BASE + "??", {"question"}, -1),
        (BASE.replace("seven", "good"), {"valence"}, +1),
        (BASE.replace("seven", "bad"), {"valence"}, -1),
        (BASE.replace("seven", "green"), {"repetition"}, -1),
        (BASE.replace("tables", "chairs"), {"relevance"}, -1),
        (BASE + " here", {"length"}, +1),
        (BASE.upper() + "!", set(), 0),
    ],
)
def test_a_change_moves_its_own_part_alone(changed, part, sign):
    """The word "here" is outside the function words and the prompt; 7 words are nearer 12 than 6 are."""
    before, after = parts_of(PROMPT, BASE), parts_of(PROMPT, changed)
    assert {name for name in PARTS if before[name] != after[name]} == part
    for name in part:
        assert math.copysign(1, after[name] - before[name]) == sign


def test_the_score_depends_on_the_prompt():
    """AlpacaFarm-style gold prompts once lost the instruction in formatting: gold no longer saw what was asked."""
    reply = "The lighthouse keeper is my uncle"
    about, other = RUBRIC.score(["Who is the lighthouse keeper?\n", "Do you like tea?\n"], [reply, reply])
    assert about - other == pytest.approx((1 - math.exp(-2)) - 0)


def test_function_words_do_not_count_as_relevant():
    assert parts_of("What do you think about that?\n", "you think that about what")["relevance"] == 0
    assert all(word == word.lower() and words_of(word) == [word] for word in FUNCTION_WORDS)


def test_a_shared_word_counts_once():
    once, often = (parts_of("lamps lamps\n", text)["relevance"] for text in ("lamps", "lamps lamps lamps"))
    assert once == often == pytest.approx(1 - math.exp(-1))


def test_order_and_batch_change_nothing():
    rng = random.Random(0)
    words = [*VALENCE, "lamp", "tree?", "the", "", "you"]
    prompts = [" ".join(rng.choices(words, k=rng.randrange(6))) for _ in range(80)]
    replies = [" ".join(rng.choices(words, k=rng.randrange(25))) for _ in range(80)]
    scores = RUBRIC.score(prompts, replies)
    order = rng.sample(range(80), 80)
    shuffled = RUBRIC.score([prompts[i] for i in order], [replies[i] for i in order])
    assert (shuffled == scores[order]).all()
    assert [float(RUBRIC.score([p], [r])[0]) for p, r in zip(prompts, replies, strict=True)] == scores.tolist()
    assert (GoldRubric().score(prompts, replies) == scores).all()
    assert len(set(scores.tolist())) > 60


def test_a_conversation_is_scored_by_the_last_turn_of_its_user():
    turns = [
        {"role": "user", "content": "Do you stand under green boats?"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": PROMPT},
    ]
    plain, talked, earlier = (float(RUBRIC.score([prompt], [BASE])[0]) for prompt in (PROMPT, turns, turns[:2]))
    assert plain == talked
    assert earlier > plain
    assert RUBRIC.score([turns, PROMPT, turns[:2]], [BASE] * 3).tolist() == [talked, plain, earlier]
    with pytest.raises(DataError, match="without a turn of its user"):
        RUBRIC.score([[{"role": "system", "content": "Be brief."}]], [BASE])


def test_progress_ends_at_all_texts():
    seen = []
    RUBRIC.score([PROMPT] * 12_345, [BASE] * 12_345, progress=lambda *report: seen.append(report))
    assert seen == [(5_000, 12_345, "texts"), (10_000, 12_345, "texts"), (12_345, 12_345, "texts")]


def test_a_completion_that_is_no_text_is_refused():
    with pytest.raises(DataError, match="completion 1 is not a text but None"):
        RUBRIC.score([PROMPT, PROMPT], [BASE, None])


def test_no_replies_have_no_scores():
    assert RUBRIC.score([], []).shape == (0,)


def test_prompts_must_go_with_completions():
    with pytest.raises(ShapeError, match="2 prompts do not go with 1 completions"):
        RUBRIC.score(["a", "b"], ["c"])


TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["good", "bad", "lamp", "?", "é", "don't", "'", "9", "İ"]), max_size=60).map(" ".join),
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(TEXTS, TEXTS)
def test_any_text_stays_inside_the_documented_ranges(prompt, completion):
    found = parts_of(prompt, completion)
    assert tuple(found) == PARTS
    for name, (low, high) in RANGES.items():
        assert low <= found[name] <= high
    assert found["repetition"] > -3
    total = float(RUBRIC.score([prompt], [completion])[0])
    assert math.isfinite(total)
    assert total == pytest.approx(math.fsum(found.values()), abs=1e-12)
