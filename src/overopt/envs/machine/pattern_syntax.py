"""Regular expressions of grep and sed as trees: basic and extended syntax of POSIX with GNU's extensions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

MAX_REPEAT = 255
MAX_STACKED = 4
"""Repeats of a repeat of one atom."""
MAX_DEPTH = 16
"""Groups inside groups."""

_CLASSES: dict[str, Callable[[str], bool]] = {
    "alpha": str.isalpha,
    "digit": lambda char: char in "0123456789",
    "alnum": str.isalnum,
    "upper": str.isupper,
    "lower": str.islower,
    "space": lambda char: char in " \t\n\r\f\v",
    "blank": lambda char: char in " \t",
    "punct": lambda char: char.isprintable() and not char.isalnum() and char != " ",
    "print": str.isprintable,
    "graph": lambda char: char.isprintable() and char != " ",
    "cntrl": lambda char: ord(char) < 32 or ord(char) == 127,
    "xdigit": lambda char: char in "0123456789abcdefABCDEF",
}


class PatternError(Exception):
    """A pattern that is malformed (``supported``) or outside what this engine does; never leaves the package."""

    def __init__(self, message: str, *, supported: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.supported = supported


@dataclass(frozen=True, slots=True)
class CharSet:
    """A bracket expression."""

    chars: frozenset[str]
    ranges: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    negated: bool = False
    fold: bool = False

    def __contains__(self, char: str) -> bool:
        if self.fold:
            return self.negated != any(self._has(variant) for variant in (char, char.lower(), char.upper()))
        return self.negated != self._has(char)

    def _has(self, char: str) -> bool:
        return (
            char in self.chars
            or any(low <= char <= high for low, high in self.ranges)
            or any(_CLASSES[name](char) for name in self.classes)
        )


Assertion = Literal["start", "end", "boundary", "inside", "word-start", "word-end", "free-start", "free-end"]

# The tree of a parsed pattern: ("char", c), ("any",), ("set", CharSet), ("assert", Assertion), ("cat", [..]),
# ("alt", [..]), ("repeat", node, low, high or None), ("group", number, node).
Tree = tuple[Any, ...]


class PatternReader:
    """Reads one pattern; ``fold`` ignores case.

    Raises
    ------
    PatternError
        From :meth:`parse`, if the pattern is malformed or not supported.
    """

    def __init__(self, text: str, *, extended: bool, fold: bool) -> None:
        self.text, self.pos = text, 0
        self.extended, self.fold = extended, fold
        self.groups, self.depth = 0, 0
        self.warnings: list[str] = []

    def parse(self) -> Tree:
        """The tree of the whole pattern."""
        tree = self.alternatives()
        if self.pos < len(self.text):
            raise PatternError("Unmatched ) or \\)")
        return tree

    def token(self) -> tuple[str, str]:
        """The kind of the next token (``end``, ``operator``, ``escape`` or ``char``) and its character."""
        if self.pos >= len(self.text):
            return "end", ""
        char = self.text[self.pos]
        if char == "\\":
            if self.pos + 1 == len(self.text):
                raise PatternError("Trailing backslash")
            after = self.text[self.pos + 1]
            return "operator" if not self.extended and after in "(){}|+?" else "escape", after
        return "operator" if char == "*" or (self.extended and char in "(){}|+?") else "char", char

    def advance(self) -> None:
        self.pos += 2 if self.text[self.pos] == "\\" else 1

    def alternatives(self) -> Tree:
        branches = [self.branch()]
        while self.token() == ("operator", "|"):
            self.advance()
            branches.append(self.branch())
        return branches[0] if len(branches) == 1 else ("alt", branches)

    def branch(self) -> Tree:
        items: list[Tree] = []
        stacked = 0
        while True:
            kind, char = token = self.token()
            if kind == "end" or token == ("operator", "|") or (token == ("operator", ")") and self.depth):
                return ("cat", items)
            if token == ("operator", ")") and not self.extended:
                raise PatternError("Unmatched ) or \\)")
            if kind != "operator" or char not in "*+?{":
                items.append(self.atom(kind, char, first=not items))
                stacked = 0
            elif items and items[-1] != ("assert", "start"):
                stacked += 1
                if stacked > MAX_STACKED:
                    raise PatternError("Regular expression too big")
                items[-1] = self.repeat(items[-1], char)
            else:
                # Nothing to repeat: a plain character in basic syntax, ignored in extended syntax.
                self.advance()
                if self.extended:
                    self.warnings.append(f"{'{...}' if char == '{' else char} at start of expression")
                if char == "{":
                    end = self.text.find("}", self.pos)
                    self.pos = end + 1 if end >= 0 else self.pos
                elif not self.extended:
                    items.append(("char", char))

    def repeat(self, item: Tree, operator: str) -> Tree:
        start = self.pos
        self.advance()
        if operator != "{":
            return ("repeat", item, int(operator == "+"), 1 if operator == "?" else None)
        end = self.text.find("}" if self.extended else "\\}", self.pos)
        bounds = self.text[self.pos : end].split(",") if end >= 0 else []
        if not bounds or len(bounds) > 2 or not all(part.isdecimal() or not part for part in bounds) or not any(bounds):
            if self.extended:
                self.pos = start + 1
                return ("cat", [item, ("char", "{")])
            raise PatternError("Unmatched \\{" if end < 0 else "Invalid content of \\{\\}")
        if any(len(part) > 5 for part in bounds):
            raise PatternError("Regular expression too big")
        low = int(bounds[0] or 0)
        high = low if len(bounds) == 1 else int(bounds[1]) if bounds[1] else None
        if high is not None and high < low:
            raise PatternError("Invalid content of \\{\\}")
        if max(low, high or 0) > MAX_REPEAT:
            raise PatternError("Regular expression too big")
        self.pos = end + (1 if self.extended else 2)
        return ("repeat", item, low, high)

    def atom(self, kind: str, char: str, *, first: bool) -> Tree:
        if (kind, char) == ("operator", "("):
            return self.group()
        if (kind, char) == ("char", "["):
            return self.bracket()
        at_end = self.extended or self.closes()
        self.advance()
        if kind == "escape":
            return self.escape(char)
        if kind == "char" and char == ".":
            return ("any",)
        if kind == "char" and char == "^" and (self.extended or first):
            return ("assert", "start")
        if kind == "char" and char == "$" and at_end:
            return ("assert", "end")
        return ("char", char)

    def closes(self) -> bool:
        """Whether a basic expression, or its group or branch, ends behind the next character."""
        rest = self.text[self.pos + 1 : self.pos + 3]
        return rest in ("", "\\)", "\\|")

    def group(self) -> Tree:
        self.pos += 1 if self.extended else 2
        self.groups += 1
        self.depth += 1
        number = self.groups
        if self.depth > MAX_DEPTH:
            raise PatternError("Regular expression too big")
        inner = self.alternatives()
        if self.token() != ("operator", ")"):
            raise PatternError("Unmatched ( or \\(")
        self.advance()
        self.depth -= 1
        return ("group", number, inner)

    def escape(self, char: str) -> Tree:
        if char in "123456789":
            raise PatternError("back-references are not supported", supported=False)
        assertions: dict[str, Assertion] = {
            "b": "boundary", "B": "inside", "<": "word-start", ">": "word-end", "`": "start", "'": "end",
        }  # fmt: skip
        if char in assertions:
            return ("assert", assertions[char])
        if char in "wW":
            return ("set", CharSet(frozenset("_"), classes=("alnum",), negated=char == "W"))
        if char in "sS":
            return ("set", CharSet(frozenset(), classes=("space",), negated=char == "S"))
        return ("char", {"n": "\n", "t": "\t"}.get(char, char))

    def bracket(self) -> Tree:
        text, pos = self.text, self.pos + 1
        negated = text.startswith("^", pos)
        pos += negated
        chars: set[str] = set()
        ranges: list[tuple[str, str]] = []
        classes: list[str] = []
        begin = pos
        if pos >= len(text):
            raise PatternError("Invalid regular expression")
        while True:
            if pos >= len(text):
                raise PatternError("Unmatched [, [^, [:, [., or [=")
            char = text[pos]
            if char == "]" and pos > begin:
                break
            if text.startswith("[:", pos):
                end = text.find(":]", pos + 2)
                name = text[pos + 2 : end]
                if end < 0:
                    raise PatternError("Unmatched [, [^, [:, [., or [=")
                if name not in _CLASSES:
                    raise PatternError("Invalid character class name")
                classes.append("alpha" if self.fold and name in ("upper", "lower") else name)
                pos = end + 2
                continue
            if text.startswith(("[.", "[="), pos):
                raise PatternError("collating elements are not supported", supported=False)
            if text[pos + 1 : pos + 2] == "-" and text[pos + 2 : pos + 3] not in ("]", ""):
                if text[pos + 2] < char:
                    raise PatternError("Invalid range end")
                ranges.append((char, text[pos + 2]))
                pos += 3
                continue
            chars.add(char)
            pos += 1
        self.pos = pos + 1
        return ("set", CharSet(frozenset(chars), tuple(ranges), tuple(classes), negated, self.fold))
