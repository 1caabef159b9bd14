"""Draw replies from a causal language model: every prompt is computed once, finished rows leave the batch.

Axes: B rows of a batch, T positions, V vocabulary. Each reply has its own uniform numbers, one a position, so a sample
depends on the seed, its prompt's number and its own number, not on the batch it was drawn in (up to rounding of the
matrix products). Log-probabilities and entropies are those of the distribution that was sampled, temperature included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from overopt.errors import ConfigError, NonFiniteError
from overopt.policies.models import encode_prompts
from overopt.seeding import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How replies are drawn; stored with every sample."""

    max_tokens: int = 32
    """Most tokens of a reply, its end token included."""
    temperature: float = 1.0
    """Above 0. A KL is defined for the distribution that was sampled."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"sampler.temperature must be above 0; got {self.temperature}")
        if self.max_tokens < 1:
            raise ConfigError(f"sampler.max_tokens must be at least 1; got {self.max_tokens}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One sampled reply."""

    prompt: int
    """Which of the prompts it answers."""
    sample: int
    """Its number among the replies to that prompt."""
    token_ids: list[int]
    """With the end token, if it came."""
    text: str
    """Without special tokens."""
    finished: bool
    """Whether the end token came within ``max_tokens``."""
    logprob: float
    """Summed over the tokens, nats."""
    entropy: float
    """Summed entropy of the next-token distributions along the reply, nats."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    per_prompt: int,
    config: SamplerConfig,
    seed: int,
    batch: int = 512,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Reply]:
    """``per_prompt`` replies to each prompt, sorted by prompt and sample number.

    Raises
    ------
    DataError
        If a prompt is empty or too long for the model's context.
    NonFiniteError
        If the model returns scores that are no distribution.
    """
    limit = model.config.max_position_embeddings - config.max_tokens
    if limit < 1:
        raise ConfigError(
            f"sampler.max_tokens is {config.max_tokens}, but the policy reads {model.config.max_position_embeddings} "
            "tokens, prompt included"
        )
    ids = encode_prompts(tokenizer, prompts, limit=limit)
    uniforms = [stream(seed, "sample", index).random((per_prompt, config.max_tokens)) for index in range(len(prompts))]
    by_length = sorted(range(len(prompts)), key=lambda index: len(ids[index]))
    rows = [(index, number) for index in by_length for number in range(per_prompt)]
    replies: list[Reply] = []
    for start in range(0, len(rows), batch):
        replies += _sample_batch(model, tokenizer, rows[start : start + batch], ids, uniforms, config)
        if progress is not None:
            progress(len(replies), len(rows), "replies")
    return sorted(replies, key=lambda reply: (reply.prompt, reply.sample))


def _sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[int, int]],
    ids: Sequence[Sequence[int]],
    uniforms: Sequence[np.ndarray],
    config: SamplerConfig,
) -> list[Reply]:
    unique = list(dict.fromkeys(prompt for prompt, _ in rows))
    place = {prompt: position for position, prompt in enumerate(unique)}
    repeats = torch.tensor([place[prompt] for prompt, _ in rows])
    prompt_BT, mask_BT = left_padded([ids[prompt] for prompt in unique], tokenizer.pad_token_id)
    uniform_BT = torch.from_numpy(np.stack([uniforms[prompt][number] for prompt, number in rows]))
    cache = _growing_cache(model.config.num_hidden_layers, room=config.max_tokens)
    logits_BV = model(
        input_ids=prompt_BT,
        attention_mask=mask_BT,
        position_ids=(mask_BT.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    logits_BV, mask_BT = logits_BV[repeats], mask_BT[repeats]
    _select(cache, repeats)

    n_rows = len(rows)
    tokens_BT = torch.full((n_rows, config.max_tokens), tokenizer.pad_token_id)
    logprob_B = torch.zeros(n_rows, dtype=torch.float64)
    entropy_B = torch.zeros(n_rows, dtype=torch.float64)
    row_B = torch.arange(n_rows)
    is_alive_B = torch.ones(n_rows, dtype=torch.bool)
    for step in range(config.max_tokens):
        logprob_BV = torch.log_softmax(logits_BV / config.temperature, dim=-1)
        probability_BV = logprob_BV.exp()
        token_B = _inverse_cdf(probability_BV, uniform_BT[row_B, step])
        live_B = row_B[is_alive_B]
        tokens_BT[live_B, step] = token_B[is_alive_B]
        logprob_B[live_B] += logprob_BV.gather(1, token_B[:, None])[is_alive_B, 0]
        # A token of probability 0 has log-probability -inf and contributes 0, as the limit of p ln p.
        entropy_B[live_B] -= torch.nan_to_num(probability_BV * logprob_BV, nan=0.0).sum(-1)[is_alive_B]
        is_alive_B &= token_B != tokenizer.eos_token_id
        n_alive = int(is_alive_B.sum())
        if step + 1 == config.max_tokens or n_alive == 0:
            break
        if n_alive < _CROWDED * len(row_B):
            keep = is_alive_B.nonzero()[:, 0]
            row_B, token_B, mask_BT = row_B[keep], token_B[keep], mask_BT[keep]
            is_alive_B = torch.ones(n_alive, dtype=torch.bool)
            _select(cache, keep)
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(mask_BT), 1)], dim=1)
        logits_BV = model(
            input_ids=token_B[:, None],
            attention_mask=mask_BT,
            position_ids=mask_BT.sum(-1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return _replies(tokenizer, rows, tokens_BT, logprob_B, entropy_B)


_CROWDED = 0.75
"""Finished rows are dropped once fewer than this share is alive: moving the cache costs about one step."""


def _replies(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[int, int]],
    tokens_BT: torch.Tensor,
    logprob_B: torch.Tensor,
    entropy_B: torch.Tensor,
) -> list[Reply]:
    ids = []
    for tokens in tokens_BT.tolist():
        end = tokens.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in tokens else len(tokens)
        ids.append(tokens[:end])
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [
        Reply(
            prompt=prompt,
            sample=number,
            token_ids=tokens,
            text=text,
            finished=tokens[-1] == tokenizer.eos_token_id,
            logprob=logprob,
            entropy=entropy,
        )
        for (prompt, number), tokens, text, logprob, entropy in zip(
            rows, ids, texts, logprob_B.tolist(), entropy_B.tolist(), strict=True
        )
    ]


def _inverse_cdf(probability_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulative probability passes ``uniform_B``; one of probability 0 is never drawn."""
    cumulative_BV = probability_BV.cumsum(-1)
    if not bool(torch.isfinite(cumulative_BV[:, -1]).all()):
        raise NonFiniteError("the policy returned scores that are not finite while sampling; its weights are damaged")
    # Rounding leaves the total near 1, not at 1: the draw is scaled to it, and stays below it.
    total_B1 = cumulative_BV[:, -1:]
    target_B1 = (uniform_B[:, None].to(total_B1.dtype) * total_B1).clamp(max=torch.nextafter(total_B1, -total_B1))
    return torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]


def left_padded(ids: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) that end together, and the mask (B, T) of the real ones."""
    length = max(len(tokens) for tokens in ids)
    ids_BT = torch.tensor([[pad] * (length - len(tokens)) + list(tokens) for tokens in ids])
    mask_BT = torch.tensor([[0] * (length - len(tokens)) + [1] * len(tokens) for tokens in ids])
    return ids_BT, mask_BT


class _GrowingLayer(DynamicLayer):
    """Keys and values (B, heads, T, d) written in place into room allocated once, and read as a view."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._roomy(key_states), self._roomy(value_states))
        end = self.length + key_states.shape[2]
        assert self.keys is not None
        assert self.values is not None
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self, *args: object) -> int:
        return self.length

    def select(self, rows: torch.Tensor) -> None:
        """Keep ``rows``, in that order; a row may be named more than once."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self._chosen(self.keys, rows), self._chosen(self.values, rows)

    def _roomy(self, states: torch.Tensor) -> torch.Tensor:
        rows, heads, length, width = states.shape
        return states.new_empty((rows, heads, length + self.room, width))

    def _chosen(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        chosen = states.new_empty((len(rows), *states.shape[1:]))
        chosen[:, :, : self.length] = states[:, :, : self.length][rows]
        return chosen


def _growing_cache(layers: int, *, room: int) -> Cache:
    return Cache(layers=[_GrowingLayer(room) for _ in range(layers)])


def _select(cache: Cache, rows: torch.Tensor) -> None:
    for layer in cache.layers:
        assert isinstance(layer, _GrowingLayer)
        layer.select(rows)
