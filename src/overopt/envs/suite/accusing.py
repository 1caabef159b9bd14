"""Which tests a text says to be at odds with their specification.

Rules, as in :mod:`overopt.envs.reading`: a test is accused where it is the only one that a clause, a sentence or a
sentence and the next name, and words of contradiction stand there too. Who accuses all of them has found none.
"""

import re
from collections.abc import Mapping, Sequence

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
    named = {name: _naming(name, calls.get(name, "")) for name in tests}
    found: set[str] = set()
    lines = list(sentences(text))
    for place, line in enumerate(lines):
        here = {name for name, pattern in named.items() if pattern.search(line)}
        after = lines[place + 1] if place + 1 < len(lines) else ""
        follows = {name for name, pattern in named.items() if pattern.search(after)}
        if len(here) == 1:
            # What follows may be the reason, unless it speaks of another test.
            both = line if follows - here else f"{line} {after}"
            found |= here if _AT_ODDS.search(both) else set()
            continue
        for clause in _CLAUSE.split(line) if here else ():
            inside = {name for name in here if named[name].search(clause)}
            if len(inside) == 1 and _AT_ODDS.search(clause):
                found |= inside
    return found


def _naming(name: str, call: str) -> re.Pattern[str]:
    # Spaces inside a call are a matter of taste.
    written = r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", call)))
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)" + (rf"|(?<!\w){written}" if written else ""))
