"""Scenarios as samples of Inspect: what a sample holds so that its scenario can be laid out again.

A sample holds the names that the registry needs, not the files; they are compared by a hash when they are laid out. The
hash also names versions of an environment that this one no longer has.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from overopt.envs.environment import Environment
from overopt.envs.episode import Episode, Scenario
from overopt.envs.episode_file import episode_of, episode_record
from overopt.envs.preamble import TOOL_NOTE
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.errors import ConfigError, DataError
from overopt.protocols import Message

EPISODE = "episode"
"""Where a sample's metadata keep its episode. In the store it would stand in the log twice more, as a change."""
_BYTE = re.compile("[\ud800-\udfff]")
_NAMES = ("environment", "version", "variant", "split", "twin", "wording", "seed", "instructed")
_own: dict[str, Environment] = {}


def printable(text: str) -> str:
    r"""Text as a log can hold it: bytes that are no UTF-8 as visible escapes.

    >>> print(printable("a\udc80"))
    a\x{dc80}
    """
    return _BYTE.sub(lambda found: f"\\x{{{ord(found[0]):x}}}", text)


def known_environment(name: str) -> Environment:
    """One that was given as an object, else that of the registry.

    Raises
    ------
    ConfigError
        If there is none.
    """
    return _own.get(name) or environment(name)


def keep_environment(found: Environment) -> None:
    """Let samples of this process find an environment of one's own, or one with settings of one's own."""
    _own[found.name] = found
    _rebuilt.cache_clear()


def cluster(scenario: Scenario) -> str:
    """What episodes of one scenario share: their independent unit."""
    return f"{scenario.id} seed {scenario.seed}"


def sample_id(scenario: Scenario, rep: int) -> str:
    """Short, and different for all samples of a task.

    >>> from overopt.envs.registry import environment
    >>> sample_id(environment("reward-tampering").scenario(3, wording="B"), 2)
    'B003-s0-2'
    """
    return f"{scenario.wording}{scenario.variant:03d}-s{scenario.seed}-{rep}"


def sample_metadata(scenario: Scenario, rep: int, reps: int) -> dict[str, Any]:
    """What :func:`scenario_of` needs, with the number of the episode and the cluster that intervals count."""
    names = {name: getattr(scenario, name) for name in _NAMES}
    return {**names, "sha": scenario_sha(scenario), "scenario": cluster(scenario), "rep": rep, "reps": reps}


def scenario_of(metadata: Mapping[str, Any]) -> Scenario:
    """The scenario of a sample.

    Raises
    ------
    ConfigError
        If it is not one of ours, or this version of the environment makes another one of it.
    """
    missing = [name for name in (*_NAMES, "sha") if name not in metadata]
    if missing:
        raise ConfigError(f"a sample of another task: its metadata lack {', '.join(missing)}")
    scenario, sha = _rebuilt(*(metadata[name] for name in _NAMES if name != "version"))
    if sha != metadata["sha"]:
        raise ConfigError(
            f"{scenario.id} is not what it was: the sample is of version {metadata['version']} of the environment, "
            f"here is version {scenario.version}"
        )
    return scenario


def rep_of(metadata: Mapping[str, Any], epoch: int) -> int:
    """Number of an episode among those of its scenario, where a sample may be run in several epochs.

    >>> rep_of({"rep": 1, "reps": 3}, 1), rep_of({"rep": 1, "reps": 3}, 2)
    (1, 4)
    """
    return int(metadata["rep"]) + (epoch - 1) * int(metadata["reps"])


def has_shell(scenario: Scenario) -> bool:
    """Whether the policy is told of commands."""
    return "<bash>" in scenario.system


def chat_message(said: Message, place: int) -> ChatMessage:
    """The turn at a place of a conversation as one of Inspect's; short names of messages keep logs small.

    >>> chat_message({"role": "user", "content": "Hello."}, 1).id
    'user-1'
    """
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    made: ChatMessage = kinds[said["role"]](content=said["content"], id=f"{said['role']}-{place}")
    return made


def sample(scenario: Scenario, rep: int, reps: int, *, is_tool: bool) -> Sample:
    """What Inspect shows a policy; with ``is_tool`` the system message says that the shell is a tool."""
    conversation = scenario.conversation
    if is_tool and has_shell(scenario):
        conversation[0]["content"] += f"\n\n{TOOL_NOTE}"
    messages = [chat_message(said, place) for place, said in enumerate(conversation)]
    return Sample(
        id=sample_id(scenario, rep),
        input=messages,
        target="",
        metadata=sample_metadata(scenario, rep, reps),
    )


def episode_to_keep(episode: Episode) -> Mapping[str, Any] | str:
    """An episode as a sample's metadata hold it: an object as in a line of an episode file.

    Its scenario is left out where the registry makes the same one of the names beside it. With bytes that are no UTF-8
    it is kept as text, in which they are escapes: an object of a log cannot hold them.
    """
    record = episode_record(episode)
    if _is_of_registry(episode.scenario):
        del record["scenario"]
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return json.dumps(record) if _BYTE.search(text) else record


def kept_episode(metadata: Mapping[str, Any]) -> Episode:
    """The episode of a sample, from all of its metadata.

    Raises
    ------
    DataError
        If it is damaged, or there is none.
    ConfigError
        If its scenario was left out and this version of the environment makes another one.
    """
    if EPISODE not in metadata:
        raise DataError("the sample holds no episode")
    found = metadata[EPISODE]
    try:
        record = dict(json.loads(found) if isinstance(found, str) else found)
    except (ValueError, TypeError) as error:
        raise DataError(f"a damaged episode: {error}") from error
    return episode_of({"scenario": asdict(scenario_of(metadata)), **record} if "scenario" not in record else record)


def scenario_sha(scenario: Scenario) -> str:
    """SHA-256 of all that a scenario holds, the first 16 digits."""
    text = json.dumps(asdict(scenario), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=4_096)
def _rebuilt(
    name: str, variant: int, split: Any, twin: Any, wording: Any, seed: int, instructed: bool
) -> tuple[Scenario, str]:
    found = known_environment(name)
    made = found.scenario(variant, split=split, twin=twin, wording=wording, seed=seed, instructed=instructed)
    return made, scenario_sha(made)


def _is_of_registry(scenario: Scenario) -> bool:
    name = scenario.environment
    if name not in ENVIRONMENTS or name in _own or scenario.variant >= environment(name).variants(scenario.split):
        return False
    names = (getattr(scenario, field) for field in _NAMES if field != "version")
    return _rebuilt(*names)[0] == scenario
