"""Vocabularies of 128,000: no tensor of more logits than are allowed, and gradients that do not notice."""

import pytest
import torch
from oracles.language_models import COMMON
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from overopt.hf.packing import PromptReplies
from overopt.policies import logprobs
from overopt.policies.logprobs import reply_statistics, token_logprobs, token_statistics
from overopt.stats.sampling import SamplerSettings

VOCABULARY = 128_000
ALLOWED = 8 * VOCABULARY
"""Logits of 8 tokens at once; there are 60."""


class Largest(TorchDispatchMode):
    """The most bytes of one tensor that any operation returned, and of all of them that are alive together."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return result


def wide_model(seed, vocabulary=VOCABULARY):
    model = LlamaForCausalLM(LlamaConfig(**{**COMMON, "vocab_size": vocabulary, "hidden_size": 4})).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def models():
    return wide_model(0), wide_model(1)


@pytest.fixture(scope="module")
def packed():
    generator = torch.Generator().manual_seed(0)
    ids = [(number % 2, torch.randint(0, VOCABULARY, (15,), generator=generator).tolist()) for number in range(4)]
    return PromptReplies([[5, 7, 9], [4]], ids, pad=0, share=2)


@pytest.fixture(scope="module")
def tokens(packed):
    (part,) = packed.parts(10_000)
    return part


SETTINGS = SamplerSettings(temperature=0.8)


def total(kind, models, tokens, settings=SETTINGS):
    policy, reference = models
    if kind == "logprobs":
        return token_logprobs(policy, tokens, settings).sum()
    found = token_statistics(policy, reference, tokens, settings)
    return (found.logprob + found.kl - 0.1 * found.entropy).sum()


@pytest.mark.parametrize("kind", ["logprobs", "statistics"])
def test_training_holds_few_logits_at_once(models, tokens, monkeypatch, kind):
    policy, _ = models
    logprobs.output_head(policy)  # a pass over four tokens, the first time
    logprobs.output_head(models[1])
    monkeypatch.setattr(logprobs, "LOGITS", ALLOWED)
    policy.zero_grad()
    with Largest() as seen:
        total(kind, models, tokens).backward()
    assert seen.largest <= 4 * ALLOWED, f"{seen.largest / 4 / ALLOWED:.1f} times what is allowed"
    assert seen.largest > 2 * ALLOWED, "the largest tensor should be a piece's logits"
    assert 4 * len(tokens.target) * VOCABULARY / 7 > 4 * ALLOWED


def test_measuring_holds_few_logits_at_once(models, packed, monkeypatch):
    logprobs.output_head(models[0])
    logprobs.output_head(models[1])
    monkeypatch.setattr(logprobs, "LOGITS", ALLOWED)
    with Largest() as seen:
        reply_statistics(*models, packed, SETTINGS)
    assert seen.largest <= 4 * ALLOWED


def test_what_backward_keeps_does_not_grow_with_the_tokens(models, tokens, monkeypatch):
    """Bytes saved for the backward pass: without pieces made again they would be several logits a token."""
    logprobs.output_head(models[0])
    logprobs.output_head(models[1])
    monkeypatch.setattr(logprobs, "LOGITS", ALLOWED)
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for model in models for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = total("statistics", models, tokens)
    assert sum(size for place, size in saved.items() if place not in weights) < 4 * VOCABULARY
    del value


@pytest.mark.parametrize("settings", [SETTINGS, SamplerSettings(top_p=0.9), SamplerSettings(top_k=50)])
@pytest.mark.parametrize("kind", ["logprobs", "statistics"])
def test_pieces_give_the_gradient_of_the_whole(monkeypatch, kind, settings):
    models = wide_model(0, 300), wide_model(1, 300)
    generator = torch.Generator().manual_seed(0)
    logits = [(number % 2, torch.randint(0, 300, (9,), generator=generator).tolist()) for number in range(4)]
    (tokens,) = PromptReplies([[5, 7, 9], [4]], logits, pad=0, share=2).parts(10_000)
    policy, _ = models
    found = []
    for allowed in (2**24, 7 * 300, 1):
        monkeypatch.setattr(logprobs, "LOGITS", allowed)
        policy.zero_grad()
        part = token_statistics(*models, tokens, settings) if kind == "statistics" else None
        drawn = token_logprobs(policy, tokens, settings) if part is None else part.kl - part.entropy
        # Replies that truncation rules out have no log-probability to move.
        value = drawn[torch.isfinite(drawn)].sum()
        value.backward()
        found.append((value.detach(), [parameter.grad.clone() for parameter in policy.parameters()]))
    whole, gradients = found[0]
    assert any(bool((gradient.abs() > 1e-3).any()) for gradient in gradients)
    for value, others in found[1:]:
        torch.testing.assert_close(value, whole, rtol=1e-5, atol=1e-5)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_allowed_logits_fit_a_small_machine():
    assert logprobs.LOGITS * 4 <= 2**26
