"""A penalty against stopping early, on made-up runs whose ends and distances are known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gao2022.made_tables import RunTruth, Truth, made_study, rl_law, usual_run, varied
from overopt.records.tables import read_table, settings_of, write_table
from overopt.studies.gao2022 import stopping


def _claims(tables):
    return {claim.id: claim for claim in stopping.answer(tables).claims}


def _with_log(tables, run, kl):
    """Replace the KL of a run's log."""
    path = tables.root / f"logs/{run}.parquet"
    log = read_table(path, "rl_log")
    write_table(log.with_columns(kl=pl.Series(kl(log["step"].to_numpy()))), path, "rl_log", settings_of(path, "rl_log"))


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    tables = made_study(tmp_path_factory.mktemp("same"), Truth(gold_noise=0.4), parts=("penalties",))
    for seed in range(4):
        _with_log(tables, f"w16-p8000-s0-kl0.15-r{seed}", lambda step: 3.5 * (1 - np.exp(-step / 4)))
    return tables


def test_a_penalty_that_only_stops_early_is_worth_stopping_early(same):
    claim = _claims(same)["stopping-gold"]
    assert claim.outcome == "equal"
    assert claim.agreement == "agrees"
    assert "1 of 1 penalties" in claim.note


def test_gold_that_a_penalty_costs_is_measured_at_its_end(tmp_path):
    def run(name, parameters, penalty):
        usual = usual_run(name, parameters, penalty)
        return replace(usual, gold=[value - 0.4 * (penalty > 0) for value in usual.gold])

    claim = _claims(made_study(tmp_path, Truth(run=run, gold_noise=0.4), parts=("penalties",)))["stopping-gold"]
    assert claim.value == pytest.approx(-0.4, abs=0.06)
    assert claim.ci[0] <= -0.4 <= claim.ci[1]
    assert claim.agreement == "differs"


def test_the_interval_is_no_narrower_than_seeds_alone_allow(tmp_path):
    def run(name, parameters, penalty):
        usual = usual_run(name, parameters, penalty)
        sign = 1 if name.endswith(("r0", "r1")) else -1
        return replace(usual, gold=[value + 0.3 * sign * (penalty > 0) for value in usual.gold])

    claim = _claims(made_study(tmp_path, Truth(run=run, gold_noise=0.1), parts=("penalties",)))["stopping-gold"]
    # Student's t with three degrees of freedom for four values at ±0.3: half width 0.55.
    assert claim.ci[1] - claim.ci[0] > 0.8
    assert claim.outcome == "open"


def test_rest_is_read_from_the_last_third_of_the_log(same, tmp_path):
    assert _claims(same)["stopping-rest"].outcome == "equal"
    moving = made_study(tmp_path, Truth(), parts=("penalties",))
    for seed in range(4):
        _with_log(moving, f"w16-p8000-s0-kl0.15-r{seed}", lambda step: 0.1 * step)
    claim = _claims(moving)["stopping-rest"]
    assert claim.outcome == "above"
    # 40 steps: from 27 to 40 the line gains 1.3 nats about a mean of 3.35.
    assert claim.value == pytest.approx(100 * 1.3 / 3.35, rel=1e-6)
    assert "0 of 1 penalties" in _claims(moving)["stopping-gold"].note


@pytest.mark.parametrize(("other", "start", "outcome"), [(0.5, 2.0, "below"), (4.0, 2.0, "above")])
def test_the_ratio_of_distances_is_that_of_the_policies(tmp_path, other, start, outcome):
    truth = Truth(distance=lambda run: (other, start))
    claim = _claims(made_study(tmp_path, truth, parts=("penalties",)))["stopping-apart"]
    assert claim.value == pytest.approx(other / start, rel=0.02)
    assert claim.ci[0] <= other / start <= claim.ci[1]
    assert claim.outcome == outcome


def test_a_penalised_run_that_went_farther_than_the_free_one_is_left_out_and_counted(tmp_path):
    def run(name, parameters, penalty):
        far = penalty and name.endswith("r2")
        return rl_law(0.45, 0.25, d_max=4.0 if far else 3.0 - 5 * penalty)

    answer = stopping.answer(made_study(tmp_path, Truth(run=run), parts=("penalties",)))
    claim = next(claim for claim in answer.claims if claim.id == "stopping-gold")
    assert "1 penalised runs ended farther out" in claim.note
    assert claim.counted.startswith("3 seeds")
    assert answer.tables[0].rows[0]["seeds"] == 3


def test_an_end_before_the_first_measurement_is_compared_along_the_law(tmp_path):
    def run(name, parameters, penalty):
        if penalty:
            return rl_law(0.45, 0.3, d_max=0.6)
        free = rl_law(0.45, 0.3, d_max=3.0)
        kept = [0, *range(4, 11)]  # the first at d = 1.2
        return RunTruth(
            **{key: [list(getattr(free, key))[k] for k in kept] for key in ("steps", "kl", "gold", "proxy")}
        )

    tables = made_study(tmp_path, Truth(run=run, gold_noise=0.1), parts=("penalties",))
    claim = _claims(tables)["stopping-gold"]
    # A straight line from the start to d = 1.2 would miss 0.12 of the gold at 0.6.
    assert claim.value == pytest.approx(0.0, abs=0.04)
    assert "4 ended before the free run's first measurement" in claim.note


def test_a_study_too_small_to_tell_says_so(tmp_path):
    truth = varied(Truth(), prompts=3, large_prompts=3, penalty_seeds=1)
    claims = _claims(made_study(tmp_path, truth, parts=("penalties",)))
    assert {claim.outcome for claim in claims.values()} == {"unknown"}


def test_without_penalised_runs_nothing_is_claimed(tmp_path):
    answer = stopping.answer(made_study(tmp_path, parts=("labels",)))
    assert all(claim.value is None and claim.note for claim in answer.claims)
    assert not answer.figures


def test_the_steps_to_the_compared_distance_are_read_from_the_runs(same):
    """The free run reaches d = 3 in 40 steps, in proportion: 1.875, where the penalised ones end, after 25."""
    caveat = next(one for one in stopping.answer(same).caveats if one.startswith("Where they are compared"))
    assert "penalised runs had taken 40 steps" in caveat
    assert caveat.endswith("free runs at the same learning rate 25.")


def test_slow_free_runs_have_a_claim_of_their_own(tmp_path):
    def run(name, parameters, penalty):
        usual = usual_run(name, parameters, penalty)
        return replace(usual, gold=[value - 0.4 * ("-slow-" not in name and not penalty) for value in usual.gold])

    tables = made_study(tmp_path, Truth(run=run, gold_noise=0.4), parts=("penalties",))
    claims = _claims(tables)
    assert claims["stopping-gold"].outcome == "above"
    assert claims["stopping-gold-slow"].outcome == "equal"
    assert claims["stopping-gold-slow"].agreement == "not_published"
    row = stopping.answer(tables).tables[0].rows[0]
    assert row["gold"] == pytest.approx(0.4, abs=0.06)
    assert row["slow"] == pytest.approx(0.0, abs=0.06)


@pytest.mark.parametrize(("seed_distance", "outcome"), [(0.5, "above"), (2.0, "below")])
def test_what_a_penalty_changes_is_held_against_what_a_seed_changes(tmp_path, seed_distance, outcome):
    tables = made_study(tmp_path, Truth(seed_distance=seed_distance), parts=("penalties",))
    claim = _claims(tables)["stopping-seeds"]
    assert claim.value == pytest.approx(1.0 / seed_distance, rel=0.02)
    assert claim.outcome == outcome
