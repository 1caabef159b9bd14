"""Reading ``results.json``: its schema, the ordered sizes of the proxies, and what a group is called in words.

Scores are in standard deviations of gold on the base policy, 0 being the base policy; KL in nats, d = sqrt(KL).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from overopt.errors import DataError
from overopt.reports.numbers import count, is_known, short_count

Results = Mapping[str, Any]  # Any: the values of a JSON object
Row = Mapping[str, Any]
Method = Literal["bon", "rl"]

SCHEMA = "overopt.study/1"
METHODS: tuple[Method, ...] = ("bon", "rl")
METHOD_NAMES: dict[Method, str] = {"bon": "best-of-n", "rl": "RL"}


def check_schema(results: Results) -> None:
    """Refuse what is not the results of a study."""
    schema = results.get("schema") if isinstance(results, Mapping) else None
    if schema != SCHEMA:
        raise DataError(f'a report needs the results of a study ("schema": "{SCHEMA}"); got {schema!r}')


def rows_of(results: Results, key: str) -> list[Row]:
    """The list under ``key``; empty when it is absent or null."""
    return list(results.get(key) or [])


@dataclass(frozen=True, slots=True)
class Sizes:
    """The proxy sizes of a study from small to large, so that each has one colour and one name everywhere."""

    labels: dict[int | str, str]
    """Width of the proxy → its name, in order of size; a proxy of unknown width goes by its group's name, last."""

    @classmethod
    def of(cls, results: Results) -> "Sizes":
        """All sizes that occur anywhere in the results."""
        parameters: dict[int, float] = {}
        others: dict[int | str, str] = {}
        for key in ("proxies", *METHODS):
            for row in rows_of(results, key):
                if is_known(row.get("width")):
                    known = row.get("parameters")
                    parameters.setdefault(row["width"], known if is_known(known) else math.nan)
                elif key in METHODS:
                    others.setdefault(_key(row), proxy_words(row))
        ordered = sorted(parameters, key=lambda width: (width, parameters[width]))
        return cls({**{width: _size_label(width, parameters[width]) for width in ordered}, **others})

    def label(self, row: Row) -> str:
        """The name of the size of a row with a ``width``."""
        return self.labels.get(_key(row), "unknown size")

    def index(self, row: Row) -> int | None:
        """Place in the order of sizes; ``None`` for an unknown size."""
        return list(self.labels).index(_key(row)) if _key(row) in self.labels else None


def _key(row: Row) -> int | str:
    width = row.get("width")
    return int(width) if is_known(width) else str(row.get("group"))


def _size_label(width: int, parameters: float) -> str:
    return f"{width} ({short_count(parameters)})" if is_known(parameters) else f"{width}"


def pair_counts(rows: list[Row]) -> list[int]:
    """The numbers of training pairs that occur, from few to many."""
    return sorted({row["pairs"] for row in rows if is_known(row.get("pairs"))})


def proxy_words(row: Row) -> str:
    """A group in words: ``width 16, 10,000 pairs, seed 0``; its identifier when nothing else is known."""
    words = []
    if is_known(row.get("width")):
        words.append(f"width {count(row['width'])}")
    if is_known(row.get("pairs")):
        words.append(f"{count(row['pairs'])} pairs")
    if is_known(row.get("seed")):
        words.append(f"seed {row['seed']}")
    return ", ".join(words) or str(row.get("group") or row.get("id") or "unnamed proxy")


def capitalized(text: str) -> str:
    """First letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def distance(kl: object) -> float | None:
    """d = sqrt(KL); ``None`` when the KL is unknown or, by chance of its estimate, below 0."""
    return math.sqrt(kl) if is_known(kl) and kl >= 0 else None


def interval_level(results: Results) -> float | None:
    """Level of the intervals, where it is known."""
    level = results.get("level")
    return level if is_known(level) and 0 < level < 1 else None


def interval_word(results: Results) -> str:
    """``95 % interval``, or ``interval`` when the level is not known."""
    level = interval_level(results)
    return "interval" if level is None else f"{100 * level:g} % interval"
