"""Tiny random language models, and what they do, computed one reply at a time without cache, batch or padding."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

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
def letter_tokenizer(n_letters: int, *, pad: str | None = PAD) -> PreTrainedTokenizerBase:
    """Pad, bos, eos (0, 1, 2) and one token a letter: small enough to enumerate replies.

    ``pad`` is the token that plays that part; the vocabulary stays the same.
    """
    words = {word: number for number, word in enumerate((PAD, BOS, EOS, *LETTERS[:n_letters]))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=LETTERS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, words[BOS])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, bos_token=BOS, eos_token=EOS)


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


COMMON = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
GEMMA = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 4.0}
NAMED_OTHERWISE = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES = {
    "llama": lambda: LlamaConfig(**COMMON),
    "gpt-neox": lambda: GPTNeoXConfig(**COMMON),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "gpt2": lambda: GPT2Config(**NAMED_OTHERWISE, n_embd=32, n_layer=2, n_head=4, n_positions=96),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=6),
    "gemma2": lambda: Gemma2Config(**GEMMA, sliding_window=6, final_logit_softcapping=6.0),
    "gemma2-whole": lambda: Gemma2Config(**GEMMA, layer_types=["full_attention"] * 2, final_logit_softcapping=6.0),
    "granite": lambda: GraniteConfig(**COMMON, logits_scaling=3.0, attention_multiplier=0.3, residual_multiplier=0.5),
    "cohere": lambda: CohereConfig(**COMMON, logit_scale=0.25),
    "cohere2": lambda: Cohere2Config(**COMMON, logit_scale=0.25, sliding_window=6),
    "gpt-neo": lambda: GPTNeoConfig(
        **NAMED_OTHERWISE,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=96,
        attention_types=[[["global", "local"], 1]],
        window_size=6,
    ),
    "bloom": lambda: BloomConfig(**NAMED_OTHERWISE, hidden_size=32, n_layer=2, n_head=4),
    "opt": lambda: OPTConfig(
        **NAMED_OTHERWISE,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=96,
        word_embed_proj_dim=32,
    ),
}
"""Small models of many families: windows of 6 tokens, caps, scales, shared key heads, slopes for positions."""


def tiny_model(architecture: str, *, seed: int, sharpness: float = 0.25):
    """Two layers of width 32; a window, a cap or a scale shows in every log-probability."""
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture](), attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    output = model.get_output_embeddings().weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                is_table = any(part in name for part in ("embed", "wte", "wpe"))
                scale = sharpness if parameter is output else 1.0 if is_table else 0.25
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def next_logprobs(
    model: torch.nn.Module,
    ids: Sequence[int],
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> np.ndarray:
    """Log-probabilities (V,) float64 of the token after ``ids``, from a full forward pass."""
    logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].double().numpy() / temperature
    return truncated(normalised(logits), top_k=top_k, top_p=top_p)


def normalised(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - math.log(np.exp(shifted).sum())


def truncated(logprob: np.ndarray, *, top_k: int | None = None, top_p: float = 1.0) -> np.ndarray:
    """The distribution that is left when tokens are taken from the likeliest on until there are enough."""
    kept = sorted(range(len(logprob)), key=lambda token: (-logprob[token], token))
    if top_k is not None and top_k < len(kept):
        kept = [token for token in kept if logprob[token] >= logprob[kept[top_k - 1]]]
    if top_p < 1:
        whole = math.fsum(math.exp(logprob[token]) for token in kept)
        for number in range(len(kept)):
            if math.fsum(math.exp(logprob[token]) for token in kept[: number + 1]) >= top_p * whole:
                kept = kept[: number + 1]
                break
    left = np.full(len(logprob), -np.inf)
    left[kept] = logprob[kept]
    return normalised(left)


@torch.no_grad()
def plain_logprobs(model: torch.nn.Module, prompt: Sequence[int], reply: Sequence[int]) -> np.ndarray:
    """Log-probabilities (T, V) float64 at each of the reply's T tokens, from one pass over the row alone."""
    logits = model(input_ids=torch.tensor([[*prompt, *reply]]), use_cache=False).logits[0].double().numpy()
    return np.array([normalised(row) for row in logits[len(prompt) - 1 : -1]])


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
    model,
    prompt: Sequence[int],
    *,
    eos: int,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Iterator[tuple[tuple[int, ...], float]]:
    """All replies that can be sampled, each with its log-probability."""

    def extend(reply: tuple[int, ...], logprob: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(reply) == max_tokens or (reply and reply[-1] == eos):
            yield reply, logprob
            return
        following = next_logprobs(model, [*prompt, *reply], temperature, top_k=top_k, top_p=top_p)
        for token, more in enumerate(following.tolist()):
            if more > -math.inf:
                yield from extend((*reply, token), logprob + more)

    yield from extend((), 0.0)
