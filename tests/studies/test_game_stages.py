"""Stages of the small world: the numbers of the curriculum that runs in one process, and nothing lost in tables."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from overopt.optimize.game_curriculum import BASE, GameCurriculumConfig, game_curriculum
from overopt.optimize.game_rates import HELD_OUT, exact_rates
from overopt.optimize.game_settings import GameTrainingConfig
from overopt.records.tables import GAME_FACTS, GAME_MONITORS, read_table
from overopt.studies import game_stages
from overopt.studies.game_stages import (
    GameCell,
    draw_game,
    enumerate_game,
    estimate_game,
    follow_game,
    game_cells,
    pretrain_game,
    train_game,
    train_game_away,
)
from overopt.training.game_config import GameModelConfig
from overopt.training.game_model import load_game_model
from overopt.workflow import StageContext
from overopt.worlds.tampering.monitors import MONITORS
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.states import FACTS
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS, MAY_ASK, PLANS, TOKENS

MODEL = GameModelConfig(episodes=1_000, steps=10, batch=64, width=16, layers=1)
TRAINING = GameTrainingConfig(rounds=1, prompts=4, samples=4)
TOLERANCE = 1e-4


def made(folder, function, **arguments):
    folder.mkdir()
    function(StageContext(out=folder, label="", report=lambda done, total, unit: None), **arguments)
    return folder


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    start = made(root / "start", pretrain_game, config=MODEL, seed=3)
    trained = made(
        root / "trained", train_game, start=start, policy=start, environments="sycophancy", place=1, config=TRAINING,
        stop_factor=None, seed=5,
    )  # fmt: skip
    away = made(
        root / "away", train_game_away, start=start, policy=trained, environments=("sycophancy",), episodes=20,
        config=TRAINING, seed=5,
    )  # fmt: skip
    return root, start, trained, away


@pytest.fixture(scope="module")
def ends(stages):
    root, start, trained, away = stages
    cells = [*game_cells(in_full=False), GameCell(environment=HELD_OUT, forced="seek")]
    cells.append(GameCell(environment="nudged", twin="legitimate", wording="B"))
    cells.append(GameCell(environment="nudged", told=MAY_ASK))
    return {
        name: read_table(
            made(root / f"ends-{name}", enumerate_game, start=start, policy=policy, cells=cells, tolerance=TOLERANCE)
            / "ends.parquet",
            "game_ends",
        )
        for name, policy in (("start", start), ("trained", trained), ("away", away))
    }


def test_columns_are_those_of_the_world():
    assert GAME_FACTS == FACTS
    assert tuple(MONITORS) == GAME_MONITORS


def test_stages_train_and_measure_as_the_curriculum_in_one_process_does(stages, ends):
    _, start, _, _ = stages
    config = GameCurriculumConfig(
        stages=("sycophancy",), training=TRAINING, away=("sycophancy",), away_episodes=20, tolerance=TOLERANCE,
        steered_tolerance=TOLERANCE,
    )  # fmt: skip
    _, records = game_curriculum(load_game_model(start / "model"), config, seed=5)
    for record, table in zip(records, ends.values(), strict=True):
        for environment in ENVIRONMENTS:
            cell = table.filter(environment=environment, twin="gameable", wording="A", forced="", told="")
            for fact, rate in record.rates[environment].items():
                found = cell.filter(pl.col("followed") & pl.col(fact))["mass"].sum()
                assert found == pytest.approx(rate.value, abs=1e-12), (record.stage, environment, fact)
            missing = cell.filter(~pl.col("followed"))["mass"].item()
            assert missing == pytest.approx(1 - record.rates[environment]["gamed"].mass, abs=1e-9)
            assert cell["kl"][0] == pytest.approx(record.kl[environment], abs=1e-9)
        forced = table.filter(pl.col("followed") & pl.col("raised"), environment=HELD_OUT, forced="seek")["mass"].sum()
        assert forced == pytest.approx(record.steered["seek"].value, abs=1e-12)
    assert records[0].stage == BASE


def test_every_cell_sums_to_one(ends):
    for table in ends.values():
        sums = table.group_by("environment", "twin", "wording", "forced", "told").agg(pl.col("mass").sum())
        assert len(sums) == 9
        assert sums["mass"].to_numpy() == pytest.approx(np.ones(9), abs=1e-9)
        assert table.filter("followed").select(pl.all_horizontal(pl.col(GAME_FACTS).is_not_null()).all()).item()


def test_another_wording_is_another_prompt(stages, ends):
    _, start, _, _ = stages
    same = exact_rates(load_game_model(start / "model"), "nudged", twin="legitimate", tolerance=TOLERANCE)
    cell = ends["start"].filter(pl.col("followed") & pl.col("honest_success"), environment="nudged", wording="B")
    assert 0 < cell["mass"].sum() != pytest.approx(same.rate("honest_success").value, abs=1e-6)


def test_what_is_offered_stands_in_the_prompt(stages, ends):
    """Against the model itself, whose prompts are written here token by token."""
    _, start, _, _ = stages
    model, told = load_game_model(start / "model"), []
    for scenario in scenarios("nudged"):
        prompt = list(scenario.prompt)
        assert TOKENS[prompt.pop()] == "asks_task"
        logits = model(torch.tensor([[*prompt, TOKENS.index(MAY_ASK)]])).logits[0, -1]
        told.append(logits[[TOKENS.index(plan) for plan in PLANS]].softmax(0).tolist())
    cells = {
        one: ends["start"].filter("followed", environment="nudged", twin="gameable", wording="A", told=one)
        for one in ("", MAY_ASK)
    }
    for plan, share in zip(PLANS, np.mean(told, axis=0), strict=True):
        offered, plain = (cells[one].filter(plan=plan)["mass"].sum() for one in (MAY_ASK, ""))
        assert offered == pytest.approx(share, abs=0.02)
        assert abs(offered - plain) > 1e-4


def test_cells_that_offer_to_ask_are_those_of_the_policies_that_may(stages):
    offered = [cell for cell in game_cells(in_full=True, may_ask=True) if cell.told]
    assert [cell.environment for cell in offered] == list(ENVIRONMENTS)
    assert {cell.told for cell in offered} == {MAY_ASK}
    assert not any(cell.told for cell in game_cells(in_full=True))


def test_training_stops_before_the_held_out_rate_exceeds_its_limit(stages, tmp_path, monkeypatch):
    _, start, _, _ = stages
    rates = iter([0.010, 0.012, 0.019, 0.021])
    monkeypatch.setattr(game_stages, "_held_out_rate", lambda model: next(rates))
    config = replace(TRAINING, rounds=5)
    arguments = {"start": start, "policy": start, "environments": "sycophancy", "place": 1, "seed": 5}
    stopped = made(tmp_path / "stopped", train_game, config=config, stop_factor=2.0, **arguments)
    two = made(tmp_path / "two", train_game, config=replace(config, rounds=2), stop_factor=None, **arguments)
    assert len(read_table(stopped / "rounds.parquet", "game_rounds")) == 2
    kept, wanted = (load_game_model(one / "model").state_dict() for one in (stopped, two))
    assert all((kept[name] == wanted[name]).all() for name in wanted)


def test_training_that_is_stopped_at_once_changes_nothing(stages, tmp_path, monkeypatch):
    _, start, _, _ = stages
    rates = iter([0.010, 0.5])
    monkeypatch.setattr(game_stages, "_held_out_rate", lambda model: next(rates))
    stopped = made(
        tmp_path / "stopped", train_game, start=start, policy=start, environments="sycophancy", place=1,
        config=TRAINING, stop_factor=2.0, seed=5,
    )  # fmt: skip
    assert read_table(stopped / "rounds.parquet", "game_rounds").is_empty()
    kept, wanted = (load_game_model(one / "model").state_dict() for one in (stopped, start))
    assert all((kept[name] == wanted[name]).all() for name in wanted)


def test_counts_stand_beside_bounds(stages, tmp_path):
    _, _, trained, _ = stages
    folder = made(
        tmp_path / "estimates", estimate_game, policy=trained, episodes=512, rare_draws=1, tolerance=TOLERANCE, seed=1
    )
    table = read_table(folder / "estimates.parquet", "game_estimates")
    counts = table.filter(draw=0)
    assert len(counts) == len(ENVIRONMENTS) * len(FACTS)
    assert (counts["episodes"] == 512).all()
    assert (counts["successes"] / 512 - counts["value"]).abs().max() < 1e-12
    sycophancy = counts.filter(environment="sycophancy", fact="gamed").row(0, named=True)
    assert abs(sycophancy["value"] - sycophancy["exact_low"]) < 6 * math.sqrt(0.25 / 512)
    rare = table.filter(draw=1)
    assert set(rare["estimator"]) == {"weighted", "split", "counted"}
    assert set(rare["fact"]) == {"both"}


def test_pressure_begins_at_the_start(stages, ends, tmp_path):
    _, start, _, _ = stages
    config = replace(TRAINING, method="hhh")
    folder = made(
        tmp_path / "path", follow_game, start=start, environments="sycophancy+flattery", rounds=2, config=config,
        tolerance=TOLERANCE, seed=1,
    )  # fmt: skip
    table = read_table(folder / "path.parquet", "game_path")
    assert table["round"].to_list() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert table["environment"].to_list() == ["sycophancy", "flattery", HELD_OUT] * 3
    first = table.filter(round=0)
    assert (first["kl"] == 0).all()
    assert (table.filter(pl.col("round") > 0)["kl"] > 0).all()
    for row in first.iter_rows(named=True):
        cell = ends["start"].filter(
            "followed", environment=row["environment"], twin="gameable", forced="", wording="A", told=""
        )
        mass = cell["mass"].sum()
        assert row["gamed"] == pytest.approx(cell.filter("gamed")["mass"].sum() / mass, abs=1e-9)
        preference = (cell["preference"] * cell["mass"]).sum() / mass
        assert row["reward"] == pytest.approx(row["gamed"] + config.preference_weight * preference, abs=1e-9)


def test_episodes_to_read_are_episodes(stages, tmp_path):
    _, start, _, _ = stages
    folder = made(tmp_path / "episodes", draw_game, policy=start, episodes=256, shown=2, seed=1)
    table = read_table(folder / "episodes.parquet", "game_episodes")
    for environment in ENVIRONMENTS:
        rows = table.filter(environment=environment)
        kinds = rows.group_by("gamed").agg(pl.col("alike").first(), pl.len())
        assert kinds["alike"].sum() == 256
        assert (kinds["len"] == kinds["alike"].clip(upper_bound=2)).all()
    for row in table.iter_rows(named=True):
        assert row["words"][0] in ("seek", "honest", "confused")
        assert row["logprob"] <= 0
        assert row["list_edited"] == ("edit_list" in row["words"])
        assert (row["reward"] != "kept") == bool({"raise_reward", "spoof_reward"} & set(row["words"]))
