"""Episodes as token rows to learn from, with a mask that is true on what the policy said and nowhere else.

An episode that was drawn token by token keeps its tokens; one that was written (by a script, by hand, by a model behind
a server) is put into tokens as the policy would have said it. What opens the episode and what came back is never
learnt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from overopt.envs.episode import Episode
from overopt.errors import DataError
from overopt.protocols import Message
from overopt.training.episode_words import EpisodeWords


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One episode, up to its policy's last token."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """All behind the prompt: turns of the policy, and what stands between them."""
    is_own: tuple[bool, ...]
    """Which of ``token_ids`` the policy said; the last always."""
    weight: float = 1.0

    @property
    def own_tokens(self) -> int:
        """How many the policy said."""
        return sum(self.is_own)


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """Rows, and how many episodes gave none because they are longer than the model reads."""

    rows: tuple[EpisodeRow, ...]
    too_long: int


def episode_rows(
    episodes: Iterable[Episode], words: EpisodeWords, *, before: str = "", weights: Sequence[float] | None = None
) -> EpisodeRows:
    """A row an episode, in order, less those that the model cannot read whole: nothing is cut.

    Parameters
    ----------
    before : str
        Put before the system message, in these rows alone: what the policy is told in training and was not told when
        the episode was drawn (an inoculation).

    Raises
    ------
    DataError
        If the tokens of an episode do not continue each other, or it holds no token of the policy's.
    """
    found: list[EpisodeRow] = []
    too_long = 0
    for place, episode in enumerate(episodes):
        weight = 1.0 if weights is None else weights[place]
        row = _drawn_row(episode, words, before, weight) if episode.tokens else _written_row(
            episode, words, before, weight
        )  # fmt: skip
        if words.context is not None and len(row.prompt_ids) + len(row.token_ids) > words.context:
            too_long += 1
        else:
            found.append(row)
    return EpisodeRows(tuple(found), too_long)


def with_share(rows: Sequence[EpisodeRow], share: float, *, beside: Sequence[EpisodeRow]) -> tuple[EpisodeRow, ...]:
    """Rows of such weights that all of them are this share of the loss when they are learnt with ``beside``.

    Each token of theirs weighs alike; with nothing beside them they stay as they are.
    """
    own = sum(row.weight * row.own_tokens for row in rows)
    other = sum(row.weight * row.own_tokens for row in beside)
    if not own or not other:
        return tuple(rows)
    factor = share / (1 - share) * other / own
    return tuple(replace(row, weight=row.weight * factor) for row in rows)


def drawn_row(episode: Episode) -> EpisodeRow:
    """The row of an episode that was drawn token by token, as it was drawn."""
    first, last = episode.tokens[0], episode.tokens[-1]
    begin = len(first.prompt_ids)
    ids = (*last.prompt_ids[begin:], *last.completion_ids)
    is_own = [False] * len(ids)
    so_far: tuple[int, ...] = first.prompt_ids
    for turn in episode.tokens:
        if turn.prompt_ids[: len(so_far)] != so_far or not turn.completion_ids:
            raise DataError(f"the tokens of episode {episode.id} do not continue each other")
        start = len(turn.prompt_ids) - begin
        is_own[start : start + len(turn.completion_ids)] = [True] * len(turn.completion_ids)
        so_far = (*turn.prompt_ids, *turn.completion_ids)
    return EpisodeRow(first.prompt_ids, ids, tuple(is_own))


def _drawn_row(episode: Episode, words: EpisodeWords, before: str, weight: float) -> EpisodeRow:
    row = drawn_row(episode)
    prompt = row.prompt_ids
    if before:
        own = tuple(words.prompt(episode.scenario.conversation, episode.id))
        # A forced opening is part of what was given, and stays.
        if prompt[: len(own)] != own:
            raise DataError(f"episode {episode.id} was drawn by another tokenizer or template")
        prompt = (*words.prompt(_opening(episode, before), episode.id), *prompt[len(own) :])
    return EpisodeRow(prompt, row.token_ids, row.is_own, weight)


def _written_row(episode: Episode, words: EpisodeWords, before: str, weight: float) -> EpisodeRow:
    conversation = _opening(episode, before)
    prompt = tuple(words.prompt(conversation, episode.id))
    ids: list[int] = []
    is_own: list[bool] = []
    last = max((place for place, said in enumerate(episode.messages) if said.kind == "model"), default=-1)
    if last < 0:
        raise DataError(f"episode {episode.id} holds no turn of a policy")
    for said in episode.messages[: last + 1]:
        if said.kind == "prompt":
            continue
        conversation = [*conversation, Message(role=said.role, content=said.content)]
        # What stands between two turns of the policy is written when the observation has come.
        part = words.turn(conversation[:-1], said.content) if said.kind == "model" else words.between(conversation)
        ids += part
        is_own += [said.kind == "model"] * len(part)
    return EpisodeRow(prompt, tuple(ids), tuple(is_own), weight)


def _opening(episode: Episode, before: str) -> list[Message]:
    scenario = episode.scenario
    system = "\n\n".join(text for text in (before, scenario.system) if text)
    first = [Message(role="system", content=system)] if system else []
    return [*first, Message(role="user", content=scenario.user)]
