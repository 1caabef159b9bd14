"""Score replies by asking a model behind an OpenAI-compatible server, with retries, a rate limit and a cache on disk.

Every answer is counted, and kept in the cache the moment it comes: a call that fails, or is stopped, leaves its scores
there, and the same call goes on from them. A text that got no score is never given one.
"""

import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from overopt.errors import ConfigError, MissingExtraError, OveroptError
from overopt.protocols import Progress, Prompt
from overopt.rewards.judge_cache import JudgeCache
from overopt.rewards.judge_prompt import RUBRIC, check_rubric, judge_messages, read_score
from overopt.rewards.pairs import distinct_pairs
from overopt.stats.estimate import FloatArray

LONGEST_WAIT = 60.0
"""Seconds that waits between attempts grow to; a server that asks for more is given it, up to ten times as much."""


class JudgeError(OveroptError):
    """A judge gave no score: it cannot be reached, refuses, or answers something else."""

    exit_status = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Who judges, by what, and how hard it is asked."""

    model: str
    """As the server calls it. The cache knows a judge by this name, not by its address."""
    base_url: str = "https://api.openai.com/v1"
    """Of any server that speaks OpenAI's chat completions."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; servers that ask for none need none."""
    rubric: str = RUBRIC
    """What is asked, with ``{prompt}`` and ``{completion}`` once each; the form of the answer is added."""
    low: float = 1.0
    """Worst score."""
    high: float = 10.0
    """Best score."""
    temperature: float | None = 0.0
    """At least 0; ``None`` leaves it to the server, as some models demand."""
    max_tokens: int | None = 64
    """Of an answer, at least 1; a longer answer is no answer. ``None`` leaves it to the server."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as ``{"seed": 0}``."""
    attempts: int = 5
    """At most so many calls for one text, at least 1."""
    backoff: float = 1.0
    """Seconds before the second attempt, doubled for each further one unless the server names a time."""
    timeout: float = 60.0
    """Seconds for one call, above 0."""
    concurrency: int = 8
    """Calls at a time, at least 1."""
    per_minute: float | None = None
    """Most calls begun in a minute, spread evenly, retries included; above 0."""
    cache: str | Path | None = None
    """File of the cache; without one, answers last as long as the call."""

    def __post_init__(self) -> None:
        check_rubric(self.rubric)
        if not self.model:
            raise ConfigError("judge.model must name a model")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"judge.low must be below judge.high, both finite; got {self.low} and {self.high}")
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"judge.temperature must be at least 0; got {self.temperature}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"judge.max_tokens must be at least 1; got {self.max_tokens}")
        if self.attempts < 1 or self.concurrency < 1:
            raise ConfigError("judge.attempts and judge.concurrency must be at least 1")
        if not (self.timeout > 0 and math.isfinite(self.backoff) and self.backoff >= 0):
            raise ConfigError("judge.timeout must be above 0 and judge.backoff at least 0 seconds")
        if self.per_minute is not None and not self.per_minute > 0:
            raise ConfigError(f"judge.per_minute must be above 0; got {self.per_minute}")
        try:
            json.dumps(dict(self.extra))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"judge.extra must hold what JSON can say: {error}") from error

    def request(self) -> dict[str, Any]:
        """The settings of a call that can change an answer."""
        chosen = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in chosen.items() if value is not None} | dict(self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCounts:
    """What a judge has done since it was made."""

    calls: int = 0
    """Requests sent, retries included."""
    retries: int = 0
    """Of them, those for a text that had been asked before."""
    unreadable: int = 0
    """Answers that held no score."""
    cache_hits: int = 0
    """Different texts of a call whose score was in the cache."""
    prompt_tokens: int = 0
    """As the server reports them."""
    completion_tokens: int = 0


class Judge:
    """A model that is asked for scores, as a :class:`~overopt.protocols.Scorer`.

    Raises
    ------
    MissingExtraError
        If the package ``openai`` is not installed.
    StorageError
        If the cache cannot be used.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self._openai = _openai()
        self.config = config
        self.name = f"judge-{config.model}"
        self.cache = None if config.cache is None else JudgeCache(config.cache)
        self._client = self._openai.OpenAI(
            base_url=config.base_url,
            api_key=os.environ.get(config.api_key_variable) or "none",
            timeout=config.timeout,
            max_retries=0,  # retried here, where it is counted
        )
        self._lock = threading.Lock()
        self._counts = JudgeCounts()
        self._turn = 0.0

    @property
    def counts(self) -> JudgeCounts:
        """Calls, retries, cache hits and tokens so far."""
        with self._lock:
            return self._counts

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[str], *, progress: Progress | None = None
    ) -> FloatArray:
        """Scores (B,) within the scale; equal pairs are asked about once.

        Raises
        ------
        ShapeError, DataError
            If prompts and completions do not go together.
        JudgeError
            If a text gets no score. What was scored is in the cache, and no further text is asked about.
        """
        pairs = distinct_pairs(prompts, completions)
        n_pairs = len(pairs.prompts)
        keys = [self._key(*pair) for pair in zip(pairs.prompts, pairs.completions, strict=True)]
        scores = np.full(n_pairs, np.nan)
        for index, key in enumerate(keys):
            known = None if self.cache is None else self.cache.get(key)
            if known is not None:
                scores[index] = known
        open_ones = [index for index in range(n_pairs) if math.isnan(scores[index])]
        self._count(cache_hits=n_pairs - len(open_ones))
        if progress is not None and len(open_ones) < n_pairs:
            progress(n_pairs - len(open_ones), n_pairs, "texts")
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix=self.name)
        waiting: dict[Future[tuple[float, str]], int] = {}
        failure: tuple[int, JudgeError] | None = None
        try:
            queue = iter(open_ones)
            while True:
                while failure is None and len(waiting) < self.config.concurrency:
                    following = next(queue, None)
                    if following is None:
                        break
                    asked = pool.submit(self._ask, pairs.prompts[following], pairs.completions[following], stop)
                    waiting[asked] = following
                if not waiting:
                    break
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    index = waiting.pop(future)
                    try:
                        scores[index], answer = future.result()
                    except _Stopped:
                        continue
                    except JudgeError as error:
                        failure = failure or (index, error)
                        stop.set()
                        continue
                    if self.cache is not None:
                        self.cache.put(keys[index], scores[index], answer=answer, model=self.config.model)
                    if progress is not None:
                        progress(int(np.isfinite(scores).sum()), n_pairs, "texts")
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        if failure is not None:
            raise self._failed(failure, scores, pairs.place_B)
        return scores[pairs.place_B]

    def _failed(self, failure: tuple[int, JudgeError], scores: FloatArray, place_B: np.ndarray) -> JudgeError:
        index, error = failure
        n_scored = int(np.isfinite(scores).sum())
        kept = (
            f"{n_scored} of {len(scores)} texts have scores, kept in {self.cache.path}; the same call goes on there"
            if self.cache is not None
            else f"{n_scored} of {len(scores)} texts were scored; name a cache to keep them"
        )
        return JudgeError(f"{self.name} gave no score to text {int(np.argmax(place_B == index))}: {error}; {kept}")

    def _ask(self, prompt: Prompt, completion: str, stop: threading.Event) -> tuple[float, str]:
        """One score and the answer it was read from, after as many attempts as it takes."""
        config = self.config
        messages = judge_messages(config.rubric, prompt, completion, low=config.low, high=config.high)
        problem = ""
        for attempt in range(config.attempts):
            self._wait_for_turn(stop)
            self._count(calls=1, retries=int(attempt > 0))
            delay = min(config.backoff * 2**attempt, LONGEST_WAIT)
            try:
                answer, is_whole = self._answer(messages)
            except self._openai.APIStatusError as error:
                problem = f"{config.base_url} answers {error.status_code}: {_short(error.message)}"
                if error.status_code not in (408, 409, 429) and error.status_code < 500:
                    raise JudgeError(problem) from error
                delay = max(delay, _asked_for(error.response.headers.get("retry-after")))
            except self._openai.APITimeoutError:
                problem = f"{config.base_url} gave no answer within {config.timeout:g} seconds"
            except self._openai.APIConnectionError as error:
                problem = f"{config.base_url} cannot be reached ({_short(str(error.__cause__ or error))})"
            except (self._openai.OpenAIError, ValueError) as error:  # a body that is no JSON is a bare ValueError
                problem = f"{config.base_url} gives no chat completion ({_short(str(error))})"
            else:
                score = read_score(answer, low=config.low, high=config.high) if is_whole else None
                if score is not None:
                    return score, answer
                self._count(unreadable=1)
                cut = "" if is_whole else f", cut at {config.max_tokens} tokens"
                problem = f"its answer is no score from {config.low:g} to {config.high:g}{cut}: {_short(answer)!r}"
            if attempt + 1 < config.attempts and stop.wait(delay):
                raise _Stopped
        raise JudgeError(f"{problem}, {config.attempts} attempts")

    def _answer(self, messages: list[dict[str, str]]) -> tuple[str, bool]:
        """The text of one answer, and whether it came to its end."""
        response: Any = self._client.chat.completions.create(
            model=self.config.model,
            messages=messages,
            **self.config.request(),
        )
        # A server that is not what it says sends anything.
        usage = getattr(response, "usage", None)
        self._count(
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        )
        choices = getattr(response, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        content = getattr(getattr(choice, "message", None), "content", None)
        if not isinstance(content, str):
            return "", True
        return content, getattr(choice, "finish_reason", None) != "length"

    def _wait_for_turn(self, stop: threading.Event) -> None:
        """Begin no call sooner than the rate allows, nor any once another text has failed."""
        if stop.is_set():
            raise _Stopped
        if self.config.per_minute is None:
            return
        with self._lock:
            turn = max(self._turn, time.monotonic())
            self._turn = turn + 60 / self.config.per_minute
        if stop.wait(max(0.0, turn - time.monotonic())):
            raise _Stopped

    def _count(self, **more: int) -> None:
        with self._lock:
            self._counts = replace(
                self._counts, **{name: getattr(self._counts, name) + value for name, value in more.items()}
            )

    def _key(self, prompt: Prompt, completion: str) -> str:
        """What tells a question from every other one: the model, all it is told, and the settings."""
        messages = judge_messages(self.config.rubric, prompt, completion, low=self.config.low, high=self.config.high)
        parts = [self.config.model, messages, self.config.request()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Stopped(Exception):
    """Another text failed first."""


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError(
            "a judge is asked through the package openai, which is not installed; run: pip install 'overopt[api]'"
        ) from error
    return openai


def _asked_for(header: str | None) -> float:
    """Seconds a server asks to wait."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return min(seconds, 10 * LONGEST_WAIT) if seconds > 0 else 0.0


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
