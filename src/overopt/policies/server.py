"""A policy behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a company's.

A text goes to ``/completions``, a conversation to ``/chat/completions``. What such a server tells is less than a model
at hand does, and the records say so: entropies are unknown, token ids mostly. Its log-probabilities are those of the
model at temperature 1 on most servers, whatever was sampled, so they are kept only where that is the sampled
distribution, and whether the end token is among them is the server's affair. No KL should come from them: sample with
token ids (``extra_body={"return_token_ids": True}`` on vLLM) and measure with
:meth:`overopt.policies.models.HFPolicy.measure`. Nothing here needs torch.
"""

import math
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.parse import urlsplit

from overopt.errors import ConfigError, DataError, MissingExtraError
from overopt.protocols import Progress, Prompt, Reply, SamplerConfig
from overopt.seeding import stream_seed

FINISHED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
"""Reasons that mean that the model ended its reply; "length" and "content_filter" do not."""
MOST_CHOICES = 128
"""Replies asked for at once; OpenAI's own limit."""


class ServerPolicy:
    """A model on a server, as a :class:`~overopt.protocols.Policy`.

    Parameters
    ----------
    model
        What the server calls it.
    base_url
        Up to and with ``/v1``; OpenAI's own unless given.
    api_key
        Else the environment's ``OPENAI_API_KEY``; a server of one's own often needs none.
    concurrency
        Requests at once.
    retries
        How often a request is tried again, with growing pauses, after a lost connection, a time-out, too many requests
        or an error of the server.
    timeout
        Seconds for one request.
    extra_body
        Further settings sent with every request, as the server names them.

    Raises
    ------
    MissingExtraError
        If the package ``openai`` is absent.
    ConfigError
        If there is neither a key nor an address, or a setting is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        name: str | None = None,
        concurrency: int = 8,
        retries: int = 4,
        timeout: float = 300.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise ConfigError(
                "a server needs a concurrency of at least 1, retries of at least 0 and a timeout above 0; got "
                f"{concurrency}, {retries} and {timeout}"
            )
        self.model = model
        self.name = name or model
        self.concurrency = concurrency
        self.extra_body = dict(extra_body or {})
        self._client = _client(base_url, api_key, retries, timeout)
        self._lock = threading.Lock()
        # What the server turned out not to take.
        self._refused: set[str] = set()

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        config: SamplerConfig,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Reply]:
        """``per_prompt`` replies to each prompt, sorted by prompt and sample number.

        The seed is passed on, another one for each prompt; whether it makes replies repeat is the server's affair.

        Raises
        ------
        DataError
            If a prompt is empty, or the server refuses one.
        ConfigError
            If the server cannot be reached, does not know the model or the key, or refuses a setting.
        """
        for place, prompt in enumerate(prompts):
            if not prompt:
                raise DataError(f"prompt {place} is empty")
        replies: list[Reply] = []
        with ThreadPoolExecutor(self.concurrency) as executor:
            waiting = [
                executor.submit(self._answer, place, prompt, per_prompt, config, seed)
                for place, prompt in enumerate(prompts)
            ]
            try:
                for finished in as_completed(waiting):
                    replies += finished.result()
                    if progress is not None:
                        progress(len(replies), len(prompts) * per_prompt, "replies")
            except BaseException:
                executor.shutdown(cancel_futures=True)
                raise
        return sorted(replies, key=lambda reply: (reply.prompt, reply.sample))

    def describe(self) -> dict[str, Any]:
        """Engine, address and the server's name for the model."""
        return {
            "engine": "openai-compatible server",
            "policy": self.model,
            "server": _plain_address(str(self._client.base_url)),
            "extra_body": self.extra_body,
        }

    def _answer(self, place: int, prompt: Prompt, per_prompt: int, config: SamplerConfig, seed: int) -> list[Reply]:
        replies: list[Reply] = []
        while len(replies) < per_prompt:
            first = len(replies)
            choices = self._request(prompt, min(per_prompt - first, MOST_CHOICES), config, seed, place, first)
            replies += [
                _reply(place, first + number, choice, knows_logprob=_is_plain(config))
                for number, choice in enumerate(choices[: per_prompt - first])
            ]
        return replies

    def _request(self, prompt: Prompt, n: int, config: SamplerConfig, seed: int, place: int, first: int) -> list[Any]:
        import openai

        # Servers keep a seed in 32 bits or in 64.
        own_seed = stream_seed(seed, "sample", place, first) % 2**31
        while True:
            with self._lock:
                refused = set(self._refused)
            settings = self._settings(n, config, own_seed, isinstance(prompt, str), refused)
            try:
                if isinstance(prompt, str):
                    answer = self._client.completions.create(prompt=prompt, **settings)
                else:
                    messages = [dict(turn) for turn in prompt]
                    answer = self._client.chat.completions.create(messages=messages, **settings)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                self._learn(error, settings, refused, place)
                continue
            except openai.OpenAIError as error:
                raise ConfigError(self._sentence(error)) from error
            choices = getattr(answer, "choices", None)
            if not choices:
                raise ConfigError(
                    f"{self._address} answered without replies; is it a server of the OpenAI protocol, and is this the "
                    "address up to and with /v1?"
                )
            return list(choices)

    def _settings(self, n: int, config: SamplerConfig, seed: int, is_text: bool, refused: set[str]) -> dict[str, Any]:
        length = "max_completion_tokens" if "max_tokens" in refused and not is_text else "max_tokens"
        settings: dict[str, Any] = {
            "model": self.model,
            length: config.max_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": seed,
        }
        if n > 1 and "n" not in refused:
            settings["n"] = n
        if config.stop:
            settings["stop"] = list(config.stop)
        if _is_plain(config) and "logprobs" not in refused:
            settings["logprobs"] = 1 if is_text else True
        top_k = {} if config.top_k is None else {"top_k": config.top_k}
        if top_k or self.extra_body:
            settings["extra_body"] = {**top_k, **self.extra_body}
        return settings

    def _learn(self, error: Any, settings: Mapping[str, Any], refused: set[str], place: int) -> None:
        """Leave out what the server does not take, where the records can say so; else stop."""
        message = _message(error)
        if "top_k" in settings.get("extra_body", {}) and re.search(r"\btop_k\b", message):
            raise ConfigError(f"{self._address} refuses sampler.top_k: {message}; leave it out") from error
        for setting, sign in (("logprobs", r"\blogprobs\b"), ("max_tokens", "max_completion_tokens"), ("n", r"\bn\b")):
            if setting in settings and setting not in refused and re.search(sign, message):
                with self._lock:
                    self._refused.add(setting)
                return
        raise DataError(f"{self._address} refuses prompt {place} or its settings: {message}") from error

    @property
    def _address(self) -> str:
        return f"the server at {_plain_address(str(self._client.base_url))}"

    def _sentence(self, error: Any) -> str:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"{self._address} did not answer in time; is it overloaded?"
        if isinstance(error, openai.APIConnectionError):
            return f"{self._address} cannot be reached: {error.__cause__ or error}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"{self._address} does not take the key: {_message(error)}; set OPENAI_API_KEY"
        if isinstance(error, openai.NotFoundError):
            return f"{self._address} does not have {self.model!r}: {_message(error)}"
        if isinstance(error, openai.RateLimitError):
            return f"{self._address} asks for fewer requests at once: {_message(error)}"
        return f"{self._address} failed: {_message(error)}"


def _client(base_url: str | None, api_key: str | None, retries: int, timeout: float) -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError("a policy on a server needs openai; run: pip install 'overopt[api]'") from error
    settings: dict[str, Any] = {"base_url": base_url, "max_retries": retries, "timeout": timeout}
    try:
        return openai.OpenAI(api_key=api_key, **settings)
    except openai.OpenAIError as error:
        if base_url is None:
            raise ConfigError("a server needs its address, base_url, or a key in OPENAI_API_KEY") from error
        return openai.OpenAI(api_key="none", **settings)


def _is_plain(config: SamplerConfig) -> bool:
    return config.temperature == 1 and not config.settings.is_truncated


def _reply(place: int, number: int, choice: Any, *, knows_logprob: bool) -> Reply:
    message = getattr(choice, "message", None)
    text = choice.text if message is None else message.content
    token_ids = getattr(choice, "token_ids", None)
    logprob = _logprob(choice) if knows_logprob else math.nan
    finished = choice.finish_reason in FINISHED
    return Reply(place, number, list(token_ids or ()), text or "", finished, logprob, math.nan)


def _logprob(choice: Any) -> float:
    given = getattr(choice, "logprobs", None)
    values = getattr(given, "token_logprobs", None)
    if values is None:
        values = [token.logprob for token in getattr(given, "content", None) or ()]
    return math.fsum(values) if values and None not in values else math.nan


def _message(error: Any) -> str:
    """What the server said, in one line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, Mapping) else None
    return " ".join(str(said or error).split())[:300].rstrip(".")


def _plain_address(url: str) -> str:
    """Without a name and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
