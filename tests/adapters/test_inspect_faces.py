"""The same completions through the native loop, Inspect's text protocol and Inspect's tools: one episode."""

from dataclasses import replace
from functools import cache

import pytest

from adapters.inspect_runs import NEVER_SAME, native, place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_samples import has_shell
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.registry import ENVIRONMENTS, environment

COUNTS = {"honest": 1, "gamer": 2, "confused": 2}
"""Scenarios of an environment by persona."""
PERSONAS = ("honest", "gamer", pytest.param("confused", marks=pytest.mark.slow))
PROTOCOLS = ("text", "tool")


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Episodes of a persona by environment and protocol, from one run of Inspect for all of them."""

    @cache
    def played(persona):
        tasks = [
            inspect_task(name, protocol=protocol, n=COUNTS[persona]) for name in ENVIRONMENTS for protocol in PROTOCOLS
        ]
        found = {}
        for log in run(tasks, f"overopt/{persona}", tmp_path_factory.mktemp("faces"), max_tasks=len(tasks)):
            episodes, left_out = from_inspect_log(place(log))
            assert not left_out
            found[episodes[0].scenario.environment, episodes[0].policy["protocol"]] = episodes
        return found

    return played


@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_episode_is_the_same_through_every_face(name, protocol, persona, faces):
    found = environment(name)
    expected = native(found, persona, found.scenarios(COUNTS[persona]))
    episodes = faces(persona)[name, protocol]
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
        for episode in faces("gamer")[name, protocol]:
            assert episode.policy == {"name": "overopt/gamer", "engine": "inspect", "protocol": protocol}
            assert set(episode.versions) == {"overopt", "inspect_ai"}
