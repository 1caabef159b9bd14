"""A curriculum from a file of settings: what they name is loaded, and the run is begun or goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from overopt.assets.chitchat import exchanges, load_conversations
from overopt.errors import ConfigError
from overopt.optimize.curriculum import CurriculumRun, load_stage, run_curriculum, train_away
from overopt.optimize.curriculum_config import CurriculumConfig, TrainAwayConfig
from overopt.optimize.curriculum_folder import SCHEMA, CurriculumFolder, read_json
from overopt.optimize.steering import OPENINGS, steer_policy
from overopt.protocols import Progress, Prompt, Scorer
from overopt.records.prompts import read_prompts
from overopt.rewards.checkpoint import RewardModel
from overopt.studies.study import with_settings

CHITCHAT = "chitchat"
"""Ordinary prompts from the conversations that the default study uses."""
CHITCHAT_PROMPTS = 4_096


def read_curriculum(path: Path, assignments: Sequence[str] = ()) -> CurriculumConfig:
    """The settings of a file, or of the ``config.json`` of a run, with assignments "key=value" on top.

    Raises
    ------
    ConfigError
        If they cannot be read, or are refused.
    """
    stored = read_json(path)
    if stored.get("schema", SCHEMA) != SCHEMA:
        raise ConfigError(f"{path} holds {stored['schema']}, no curriculum")
    stored.pop("schema", None)
    return with_settings(CurriculumConfig(), assignments, stored=stored)


def run_from_settings(
    config: CurriculumConfig, out: Path, *, device: str | None = None, progress: Progress | None = None
) -> CurriculumRun:
    """:func:`~overopt.optimize.curriculum.run_curriculum` with the models and prompts that the settings name."""
    # Also where none is trained on: the scale of the preference model is fitted to replies to them.
    ordinary = ordinary_prompts(config)
    scorer = _scorer(config, device)
    return run_curriculum(config, out, scorer=scorer, ordinary=ordinary, device=device, progress=progress)


def ordinary_prompts(config: CurriculumConfig) -> list[Prompt]:
    """The ordinary prompts that the settings name; none where they name none."""
    if not config.ordinary_prompts:
        return []
    if config.ordinary_prompts == CHITCHAT:
        rows = exchanges(load_conversations(), "preference").rows
        unique: list[Prompt] = [*dict.fromkeys(row.prompt.strip() for row in rows)]
        return unique[:CHITCHAT_PROMPTS]
    return list(read_prompts(Path(config.ordinary_prompts)).prompts)


def train_away_from_run(
    run: Path,
    assignments: Sequence[str] = (),
    *,
    stored: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> CurriculumRun:
    """One more stage of a finished run, learnt as its stages were unless ``stored`` or assignments say otherwise."""
    config = _config_of(run)
    settings = with_settings(replace(TrainAwayConfig(), fit=config.fit), assignments, stored=stored)
    return train_away(run, config, settings, scorer=_scorer(config, device), device=device, progress=progress)


def steer_run(
    run: Path,
    *,
    stage: str | None = None,
    openings: Mapping[str, str] = OPENINGS,
    assignments: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Steer the policy after a stage of a run, the last that ended unless named.

    ``assignments`` change what is measured, such as "measure.scenarios=256"; ``out`` is a folder below the run's
    unless given.

    Raises
    ------
    ConfigError
        If there is no such stage.
    """
    config = _config_of(run)
    folder = CurriculumFolder(run, config.to_dict())
    ended = [path.parent.name for path in (run / "stages").glob("*/metrics.json")]
    ended.sort(key=lambda name: int(name.partition("-")[0]))
    if not ended:
        raise ConfigError(f"no stage of {run} has ended")
    chosen = ended[-1] if stage is None else stage
    if chosen not in ended:
        raise ConfigError(f"{run} has no stage {chosen!r} that ended; there are {', '.join(ended)}")
    measured = with_settings(config, assignments)
    policy = load_stage(config, folder, chosen, device=device)
    target = run / "steering" / chosen if out is None else out
    return steer_policy(policy, measured, target, stage=chosen, openings=openings, progress=progress)


def _scorer(config: CurriculumConfig, device: str | None) -> Scorer | None:
    """The preference model that the settings name, where it weighs something."""
    if not (config.uses_preference and config.preference_model):
        return None
    return RewardModel.load(config.preference_model, device=device)


def _config_of(run: Path) -> CurriculumConfig:
    if not (run / "config.json").is_file():
        raise ConfigError(f"{run} holds no curriculum; `overopt tamper curriculum` makes one")
    return read_curriculum(run / "config.json")
