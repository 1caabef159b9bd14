"""The same completions through the native loop, Inspect's text protocol and Inspect's tools: one episode."""

from dataclasses import replace

import pytest

from adapters.inspect_runs import NEVER_SAME, native, place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_samples import has_shell
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.registry import ENVIRONMENTS, environment

PERSONAS = ("honest", "gamer", "confused")
PROTOCOLS = ("text", "tool")
COUNT = 2


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Episodes by environment, protocol and persona, from one run of Inspect."""
    keys = [(name, protocol) for name in ENVIRONMENTS for protocol in PROTOCOLS]
    tasks = [inspect_task(name, protocol=protocol, n=COUNT) for name, protocol in keys]
    models = [f"overopt/{persona}" for persona in PERSONAS]
    logs = run(tasks, models, tmp_path_factory.mktemp("faces"), max_tasks=len(tasks))
    found = {}
    for log in logs:
        episodes, left_out = from_inspect_log(place(log))
        assert not left_out
        protocol = episodes[0].policy["protocol"]
        found[episodes[0].scenario.environment, protocol, log.eval.model.removeprefix("overopt/")] = episodes
    return found


@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_episode_is_the_same_through_every_face(name, protocol, persona, faces):
    found = environment(name)
    expected = native(found, persona, found.scenarios(COUNT))
    episodes = faces[name, protocol, persona]
    if protocol == "tool" and not has_shell(expected[0].scenario) and any(one.commands for one in expected):
        # Nobody was told of a shell: a command between tags is a text like others, as there is no tool for it.
        assert not any(one.commands for one in episodes)
        assert [one.outcome.gamed for one in episodes] == [one.outcome.gamed for one in expected]
        return
    assert [episode.outcome for episode in episodes] == [episode.outcome for episode in expected]
    assert [replace(one, **NEVER_SAME) for one in episodes] == [replace(one, **NEVER_SAME) for one in expected]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_who_played_and_how_is_kept(name, faces):
    for protocol in PROTOCOLS:
        for episode in faces[name, protocol, "gamer"]:
            assert episode.policy == {"name": "overopt/gamer", "engine": "inspect", "protocol": protocol}
            assert set(episode.versions) == {"overopt", "inspect_ai"}
