"""Pretrain a small ``LlamaForCausalLM`` on exchanges: cross-entropy of every token, Muon and AdamW.

Axes: B sequences, T tokens. A sequence is <|bos|>, the prompt, the reply, and <|eos|> where the reply fits; what is
longer is cut and does not end. Losses are in nats per token.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from overopt.assets.chitchat import Exchange
from overopt.errors import NonFiniteError
from overopt.seeding import stream, stream_seed

IGNORE = -100
"""Label of a position that no loss is taken at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Shape of a Llama decoder with tied embeddings."""

    width: int
    layers: int
    heads: int
    hidden: int
    """Width of the feed-forward layer."""

    def config(self, tokenizer: PreTrainedTokenizerBase, *, context: int) -> LlamaConfig:
        """The Hugging Face configuration for this shape."""
        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            intermediate_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """How a base model is trained."""

    architecture: Architecture
    steps: int
    batch: int = 128
    """Sequences a step."""
    matrix_lr: float = 6e-3
    """Peak rate of Muon, for the matrices inside the layers."""
    embedding_lr: float = 6e-3
    """Peak rate of AdamW, for embeddings and norms."""
    weight_decay: float = 0.01
    dropout: float = 0.0
    """On attention weights; the tiny models do not need it."""
    complete_from: float = 0.6
    """Share of the steps after which only exchanges whose reply fits, <|eos|> included, are shown: the policy that
    samples are drawn from should end its replies."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TokenMatrix:
    """Exchanges as tokens, padded on the right."""

    ids: npt.NDArray[np.int64]
    """(B, T); the pad token fills."""
    lengths: npt.NDArray[np.int64]
    """(B,) real tokens of each row."""
    reply_starts: npt.NDArray[np.int64]
    """(B,) position of the reply's first token."""
    is_complete: npt.NDArray[np.bool_]
    """(B,) whether the reply fits and ends with <|eos|>."""

    def complete(self) -> "TokenMatrix":
        """The rows whose reply fits."""
        keep = self.is_complete
        return TokenMatrix(self.ids[keep], self.lengths[keep], self.reply_starts[keep], keep[keep])


def fit_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], limit: int) -> list[str]:
    """The longest end of each prompt, cut between words, that takes at most ``limit`` tokens (no <|bos|>)."""
    fitted = list(prompts)
    pending = list(range(len(fitted)))
    while pending:
        texts = [fitted[index] for index in pending]
        # verbose=False: that a whole prompt exceeds the model's context is what is mended here.
        offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        too_long = [(index, spans) for index, spans in zip(pending, offsets, strict=True) if len(spans) > limit]
        for index, spans in too_long:
            # One character at least goes in each round: what follows a cut may take more tokens than it did before.
            start = max(spans[len(spans) - limit][0], 1)
            while start < len(fitted[index]) and not fitted[index][start - 1].isspace():
                start += 1
            fitted[index] = fitted[index][start:]
        pending = [index for index, _ in too_long]
    return fitted


def tokenize_exchanges(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Exchange], *, prompt_tokens: int, reply_tokens: int
) -> TokenMatrix:
    """Exchanges as rows of at most 1 + ``prompt_tokens`` + ``reply_tokens`` tokens; prompts lose words on the left."""
    prompts = fit_prompts(tokenizer, [row.prompt for row in rows], prompt_tokens)
    prompt_ids = tokenizer(prompts, add_special_tokens=True)["input_ids"]
    reply_ids = tokenizer([row.reply for row in rows], add_special_tokens=False)["input_ids"]
    width = 1 + prompt_tokens + reply_tokens
    ids = np.full((len(rows), width), tokenizer.pad_token_id, dtype=np.int64)
    starts = np.array([len(prompt) for prompt in prompt_ids], dtype=np.int64)
    lengths = np.empty(len(rows), dtype=np.int64)
    for index, (prompt, reply) in enumerate(zip(prompt_ids, reply_ids, strict=True)):
        tokens = [*prompt, *[*reply, tokenizer.eos_token_id][:reply_tokens]]
        ids[index, : len(tokens)] = tokens
        lengths[index] = len(tokens)
    complete = np.array([len(reply) < reply_tokens for reply in reply_ids], dtype=np.bool_)
    return TokenMatrix(ids=ids, lengths=lengths, reply_starts=starts, is_complete=complete)


def pretrain(
    config: PretrainConfig,
    data: TokenMatrix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> LlamaForCausalLM:
    """Train from scratch; one seed gives one model on one machine.

    Raises
    ------
    NonFiniteError
        If a loss is not finite; nothing is stepped with it.
    """
    context = 2 * data.ids.shape[1]
    torch.manual_seed(stream_seed(config.seed, "pretrain", "weights", config.architecture.width))
    llama = config.architecture.config(tokenizer, context=context)
    llama.attention_dropout = config.dropout
    # Plain matrix products beat the fused attention of the CPU at these sizes.
    model: LlamaForCausalLM = LlamaForCausalLM._from_config(llama, attn_implementation="eager")
    model.train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices, lr=config.matrix_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.embedding_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    peaks = [config.matrix_lr, config.embedding_lr]
    everything = _batches(np.arange(len(data.ids)), data.lengths, config)
    complete = _batches(np.flatnonzero(data.is_complete), data.lengths, config)
    for step in range(config.steps):
        rate = _schedule(step, config.steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        rows = next(everything if step < config.complete_from * config.steps else complete)
        length = int(data.lengths[rows].max())
        ids_BT = torch.from_numpy(data.ids[rows, :length])
        labels_BT = torch.where(
            torch.arange(length)[None] < torch.from_numpy(data.lengths[rows])[:, None], ids_BT, IGNORE
        )
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORE)
        if not torch.isfinite(loss):
            raise NonFiniteError(f"the loss of pretraining step {step} is {loss.item()}; lower the learning rates")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if progress is not None:
            progress(step + 1, config.steps, "steps")
    model.eval()
    return model


@torch.no_grad()
def held_out_losses(model: torch.nn.Module, data: TokenMatrix, *, batch: int = 256) -> dict[str, float]:
    """Nats per token: ``reply`` over reply tokens (with <|eos|>), ``all`` over every predicted token."""
    totals = {"reply": 0.0, "all": 0.0}
    counts = {"reply": 0, "all": 0}
    for start in range(0, len(data.ids), batch):
        rows = slice(start, start + batch)
        length = int(data.lengths[rows].max())
        ids_BT = torch.from_numpy(data.ids[rows, :length])
        nll_BT = F.cross_entropy(
            model(input_ids=ids_BT, use_cache=False).logits[:, :-1].float().transpose(1, 2),
            ids_BT[:, 1:],
            reduction="none",
        ).double()
        position_T = torch.arange(1, length)[None]
        real_BT = position_T < torch.from_numpy(data.lengths[rows])[:, None]
        reply_BT = real_BT & (position_T >= torch.from_numpy(data.reply_starts[rows])[:, None])
        for name, mask_BT in (("reply", reply_BT), ("all", real_BT)):
            totals[name] += float(nll_BT[mask_BT].sum())
            counts[name] += int(mask_BT.sum())
    return {name: totals[name] / counts[name] for name in totals}


def describe(config: PretrainConfig, model: LlamaForCausalLM) -> dict[str, object]:
    """Recipe and size of a model, as recorded beside it."""
    return {"parameters": sum(p.numel() for p in model.parameters()), "recipe": asdict(config)}


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over 2 % of the steps, then a cosine to 5 %."""
    warm_up = max(1, steps // 50)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _batches(
    rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], config: PretrainConfig
) -> Iterator[npt.NDArray[np.int64]]:
    """Endless batches of row numbers; rows of one batch have similar lengths, so little of it is padding."""
    rng = stream(config.seed, "pretrain", "order", len(rows))
    window = config.batch * max(1, min(16, len(rows) // config.batch))
    while True:
        shuffled = rng.permutation(rows)
        for start in range(0, max(1, len(shuffled) - window + 1), window):
            group = shuffled[start : start + window]
            group = group[np.argsort(lengths[group], kind="stable")]
            chunks = np.array_split(group, max(1, len(group) // config.batch))
            yield from (chunks[index] for index in rng.permutation(len(chunks)))
