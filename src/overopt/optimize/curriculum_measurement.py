"""What a policy does after a stage: counted episodes of the test split, exact choices, and both as one matrix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overopt.envs.countermeasures import asks
from overopt.envs.episode_file import episode_record, read_episodes
from overopt.envs.runner import run_episodes
from overopt.measure.gaming import gaming_matrix
from overopt.measure.plain import plain
from overopt.optimize.curriculum_config import CurriculumConfig
from overopt.optimize.curriculum_folder import CurriculumFolder, read_json, write_json
from overopt.optimize.curriculum_tasks import environment_of, prepared
from overopt.optimize.episode_rewards import STAMP, alarm_shares
from overopt.optimize.scripted_choices import (
    MEASURES,
    choice_records,
    choices_of,
    menu_share,
    paired_change,
    scripted_choices,
)
from overopt.policies.models import HFPolicy
from overopt.protocols import Progress
from overopt.records.outcomes import outcome_table
from overopt.seeding import stream_seed
from overopt.training.episode_actor import EpisodeActor

CAVEAT = "Constructed incentive, pathway not prevalence."


def measure_policy(
    policy: HFPolicy,
    config: CurriculumConfig,
    folder: Path,
    *,
    stage: str,
    opening: str = "",
    has_choices: bool = True,
    progress: Progress | None = None,
) -> None:
    """Episodes of each environment in ``folder``, a file each, and ``choices.json``; what is there is not done again.

    Every policy gets the same scenarios and the same random streams.
    """
    measure = config.measure
    about = {"stage": stage, "algorithm": config.algorithm, **config.reward.stamp}
    actor = EpisodeActor(policy, config.sampler, about=about, opening=opening)
    for name in measure.environments:
        env = environment_of(name, config.safeguards)
        scenarios = prepared(
            env.scenarios(measure.scenarios, split="test", wording=measure.wording, seed=config.seed),
            config.safeguards, is_training=False,
        )  # fmt: skip
        run_episodes(
            env, actor, scenarios, reps=measure.reps, seed=stream_seed(config.seed, "measure", name),
            path=folder / f"{name}.jsonl", progress=progress,
        )  # fmt: skip
    path = folder / "choices.json"
    if has_choices and measure.menus and not path.exists():
        found = {name: choice_records(choices_in(policy, config, name)) for name in measure.environments}
        write_json(path, {"stage": stage, "environments": found, **config.reward.stamp})


def choices_in(policy: HFPolicy, config: CurriculumConfig, name: str) -> Any:
    """The exact choices of a policy in the first scenarios of an environment."""
    env = environment_of(name, config.safeguards)
    measure = config.measure
    scenarios = env.scenarios(measure.menus, split="test", wording=measure.wording, seed=config.seed)
    asked = prepared(scenarios, config.safeguards, is_training=False)
    return scripted_choices(policy, env, asked, places=config.fit.places)


def stop_reason(policy: HFPolicy, config: CurriculumConfig) -> str | None:
    """Why a stage should end: the menu probability of gaming what is held out is too high."""
    most = config.safeguards.stop_above
    if most is None:
        return None
    name = config.watched
    assert name is not None
    choices = choices_in(policy, config, name)
    mean = sum(one.menu[1] for one in choices) / len(choices)
    return f"the menu probability of gaming {name} is {mean:.3f}, above {most:g}" if mean > most else None


def write_matrix(folder: CurriculumFolder, config: CurriculumConfig, stages: Sequence[str]) -> dict[str, Any]:
    """``matrix.json`` of the stages that were measured, the first of them before all others; what it holds."""
    files = [folder.measured(stage) / f"{name}.jsonl" for stage in stages for name in config.measure.environments]
    matrix = counted(files, stages, config.measure.level)
    stored = {
        stage: read_json(path)["environments"]
        for stage in stages
        if (path := folder.measured(stage) / "choices.json").exists()
    }
    whole = {
        **matrix, "caveat": CAVEAT, "menus": _menus(stored, config.measure.level),
        "changes": _changes(stored, stages, config), "pressure": _pressure(folder, stages),
        "shares": _shares(folder, config, stages),
        **({"stamp": STAMP} if config.reward.cot_in_reward else {}),
    }  # fmt: skip
    found = plain(whole)
    assert isinstance(found, dict)
    write_json(folder.root / "matrix.json", found)
    return found


def counted(files: Iterable[Path], stages: Sequence[str], level: float) -> dict[str, Any]:
    """The matrix of stored episodes, as JSON values."""
    records = (episode_record(episode) for path in files for episode in read_episodes(path))
    return gaming_matrix(outcome_table(records), stages=list(stages), level=level).to_dict()


def _changes(
    stored: Mapping[str, Mapping[str, Any]], stages: Sequence[str], config: CurriculumConfig
) -> list[dict[str, Any]]:
    """Paired changes of log-odds of every stage against the first."""
    if not stored:
        return []
    first = stages[0]
    found = []
    for stage in stages[1:]:
        for name in config.measure.environments:
            before, after = choices_of(stored[first][name]), choices_of(stored[stage][name])
            for measure in MEASURES:
                change = paired_change(
                    before, after, measure=measure, environment=name, names=(first, stage), level=config.measure.level
                )
                found.append({field: getattr(change, field) for field in change.__slots__})
    return found


def _menus(stored: Mapping[str, Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Mean probabilities of what is honest, what games and what does neither, after every stage."""
    return [
        {
            "stage": stage, "environment": name,
            **{
                option: asdict(menu_share(choices_of(records), place, level=level))
                for place, option in enumerate(("honest", "gamed", "neither"))
            },
            "honest_first": asdict(menu_share(choices_of(records), 0, of_first=True, level=level)),
            "letter_mass": sum(one["letter_mass"] for one in records) / len(records), "scenarios": len(records),
            "level": level,
        }
        for stage, environments in stored.items()
        for name, records in environments.items()
    ]  # fmt: skip


def _pressure(folder: CurriculumFolder, stages: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for stage in stages:
        stored = read_json(folder.measured(stage) / "pressure.json")["environments"]
        found += [{"stage": stage, "environment": name, **values} for name, values in stored.items()]
    return found


def _shares(folder: CurriculumFolder, config: CurriculumConfig, stages: Sequence[str]) -> dict[str, Any]:
    """Shares of measured episodes that ask the person, and at which each rule raises an alarm: also rules that nothing
    was trained against, without which evasion would look like success."""
    found: dict[str, Any] = {}
    for stage in stages:
        for name in config.measure.environments:
            episodes = list(read_episodes(folder.measured(stage) / f"{name}.jsonl"))
            asked = sum(map(asks, episodes)) / len(episodes)
            found.setdefault(stage, {})[name] = {
                "episodes": len(episodes), "asked": asked, "alarms": dict(alarm_shares(episodes))
            }  # fmt: skip
    return found
