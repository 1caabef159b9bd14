"""Weights made ready for training: low-rank adapters inside a model that keeps its class, and activations not kept."""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from overopt.errors import ConfigError, MissingExtraError

MARK = "lora_"
"""What the names of an adapter's parameters hold."""


def add_adapters(
    model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, modules: Sequence[str], option: str, seed: int
) -> PreTrainedModel:
    """Low-rank adapters inside the model, float32, and nothing else of it trained; at first they change nothing.

    Parameters
    ----------
    modules : sequence of str
        Names of the linear layers that get one; none: all of them but the output.
    option : str
        What asked for them, for the message where PEFT is absent.
    seed : int
        Of their first weights; the global random state is left alone.

    Raises
    ------
    MissingExtraError
        If PEFT is absent.
    ConfigError
        If the model has no linear layer of these names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError(f"{option} needs peft; run: pip install 'overopt[models]'") from error
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
    # PEFT draws them on the CPU, from the global state, which is put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            # Injected, the model keeps its class: it is run as the one without them.
            adapted = cast(PreTrainedModel, inject_adapter_in_model(settings, model))
        except ValueError as error:
            raise ConfigError(f"{option} finds no place in {type(model).__name__}: {_sentence(error)}") from error
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(MARK in name)
        if MARK in name:
            parameter.data = parameter.data.float()
    return adapted


def freeze_below(model: PreTrainedModel, layers: int) -> None:
    """Train nothing but the last ``layers`` of a decoder's layers and what stands behind them in its body.

    The output embedding stays as it is: it is often the input embedding too. Gradients end at the first trained layer.

    Raises
    ------
    ConfigError
        If the model has fewer layers, or it cannot be seen which modules they are.
    """
    total = model.config.get_text_config().num_hidden_layers
    stacks = [
        (parent, child)
        for parent in model.base_model.modules()
        for child in parent.children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if not stacks:
        raise ConfigError(f"{type(model).__name__} does not say which of its modules are its {total} layers")
    if not 1 <= layers <= total:
        raise ConfigError(f"top_layers is {layers}, and {type(model).__name__} has {total} layers")
    model.requires_grad_(False)
    parent, stack = stacks[0]
    stack[-layers:].requires_grad_(True)
    children = list(parent.children())
    for module in children[children.index(stack) + 1 :]:
        module.requires_grad_(True)


def has_adapters(model: nn.Module) -> bool:
    """Whether some parameters are low-rank adapters."""
    return any(MARK in name for name, _ in model.named_parameters())


def merged_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with its adapters added into its weights, a plain model; the model itself where it has none."""
    if not has_adapters(model):
        return model
    model = copy.deepcopy(model)
    merge_adapters(model)
    return model


def merge_adapters(model: nn.Module) -> None:
    """Add the adapters into the weights of the model itself, which is plain afterwards."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())


def drop_activations(model: PreTrainedModel, name: str) -> None:
    """Compute activations again in the backward pass: less memory, more time.

    Raises
    ------
    ConfigError
        If the architecture cannot.
    """
    try:
        getattr(model, _checkpointing(model, "enable"))({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"{name} cannot drop its activations; set gradient_checkpointing to false") from error


def keep_activations(model: PreTrainedModel) -> None:
    """The reverse of :func:`drop_activations`."""
    getattr(model, _checkpointing(model, "disable"))()


def _checkpointing(model: PreTrainedModel, action: str) -> str:
    """Transformers has renamed the methods; the old names warn where there are new ones."""
    new = f"activation_checkpointing_{action}"
    return new if hasattr(model, new) else f"gradient_checkpointing_{action}"


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
