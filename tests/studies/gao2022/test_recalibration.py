"""What the question of recalibration finds in made-up studies whose proxies have a known confidence."""

import json
import math

import numpy as np
import pytest

from gao2022.changed_tables import change, opened_again
from gao2022.made_tables import GOLD_SD, UNIT, ProxyTruth, Truth, made_study, varied
from overopt.studies.gao2022 import recalibration

FOUR = ("chitchat-w8", "chitchat-w16", "chitchat-w32", "chitchat-w64")


def _claims(tables):
    return {claim.id: claim for claim in recalibration.answer(tables).claims}


def _study(tmp_path, confidence, alpha=0.5, **settings):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=alpha, beta=0.12, confidence=confidence(parameters, pairs))

    wanted = {"data_proxies": FOUR} | settings
    return made_study(tmp_path, varied(Truth(proxy=proxy), **wanted), parts=("sizes", "data"))


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """Confidence grows with the root of size and falls with the fourth root of pairs."""
    return _study(tmp_path_factory.mktemp("loud"), lambda size, pairs: (size / 18_000) ** 0.5 * (pairs / 250) ** -0.25)


def _rows(tables, name="recalibration-proxies"):
    return next(table.rows for table in recalibration.answer(tables).tables if table.name == name)


def test_temperature_undoes_confidence_that_depends_on_size_and_pairs(loud):
    claims = _claims(loud)
    low, high = claims["recalibration-size"].ci
    assert low <= -0.5 <= high
    assert claims["recalibration-size"].outcome == "below"
    low, high = claims["recalibration-pairs"].ci
    assert low <= 0.25 <= high
    assert claims["recalibration-pairs"].outcome == "above"


def test_a_factor_on_raw_scores_changes_the_temperature_and_nothing_in_gold_s_units(tmp_path):
    quiet = _study(tmp_path / "quiet", lambda *_: 1.0)
    loud = _study(tmp_path / "loud", lambda *_: 4.0)
    for a, b in zip(_rows(quiet), _rows(loud), strict=True):
        assert a["temperature"] == pytest.approx(4 * b["temperature"])
        assert a["after"] == pytest.approx(b["after"])
    assert _claims(quiet)["recalibration-gap"].value == pytest.approx(_claims(loud)["recalibration-gap"].value)
    errors = [_claims(tables)["recalibration-error"] for tables in (quiet, loud)]
    assert errors[1].outcome == "below"
    assert errors[1].value < errors[0].value


def test_the_calibration_error_is_that_of_ten_bins_against_soft_labels(loud):
    frame = loud.proxy("w64-p8000-s0").pair_scores
    margin = (frame["score_chosen"] - frame["score_rejected"]).to_numpy()
    gap = (loud.preferences["gold_chosen"] - loud.preferences["gold_rejected"]).to_numpy() / (GOLD_SD * UNIT)
    total = 0.0
    forecast = np.concatenate([1 / (1 + np.exp(-margin)), 1 / (1 + np.exp(margin))])
    outcome = np.concatenate([1 / (1 + np.exp(-gap)), 1 / (1 + np.exp(gap))])
    for k in range(10):
        inside = (forecast >= k / 10) & (forecast < (k + 1) / 10)
        total += abs((forecast[inside] - outcome[inside]).sum())
    row = next(row for row in _rows(loud) if row["proxy"] == "w64-p8000-s0")
    assert row["before"] == pytest.approx(total / forecast.size, abs=1e-3)


def test_the_gap_is_what_the_reply_ranked_first_promises_and_does_not_keep(loud):
    gold = loud.gold()
    rows = np.arange(len(gold))
    gaps = []
    for name in (row["proxy"] for row in _rows(loud)):
        scores = loud.scores(name)
        best = scores.argmax(axis=1)
        gaps.append(scores.max(axis=1) - scores.mean(axis=1) - (gold[rows, best] - gold.mean(axis=1)))
    claim = _claims(loud)["recalibration-gap"]
    assert claim.value == pytest.approx(np.mean(gaps))
    assert claim.agreement == "agrees"


def test_a_proxy_that_promises_less_than_gold_gives_differs(tmp_path):
    tables = made_study(tmp_path, Truth(), parts=("sizes",))
    for name in tables.names("scores"):
        change(tables.root / f"scores/{name}.parquet", "scores", lambda frame: {"proxy": 0.1 * frame["proxy"]})
    claim = _claims(opened_again(tables))["recalibration-gap"]
    assert (claim.outcome, claim.agreement) == ("below", "differs")


def test_gold_that_turns_keeps_less_of_the_proxy_at_large_n(tmp_path):
    truth = varied(Truth(proxy=lambda *_: ProxyTruth(alpha=0.33, beta=0.14)), prompts=128)
    claim = _claims(made_study(tmp_path, truth, parts=("sizes",)))["recalibration-kept"]
    assert (claim.outcome, claim.agreement) == ("below", "agrees")


def test_gold_that_grows_where_the_proxy_hardly_does_differs(tmp_path):
    def flattened(frame):
        scores = frame["proxy"]
        return {"proxy": (2 * (scores - scores.mean()) / scores.std()).tanh()}

    truth = varied(Truth(proxy=lambda *_: ProxyTruth(alpha=0.33, beta=0.04)), prompts=128)
    tables = made_study(tmp_path, truth, parts=("sizes",))
    for name in tables.names("scores"):
        change(tables.root / f"scores/{name}.parquet", "scores", flattened)
    claim = _claims(opened_again(tables))["recalibration-kept"]
    assert (claim.outcome, claim.agreement) == ("above", "differs")


def test_a_proxy_at_chance_has_no_temperature_and_is_counted(tmp_path):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=-0.1 if parameters == 18_000 else 0.5, beta=0.0 if parameters == 18_000 else 0.12)

    tables = made_study(tmp_path, varied(Truth(proxy=proxy)), parts=("sizes",))
    found = recalibration.answer(tables)
    assert "1 of 6" in found.how
    assert found.tables[0].rows[0]["temperature"] is None
    assert {claim.id: claim for claim in found.claims}["recalibration-size"].counted.startswith("5 sizes")
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_study_too_small_claims_nothing(tmp_path):
    truth = varied(
        Truth(held_out=6), proxies=FOUR[:2], data_proxies=FOUR[:1], large_proxies=FOUR[:1], prompts=3, pool=8,
        large_prompts=2, seeded_proxy="chitchat-w8",
    )  # fmt: skip
    found = recalibration.answer(made_study(tmp_path, truth, parts=("sizes",)))
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_exponent_is_a_slope_of_logarithms(loud):
    rows = _rows(loud)
    by_size = {}
    for row in rows:
        by_size.setdefault(row["parameters"], []).append(math.log10(row["temperature"]))
    slope, _ = np.polyfit(np.log10(list(by_size)), [np.mean(values) for values in by_size.values()], 1)
    assert _claims(loud)["recalibration-size"].value == pytest.approx(slope)
