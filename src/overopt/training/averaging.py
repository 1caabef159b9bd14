"""One model from several that were trained from the same start: the mean of their weights.

WARM (Rame et al. 2024, arXiv:2401.12187) averages reward models that share their pretrained body; the mean scores like
an ensemble of them at the cost of one.
"""

import copy
from collections.abc import Sequence

import torch

from overopt.errors import ConfigError
from overopt.rewards.checkpoint import RewardModel


def average_models(models: Sequence[RewardModel]) -> RewardModel:
    """A reward model whose every weight is the mean, taken in float64, of the members' weights.

    Raises
    ------
    ConfigError
        If there are fewer than two members, or they do not have the same weights by name and shape: means of models of
        different kinds mean nothing.
    """
    if len(models) < 2:
        raise ConfigError(f"weights of at least two models are averaged; got {len(models)}")
    states = [model.model.state_dict() for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    other = next((k for k, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        raise ConfigError(f"{models[0].name} and {models[other].name} are not the same network; only such are averaged")
    merged = copy.deepcopy(models[0].model)
    merged.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    return RewardModel(merged, models[0].tokenizer, name=f"mean({', '.join(model.name for model in models)})")


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(first.dtype)
