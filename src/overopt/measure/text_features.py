"""What can be counted in a reply without a model: length, repetition, questions, words of the prompt, variety.

A *word* is a run of letters, digits and their combining marks, case folded, apostrophes and joiners inside it kept
(``don't``). Scripts that write no spaces (Han, kana, Thai, Lao, Khmer, Burmese) count every letter as a word: their
numbers compare with each other and not with those of other scripts. Axes: B replies.
"""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from overopt.errors import ConfigError, ShapeError
from overopt.stats.estimate import FloatArray

_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_APOSTROPHES = "'\u2019"
_JOINERS = "\u00ad\u200c\u200d"
"""Soft hyphen and the two zero-width joiners: they shape a word and do not end it."""
_QUESTION_MARKS = re.compile("[?\u037e\u055e\u061f\u1367\u2047\u2e2e\ufe56\uff1f]")
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip


class TextFeatures(NamedTuple):
    """Features of replies, each (B,) float64."""

    words: FloatArray
    different_words: FloatArray
    """Words less those that were said before in the reply."""
    repeated_words: FloatArray
    """Share of words that were said before in the reply; 0 without words."""
    repeated_bigrams: FloatArray
    """Share of pairs of neighbouring words that were said before in the reply; 0 without pairs."""
    questions: FloatArray
    """Question marks, of any script."""
    shared_words: FloatArray
    """Share of the reply's different words that the prompt holds too; 0 without words."""


def text_features(prompts: Sequence[str], completions: Sequence[str]) -> TextFeatures:
    """Features of each completion, its prompt beside it.

    >>> found = text_features(["Do you like tea?"], ["Tea, tea! Do you?"])
    >>> [float(value[0]) for value in found]
    [4.0, 3.0, 0.25, 0.0, 1.0, 1.0]

    Raises
    ------
    ShapeError
        If there are not as many prompts as completions.
    """
    if len(prompts) != len(completions):
        raise ShapeError(f"expected a prompt for each of {len(completions)} completions; got {len(prompts)}")
    known: dict[str, frozenset[str]] = {}
    rows = np.empty((len(completions), len(TextFeatures._fields)), dtype=np.float64)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        context = known.get(prompt)
        if context is None:
            context = known[prompt] = frozenset(words_of(prompt))
        words = words_of(completion)
        distinct = set(words)
        count, pairs = len(words), max(len(words) - 1, 0)
        rows[index] = (
            count,
            len(distinct),
            1 - len(distinct) / count if count else 0.0,
            1 - len(set(itertools.pairwise(words))) / pairs if pairs else 0.0,
            len(_QUESTION_MARKS.findall(completion)),
            len(distinct & context) / len(distinct) if distinct else 0.0,
        )
    return TextFeatures(*rows.T.copy())


def words_of(text: str) -> list[str]:
    """Words of a text in any script.

    >>> words_of("Don’t you LIKE it?!"), words_of("हिन्दी और 日本")
    (["don't", 'you', 'like', 'it'], ['हिन्दी', 'और', '日', '本'])
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    found: list[str] = []
    word = ""
    # Composed after folding too: folding takes some letters apart.
    letters = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    for index, char in enumerate(letters):
        kind = unicodedata.category(char)[0]
        if kind == "L" and _is_unspaced(char):
            found += [word, char]
            word = ""
        elif kind in "LN" or (kind == "M" and word):
            word += char
        elif kind == "M" and found and found[-1] and index and letters[index - 1] != " ":
            found[-1] += char
        elif word and (char in _APOSTROPHES or char in _JOINERS) and _is_letter(letters[index + 1 : index + 2]):
            word += "'" if char in _APOSTROPHES else ""
        elif word:
            found.append(word)
            word = ""
    return [one for one in [*found, word] if one]


def distinct_share(texts: Iterable[Sequence[str]], n: int, drawn: int) -> float:
    """Expected share of different n-grams among ``drawn`` of those of all texts together, drawn without replacement.

    Distinct-n (Li et al. 2016, arXiv:1510.03055) falls with the amount of text whatever its variety; at one
    ``drawn``, replies of different number and length compare.

    Parameters
    ----------
    texts : iterable of sequences of words
        N-grams do not cross from one text to the next.
    n, drawn : int
        At least 1.

    Returns
    -------
    float
        ``nan`` if the texts hold fewer n-grams than ``drawn``.

    Notes
    -----
    Exact, by rarefaction: a type with f of N n-grams is missed with the probability C(N - f, drawn) / C(N, drawn)
    (Hurlbert 1971, Ecology 52).

    >>> round(distinct_share([["a", "a", "b"]], 1, 2), 6)
    0.833333
    """
    if n < 1 or drawn < 1:
        raise ConfigError(f"n and drawn are at least 1; got {n} and {drawn}")
    counts = Counter(gram for words in texts for gram in ngrams(words, n))
    return expected_types(list(counts.values()), drawn) / drawn


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Runs of ``n`` neighbouring words, in order.

    >>> ngrams(["do", "you", "like"], 2)
    [('do', 'you'), ('you', 'like')]
    """
    return list(zip(*(words[k:] for k in range(n)), strict=False))


def expected_types(counts: npt.ArrayLike, drawn: int) -> float:
    """Expected number of types among ``drawn`` tokens without replacement, from the tokens of each type (T,)."""
    f = np.asarray(counts, dtype=np.float64)
    total = f.sum()
    if drawn > total:
        return float("nan")
    left = total - f
    can_miss = left >= drawn
    ln_all = gammaln(total + 1) - gammaln(total - drawn + 1)
    ln_left = gammaln(left[can_miss] + 1) - gammaln(left[can_miss] - drawn + 1)
    return float(f.size - np.exp(ln_left - ln_all).sum())


def identical_share(texts: Sequence[Sequence[str]], prompts: Sequence[Hashable]) -> float:
    """Share of replies (B) whose words, in order, are also those of a reply to another prompt; ``nan`` without replies.

    Grows with the number of replies: compare equal numbers.

    >>> identical_share([["hi"], ["hi"], ["ok"]], ["a", "b", "b"])
    0.6666666666666666
    """
    if len(texts) != len(prompts):
        raise ShapeError(f"expected a prompt for each of {len(texts)} replies; got {len(prompts)}")
    asked: dict[tuple[str, ...], set[Hashable]] = {}
    for words, prompt in zip(texts, prompts, strict=True):
        asked.setdefault(tuple(words), set()).add(prompt)
    shared = [len(asked[tuple(words)]) > 1 for words in texts]
    return sum(shared) / len(shared) if shared else float("nan")


def _is_unspaced(char: str) -> bool:
    point = ord(char)
    return any(low <= point <= high for low, high in _UNSPACED)


def _is_letter(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] in "LN"
