"""A policy made ready for training: a copy of the reference, whole or with adapters, and a critic beside it."""

import copy
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from overopt.errors import ConfigError
from overopt.hf.hidden import hidden_states
from overopt.hf.packing import ReplyTokens
from overopt.hf.tuning import add_adapters, drop_activations, freeze_below, merged_adapters
from overopt.policies.models import HFPolicy
from overopt.seeding import stream_seed


class WeightSettings(Protocol):
    """Which weights move, and what is held of a pass."""

    @property
    def lora_rank(self) -> int:
        """0 for all weights."""
        ...

    @property
    def lora_alpha(self) -> int | None:
        """Twice the rank unless given."""
        ...

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass."""
        ...


class Critic(nn.Module):
    """Values of replies in progress: one linear output on hidden states, 0 at the start.

    ``body`` is a network of its own, or None where the policy's hidden states are read; then only the head learns from
    the value loss and the policy's body stays the policy's.
    """

    def __init__(self, policy: PreTrainedModel, *, has_body: bool) -> None:
        super().__init__()
        self.body = copy.deepcopy(policy) if has_body else None
        width = policy.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1, device=policy.device, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: ReplyTokens, policy_hidden_KD: torch.Tensor) -> torch.Tensor:
        """Values (K,) before each reply token is chosen."""
        hidden_KD = policy_hidden_KD.detach() if self.body is None else hidden_states(self.body, tokens)
        # Not in half precision: errors of the values are small beside them.
        with torch.autocast(hidden_KD.device.type, enabled=False):
            values_K: torch.Tensor = self.head(hidden_KD.float())[:, 0]
        return values_K

    def trained(self) -> Iterator[nn.Parameter]:
        """What the value loss moves: an output embedding that copies the policy's is none of it."""
        if self.body is not None:
            yield from (parameter for parameter in self.body.base_model.parameters() if parameter.requires_grad)
        yield from self.head.parameters()


def trainable_copy(reference: HFPolicy, config: WeightSettings, *, seed: int = 0, top_layers: int = 0) -> HFPolicy:
    """A copy of the reference whose weights may move; the reference stays as it is, without gradients.

    ``seed`` is that of new adapters, which change nothing until they are trained. With ``top_layers`` above 0 and no
    adapters, only so many of the last layers move, and the norm behind them.

    Raises
    ------
    MissingExtraError
        If adapters are asked for and PEFT is absent.
    ConfigError
        If the weights are stored in half precision, in which small steps would be lost, or the architecture cannot drop
        its activations.
    """
    model: PreTrainedModel = copy.deepcopy(reference.model)
    if config.lora_rank:
        model = add_adapters(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha or 2 * config.lora_rank,
            dropout=0.0,
            modules=(),
            option="lora_rank",
            seed=stream_seed(seed, "rl", "adapters"),
        )
    elif model.dtype != torch.float32:
        raise ConfigError(f"{reference.name} is held in {model.dtype}: train it in float32, or with lora_rank above 0")
    elif top_layers:
        freeze_below(model, top_layers)
    _remove_dropout(model)
    if config.gradient_checkpointing:
        drop_activations(model, reference.name)
    return HFPolicy(model, reference.tokenizer, name=reference.name)


def merged(policy: HFPolicy) -> PreTrainedModel:
    """The policy's weights as a plain model, adapters added in; what anyone can load."""
    model: PreTrainedModel = policy.model
    return merged_adapters(model)


def _remove_dropout(model: PreTrainedModel) -> None:
    """Ratios of probabilities start at 1 only if two passes give the same."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "hidden_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
