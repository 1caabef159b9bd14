"""What a KL penalty does to gold, proxy and their gap at equal distance, on made-up runs."""

from dataclasses import replace

import pytest

from gao2022.made_tables import RunTruth, Truth, made_study, rl_law, varied
from overopt.studies.gao2022 import penalties

HELD_AT = 3.0 / (1 + 4 * 0.15)
"""The distance at which the made penalty of 0.15 stops."""


def _claims(tables):
    return {claim.id: claim for claim in penalties.answer(tables).claims}


def _shifted(name: str, parameters: int, penalty: float, *, gold: float, proxy: float) -> RunTruth:
    run = rl_law(0.45, 0.25, d_max=HELD_AT if penalty else 3.0)
    if not penalty:
        return run
    d = [kl**0.5 for kl in run.kl]
    return replace(
        run,
        gold=[value + gold * x for value, x in zip(run.gold, d, strict=True)],
        proxy=[value + proxy * x for value, x in zip(run.proxy, d, strict=True)],
    )


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("same"), Truth(gold_noise=0.5), parts=("penalties",))


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    def run(name, parameters, penalty):
        return _shifted(name, parameters, penalty, gold=-0.3, proxy=0.2)

    return made_study(tmp_path_factory.mktemp("moved"), Truth(run=run, gold_noise=0.5), parts=("penalties",))


def test_a_penalty_that_only_stops_early_leaves_gold_and_gap_where_they_were(same):
    claims = _claims(same)
    assert claims["penalties-frontier"].outcome == "equal"
    assert claims["penalties-frontier"].agreement == "agrees"
    assert claims["penalties-proxy"].agreement == "differs"  # Gao et al. saw the proxy rise
    assert claims["penalties-gap"].agreement == "differs"


def test_a_penalty_that_moves_gold_and_proxy_is_measured_at_equal_distance(moved):
    claims = _claims(moved)
    first = 3.0 * 4 / 40  # of the free run, the later of the two first measurements
    mean_d = (first + HELD_AT) / 2
    for name, per_d in {"frontier": -0.3, "proxy": 0.2, "gap": 0.5}.items():
        claim = claims[f"penalties-{name}"]
        assert claim.value == pytest.approx(per_d * mean_d, abs=0.05)
        assert claim.ci[0] <= per_d * mean_d <= claim.ci[1]
    assert claims["penalties-frontier"].agreement == "differs"
    assert claims["penalties-proxy"].agreement == "agrees"
    assert claims["penalties-gap"].agreement == "agrees"


def test_each_penalty_has_a_row_and_a_curve_in_every_panel(moved):
    answer = penalties.answer(moved)
    assert [row["penalty"] for row in answer.tables[0].rows] == [0.15]
    assert answer.tables[0].rows[0]["d"] == pytest.approx(HELD_AT, rel=0.05)
    drawn = {(row["penalty"], row["quantity"]) for row in answer.figures[0].rows}
    assert drawn == {(p, q) for p in ("0", "0.15") for q in ("gold", "proxy", "proxy less gold")}


def test_seeds_without_a_free_run_are_left_out_of_every_penalty(tmp_path):
    truth = varied(Truth(gold_noise=0.2), penalties=(0.15, 0.4), penalty_seeds=4)
    tables = made_study(tmp_path, truth, parts=("penalties",))
    (tables.root / "rl/w16-p8000-s0-r3.parquet").unlink()
    answer = penalties.answer(tables)
    assert [row["seeds"] for row in answer.tables[0].rows] == [3, 3]
    assert "3 seeds" in answer.claims[0].counted


def test_the_answer_does_not_change_when_asked_again(same):
    assert penalties.answer(same).to_dict() == penalties.answer(same).to_dict()


def test_a_study_too_small_to_tell_says_so(tmp_path):
    truth = varied(Truth(), prompts=3, large_prompts=3, penalty_seeds=1)
    claims = _claims(made_study(tmp_path, truth, parts=("penalties",)))
    assert {claim.outcome for claim in claims.values()} == {"unknown"}


def test_without_penalised_runs_nothing_is_claimed(tmp_path):
    answer = penalties.answer(made_study(tmp_path, parts=("labels",)))
    assert all(claim.value is None and claim.note for claim in answer.claims)
    assert not answer.figures


def test_a_penalty_under_which_a_run_never_moved_is_named_and_not_counted(tmp_path):
    def run(name, parameters, penalty):
        found = rl_law(0.45, 0.25, d_max=HELD_AT if penalty else 3.0)
        return replace(found, kl=[0.0] * len(found.kl)) if penalty == 0.4 else found

    truth = varied(Truth(run=run), penalties=(0.15, 0.4))
    claim = _claims(made_study(tmp_path, truth, parts=("penalties",)))["penalties-frontier"]
    assert "1 weight of the penalty" in claim.counted
    assert claim.note == "left out, since a run never moved: penalty 0.4"
