"""The rating that a short text gives, on a scale of 1 to 5.

Digits, words and stars are read; a rating on another scale ("8/10") is brought to this one. A text that gives two
different ratings, or none, gives none: what is not plain is not guessed at.
"""

import re

SCALE = 5.0
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORD = "|".join(_WORDS)
_NUMBER = rf"(?:[-+−]?\d{{1,6}}(?:[.,]\d{{1,6}})?|(?:{_WORD}))"
_RANGE = re.compile(
    r"(?:\b(?:on|in) )?(?:\b(?:a|the) )?(?:\b(?:scale|range) )?(?:\b(?:of|from|between|is) )?"
    r"\(?\b(?:1|one) ?(?:-|–|to|and|\.\.) ?(?:5|five|10|ten)\b\)?",
    re.IGNORECASE,
)
"""How a text names the scale itself."""
_RATED = re.compile(
    rf"(?<![\w.,/])({_NUMBER})( and a half)?(?:\s?(?:stars?|points?))?(?:\s?(?:/|out of|of)\s?({_NUMBER}))?"
    r"(?![\w/]|[.,]\d)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\b(?:rating|score|grade|mark|verdict|result)\b[^\n\d]{0,24}?(?=[-+−]?\d|\b(?:" + _WORD + r")\b)", re.IGNORECASE
)
_STARS = re.compile("[★⭐🌟]")
_NAME = re.compile(r"/.*[a-z_]|\.(?:txt|md|csv|json)\b", re.IGNORECASE)
"""In a word that names a file."""
LONGEST = 2_000
"""Characters; a longer text is an essay, not a rating."""


def read_rating(text: str) -> float | None:
    """The rating on the scale of 1 to 5, or ``None`` where none is given, or more than one.

    A number behind a word such as "rating" counts before any other. Numbers below 1 and above 5 are returned as they
    are: what to make of them is the caller's.

    >>> [read_rating(text) for text in ("4", "Rating: 4/5", "two stars", "8 out of 10", "★★★☆☆", "2 or 3", "great")]
    [4.0, 4.0, 2.0, 4.0, 3.0, None, None]
    """
    if len(text) > LONGEST:
        return None
    words = re.sub(r"\S+", lambda word: "" if _NAME.search(word[0]) else word[0], re.sub(r"[*`_\"'“”]", "", text))
    plain = _RANGE.sub(" ", re.sub(r"[^\S\n]+", " ", words))
    labelled = [_RATED.match(plain, label.end()) for label in _LABEL.finditer(plain)]
    hits = [hit for hit in labelled if hit is not None] or list(_RATED.finditer(plain))
    found = {_value(hit) for hit in hits}
    if not found and (stars := _STARS.findall(plain)):
        return float(len(stars))
    return found.pop() if len(found) == 1 else None


def _value(hit: re.Match[str]) -> float | None:
    number = _number(hit[1]) + (0.5 if hit[2] else 0.0)
    if hit[3] is None:
        return number
    top = _number(hit[3])
    return number * SCALE / top if top > 0 else None


def _number(text: str) -> float:
    low = text.lower()
    return float(_WORDS.index(low)) if low in _WORDS else float(low.replace(",", ".").replace("−", "-"))
