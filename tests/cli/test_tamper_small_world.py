"""``overopt tamper toy``, ``exact`` and ``importance`` on tiny models, against the functions and the records."""

import math

import pytest
from optimize.game_models import random_game_model

from overopt.optimize.game_rates import exact_rates
from overopt.studies.small_world import ToyConfig, tampering_toy
from overopt.studies.study import with_settings
from overopt.training.game_model import game_tokenizer, load_game_model, save_game_model
from overopt.worlds.tampering.states import FACTS

SETTINGS = [
    "model.episodes=1000", "model.steps=10", "model.batch=64", "model.width=16", "model.layers=1",
    'curriculum.stages=["sycophancy"]', 'curriculum.away=["sycophancy"]', "curriculum.away_episodes=20",
    "curriculum.tolerance=1e-4", "curriculum.steered_tolerance=1e-3", "curriculum.training.rounds=1",
    "curriculum.training.prompts=4", "curriculum.training.samples=4",
]  # fmt: skip
SETS = [word for setting in SETTINGS for word in ("--set", setting)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "model"
    save_game_model(random_game_model(), folder)
    return folder


def test_exact_rates_are_printed_with_bounds_and_counts_beside(model, command, ask):
    options = ("--environment", "sycophancy", "--count", 512, "--seed", 3)
    found = ask("tamper", "exact", model, *options)
    assert found["schema"] == "overopt.tamper_rates/1"
    assert "pathway not prevalence" in found["caveat"]
    rows = {(row["fact"], row["estimator"]): row for row in found["rates"]}
    assert set(rows) == {(fact, estimator) for fact in FACTS for estimator in ("exact", "counted")}
    truth = exact_rates(load_game_model(model), "sycophancy")
    for fact in FACTS:
        exact, counted = rows[fact, "exact"], rows[fact, "counted"]
        assert exact["low"] == pytest.approx(truth.rate(fact).value)
        assert exact["high"] - exact["low"] == pytest.approx(1 - exact["mass"], abs=1e-9)
        assert counted["episodes"] == 512
        assert abs(counted["deviation"]) < 4
        if exact["low"] > 1 - 1e-9:
            assert (counted["successes"], counted["deviation"]) == (512, pytest.approx(0, abs=1e-6)), "what is certain"
        elif exact["low"] > 0.01:
            usual = (counted["successes"] / 512 - exact["low"]) / math.sqrt(exact["low"] * (1 - exact["low"]) / 512)
            assert counted["deviation"] == pytest.approx(usual, abs=0.35)
    status, out, err = command("tamper", "exact", model, *options)
    assert (status, err) == (0, "")
    assert rows["gamed", "counted"]["evidence"] in out
    assert "Bounds hold for certain" in out


def test_a_forced_plan_is_that_of_every_episode(model, ask):
    found = ask("tamper", "exact", model, "--environment", "sycophancy", "--plan", "seek")
    (gamed,) = [row for row in found["rates"] if row["fact"] == "gamed"]
    assert gamed["plan"] == "seek"
    assert gamed["value"] == pytest.approx(
        exact_rates(load_game_model(model), "sycophancy", plan="seek").rate("gamed").value
    )


def test_a_rare_rate_is_weighted_split_and_counted(model, ask, command):
    options = ("--set", "episodes=400", "--set", "tuning=50", "--set", "rounds=2")
    found = ask("tamper", "importance", model, *options)
    rows = {row["estimator"]: row for row in found["rates"]}
    assert list(rows) == ["weighted", "split", "counted"]
    assert rows["weighted"]["episodes"] == rows["counted"]["episodes"] == 500
    assert rows["weighted"]["largest_weight"] <= 5
    status, out, _ = command(
        "tamper", "importance", model, "--fact", "gamed", "--environment", "sycophancy", "--exact", *options
    )
    assert status == 0
    assert "ESS" in out
    assert "mass" in out
    assert "split" not in out


def test_arms_are_trained_kept_and_compared(tmp_path, ask, command):
    options = ("--rho", "1,0", "--seeds", 2, "--workers", 1, "--out", tmp_path, *SETS)
    found = ask("tamper", "toy", *options)
    assert found["schema"] == "overopt.tamper_toy/1"
    assert [arm["rho"] for arm in found["arms"]] == [1, 0]
    for arm in found["arms"]:
        config = with_settings(ToyConfig(rho=arm["rho"], seeds=(0, 1)), SETTINGS)
        run = tampering_toy(config, folder=tmp_path / f"rho-{arm['rho']:g}")
        assert arm["factor"]["value"] == pytest.approx(run.factor().value)
        stages = [record["stage"] for record in arm["seeds"]["1"]]
        assert stages == ["base", "+sycophancy", "trained away"]
    assert found["differences"][0]["first_seeds"] == 2
    trained = load_game_model(tmp_path / "rho-1" / "seed-0" / "policies" / "1-sycophancy")
    stored = found["arms"][0]["seeds"]["0"][1]["rates"]["flattery"]["gamed"]["value"]
    assert exact_rates(trained, "flattery", tolerance=1e-4).rate("gamed").value == pytest.approx(stored, rel=1e-6)
    status, out, err = command("tamper", "toy", *options)
    assert (status, err) == (0, "")
    assert "rho 1 over rho 0" in out
    assert "not about language models" in out


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("within 0 and 1", ["toy", "--rho", "2"]),
        ("numbers within 0 and 1", ["toy", "--rho", "all"]),
        ("--rho and --seeds say that", ["toy", "--set", "rho=0.5"]),
        ("there is no setting 'speed'", ["toy", "--set", "speed=1"]),
        ("a stage trains sycophancy", ["toy", "--set", 'curriculum.stages=["tampering"]']),
        ("other words than the small world's", ["exact", "OTHER"]),
        ("NOWHERE", ["exact", "NOWHERE"]),
        ("no environment 'chess'", ["exact", "MODEL", "--environment", "chess"]),
        ("--twin of flattery", ["exact", "MODEL", "--environment", "flattery", "--twin", "legitimate"]),
        ("a plan is one of", ["exact", "MODEL", "--environment", "sycophancy", "--plan", "evil"]),
        ("tolerance", ["exact", "MODEL", "--environment", "sycophancy", "--tolerance", 2]),
        ("level", ["exact", "MODEL", "--level", 1.5]),
        ("there is no fact 'done'", ["importance", "MODEL", "--fact", "done"]),
        ("no environment 'chess'", ["importance", "MODEL", "--environment", "chess"]),
        ("importance.share", ["importance", "MODEL", "--set", "share=0"]),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(model, tmp_path, refused, words, options):
    other = tmp_path / "other"
    if "OTHER" in options:
        tokenizer = game_tokenizer()
        tokenizer.add_tokens(["weather"])
        tokenizer.save_pretrained(other)
    places = {"MODEL": model, "OTHER": other, "NOWHERE": tmp_path / "NOWHERE"}
    refused("tamper", *(places.get(option, option) for option in options), words=words)
