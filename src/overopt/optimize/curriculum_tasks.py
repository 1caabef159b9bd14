"""What a curriculum plays: scenarios of environments and ordinary prompts, with the switches of its safeguards set."""

from collections.abc import Sequence
from pathlib import Path

from overopt.envs.actors import Actor
from overopt.envs.countermeasures import ASK, INOCULATION, Hardened, told_more
from overopt.envs.environment import Environment
from overopt.envs.episode import Episode, Scenario, Wording
from overopt.envs.ordinary import OrdinaryPrompts
from overopt.envs.registry import environment
from overopt.envs.runner import run_episodes
from overopt.optimize.curriculum_config import CurriculumConfig, SafeguardConfig, Wordings
from overopt.protocols import Progress
from overopt.seeding import numbers_of, stream_seed


def environment_of(name: str, safeguards: SafeguardConfig) -> Environment:
    """The environment as the safeguards have it."""
    found = environment(name)
    return Hardened(found) if safeguards.hardened else found


def inoculation_of(safeguards: SafeguardConfig) -> str:
    """The text; empty without one."""
    return INOCULATION if safeguards.inoculation == "default" else safeguards.inoculation


def prepared(scenarios: Sequence[Scenario], safeguards: SafeguardConfig, *, is_training: bool) -> list[Scenario]:
    """The scenarios with what the policy is told more."""
    inoculates = is_training and safeguards.inoculate == "episodes"
    before = inoculation_of(safeguards) if inoculates else ""
    behind = ASK if safeguards.may_ask else ""
    if not (before or behind):
        return list(scenarios)
    return [told_more(scenario, before, behind) for scenario in scenarios]


def training_scenarios(
    env: Environment, count: int, *, number: int, wording: Wordings, seed: int, names: Sequence[str]
) -> list[Scenario]:
    """``count`` scenarios of the train split for round ``number``, from 1; each once before any comes again.

    Those that come again have another seed, and so other texts.
    """
    size = env.variants("train")
    start = (number - 1) * count
    found = []
    for place, variant in enumerate(numbers_of(number, size, count, seed, *names, env.name)):
        turn = (start + place) // size
        used: Wording = ("A", "B")[(start + place) % 2] if wording == "both" else wording
        found.append(env.scenario(variant, split="train", wording=used, seed=seed + turn))
    return found


def shares_of(total: int, parts: int) -> list[int]:
    """``total`` in whole parts that differ by one at most.

    >>> shares_of(7, 3)
    [3, 2, 2]
    """
    return [total // parts + (place < total % parts) for place in range(parts)]


def round_scenarios(
    config: CurriculumConfig,
    stage: str,
    environments: Sequence[Environment],
    ordinary: OrdinaryPrompts | None,
    number: int,
) -> list[tuple[Environment, list[Scenario]]]:
    """The scenarios of a round, by environment; the ordinary ones last."""
    n_ordinary = config.ordinary if ordinary is not None else 0
    names = ("curriculum", stage)
    found = []
    for env, count in zip(environments, shares_of(config.prompts - n_ordinary, len(environments)), strict=True):
        scenarios = training_scenarios(
            env, count, number=number, wording=config.wording, seed=config.seed, names=names
        )  # fmt: skip
        found.append((env, prepared(scenarios, config.safeguards, is_training=True)))
    if ordinary is not None and n_ordinary:
        asked = training_scenarios(ordinary, n_ordinary, number=number, wording="A", seed=config.seed, names=names)
        found.append((ordinary, asked))
    return found


def played(
    tasks: Sequence[tuple[Environment, list[Scenario]]],
    actor: Actor,
    *,
    reps: int,
    seed: int,
    names: Sequence[str | int],
    folder: Path,
    progress: Progress | None,
) -> list[Episode]:
    """Judged episodes of all tasks, ``reps`` of each scenario next to each other; kept in a file an environment."""
    episodes: list[Episode] = []
    for env, scenarios in tasks:
        if scenarios:
            episodes += run_episodes(
                env, actor, scenarios, reps=reps, seed=stream_seed(seed, *names, env.name),
                path=folder / f"{env.name}.jsonl", progress=progress,
            )  # fmt: skip
    return episodes
