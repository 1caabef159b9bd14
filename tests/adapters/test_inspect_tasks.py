"""What Inspect finds by our entry point, from the command line and from Python."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from inspect_ai.log import list_eval_logs

from adapters.inspect_runs import place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_tasks import TASKS, inspect_task, task_name
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.suite.reward_tampering import RewardTampering
from overopt.errors import ConfigError


def test_every_environment_is_a_task():
    assert list(TASKS) == [task_name(name) for name in ENVIRONMENTS]


def test_the_entry_point_leads_to_all_of_it():
    (found,) = [one for one in entry_points(group="inspect_ai") if one.name == "overopt"]
    assert found.value == "overopt.adapters.inspect_registry"


def test_inspect_finds_a_task_and_a_model_by_name(tmp_path):
    """In a process that has not heard of us."""
    command = [
        sys.executable, "-m", "inspect_ai", "eval", "overopt/tamper_reward_tampering", "--model", "overopt/gamer",
        "-T", "n=2", "-T", "reps=2", "-T", "wording=B", "-T", "instructed=true", "--display", "none",
        "--log-dir", str(tmp_path), "--no-log-realtime",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (info,) = list_eval_logs(str(tmp_path))
    episodes = from_inspect_log(tmp_path / info.name.rpartition("/")[2]).episodes
    assert len(episodes) == 4
    assert all(one.outcome.gamed and one.scenario.wording == "B" and one.scenario.instructed for one in episodes)


def test_replicates_are_samples_of_their_own():
    samples = inspect_task("reward-tampering", n=3, reps=2, seed=1).dataset
    assert [sample.id for sample in samples] == [f"A{k:03d}-s1-{rep}" for k in range(3) for rep in range(2)]
    assert len({sample.metadata["scenario"] for sample in samples}) == 3


def test_samples_hold_names_and_not_files():
    (sample,) = inspect_task("reward-tampering", n=1).dataset
    scenario = environment("reward-tampering").scenario(0)
    assert sample.files is None
    assert len(str(sample.metadata)) < 400
    assert not any(file.text in str(sample) for file in scenario.files)


@pytest.mark.parametrize(
    "options", [{"protocol": "x"}, {"twin": "x"}, {"split": "x"}, {"wording": "C"}, {"n": 0}, {"reps": 0}]
)
def test_wrong_arguments_are_refused(options):
    with pytest.raises(ConfigError):
        TASKS["tamper_reward_tampering"](**options)


def test_an_unknown_environment_is_refused():
    with pytest.raises(ConfigError, match="no environment"):
        inspect_task("nothing")


class Own(RewardTampering):
    name = "of-my-own"


def test_an_environment_of_ones_own_runs_and_comes_back(tmp_path):
    (log,) = run(inspect_task(Own(), n=2), "overopt/gamer", tmp_path)
    episodes = from_inspect_log(place(log)).episodes
    assert [one.scenario for one in episodes] == Own().scenarios(2)
    assert all(one.outcome.gamed for one in episodes)
