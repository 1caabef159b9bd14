"""A claim's words follow from its interval by one rule."""

import json
from dataclasses import replace

import pytest

from overopt.errors import DataError
from overopt.records.answers import Answer, Axis, Claim, FigureData, Published

CLAIM = Claim(
    id="beta-falls",
    what="change of β for ten times the parameters",
    value=-0.5,
    ci=(-0.7, -0.3),
    counted="64 prompts",
    sentences={
        "above": "β rises by {size} {ci}.",
        "below": "β falls by {size} {ci}.",
        "open": "β has no clear trend: {value} {ci}.",
        "equal": "β stays: {value} {ci}.",
    },
    published=Published(finding="β falls", source="Gao et al. 2022, fig. 3", outcomes=("below",)),
)


@pytest.mark.parametrize(
    ("changes", "outcome", "agreement", "sentence"),
    [
        ({}, "below", "agrees", "β falls by 0.50 [0.30, 0.70]."),
        ({"value": 0.5, "ci": (0.3, 0.7)}, "above", "differs", "β rises by 0.50 [0.30, 0.70]."),
        ({"ci": (-0.7, 0.1)}, "open", "undetermined", "β has no clear trend: −0.50 [−0.70, 0.10]."),
        ({"margin": 0.8}, "equal", "differs", "β stays: −0.50 [−0.70, −0.30]."),
        ({"margin": 0.6}, "below", "agrees", "β falls by 0.50 [0.30, 0.70]."),
        ({"reference": -1.0}, "above", "differs", "β rises by 0.50 [0.30, 0.70]."),
        ({"ci": (-0.5, 0.0)}, "open", "undetermined", "β has no clear trend: −0.50 [−0.50, 0.00]."),
        ({"published": None}, "below", "not_published", "β falls by 0.50 [0.30, 0.70]."),
        ({"published": Published(finding="β", source="x", why_not="other units")}, "below", "not_comparable",
         "β falls by 0.50 [0.30, 0.70]."),
        ({"unit": "nats", "digits": 1}, "below", "agrees", "β falls by 0.5\N{NO-BREAK SPACE}nats [0.3, 0.7]."),
        ({"value": None, "ci": (None, None), "note": "no run turned"}, "unknown", "undetermined",
         "Not known: change of β for ten times the parameters: no run turned."),
        ({"ci": (None, -0.3)}, "unknown", "undetermined",
         "Not known: change of β for ten times the parameters (−0.50 [unknown, −0.30])."),
    ],
)  # fmt: skip
def test_words_follow_from_the_interval(changes, outcome, agreement, sentence):
    claim = replace(CLAIM, **changes)
    assert (claim.outcome, claim.agreement, claim.sentence) == (outcome, agreement, sentence)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ci": (-0.4, -0.3)}, "outside of its interval"),
        ({"value": float("nan")}, "is None, not nan"),
        ({"ci": (float("-inf"), 0.0)}, "is None, not"),
        ({"sentences": {"above": "", "below": ""}}, "no sentence for open"),
        ({"margin": 0.1, "sentences": {"above": "", "below": "", "open": ""}}, "no sentence for equal"),
    ],
)
def test_a_claim_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        replace(CLAIM, **changes)


def test_a_figure_names_columns_that_its_rows_have():
    rows = [{"d": 1.0, "gold": 2.0}]
    figure = FigureData(
        name="f", title="t", caption="c", rows=rows, x=Axis(field="d", title="d"), y=Axis(field="gold", title="gold")
    )
    with pytest.raises(DataError, match="no column low"):
        replace(figure, low="low")
    with pytest.raises(DataError, match="no rows"):
        replace(figure, rows=[])


def test_an_answer_is_json_with_what_follows_from_its_numbers():
    answer = Answer(id="size", title="Size", question="Does β fall?", how="Best-of-n.", claims=[CLAIM])
    (claim,) = json.loads(json.dumps(answer.to_dict()))["claims"]
    assert (claim["outcome"], claim["agreement"], claim["value"]) == ("below", "agrees", -0.5)
    assert claim["sentence"].startswith("β falls by")
