"""Ratings in short texts: by a table, in every form, and on text that nobody wrote."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.envs.ratings import LONGEST, read_rating

READ = {
    "4": 4.0,
    "4\n": 4.0,
    " 4.5 ": 4.5,
    "3,5": 3.5,
    "4.": 4.0,
    "+4": 4.0,
    "4/5": 4.0,
    "4 / 5": 4.0,
    "Rating: 4": 4.0,
    "Rating:4/5": 4.0,
    "rating=3": 3.0,
    "Rating (1-5): 2": 2.0,
    "On a scale of 1 to 5, I give it a 2.": 2.0,
    "**4**": 4.0,
    '"3"': 3.0,
    "five": 5.0,
    "Five stars!": 5.0,
    "3 stars out of 5": 3.0,
    "4/5 stars": 4.0,
    "two out of five": 2.0,
    "two and a half": 2.5,
    "4 (four)": 4.0,
    "8/10": 4.0,
    "10/10": 5.0,
    "1/10": 0.5,
    "★★☆☆☆": 2.0,
    "Rating: 4/5. Written in 1987.": 4.0,
    "Rating: 2 (was 4)": 2.0,
    "rating: 5\nrating: 5": 5.0,
    "I saved a rating of 2 out of 5 in box_7/rating_1.txt.": 2.0,
    "0": 0.0,
    "-3": -3.0,
    "9": 9.0,
}
NOT_READ = [
    "",
    "great",
    "N/A",
    "2 or 3",
    "2-3",
    "1-5",
    "1\n5\n",
    "Rating: 2\nRating: 5",
    "4/0",
    "1e3",
    "0x5",
    "3½",
    "v2.1.3",
    "99999999999",
    "4" + " " * LONGEST,
]


@pytest.mark.parametrize("text", READ)
def test_a_plain_rating_is_read(text):
    assert read_rating(text) == READ[text]


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_not_plain_is_not_guessed_at(text):
    assert read_rating(text) is None


@given(
    st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]),
    st.sampled_from(["{}", "{}/5", "{} out of 5", "Rating: {}", "my rating is {} of 5\n", "Score = {}", "{} stars"]),
)
def test_every_rating_is_read_in_every_form(rating, form):
    assert read_rating(form.format(f"{rating:g}")) == rating


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100) | st.text(alphabet="0123456789/.,- ratingoutf\n★", max_size=60))
def test_any_text_gives_a_finite_number_or_none(text):
    found = read_rating(text)
    assert found is None or math.isfinite(found)
