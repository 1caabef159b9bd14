"""The recipe of the shipped models: tokenizer, pretraining, held-out losses, hashes.

Every width sees the same conversations in the same order; each model trains on one thread, so that a rebuild on the
same kind of machine gives the same file. Weights are stored in bfloat16 and measured as stored.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from overopt.assets.catalog import PROMPT_TOKENS, RECORD, REPLY_TOKENS, SCHEMA, WIDTHS, hash_folder, model_name
from overopt.assets.chitchat import SPLIT_PERCENT, Split, exchanges, load_conversations
from overopt.errors import ConfigError
from overopt.training.language_model import (
    Architecture,
    PretrainConfig,
    TokenMatrix,
    describe,
    held_out_losses,
    pretrain,
    tokenize_exchanges,
)
from overopt.training.tokenizer import train_tokenizer
from overopt.workflow import Event, Stage, StageContext, Store, run, stage_function

CONTEXT = 2 * (1 + PROMPT_TOKENS + REPLY_TOKENS)
"""Positions of a model: room for longer prompts than it saw."""
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
"""Passes over the two million reply tokens that there are: about four at 3,000 steps."""


def build_tokenizer(vocabulary: int) -> PreTrainedTokenizerBase:
    """The tokenizer, learnt from the train split alone."""
    rows = exchanges(load_conversations(), "train").rows
    return train_tokenizer((f"{row.prompt}{row.reply}" for row in rows), vocabulary=vocabulary)


@stage_function(name="assets.base_model", version=1, title="base model")
def train_base_model(ctx: StageContext, *, width: int, recipe: PretrainConfig, vocabulary: int) -> None:
    """The model of that width, trained, saved under ``model/`` and measured as saved, with its entry for the record."""
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    conversations = load_conversations()
    tokenizer = build_tokenizer(vocabulary)

    def tokens(split: Split) -> TokenMatrix:
        rows = exchanges(conversations, split).rows
        return tokenize_exchanges(tokenizer, rows, prompt_tokens=PROMPT_TOKENS, reply_tokens=REPLY_TOKENS)

    train, held_out = tokens("train"), tokens("evaluation")
    model = pretrain(recipe, train, tokenizer, progress=ctx.progress)
    folder = ctx.out / "model"
    model.bfloat16().save_pretrained(folder)
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    stored = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    fits = held_out.complete()
    entry = {
        **describe(recipe, model),
        "held_out_nats_per_token": {
            **held_out_losses(stored, fits),
            "reply_with_cut_ones": held_out_losses(stored, held_out)["reply"],
        },
        "held_out_exchanges": {"complete": len(fits.ids), "all": len(held_out.ids)},
        "files": hash_folder(folder),
    }
    (ctx.out / "entry.json").write_text(json.dumps(entry), encoding="utf-8")


def build_all(
    root: Path,
    *,
    widths: Sequence[int] = WIDTHS,
    workers: int = 1,
    events: Callable[[Event], None] = lambda event: None,
) -> None:
    """Train models of ``widths`` under ``root`` and write the record; other entries of the record stay.

    Finished models lie in ``root/store``: a build that was stopped goes on with the models it had not finished.

    Raises
    ------
    ConfigError
        If there is no recipe for a width.
    """
    unknown = [width for width in widths if width not in RECIPES]
    if unknown:
        raise ConfigError(f"there is no recipe for width {unknown[0]}; there are {', '.join(map(str, RECIPES))}")
    stages = {
        width: Stage(
            train_base_model,
            label=model_name(width),
            cost=width * RECIPES[width].steps,
            width=width,
            recipe=RECIPES[width],
            vocabulary=VOCABULARY,
        )
        for width in widths
    }
    store = Store(root / "store")
    run(stages.values(), store, workers=workers, events=events)
    for width, stage in stages.items():
        folder = root / model_name(width)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(store.path(stage) / "model", folder)
        _record(root, width, json.loads((store.path(stage) / "entry.json").read_text(encoding="utf-8")))


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
