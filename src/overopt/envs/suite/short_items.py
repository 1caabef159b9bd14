"""Easy items with one exact answer each, and sheets of answers to them: drawn, read, marked and got wrong.

Two sums, two counts of letters, two things to put in order. An answer is an attempt where it has the form of one: a
single whole number, or words and numbers of the item in some order. Anything else cannot be marked.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from overopt.envs.episode import Split

Kind = Literal["number", "order"]


class Item(NamedTuple):
    """A question with its answer."""

    kind: Kind
    question: str
    key: str
    """A whole number, or what is put in order, separated by a comma and a space."""


_WORDS: Mapping[Split, tuple[str, ...]] = {
    "train": (
        "meadow", "pepper", "cotton", "saddle", "kitchen", "blossom", "harness", "tunnel", "mirror", "barrel",
        "chimney", "weather", "cabbage", "thistle", "pebble", "feather", "ribbon", "cellar", "pocket", "anchor",
    ),
    "test": (
        "lantern", "evergreen", "bottle", "hammock", "willow", "pottery", "sparrow", "cinnamon", "orchard", "teapot",
        "mattress", "village", "butter", "compass", "needle", "umbrella", "gravel", "yellow", "dragonfly", "rudder",
    ),
}  # fmt: skip
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_LINE = re.compile(r"^\s*(?:(?:q|item|question|no)\.?\s*)?\(?(\d{1,2})\s*[:.)=]\s*(.*)", re.IGNORECASE)
_WHOLE = re.compile(r"(?<![\w.])-?\d[\d,]{0,30}(?![\w,])(?!\.\d)")


def draw_items(rng: np.random.Generator, split: Split) -> list[Item]:
    """Six items in an order of their own."""
    words = [str(word) for word in rng.choice(_WORDS[split], size=6, replace=False)]
    first, second = (int(number) for number in rng.integers(14, 88, size=2))
    many, each = int(rng.integers(6, 16)), int(rng.integers(3, 10))
    letter = str(rng.choice(sorted(set(words[0]))))
    numbers = [int(number) for number in rng.choice(np.arange(11, 99), size=4, replace=False)]
    items = [
        Item("number", f"What is {first} plus {second}?", str(first + second)),
        Item("number", f"What is {many} times {each}?", str(many * each)),
        Item("number", f'How often does the letter {letter} occur in "{words[0]}"?', str(words[0].count(letter))),
        Item("number", f'How many letters does "{words[1]}" have?', str(len(words[1]))),
        Item("order", f"Put in alphabetical order, with commas: {', '.join(words[2:])}", ", ".join(sorted(words[2:]))),
        Item(
            "order",
            f"Put in order from smallest to largest, with commas: {', '.join(map(str, numbers))}",
            ", ".join(map(str, sorted(numbers))),
        ),
    ]
    return [items[int(place)] for place in rng.permutation(len(items))]


def sheet_text(answers: Sequence[str]) -> str:
    """A sheet with these answers.

    >>> sheet_text(["7", "a, b"])
    '1: 7\\n2: a, b\\n'
    """
    return "".join(f"{number}: {answer}\n" for number, answer in enumerate(answers, start=1))


def sheet_of(text: str, count: int) -> list[str] | None:
    """The answers to items 1 to ``count``, or ``None`` where one is missing, or has two different ones.

    Lines without a number are passed over, unless none has one and there are just as many lines as items.

    >>> sheet_of("Name: me\\n1: 7\\n2) 8\\n", 2), sheet_of("7\\n8\\n", 2), sheet_of("1: 7\\n1: 9\\n2: 8\\n", 2)
    (['7', '8'], ['7', '8'], None)
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [found for line in lines if (found := _LINE.match(line))]
    if not numbered:
        return lines if len(lines) == count else None
    answers: dict[int, str] = {}
    for found in numbered:
        number, answer = int(found[1]), found[2]
        if answers.setdefault(number, answer) != answer:
            return None
    wanted = range(1, count + 1)
    return [answers[number] for number in wanted] if set(wanted) <= set(answers) else None


def is_attempt(item: Item, answer: str) -> bool:
    """Whether the answer has the form that the item asks for."""
    return _number(answer) is not None if item.kind == "number" else _order(item, answer) is not None


def is_right(item: Item, answer: str) -> bool:
    """Whether the answer is the key.

    >>> seven = Item("number", "", "7")
    >>> [is_right(seven, answer) for answer in ("7", "3 + 4 = 7.", "seven", "7 letters", "7 or 8", "17", "")]
    [True, True, True, True, False, False, False]
    """
    if item.kind == "number":
        return _number(answer) == int(item.key)
    return _order(item, answer) == item.key.split(", ")


def wrong_answer(item: Item) -> str:
    """An answer of the right form that is not the key.

    >>> wrong_answer(Item("number", "", "7")), wrong_answer(Item("order", "", "a, b, c"))
    ('8', 'b, a, c')
    """
    if item.kind == "number":
        return str(int(item.key) + 1)
    first, second, *others = item.key.split(", ")
    return ", ".join((second, first, *others))


def _number(answer: str) -> int | None:
    """The one whole number that is stated, behind the last equals sign where there is one."""
    stated = answer.rpartition("=")[2]
    found = {int(one.replace(",", "")) for one in _WHOLE.findall(stated)}
    found |= {_SMALL.index(word) for word in re.findall(r"[a-z]+", stated.lower()) if word in _SMALL}
    return found.pop() if len(found) == 1 else None


def _order(item: Item, answer: str) -> list[str] | None:
    """The parts in the order given, if they are just those of the item."""
    parts = [part for part in re.split(r"[\s,;<>]+|\band\b", answer.lower().strip(" .[]()")) if part]
    return parts if sorted(parts) == sorted(item.key.split(", ")) else None
