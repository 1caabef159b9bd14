"""Checkpoints of a run: everything that the next step depends on, written whole or not at all.

Weights and the optimiser's moments are safetensors, the rest is JSON; no pickles. A checkpoint is written beside its
final name and renamed, and the last two are kept. One whose files are not those that were written, by their checksums,
is passed over for the one before, which is said.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.protocols import Prompt, Reply, prompt_text
from overopt.stats.estimate import FloatArray

if TYPE_CHECKING:
    from overopt.optimize.trainable import Critic

KEPT = 2
FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")
CHECKSUMS = "sha256.json"


@dataclass(frozen=True, slots=True)
class State:
    """What is saved; on loading, the models and the optimiser are filled in place."""

    policy: PreTrainedModel
    critic: "Critic | None"
    optimizer: torch.optim.Optimizer
    kl_coef: float
    logs: Sequence[Any]
    """One record (a dataclass) a step, or a round."""
    shapers: Sequence[Any] = ()
    """Records (dataclasses) of what shapes rewards, as they are after the last step."""


@dataclass(frozen=True, slots=True)
class Found:
    """The part of a checkpoint that is not filled in place."""

    kl_coef: float
    logs: list[dict[str, Any]]
    """Empty if no checkpoint could be read."""
    stopped: str | None
    is_measurement_due: bool
    """Whether the last step is still to be measured, if it is one to be measured."""
    notes: list[str]
    """Of damaged checkpoints, in sentences."""
    shapers: Sequence[dict[str, Any]] = ()
    """The fields of each of the state's shapers."""


class Checkpoints:
    """The checkpoints of one run in a folder.

    Raises
    ------
    ConfigError
        If the folder holds another run's.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        record = folder / "run.json"
        own = json.loads(json.dumps(identity))
        if record.exists():
            try:
                other = json.loads(record.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ConfigError(
                    f"{record} is damaged, so nobody knows whose checkpoints these are; remove {folder}"
                ) from error
            differing = sorted(_differences(own, other))
            if differing:
                raise ConfigError(
                    f"{folder} holds checkpoints of a run with other settings ({', '.join(differing)}); "
                    "give another folder, or the settings it was begun with"
                )
        else:
            _write(record, json.dumps(own, indent=1))

    def save(self, state: State, stopped: str | None = None, *, is_measurement_due: bool = False) -> Path:
        """Write a checkpoint named after the last step; older ones beyond the last two go."""
        step = len(state.logs)
        target, partial = self.folder / f"step-{step:06d}", self.folder / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_file(_tensors(state.policy, "policy") | _tensors(state.critic, "critic"), partial / "weights.safetensors")
        moments, steps = _moments(state.optimizer)
        save_file(moments, partial / "optimizer.safetensors")
        record = {
            "kl_coef": state.kl_coef, "logs": [asdict(log) for log in state.logs], "steps": steps, "stopped": stopped,
            "is_measurement_due": is_measurement_due, "shapers": [asdict(shaper) for shaper in state.shapers],
        }  # fmt: skip
        _write(partial / "state.json", json.dumps(record))
        _write(partial / CHECKSUMS, json.dumps({name: _checksum(partial / name) for name in FILES}))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for old in self.names()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def names(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))

    def load_into(self, state: State) -> Found | None:
        """Fill the models and the optimiser from the newest whole checkpoint; ``None`` if there is none at all."""
        notes: list[str] = []
        for path in reversed(self.names()):
            damage = _damage(path)
            if damage is not None:
                notes.append(f"the checkpoint {path} is damaged ({damage}) and was passed over")
                continue
            record = json.loads((path / "state.json").read_text(encoding="utf-8"))
            weights = load_file(path / "weights.safetensors")
            _fill(state.policy, weights, "policy")
            _fill(state.critic, weights, "critic")
            _fill_moments(state.optimizer, load_file(path / "optimizer.safetensors"), record["steps"])
            return Found(
                record["kl_coef"], record["logs"], record["stopped"], record["is_measurement_due"], notes,
                record.get("shapers", ()),
            )  # fmt: skip
        return Found(math.nan, [], None, False, notes) if notes else None

    def save_batch(
        self, name: str, prompts: Sequence[Prompt], replies: Sequence[Reply], numbers: Mapping[str, FloatArray]
    ) -> Path:
        """Replies that gave something that is not finite, with ``numbers`` of each."""
        path = self.folder / f"{name}.parquet"
        pl.DataFrame(
            {
                "prompt": [prompt_text(prompts[reply.prompt]) for reply in replies],
                "completion": [reply.text for reply in replies],
                "token_ids": [reply.token_ids for reply in replies],
                **numbers,
            }
        ).write_parquet(path)
        return path


@torch.no_grad()
def fingerprint(model: torch.nn.Module) -> str:
    """A digest of a model's weights, from up to 4,096 numbers of each: another training gives another."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        values = parameter.detach().flatten()
        some = values[:: max(1, len(values) // 4_096)].cpu().contiguous()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, if something is."""
    try:
        expected = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        for name in FILES:
            if _checksum(path / name) != expected[name]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors(module: torch.nn.Module | None, name: str) -> dict[str, torch.Tensor]:
    """Trained parameters and all buffers, each once; tied weights are one parameter."""
    if module is None:
        return {}
    tensors: dict[str, torch.Tensor] = {
        f"{name}.{key}": value for key, value in module.named_parameters() if value.requires_grad
    }
    tensors |= {f"{name}.{key}": buffer for key, buffer in module.named_buffers()}
    return {key: value.detach().contiguous().cpu() for key, value in tensors.items()}


def _fill(module: torch.nn.Module | None, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    if module is None:
        return
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for key, value in tensors.items():
            if key.startswith(f"{name}."):
                own[key.removeprefix(f"{name}.")].copy_(value)


def _moments(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[float]]:
    """AdamW's two moments of each parameter and its step counts, in the order of the parameters."""
    tensors, steps = {}, []
    for index, parameter in enumerate(_parameters(optimizer)):
        held = optimizer.state.get(parameter, {})
        steps.append(float(held["step"]) if held else -1.0)
        for name in ("exp_avg", "exp_avg_sq") if held else ():
            tensors[f"{index}.{name}"] = held[name].contiguous().cpu()
    return tensors, steps


def _fill_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], steps: list[float]) -> None:
    for index, parameter in enumerate(_parameters(optimizer)):
        if steps[index] >= 0:
            optimizer.state[parameter] = {
                "step": torch.tensor(steps[index]),
                **{name: tensors[f"{index}.{name}"].to(parameter) for name in ("exp_avg", "exp_avg_sq")},
            }


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _differences(own: Any, other: Any, name: str = "") -> set[str]:
    if isinstance(own, dict) and isinstance(other, dict):
        keys = own.keys() | other.keys()
        return set().union(*(_differences(own.get(key), other.get(key), f"{name}.{key}".strip(".")) for key in keys))
    return set() if own == other else {name}


def _write(path: Path, text: str) -> None:
    # Several processes may write the same record at once.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)
