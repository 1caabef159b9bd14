"""What a study is made of, by name: models, prompts and a gold, each with a hash of what the name stands for.

The hash enters the keys of the stages, so that other weights or other prompts are other results. A model of the hub
goes by its name alone: what a repository holds may change, so pin what you compare.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from overopt.assets.catalog import (
    PROMPT_TOKENS,
    WIDTHS,
    base_model,
    fingerprint,
    hash_folder,
    model_name,
    model_path,
)
from overopt.errors import ConfigError
from overopt.policies.models import HFPolicy

_SHIPPED = {model_name(width): width for width in WIDTHS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A pretrained model: a shipped one (``chitchat-w64``), a folder, or a name of the hub."""

    name: str
    files: str
    """Hash of the model's files; of a hub name, empty."""

    @classmethod
    def of(cls, name: str) -> "ModelRef":
        """The model of that name as it is now.

        Raises
        ------
        ConfigError
            If it looks like a shipped model or a folder and is neither.
        """
        if name in _SHIPPED:
            return cls(name=name, files=fingerprint(_SHIPPED[name]))
        if name.startswith("chitchat-"):
            raise ConfigError(f"no shipped model is called {name}; there are {', '.join(_SHIPPED)}")
        if Path(name).is_dir():
            # The whole path: another process, or another node, may stand elsewhere.
            return cls(name=str(Path(name).resolve()), files=_hash_of(Path(name).resolve()))
        if "/" not in name or name.startswith((".", "/", "~")):
            raise ConfigError(f"{name} is neither a shipped model ({', '.join(_SHIPPED)}), a folder nor a hub name")
        return cls(name=name, files="")

    @classmethod
    def shipped(cls, width: int) -> "ModelRef":
        """The shipped model of that width."""
        return cls.of(model_path(width).name)

    @property
    def width(self) -> int | None:
        """Of a shipped model."""
        return _SHIPPED.get(self.name)

    @property
    def path(self) -> str | Path:
        """What ``from_pretrained`` takes."""
        return self.name if self.width is None else model_path(self.width)

    @property
    def short_name(self) -> str:
        """For the names of stages and files."""
        return self.name.rstrip("/").rpartition("/")[2].replace("chitchat-", "")

    @property
    def parameters(self) -> int:
        """How many, from the catalog or the model's configuration."""
        return _parameters(self.name)

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens that a prompt is cut to on the left; the shipped models were trained so."""
        return None if self.width is None else PROMPT_TOKENS

    @property
    def held_out_loss(self) -> float | None:
        """Nats per token of held-out replies; known of shipped models."""
        return None if self.width is None else base_model(self.width).reply_loss

    def load(self, *, device: str = "cpu") -> HFPolicy:
        """The model as a policy, in float32 on a CPU and bfloat16 elsewhere."""
        return HFPolicy.load(self.path, device=device, dtype="float32" if device == "cpu" else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file of the user's, by its content."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str) -> "FileRef":
        """The file as it is now.

        Raises
        ------
        ConfigError
            If it cannot be read.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
        return cls(path=str(Path(path).resolve()), sha256=hashlib.sha256(content).hexdigest())


@cache
def _hash_of(folder: Path) -> str:
    return hashlib.sha256(repr(sorted(hash_folder(folder).items())).encode()).hexdigest()


@cache
def _parameters(name: str) -> int:
    if name in _SHIPPED:
        return base_model(_SHIPPED[name]).parameters
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no model can be loaded from {name}: {str(error).splitlines()[0]}") from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())
