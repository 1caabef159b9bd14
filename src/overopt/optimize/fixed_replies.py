"""Optimiser steps on replies that are there already: gradients are summed over parts, looked at, and then applied.

What direct alignment and distillation share. A loss comes as an iterator of its parts, each small enough for one
forward pass; a step is whole or not taken.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from overopt.hf.processes import Processes
from overopt.optimize.checkpoints import State
from overopt.optimize.steps import products
from overopt.optimize.trainable import trainable_copy
from overopt.policies.models import HFPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class FittingConfig:
    """How weights move, whatever the loss."""

    learning_rate: float = 1e-4
    """Peak rate of AdamW, after a linear warm-up of ``warm_up`` steps."""
    warm_up: int = 5
    weight_decay: float = 0.0
    max_gradient: float = 1.0
    """Gradients are scaled down to this norm."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the products of training; weights, optimiser and log-sums are float32."""
    places: int = 2_048
    """Most tokens of one forward pass, padding included; gradients accumulate over passes."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora_rank: int = 0
    """Above 0: only low-rank adapters of this rank are trained (PEFT), on all linear layers."""
    lora_alpha: int | None = None
    """Twice the rank unless given."""

    def fitting_problems(self, section: str) -> list[str]:
        """What is out of range, as sentences with names like ``section.learning_rate``."""
        problems = whole_number_problems(self, section, {"warm_up": 0, "places": 1, "lora_rank": 0})
        positive = ("learning_rate", "max_gradient", "lora_alpha")
        problems += number_problems(self, section, positive, is_zero_allowed=False)
        problems += number_problems(self, section, ("weight_decay",), is_zero_allowed=True)
        if self.precision not in ("bf16", "fp32"):
            problems.append(f"{section}.precision is one of bf16, fp32; got {self.precision!r}")
        return problems


def whole_number_problems(config: object, section: str, least: Mapping[str, int]) -> list[str]:
    """One sentence for each setting that is no whole number of at least so much; ``None`` passes."""
    return [
        f"{section}.{name} must be a whole number, at least {low}; got {value!r}"
        for name, low in least.items()
        if (value := getattr(config, name)) is not None
        and (isinstance(value, bool) or not isinstance(value, int) or value < low)
    ]


def number_problems(config: object, section: str, names: Sequence[str], *, is_zero_allowed: bool) -> list[str]:
    """One sentence for each setting that is not finite and above 0, or 0 where that is allowed; ``None`` passes."""
    return [
        f"{section}.{name} must be finite and {'0 or more' if is_zero_allowed else 'above 0'}; got {value}"
        for name in names
        if (value := getattr(config, name)) is not None
        and not (0 < value < math.inf or (is_zero_allowed and value == 0))
    ]


class Fitter:
    """A copy of the reference in training, with its optimiser."""

    def __init__(
        self,
        reference: HFPolicy,
        config: FittingConfig,
        processes: Processes,
        *,
        seed: int,
        top_layers: int = 0,
    ) -> None:
        self.config, self.processes = config, processes
        self.policy = trainable_copy(reference, config, seed=seed, top_layers=top_layers)
        self.parameters = [p for p in self.policy.model.parameters() if p.requires_grad]
        self.restart_optimizer()

    def restart_optimizer(self) -> None:
        """Forget the moments of all gradients."""
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.config.learning_rate, betas=(0.9, 0.95), weight_decay=self.config.weight_decay
        )

    def state(self, logs: Sequence[Any]) -> State:
        """What a checkpoint of these weights and this optimiser holds."""
        return State(policy=self.policy.model, critic=None, optimizer=self.optimizer, kl_coef=0.0, logs=logs)

    def precision(self) -> AbstractContextManager[object]:
        """Context of the products of training."""
        return products(self.config.precision, self.policy.model.device.type)

    def accumulate(self, losses: Iterable[torch.Tensor]) -> tuple[float, float]:
        """A loss, the sum of its parts over all processes, and the norm of its gradient before clipping.

        No weight has moved yet.
        """
        model, total = self.policy.model, 0.0
        self.optimizer.zero_grad(set_to_none=True)
        # Activations are dropped in training mode only; without dropout that mode changes no number.
        model.train(self.config.gradient_checkpointing)
        try:
            for loss in losses:
                loss.backward()
                total += float(loss.detach())
        finally:
            model.eval()
        total = self.processes.sum(total)
        self.processes.sum_gradients(self.parameters)
        return total, float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_gradient))

    def apply(self, share_of_rate: float) -> None:
        """Step with what was accumulated, at this share of the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * share_of_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
