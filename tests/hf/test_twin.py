"""A tiny twin has its model's kind and settings, and costs nobody their random numbers."""

import pytest
import torch
from oracles.language_models import ARCHITECTURES, tiny_model

from overopt.hf.twin import tiny_twin


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox", "qwen2", "gpt2", "gemma2-whole", "granite", "cohere"])
def test_a_twin_is_of_the_same_kind_with_weights_that_show(architecture):
    model = tiny_model(architecture, seed=0)
    before = model.config.to_dict()
    twin = tiny_twin(model)
    assert type(twin) is type(model)
    assert model.config.to_dict() == before
    assert twin.dtype == torch.float32
    assert not twin.training
    for name in ("attn_logit_softcapping", "final_logit_softcapping", "logits_scaling", "logit_scale"):
        assert getattr(twin.config, name, None) == getattr(model.config, name, None)
    is_grouped = model.config.to_dict().get("num_key_value_heads", 4) < model.config.num_attention_heads
    assert is_grouped == (twin.config.to_dict().get("num_key_value_heads", 4) < twin.config.num_attention_heads)
    with torch.no_grad():
        logprobs = torch.log_softmax(twin(input_ids=torch.tensor([[5, 6, 7], [9, 6, 7]])).logits[:, -1], dim=-1)
    assert (logprobs[0] - logprobs[1]).abs().max() > 0.1, "a mistake about the first token would not show"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_twin_is_made_without_the_global_random_state(architecture):
    model = tiny_model(architecture, seed=0)
    state = torch.get_rng_state()
    first, second = tiny_twin(model), tiny_twin(model)
    assert torch.equal(torch.get_rng_state(), state)
    if first is not None:
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)
