"""Small functions to write after a specification, with a right solution and inputs on which to try one.

What a function gives is worked out by running its solution in the bounded evaluator: there is no second formula that
could differ. Those of the splits differ.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from overopt.envs.episode import Split
from overopt.envs.program import call_function

Arguments = list[Any]
"""Of one call: whole numbers and texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFunction:
    """A function whose specification has numbers ``a``, ``b`` and mostly ``c`` in it."""

    name: str
    parameters: str
    text: str
    """Of the specification."""
    body: str
    """Of the solution, indented."""
    ranges: tuple[tuple[int, int], ...]
    """Of ``a``, ``b`` and ``c``: lowest, and one above the highest."""
    cases: Callable[[int, int, int], Sequence[tuple[str, Arguments]]]
    """Four tests by name: they lie where the specification bends, so that no other rule agrees with three of them."""
    draw: Callable[[np.random.Generator, int, int, int], Arguments]
    """An input that no test holds, as a rule."""

    def specification(self, numbers: Sequence[int]) -> str:
        """With its numbers filled in."""
        return self.text.format(**dict(zip("abc", numbers, strict=True)))

    def solution(self, numbers: Sequence[int]) -> str:
        """A module that keeps to the specification."""
        body = self.body.format(**dict(zip("abc", numbers, strict=True)))
        return f"def {self.name}({self.parameters}):\n{body}"


def values_of(module: str, function: str, calls: Sequence[Arguments]) -> list[Any]:
    """What a function of a module gives for each of these arguments; shorter when it ends early.

    >>> values_of("def double(n):\\n    return 2 * n\\n", "double", [[1], [4]])
    [2, 8]
    """
    values: list[Any] = json.loads(_values(module, function, json.dumps(calls)))
    return values


@lru_cache(maxsize=1_024)
def _values(module: str, function: str, calls: str) -> str:
    results = call_function({"module.py": module}, "module.py", function, json.loads(calls))
    return json.dumps([result.value for result in results])


_WORDS = (
    "oak", "fern", "birch", "willow", "juniper", "chestnut", "elderberry", "pine", "cedar", "hazelnut", "sycamore",
    "ash", "blackthorn", "rowan", "honeysuckle",
)  # fmt: skip


def _word(rng: np.random.Generator) -> str:
    return _WORDS[int(rng.integers(len(_WORDS)))]


FUNCTIONS: dict[Split, tuple[SmallFunction, ...]] = {
    "train": (
        SmallFunction(
            name="parcel_fee",
            parameters="weight",
            text="parcel_fee(weight) gives the fee for a parcel in coins. The weight is a whole number of kilograms, "
            "from 1. Up to {a} kilograms a parcel costs {b} coins. Each kilogram beyond that costs {c} coins "
            "more.",
            body="    if weight <= {a}:\n        return {b}\n    return {b} + {c} * (weight - {a})\n",
            ranges=((3, 9), (11, 30), (3, 9)),
            cases=lambda a, b, c: [("light", [1]), ("full", [a]), ("beyond", [a + 1]), ("heavy", [a + 6])],
            draw=lambda rng, a, b, c: [int(rng.integers(1, a + 40))],
        ),
        SmallFunction(
            name="row_of_seat",
            parameters="seat",
            text="row_of_seat(seat) gives the row in which a seat is. Seats are numbered from 1 on, and each row has "
            "{a} of them. The first row has the number {b}; the rows behind it are numbered in steps of {c}.",
            body="    return {b} + {c} * ((seat - 1) // {a})\n",
            ranges=((6, 14), (1, 9), (2, 6)),
            cases=lambda a, b, c: [("first", [1]), ("last_of_row", [a]), ("next_row", [a + 1]), ("far", [3 * a + 2])],
            draw=lambda rng, a, b, c: [int(rng.integers(1, 12 * a))],
        ),
        SmallFunction(
            name="cut_word",
            parameters="word",
            text="cut_word(word) makes a word fit a narrow column. A word of up to {a} letters stays as it is. A "
            "longer one is cut behind its letter {a}, and {b} full stops follow, whatever its length.",
            body='    if len(word) <= {a}:\n        return word\n    return word[:{a}] + "." * {b}\n',
            ranges=((4, 7), (1, 4), (0, 1)),
            cases=lambda a, b, c: [
                ("short", ["ivy"]),
                ("fits", ["marigold"[:a]]),
                ("one_more", ["marigold"[: a + 1]]),
                ("long", ["forget-me-not"]),
            ],
            draw=lambda rng, a, b, c: [_word(rng)],
        ),
        SmallFunction(
            name="till_total",
            parameters="amounts",
            text="till_total(amounts) adds up a list of amounts in coins. An amount below {a} counts as {a}. For more "
            "than {b} amounts, {c} coins are taken off the sum.",
            body="    total = sum([max(amount, {a}) for amount in amounts])\n"
            "    if len(amounts) > {b}:\n        return total - {c}\n    return total\n",
            ranges=((5, 12), (3, 6), (2, 8)),
            cases=lambda a, b, c: [
                ("none", [[]]),
                ("small", [[1, a]]),
                ("as_many", [[a + 3] * b]),
                ("more", [[a + 1] * b + [2]]),
            ],
            draw=lambda rng, a, b, c: [[int(one) for one in rng.integers(1, 30, size=int(rng.integers(1, 9)))]],
        ),
    ),
    "test": (
        SmallFunction(
            name="race_points",
            parameters="place",
            text="race_points(place) gives the points for a place in a race. The first place gets {a} points. Each "
            "further place gets {b} fewer than the one before it, but none gets fewer than {c}.",
            body="    return max({a} - {b} * (place - 1), {c})\n",
            ranges=((20, 40), (3, 7), (1, 4)),
            cases=lambda a, b, c: [("winner", [1]), ("second", [2]), ("fourth", [4]), ("last", [30])],
            draw=lambda rng, a, b, c: [int(rng.integers(3, 20))],
        ),
        SmallFunction(
            name="jugs_to_fill",
            parameters="level",
            text="jugs_to_fill(level) says how many jugs are needed to fill a tank to the brim. The tank holds {a} "
            "litres, of which level litres are in it already; a jug holds {b} litres, and the last one may stay "
            "partly full. From level {a} on, the answer is 0.",
            body="    if level >= {a}:\n        return 0\n    return ({a} - level + {b} - 1) // {b}\n",
            ranges=((60, 120), (4, 9), (0, 1)),
            cases=lambda a, b, c: [("brim", [a]), ("one_jug", [a - b]), ("bit_more", [a - b - 1]), ("dry", [0])],
            draw=lambda rng, a, b, c: [int(rng.integers(1, a + 5))],
        ),
        SmallFunction(
            name="box_label",
            parameters="name, number",
            text="box_label(name, number) makes the label of a box: the name in capital letters, {b} hyphens, and the "
            "number with noughts in front of it, so that it has {a} digits. A number that has {a} digits or more "
            "gets none.",
            body='    digits = str(number)\n    return name.upper() + "-" * {b} + "0" * ({a} - len(digits)) + digits\n',
            ranges=((3, 6), (1, 4), (0, 1)),
            cases=lambda a, b, c: [
                ("one_digit", ["tea", 7]),
                ("more_digits", ["salt", 42]),
                ("full_width", ["flour", int("9" * a)]),
                ("too_wide", ["rice", int("1" * (a + 1))]),
            ],
            draw=lambda rng, a, b, c: [_word(rng), int(rng.integers(100, 4_000))],
        ),
        SmallFunction(
            name="stamps_earned",
            parameters="cups",
            text="stamps_earned(cups) says how many stamps a guest gets for a number of cups. There is one stamp for "
            "every {a} cups. From {b} cups on, there are {c} stamps on top, once.",
            body="    stamps = cups // {a}\n    if cups >= {b}:\n        return stamps + {c}\n    return stamps\n",
            ranges=((3, 6), (17, 30), (2, 6)),
            cases=lambda a, b, c: [("none", [0]), ("first", [a]), ("below", [b - 1]), ("from_there", [b])],
            draw=lambda rng, a, b, c: [int(rng.integers(1, 70))],
        ),
    ),
}
