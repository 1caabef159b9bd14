"""Methods whose truth is made up: the better one and the worse one are found, and stopping keeps gold."""

import json
from dataclasses import replace

import pytest
from studies.gao2022.made_tables import SMALL, MadeStudy, Truth, rl_law

from overopt.records.tables import write_table
from overopt.studies.mitigations import clean, noisy
from overopt.studies.mitigations.config import METHODS, MitigationsConfig
from overopt.studies.study import resolved

CONFIG = MitigationsConfig(members=2, runs=2, pool=256, matched_kl=4.0, end_kl=7.0)
GAINS = {"mean": 0.4, "wco": -0.4, "stopped": 0.0}
"""Gold at d = 2 above one proxy's."""


def made(folder, question="clean", *, gains=GAINS, config=CONFIG, turn=0.6):
    """A study of one question; one proxy's gold is d (0.6 - turn ln d)."""
    kind = "" if question == "clean" else "flip25"

    def run(name, parameters, penalty):
        truth = rl_law(0.6, turn)
        extra = gains.get(name.partition("-")[0], 0.0) / 2
        d = [kl**0.5 for kl in truth.kl]
        return replace(truth, gold=[g + extra * x for g, x in zip(truth.gold, d, strict=True)])

    study = MadeStudy(folder, Truth(config=SMALL, run=run, gold_noise=0.2))
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
    assert (better.outcome, better.agreement) == ("above", "agrees")
    assert better.value == pytest.approx(0.4, abs=0.06)
    assert (worse.outcome, worse.agreement) == ("below", "differs")
    assert worse.value == pytest.approx(-0.4, abs=0.06)


def test_methods_that_are_alike_are_not_told_apart(answer):
    alike = [claim(answer, f"clean-{name}-matched") for name in ("uwo", "warm", "par", "clip", "length")]
    assert sum(one.outcome == "open" for one in alike) >= 4
    assert all(one.ci[0] - 0.05 < 0 < one.ci[1] + 0.05 for one in alike)


def test_the_forecast_keeps_what_going_on_would_lose(answer):
    """Gold peaks at d = 1 with 0.6 and is about -0.18 at d = 3."""
    gain, regret = claim(answer, "clean-stopped-gain"), claim(answer, "clean-stopped-regret")
    assert gain.outcome == "above"
    assert 0.4 < gain.value < 1.0
    assert -0.1 < regret.value < 0.3


def test_a_forecast_does_not_stop_gold_that_rises(tmp_path):
    found = clean.answer(made(tmp_path, turn=-0.2))
    assert abs(claim(found, "clean-stopped-gain").value) < 0.1


def test_every_method_has_a_row_with_its_cost(answer):
    (table,) = answer.tables
    rows = {row["method"]: row for row in table.rows}
    assert len(rows) == len(METHODS)
    assert (rows["ensemble mean"]["proxies"], rows["ensemble mean"]["passes"]) == (2, 2)
    assert (rows["averaged weights (WARM)"]["proxies"], rows["averaged weights (WARM)"]["passes"]) == (2, 1)
    assert rows["one proxy"]["matched_gold"] == pytest.approx(2 * (0.6 - 0.6 * 0.693), abs=0.08)
    low, high = rows["one proxy"]["area_lost_ci"]
    assert 0 <= low < rows["one proxy"]["area_lost"] < high


def test_noisy_labels_read_their_own_proxies(tmp_path):
    found = noisy.answer(made(tmp_path, "noisy"))
    assert found.id == "noisy"
    assert "25 % of the labels" in found.question
    assert claim(found, "noisy-mean-matched").outcome == "above"


def test_runs_that_stay_near_have_no_number_at_the_common_distance(tmp_path):
    found = clean.answer(made(tmp_path, config=replace(CONFIG, matched_kl=50.0, end_kl=60.0)))
    unknown = claim(found, "clean-mean-matched")
    assert (unknown.value, unknown.outcome) == (None, "unknown")
    assert "never went 50 nats far" in unknown.sentence
