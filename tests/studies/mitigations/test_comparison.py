"""Methods whose truth is made up: the better one and the worse one are found, and stopping keeps gold."""

import json
from dataclasses import replace
from math import log

import pytest
from studies.gao2022.made_tables import SMALL, MadeStudy, Truth, rl_law

from overopt.records.tables import write_table
from overopt.studies.mitigations import clean, noisy
from overopt.studies.mitigations.config import MitigationsConfig
from overopt.studies.mitigations.methods import METHODS, STOPPED_TITLE
from overopt.studies.study import resolved

CONFIG = MitigationsConfig(members=2, runs=2, pool=256, matched_kl=4.0, end_kl=7.0)
GAINS = {"mean": 0.4, "wco": -0.4, "stopped": 0.0}
"""Gold at d = 2 above one proxy's."""


def made(folder, question="clean", *, gains=GAINS, config=CONFIG, turn=0.6, noise=0.2):
    """A study of one question; one proxy's gold is d (0.6 - turn ln d)."""
    kind = "" if question == "clean" else "flip25"

    def run(name, parameters, penalty):
        truth = rl_law(0.6, turn)
        extra = gains.get(name.partition("-")[0], 0.0) / 2
        d = [kl**0.5 for kl in truth.kl]
        return replace(truth, gold=[g + extra * x for g, x in zip(truth.gold, d, strict=True)])

    study = MadeStudy(folder, Truth(config=SMALL, run=run, gold_noise=noise))
    labels = {"kind": "hard", "flip_rate": 0.0 if question == "clean" else config.flip_rate}
    members = [study.proxy("w16", 8_000, k, kind=kind, labels=labels) for k in range(config.members)]
    first = study.tables.proxy(members[0])
    averaged = study.root / f"pair_scores/warm-{question}.parquet"
    study.root.joinpath(f"scores/warm-{question}.parquet").write_bytes(
        study.root.joinpath(f"scores/{members[0]}.parquet").read_bytes()
    )
    write_table(first.pair_scores, averaged, "pair_scores", first.settings | {"averaged": config.members})
    for method in METHODS:
        for number in range(config.runs):
            proxy = f"warm-{question}" if method.is_averaged else members[number]
            study.run(f"{method.id}-{question}-r{number}", proxy)
    study.tables.settings.clear()
    study.tables.settings.update(json.loads(json.dumps(resolved(config))))
    return study.tables


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    return clean.answer(made(tmp_path_factory.mktemp("mitigations")))


def claim(answer, name):
    return next(claim for claim in answer.claims if claim.id == name)


def test_a_better_and_a_worse_method_are_told_apart_from_one_proxy(answer):
    better, worse = claim(answer, "clean-mean-matched"), claim(answer, "clean-wco-matched")
    assert (better.outcome, worse.outcome) == ("above", "below")
    assert better.value == pytest.approx(0.4, abs=0.06)
    assert worse.value == pytest.approx(-0.4, abs=0.06)


def test_final_policies_are_held_against_published_win_rates(answer):
    """The runs end at d = 3, where the difference is half as large again as at d = 2."""
    better, worse = claim(answer, "clean-mean-final"), claim(answer, "clean-wco-final")
    assert (better.outcome, better.agreement) == ("above", "agrees")
    assert better.value == pytest.approx(0.6, abs=0.06)
    assert (worse.outcome, worse.agreement) == ("below", "differs")
    assert worse.value == pytest.approx(-0.6, abs=0.06)
    assert claim(answer, "clean-clip-final").agreement == "not_comparable"
    assert claim(answer, "clean-length-final").published is None
    par = claim(answer, "clean-par-final").published
    assert par.outcomes == ("above",)
    assert par.finding == "the plain reward ends at 0.4 % of wins, PAR keeps 75 %"


def test_win_rates_of_final_policies_do_not_judge_gold_at_equal_distance(answer):
    matched = [one for one in answer.claims if one.id.endswith("-matched")]
    assert len(matched) == len(METHODS) - 1
    assert {one.agreement for one in matched} == {"not_comparable", "not_published"}
    assert all("final policies" in one.published.why_not for one in matched if one.published)


@pytest.mark.parametrize("where", ["matched", "final"])
def test_methods_that_are_alike_are_not_told_apart(answer, where):
    alike = [claim(answer, f"clean-{name}-{where}") for name in ("uwo", "warm", "par", "clip", "length")]
    assert sum(one.outcome == "open" for one in alike) >= 4
    assert all(one.ci[0] - 0.05 < 0 < one.ci[1] + 0.05 for one in alike)


def test_sentences_name_the_unit_once_and_the_margin_is_stated(answer):
    for one in answer.claims:
        assert one.unit == "sd"
        assert "sd sd" not in one.sentence.replace("\N{NO-BREAK SPACE}", " ")
        assert "\N{NO-BREAK SPACE}sd" in one.sentence
        if one.margin is not None:
            assert f"equal within {one.margin:g} sd" in one.what


def test_the_forecast_keeps_what_going_on_would_lose(answer):
    """Gold peaks at d = 1 with 0.6 and is about -0.18 at d = 3."""
    gain, regret = claim(answer, "clean-stopped-gain"), claim(answer, "clean-stopped-regret")
    assert gain.outcome == "above"
    assert 0.4 < gain.value < 1.0
    assert -0.1 < regret.value < 0.3


def test_a_forecast_does_not_stop_gold_that_rises(tmp_path):
    found = clean.answer(made(tmp_path, turn=-0.2))
    assert abs(claim(found, "clean-stopped-gain").value) < 0.1
    (table,) = found.tables
    assert table.rows[-1]["bought"] == 10  # every measured step but the base policy


def test_every_method_has_a_row_with_its_cost(answer):
    (table,) = answer.tables
    rows = {row["method"]: row for row in table.rows}
    assert list(rows) == [*(method.title for method in METHODS), STOPPED_TITLE]
    assert (rows["ensemble mean"]["proxies"], rows["ensemble mean"]["passes"]) == (2, 2)
    assert (rows["averaged weights (WARM)"]["proxies"], rows["averaged weights (WARM)"]["passes"]) == (2, 1)
    assert rows["one proxy"]["matched_gold"] == pytest.approx(2 * (0.6 - 0.6 * 0.693), abs=0.08)


def test_areas_lost_are_those_between_the_curve_and_its_peak(answer):
    """Of 0.6 - d (0.6 - 0.6 ln d) from d = 1 to 2 and to the root of 7; the noise of a peak adds to both."""
    row = answer.tables[0].rows[0]
    for column, end in (("area_near", 2.0), ("area_lost", 7**0.5)):
        expected = 0.6 * ((end - 1) - (end**2 - 1) / 2 + end**2 / 2 * log(end) - (end**2 - 1) / 4)
        low, high = row[f"{column}_ci"]
        assert expected - 0.02 < row[column] < expected + 0.08
        assert 0 <= low < row[column] < high


def test_the_table_and_the_claims_take_gold_at_the_same_last_step(answer):
    """One proxy's gold is 3 (0.6 - 0.6 ln 3) at the last step, and 0.04 at the common end that comes before."""
    rows = {row["method"]: row for row in answer.tables[0].rows}
    final = {name: row["final_gold"] for name, row in rows.items()}
    assert final["one proxy"] == pytest.approx(3 * (0.6 - 0.6 * log(3)), abs=0.06)
    for method in METHODS[1:]:
        gain = claim(answer, f"clean-{method.id}-final").value
        assert final[method.title] - final["one proxy"] == pytest.approx(gain, abs=1e-9)
    low, high = rows["one proxy"]["final_gold_ci"]
    assert low < final["one proxy"] < high


def test_stopping_has_a_row_with_the_gold_it_keeps_and_the_gold_it_buys(answer):
    *others, stopped = answer.tables[0].rows
    gain = claim(answer, "clean-stopped-gain")
    assert stopped["final_gold"] - others[0]["final_gold"] == pytest.approx(gain.value, abs=1e-9)
    low, high = stopped["final_gold_ci"]
    assert 0 < low < stopped["final_gold"] < high
    assert (stopped["proxies"], stopped["passes"], stopped["peak_gold"]) == (1, 1, None)
    # It stops after the peak, the fourth step measured, and before the tenth and last.
    assert 3 < stopped["bought"] < 10
    assert f"gold was bought at {stopped['bought']:.1f} of" in gain.note
    assert all(row["bought"] is None for row in others)


def test_the_row_of_stopping_is_not_that_of_hindsight(tmp_path):
    found = clean.answer(made(tmp_path, noise=1.5))
    first, *_, stopped = found.tables[0].rows
    assert abs(claim(found, "clean-stopped-regret").value) > 0.01
    gain = claim(found, "clean-stopped-gain").value
    assert stopped["final_gold"] - first["final_gold"] == pytest.approx(gain, abs=1e-9)


def test_noisy_labels_read_their_own_proxies(tmp_path):
    found = noisy.answer(made(tmp_path, "noisy"))
    assert found.id == "noisy"
    assert "25 % of the labels" in found.question
    assert claim(found, "noisy-mean-matched").outcome == "above"


def test_runs_that_stay_near_have_no_number_at_the_common_distance(tmp_path):
    found = clean.answer(made(tmp_path, config=replace(CONFIG, matched_kl=50.0, end_kl=60.0)))
    unknown = claim(found, "clean-mean-matched")
    assert (unknown.value, unknown.outcome) == (None, "unknown")
    assert "a run never went as far as 50 nats" in unknown.sentence
    row = found.tables[0].rows[0]
    assert (row["area_near"], row["area_lost"]) == (None, None)
    assert claim(found, "clean-mean-final").outcome == "above"


def test_a_distance_that_many_draws_of_prompts_miss_has_no_interval_and_says_so(tmp_path):
    found = clean.answer(made(tmp_path, config=replace(CONFIG, matched_kl=8.7, end_kl=9.0)))
    missed = claim(found, "clean-mean-matched")
    assert missed.value == pytest.approx(0.2 * 8.7**0.5, abs=0.06)
    assert (missed.ci, missed.outcome) == ((None, None), "unknown")
    assert "in too many draws of prompts a run does not go as far as 8.7 nats" in missed.sentence
