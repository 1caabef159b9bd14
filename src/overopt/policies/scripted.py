"""A policy whose replies are written down: for tests, demonstrations, and answers whose probabilities are known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from overopt.errors import ConfigError, DataError
from overopt.protocols import Progress, Prompt, Reply, SamplerConfig, prompt_text
from overopt.seeding import stream
from overopt.stats.sampling import sampler_logprobs

Answers = Mapping[str, float]
"""Replies with their probabilities, which sum to 1."""
Script = Callable[[Prompt, int, np.random.Generator], str] | Mapping[str, Answers] | Sequence[Answers]


class ScriptedPolicy:
    """Replies by a function or from given distributions, as a :class:`~overopt.protocols.Policy`.

    Parameters
    ----------
    script
        A function of the prompt, the reply's number and a generator of the reply's own; or, for each prompt, its
        replies with their probabilities: a mapping from the prompt as :func:`~overopt.protocols.prompt_text` writes
        it, or a sequence with one entry for each prompt in order.
    name
        What it is called in tables.

    Raises
    ------
    ConfigError
        If probabilities are negative or do not sum to 1.

    Notes
    -----
    A reply is drawn as if it were one token: temperature, top-k and top-p apply to the given probabilities, and
    ``logprob`` and ``entropy`` are exact for what is left. A function's replies have ``nan`` for both.
    ``max_tokens`` and ``stop`` cut nothing, as there are no tokens.

    >>> coin = ScriptedPolicy([{"heads": 0.5, "tails": 0.5}])
    >>> reply = coin.sample(["Toss!"], per_prompt=1, config=SamplerConfig(), seed=0)[0]
    >>> reply.text in ("heads", "tails"), round(reply.logprob, 3), round(reply.entropy, 3)
    (True, -0.693, 0.693)
    """

    def __init__(self, script: Script, *, name: str = "scripted") -> None:
        self.script = script
        self.name = name
        if not callable(script):
            for answers in script.values() if isinstance(script, Mapping) else script:
                _check_probabilities(answers)

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        config: SamplerConfig,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Reply]:
        """``per_prompt`` replies to each prompt, sorted; each depends on the seed, its prompt's place and its number.

        Raises
        ------
        DataError
            If the script has no replies to a prompt, or a function returns something else than a text.
        """
        replies: list[Reply] = []
        for place, prompt in enumerate(prompts):
            draw = self._drawer(place, prompt, config)
            for number in range(per_prompt):
                text, logprob, entropy = draw(number, stream(seed, "sample", place, number))
                replies.append(Reply(place, number, [], text, True, logprob, entropy))
            if progress is not None:
                progress(len(replies), len(prompts) * per_prompt, "replies")
        return replies

    def describe(self) -> dict[str, Any]:
        """Engine and whether probabilities are known."""
        return {"engine": "scripted", "policy": self.name, "has_probabilities": not callable(self.script)}

    def _drawer(
        self, place: int, prompt: Prompt, config: SamplerConfig
    ) -> Callable[[int, np.random.Generator], tuple[str, float, float]]:
        script = self.script
        if callable(script):

            def call(number: int, rng: np.random.Generator) -> tuple[str, float, float]:
                text = script(prompt, number, rng)
                if not isinstance(text, str):
                    raise DataError(f"{self.name} returned {text!r} for prompt {place}; a reply is a text")
                return text, float("nan"), float("nan")

            return call
        answers = self._answers(place, prompt)
        texts = list(answers)
        with np.errstate(divide="ignore"):
            logprob = sampler_logprobs(np.log(list(answers.values())), config.settings)
        probability = np.exp(logprob)
        possible = np.flatnonzero(probability)
        entropy = float(-(probability[possible] @ logprob[possible]))

        def choose(number: int, rng: np.random.Generator) -> tuple[str, float, float]:
            chosen = int(rng.choice(possible, p=probability[possible] / probability[possible].sum()))
            return texts[chosen], float(logprob[chosen]), entropy

        return choose

    def _answers(self, place: int, prompt: Prompt) -> Answers:
        script = self.script
        if isinstance(script, Mapping):
            text = prompt_text(prompt)
            if text not in script:
                raise DataError(f"{self.name} has no replies to prompt {place}: {text[:60]!r}")
            return script[text]
        assert not callable(script)
        if place >= len(script):
            raise DataError(f"{self.name} has replies to {len(script)} prompts; there is no entry for prompt {place}")
        return script[place]


def _check_probabilities(answers: Answers) -> None:
    values = np.array(list(answers.values()), dtype=np.float64)
    if not ((values >= 0).all() and abs(values.sum() - 1) < 1e-6):
        raise ConfigError(f"probabilities of scripted replies must be 0 or more and sum to 1; got {dict(answers)}")
