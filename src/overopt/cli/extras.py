"""Say which extra is missing before anything is imported from it."""

from importlib.util import find_spec

from overopt.errors import MissingExtraError

MODELS = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "tokenizers",
    "safetensors",
    "chitchat_dataset",
    "vaderSentiment",
)


def require_models(what: str) -> None:
    """Refuse to start ``what`` when a package of the extra ``models`` is absent."""
    _require(what, MODELS, "models")


def require_inspect(what: str) -> None:
    """Refuse to start ``what`` without Inspect."""
    _require(what, ("inspect_ai",), "inspect")


def _require(what: str, names: tuple[str, ...], extra: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, not installed here; run: pip install 'overopt[{extra}]'"
        )
