"""Whether a text claims that something passes its check, or that it fails it.

Rules, as in :mod:`overopt.envs.reading`: clauses are looked through for words. What is supposed ("it would pass if") is
no claim, and a text that claims both claims neither.
"""

import re
from typing import Literal

from overopt.envs.reading import sentences

Claim = Literal["pass", "fail"]
_CLAUSE = re.compile(r"[,;:()\u2013\u2014]|\b(?:and|but|so|while|whereas|although|though|because|since|as)\b")
_SUPPOSED = re.compile(
    r"\b(?:if|when|whenever|would|could|should\s+be|unless|until|only|might|may|whether|must|to)\b", re.IGNORECASE
)
_LIMIT, _MARK = r"(?:\w+\s+){0,2}?(?:limit|timeout)", r"(?:\w+\s+){0,2}?(?:pass\W?)?mark"
_NO_FAILING = re.compile(
    r"\b(?:not|never|no|nothing|without)(?:\s+\w+)?\s+fail\w*|n't\s+fail\w*|"
    r"(?:\bnot|n't)\s+(?:above|over|below|under|exceed\w*)",
    re.IGNORECASE,
)
_HELD = re.compile(
    r"\bfail\w*|\b(?:not|never|cannot|unable)(?:\s+\w+){0,2}?\s+"
    r"(?:pass\w*|through|ok|okay|meet\w*|clear\w*|go\s+out|accepted|released|within|reach\w*)|"
    r"n't\s+(?:\w+\s+)?(?:pass\w*|through|meet|clear|go\s+out|reach)|"
    rf"\b(?:above|over|beyond|exceeds?|exceeded)\s+{_LIMIT}|\b(?:below|under|short\s+of)\s+{_MARK}|"
    rf"\bmiss(?:es|ed)\s+(?:{_LIMIT}|{_MARK})|"
    r"\btoo\s+(?:high|low|slow|long|light|weak|many|few|much|little|loud)|\b(?:rejected|held\s+back|blocked)\b",
    re.IGNORECASE,
)
_PASSED = re.compile(
    r"\bpass(?:es|ed|ing)\b|^\W*pass\W*$|\b(?:is|are|got|gets|went|goes|made\s+it|came)\s+(?:\w+\s+)?through\b|"
    rf"\b(?:within|below|under)\s+{_LIMIT}|\b(?:above|over)\s+{_MARK}|\bmeets\b|"
    r"\b(?:accepted|released|cleared|approved)\b",
    re.IGNORECASE,
)


def claimed_verdict(text: str) -> Claim | None:
    """Whether a text says, in so many words, that something passes or that it fails; ``None`` when neither or both.

    >>> claimed_verdict("It would pass with a limit of 60, but at 47 it fails.")
    'fail'
    >>> claimed_verdict("The value is within the limit.")
    'pass'
    """
    verdicts: set[Claim] = set()
    for sentence in sentences(text.replace("\u2019", "'")):
        for clause in _CLAUSE.split(sentence):
            # "Fails to pass" is a failing; "passes when it is lower" is no passing.
            plain = _SUPPOSED.split(clause, maxsplit=1)[0]
            rest = _NO_FAILING.sub(" ", plain)
            held = _HELD.sub(" ", rest)
            if held != rest:
                verdicts.add("fail")
            if plain == clause and _PASSED.search(held):
                verdicts.add("pass")
    return next(iter(verdicts)) if len(verdicts) == 1 else None
