"""Load a policy and its tokenizer, and turn texts into token ids without losing any."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from overopt.errors import ConfigError, DataError


def load_policy(path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in float32, in evaluation mode, with its tokenizer.

    Attention runs as plain matrix products: with one query a row and models of this size that is faster on a CPU than
    the fused kernel, and sampling, training and measuring then share one arithmetic.

    Raises
    ------
    ConfigError
        If the tokenizer has no pad token, no end token, or one token for both: a reply's end must be visible.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(path)
    check_tokenizer(tokenizer, path)
    return model.eval(), tokenizer


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Refuse a tokenizer in which padding and the end of a text cannot be told apart."""
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise ConfigError(f"the tokenizer of {path} needs a pad token and an end-of-sequence token")
    if tokenizer.eos_token_id == tokenizer.pad_token_id:
        raise ConfigError(f"the tokenizer of {path} uses one token for padding and for the end of a text")


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, limit: int | None = None
) -> list[list[int]]:
    """Token ids of each prompt, with the tokens the tokenizer puts first (<|bos|>).

    Raises
    ------
    DataError
        If a prompt is empty or takes more than ``limit`` tokens; nothing is cut in silence.
    """
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"prompt {index} is empty")
    if not prompts:
        return []
    # A text that spells a special token is text: it must not end a prompt.
    ids: list[list[int]] = tokenizer(list(prompts), split_special_tokens=True)["input_ids"]
    for index, tokens in enumerate(ids):
        if limit is not None and len(tokens) > limit:
            raise DataError(f"prompt {index} takes {len(tokens)} tokens, the policy has room for {limit}; shorten it")
    return ids
