"""The recipes in examples/ are settings that are accepted, and pairs that can be used."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from overopt.optimize.curriculum_config import CurriculumConfig
from overopt.records.preferences import read_preferences, shared_prompts
from overopt.studies.curriculum_run import read_curriculum
from overopt.studies.rm_run import RMRunConfig
from overopt.studies.study import resolved, with_settings

RECIPES = Path(__file__).parents[2] / "examples" / "reward_models"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.json")), ids=lambda path: path.name)
def test_a_configuration_is_accepted_and_resolves_to_itself(path):
    config = with_settings(RMRunConfig(), [], stored=json.loads(path.read_text()))
    assert config.base
    assert config.data
    assert config.reward_training.text.is_on
    assert with_settings(RMRunConfig(), [], stored=resolved(config)) == config


@pytest.mark.parametrize("path", sorted((RECIPES.parent / "curriculum").glob("*.json")), ids=lambda path: path.name)
def test_a_curriculum_is_accepted_and_resolves_to_itself(path):
    config = read_curriculum(path)
    assert config.model
    assert config.stages
    assert "reward-tampering" in config.measure.environments, "what is held out is measured"
    assert with_settings(CurriculumConfig(), [], stored=resolved(config)) == config


@pytest.fixture
def script():
    path = RECIPES / "helpful_and_chat.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(n):
    """As HelpSteer2 has them: earlier turns stand in the question."""
    question = "Sky {}?\n<extra_id_1>Assistant\nBlue.\nMostly.\n<extra_id_1>User\nWhy?"
    return [
        {
            side: [
                {"role": "user", "content": question.format(number)},
                {"role": "assistant", "content": f"{side} {number}"},
            ]
            for side in ("chosen", "rejected")
        }
        for number in range(n)
    ]


def test_the_pairs_of_the_recipe_can_be_used(script, tmp_path, monkeypatch):
    (tmp_path / "answers.json").write_text(json.dumps(answers(11)))
    monkeypatch.setattr(
        sys, "argv", ["x", str(tmp_path / "answers.json"), "--out", str(tmp_path / "out"), "--chat", "20"]
    )
    script.main()
    train, held_out = (read_preferences(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "held-out"))
    assert (len(train), len(held_out), train.dropped, held_out.dropped) == (8 + 20, 3 + 5, {}, {})
    assert (train.categories.count("chat"), held_out.categories.count("helpful")) == (20, 3)
    assert shared_prompts(held_out, train) == 0
    assert train.prompts[0] == [
        {"role": "user", "content": "Sky 1?"},
        {"role": "assistant", "content": "Blue.\nMostly."},
        {"role": "user", "content": "Why?"},
    ]
    assert (train.chosen[0], train.rejected[0]) == ("chosen 1", "rejected 1")
