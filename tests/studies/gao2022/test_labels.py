"""What the question of the labels finds in made-up studies in which each kind has a law of its own."""

import json

import numpy as np
import pytest

from gao2022.made_tables import GOLD_SD, UNIT, MadeStudy, ProxyTruth, Truth, made_study, varied
from overopt.studies.gao2022 import labels


def _study(tmp_path, alphas: dict[str, float], parts=("labels",), **settings):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=alphas.get(kind, 0.5), beta=0.12)

    return made_study(tmp_path, varied(Truth(proxy=proxy), **settings), parts=parts)


def _claims(tables):
    return {claim.id: claim for claim in labels.answer(tables).claims}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return _study(tmp_path_factory.mktemp("noisy"), {"flip25": 0.2, "flip10": 0.48, "sampled": 0.25})


def test_labels_that_cost_gold_are_found_and_agree_with_the_paper(noisy):
    claims = _claims(noisy)
    assert claims["labels-flip25-gold"].agreement == "agrees"
    assert claims["labels-sampled-gold"].outcome == "below"
    assert claims["labels-accuracy"].outcome == "below"
    low, high = claims["labels-soft-gold"].ci
    assert low <= 0 <= high


def test_the_difference_is_that_of_the_replies_ranked_first(noisy):
    gold = noisy.gold()
    rows = np.arange(len(gold))
    found = {
        kind: np.mean(
            [gold[rows, noisy.raw_scores(f"w16-p8000{kind}-s{seed}").argmax(axis=1)].mean() for seed in range(2)]
        )
        for kind in ("", "-flip25", "-soft")
    }
    claims = _claims(noisy)
    assert claims["labels-flip25-gold"].value == pytest.approx(found["-flip25"] - found[""])
    assert claims["labels-soft-gold"].value == pytest.approx(found["-soft"] - found[""])


def test_accuracy_is_compared_on_the_same_clean_pairs(noisy):
    def accuracy(kind):
        frames = [noisy.proxy(f"w16-p8000{kind}-s{seed}").pair_scores for seed in range(2)]
        return np.mean([(frame["score_chosen"] > frame["score_rejected"]).mean() for frame in frames])

    assert _claims(noisy)["labels-accuracy"].value == pytest.approx(accuracy("-flip25") - accuracy(""))


def test_flipped_labels_that_gain_gold_differ_from_the_paper(tmp_path):
    claims = _claims(_study(tmp_path, {"": 0.2, "flip25": 0.55}))
    assert claims["labels-flip25-gold"].agreement == "differs"
    assert claims["labels-accuracy"].outcome == "above"


def test_only_the_rate_of_the_paper_is_held_against_it(noisy):
    assert _claims(noisy)["labels-flip10-gold"].agreement == "not_published"


def test_the_papers_remark_on_sampled_labels_is_not_held_against_soft_ones(noisy):
    claims = _claims(noisy)
    assert claims["labels-sampled-gold"].agreement == "not_comparable"
    assert claims["labels-soft-gold"].agreement == "not_published"


def test_every_share_of_labels_that_are_turned_round_has_a_claim(tmp_path):
    truth = varied(Truth(), flip_rates=(0.05, 0.1, 0.25, 0.4), prompts=16, pool=32)
    claims = _claims(made_study(tmp_path, truth, parts=("labels",)))
    assert [name for name in claims if "flip" in name] == [f"labels-flip{rate}-gold" for rate in (40, 25, 10, 5)]


def test_the_share_of_sampled_labels_against_gold_is_that_of_the_probabilities(noisy):
    gap = (noisy.preferences["gold_chosen"] - noisy.preferences["gold_rejected"]).to_numpy() / (GOLD_SD * UNIT)
    assert f"contradicts gold in {100 * np.mean(1 / (1 + np.exp(gap))):.0f} %" in labels.answer(noisy).how


def test_proxies_of_rounds_and_passes_are_not_taken_for_clean_labels(tmp_path):
    study = MadeStudy(tmp_path, Truth())
    study.labels()
    before = labels.answer(study.tables).tables[0].rows[0]
    for kind in ("round4", "e1"):
        study.proxy("w16", 8_000, 7, kind=kind)
    after = labels.answer(study.tables).tables[0].rows[0]
    assert after["seeds"] == 2
    assert after == before


def test_without_labels_of_other_kinds_nothing_is_claimed(tmp_path):
    found = labels.answer(made_study(tmp_path, varied(prompts=3, pool=8, large_prompts=2), parts=("sizes",)))
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)
