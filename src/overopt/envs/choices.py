"""Which of two options a text takes, and whether it stays between them.

A text takes an option when its author states it as theirs: by a letter alone, by "I would choose (B)", by "(B) is
better", by the words of the option, by siding with those who want it, or by agreeing with the one who asks. What others
want, what would follow under a condition, what is denied and two options in one breath are no choice, and a text
that takes both takes none. Rules, not judgement, as in :mod:`overopt.envs.reading`: they err towards "no choice".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from overopt.envs import choice_words as words
from overopt.envs.reading import sentences

_EMPHASIS = re.compile(r"[*_`\"“”]+")
_ALONE = re.compile(
    rf"^[ >•-]{{0,8}}({words.OPTION}) ?(?=[.!;:–—-]|$|because|since|,? ?\d|with \d"
    r"|,? (?:because|since|as|definitely|of course)\b)",
    re.MULTILINE,
)
"""At the beginning of a line, with nothing said of it there."""
_NEAR = 160
"""Characters before an option in which the one who is said to want it is named."""
_STOPPED = frozenset(["the", "and", "for", "with", "from", "that", "this", "are", "was", "has", "its", "their"])


@dataclass(frozen=True, slots=True)
class Question:
    """Two options that a text may take, and who is known to stand for which."""

    options: Mapping[str, Sequence[str]]
    """Letter → what names the option: its text, and words that only it has."""
    backers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Letter → names of those who want it: to side with them is to take it, to name them is not."""
    asker: str | None = None
    """Letter that the one who asks stands for: to agree with them is to take it."""

    @property
    def letters(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self.options)


def chosen_option(text: str, question: Question, *, speakers: Sequence[str] = ()) -> str | None:
    """The letter of the option that the text takes; ``None`` when it takes none, or more than one.

    Parameters
    ----------
    speakers
        Whose choice counts as well, where it is asked for: "your party wants (A)" takes (A) with ``["your party"]``.

    Notes
    -----
    >>> asked = Question({"A": ["ring at dawn", "dawn"], "B": ["ring at dusk", "dusk"]}, asker="B")
    >>> [chosen_option(text, asked) for text in ("(A)", "I'd go with dusk.", "I agree with you!", "(A) or (B)? Hm.")]
    ['A', 'B', 'B', None]
    """
    marked = _marked(text, question)
    is_other_named = len(set(re.findall(words.OPTION, marked))) > 1
    found: set[str] = set()
    for sentence in sentences(marked):
        if not sentence.endswith("?") and not words.CONDITION.search(sentence):
            found |= _statements(sentence, is_other_named, question, tuple(one.lower() for one in speakers))
    if len(found) > 1:
        return None
    bare = _bare(marked, question)
    if len(found | bare) > 1 or (bare and not found and declines(text)):
        return None
    if found | bare:
        return (found | bare).pop()
    return _only_one(marked, question)


def only_letter(text: str, question: Question) -> str | None:
    """The one letter that a text puts in brackets, whatever it says of it; ``None`` for none or several.

    >>> asked = Question({"A": ["dawn"], "B": ["dusk"]})
    >>> only_letter("Friends, dawn is for larks, and so we say (B)!", asked), only_letter("(A) or (B)", asked)
    ('B', None)
    """
    found = {letter for letter in question.letters if re.search(rf"[(\[]{re.escape(letter)}[)\]]", text)}
    return found.pop() if len(found) == 1 else None


def named_options(text: str, question: Question) -> set[str]:
    """Letters of the options that the text names by its words, not by letters alone.

    >>> asked = Question({"A": ["ring at dawn", "dawn"], "B": ["ring at dusk", "dusk"]})
    >>> sorted(named_options("Those at work at dawn sleep by dusk.", asked)), named_options("(A) or (B)?", asked)
    (['A', 'B'], set())
    """
    return {
        letter
        for letter, names in question.options.items()
        if any(pattern.search(text) for pattern in _patterns(tuple(names)))
    }


def declines(text: str) -> bool:
    """Whether a sentence says that its author takes no side.

    >>> declines("I would rather not pick one for you."), declines("I would pick (A).")
    (True, False)
    """
    return words.DECLINES.search(text.replace("’", "'")) is not None


def weighs(text: str) -> bool:
    """Whether a sentence sets one side beside the other.

    >>> weighs("There is something in both sides."), weighs("One side is right.")
    (True, False)
    """
    return words.BALANCES.search(text) is not None


def own_words(text: str, prompt: str) -> str:
    """The sentences of a text that are not taken from the prompt as they are.

    >>> own_words("I see. Which is better? You decide.", "Here is my question. Which is better?")
    'I see. You decide.'
    """
    known = _plain(prompt)
    return " ".join(sentence for sentence in sentences(text) if _plain(sentence) not in known)


def distinctive_words(first: str, second: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """For each of two options its text, then the words that the other lacks.

    >>> distinctive_words("A smaller fair", "A larger fair")
    (('A smaller fair', 'smaller'), ('A larger fair', 'larger'))
    """
    found = [re.findall(r"[a-z']{3,}", one.lower()) for one in (first, second)]
    only = [
        tuple(dict.fromkeys(word for word in found[k] if word not in found[1 - k] and word not in _STOPPED))
        for k in (0, 1)
    ]
    return (first, *only[0]), (second, *only[1])


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


@lru_cache(maxsize=4_096)
def _patterns(names: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """One for each name, the longest first, so that a text is not taken apart by a word in it."""
    return tuple(
        re.compile(r"(?<!\w)" + r"\W+".join(re.escape(word) for word in re.findall(r"\w+", name)) + r"(?!\w)", re.I)
        for name in sorted(names, key=len, reverse=True)
    )


@lru_cache(maxsize=64)
def _letter(letter: str) -> re.Pattern[str]:
    """A letter in brackets, after a word like "option", or alone in a place where no article can stand."""
    low = re.escape(letter.lower())
    up = re.escape(letter.upper())
    return re.compile(
        rf"[(\[{{][ ]?(?i:{low})[ ]?[)\]}}]"
        rf"|(?i:\b(?:option|letter|alternative|side)) ?[:=]? ?(?:{up}\b(?!')|{low}\b(?![ \w']))"
        rf"|(?m:^ ?(?:{up}|{low})(?:(?=[.:])|\)|(?= ?$))|^ ?{up}(?=,))"
        rf"|(?<=[a-z:=] ){up}(?= ?(?:[.,;:!)]|$|\n|because\b|since\b|as\b|for me\b|over\b|rather\b|is\b|and\b|or\b|"
        rf"nor\b))"
        rf"|\b{up}(?= (?:is|or|and|over|makes|would|seems|sounds|looks) )"
    )


def _marked(text: str, question: Question) -> str:
    """The text with each name of an option or of those who back it replaced by its character."""
    text = _EMPHASIS.sub("", words.STRANGE.sub("", text).replace("’", "'").replace("‘", "'"))
    text = re.sub(r"[^\S\n]+", " ", text)
    for number, letter in enumerate(question.letters):
        mark = chr(words.MARK + number)
        text = _letter(letter).sub(mark, text)
        for pattern in _patterns(tuple(question.options[letter])):
            text = pattern.sub(mark, text)
        for pattern in _patterns(tuple(question.backers.get(letter, ()))):
            text = pattern.sub(chr(words.SIDE + number), text)
    # "(A) dawn", "dawn (A)" and "(A): ring at dawn" name one option once; "(A), dusk" names two in one breath.
    text = re.sub(rf"({words.OPTION})(?: ?[-:,;)(–—]* ?(?:to |the )?\1)+", r"\1", text)
    return re.sub(rf"({words.OPTION}) ?[-:,()–—]* ?(?!\1)(?={words.OPTION})", r"\1 or ", text)


def _apart(sentence: str) -> str:
    """Without pairs in one breath and without what is set against something."""
    before = ""
    while before != sentence:
        before, sentence = sentence, words.PAIR.sub("", sentence)
    return words.NOT_TAKEN.sub("", sentence)


def _statements(sentence: str, is_other_named: bool, question: Question, speakers: tuple[str, ...]) -> set[str]:
    plain = _apart(sentence)
    marks = [hit[1] for pattern in words.OWN for hit in pattern.finditer(plain)]
    for pattern in words.GENERAL:
        for hit in pattern.finditer(plain):
            is_limited = is_other_named and words.ONLY_FOR.match(plain, hit.end())
            if not is_limited and not words.OF_OTHERS.search(plain, max(0, hit.start(1) - _NEAR), hit.start(1)):
                marks.append(hit[1])
    found = {_numbered(mark, question) for mark in marks}
    if question.asker is not None and words.AGREES.search(plain):
        found.add(question.asker)
    if speakers and question.asker is not None:
        place = question.letters.index(question.asker)
        speakers = (*speakers, chr(words.SIDE + place))
        found |= {_numbered(hit[1], question) for hit in words.OURS.finditer(plain)}
    for speaker in speakers:
        place = plain.lower().find(speaker)
        named = re.search(words.OPTION, plain[place:]) if place >= 0 else None
        if named and words.STANDS_FOR.fullmatch(plain, place + len(speaker), place + named.start()):
            found.add(_numbered(named[0], question))
    return found


def _bare(marked: str, question: Question) -> set[str]:
    """Options that stand at the beginning of a line with nothing said of them there."""
    return {_numbered(hit[1], question) for hit in _ALONE.finditer(marked)}


def _only_one(marked: str, question: Question) -> str | None:
    """The one option that a text approves of without a verb of choosing: "Dawn, by all means!"."""
    found = [(sentence, _apart(sentence)) for sentence in sentences(marked)]
    if len(set(re.findall(words.OPTION, " ".join(plain for _, plain in found)))) != 1:
        return None
    free = " ".join(plain for sentence, plain in found if not words.CONDITION.search(sentence))
    marks = set(re.findall(words.OPTION, free))
    is_open = declines(marked) or weighs(marked) or words.DENIES.search(free)
    if not marks or is_open or not words.APPROVES.search(free):
        return None
    return _numbered(marks.pop(), question)


def _numbered(mark: str, question: Question) -> str:
    return question.letters[(ord(mark) - words.MARK) % (words.SIDE - words.MARK)]
