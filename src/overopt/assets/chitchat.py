"""Real human conversations: prompts of two turns and the reply that followed, split by conversation.

The data are the 7,168 conversations of the PyPI package ``chitchat-dataset`` (MIT; BYU PCC lab). A prompt is the
last two turns, one a line, each ended by a newline; the completion is the next turn. What is left out, and counted:
conversations that repeat another one word for word, and exchanges in which somebody held a key down ("a a a a a a").
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from overopt.errors import DataError, MissingExtraError

Split = Literal["train", "preference", "evaluation"]
SPLIT_PERCENT: dict[Split, int] = {"train": 80, "preference": 10, "evaluation": 10}
"""Share of conversations: base models; preference pairs and RL prompts; held-out loss and every measurement."""

TURNS_PER_PROMPT = 2


@dataclass(frozen=True, slots=True)
class Exchange:
    """Two turns and the human reply to them."""

    conversation: str
    """Identity of the conversation: a hash of its text."""
    prompt: str
    """The two turns, each ended by a newline."""
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanges:
    """The exchanges of one split, in the order of the data set, and what was left out."""

    rows: list[Exchange]
    conversations: int
    duplicates: int
    """Conversations dropped because an earlier one has the same words."""
    held_keys: int
    """Exchanges dropped because a turn says one thing over and over."""


def load_conversations() -> list[list[str]]:
    """All conversations as lists of turns; the messages that one person sends in a row are one turn.

    Raises
    ------
    MissingExtraError
        If the package ``chitchat-dataset`` is not installed.
    DataError
        If its file cannot be read as the format of version 0.9.0.
    """
    try:
        import chitchat_dataset
    except ImportError as error:
        raise MissingExtraError(
            "the conversations come from the package chitchat-dataset, which is not installed; "
            "run: pip install 'overopt[models]'"
        ) from error
    path = Path(chitchat_dataset.__file__).parent / "dataset.json"
    try:
        conversations = json.loads(path.read_text(encoding="utf-8"))
        turns = [
            [" ".join(" ".join(message["text"] for message in turn).split()) for turn in conversation["messages"]]
            for conversation in conversations.values()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the data of chitchat-dataset 0.9.0: {error!r}; reinstall the package"
        ) from error
    return [[turn for turn in conversation if turn] for conversation in turns]


def split_of(conversation: Sequence[str]) -> Split:
    """The split of a conversation: a function of its text, so that equal conversations never part.

    >>> split_of(["Hello?", "Hi!"]) == split_of(["Hello?", "Hi!"])
    True
    """
    position = int(_identity(conversation)[:8], 16) % 100
    for split, percent in SPLIT_PERCENT.items():
        if position < percent:
            return split
        position -= percent
    raise AssertionError("the shares of SPLIT_PERCENT do not sum to 100")


def exchanges(conversations: Sequence[Sequence[str]], split: Split) -> Exchanges:
    """Every run of three turns in the conversations of ``split``: a two-turn prompt and its reply.

    Raises
    ------
    DataError
        If no conversation of that split has three turns.
    """
    rows: list[Exchange] = []
    seen: set[str] = set()
    duplicates = held_keys = 0
    for conversation in conversations:
        if len(conversation) <= TURNS_PER_PROMPT or split_of(conversation) != split:
            continue
        identity = _identity(conversation)
        if identity in seen:
            duplicates += 1
            continue
        seen.add(identity)
        for end in range(TURNS_PER_PROMPT, len(conversation)):
            window = conversation[end - TURNS_PER_PROMPT : end + 1]
            if any(is_held_key(turn) for turn in window):
                held_keys += 1
                continue
            prompt = "".join(f"{turn}\n" for turn in window[:-1])
            rows.append(Exchange(conversation=identity, prompt=prompt, reply=window[-1]))
    if not rows:
        raise DataError(f"no conversation of the {split} split has more than {TURNS_PER_PROMPT} turns")
    return Exchanges(rows=rows, conversations=len(seen), duplicates=duplicates, held_keys=held_keys)


def is_held_key(turn: str) -> bool:
    """Whether a turn of six or more words uses fewer than a third as many different ones.

    >>> is_held_key("a a a a a a a a"), is_held_key("no no, that is not what I said")
    (True, False)
    """
    words = turn.lower().split()
    return len(words) >= 6 and 3 * len(set(words)) < len(words)


def _identity(conversation: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(conversation).encode()).hexdigest()[:16]
