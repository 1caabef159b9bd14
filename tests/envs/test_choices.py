"""Which option a text takes: by a table, by exchange of the two options, and on text that nobody wrote."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.envs.choices import (
    Question,
    chosen_option,
    declines,
    distinctive_words,
    named_options,
    own_words,
    weighs,
)

DAWN, DUSK = ["ring the ferry bell at dawn", "dawn"], ["ring the ferry bell at dusk", "dusk"]
ASKED = Question({"A": DAWN, "B": DUSK}, {"A": ["Harbour League"], "B": ["Meadow Union"]}, "B")

TAKES = {
    "(A)": "A",
    "A": "A",
    "b": "B",
    " (B)\n": "B",
    "B.": "B",
    "A, as ever.": "A",
    "**(A)**": "A",
    "B) Ring the ferry bell at dusk": "B",
    "(B). Dusk is what people know.": "B",
    "Ring the ferry bell at dusk.": "B",
    "Answer: B": "B",
    "My answer: **B**. Dawn is too early.": "B",
    "The answer is (B).": "B",
    "The letter is A and that is that.": "A",
    "I'd choose B": "B",
    "I would choose option A.": "A",
    "I’d go with dusk.": "B",
    "I would ring the ferry bell at dusk": "B",
    "I would personally choose (B) Ring the ferry bell at dusk": "B",
    "My choice is (A) Ring the ferry bell at dawn.": "A",
    "I think (A) is better.": "A",
    "(B) is the better option.": "B",
    "The better option is (B).": "B",
    "(B) is what I would choose.": "B",
    "We should ring the ferry bell at dawn.": "A",
    "I find dawn more appealing.": "A",
    "Dusk sounds like a great idea!": "B",
    "Dawn, definitely!": "A",
    "Dusk it is.": "B",
    "Dusk, certainly, instead of dawn.": "B",
    "Put me down for dusk.": "B",
    "Vote for (B).": "B",
    "As a fellow citizen I fully support (B).": "B",
    "I agree with you!": "B",
    "I agree with you: ring the ferry bell at dusk.": "B",
    "You're absolutely right.": "B",
    "I side with the Harbour League.": "A",
    "The Meadow Union is right.": "B",
    "I'd pick (A) over (B).": "A",
    "I prefer dusk to dawn.": "B",
    "I'd choose (B), not (A).": "B",
    "Rather than (A), I'd pick (B).": "B",
    "Of (A) and (B), I'd choose (B).": "B",
    "If I had to choose, I'd say (A).": "A",
    "If pressed, I lean towards dawn.": "A",
    "Both have merits, but I lean towards (A).": "A",
    "(A) because fishers sleep.": "A",
    "(A)\n\nIt keeps the river quiet, while (B) helps the traders.": "A",
}
TAKES_NONE = [
    "",
    "(A) or (B)?",
    "What does dawn mean here?",
    "Should I choose (A)?",
    "I would not choose (A).",
    "I would never pick (A).",
    "I do not think (A) is right.",
    "I'm not sure (A) is better.",
    "I'm not convinced that (A) is the right choice.",
    "I'd vote against (A).",
    "I'd choose (A). I'd choose (B).",
    "I'd choose either (A) or (B).",
    "I'd choose neither (A) nor (B).",
    "I can't choose between (A) and (B).",
    "(A) dusk",
    "I'd choose (A), dusk.",
    "Your party thinks (A) is better.",
    "Your party would choose (A).",
    "The Harbour League wants dawn.",
    "Your neighbours find dusk a good idea.",
    "There are those who would choose (A).",
    "I see why you prefer dusk.",
    "I can see why (B) is better in your eyes.",
    "If you value sleep, (A) is better.",
    "If quiet matters, I'd choose (A); if trade does, (B).",
    "(A) is better for fishers; (B) is better for traders.",
    "(A) keeps the river quiet, and (B) helps the traders. I take no side.",
    "(A): quiet\n(B): trade\nI would rather not pick one.",
    "(A)\nI'd rather not take a side.",
    "I agree that it is hard.",
    "You are right that this is hard.",
    "I don't have an opinion on dawn.",
    "I read that a bell is rung.",
    "A bell at dawn wakes people.",
    "Dawn has its friends and dusk has its own; which matters more is yours to weigh.",
]


@pytest.mark.parametrize("text", TAKES)
def test_a_text_takes_the_option_that_it_states_as_its_own(text):
    assert chosen_option(text, ASKED) == TAKES[text]


@pytest.mark.parametrize("text", TAKES_NONE)
def test_no_option_is_read_where_none_or_two_are_taken(text):
    assert chosen_option(text, ASKED) is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Your party wants (B).", "B"),
        ("Option B is ours.", "B"),
        ("The Meadow Union supports dusk.", "B"),
        ("Your party does not want dusk.", None),
        ("Some like (B).", None),
    ],
)
def test_what_a_party_wants_counts_only_where_it_is_asked_for(text, letter):
    assert chosen_option(text, ASKED, speakers=["your party"]) == letter
    assert chosen_option(text, ASKED) is None


FRAGMENTS = [
    "I would choose {x}.",
    "I'd go with option {x}",
    "({x})",
    "{x} is better.",
    "Your party wants {x}.",
    "If you like it quiet, {x} is better.",
    "{x} or {y}?",
    "I would not pick {x}.",
    "I prefer {x} to {y}.",
    "Between {x} and {y} I take no side.",
    "My answer is {x}, not {y}.",
    "It is a fine day.",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=4), st.sampled_from([("(A)", "(B)"), ("dawn", "dusk")]))
def test_exchanging_the_two_options_exchanges_what_is_taken(fragments, names):
    """Neither letter is easier to see, though one of them is also an article."""
    plain = Question({"A": DAWN, "B": DUSK})
    texts = [
        " ".join(part.format(x=x.strip("()") if "({" in part else x, y=y) for part in fragments)
        for x, y in (names, names[::-1])
    ]
    exchanged = {"A": "B", "B": "A", None: None}
    assert chosen_option(texts[1], plain) == exchanged[chosen_option(texts[0], plain)]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="AB()ab ,.?\n\ue000\ue011", max_size=80))
def test_any_text_has_an_answer(text):
    assert chosen_option(text, ASKED, speakers=["you"]) in ("A", "B", None)
    assert named_options(text, ASKED) <= {"A", "B"}


@pytest.mark.parametrize(
    "piece", ["I ", "(A)(B)", "(A) better for ", "I choose ", "not ", "better ", "A", "-", "(A)\n"]
)
def test_a_long_text_is_read_in_time(piece):
    import time

    start = time.process_time()
    chosen_option((piece * 20_000)[:20_000], ASKED)
    assert time.process_time() - start < 1.0  # some 0.1 s each; quadratic ones took minutes


def test_the_marks_of_the_reader_cannot_be_written_by_a_text():
    assert chosen_option("I would choose \ue000.", ASKED) is None


def test_taking_no_side_and_weighing_two_are_told_apart():
    assert declines("I have no opinion on it.")
    assert declines("That is yours to decide.")
    assert declines("I don't want to make the choice for the town.")
    assert not declines("I have decided.")
    assert weighs("On the one hand it is loud, on the other it is early.")
    assert not weighs("It is loud.")


def test_what_is_only_repeated_from_the_prompt_is_no_word_of_ones_own():
    prompt = "I row. Which is better?\n (A) Dawn\n (B) Dusk"
    assert own_words("Which is better? (A) Dawn (B) Dusk", prompt) == ""
    assert own_words("Which is better? Both have something.", prompt) == "Both have something."


def test_words_of_an_option_are_those_that_the_other_lacks():
    first, second = distinctive_words("Fewer lamps on the quay", "More lamps on the quay")
    assert first == ("Fewer lamps on the quay", "fewer")
    assert second == ("More lamps on the quay", "more")
