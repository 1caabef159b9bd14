"""Steps on episodes of the small world: imitation of what was chosen, and a clipped policy gradient.

Axes: B episodes, T tokens, A choices, K choices that were made. The policy chooses among what is open, so both losses
are of its probabilities among that (:mod:`~overopt.optimize.game_walk`), not among all tokens: with those, each step
in one environment would also lower the actions that exist only in another, and an optimiser that scales gradients
would do so at full size however small the reason. Rates of what was never trained would drift. For the same reason the
optimiser's ``eps`` is no smaller than gradients that matter.
"""

import math

import numpy as np
import torch
from transformers import PreTrainedModel

from overopt.errors import ConfigError, NonFiniteError
from overopt.measure.walks import IntArray
from overopt.optimize.game_settings import StepSettings
from overopt.optimize.losses import clipped_surrogate
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.tokens import TokenRows
from overopt.worlds.tampering.vocabulary import CHOICE_TOKENS


def choice_logprobs(model: PreTrainedModel, rows: TokenRows, picks: IntArray) -> torch.Tensor:
    """(K,) of each choice that was made in episodes ``picks``, among what was open, nats; in the order of rows."""
    return _made(choice_table(model, rows, picks), rows, picks)


def choice_table(model: PreTrainedModel, rows: TokenRows, picks: IntArray) -> torch.Tensor:
    """(K, A) of all choices where one was made in episodes ``picks``, nats; -inf where a choice was not open."""
    width = int(rows.lengths[picks].max())
    ids_BT = torch.from_numpy(rows.ids[picks, : width - 1])
    is_made = rows.choice[picks, 1:width] >= 0
    is_open_KA = torch.from_numpy(game().permitted[rows.state[picks, 1:width][is_made]])
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
    logits_KA = logits_BTV[torch.from_numpy(is_made)][:, list(CHOICE_TOKENS)]
    return torch.log_softmax(logits_KA.masked_fill(~is_open_KA, -torch.inf), dim=-1)


def _made(table_KA: torch.Tensor, rows: TokenRows, picks: IntArray) -> torch.Tensor:
    choice_BT = rows.choice[picks]
    return table_KA.gather(1, torch.from_numpy(choice_BT[choice_BT >= 0])[:, None])[:, 0]


def _leash(
    table_KA: torch.Tensor, start: PreTrainedModel | None, rows: TokenRows, picks: IntArray, settings: StepSettings
) -> torch.Tensor:
    """What is added to a loss: the weighted divergence from ``start`` of the choices behind ``table_KA``."""
    if not settings.kl_coef:
        return table_KA.new_zeros(())
    if start is None:
        raise ConfigError("training.kl_coef is above 0: say from which start the model is not to move away")
    with torch.no_grad():
        reference_KA = choice_table(start, rows, picks)
    # Where a choice is not open both are -inf, and their difference would be no number.
    closed_KA = torch.isinf(table_KA)
    own_KA, reference_KA = (one.masked_fill(closed_KA, 0.0) for one in (table_KA, reference_KA))
    return settings.kl_coef * (own_KA.exp() * (own_KA - reference_KA)).sum(dim=1).mean()


def imitate(
    model: PreTrainedModel,
    rows: TokenRows,
    settings: StepSettings,
    rng: np.random.Generator,
    *,
    start: PreTrainedModel | None = None,
) -> float:
    """Raise the probability of what was chosen; the mean loss of the steps in nats a choice, ``nan`` without any rows.

    ``start`` is what a ``kl_coef`` above 0 holds the model to.

    Raises
    ------
    NonFiniteError
        If a loss or gradient is not finite; nothing is stepped with it.
    ConfigError
        If the model is to be held to nothing.
    """
    losses = []
    optimizer = _optimizer(model, settings)
    for _ in range(settings.epochs):
        for picks in _minibatches(len(rows.ids), settings.batch, rng):
            table_KA = choice_table(model, rows, picks)
            loss = -_made(table_KA, rows, picks).mean() + _leash(table_KA, start, rows, picks, settings)
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
    *,
    start: PreTrainedModel | None = None,
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
            table_KA = choice_table(model, rows, picks)
            new_K = _made(table_KA, rows, picks)
            advantage_K = advantage_B[picks].repeat_interleave(torch.from_numpy(made_B[picks]))
            weight_K = torch.full_like(advantage_K, 1 / len(picks))
            loss, _ = clipped_surrogate(
                new_K, old_K[own], advantage_K, weight_K, clip=settings.clip, clip_high=settings.clip
            )
            loss = loss + _leash(table_KA, start, rows, picks, settings)
            _step(model, optimizer, loss)
            losses.append(float(loss.detach()))
    model.eval()
    return float(np.mean(losses))


def _optimizer(model: PreTrainedModel, settings: StepSettings) -> torch.optim.AdamW:
    model.train()
    return torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), eps=settings.eps, weight_decay=0.0
    )


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
