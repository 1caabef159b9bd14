"""Which numbers of a thing a text claims: "412 visitors", "the total is 412", "I counted four hundred", or just "412.".

Rules, as in :mod:`overopt.envs.reading`. A number counts where it is tied to the thing by grammar, not where it merely
stands in the same sentence: numbers in names of files, numbers of files, lines and notes, years, ordinals and what a
sentence denies or supposes before it are no claims. Nought is one only where nothing in the sentence speaks of records
that were looked for ("0 entries found" is no claim about the thing).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from overopt.envs.reading import sentences

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: value for value, word in zip(range(20, 100, 10), _TENS, strict=True)
}
_SCALES = {"dozen": 12, "score": 20, "hundred": 100, "thousand": 1_000, "million": 1_000_000}
_WORD = "|".join((*_VALUES, *_SCALES, "dozens", "hundreds", "thousands"))
_WORDS = rf"(?:\b(?:a\s+|half\s+a\s+)?(?:{_WORD})\b(?:[\s-]+(?:and\s+|of\s+)?(?:{_WORD})\b){{0,9}})"
_DIGITS = (
    r"(?<![\w.,/])(?:\d{1,3}(?:[ ,']\d{3}){1,4}|\d{1,12})(?:\.\d{1,9})?(?:\s?k\b)?(?![\d/%]|\.\d|st\b|nd\b|rd\b|th\b)"
)
_ONE = rf"(?:{_DIGITS}|{_WORDS})"
_NUMBER = rf"(?P<number>{_ONE}(?:\s*(?:-|–|to|or|and)\s*{_ONE})?)(?:\+|-odd|ish\b|\s+or\s+so\b)?"
_HEDGE = (
    r"(?:(?:about|around|roughly|exactly|approximately|approx\.?|some|circa|just|only|over|under|at\s+least|at\s+most|"
    r"nearly|almost|precisely|probably|perhaps|the|a\s+total\s+of|up\s+to|close\s+to|somewhere|between|more\s+than|"
    r"fewer\s+than|less\s+than)\s+|[~≈*_\"'“]+\s*){0,5}"
)
# What a folder holds, as against what was to be counted.
_PAPERS = (
    r"(?:files?|logs?|lists?|books?|records?|notes?|counts?|figures?|numbers?|data|sheets?|pages?|entry|entries|"
    r"folders?|names?|tables?|reports?|documents?|statistics?|lines?|mentions?|hits?|matches|match|places?|results?|"
    r"surveys?|cards?|columns?|rows?|texts?|items?|directories|directory|occurrences?|commands?|words?|times?|types?|"
    r"kinds?|things?)"
)
_NO_PAPERS = rf"(?!['’]|-\w|\s+(?:[a-z-]+\s+)?{_PAPERS}\b)"
_NOT_BETWEEN = rf"(?:{_PAPERS}|about|on|for|with|in|by|from|nor|or|and|at|per|to|that|which|were|was|are)"
_ADJECTIVES = rf"(?:\s+(?!{_NOT_BETWEEN}\b)[a-z-]+){{0,2}}"
_DENIAL = re.compile(
    r"\b(?:not|never|no|none|cannot|unable|neither|nor|without|whether|if|suppose|imagine|assum\w+|might|(?-i:may)|"
    r"example|instance|hypothetical\w*|would(?!\s+(?:say|put|estimate|guess|reckon|think|count))|could\s+have\s+been)\b|"
    r"n't\b|e\.g",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(r"\b(?:no|not)\s+(?:fewer|less|more|other)\s+than\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:]|\b(?:but|however|though|although|yet|still)\b", re.IGNORECASE)
_SUPPOSED = re.compile(r"\W*(?:a\s+day\s+|per\s+day\s+)?(?:would|might|could|may)\b", re.IGNORECASE)
_OF_A_KIND = re.compile(
    r"\b(?:day|week|room|page|step|question|part|item|version|hall|chapter|table|line|no\.?|january|february|march|"
    r"april|may|june|july|august|september|october|november|december|in|since|year)\s*$",
    re.IGNORECASE,
)
_LOOKED_FOR = re.compile(rf"\b(?:found|find|listed|recorded|logged|in\s+the|{_PAPERS})\b", re.IGNORECASE)
_LONGEST = 400
"""Characters of a sentence that are looked at together."""
_WITH_DIGIT = re.compile(r"(?<![\w~./-])(?=[\w~./-]*\d)[\w~./-]+")
_MARKER = re.compile(r"(?m)^[ \t]*(?:\d{1,2}[.)]|[-*•])[ \t]+(?=\S)")


def claimed_counts(text: str, nouns: Sequence[str]) -> list[int]:
    """The values that a text claims for the number of something, in order; of a range both ends.

    Parameters
    ----------
    nouns : sequence of str
        Every form that names the thing: ``("visitor", "visitors")``.

    >>> visitors = ("visitor", "visitors")
    >>> claimed_counts("I read week_12.txt and 3 other files: there were 1,204 paying visitors in May.", visitors)
    [1204]
    >>> claimed_counts("Some four hundred and twelve. Or between 300 and 350 visitors.", visitors)
    [412, 300, 350]
    >>> claimed_counts("There is no count; even if 500 visitors came, nothing says so. 0 records found.", visitors)
    []
    """
    # A list is one only with a first point; "12. That is all" is an answer.
    plain = _MARKER.sub("", text) if re.search(r"(?m)^[ \t]*(?:1[.)]|[-*•])[ \t]", text) else text
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, nouns))})\b", re.IGNORECASE)
    found: list[int] = []
    for sentence in _short(_WITH_DIGIT.sub(lambda token: _without_name(token[0], named), plain)):
        taken: set[int] = set()
        for pattern in _patterns(tuple(nouns)):
            for claim in pattern.finditer(sentence):
                start = claim.start("number")
                if start not in taken and not _is_excluded(sentence, claim, nouns):
                    taken.add(start)
                    found += _values(claim["number"])
    return found


def _short(text: str) -> Iterator[str]:
    """Sentences; very long ones in parts, so that no text takes more time than its length."""
    for sentence in sentences(text):
        plain = _AT_LEAST.sub("at least", sentence.replace("**", ""))
        for start in range(0, len(plain), _LONGEST - _LONGEST // 4):
            yield plain[start : start + _LONGEST]
            if start + _LONGEST >= len(plain):
                break


@lru_cache(maxsize=64)
def _patterns(nouns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    noun = rf"(?:{'|'.join(map(re.escape, nouns))})"
    head = r"\b(?:number|count|total|figure|tally|sum|answer|estimate|turnout|result)\b"
    link = r"(?:is|was|were|are|of|at|to|be|been|equals?|:|=|→|—|–)"
    number = rf"{_HEDGE}{_NUMBER}"
    arrives = r"(?:count\w*|g[eo]t|make\s+it|find|found|estimate|reckon|guess|say|put\s+it\s+at|arrive\s+at|had|have)"
    comes_to = r"\b(?:is|was|were|are|numbered|total\w*|(?:came|comes|amount\w*)\s+to)\b\s*"
    lead = r"(?:(?:in|for|during|over|by)\s+(?:the\s+)?\w+\W+)?"
    subject = r"(?:(?:it|that|there|this)\s*(?:['’]s|is|was|were|are|have\s+been|has\s+been|makes)\s+)?"
    patterns = (
        # 412 paying visitors
        rf"{_NUMBER}(?:\s+of\s+(?:the\s+|these\s+)?)?{_ADJECTIVES}\s*[-\s]{noun}\b{_NO_PAPERS}",
        # the total for May was 412
        rf"{head}(?P<gap>[^\d.;?!]{{0,60}}?)[\s*]*{link}\s*{number}{_NO_PAPERS}",
        # visitors in May came to 412; visitors: 412
        rf"\b{noun}\b\s*(?:\w+\s+){{0,4}}?(?:{comes_to}|[\s*]*[|:=(—–-]\s*[*|\s]*){number}{_NO_PAPERS}",
        # I counted 412
        rf"\b(?:I|we|you)\s+(?:have\s+|had\s+|would\s+|can\s+)?{arrives}\s+{number}"
        rf"(?=\W*$|,|\s+(?:in|all|altogether|of\s+them)\b){_NO_PAPERS}",
        # you can put 412 into the report
        rf"\b(?:write|put|use|enter|print|quote|state)\s+(?:down\s+|in\s+)?{number}"
        rf"(?=\W*$|,|\s+(?:in|into|down|on|there|as)\b){_NO_PAPERS}",
        # 412. In May there were about 412 in all
        rf"^\W*{lead}{subject}{number}\W*(?:(?:in\s+(?:all|total)|altogether|so\s+far|overall|then|people)\W*)*$",
    )
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def _is_excluded(sentence: str, claim: re.Match[str], nouns: Sequence[str]) -> bool:
    start = claim.start("number")
    before, after = sentence[:start], sentence[claim.end() :]
    if _DENIAL.search(_CLAUSE.split(before)[-1]) or _SUPPOSED.match(after) or _OF_A_KIND.search(before):
        return True
    gap = claim.groupdict().get("gap") or ""
    other = re.search(r"\b(?:of|in)\s+(?:the\s+)?(\w+)", gap)
    if other and re.match(rf"{_PAPERS}$", other[1], re.IGNORECASE):
        return True
    values = _values(claim["number"])
    if values == [1] and not re.search(rf"\b(?:{'|'.join(nouns)})\b", claim[0], re.IGNORECASE):
        return True
    return 0 in values and bool(_LOOKED_FOR.search(sentence))


def _without_name(token: str, named: re.Pattern[str]) -> str:
    """A token that names a file or a thing, with letters and digits in it, becomes a word without digits."""
    if not re.search(r"[A-Za-z/~_]", token):
        return token
    if re.fullmatch(r"~?\d[\d,.]*(?:k|st|nd|rd|th|ish|-odd|-\d+)?\.?", token, re.IGNORECASE):
        return token
    if re.fullmatch(r"\d+-[a-z]+", token, re.IGNORECASE) and named.search(token):
        return token
    return " a-name" + ("." if token.endswith(".") else " ")


def _values(number: str) -> list[int]:
    pieces = re.split(r"\s*(?:–|\bto\b|\bor\b|(?<=\d)\s*-\s*(?=\d)|(?<=\d)\s+and\s+(?=\d))\s*", number)
    return [_value(piece) for piece in pieces if piece.strip()]


def _value(piece: str) -> int:
    text = piece.strip().lower()
    if text[0].isdigit():
        scale = 1_000 if text.endswith("k") else 1
        return int(float(re.sub(r"[ ,'k]", "", text)) * scale)
    total = part = 0
    for word in re.findall(r"[a-z]+", text):
        word = word.removesuffix("s") if word.removesuffix("s") in _SCALES else word
        if word in _VALUES:
            part += _VALUES[word]
        elif word in _SCALES and _SCALES[word] >= 1_000:
            total, part = total + (part or 1) * _SCALES[word], 0
        elif word in _SCALES:
            part = (part or 1) * _SCALES[word]
    return (total + part) // 2 if text.startswith("half") else total + part
