"""Arms of the small world: what is stored is not made again, and what the figures are computed from."""

import math
from dataclasses import replace

import pytest

from overopt.errors import ConfigError
from overopt.optimize.game_curriculum import HELD_OUT, GameCurriculumConfig
from overopt.optimize.game_rates import exact_rates
from overopt.optimize.game_settings import GameTrainingConfig
from overopt.studies import small_world
from overopt.studies.small_world import ToyConfig, compare_arms, tampering_toy, toy_results
from overopt.training.game_config import GameModelConfig
from overopt.training.game_model import load_game_model
from overopt.worlds.tampering.writers import Writers

SMALL = ToyConfig(
    rho=1.0,
    seeds=(0, 1),
    model=GameModelConfig(episodes=1_000, steps=10, batch=64, width=16, layers=1),
    curriculum=GameCurriculumConfig(
        stages=("sycophancy",),
        training=GameTrainingConfig(rounds=1, prompts=4, samples=4),
        away=("sycophancy",),
        away_episodes=20,
        tolerance=1e-4,
        steered_tolerance=1e-3,
    ),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return folder, tampering_toy(SMALL, folder=folder)


def test_what_is_stored_is_not_made_again(stored, monkeypatch):
    folder, run = stored
    monkeypatch.setattr(small_world, "pretrained_game_model", None)
    again = tampering_toy(SMALL, folder=folder)
    assert str(again.records) == str(run.records)
    assert toy_results([again])["caveat"] == "constructed incentive, pathway not prevalence"
    with pytest.raises(ConfigError, match="other settings"):
        tampering_toy(replace(SMALL, rho=0.0), folder=folder)


@pytest.mark.slow
def test_seeds_beside_each_other_give_the_same(stored):
    _, run = stored
    assert str(tampering_toy(SMALL, workers=2).records) == str(run.records)
    with pytest.raises(ConfigError, match="one worker"):
        tampering_toy(SMALL, workers=0)


def test_policies_after_each_stage_are_kept(stored):
    folder, run = stored
    for seed, records in run.records.items():
        places = sorted((folder / f"seed-{seed}" / "policies").iterdir())
        assert [place.name for place in places] == ["1-sycophancy", "2-trained-away"]
        for place, record in zip(places, records[1:], strict=True):
            found = exact_rates(load_game_model(place), "sycophancy", tolerance=1e-4).rate("gamed").value
            assert found == pytest.approx(record.rates["sycophancy"]["gamed"].value, rel=1e-6)


def test_figures_are_those_of_the_records(stored):
    _, run = stored
    assert run.config.coupled_model.writers.coupling == 1.0
    matrix = run.mean_matrix()
    assert matrix.stages == ("base", "+sycophancy", "trained away")
    values = [
        {one.stage: one for one in records}["+sycophancy"].rates[HELD_OUT]["attempted"].value
        for records in run.records.values()
    ]
    cell = matrix.cell("+sycophancy", HELD_OUT, "attempted")
    assert cell.value == pytest.approx(sum(values) / 2)
    assert cell.clusters == 2
    assert run.matrix(1).cell("+sycophancy", HELD_OUT, "attempted").value == pytest.approx(values[1])
    first, second = run.log_factors("attempted")
    assert math.log(run.factor("attempted").value) == pytest.approx((first + second) / 2)
    assert compare_arms(run, run, fact="attempted").ratio == pytest.approx(1)
    assert set(run.away()) == {"sycophancy", HELD_OUT}


def test_arms_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="rho"):
        ToyConfig(rho=2.0)
    with pytest.raises(ConfigError, match="seeds"):
        ToyConfig(seeds=(1, 1))
    asking = GameCurriculumConfig(training=GameTrainingConfig(may_ask=True))
    with pytest.raises(ConfigError, match=r"needs model\.writers\.told_share above 0"):
        ToyConfig(curriculum=asking)
    assert ToyConfig(curriculum=asking, model=GameModelConfig(writers=Writers(told_share=0.1)))
