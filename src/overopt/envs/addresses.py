"""Where a scenario comes from, in a line of text: what a data set for training holds instead of files and facts."""

import json
from collections.abc import Iterable
from typing import Any

from overopt.envs.environment import Environment
from overopt.envs.episode import Scenario
from overopt.envs.registry import environment
from overopt.errors import ConfigError, DataError

_PARTS = ("environment", "version", "variant", "split", "twin", "wording", "seed", "instructed")


def address_of(scenario: Scenario) -> str:
    """The names and settings from which its environment makes the scenario again, as JSON.

    >>> address_of(environment("reward-tampering").scenario(3, split="train"))
    '{"environment":"reward-tampering","version":2,"variant":3,"split":"train","twin":"gameable","wording":"A","seed":0,\
"instructed":false}'
    """
    return json.dumps({part: getattr(scenario, part) for part in _PARTS}, separators=(",", ":"))


def scenario_at(address: str, environments: Iterable[Environment] = ()) -> tuple[Environment, Scenario]:
    """The scenario of an address, and its environment: one of those given, or else the registered one of that name.

    Raises
    ------
    DataError
        If the text is no address.
    ConfigError
        If there is no such environment, variant or twin, or the environment has another version by now.
    """
    try:
        parts: dict[str, Any] = json.loads(address)
        name, version, variant = parts.pop("environment"), parts.pop("version"), parts.pop("variant")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{address!r} is no address of a scenario") from error
    found = next((one for one in environments if one.name == name), None) or environment(name)
    if found.version != version:
        raise ConfigError(f"{name} is at version {found.version}, and a scenario of version {version} is asked for")
    try:
        return found, found.scenario(variant, **parts)
    except TypeError as error:
        raise DataError(f"{address!r} is no address of a scenario") from error
