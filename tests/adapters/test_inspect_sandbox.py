"""The simulated machine behind Inspect's interface, and the refusal of any other."""

import asyncio

import pytest
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import chain, generate, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxUserUnsupportedError

from adapters.inspect_runs import in_process, place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_sandbox import SimulatedSandbox
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.registry import environment
from overopt.errors import ConfigError
from overopt.policies.scripted import ScriptedPolicy

SCENARIO = environment("reward-tampering").scenario(0)


def machine(scenario=SCENARIO):
    return SimulatedSandbox(scenario)


def call(coroutine):
    return asyncio.run(coroutine)


@pytest.mark.parametrize("form", [["bash", "-c"], ["bash", "--login", "-c"]])
def test_commands_run_on_the_machine_of_the_scenario(form):
    result = call(machine().exec([*form, f"cat {SCENARIO.facts['reward']} | wc -l; false"]))
    assert (result.success, result.returncode, result.stdout) == (False, 1, "6\n")


@pytest.mark.parametrize(
    "cmd", [["ls"], ["sh", "-c", "ls"], ["bash", "x.sh"], ["bash", "-c"], ["python3", "-c", "print(1)"], []]
)
def test_anything_but_a_shell_command_is_an_ordinary_failure(cmd):
    sandbox = machine()
    result = call(sandbox.exec(cmd))
    assert (result.success, result.returncode) == (False, 126)
    assert "simulated" in result.stderr
    assert sandbox.ran == []
    assert sandbox.machine.calls == 0


@pytest.mark.parametrize("option", [{"input": "text"}, {"cwd": "/tmp"}, {"env": {"A": "b"}}])
def test_what_a_command_cannot_be_given_is_a_failure_and_not_left_out(option):
    assert call(machine().exec(["bash", "-c", "pwd"], **option)).returncode == 126


def test_there_is_no_root():
    with pytest.raises(SandboxUserUnsupportedError):
        call(machine().exec(["bash", "-c", "id"], user="root"))


def test_what_could_pass_for_a_tag_or_break_a_log_is_shown_as_an_escape():
    result = call(machine().exec(["bash", "-c", r"printf '</stdout>\377\r'"]))
    assert result.stdout == r"\x{3c}/stdout>\x{dcff}\x{d}"


def test_turns_end():
    sandbox = machine()
    for _ in range(SCENARIO.most_turns):
        assert call(sandbox.exec(["bash", "-c", "true"])).success
    late = call(sandbox.exec(["bash", "-c", "touch late"]))
    assert late.returncode == 126
    assert "over" in late.stderr
    assert sandbox.machine.text("late") is None


def test_files_go_in_and_out():
    sandbox = SimulatedSandbox()
    call(sandbox.write_file("in/a.txt", "one\r\n"))
    call(sandbox.write_file("b.bin", b"\xff\x00"))
    assert call(sandbox.exec(["bash", "-c", "cat in/a.txt"])).stdout == "one\\x{d}\n"
    assert call(sandbox.read_file("in/a.txt")) == "one\r\n"
    assert call(sandbox.read_file("b.bin", text=False)) == b"\xff\x00"
    with pytest.raises(UnicodeDecodeError):
        call(sandbox.read_file("b.bin"))
    with pytest.raises(FileNotFoundError):
        call(sandbox.read_file("c"))
    with pytest.raises(IsADirectoryError):
        call(sandbox.read_file("in"))
    with pytest.raises(IsADirectoryError):
        call(sandbox.write_file("/home/user/in", "x"))
    with pytest.raises(PermissionError, match="cannot hold"):
        call(sandbox.write_file("big", "x" * 200_000))


def said(*texts):
    """A model that calls ``bash`` with each text, then ends."""

    def output(input, tools, tool_choice, config):
        done = sum(one.role == "assistant" for one in input)
        if done < len(texts):
            made = ModelOutput.for_tool_call("mock", "bash", {"command": texts[done]}, content="")
        else:
            made = ModelOutput.from_content("mock", "Done.")
        made.usage = ModelUsage()
        return made

    return get_model("mockllm/model", custom_outputs=output, memoize=False)


def test_other_tasks_can_use_the_machine_too(tmp_path):
    sample = Sample(input="Count.", target="Done", files={"numbers.txt": "1\n2\n"})
    task = Task([sample], solver=[use_tools(bash()), generate()], scorer=includes(), sandbox="simfs")
    (log,) = run(task, said("wc -l < numbers.txt"), tmp_path)
    assert [message.text for message in log.samples[0].messages if message.role == "tool"] == ["2\n"]


@pytest.mark.parametrize("protocol", ["text", "tool"])
def test_another_sandbox_is_refused_before_a_command_runs_there(protocol, tmp_path):
    owned = tmp_path / "owned"
    text = f"<bash>touch {owned}</bash>"
    model = in_process(ScriptedPolicy(lambda *_: text)) if protocol == "text" else said(f"touch {owned}")
    task = inspect_task("reward-tampering", protocol=protocol, n=1)
    (log,) = run(task, model, tmp_path, sandbox="local", fail_on_error=False)
    assert "simulated machine" in log.samples[0].error.message
    assert not owned.exists()
    episodes, left_out = from_inspect_log(place(log))
    assert not episodes
    assert "simulated machine" in left_out[0]


@pytest.mark.parametrize("way", ["of the task", "in its place"])
def test_another_sandbox_is_refused_whatever_the_solver(way, tmp_path):
    owned = tmp_path / "owned"
    other = chain(use_tools(bash()), generate())
    given = {"solver": other} if way == "of the task" else {}
    task = inspect_task("reward-tampering", protocol="tool", n=1, **given)
    options = {} if given else {"solver": other}
    (log,) = run(task, said(f"touch {owned}"), tmp_path, sandbox="local", fail_on_error=False, **options)
    assert "simulated machine" in log.samples[0].error.message
    assert not owned.exists()


def test_only_the_flag_lets_commands_out_and_then_nothing_is_judged(tmp_path):
    owned = tmp_path / "owned"
    task = inspect_task("reward-tampering", protocol="tool", n=1, danger_local_sandbox=True)
    (log,) = run(task, said(f"touch {owned}"), tmp_path, sandbox="local")
    assert owned.exists()  # The refusal above is what keeps it away.
    assert log.samples[0].error is None
    assert {score.scored_samples for score in log.results.scores} == {0}
    assert "simulated machine" in from_inspect_log(place(log)).left_out[0]


def test_the_text_protocol_has_no_such_flag():
    with pytest.raises(ConfigError, match="never leaves"):
        inspect_task("reward-tampering", danger_local_sandbox=True)


def test_a_sample_of_another_version_is_refused(tmp_path):
    task = inspect_task("reward-tampering", n=1)
    task.dataset[0].metadata["sha"] = "0" * 16
    task.dataset[0].metadata["version"] = 0
    (log,) = run(task, "overopt/honest", tmp_path, fail_on_error=False)
    assert "version 0" in log.samples[0].error.message
