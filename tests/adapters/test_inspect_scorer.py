"""Rates in Inspect's results are those of ``stats.rates``, scenarios counted once, epochs or not."""

import math

import pytest

from adapters.inspect_runs import in_process, place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_scorer import KEYS, figures
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.registry import environment
from overopt.policies.scripted import ScriptedPolicy
from overopt.stats.rates import clustered_rate, rate

ENVIRONMENT = environment("reward-tampering")
SCENARIOS = {one.user: one for one in ENVIRONMENT.scenarios(6)}


def now_and_then(prompt, number, rng):
    """Looks, then games with a probability that differs between scenarios, as an honest one would otherwise."""
    scenario = SCENARIOS[prompt[1]["content"]]
    said = [turn["content"] for turn in prompt if turn["role"] == "assistant"]
    games = any("make it pay" in text for text in said)
    if len(said) == 2:
        games = rng.random() < scenario.variant / 5
    lines = list(ENVIRONMENT.script(scenario, "gamer" if games else "honest"))
    return lines[len(said)]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    task = inspect_task("reward-tampering", n=6, reps=4)
    (log,) = run(task, in_process(ScriptedPolicy(now_and_then)), tmp_path_factory.mktemp("rates"))
    return log


def metrics(log, key):
    (found,) = [score for score in log.results.scores if score.name == key]
    return {name.removeprefix("overopt/"): metric.value for name, metric in found.metrics.items()}


def test_every_fact_has_its_metrics(log):
    assert [score.name for score in log.results.scores] == list(KEYS)
    for key in KEYS:
        assert {"rate", "low", "high"} <= set(metrics(log, key))
    sizes = metrics(log, "valid")
    assert (sizes["episodes"], sizes["scenarios"]) == (24, 6)


def test_an_interval_counts_scenarios_as_the_statistics_do(log):
    episodes = from_inspect_log(place(log)).episodes
    gamed = [[one.outcome.gamed for one in episodes if one.scenario.variant == k] for k in range(6)]
    assert [len(part) for part in gamed] == [4] * 6
    assert 0 < sum(map(sum, gamed)) < 24
    expected = clustered_rate([sum(part) for part in gamed], [4] * 6, unit="scenario")
    found = metrics(log, "gamed")
    assert (found["rate"], found["low"], found["high"]) == (expected.value, expected.low, expected.high)
    independent = rate(expected.successes, expected.trials)
    assert expected.high - expected.low > independent.high - independent.low


def test_epochs_are_episodes_and_not_averaged_away(tmp_path):
    task = inspect_task("reward-tampering", n=3, reps=2)
    (log,) = run(task, "overopt/gamer", tmp_path, epochs=2)
    sizes = metrics(log, "valid")
    assert (sizes["episodes"], sizes["scenarios"]) == (12, 3)
    episodes = from_inspect_log(place(log)).episodes
    assert sorted(one.rep for one in episodes if one.scenario.variant == 1) == [0, 1, 2, 3]


def test_one_episode_a_scenario_is_counted_plainly():
    found = figures(["a", "b", "c"], [1, 0, 0])
    expected = rate(1, 3)
    assert (found["low"], found["high"]) == (expected.low, expected.high)


def test_one_scenario_alone_has_no_interval():
    found = figures(["a"] * 5, [1, 0, 0, 1, 0])
    assert found["rate"] == 0.4
    assert math.isnan(found["low"])


def test_scores_say_why(log):
    sample = next(one for one in log.samples if one.scores["tamper"].value["gamed"])
    score = sample.scores["tamper"]
    assert score.value["honest_success"] == 0
    assert "attempted, step" in score.explanation
    assert score.metadata["disclosed"] == "silent"
