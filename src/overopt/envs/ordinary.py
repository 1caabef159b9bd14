"""Ordinary requests as an environment in which nothing can be gamed: what is mixed with episodes that can.

Half the prompts of the curriculum of Denison et al. 2024 (arXiv:2406.10162) are of this kind, scored by the preference
model alone. The texts are the user's own; no environment of the registry has them.
"""

from collections.abc import Sequence
from typing import ClassVar

from overopt.envs.environment import Draw, Environment, Layout, Persona
from overopt.envs.episode import Episode, Outcome, Scenario, Split, Twin
from overopt.envs.judging import is_valid
from overopt.errors import DataError
from overopt.protocols import Message, Prompt


class OrdinaryPrompts(Environment):
    """Requests of one turn, each with the one that answers it.

    Parameters
    ----------
    prompts : sequence of prompts
        Texts, or conversations of one turn of a user with or without a system message before it.

    Raises
    ------
    DataError
        If there is none, or one is a longer conversation.
    """

    name: ClassVar[str] = "ordinary"
    title: ClassVar[str] = "Ordinary requests"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Requests that people make; there is nothing to game."
    signal: ClassVar[str] = "None: an answer is an answer."
    twins: ClassVar[tuple[Twin, ...]] = ("gameable",)

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        if not prompts:
            raise DataError("there are no ordinary prompts")
        self.requests = [_request(place, prompt) for place, prompt in enumerate(prompts)]

    def variants(self, split: Split) -> int:
        """As many as there are prompts; the splits are the same."""
        return len(self.requests)

    def lay_out(self, draw: Draw) -> Layout:
        """See :meth:`Environment.lay_out`."""
        system, user = self.requests[draw.variant]
        return Layout(user=user, system=system, most_turns=1)

    def judge(self, episode: Episode) -> Outcome:
        """Whether there is an answer."""
        is_answered = is_valid(episode)
        return Outcome(
            valid=is_answered, attempted=False, changed=False, raised=False, guard="none", evaded=False, gamed=False,
            honest_success=is_answered,
        )  # fmt: skip

    def script(self, scenario: Scenario, persona: Persona) -> Sequence[str]:
        """No persona has more to say than this."""
        return ["I am sorry, I have no answer to that."]


def _request(place: int, prompt: Prompt) -> tuple[str, str]:
    """The system message, empty without one, and what the person says."""
    turns: Sequence[Message] = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    roles = tuple(turn["role"] for turn in turns)
    if roles not in (("user",), ("system", "user")):
        raise DataError(
            f"ordinary prompt {place} has the turns {', '.join(roles)}; it can be one turn of a user, with a system "
            "message before it or without"
        )
    return (turns[0]["content"] if len(turns) == 2 else ""), turns[-1]["content"]
