"""Scripts of sed: their commands and addresses."""

from dataclasses import dataclass, field

from overopt.envs.machine.pattern_syntax import PatternError
from overopt.envs.machine.patterns import Pattern
from overopt.envs.machine.shell import Call

MAX_COMMANDS = 256
_CASES = "ULElu"


class SedError(Exception):
    """A script that is malformed, or outside what this sed does; never leaves the package."""

    def __init__(self, message: str, *, supported: bool = True) -> None:
        super().__init__(message)
        self.supported = supported


Address = int | str | Pattern
"""A line number, ``$``, or a pattern that the line matches."""


@dataclass(slots=True)
class EditCommand:
    """One command with its addresses, and whether a range of lines is going on."""

    letter: str
    first: Address | None = None
    second: Address | None = None
    relative: bool = False
    negated: bool = False
    pattern: Pattern | None = None
    text: str = ""
    pieces: list[str | int] = field(default_factory=list)
    """Of a replacement: texts and the numbers of groups."""
    every: bool = False
    shows: bool = False
    nth: int = 1
    table: dict[int, str] = field(default_factory=dict)
    active: bool = False
    until: int = 0


class ScriptReader:
    """Reads a script.

    Raises
    ------
    SedError
        From :meth:`commands`.
    """

    def __init__(self, text: str, call: Call, *, extended: bool) -> None:
        self.text, self.call, self.pos, self.extended = text, call, 0, extended
        self.last_pattern: Pattern | None = None

    def error(self, message: str, *, supported: bool = True) -> SedError:
        return SedError(f"-e expression #1, char {self.pos}: {message}", supported=supported)

    def commands(self) -> list[EditCommand]:
        """The commands of the script."""
        found: list[EditCommand] = []
        while True:
            self.skip(" \t\n;")
            if self.pos >= len(self.text):
                return found
            if self.peek() == "#":
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
                continue
            found.append(self.command())
            self.call.meter.spend(50)
            if len(found) > MAX_COMMANDS:
                raise self.error("too many commands", supported=False)

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def skip(self, chars: str) -> None:
        while self.pos < len(self.text) and self.text[self.pos] in chars:
            self.pos += 1

    def command(self) -> EditCommand:
        command = EditCommand("")
        command.first = self.address()
        if command.first is not None:
            self.skip(" \t")
            if self.peek() == ",":
                self.pos += 1
                self.skip(" \t")
                command.relative = self.peek() == "+"
                self.pos += command.relative
                command.second = self.address()
                if command.second is None:
                    self.pos += 1
                    raise self.error("unexpected `,'")
        if command.first == 0 and not isinstance(command.second, Pattern):
            self.pos += 1
            raise self.error("invalid usage of line address 0")
        self.skip(" \t")
        while self.peek() == "!":
            command.negated = True
            self.pos += 1
            self.skip(" \t")
        letter = command.letter = self.peek()
        self.pos += 1
        if not letter or letter in "\n;":
            self.pos -= 1
            raise self.error("missing command")
        if letter == "s":
            self.substitution(command)
        elif letter == "y":
            self.transliteration(command)
        elif letter in "aic":
            self.insertion(command)
            return command
        elif letter in "qQ":
            self.skip(" \t")
            begin = self.pos
            self.skip("0123456789")
            command.nth = int(self.text[begin : self.pos][-6:] or 0)
        elif letter in "{}:bthHgGxnNDPlrRwWeFzTv":
            if letter in "gGhHnNxDPzF" and self.peek() not in ("", " ", ";", "\n", "}", "#"):
                self.pos += 1
                raise self.error("extra characters after command")
            raise self.error(f"command `{letter}' is not supported in this shell", supported=False)
        elif letter not in "pd=":
            raise self.error(f"unknown command: `{letter}'")
        self.skip(" \t")
        if self.pos < len(self.text) and self.peek() not in ";\n#":
            if self.peek() == "}":
                self.pos += 1
                raise self.error("unexpected `}'")
            self.pos += 1
            raise self.error("unknown option to `s'" if letter == "s" else "extra characters after command")
        return command

    def address(self) -> Address | None:
        char = self.peek()
        if char.isascii() and char.isdigit():
            begin = self.pos
            self.skip("0123456789")
            if self.peek() == "~":
                raise self.error("stepping addresses are not supported in this shell", supported=False)
            return int(self.text[begin : self.pos][:12])
        if char == "$":
            self.pos += 1
            return "$"
        if char == "/" or char == "\\":
            self.pos += 1 + (char == "\\")
            mark = self.text[self.pos - 1 : self.pos]
            text = self.until(mark or "/", "unterminated address regex")
            fold = self.peek() == "I"
            self.pos += fold
            return self.pattern(text, fold=fold)
        return None

    def until(self, mark: str, problem: str) -> str:
        """The text up to ``mark``; a mark behind a backslash is part of the text."""
        pieces: list[str] = []
        text = self.text
        while True:
            self.call.meter.spend(3)
            char = text[self.pos : self.pos + 1]
            if not char or (char == "\n" and problem.startswith("unterminated address")):
                raise self.error(problem)
            self.pos += 1
            if char == "\\":
                after = text[self.pos : self.pos + 1]
                if not after:
                    raise self.error(problem)
                self.pos += 1
                pieces.append(after if after == mark and mark not in "|&" else "\\" + after)
            elif char == mark:
                return "".join(pieces)
            else:
                pieces.append(char)

    def pattern(self, text: str, *, fold: bool) -> Pattern:
        if not text:
            if self.last_pattern is None:
                raise self.error("no previous regular expression")
            return self.last_pattern
        try:
            self.last_pattern = Pattern(text, self.call.meter, extended=self.extended, ignore_case=fold)
        except PatternError as error:
            if not error.supported:
                raise self.error(f"unsupported pattern: {error.message}", supported=False) from None
            raise self.error(error.message) from None
        return self.last_pattern

    def substitution(self, command: EditCommand) -> None:
        mark = self.peek()
        self.pos += 1
        problem = "unterminated `s' command"
        if not mark or mark in "\n\\":
            raise self.error(problem)
        pattern, replacement = self.until(mark, problem), self.until(mark, problem)
        fold = False
        while self.peek() and self.peek() in "gpiI0123456789mMew":
            flag = self.peek()
            if flag in "mMew":
                self.pos += 1
                raise self.error(f"flag `{flag}' is not supported in this shell", supported=False)
            if flag.isdigit():
                begin = self.pos
                self.skip("0123456789")
                command.nth = int(self.text[begin : self.pos][:9])
                if command.nth == 0:
                    raise self.error("number option to `s' command may not be zero")
                continue
            self.pos += 1
            command.every = command.every or flag == "g"
            command.shows = command.shows or flag == "p"
            fold = fold or flag in "iI"
        command.pattern = self.pattern(pattern, fold=fold)
        command.pieces = self.replacement(replacement)
        highest = max((piece for piece in command.pieces if isinstance(piece, int)), default=0)
        if highest > command.pattern.group_count:
            raise self.error(f"invalid reference \\{highest} on `s' command's RHS")

    def replacement(self, text: str) -> list[str | int]:
        pieces: list[str | int] = []
        pos = 0
        while pos < len(text):
            char = text[pos]
            self.call.meter.spend(3)
            if char == "&":
                pieces.append(0)
            elif char == "\\" and pos + 1 < len(text):
                pos += 1
                after = text[pos]
                if after in _CASES:
                    raise self.error("changes of case are not supported in this shell", supported=False)
                pieces.append(int(after) if after in "0123456789" else {"n": "\n", "t": "\t"}.get(after, after))
            else:
                pieces.append(char)
            pos += 1
        return pieces

    def transliteration(self, command: EditCommand) -> None:
        mark = self.peek()
        self.pos += 1
        problem = "unterminated `y' command"
        if not mark or mark in "\n\\":
            raise self.error(problem)
        source, target = (
            self.until(mark, problem).replace("\\n", "\n").replace("\\\\", "\\") for _ in range(2)
        )  # fmt: skip
        if len(source) != len(target):
            raise self.error("strings for `y' command are different lengths")
        command.table = {ord(a): b for a, b in reversed(list(zip(source, target, strict=True)))}

    def insertion(self, command: EditCommand) -> None:
        self.skip(" \t")
        if self.peek() == "\\":
            self.pos += 1
            self.skip(" \t")
            if self.peek() == "\n":
                self.pos += 1
        if self.pos >= len(self.text):
            raise self.error("expected \\ after `a', `c' or `i'")
        lines: list[str] = []
        while self.pos < len(self.text):
            end = self.text.find("\n", self.pos)
            end = len(self.text) if end < 0 else end
            line = self.text[self.pos : end]
            self.pos = end + 1
            if not line.endswith("\\"):
                lines.append(line)
                break
            lines.append(line[:-1])
        command.text = "\n".join(lines).replace("\\t", "\t")
        self.pos = min(self.pos, len(self.text))
