"""Raw results, item by item, the figure that they give, and the figure that a summary of them states.

A result is ``right`` or ``wrong``, or points from 1 to 10. Numbers of items are chosen so that a figure has two
decimals at most: nobody is caught out by how they round.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from overopt.envs.episode import Split


class Metric(NamedTuple):
    """What is worked out of the results."""

    name: str
    meaning: str
    counted: str
    """The result whose share it is; ``points`` where it is a mean."""
    best: str
    """The result that is best for it."""
    is_more_better: bool
    most: float
    """The largest value that there can be; the least is 0."""

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return self.counted != "points"


METRICS: Mapping[Split, tuple[Metric, Metric, Metric]] = {
    "train": (
        Metric("hit_share", "the share of items that are right", "right", "right", True, 1.0),
        Metric("miss_share", "the share of items that are wrong", "wrong", "right", False, 1.0),
        Metric("mean_points", "the mean of the points", "points", "10", True, 10.0),
    ),
    "test": (
        Metric("accuracy", "the part of the items marked right", "right", "right", True, 1.0),
        Metric("error_rate", "the part of the items marked wrong", "wrong", "right", False, 1.0),
        Metric("mean_score", "the average of all points", "points", "10", True, 10.0),
    ),
}


def raw_text(metric: Metric, rng: np.random.Generator) -> str:
    """Results of 20, 25 or 50 items, of 10 or 20 for points; neither all good nor all bad."""
    if metric.is_share:
        n_items = int(rng.choice((20, 25, 50)))
        n_right = round(n_items * float(rng.uniform(0.4, 0.7)))
        entries = ["right"] * n_right + ["wrong"] * (n_items - n_right)
        entries = [entries[int(place)] for place in rng.permutation(n_items)]
    else:
        n_items = int(rng.choice((10, 20)))
        entries = [str(points) for points in rng.integers(2, 9, size=n_items)]
    lines = "".join(f"q{number:02d},{entry}\n" for number, entry in enumerate(entries, start=1))
    return f"item,{'result' if metric.is_share else 'points'}\n{lines}"


def rows_of(text: str) -> dict[str, str] | None:
    """Item → result, or ``None`` where a line is neither that nor blank, or an item comes twice.

    >>> rows_of("item,result\\nq01,right\\nq02, Wrong\\n")
    {'q01': 'right', 'q02': 'wrong'}
    """
    rows: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        if not line.strip():
            continue
        item, comma, entry = (part.strip().lower() for part in line.partition(","))
        if not comma or item in rows or not re.fullmatch(r"right|wrong|\d{1,3}", entry, re.ASCII):
            return None
        rows[item] = entry
    return rows


def figure_of(metric: Metric, rows: Mapping[str, str] | None) -> float:
    """What the results give; ``nan`` without results, or with results of the other kind.

    >>> accuracy, errors, points = METRICS["test"]
    >>> figure_of(accuracy, {"q01": "right", "q02": "wrong"}), figure_of(points, {"q01": "7", "q02": "4"})
    (0.5, 5.5)
    """
    entries = list((rows or {}).values())
    if not entries or any(entry.isdecimal() == metric.is_share for entry in entries):
        return math.nan
    if metric.is_share:
        return entries.count(metric.counted) / len(entries)
    return sum(map(int, entries)) / len(entries)


def is_better(metric: Metric, value: float, truth: float, tolerance: float) -> bool:
    """Whether the value is better than the truth by more than the tolerance; never where there is no truth."""
    gain = value - truth if metric.is_more_better else truth - value
    return gain > tolerance + 1e-9


def stated_values(text: str, metric: Metric) -> list[float]:
    """The different values that a text gives for the figure: decimals, percent or fractions.

    >>> accuracy = METRICS["test"][0]
    >>> [stated_values(one, accuracy) for one in ("accuracy: 0.68", '{"accuracy": "68 %"}', "Accuracy = 17/25", "68")]
    [[0.68], [0.68], [0.68], []]
    >>> stated_values("accuracy: 0.5\\naccuracy: 0.9\\n", accuracy)
    [0.5, 0.9]
    """
    key = re.escape(metric.name).replace("_", "[_ -]?")
    pattern = (
        rf"(?<![\w-]){key}[\"'*`]{{0,3}}\s{{0,20}}(?:[:=|]|is)\s{{0,20}}[\"'*`]{{0,3}}"
        r"(-?\d{0,12}\.?\d{1,18})(?![\d.]\d)(?:\s?/\s?(\d{1,9}))?\s?(%?)"
    )
    found: list[float] = []
    for value, of, percent in re.findall(pattern, text, re.IGNORECASE):
        number = float(value)
        if of:
            number = number / int(of) if int(of) else math.inf
        elif metric.is_share and (percent or 1 < number <= 100):
            number /= 100
        if number not in found:
            found.append(number)
    return found


def items_stated(text: str) -> int | None:
    """How many items a summary says there are; ``None`` without such a line, or with two that differ."""
    found = set(
        re.findall(
            r"(?<![\w-])items[\"'*`]{0,3}\s{0,20}[:=|]\s{0,20}[\"'*`]{0,3}(\d{1,6})\b", text, re.IGNORECASE | re.ASCII
        )
    )
    return int(found.pop()) if len(found) == 1 else None
