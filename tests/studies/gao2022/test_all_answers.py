"""Every question, from tables of which something is not there."""

import json

import pytest

from gao2022.made_tables import Truth, made_study
from overopt.studies.catalog import build_study
from overopt.studies.question_results import answer_of

QUESTIONS = tuple(build_study("gao2022", "smoke").questions)


@pytest.fixture(scope="module")
def of_another_gold(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("gold"), Truth(has_parts=False))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_gold_without_parts_answers_all_questions(of_another_gold, question):
    answer = answer_of("gao2022", question)(of_another_gold)
    assert answer.id == question
    assert any(claim.value is not None for claim in answer.claims)
    shown = json.dumps(answer.to_dict(), default=float)
    assert "(part of gold)" not in shown
