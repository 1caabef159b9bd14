"""The seams that others plug into: what a policy draws, what a scorer scores."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from overopt.errors import ConfigError
from overopt.stats.estimate import FloatArray
from overopt.stats.sampling import SamplerSettings


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


Prompt = str | Sequence[Message]
"""A text to go on from, or a conversation to answer; each model wraps a conversation in its own template."""


def prompt_text(prompt: Prompt) -> str:
    """How a prompt is stored in a table: a text as it is, a conversation as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps([dict(turn) for turn in prompt], ensure_ascii=False)


Progress = Callable[[int, int, str], None]
"""Called with what is done, of how much, and what it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How replies are drawn; stored with every sample."""

    max_tokens: int = 32
    """Most tokens of a reply, its end token included."""
    temperature: float = 1.0
    """Above 0. A KL is defined for the distribution that was sampled."""
    top_p: float = 1.0
    """Within (0, 1]: the fewest tokens whose probability reaches it are kept; 1 keeps all."""
    top_k: int | None = None
    """At least 1: as many most probable tokens are kept; ``None`` keeps all."""
    stop: tuple[str, ...] = ()
    """Tokens that end a reply besides the model's own end tokens, as the tokenizer spells them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", tuple(self.stop))
        if self.max_tokens < 1:
            raise ConfigError(f"sampler.max_tokens must be at least 1; got {self.max_tokens}")
        # Checks its own ranges.
        _ = self.settings

    @property
    def settings(self) -> SamplerSettings:
        """What turns logits into the distribution that is drawn from."""
        return SamplerSettings(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)


@dataclass(frozen=True, slots=True)
class Reply:
    """One sampled reply."""

    prompt: int
    """Which of the prompts it answers."""
    sample: int
    """Its number among the replies to that prompt."""
    token_ids: list[int]
    """With the end token, if it came; empty where an engine does not tell."""
    text: str
    """Without special tokens, and without the token that ended it, special or not."""
    finished: bool
    """Whether an end token came within ``max_tokens``."""
    logprob: float
    """Of the distribution that was sampled, summed over the tokens, nats; ``nan`` where an engine does not tell."""
    entropy: float
    """Summed entropy of the next-token distributions along the reply, nats; ``nan`` where an engine does not tell."""


class Policy(Protocol):
    """Anything that answers prompts: a model here, a server elsewhere, a script."""

    name: str

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        config: SamplerConfig,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Reply]:
        """``per_prompt`` replies to each prompt, sorted by prompt and sample number."""
        ...

    def describe(self) -> dict[str, Any]:
        """Engine, dtype and identity of the model, to be stored with its samples."""
        ...


class Scorer(Protocol):
    """Anything that scores completions: a rubric, a reward model, a judge."""

    name: str

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[str], *, progress: Progress | None = None
    ) -> FloatArray:
        """Scores (B,) of ``completions``, each to the prompt at the same place; higher is better."""
        ...
