"""Steps on episodes of the small world: imitation of what was chosen, and a clipped policy gradient.

Axes: B episodes, T tokens, A choices, K choices that were made. The policy chooses among what is open, so both losses
are of its probabilities among that (:mod:`~overopt.optimize.game_walk`), not among all tokens: with those, each step
in one environment would also lower the actions that exist only in another, and an optimiser that scales gradients
would do so at full size however small the reason. Rates of what was never trained would drift.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from overopt.errors import NonFiniteError
from overopt.measure.walks import IntArray
from overopt.optimize.losses import clipped_surrogate
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.tokens import TokenRows
from overopt.worlds.tampering.vocabulary import CHOICE_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """Of both losses; AdamW begins anew in each call, without weight decay."""

    learning_rate: float
    epochs: int
    batch: int
    """Episodes a step."""
    clip: float
    """Of the ratio of the policy gradient."""


def choice_logprobs(model: PreTrainedModel, rows: TokenRows, picks: IntArray) -> torch.Tensor:
    """(K,) of each choice that was made in episodes ``picks``, among what was open, nats; in the order of rows."""
    width = int(rows.lengths[picks].max())
    ids_BT = torch.from_numpy(rows.ids[picks, : width - 1])
    choice_BT = rows.choice[picks, 1:width]
    is_made = choice_BT >= 0
    is_open_KA = torch.from_numpy(game().permitted[rows.state[picks, 1:width][is_made]])
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
    logits_KA = logits_BTV[torch.from_numpy(is_made)][:, list(CHOICE_TOKENS)]
    table_KA = torch.log_softmax(logits_KA.masked_fill(~is_open_KA, -torch.inf), dim=-1)
    return table_KA.gather(1, torch.from_numpy(choice_BT[is_made])[:, None])[:, 0]


def imitate(model: PreTrainedModel, rows: TokenRows, settings: StepSettings, rng: np.random.Generator) -> float:
    """Raise the probability of what was chosen; the mean loss of the steps in nats a choice, ``nan`` without any rows.

    Raises
    ------
    NonFiniteError
        If a loss or gradient is not finite; nothing is stepped with it.
    """
    losses = []
    optimizer = _optimizer(model, settings)
    for _ in range(settings.epochs):
        for picks in _minibatches(len(rows.ids), settings.batch, rng):
            loss = -choice_logprobs(model, rows, picks).mean()
            _step(model, optimizer, loss)
            losses.append(float(loss.detach()))
    model.eval()
    return float(np.mean(losses)) if losses else math.nan


def climb(
    model: PreTrainedModel,
    rows: TokenRows,
    advantage_B: torch.Tensor,
    settings: StepSettings,
    rng: np.random.Generator,
) -> float:
    """Clipped surrogate of episodes that ``model`` drew, a sum over their choices and a mean over episodes; its mean
    over the steps, each of four times as many episodes as one of imitation.

    Raises
    ------
    NonFiniteError
        As :func:`imitate`.
    """
    everything = np.arange(len(rows.ids))
    made_B = rows.is_chosen.sum(axis=1)
    first_B = np.concatenate([[0], np.cumsum(made_B)])
    model.eval()
    with torch.no_grad():
        old_K = choice_logprobs(model, rows, everything)
    optimizer, losses = _optimizer(model, settings), []
    for _ in range(settings.epochs):
        for picks in _minibatches(len(rows.ids), settings.batch * 4, rng):
            own = torch.from_numpy(np.concatenate([np.arange(first_B[row], first_B[row + 1]) for row in picks]))
            new_K = choice_logprobs(model, rows, picks)
            advantage_K = advantage_B[picks].repeat_interleave(torch.from_numpy(made_B[picks]))
            weight_K = torch.full_like(advantage_K, 1 / len(picks))
            loss, _ = clipped_surrogate(
                new_K, old_K[own], advantage_K, weight_K, clip=settings.clip, clip_high=settings.clip
            )
            _step(model, optimizer, loss)
            losses.append(float(loss.detach()))
    model.eval()
    return float(np.mean(losses))


def _optimizer(model: PreTrainedModel, settings: StepSettings) -> torch.optim.AdamW:
    model.train()
    return torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)


def _minibatches(count: int, batch: int, rng: np.random.Generator) -> list[IntArray]:
    if not count:
        return []
    return np.array_split(rng.permutation(count), max(1, round(count / batch)))


def _step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {float(loss.detach())}; lower training.learning_rate")
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not torch.isfinite(norm):
        raise NonFiniteError(f"the gradient's norm is {float(norm)}; lower training.learning_rate")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
