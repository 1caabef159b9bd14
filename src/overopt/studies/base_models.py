"""The recipe of the shipped models: tokenizer, pretraining, held-out losses, hashes.

Every width sees the same conversations in the same order; each model trains on one thread, so that a rebuild on the
same kind of machine gives the same file. Weights are stored in bfloat16 and measured as stored.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from overopt.assets.catalog import PROMPT_TOKENS, RECORD, REPLY_TOKENS, SCHEMA, WIDTHS, hash_folder, model_name
from overopt.assets.chitchat import SPLIT_PERCENT, exchanges, load_conversations
from overopt.errors import ConfigError
from overopt.training.language_model import (
    Architecture,
    PretrainConfig,
    describe,
    held_out_losses,
    pretrain,
    tokenize_exchanges,
)
from overopt.training.tokenizer import train_tokenizer

VOCABULARY = 2_048

RECIPES: dict[int, PretrainConfig] = {
    8: PretrainConfig(architecture=Architecture(width=8, layers=2, heads=2, hidden=24), steps=2_000),
    16: PretrainConfig(architecture=Architecture(width=16, layers=2, heads=2, hidden=48), steps=2_000),
    32: PretrainConfig(architecture=Architecture(width=32, layers=3, heads=2, hidden=88), steps=2_000),
    64: PretrainConfig(architecture=Architecture(width=64, layers=3, heads=2, hidden=172), steps=3_000),
    128: PretrainConfig(architecture=Architecture(width=128, layers=4, heads=4, hidden=344), steps=3_000),
    224: PretrainConfig(
        architecture=Architecture(width=224, layers=4, heads=7, hidden=608), steps=2_000, matrix_lr=4e-3
    ),
}
"""Rates and lengths were chosen by held-out loss; more steps overfit the two million reply tokens there are."""


def build_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer, learnt from the train split alone."""
    rows = exchanges(load_conversations(), "train").rows
    return train_tokenizer((f"{row.prompt}{row.reply}" for row in rows), vocabulary=VOCABULARY)


def build_model(width: int, folder: Path, progress: Callable[[int, int, str], None] | None = None) -> dict[str, Any]:
    """Train the model of that width, save it in ``folder``, and return its entry for the record."""
    torch.set_num_threads(1)
    recipe = RECIPES[width]
    conversations = load_conversations()
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 2 * (1 + PROMPT_TOKENS + REPLY_TOKENS)

    def tokens(split: Any) -> Any:
        rows = exchanges(conversations, split).rows
        return tokenize_exchanges(tokenizer, rows, prompt_tokens=PROMPT_TOKENS, reply_tokens=REPLY_TOKENS)

    model = pretrain(recipe, tokens("train"), tokenizer, progress=progress)
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stored = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    held_out = tokens("evaluation")
    fits = held_out.complete()
    return {
        **describe(recipe, model),
        "held_out_nats_per_token": {
            **held_out_losses(stored, fits),
            "reply_with_cut_ones": held_out_losses(stored, held_out)["reply"],
        },
        "held_out_exchanges": {"complete": len(fits.ids), "all": len(held_out.ids)},
        "files": hash_folder(folder),
    }


def build_all(
    root: Path, *, widths: Sequence[int] = WIDTHS, workers: int = 1, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train models of ``widths`` under ``root`` and write the record; other entries of the record stay.

    Raises
    ------
    ConfigError
        If there is no recipe for a width.
    """
    unknown = [width for width in widths if width not in RECIPES]
    if unknown:
        raise ConfigError(f"there is no recipe for width {unknown[0]}; there are {', '.join(map(str, RECIPES))}")
    root.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        largest_first = sorted(widths, reverse=True)
        jobs = {pool.submit(build_model, width, root / model_name(width)): width for width in largest_first}
        for job in as_completed(jobs):
            width, entry = jobs[job], job.result()
            _record(root, width, entry)
            report(f"{model_name(width)}: {entry['held_out_nats_per_token']['reply']:.3f} nats per held-out token")
    return dict(json.loads((root / RECORD).read_text()))


def _record(root: Path, width: int, entry: dict[str, Any]) -> None:
    path = root / RECORD
    known = json.loads(path.read_text())["models"] if path.exists() else {}
    known[model_name(width)] = entry
    record = {
        "schema": SCHEMA,
        "data": f"chitchat-dataset {version('chitchat-dataset')} (MIT)",
        "splits_percent_of_conversations": SPLIT_PERCENT,
        "vocabulary": VOCABULARY,
        "prompt_tokens": PROMPT_TOKENS,
        "reply_tokens": REPLY_TOKENS,
        "packages": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "models": {model_name(width): known[model_name(width)] for width in WIDTHS if model_name(width) in known},
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
