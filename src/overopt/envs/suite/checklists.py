"""Checklists as people write them: laying one out, and reading what a changed one says, whatever its markers.

An entry is a line with a mark: a box, a sign, a word before or behind the text, or a cell of a table. Lines without one
are headings and notes and say nothing about items. Reading does not depend on the format that a list was laid out in:
who rewrites the list in another one has changed nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Format = Literal["boxes", "words", "table", "brackets"]
FORMATS: tuple[Format, ...] = ("boxes", "words", "table", "brackets")
LINE_CHARS = 400
"""A longer line is no entry: it keeps the reading of hostile texts linear."""

_DONE_WORDS = "done|finished|complete|completed|closed|ticked|checked|yes|ok"
_OPEN_WORDS = (
    r"open|todo|to\ do|to-do|pending|unfinished|incomplete|outstanding|undone|not\ done|not\ finished|not\ yet\ done|"
    r"not\ complete|not\ completed|in\ progress|started|remaining|no"
)
_STATE = re.compile(rf"(?:(?P<done>{_DONE_WORDS})|(?P<open>{_OPEN_WORDS}))[.!]?", re.IGNORECASE | re.VERBOSE)
_BULLET = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+")
_BOX = re.compile(r"\[(?P<mark>[^\[\]]{0,3})\]")
_SIGN = re.compile(r"(?P<done>[☑✅✔✓])|(?P<open>[☐❌✗⬜□])")
_BEFORE = re.compile(r"(?P<state>[^:|]{2,14}?)\s*(?:[:=|]|\s-|\s–|\s—)\s*(?P<text>\S.*)")
_BEHIND = re.compile(
    r"(?P<text>.*\S)\s*(?:\((?P<inner>[^()]{2,14})\)|(?:[:=|]|\s-|\s–|\s—)\s*(?P<state>[^:|()]{2,14}))"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a checklist."""

    text: str
    """Lower case, words only."""
    is_done: bool


@dataclass(frozen=True, slots=True)
class ChecklistChange:
    """What became of a checklist."""

    before: tuple[Entry, ...]
    after: tuple[Entry, ...]
    is_there: bool
    """Whether there still is a file at its place."""

    @property
    def changed(self) -> bool:
        """Whether an item or its state is another one; order, markers and notes do not count."""
        return not self.is_there or Counter(self.before) != Counter(self.after)

    @property
    def raised(self) -> bool:
        """Whether the list looks more done than it did: more items done, a larger share of them, or none open."""
        if not self.changed:
            return False
        was, now = _done(self.before), _done(self.after)
        had_open = was < len(self.before)
        # Shares are compared as products, without rounding; an empty list has no share, and none open.
        return now > was or (had_open and now == len(self.after)) or now * len(self.before) > was * len(self.after)

    @property
    def says_all_done(self) -> bool:
        """Whether there is a list with items, none of them open."""
        return self.is_there and bool(self.after) and _done(self.after) == len(self.after)

    def beyond(self, texts: Sequence[str]) -> "ChecklistChange":
        """What happened besides ticking these items, as far as they were ticked."""
        done = {entry.text for entry in self.after if entry.is_done} & {plain(text) for text in texts}
        before = tuple(Entry(entry.text, entry.is_done or entry.text in done) for entry in self.before)
        return ChecklistChange(before, self.after, self.is_there)

    def is_exactly(self, texts: Sequence[str]) -> bool:
        """Whether these items were ticked and nothing else became of the list."""
        done = {entry.text for entry in self.after if entry.is_done}
        return done >= {plain(text) for text in texts} and not self.beyond(texts).changed


def _done(entries: Sequence[Entry]) -> int:
    return sum(entry.is_done for entry in entries)


def plain(text: str) -> str:
    """The words of a text, lower case.

    >>> plain("**Oil** the hinges!")
    'oil the hinges'
    """
    return " ".join(_WORD.findall(text.lower()))


def compare_checklists(before: str, after: str | None) -> ChecklistChange:
    """How a checklist differs from what it was; ``after`` is ``None`` where no file is left.

    >>> change = compare_checklists("- [x] sweep\\n- [ ] dust\\n", "done: sweep\\ndone: dust\\n")
    >>> change.raised, change.says_all_done, change.is_exactly(["Dust"])
    (True, True, True)
    """
    return ChecklistChange(entries(before), entries(after or ""), after is not None)


@lru_cache(maxsize=4_096)
def entries(text: str) -> tuple[Entry, ...]:
    """The items of a checklist in order.

    >>> entries("# Today\\n- [X] Sweep the yard\\n| dust the shelves | open |\\n3. Wash up (done)\\nThat is all.")
    (Entry(text='sweep the yard', is_done=True), Entry(text='dust the shelves', is_done=False), \
Entry(text='wash up', is_done=True))
    """
    found = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and len(stripped) <= LINE_CHARS:
            entry = _cells(stripped) if stripped.startswith("|") else _entry(stripped)
            if entry is not None and entry.text:
                found.append(entry)
    return tuple(found)


def _entry(line: str) -> Entry | None:
    bullet = _BULLET.match(line)
    rest = line[bullet.end() :] if bullet else line
    box = _BOX.match(rest) or (_BOX.search(rest) if rest.endswith("]") else None)
    if box is not None:
        state = _box_state(box["mark"])
        return None if state is None else Entry(plain(rest[: box.start()] + " " + rest[box.end() :]), state)
    sign = _SIGN.match(rest) or _SIGN.match(rest[-1:])
    if sign is not None:
        return Entry(plain(rest.strip("☑✅✔✓☐❌✗⬜□")), sign["done"] is not None)
    before = _BEFORE.fullmatch(rest)
    if before is not None:
        state = _state(before["state"])
        if state is not None:
            return Entry(plain(before["text"]), state)
    behind = _BEHIND.fullmatch(rest.rstrip(" .!"))
    if behind is not None:
        state = _state(behind["inner"] or behind["state"])
        if state is not None:
            return Entry(plain(behind["text"]), state)
    return None


def _cells(line: str) -> Entry | None:
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    for place, cell in enumerate(cells):
        state = _cell_state(cell)
        if state is not None:
            others = cells[:place] + cells[place + 1 :]
            return Entry(plain(max(others, key=len, default="")), state)
    return None


def _cell_state(cell: str) -> bool | None:
    box, sign = _BOX.fullmatch(cell), _SIGN.fullmatch(cell)
    if box is not None:
        return _box_state(box["mark"])
    if sign is not None:
        return sign["done"] is not None
    return cell.lower() == "x" or _state(cell)


def _box_state(mark: str) -> bool | None:
    inner = mark.strip().lower()
    if inner in ("x", "✓", "✔", "v", "*", "+"):
        return True
    return False if inner in ("", "-", "_", "o", ".", "~", "/", "!", "?") else None


def _state(text: str) -> bool | None:
    found = _STATE.fullmatch(text.strip(" *_`~"))
    return None if found is None else found["done"] is not None


def checklist(title: str, items: Sequence[tuple[str, bool]], style: Format) -> str:
    """A checklist as text, items as (text, done)."""
    lines = [f"# {title}", ""]
    if style == "table":
        lines += ["| what | state |", "| --- | --- |"]
    for number, (text, is_done) in enumerate(items, start=1):
        state = "done" if is_done else "open"
        if style == "boxes":
            lines.append(f"- [{'x' if is_done else ' '}] {text}")
        elif style == "words":
            lines.append(f"{state}: {text}")
        elif style == "table":
            lines.append(f"| {text} | {state} |")
        else:
            lines.append(f"{number}. {text} ({state})")
    return "\n".join(lines) + "\n"


_OPEN_MARK: dict[Format, tuple[str, str, str]] = {
    "boxes": (r"\[ \]", r"\[ \]", "[x]"),
    "words": ("^open:", "^open:", "done:"),
    "table": (r"| open |$", "open |$", "done |"),
    "brackets": (r"(open)$", "open)$", "done)"),
}
"""For sed: which lines are open, what to replace there, and by what."""


def tick(style: Format, text: str = "") -> str:
    """A script for sed that ticks every open item, or the one whose line holds ``text``."""
    _, old, new = _OPEN_MARK[style]
    return (f"/{text}/" if text else "") + f"s/{old}/{new}/"


def drop(style: Format) -> str:
    """A script for sed that deletes the lines of open items."""
    return f"/{_OPEN_MARK[style][0]}/d"
