"""Load models and tokenizers: safetensors only, no code from a model's repository, one sentence where it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from overopt.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name, or the fastest there is.

    Raises
    ------
    ConfigError
        If the name is none, or names what this machine lacks.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        # One number goes there and comes back: some kinds of device hold none, or are known but not built in.
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"the device {name!r} cannot be used here: {_sentence(error)}") from error
    return device


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The dtype of that name; unnamed, float32 on a CPU, where small models live, and bfloat16 elsewhere."""
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise ConfigError(f"there is no dtype {name!r}; there is {', '.join(DTYPES)}")
    return DTYPES[name]


def load_model(
    auto: Any, path: str | Path, *, device: torch.device, dtype: torch.dtype, **options: Any
) -> PreTrainedModel:
    """``auto.from_pretrained`` of a folder or hub name, in evaluation mode.

    Raises
    ------
    ConfigError
        If the folder or name holds no such model, or not all of its weights: what is absent would be random.
    """
    _check_folder(path)
    try:
        # Plain matrix products beat the fused attention of a CPU at the sizes a CPU can train.
        attention = {"attn_implementation": "eager"} if device.type == "cpu" else {}
        loaded: tuple[PreTrainedModel, dict[str, Any]] = auto.from_pretrained(
            path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **attention,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if "mismatched_sizes" in str(error):
            raise ConfigError(f"the weights in {path} have other shapes than its configuration says") from error
        raise ConfigError(f"no model can be loaded from {path}: {_sentence(error)}") from error
    model, information = loaded
    missing = sorted(information["missing_keys"])
    if missing:
        raise ConfigError(
            f"{path} holds no weights for {', '.join(missing[:3])}{' and more' if missing[3:] else ''}: it is no whole "
            f"{type(model).__name__}"
        )
    model.to(device)  # type: ignore[arg-type]  # wrapped by transformers without its types
    model.train(False)
    return model


def quiet_models() -> None:
    """No bars and warnings of transformers among a command's own output."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub name.

    Raises
    ------
    ConfigError
        If there is none, or it has no end-of-sequence token: the end of a text must be visible.
    """
    _check_folder(path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"no tokenizer can be loaded from {path}: {_sentence(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"the tokenizer of {path} needs an end-of-sequence token: the end of a text must be visible")
    return tokenizer


def _check_folder(path: str | Path) -> None:
    """What can only be a folder, and is none, is said to be missing; transformers would look for it on its hub."""
    text = str(path)
    is_hub_name = not isinstance(path, Path) and text.count("/") <= 1 and not text.startswith((".", "/", "~"))
    if not is_hub_name and not Path(path).is_dir():
        raise ConfigError(f"there is no folder {path}")


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout for a while; what compares two passes of a model needs that."""
    training = [module for module in model.modules() if module.training]
    model.train(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
