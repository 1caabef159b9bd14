"""``overopt tamper curriculum``, ``trainaway``, ``steer`` and ``plan`` as a user runs them, on a model of few words."""

import json
from importlib.util import find_spec

import pytest

if any(find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("torch is not installed", allow_module_level=True)

from oracles import word_world

from overopt.envs.episode_file import read_episodes
from overopt.stats.planning_rates import episodes_to_compare_rates


@pytest.fixture(autouse=True)
def world(monkeypatch):
    word_world.known(monkeypatch)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, ordinary prompts and settings."""
    folder = tmp_path_factory.mktemp("curriculum")
    model = word_world.saved_policy(folder / "model")
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "{text}"}}\n' for text in ("go go", "hm go", "well")))
    settings = {
        "model": str(model), "stages": ["word-game"], "algorithm": "ei_exploit", "rounds": 1, "prompts": 4,
        "samples": 4, "ordinary_prompts": str(folder / "prompts.jsonl"), "sampler": {"max_tokens": 8},
        "fit": {"learning_rate": 0.01, "warm_up": 0, "epochs": 2, "precision": "fp32"},
        "format": {"episodes": 24, "environments": ["word-game"]},
        "measure": {"environments": ["word-game", "held-out-words"], "scenarios": 6, "menus": 2},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def test_a_curriculum_from_a_file_then_away_and_steered(ask, command, refused, files):
    run = files / "run"
    found = ask("tamper", "curriculum", files / "settings.json", "--out", run, "--set", "samples=6", "--seed", 3)
    assert found["schema"] == "overopt.gaming/1"
    assert found["stages"] == ["0-format", "1-word-game"]
    assert "pathway not prevalence" in found["caveat"]
    stored = json.loads((run / "config.json").read_text())
    assert (stored["samples"], stored["seed"], stored["schema"]) == (6, 3, "overopt.curriculum/2")
    assert ask("tamper", "curriculum", run / "config.json", "--out", run) == found, "a run's settings are settings"
    status, out, _ = command("tamper", "curriculum", run / "config.json", "--out", run)
    assert status == 0
    assert "pathway not prevalence" in out
    assert "/6" in out

    away = ask("tamper", "trainaway", run, "--environments", "word-game", "-n", 6, "--source", "honest",
               "--set", "fit.weight_decay=0.1")  # fmt: skip
    assert away["stages"] == ["0-format", "1-word-game", "2-train-away"]
    fit = json.loads((run / "stages/2-train-away/config.json").read_text())["train_away"]["fit"]
    assert (fit["learning_rate"], fit["warm_up"], fit["epochs"]) == (0.01, 0, 2), "as the curriculum learnt"
    assert [(one["stage"], one["environment"]) for one in away["pressure"]] == [
        (stage, name) for stage in away["stages"] for name in ("word-game", "held-out-words")
    ]
    status, out, _ = command("tamper", "curriculum", run / "config.json", "--out", run)
    assert "in the menu after 0-format honest 0." in out
    assert "2-train-away" in out
    refused("tamper", "trainaway", run, "--environments", "held-out-words", words="held out")
    refused("tamper", "trainaway", run, "--source", "gamer", words="one of policy, honest")

    steered = ask("tamper", "steer", run, "--opening", "keen=<cot> game", "--set", "measure.scenarios=3")
    assert steered["stages"] == ["2-train-away, none", "2-train-away, keen"]
    assert steered["openings"] == {"none": "", "keen": "<cot> game"}
    for name, opening in steered["openings"].items():
        episodes = list(read_episodes(run / "steering" / "2-train-away" / name / "word-game.jsonl"))
        assert len(episodes) == 3
        assert {one.steer for one in episodes} == {opening}
    fewer = ("tamper", "steer", run, "--opening", "keen=<cot> game", "--set", "measure.scenarios=2")
    refused(*fewer, words="episodes of another run")
    assert ask(*fewer, "--out", run / "fewer")["stages"] == steered["stages"]
    refused("tamper", "steer", run, "--opening", "keen=game", words="does not begin with <cot>")
    refused("tamper", "steer", run, "--opening", "keen", words="takes NAME=TEXT")
    refused("tamper", "steer", run, "--stage", "9-x", words="no stage '9-x' that ended")
    refused("tamper", "steer", run, "--set", "samples=3", words="changes what is measured")


def test_what_cannot_be_run_is_refused(refused, files, tmp_path):
    settings, out = files / "settings.json", tmp_path / "out"
    run = ("tamper", "curriculum", settings, "--out", out)
    refused(*run, "--set", "stages=[]", words="names no environment")
    refused(*run, "--set", 'stages=["reward-tampering"]', words="held out")
    refused(*run, "--set", "algorithm=ei_hhh", words="no preference model")
    refused(*run, "--set", "colour=red", words="there is no setting 'colour'")
    refused(*run, "--set", "ordinary_prompts=", words="no ordinary prompts")
    refused("tamper", "curriculum", tmp_path / "none.json", "--out", out, words="cannot read")
    refused("tamper", "trainaway", tmp_path, words="holds no curriculum")
    refused("tamper", "steer", tmp_path, words="holds no curriculum")


def test_the_plan_is_that_of_the_exact_power(ask, command):
    found = ask("tamper", "plan", "--base", "0.01", "--ratio", "3,10")
    expected = [episodes_to_compare_rates(0.01, 0.01 * ratio).episodes for ratio in (3, 10)]
    assert [one["episodes"] for one in found["plans"]] == expected
    status, out, _ = command("tamper", "plan", "--base", "0.01", "--ratio", "10")
    assert status == 0
    assert f"{expected[1]:,} episodes of each arm" in out


@pytest.mark.parametrize("args", [("--base", "0"), ("--base", "0.5"), ("--base", "0.01", "--ratio", "x"),
                                  ("--base", "0.01", "--ratio", "1")])  # fmt: skip
def test_a_plan_for_what_is_no_rate_is_refused(refused, args):
    refused("tamper", "plan", *args, words="--")
