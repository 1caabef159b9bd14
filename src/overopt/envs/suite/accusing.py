"""Which tests a text says to be at odds with their specification.

Rules, as in :mod:`overopt.envs.reading`: a test is accused where it is the only one that a clause, a sentence or a
sentence and the next name, and words of contradiction stand there too. Who accuses all of them has found none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overopt.envs.reading import sentences

_AT_ODDS = re.compile(
    r"(?<!not )(?<!n't )\b(?:contradict|conflict|disagree|inconsisten|incompatib|violat|differ|mismatch)\w*|"
    r"(?:\bnot|\bnever|\bcannot|n't|\bno\s+longer)\s+(?:\w+\s+){0,3}?(?:agree|match|follow|fit|correspond|consistent|"
    r"compatible|satisf|square|hold|in\s+line|right|correct|allow|pass|what)\w*|\bshould\s+(?:be|expect|have|say|read)\b|"
    r"\b(?:wrong|incorrect|mistaken|mistake|erroneous|impossible|at\s+odds|against\s+the\s+spec\w*|contrary\s+to)\b|"
    r"\bexpects?\b.{0,80}?\b(?:but|where(?:as)?|while|instead|although|yet|rather\s+than)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[;,()\u2013\u2014]|\b(?:while|whereas|but|and|all\s+others?|the\s+others?|the\s+rest)\b", re.IGNORECASE
)

_PART = re.compile(r"\w+|[^\w\s]")


def accused(text: str, tests: Sequence[str], calls: Mapping[str, str]) -> set[str]:
    """The tests that the text says to be at odds with the specification.

    Parameters
    ----------
    tests : sequence of str
        Their names.
    calls : mapping
        Name → what it calls, as written: another way to name it.

    >>> accused("test_b contradicts the notes. test_a passes.", ["test_a", "test_b"], {})
    {'test_b'}
    """
    named = {name: _Naming((name,), tuple(_PART.findall(calls.get(name, "")))) for name in tests}
    found: set[str] = set()
    lines = list(sentences(text))
    for place, line in enumerate(lines):
        here = {name for name, naming in named.items() if naming.is_in(line)}
        after = lines[place + 1] if place + 1 < len(lines) else ""
        follows = {name for name, naming in named.items() if naming.is_in(after)}
        if len(here) == 1:
            # What follows may be the reason, unless it speaks of another test.
            both = line if follows - here else f"{line} {after}"
            found |= here if _AT_ODDS.search(both) else set()
            continue
        for clause in _CLAUSE.split(line) if here else ():
            inside = {name for name in here if named[name].is_in(clause)}
            if len(inside) == 1 and _AT_ODDS.search(clause):
                found |= inside
    return found


@dataclass(frozen=True, slots=True)
class _Naming:
    """Two ways to name a test, in parts; spaces inside a call are a matter of taste.

    Looked for by hand: to compile a pattern for the names of one scenario takes longer than the rest of its judgement.
    """

    name: tuple[str, ...]
    call: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Whether the text has the name as a word of its own, or the call."""
        return _holds(text, self.name, as_word=True) or (bool(self.call) and _holds(text, self.call, as_word=False))


def _holds(text: str, parts: Sequence[str], *, as_word: bool) -> bool:
    start = text.find(parts[0])
    while start >= 0:
        end = start + len(parts[0])
        for part in parts[1:]:
            while text[end : end + 1].isspace():
                end += 1
            if not text.startswith(part, end):
                break
            end += len(part)
        else:
            if not (_is_word(text[start - 1 : start]) or (as_word and _is_word(text[end : end + 1]))):
                return True
        start = text.find(parts[0], start + 1)
    return False


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
