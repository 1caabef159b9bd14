"""A tiny random transformer of the small world: its choices differ from scenario to scenario, and mean nothing."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from overopt.training.game_model import game_tokenizer
from overopt.training.language_model import Architecture


def random_game_model(seed: int = 0) -> PreTrainedModel:
    """Of some 5,000 numbers, large enough ones that no two choices are alike."""
    torch.manual_seed(seed)
    config = Architecture(width=16, layers=1, heads=2, hidden=32).config(game_tokenizer(), context=32)
    config.initializer_range = 0.3
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
