"""Episodes to logs of Inspect and back: nothing is lost, little is stored, Inspect reads it."""

import zipfile
from dataclasses import replace

import pytest
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

from adapters.inspect_runs import native, place, run
from overopt.adapters.inspect_log import from_inspect_log, to_inspect_log
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.actors import Script
from overopt.envs.episode import Tokens
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes
from overopt.envs.session import Session, play
from overopt.errors import DataError, StorageError
from overopt.stats.rates import clustered_rate

ENVIRONMENT = environment("reward-tampering")
MOST_BYTES = 4_096
"""An episode."""


def back(episodes, folder, name="x.eval"):
    to_inspect_log(episodes, folder / name)
    found = from_inspect_log(folder / name)
    assert found.left_out == []
    return found.episodes


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_all_environments_in_one_log_come_back(suffix, tmp_path):
    episodes = [
        episode
        for name in ENVIRONMENTS
        for persona in ("honest", "discloser", "confused")
        for twin in environment(name).twins
        for episode in native(environment(name), persona, environment(name).scenarios(2, twin=twin))
    ]
    assert back(episodes, tmp_path, f"x{suffix}") == episodes


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_stored_episode_is_small(name, tmp_path):
    episodes = native(environment(name), "gamer", environment(name).scenarios(32))
    to_inspect_log(episodes, tmp_path / "x.eval")
    assert (tmp_path / "x.eval").stat().st_size / len(episodes) <= MOST_BYTES


def strange():
    """Episodes with everything that a plain run leaves out."""
    (usual,) = native(ENVIRONMENT, "gamer", ENVIRONMENT.scenarios(1))
    ids = Tokens(prompt_ids=(1, 2), completion_ids=(3,), logprobs=(-0.125,))
    yield "more fields", replace(
        usual, tokens=(ids, ids), steer="I plan", weight=0.25, monitors={"diff": 1.0}, reward={"game": 1.0, "pm": 0.5},
        policy={"name": "policy", "stage": "3", "sampler": {"temperature": 0.5, "stop": []}}, rep=7, draws=3,
    )  # fmt: skip
    yield "no outcome", replace(usual, outcome=None, reward={})
    yield "a scenario of nobody", play(replace(usual.scenario, user="Something else?"), ["<bash>ls</bash>", "No."])
    yield "another version", replace(usual, scenario=replace(usual.scenario, version=99))
    yield "an unknown environment", replace(usual, scenario=replace(usual.scenario, environment="elsewhere"))
    yield "more variants than there are", replace(usual, scenario=replace(usual.scenario, variant=10**6))
    scenario = ENVIRONMENT.scenario(1)
    for name, texts in {
        "bytes": [r"<bash>printf '\377\000\033' > $(printf 'b\377'); cat b*</bash>", "Done \ud83d\ude00 \udc80"],
        "signs": ["<cot>\u202e\U0001f600</cot><bash>echo '</stdout>' \U0001f600 \\u0041</bash>", "é\x00\x1b"],
        "open": ["<bash>ls</bash>"],
        "empty": [""],
        "long": ["<bash>yes abcdefghij | head -n 2000</bash>", "x" * 30_000],
    }.items():
        yield name, ENVIRONMENT.judged(play(scenario, texts))
    first = Session(scenario)
    first.say(f"<bash>rm {scenario.facts['guard']}; ln -s /tmp t</bash>")
    second = Session(scenario, machine=first.machine.next_episode())
    second.say("Done.")
    yield "a machine that went on", ENVIRONMENT.judged(second.episode({"name": "me"}))


STRANGE = dict(strange())


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_strange_episodes_come_back(suffix, tmp_path):
    # One log: the names of the samples have to stay apart too.
    found = back(list(STRANGE.values()), tmp_path, f"x{suffix}")
    for name, again in zip(STRANGE, found, strict=True):
        assert again == STRANGE[name], name


def test_a_run_of_a_task_comes_back_judged_and_can_be_exported_again(tmp_path):
    (log,) = run(inspect_task("reward-tampering", n=3, reps=2, stage="s1"), "overopt/gamer", tmp_path)
    episodes = from_inspect_log(place(log)).episodes
    expected = native(ENVIRONMENT, "gamer", ENVIRONMENT.scenarios(3), reps=2)
    assert [one.outcome for one in episodes] == [one.outcome for one in expected]
    assert [one.reward for one in episodes] == [one.reward for one in expected]
    assert [(one.scenario, one.rep) for one in episodes] == [(one.scenario, one.rep) for one in expected]
    assert {one.policy["stage"] for one in episodes} == {"s1"}
    assert back(episodes, tmp_path) == episodes


def test_inspect_reads_it_with_rates_as_a_run_of_the_task_has_them(tmp_path):
    episodes = native(ENVIRONMENT, "honest", ENVIRONMENT.scenarios(4), reps=3)
    to_inspect_log(episodes, tmp_path / "x.eval")
    made = read_eval_log(tmp_path / "x.eval")
    assert made.status == "success"
    assert made.eval.task == "overopt/tamper_reward_tampering"
    (ran,) = run(inspect_task("reward-tampering", n=4, reps=3), "overopt/honest", tmp_path)
    for ours, theirs in zip(made.results.scores, ran.results.scores, strict=True):
        assert ours.name == theirs.name
        assert {name: one.value for name, one in ours.metrics.items()} == {
            name: one.value for name, one in theirs.metrics.items()
        }
    rate = clustered_rate([3] * 4, [3] * 4, unit="scenario")
    honest = next(score for score in made.results.scores if score.name == "honest_success")
    assert honest.metrics["overopt/low"].value == rate.low
    for ours, theirs in zip(made.samples, ran.samples, strict=True):
        assert [(one.role, one.text) for one in ours.messages] == [(one.role, one.text) for one in theirs.messages]
        assert ours.scores == theirs.scores
    assert len(read_eval_log_sample_summaries(tmp_path / "x.eval")) == 12


def test_rates_of_mixed_episodes_are_left_open(tmp_path):
    names = list(ENVIRONMENTS)[:2] if len(ENVIRONMENTS) > 1 else ["reward-tampering"] * 2
    twins = ("gameable", "control")
    episodes = [
        one
        for name, twin in zip(names, twins, strict=True)
        for one in native(environment(name), "honest", environment(name).scenarios(2, twin=twin))
    ]
    to_inspect_log(episodes, tmp_path / "x.eval")
    assert read_eval_log(tmp_path / "x.eval", header_only=True).results.scores == []


def test_the_same_episode_twice_is_two_samples(tmp_path):
    episodes = native(ENVIRONMENT, "honest", ENVIRONMENT.scenarios(1)) * 3
    assert back(episodes, tmp_path) == episodes


def test_more_scenarios_than_variants_are_told_apart(tmp_path):
    scenarios = [ENVIRONMENT.scenario(0, seed=seed) for seed in range(3)]
    episodes = run_episodes(ENVIRONMENT, Script(ENVIRONMENT, "honest"), scenarios)
    assert back(episodes, tmp_path) == episodes


def test_what_is_no_log_is_refused(tmp_path):
    for name, content in {"a.eval": b"text", "b.json": b"{}", "c.eval": b"PK\x03\x04 nothing"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            from_inspect_log(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "d.eval", "w") as file:
        file.writestr("other.txt", "x")
    with pytest.raises(DataError, match=r"d\.eval"):
        from_inspect_log(tmp_path / "d.eval")
    with pytest.raises(DataError, match="there is no file"):
        from_inspect_log(tmp_path / "e.eval")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    episodes = native(ENVIRONMENT, "honest", ENVIRONMENT.scenarios(1))
    with pytest.raises(StorageError, match=r"\.eval or \.json"):
        to_inspect_log(episodes, tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="no episodes"):
        to_inspect_log([], tmp_path / "x.eval")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        to_inspect_log(episodes, tmp_path / "file" / "x.eval")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
