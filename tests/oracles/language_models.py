"""Tiny random language models, and what they do, computed one reply at a time without cache, batch or padding."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from overopt.training.tokenizer import BOS, EOS, PAD, train_tokenizer

SENTENCES = (
    "Hello there, how are you today?",
    "I am fine, thanks. And you?",
    "We went to the sea; the water was cold.",
    "What a lovely day it was!",
)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"


@cache
def byte_tokenizer() -> PreTrainedTokenizerBase:
    """The package's own tokenizer, learnt from four sentences: every byte and a few merges."""
    return train_tokenizer(SENTENCES, vocabulary=300)


@cache
def letter_tokenizer(n_letters: int) -> PreTrainedTokenizerBase:
    """Pad, bos, eos (0, 1, 2) and one token a letter: small enough to enumerate replies."""
    words = {word: number for number, word in enumerate((PAD, BOS, EOS, *LETTERS[:n_letters]))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=LETTERS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, words[BOS])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)


def tiny_llama(tokenizer: PreTrainedTokenizerBase, *, seed: int, sharpness: float = 0.5, context: int = 64):
    """Two layers of width 16 with weights so large that next tokens differ much with what came before."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                scale = sharpness if name == "lm_head.weight" else 1.0 if "embed" in name else 0.4
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def next_logprobs(model: torch.nn.Module, ids: Sequence[int], temperature: float = 1.0) -> np.ndarray:
    """Log-probabilities (V,) float64 of the token after ``ids``, from a full forward pass."""
    logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].double().numpy() / temperature
    shifted = logits - logits.max()
    return shifted - math.log(np.exp(shifted).sum())


@dataclass(frozen=True)
class Measured:
    logprob: float
    reference_logprob: float
    kl: float
    entropy: float


def measure_reply(policy, reference, prompt: Sequence[int], reply: Sequence[int], temperature: float) -> Measured:
    """Sums along one reply, token by token and, for KL and entropy, word of the vocabulary by word."""
    logprob = reference_logprob = kl = entropy = 0.0
    for step, token in enumerate(reply):
        p = next_logprobs(policy, [*prompt, *reply[:step]], temperature)
        q = next_logprobs(reference, [*prompt, *reply[:step]], temperature)
        logprob += p[token]
        reference_logprob += q[token]
        for own, other in zip(p.tolist(), q.tolist(), strict=True):
            if own > -math.inf:
                kl += math.exp(own) * (own - other)
                entropy -= math.exp(own) * own
    return Measured(logprob, reference_logprob, kl, entropy)


def every_reply(
    model, prompt: Sequence[int], *, eos: int, max_tokens: int, temperature: float = 1.0
) -> Iterator[tuple[tuple[int, ...], float]]:
    """All replies that can be sampled, each with its log-probability."""

    def extend(reply: tuple[int, ...], logprob: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(reply) == max_tokens or (reply and reply[-1] == eos):
            yield reply, logprob
            return
        for token, more in enumerate(next_logprobs(model, [*prompt, *reply], temperature).tolist()):
            yield from extend((*reply, token), logprob + more)

    yield from extend((), 0.0)
