"""Log-probabilities, exact KL and entropy of replies, in chunks that never hold more than a few rows of logits.

Axes: B replies, T positions, V vocabulary. Everything is for the distribution at a given temperature and summed over
the tokens of each reply, in nats.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class ReplyTokens:
    """Prompts with their replies, padded on the right."""

    ids: torch.Tensor
    """(B, T) token ids."""
    mask: torch.Tensor
    """(B, T) 1 on real tokens."""
    is_reply: torch.Tensor
    """(B, T) true on tokens of the reply, its end token included."""

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: torch.Tensor) -> "ReplyTokens":
        """The rows ``index``, without the columns that none of them needs."""
        mask = self.mask[index]
        width = int(mask.sum(1).max())
        return ReplyTokens(self.ids[index, :width], mask[:, :width], self.is_reply[index, :width])


@dataclass(frozen=True, slots=True)
class ReplyStatistics:
    """Sums over each reply's tokens, (B,) float64, nats."""

    policy_logprob: torch.Tensor
    reference_logprob: torch.Tensor
    kl: torch.Tensor
    """Sum over the reply's positions of the KL(policy || reference) of the next-token distributions there, over the
    whole vocabulary. Its mean over replies of the policy is the KL of whole replies, without the noise of the
    sampled tokens' log-ratios (Rao-Blackwell)."""
    entropy: torch.Tensor


def join_tokens(prompt_ids: Sequence[Sequence[int]], reply_ids: Sequence[Sequence[int]], *, pad: int) -> ReplyTokens:
    """Prompts and replies (B of each) as one padded matrix."""
    width = max(len(prompt) + len(reply) for prompt, reply in zip(prompt_ids, reply_ids, strict=True))
    ids = torch.full((len(prompt_ids), width), pad)
    mask = torch.zeros((len(prompt_ids), width), dtype=torch.long)
    is_reply = torch.zeros((len(prompt_ids), width), dtype=torch.bool)
    for row, (prompt, reply) in enumerate(zip(prompt_ids, reply_ids, strict=True)):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor([*prompt, *reply])
        mask[row, :end] = 1
        is_reply[row, len(prompt) : end] = True
    return ReplyTokens(ids, mask, is_reply)


def by_length(tokens: ReplyTokens, batch: int) -> Iterator[torch.Tensor]:
    """Row numbers in batches of similar length."""
    yield from torch.split(tokens.mask.sum(1).argsort(stable=True), batch)


def reply_logits(model: PreTrainedModel, tokens: ReplyTokens) -> torch.Tensor:
    """Logits (K, V) that predict the K reply tokens, row by row; prompts and padding cost no vocabulary.

    Read from the last hidden states through the output embedding, which is all that Llama-like models do.
    """
    hidden_BTD = model.base_model(input_ids=tokens.ids, attention_mask=tokens.mask, use_cache=False).last_hidden_state
    logits_KV: torch.Tensor = model.get_output_embeddings()(hidden_BTD[:, :-1][tokens.is_reply[:, 1:]])
    return logits_KV


def token_logprobs(model: PreTrainedModel, tokens: ReplyTokens, *, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability (B, T) of each reply token given what is before it; 0 elsewhere. Gradients flow."""
    logits_KV = reply_logits(model, tokens)
    if temperature != 1.0:
        logits_KV = logits_KV / temperature
    # Log-sums need more digits than bfloat16 products have.
    logits_KV = logits_KV.float()
    target_K = tokens.ids[tokens.is_reply]
    logprob_K = logits_KV.gather(1, target_K[:, None])[:, 0] - torch.logsumexp(logits_KV, dim=-1)
    return torch.zeros(tokens.ids.shape).index_put((tokens.is_reply,), logprob_K)


@torch.no_grad()
def reply_statistics(
    policy: PreTrainedModel, reference: PreTrainedModel, tokens: ReplyTokens, *, temperature: float, batch: int = 64
) -> ReplyStatistics:
    """Measure replies under both models, which share one vocabulary, in one engine and float32."""
    policy_logprob = torch.zeros(len(tokens), dtype=torch.float64)
    reference_logprob, kl, entropy = (torch.zeros_like(policy_logprob) for _ in range(3))
    for rows in by_length(tokens, batch):
        part = tokens.rows(rows)
        row_K = part.is_reply.nonzero()[:, 0]
        target_K = part.ids[part.is_reply]
        policy_KV, reference_KV = (
            torch.log_softmax(reply_logits(model, part).float() / temperature, dim=-1) for model in (policy, reference)
        )
        probability_KV = policy_KV.exp()
        # Where the policy gives probability 0 the term is 0, the limit of p ln p; where only the reference does, it
        # stays infinite, as it must.
        terms_KV = torch.where(probability_KV > 0, probability_KV * (policy_KV - reference_KV), 0.0)
        own_KV = torch.where(probability_KV > 0, probability_KV * policy_KV, 0.0)
        for total, values_K in (
            (policy_logprob, policy_KV.gather(1, target_K[:, None])[:, 0]),
            (reference_logprob, reference_KV.gather(1, target_K[:, None])[:, 0]),
            (kl, terms_KV.sum(-1)),
            (entropy, -own_KV.sum(-1)),
        ):
            sums = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, row_K, values_K.double())
            total[rows] = sums
    return ReplyStatistics(policy_logprob, reference_logprob, kl, entropy)
