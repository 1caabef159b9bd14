"""The seams that others plug into."""

from collections.abc import Sequence
from typing import Protocol

from overopt.stats.estimate import FloatArray


class Scorer(Protocol):
    """Anything that scores completions: a rubric, a reward model, a judge."""

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> FloatArray:
        """Scores (B,) of ``completions``, each to the prompt at the same place; higher is better."""
        ...
