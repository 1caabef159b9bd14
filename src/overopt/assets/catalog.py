"""The pretrained models that the package ships: where they are, what they are, and whether they are intact.

One family of ``LlamaForCausalLM`` models in six widths, trained on the same conversations with the same tokenizer
(``overopt assets build``). Any of them can be a policy; any of them is a base for reward models, so a proxy is the
same kind of network as the policy, as in Gao et al. 2022. Nothing here needs torch.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt.errors import ArtifactError, ConfigError

MODELS_FOLDER = Path(__file__).parent / "models"
RECORD = "catalog.json"
SCHEMA = "overopt.assets/1"

WIDTHS = (8, 16, 32, 64, 128, 224)
POLICY_WIDTHS = (64, 128, 224)
"""The three that speak well enough to be policies: about .3, 1 and 3 million parameters."""

PROMPT_TOKENS = 31
"""Tokens of a prompt, without <|bos|>; longer ones lose whole words on the left."""
REPLY_TOKENS = 32
"""Tokens of a reply, with <|eos|>."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """One entry of the catalog."""

    width: int
    parameters: int
    reply_loss: float
    """Nats per token of held-out replies that fit, given their prompts."""


def model_name(width: int) -> str:
    """Folder name of the model of that width.

    >>> model_name(128)
    'chitchat-w128'
    """
    return f"chitchat-w{width}"


def model_path(width: int, *, root: Path = MODELS_FOLDER) -> Path:
    """Folder of a shipped model, ready for ``from_pretrained``.

    Raises
    ------
    ConfigError
        If no model of that width is shipped.
    """
    if width not in WIDTHS:
        raise ConfigError(f"no shipped model has width {width}; there are {', '.join(map(str, WIDTHS))}")
    return root / model_name(width)


def read_catalog(root: Path = MODELS_FOLDER) -> dict[str, Any]:
    """The record written by ``overopt assets build``: recipe, losses and hashes.

    Raises
    ------
    ArtifactError
        If it is missing or unreadable.
    """
    try:
        record: dict[str, Any] = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the record of the shipped models, {root / RECORD}, cannot be read: {error}") from error
    return record


def base_model(width: int, *, root: Path = MODELS_FOLDER) -> BaseModel:
    """What is known of a shipped model."""
    entry = read_catalog(root)["models"][model_path(width, root=root).name]
    return BaseModel(width=width, parameters=entry["parameters"], reply_loss=entry["held_out_nats_per_token"]["reply"])


def fingerprint(width: int, *, root: Path = MODELS_FOLDER) -> str:
    """Hash that identifies a shipped model's files, from the record."""
    files = read_catalog(root)["models"][model_path(width, root=root).name]["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def damages(root: Path = MODELS_FOLDER) -> list[str]:
    """One sentence for each file that is missing, extra or not what was recorded; empty when all is well."""
    found = []
    for name, entry in read_catalog(root)["models"].items():
        files = hash_folder(root / name)
        for file, digest in entry["files"].items():
            if file not in files:
                found.append(f"{name}/{file} is missing")
            elif files[file] != digest:
                found.append(f"{name}/{file} is not the file that was built: its checksum differs")
        found += [f"{name}/{file} is not part of the model" for file in files if file not in entry["files"]]
    return found
