"""A stand-in for the package ``vllm``: its interface for offline generation, over a model of ours, without its speed.

What it shares with the real one (version 0.15): ``LLM(model=…)`` with ``get_tokenizer`` and ``generate``, prompts as
dictionaries of token ids, one :class:`SamplingParams` a prompt that refuses unknown names, :class:`RequestOutput` in
the order of the prompts with :class:`CompletionOutput` inside; token ids that end with the end token; end tokens of
the model beside ``stop_token_ids``; the default ``logprobs_mode``, whose log-probabilities are at temperature 1.
"""

import sys
import types
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from oracles.language_models import next_logprobs

CONTEXT = 64


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True

    def __post_init__(self):
        if self.top_k < -1:
            raise ValueError(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.")


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True
    prompt: str | None = None


@dataclass
class LLM:
    model: str
    dtype: str = "auto"
    trust_remote_code: bool = False
    logprobs_mode: str = "raw_logprobs"
    models: dict = field(default_factory=lambda: MODELS)
    calls: list = field(default_factory=list)

    def __post_init__(self):
        if self.model not in self.models:
            raise ValueError(f"Invalid repository ID or local directory specified:\n'{self.model}'")
        self._network, self._tokenizer = self.models[self.model]
        config = SimpleNamespace(max_model_len=CONTEXT, dtype="torch.float32", logprobs_mode=self.logprobs_mode)
        self.llm_engine = SimpleNamespace(vllm_config=SimpleNamespace(model_config=config))

    def get_tokenizer(self):
        return self._tokenizer

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        if len(prompts) != len(sampling_params):
            raise ValueError("The lengths of prompts and sampling_params must be the same.")
        self.calls.append((prompts, sampling_params))
        return [
            RequestOutput(str(number), prompt["prompt_token_ids"], [self._complete(prompt["prompt_token_ids"], params)])
            for number, (prompt, params) in enumerate(zip(prompts, sampling_params, strict=True))
        ]

    def _complete(self, prompt, params):
        rng = np.random.default_rng(params.seed)
        ends = {self._tokenizer.eos_token_id, *(params.stop_token_ids or ())}
        ids, logprob = [], 0.0
        reason = stop_reason = None
        while reason is None:
            row = [*prompt, *ids]
            top_k = None if params.top_k in (0, -1) else params.top_k
            sampled = next_logprobs(self._network, row, params.temperature, top_k=top_k, top_p=params.top_p)
            token = int(rng.choice(len(sampled), p=np.exp(sampled)))
            told = sampled if self.logprobs_mode == "processed_logprobs" else next_logprobs(self._network, row)
            ids.append(token)
            logprob += told[token]
            if token in ends:
                reason, stop_reason = "stop", None if token == self._tokenizer.eos_token_id else token
            elif len(ids) == params.max_tokens:
                reason = "length"
        asked = params.logprobs is not None
        text = self._tokenizer.decode(ids, skip_special_tokens=True) if params.detokenize else ""
        return CompletionOutput(0, text, ids, logprob if asked else None, [] if asked else None, reason, stop_reason)


MODELS: dict = {}
"""Name to network and tokenizer."""


def install(monkeypatch, models):
    """Put it in the place of the real package for one test."""
    module = types.ModuleType("vllm")
    module.__version__ = "0.15.0"
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(sys.modules[__name__], "MODELS", models)
    return module
