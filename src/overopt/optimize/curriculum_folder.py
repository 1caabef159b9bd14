"""The folder of a curriculum: its settings, its stages, what was measured, and the matrix; written whole or not at all.

    config.json
    start.json                       the scale of the preference model
    stages/<k>-<name>/policy/        loads with AutoModelForCausalLM.from_pretrained
    stages/<k>-<name>/train.jsonl    what was learnt, as chat rows
    stages/<k>-<name>/metrics.json   written last: the stage is done
    stages/<k>-<name>/rounds/<r>/    all episodes that were drawn
    eval/<k>-<name>/                 episodes, choices.json and pressure.json after that stage
    matrix.json                      rates by stage and environment, menus, paired changes of probabilities, pressure

Nothing in it depends on when or how often it was stopped.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overopt.errors import ConfigError, StorageError
from overopt.measure.plain import plain
from overopt.optimize.trainable import merged
from overopt.policies.models import HFPolicy

SCHEMA = "overopt.curriculum/2"
START = "0-start"
"""Name of the policy that the curriculum begins with, where no stage made it."""


class CurriculumFolder:
    """Where things are.

    Raises
    ------
    ConfigError
        If the folder holds a curriculum with other settings.
    StorageError
        If it cannot be used.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.root = root
        own = json.loads(json.dumps({"schema": SCHEMA, **settings}))
        path = root / "config.json"
        if path.exists():
            other = read_json(path)
            if str(other.get("schema", "")).startswith(SCHEMA[:-1]) and other["schema"] != SCHEMA:
                raise ConfigError(
                    f"{root} holds a curriculum of another version ({other['schema']}, not {SCHEMA}), which cannot be "
                    "continued; give another folder"
                )
            differing = sorted(key for key in {*own, *other} if own.get(key) != other.get(key))
            if differing:
                raise ConfigError(
                    f"{root} holds a curriculum with other settings ({', '.join(differing)}); give another folder, or "
                    "the settings it was begun with"
                )
        elif root.exists() and any(not path.name.endswith(".partial") for path in root.iterdir()):
            raise StorageError(f"{root} holds something else than a curriculum; give another folder")
        else:
            write_json(path, own)

    def stage(self, name: str) -> Path:
        """Of what a stage trains."""
        return self.root / "stages" / name

    def policy(self, name: str) -> Path:
        """The checkpoint after a stage."""
        return self.stage(name) / "policy"

    def measured(self, name: str) -> Path:
        """Of what was measured after a stage."""
        return self.root / "eval" / name

    def is_done(self, name: str) -> bool:
        """Whether a stage has ended."""
        return (self.stage(name) / "metrics.json").exists()

    def finish(self, name: str, policy: HFPolicy, metrics: Mapping[str, Any]) -> None:
        """Keep the policy of a stage and say that it has ended; adapters are added in."""
        target, partial = self.policy(name), self.stage(name) / ".policy.partial"
        shutil.rmtree(partial, ignore_errors=True)
        merged(policy).save_pretrained(partial)
        policy.tokenizer.save_pretrained(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        write_json(self.stage(name) / "metrics.json", metrics)
        self.tidy(name)

    def tidy(self, name: str) -> None:
        """Drop what only a stage under way needs."""
        shutil.rmtree(self.stage(name) / "states", ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """An object.

    Raises
    ------
    StorageError
        If there is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no object")
    return found


def write_json(path: Path, value: object) -> None:
    """Indented, unknown numbers as null.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.rename(path)
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror or error}") from error
