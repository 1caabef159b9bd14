"""Iterated rounds against the law of a single one, on made-up runs that follow it or do not."""

import math
import re

import numpy as np
import pytest

from gao2022.made_tables import RunTruth, Truth, made_study, varied
from overopt.studies.gao2022 import rounds

ALPHA, BETA, AT_ONCE = 0.5, 0.4, 0.6
"""Gold of a single run peaks at d = exp(1/4), well inside of its 3, so that the law is identified."""


def _gold(d: np.ndarray, k: int, alpha: float = ALPHA) -> np.ndarray:
    safe = np.where(d > 0, d, 1.0)
    return d * (alpha - BETA * np.log(safe) + BETA * math.log(k))


def _runs(follows: bool):
    """Round k goes from d = k - 1 to d = k; the others go to 3. ``follows``: gold is what the law predicts."""

    def run(name: str, parameters: int, penalty: float) -> RunTruth:
        found = re.match(r"round(\d+)-", name)
        if found is None:
            d, alpha = np.linspace(0, 3, 11), AT_ONCE if name.startswith("at-once") else ALPHA
            gold = _gold(d, 1, alpha)
        else:
            k = int(found[1])
            d = np.linspace(k - 1, k, 5)
            gold = _gold(d, k if follows else 1)
        return RunTruth(steps=range(len(d)), kl=(d**2).tolist(), gold=gold.tolist(), proxy=(0.8 * d).tolist())

    return run


def _claims(tables):
    return {claim.id: claim for claim in rounds.answer(tables).claims}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    truth = Truth(run=_runs(follows=True), gold_noise=0.3)
    return made_study(tmp_path_factory.mktemp("followed"), truth, parts=("rounds",))


def test_rounds_that_follow_the_prediction_are_equal_to_it(followed):
    claim = _claims(followed)["rounds-prediction"]
    assert claim.value == pytest.approx(0.0, abs=0.06)
    assert (claim.outcome, claim.agreement) == ("equal", "agrees")


def test_the_gain_over_a_single_round_and_over_all_labels_at_once_is_measured_at_equal_distance(followed):
    claims = _claims(followed)
    gain = BETA * 3 * math.log(3)
    assert claims["rounds-gain"].value == pytest.approx(gain, abs=0.06)
    assert claims["rounds-gain"].ci[0] <= gain <= claims["rounds-gain"].ci[1]
    assert claims["rounds-gain"].agreement == "agrees"
    budget = gain - 3 * (AT_ONCE - ALPHA)
    assert claims["rounds-budget"].value == pytest.approx(budget, abs=0.06)
    assert claims["rounds-budget"].outcome == "above"


def test_rounds_that_gain_nothing_fall_short_of_the_prediction(tmp_path):
    tables = made_study(tmp_path, Truth(run=_runs(follows=False), gold_noise=0.3), parts=("rounds",))
    claims = _claims(tables)
    assert claims["rounds-prediction"].value == pytest.approx(-BETA * 3 * math.log(3), abs=0.08)
    assert claims["rounds-prediction"].agreement == "differs"
    assert claims["rounds-gain"].value == pytest.approx(0.0, abs=0.06)
    assert claims["rounds-gain"].outcome != "above"
    assert claims["rounds-budget"].outcome == "below"


def test_each_round_has_a_row_with_its_own_prediction(followed):
    rows = rounds.answer(followed).tables[0].rows
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert [row["d"] for row in rows] == pytest.approx([1, 2, 3], rel=0.03)
    for row in rows:
        expected = float(_gold(np.array([row["round"]]), row["round"])[0])
        assert row["predicted"] == pytest.approx(expected, abs=0.06)
        assert row["gold"] == pytest.approx(expected, abs=0.06)


def test_the_way_of_the_rounds_is_drawn_end_to_end(followed):
    rows = [row for row in rounds.answer(followed).figures[0].rows if row["panel"] == "seed 0"]
    way = [row for row in rows if row["kind"] == "rounds"]
    assert [row["order"] for row in way] == list(range(15))
    assert [row["round"] for row in way] == [1] * 5 + [2] * 5 + [3] * 5
    assert len([row for row in rows if row["kind"] == "predicted"]) == 3


def test_a_single_run_that_stayed_behind_the_last_round_is_not_compared(tmp_path):
    usual = _runs(follows=True)

    def run(name, parameters, penalty):
        truth = usual(name, parameters, penalty)
        if not name.startswith("single"):
            return truth
        d = np.linspace(0, 1.5, 11)
        return RunTruth(steps=range(11), kl=(d**2).tolist(), gold=_gold(d, 1).tolist(), proxy=d.tolist())

    claim = _claims(made_study(tmp_path, Truth(run=run), parts=("rounds",)))["rounds-gain"]
    assert claim.value is None
    assert "share no distance" in claim.note


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """The single run ends at 1.6, in the second round; beyond it the third round gains nothing."""
    usual = _runs(follows=True)

    def run(name, parameters, penalty):
        if name.startswith("round3"):
            return _runs(follows=False)(name, parameters, penalty)
        if not name.startswith("single"):
            return usual(name, parameters, penalty)
        d = np.linspace(0, 1.6, 11)
        gold = d * (1.2 - 1.1 * np.log(np.where(d > 0, d, 1.0)))
        return RunTruth(steps=range(11), kl=(d**2).tolist(), gold=gold.tolist(), proxy=d.tolist())

    folder = tmp_path_factory.mktemp("half")
    return made_study(folder, Truth(run=run, gold_noise=0.05), parts=("rounds",))


def test_the_prediction_is_judged_within_the_distances_of_the_single_run_by_the_round_that_passes_there(half_way):
    claim = _claims(half_way)["rounds-prediction"]
    measured = float(_gold(np.array([1.6]), 2)[0])
    predicted = 1.6 * (1.2 - 1.1 * math.log(1.6) + 1.1 * math.log(2))
    assert claim.value == pytest.approx(measured - predicted, abs=0.08)
    assert "seed 0 at d = 1.6" in claim.note
    assert "in round 2" in claim.note


def test_rounds_beyond_the_single_run_have_no_prediction(half_way):
    found = rounds.answer(half_way)
    assert [row["predicted"] is None for row in found.tables[0].rows] == [False, True, True]
    drawn = [row for row in found.figures[0].rows if row["kind"] == "predicted" and row["panel"] == "seed 0"]
    assert [row["round"] for row in drawn] == [1]


def test_a_single_run_that_the_first_round_passes_says_nothing_of_rounds(tmp_path):
    usual = _runs(follows=True)

    def run(name, parameters, penalty):
        if not name.startswith("single"):
            return usual(name, parameters, penalty)
        d = np.linspace(0, 0.8, 11)
        gold = d * (0.2 - 0.8 * np.log(np.where(d > 0, d, 1.0)))
        return RunTruth(steps=range(11), kl=(d**2).tolist(), gold=gold.tolist(), proxy=d.tolist())

    claim = _claims(made_study(tmp_path, Truth(run=run, gold_noise=0.05), parts=("rounds",)))["rounds-prediction"]
    assert claim.outcome == "unknown"
    assert "the first round passes: seed 0, 1" in claim.note


def test_a_law_that_is_not_identified_predicts_nothing(tmp_path):
    usual = _runs(follows=True)

    def run(name, parameters, penalty):
        truth = usual(name, parameters, penalty)
        if not name.startswith("single"):
            return truth
        return RunTruth(steps=truth.steps, kl=truth.kl, gold=[0.3 * kl**0.5 for kl in truth.kl], proxy=truth.proxy)

    found = rounds.answer(made_study(tmp_path, Truth(run=run), parts=("rounds",)))
    claim = next(claim for claim in found.claims if claim.id == "rounds-prediction")
    assert (claim.value, claim.outcome) == (None, "unknown")
    assert "0 seeds" in claim.counted
    assert not [row for row in found.figures[0].rows if row["kind"] == "predicted"]


def test_a_seed_whose_law_is_not_identified_is_left_out_and_named(tmp_path):
    usual = _runs(follows=True)

    def run(name, parameters, penalty):
        truth = usual(name, parameters, penalty)
        if name != "single-s1":
            return truth
        return RunTruth(steps=truth.steps, kl=truth.kl, gold=[0.3 * kl**0.5 for kl in truth.kl], proxy=truth.proxy)

    claim = _claims(made_study(tmp_path, Truth(run=run), parts=("rounds",)))["rounds-prediction"]
    assert "seed 1 unidentified" in claim.note
    assert "1 seed," in claim.counted
    assert claim.value == pytest.approx(0.0, abs=0.1)


def test_a_study_too_small_to_tell_or_without_rounds_says_so(tmp_path):
    truth = varied(Truth(run=_runs(follows=True)), prompts=3, large_prompts=3)
    few = made_study(tmp_path / "few", truth, parts=("rounds",))
    assert {claim.outcome for claim in rounds.answer(few).claims} == {"unknown"}
    none = rounds.answer(made_study(tmp_path / "none", parts=("labels",)))
    assert all(claim.value is None and claim.note for claim in none.claims)
    assert not none.figures
