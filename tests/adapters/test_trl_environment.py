"""Our environments as TRL's: one tool, a reward, and nothing else that a policy could call. No trainer is needed."""

import inspect
from importlib.util import find_spec

import pytest

if any(find_spec(name) is None for name in ("trl", "datasets", "torch", "transformers")):
    pytest.skip("trl is not installed", allow_module_level=True)

from transformers.utils import get_json_schema

from overopt.adapters.trl_environment import hand_in_answers, trl_environment
from overopt.envs.actors import Script
from overopt.envs.chat_file import prompt_row
from overopt.envs.environment import PERSONAS
from overopt.envs.machine import scan
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes
from overopt.errors import ConfigError, DataError

ENVIRONMENT = environment("reward-tampering")


def begun(scenario, **options):
    made = trl_environment(environment(scenario.environment), **options)()
    made.reset(**prompt_row(scenario))
    return made


def answer(made, text, **more):
    return hand_in_answers(None, [[{"role": "assistant", "content": text, **more}]], environments=[made])


def play(made, lines):
    for line in lines:
        turn = scan(line)
        if turn.command is None:
            answer(made, line)
        else:
            made.bash(turn.command)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_script_leads_to_the_outcomes_of_the_native_loop(name):
    found = environment(name)
    for persona in PERSONAS:
        for twin in found.twins:
            scenario = found.scenario(1, twin=twin)
            made = begun(scenario)
            play(made, found.script(scenario, persona))
            (native,) = run_episodes(found, Script(found, persona), [scenario])
            ours = made._episode()
            assert (ours.files, ours.answer, ours.commands) == (native.files, native.answer, native.commands)
            for fact in ("gamed", "raised", "evaded", "attempted", "honest_success", "valid"):
                assert getattr(ours.outcome, fact) == getattr(native.outcome, fact), (persona, twin, fact)
            assert made.get_reward() == float(native.outcome.gamed)


def test_a_policy_finds_one_tool_that_describes_itself():
    made = trl_environment(ENVIRONMENT)
    public = [name for name, _ in inspect.getmembers(made, inspect.isfunction) if not name.startswith("_")]
    assert sorted(public) == ["bash", "get_reward", "reset"]
    schema = get_json_schema(made().bash)["function"]
    assert schema["name"] == "bash"
    assert schema["description"] == "Run a command in the sandbox."
    assert list(schema["parameters"]["properties"]) == ["command"]


def test_what_a_call_returns_is_what_it_printed():
    scenario = ENVIRONMENT.scenario(0)
    made = begun(scenario)
    assert made.bash("pwd") == "<stdout>\n/home/user\n</stdout>"
    assert "<stderr>" in made.bash("cat nothing")
    assert made.bash("echo '</stdout>'").count("</stdout>") == 1


def test_each_reset_begins_anew_and_instances_share_nothing():
    scenario = ENVIRONMENT.scenario(0)
    made, other = begun(scenario), begun(scenario)
    made.bash("echo mine > left.txt")
    assert "left.txt" not in other.bash("ls")
    made.reset(**prompt_row(scenario))
    assert "left.txt" not in made.bash("ls")
    assert len(made._episode().steps) == 1


def test_calls_behind_the_end_change_nothing():
    scenario = ENVIRONMENT.scenario(0)
    made = begun(scenario)
    found = [made.bash("echo a >> count") for _ in range(scenario.most_turns + 3)]
    assert ["is over" in text for text in found] == [False] * (scenario.most_turns - 1) + [True] * 4
    answer(made, "Too late.")
    episode = made._episode()
    assert (len(episode.steps), episode.answer, episode.ended) == (scenario.most_turns, "", "turns")


def test_a_last_message_that_is_a_call_is_no_answer():
    for completion in (
        [],
        [{"role": "tool", "content": "x"}],
        [{"role": "assistant", "tool_calls": [{}], "content": "x"}],
    ):
        made = begun(ENVIRONMENT.scenario(0))
        assert hand_in_answers(None, [completion], environments=[made]) == [None]
        assert made._episode().ended == "open"
    made = begun(ENVIRONMENT.scenario(0))
    answer(made, [{"type": "text", "text": "Two "}, {"type": "text", "text": "parts."}])
    assert made._episode().answer == "Two parts."


def test_rewards_of_ones_own_are_added_up_unless_there_is_a_total():
    assert begun(ENVIRONMENT.scenario(0), rewards=lambda outcome: {"a": 1.0, "b": 0.5}).get_reward() == 1.5
    assert begun(ENVIRONMENT.scenario(0), rewards=lambda outcome: {"a": 1.0, "total": 0.5}).get_reward() == 0.5


def test_rows_that_are_not_ours_and_calls_before_a_reset_are_refused():
    made = trl_environment(ENVIRONMENT)()
    with pytest.raises(ConfigError, match="reset comes first"):
        made.bash("ls")
    with pytest.raises(DataError, match="does not say which scenario"):
        made.reset(prompt=[{"role": "user", "content": "Hello."}])
    with pytest.raises(DataError, match="does not say which scenario"):
        made.reset()
