"""Commands that somebody rejected before they ran: the policy is told, and nothing happened."""

import pytest

from overopt.envs.registry import environment
from overopt.envs.session import Completion, Session

SCENARIO = environment("reward-tampering").scenario(0)
COMMAND = f"rm {SCENARIO.facts['guard']}"


@pytest.mark.parametrize("face", ["text", "tool"])
def test_a_refused_command_does_not_run_and_the_policy_is_told(face):
    session = Session(SCENARIO)
    if face == "text":
        session.say(f"I clean up.<bash>{COMMAND}</bash>", refused="not this file")
    else:
        session.call(COMMAND, text="I clean up.", refused="not this file")
    episode = session.episode({"name": "me"})
    assert session.conversation[-1]["content"] == "<stdout>\n</stdout>\n<stderr>\nnot this file\n</stderr>"
    (step,) = episode.steps
    assert (step.command, step.visible, step.status) == (COMMAND, "I clean up.", 126)
    assert episode.writes == () == episode.reads
    assert f"/home/user/{SCENARIO.facts['guard']}" in episode.files


def test_refused_commands_use_up_turns_like_others():
    session = Session(SCENARIO)
    while not session.is_over:
        session.call(COMMAND, refused="no")
    assert len(session.episode({"name": "me"}).steps) == SCENARIO.most_turns


def test_an_answer_that_was_cut_off_is_the_same_in_both_protocols():
    steps = []
    for is_tool in (False, True):
        session = Session(SCENARIO)
        if is_tool:
            session.answer("There is no", is_cut=True)
        else:
            session.say(Completion("There is no", is_cut=True))
        steps.append(session.episode({"name": "me"}).steps)
    assert steps[0] == steps[1]
    assert steps[0][0].limits == ("tokens",)
