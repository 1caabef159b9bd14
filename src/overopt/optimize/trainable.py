"""A policy made ready for training: a copy of the reference, whole or with adapters, and a critic beside it."""

import copy
from collections.abc import Iterator
from typing import Protocol, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from overopt.errors import ConfigError, MissingExtraError
from overopt.hf.hidden import hidden_states
from overopt.hf.packing import ReplyTokens
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


def trainable_copy(reference: HFPolicy, config: WeightSettings, *, seed: int = 0) -> HFPolicy:
    """A copy of the reference whose weights may move; the reference stays as it is, without gradients.

    ``seed`` is that of new adapters, which change nothing until they are trained.

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
        # PEFT draws them on the CPU, from the global state, which is put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_seed(seed, "rl", "adapters"))
            model = _with_adapters(model, config)
    elif model.dtype != torch.float32:
        raise ConfigError(f"{reference.name} is held in {model.dtype}: train it in float32, or with lora_rank above 0")
    _remove_dropout(model)
    if config.gradient_checkpointing:
        _save_activations(model, reference.name)
    return HFPolicy(model, reference.tokenizer, name=reference.name)


def merged(policy: HFPolicy) -> PreTrainedModel:
    """The policy's weights as a plain model, adapters added in; what anyone can load."""
    own: PreTrainedModel = policy.model
    if not has_adapters(own):
        return own
    from peft.tuners.lora import LoraLayer

    model: PreTrainedModel = copy.deepcopy(own)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    return model


def has_adapters(model: PreTrainedModel) -> bool:
    """Whether some parameters are low-rank adapters."""
    return any("lora_" in name for name, _ in model.named_parameters())


def _save_activations(model: PreTrainedModel, name: str) -> None:
    # Transformers has renamed the method; the old name warns where there is a new one.
    method = "activation_checkpointing_enable" if hasattr(model, "activation_checkpointing_enable") else None
    try:
        getattr(model, method or "gradient_checkpointing_enable")({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"{name} cannot drop its activations; set gradient_checkpointing to false") from error


def _remove_dropout(model: PreTrainedModel) -> None:
    """Ratios of probabilities start at 1 only if two passes give the same."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "hidden_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _with_adapters(model: PreTrainedModel, config: WeightSettings) -> PreTrainedModel:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("lora_rank needs peft; run: pip install 'overopt[models]'") from error
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    # Injected, the model keeps its class: it samples and measures as the reference does.
    adapted = cast(PreTrainedModel, inject_adapter_in_model(settings, model))
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()
    return adapted
