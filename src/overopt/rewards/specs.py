"""A scorer from one word of a command line: the rubric, a model, an ensemble, a judge.

==========================  ========================================================================================
``rubric``                  the gold rubric of the default study
``PATH``                    a reward model: a folder, also one of a LoRA adapter, or a hub name
``mean:PATH,PATH,…``        an ensemble by its mean; ``min:…`` by its worst member; ``uwo:…@C`` by mean - C x variance
``judge:FILE``              an OpenAI-compatible judge with the settings of a JSON file
==========================  ========================================================================================
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

from overopt.errors import ConfigError
from overopt.protocols import Prompt, Scorer
from overopt.rewards.checkpoint import RewardModel
from overopt.rewards.ensemble import Ensemble, How
from overopt.rewards.rubric import GoldRubric

HOW: tuple[How, ...] = get_args(How)

Samples = Callable[[], tuple[Sequence[Prompt], Sequence[str]]]
"""Makes prompts and replies of the base policy, on which the members of an ensemble get one scale."""


def open_scorer(spec: str, *, base: Samples, device: str | None = None, dtype: str | None = None) -> Scorer:
    """The scorer that ``spec`` names; see the module for the forms.

    Raises
    ------
    ConfigError
        If the form is unknown, or a model or file is not there.
    """
    kind, colon, rest = spec.partition(":")
    if spec == "rubric":
        return GoldRubric()
    if colon and kind == "judge":
        return _judge(Path(rest))
    if colon and (how := next((rule for rule in HOW if rule == kind), None)):
        paths, _, coefficient = rest.partition("@")
        members = [RewardModel.load(path, device=device, dtype=dtype) for path in paths.split(",") if path]
        prompts, completions = base()
        return Ensemble.calibrated(
            members, prompts, completions, how=how, coefficient=_number(spec, coefficient) if coefficient else None
        )
    return RewardModel.load(spec, device=device, dtype=dtype)


def _number(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{spec}: {text!r} after @ is no number") from error


def _judge(path: Path) -> Scorer:
    from overopt.rewards.judge import Judge, JudgeConfig

    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the judge's settings cannot be read from {path}: {error}") from error
    known = [field.name for field in fields(JudgeConfig)]
    unknown = [name for name in settings if name not in known] if isinstance(settings, dict) else ["no object"]
    if unknown or "model" not in settings:
        problem = f"there is no setting {unknown[0]!r}" if unknown else "a judge needs a 'model'"
        raise ConfigError(f"{path}: {problem}; the settings are {', '.join(known)}")
    return Judge(JudgeConfig(**settings))
