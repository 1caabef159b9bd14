"""A language model that acts in sessions token by token: it goes on from its own tokens, and episodes keep them.

Unlike an actor that reads the text of the conversation again at every turn, nothing here depends on how a template or
a tokenizer would split what the policy has said. A forced opening of its first turn steers the hidden thought; the
tokens of the opening are given and not drawn, and every episode says which it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from overopt.envs.episode import Tokens
from overopt.envs.machine import STOP, has_command
from overopt.envs.session import Completion, Session
from overopt.errors import ConfigError
from overopt.policies.models import HFPolicy
from overopt.policies.turns import Drawn, TextEnd, draw_turns
from overopt.protocols import SamplerConfig
from overopt.seeding import stream
from overopt.training.episode_words import EpisodeWords


class EpisodeActor:
    """Gives the next turn of each of many sessions, with its tokens.

    Parameters
    ----------
    policy : HFPolicy
        Its tokenizer has a chat template.
    config : SamplerConfig
        ``max_tokens`` is the most of one turn.
    about : mapping, optional
        ``stage``, ``algorithm``; stored with every episode.
    opening : str
        What the first turn begins with, such as "<cot>I look for a count."; the policy goes on from there.
    """

    def __init__(
        self, policy: HFPolicy, config: SamplerConfig, *, about: Mapping[str, Any] | None = None, opening: str = ""
    ) -> None:
        self.policy, self.config, self.name, self.opening = policy, config, policy.name, opening
        self.about = dict(about or {})
        self.words = EpisodeWords(policy.model, policy.tokenizer)
        self._opening_ids = (
            tuple(
                policy.tokenizer(opening, add_special_tokens=False, split_special_tokens=True, verbose=False)[
                    "input_ids"
                ]
            )
            if opening
            else ()
        )
        if has_command(opening):
            raise ConfigError("an opening that holds a whole command leaves the policy nothing to decide")

    def describe(self) -> Mapping[str, Any]:
        """Name, engine, how it was sampled, what was said about it, and the opening as ``steer``."""
        steer = {"steer": self.opening} if self.opening else {}
        return {"name": self.name, **self.policy.describe(), "sampler": asdict(self.config), **self.about, **steer}

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[Completion]:
        """One turn a session. An episode that leaves no room for a token ends there, as cut off.

        Raises
        ------
        ConfigError
            If the policy cannot read what opens an episode.
        """
        contexts = [self._context(session) for session in sessions]
        room = [self._room(context) for context in contexts]
        found: dict[int, Completion] = {
            place: Completion("", is_cut=True) for place in range(len(sessions)) if room[place] < 1
        }
        rng = stream(seed, "turns")
        for is_first in (True, False):
            places = [
                place for place, session in enumerate(sessions)
                if room[place] >= 1 and (not session.tokens) == is_first
            ]  # fmt: skip
            opening = self.opening if is_first else ""
            text_end = self.words.command_end
            if opening:
                # A command within the thought that was opened is none.
                text_end = TextEnd(self.policy.tokenizer, STOP, lambda text: has_command(self.opening + text))
            drawn = draw_turns(
                self.policy.model,
                [contexts[place] for place in places],
                [room[place] for place in places],
                settings=self.config.settings,
                ends=self.words.ends,
                is_done=text_end,
                rng=rng,
            )
            for place, turn in zip(places, drawn, strict=True):
                found[place] = self._completion(contexts[place], turn, text_end, opening)
        return [found[place] for place in range(len(sessions))]

    def _context(self, session: Session) -> tuple[int, ...]:
        if session.tokens:
            last = session.tokens[-1]
            return (*last.prompt_ids, *last.completion_ids, *self.words.between(session.conversation))
        return (*self.words.prompt(session.conversation, session.scenario.id), *self._opening_ids)

    def _room(self, context: Sequence[int]) -> int:
        limit = self.config.max_tokens
        return limit if self.words.context is None else min(limit, self.words.context - len(context))

    def _completion(self, context: tuple[int, ...], turn: Drawn, text_end: TextEnd, opening: str) -> Completion:
        has_end = turn.token_ids[-1] in self.words.ends
        text = text_end.text(turn.token_ids[:-1] if has_end else turn.token_ids)
        tokens = Tokens(prompt_ids=context, completion_ids=turn.token_ids, logprobs=turn.logprobs)
        return Completion(opening + text, is_cut=not has_end, tokens=tokens)
