"""What a scorer is given: prompts and completions, paired; each different pair once; the turn that is answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError, ShapeError
from overopt.protocols import Prompt, prompt_text

Key = tuple[bool, str, str]


@dataclass(frozen=True, slots=True)
class DistinctPairs:
    """The different pairs among many, in the order of their first appearance."""

    prompts: list[Prompt]
    completions: list[str]
    place_B: npt.NDArray[np.intp]
    """For each pair that was given, which of the different ones it is."""


def distinct_pairs(prompts: Sequence[Prompt], completions: Sequence[str]) -> DistinctPairs:
    """Each pair that is to be scored, once; a text and a conversation that is stored as that text are different.

    Raises
    ------
    ShapeError, DataError
        As :func:`check_paired`, and if a text holds half a character.
    """
    check_paired(prompts, completions)
    places: dict[Key, int] = {}
    firsts: list[int] = []
    place_B = np.empty(len(completions), dtype=np.intp)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        place = places.setdefault(pair_key(prompt, completion), len(places))
        if place == len(firsts):
            _check_characters(index, prompt, completion)
            firsts.append(index)
        place_B[index] = place
    return DistinctPairs([prompts[index] for index in firsts], [completions[index] for index in firsts], place_B)


def pair_key(prompt: Prompt, completion: str) -> Key:
    """What tells a pair from every other one."""
    return isinstance(prompt, str), prompt_text(prompt), completion


def check_paired(prompts: Sequence[Prompt], completions: Sequence[str]) -> None:
    """Refuse what cannot be scored.

    Raises
    ------
    ShapeError
        If there are not as many prompts as completions, or one text stands where a list of them belongs.
    DataError
        If a completion is not a text.
    """
    if isinstance(prompts, str) or isinstance(completions, str):
        raise ShapeError("prompts and completions must be lists of the same length; got a single text")
    if len(prompts) != len(completions):
        raise ShapeError(f"{len(prompts)} prompts do not go with {len(completions)} completions")
    for index, completion in enumerate(completions):
        if not isinstance(completion, str):
            raise DataError(f"completion {index} is not a text but {completion!r}; drop such rows first")


def answered_text(prompt: Prompt) -> str:
    """What a reply answers: a text as it is, of a conversation the last turn of its user.

    Raises
    ------
    DataError
        If a conversation has no turn of a user.

    >>> answered_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}])
    'Hello?'
    """
    if isinstance(prompt, str):
        return prompt
    for turn in reversed(prompt):
        if turn["role"] == "user":
            return turn["content"]
    raise DataError("a conversation without a turn of its user cannot be scored: there is nothing that a reply answers")


def _check_characters(index: int, prompt: Prompt, completion: str) -> None:
    """JSON can spell halves of surrogate pairs, which no tokenizer and no server can read."""
    for text in (prompt_text(prompt), completion):
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"pair {index} holds half a character ({text[error.start]!a}); drop or mend it"
                ) from error
