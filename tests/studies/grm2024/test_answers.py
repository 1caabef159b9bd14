"""Models whose quality is made up: who is better, where, by how much, and what is said of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from studies.grm2024.made_grm import CONFIG, QUALITY, made_grm

from overopt.studies.grm2024 import accuracy, alpha, best_of_n, noise, ppo, prediction
from overopt.studies.grm2024.methods import METHODS
from overopt.studies.grm2024.pressure import Arm, win_claim


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return made_grm(tmp_path_factory.mktemp("grm"), gains={"grm-sft": 0.5})


def claim(answer, name):
    return next(one for one in answer.claims if one.id == name)


def right(quality):
    """Share of pairs that a score of this correlation with gold orders rightly, in per cent."""
    return 50 + 100 * math.asin(quality) / math.pi


def test_gains_in_and_out_of_distribution_are_the_true_ones_and_stand_beside_the_published(tables):
    found = accuracy.answer(tables)
    out, inside = claim(found, "accuracy-grm-sft-out"), claim(found, "accuracy-grm-sft-in")
    assert out.value == pytest.approx(right(0.6) - right(0.2), abs=3)
    assert (out.outcome, out.agreement) == ("above", "agrees")
    assert abs(inside.value) < 4
    assert "2.7 points over Bradley-Terry on Unified-Feedback" in inside.published.finding
    dpo = claim(found, "accuracy-grm-dpo-in")
    assert dpo.value == pytest.approx(right(0.8) - right(0.5), abs=3)
    assert (dpo.outcome, dpo.agreement) == ("above", "agrees")
    frozen = claim(found, "accuracy-frozen-in")
    assert (frozen.outcome, frozen.agreement) == ("below", "not_published")
    assert claim(found, "accuracy-margin-out").agreement == "not_comparable"
    assert claim(found, "accuracy-out-more-than-in").outcome == "above"
    assert claim(found, "accuracy-grm-sft-over-grm-dpo").outcome == "above"
    language = claim(found, "accuracy-grm-sft-language")
    assert language.value == pytest.approx(-0.5)
    assert language.outcome == "below"


def test_the_table_has_the_form_of_the_paper_with_intervals(tables):
    found = accuracy.answer(tables)
    first, second, published = found.tables
    assert (first.name, second.name, published.name) == ("accuracy-p1500", "accuracy-p500", "accuracy-published")
    rows = {row["method"]: row for row in first.rows}
    assert list(rows) == [method.title for method in METHODS]
    low, high = rows["GRM, DPO"]["in_ci"]
    assert low < right(0.8) < high
    assert rows["ensemble, mean"]["in"] > rows["Bradley-Terry"]["in"]
    assert rows["ensemble, mean"]["nats"] is None


def test_alphas_are_held_against_zero_and_the_papers_range_against_more(tables):
    found = alpha.answer(tables)
    assert claim(found, "alpha-0.05-p1500-out").outcome == "above"
    assert claim(found, "alpha-range-p1500").outcome == "open"
    assert claim(found, "alpha-range-p1500").agreement == "undetermined"
    assert [row["alpha"] for row in found.tables[0].rows] == ["0", "0.05", "0.3"]


def test_wrong_labels_have_claims_of_their_own_methods(tables):
    found = noise.answer(tables)
    assert {row["method"] for row in found.tables[0].rows} == {"Bradley-Terry", "ensemble, minimum", "GRM, SFT"}
    assert claim(found, "noise-grm-sft-out").outcome == "above"
    assert claim(found, "noise-grm-sft-out").published is None
    assert abs(claim(found, "noise-more-grm-sft").value) < 4


def test_best_of_n_gains_by_what_the_model_knows_of_the_pool(tables):
    found = best_of_n.answer(tables)
    better, worse = claim(found, "bon-clean-grm-dpo-gold"), claim(found, "bon-clean-frozen-gold")
    assert (better.outcome, worse.outcome) == ("above", "below")
    # Best of 256: the largest of as many normal scores is 2.8 of them, in prompts' noise of 1 / sqrt(1.25).
    assert better.value == pytest.approx((0.8 - 0.5) * 2.8 / math.sqrt(1.25), abs=0.2)
    assert claim(found, "bon-clean-grm-dpo-wins").outcome == "above"
    assert claim(found, "bon-clean-frozen-wins").value < 50
    assert abs(claim(found, "bon-clean-grm-sft-gold").value) < 0.2


def test_ppo_is_compared_at_one_distance_and_at_the_end(tables):
    found = ppo.answer(tables)
    matched, final = claim(found, "ppo-clean-grm-sft-matched"), claim(found, "ppo-clean-grm-sft-final")
    assert matched.value == pytest.approx(0.5, abs=0.08)
    assert final.value == pytest.approx(0.75, abs=0.08)
    assert (matched.outcome, final.outcome) == ("above", "above")
    wins = claim(found, "ppo-clean-grm-sft-final-wins")
    assert (wins.outcome, wins.agreement) == ("above", "agrees")
    assert "70.5 % with ties one half" in wins.published.finding
    assert claim(found, "ppo-clean-grm-dpo-wins").value == pytest.approx(50, abs=5)


def test_runs_that_stay_near_have_no_number_there(tmp_path):
    found = ppo.answer(made_grm(tmp_path, config=replace(CONFIG, matched_kl=50.0, end_kl=60.0)))
    for name in ("matched", "wins", "lost"):
        missing = claim(found, f"ppo-clean-grm-sft-{name}")
        assert (missing.value, missing.outcome) == (None, "unknown")
        assert "a run never went as far as" in missing.sentence


def test_the_accuracy_that_knows_the_pool_foretells_gold(tables):
    found = prediction.answer(tables)
    assert claim(found, "prediction-bon-gold-in").value > 0.3
    assert claim(found, "prediction-bon-gold-difference").value < 0
    assert len(found.tables[0].rows) == 3 * 6


def test_every_sentence_is_whole_and_names_are_unique(tables):
    answers = [part.answer(tables) for part in (accuracy, alpha, noise, best_of_n, ppo, prediction)]
    claims = [one for found in answers for one in found.claims]
    assert len({one.id for one in claims}) == len(claims)
    assert all("{" not in one.sentence and one.sentence.endswith(".") for one in claims)
    assert QUALITY["bt"] == (0.5, 0.2)


def test_no_interval_of_a_win_rate_leaves_what_a_share_can_be():
    arm = Arm(method="grm-sft", flip_rate=0.0, degrees=[], last_SP=np.zeros((3, 2)))
    wide = win_claim("wins", "at the end", np.array([[0.1, 0.2], [0.9, 0.8], [0.6, 0.5]]), arm, "3 seeds")
    assert wide.ci == (0.0, 100.0)
    assert "−" not in wide.sentence
    one = win_claim("wins", "at the end", np.array([[0.4, 0.2]]), arm, "1 seed")
    assert one.ci == (None, None)
