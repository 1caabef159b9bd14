"""A claim whose interval decides nothing must not read as a finding of equality."""

import importlib
import re

import pytest

from gao2022.made_tables import Truth, made_study, varied

QUESTIONS = (
    "data", "distance", "entropy", "epochs", "extrapolation", "goodhart", "labels", "methods", "penalties", "policies",
    "recalibration", "rounds", "sizes", "stopping", "texts",
)  # fmt: skip
EQUALITY = re.compile(r"\babout (as|the same)\b|\b(is|are|has|have|spend) (about )?the same\b|\blies where\b")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    truth = varied(Truth(), prompts=8, pool=16, other_pool=16, large_prompts=4, large_pool=64, fitted_up_to=16)
    return made_study(tmp_path_factory.mktemp("all"), truth)


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_open_is_not_called_equal(tables, question):
    found = importlib.import_module(f"overopt.studies.gao2022.{question}").answer(tables)
    assert found.claims
    for claim in found.claims:
        assert not EQUALITY.search(claim.sentences["open"]), claim.id
