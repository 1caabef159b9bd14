"""A policy drawn by vLLM: the fastest on a GPU, with the same records as our own engine.

Every reply is a request with a seed of its own, so it does not depend on what else is drawn (up to rounding); vLLM
computes the keys of a prompt once. vLLM's kernels round in another way than those of transformers do, by enough to
shift a KL: log-probabilities of policy and reference must come from one engine. Recompute them from the token ids kept
here, with :meth:`overopt.policies.models.HFPolicy.measure`. Entropies are not told: ``nan``.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from overopt.errors import ConfigError, DataError, MissingExtraError
from overopt.hf.encoding import encode_prompts
from overopt.policies.sampler import end_tokens
from overopt.protocols import Progress, Prompt, Reply, SamplerConfig
from overopt.seeding import stream_seed

REQUESTS = 4_096
"""Replies handed over at once; vLLM makes its own batches of them."""


class VLLMPolicy:
    """A model in a ``vllm.LLM``, as a :class:`~overopt.protocols.Policy`.

    Parameters
    ----------
    llm : vllm.LLM
        Make it with ``logprobs_mode="processed_logprobs"``, as :meth:`load` does: otherwise its log-probabilities are
        those at temperature 1 without truncation, and a reply's is ``nan`` wherever that was not what was sampled.
    name
        What it is called in tables.
    """

    def __init__(self, llm: Any, *, name: str = "policy") -> None:
        self.llm = llm
        self.tokenizer = llm.get_tokenizer()
        self.name = name

    @classmethod
    def load(cls, path: str | Path, *, dtype: str | None = None, **options: Any) -> "VLLMPolicy":
        """A folder or hub name; ``options`` go to ``vllm.LLM``.

        Raises
        ------
        MissingExtraError
            If vLLM is absent.
        ConfigError
            If vLLM cannot load the model.
        """
        vllm = _vllm()
        settings = {"logprobs_mode": "processed_logprobs", "trust_remote_code": False, "dtype": dtype or "auto"}
        try:
            llm = vllm.LLM(model=str(path), **{**settings, **options})
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"vLLM cannot load {path}: {' '.join(str(error).split())[:300]}") from error
        return cls(llm, name=str(path))

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        config: SamplerConfig,
        seed: int,
        numbers: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> list[Reply]:
        """``per_prompt`` replies to each prompt, sorted; ``numbers`` as for :func:`overopt.policies.sampler.sample`.

        Raises
        ------
        DataError
            If a prompt is empty or too long for the model, or vLLM gives a reply up.
        ConfigError
            If the context has no room for ``max_tokens``, or a stop token is none of the tokenizer's.
        """
        context = _setting(self.llm, "max_model_len")
        limit = None if context is None else int(context) - config.max_tokens
        if limit is not None and limit < 1:
            raise ConfigError(
                f"sampler.max_tokens is {config.max_tokens}, but the policy reads {context} tokens, prompt included"
            )
        # vLLM adds the end tokens of the model's own generation settings.
        ends = list(end_tokens(None, self.tokenizer, config.stop))
        ids = encode_prompts(self.tokenizer, prompts, limit=limit)
        numbers = range(len(prompts)) if numbers is None else numbers
        rows = [(place, number) for place in range(len(prompts)) for number in range(per_prompt)]
        replies: list[Reply] = []
        for start in range(0, len(rows), REQUESTS):
            part = rows[start : start + REQUESTS]
            outputs = self.llm.generate(
                [{"prompt_token_ids": ids[place]} for place, _ in part],
                [_parameters(config, ends, stream_seed(seed, "sample", numbers[p], number)) for p, number in part],
                use_tqdm=False,
            )
            replies += [self._reply(*row, output.outputs[0], config) for row, output in zip(part, outputs, strict=True)]
            if progress is not None:
                progress(len(replies), len(rows), "replies")
        return replies

    def describe(self) -> dict[str, Any]:
        """Engine with its version, dtype and name."""
        return {
            "engine": f"vllm {_vllm().__version__}",
            "policy": self.name,
            "dtype": str(_setting(self.llm, "dtype")).removeprefix("torch."),
            "logprobs_mode": _setting(self.llm, "logprobs_mode"),
        }

    def _reply(self, place: int, number: int, output: Any, config: SamplerConfig) -> Reply:
        if output.finish_reason not in ("stop", "length"):
            raise DataError(f"vLLM gave up reply {number} to prompt {place}: {output.finish_reason}")
        finished = output.finish_reason == "stop"
        token_ids = list(output.token_ids)
        text = self.tokenizer.decode(token_ids[:-1] if finished else token_ids, skip_special_tokens=True)
        is_of_sampled = _setting(self.llm, "logprobs_mode") == "processed_logprobs" or (
            config.temperature == 1 and not config.settings.is_truncated
        )
        logprob = output.cumulative_logprob if is_of_sampled else None
        return Reply(place, number, token_ids, text, finished, math.nan if logprob is None else logprob, math.nan)


def _parameters(config: SamplerConfig, ends: list[int], seed: int) -> Any:
    return _vllm().SamplingParams(
        n=1,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=-1 if config.top_k is None else config.top_k,
        max_tokens=config.max_tokens,
        stop_token_ids=ends,
        seed=seed,
        # 0: that of the drawn token alone.
        logprobs=0,
        detokenize=False,
    )


def _setting(llm: Any, name: str) -> Any:
    """From the model's configuration, which versions of vLLM keep in different places; None if it has no such thing."""
    engine = getattr(llm, "llm_engine", None)
    for holder in (llm, engine, getattr(engine, "vllm_config", None)):
        if (config := getattr(holder, "model_config", None)) is not None:
            return getattr(config, name, None)
    return None


def _vllm() -> Any:
    try:
        return import_module("vllm")
    except ImportError as error:
        raise MissingExtraError("this policy needs vllm; run: pip install 'overopt[vllm]'") from error
