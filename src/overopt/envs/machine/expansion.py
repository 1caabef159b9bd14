"""From words to arguments: variables, substitutions, splitting at blanks, file names that match a pattern."""

from collections.abc import Callable

from overopt.envs.machine.files import FileSystem
from overopt.envs.machine.inodes import Inode, Refused
from overopt.envs.machine.limits import LimitReached, Meter
from overopt.envs.machine.syntax import Script, Text, Variable, Word

Piece = tuple[str, bool]
"""Text, and whether the characters of a pattern mean something in it."""


class Expander:
    """Expands words for one shell.

    Parameters
    ----------
    variable
        Value of a variable, empty when it is not set.
    substitute
        Output of a script, without its last newlines.
    """

    def __init__(
        self,
        files: FileSystem,
        meter: Meter,
        folder: Inode,
        variable: Callable[[str], str],
        substitute: Callable[[Script], str],
    ) -> None:
        self.files, self.meter, self.folder = files, meter, folder
        self.variable, self.substitute = variable, substitute

    def text(self, word: Word) -> str:
        """The word as one text, neither split nor matched against file names."""
        pieces = []
        for index, part in enumerate(word):
            if isinstance(part, Text):
                pieces.append(self.home(part, index, word))
            else:
                pieces.append(self.value(part))
            self.meter.bulk(len(pieces[-1]))
        return "".join(pieces)

    def arguments(self, words: list[Word]) -> list[str]:
        """The arguments that ``words`` become."""
        found: list[str] = []
        for word in words:
            if len(word) == 1 and isinstance(part := word[0], Text) and (part.quoted or is_plain(part.text)):
                found.append(part.text)
                continue
            for field in self.fields(word):
                found += self.matching(field)
            if len(found) > self.meter.limits.words:
                raise LimitReached("words")
        return found

    def fields(self, word: Word) -> list[list[Piece]]:
        """The word split at the blanks of unquoted values."""
        fields: list[list[Piece]] = []
        current: list[Piece] | None = None
        for index, part in enumerate(word):
            if isinstance(part, Text):
                text = self.home(part, index, word)
                current = current if current is not None else []
                current.append((text, not part.quoted and text == part.text))
                continue
            value = self.value(part)
            self.meter.bulk(len(value))
            if part.quoted:
                if not (isinstance(part, Variable) and part.name == "@" and len(word) == 1):
                    current = current if current is not None else []
                    current.append((value, False))
                continue
            pieces = value.strip(" \t\n").replace("\t", " ").replace("\n", " ").split(" ")
            pieces = [piece for piece in pieces if piece]
            self.meter.spend(2 * len(pieces))
            if value[:1] in (" ", "\t", "\n") and value and current is not None:
                fields.append(current)
                current = None
            for number, piece in enumerate(pieces):
                if number:
                    assert current is not None
                    fields.append(current)
                    current = None
                current = current if current is not None else []
                current.append((piece, True))
            if pieces and value[-1] in " \t\n":
                assert current is not None
                fields.append(current)
                current = None
        if current is not None:
            fields.append(current)
        return fields

    def value(self, part: object) -> str:
        """Value of a variable or output of a substitution."""
        if isinstance(part, Variable):
            return self.variable(part.name)
        return self.substitute(part.script)  # type: ignore[attr-defined]  # the only other part with a value

    def home(self, part: Text, index: int, word: Word) -> str:
        """The text of a literal, with ``~`` at the beginning of a word replaced by the home folder."""
        text = part.text
        if index or part.quoted or not text.startswith("~") or (len(word) > 1 and text == "~"):
            return text
        if text != "~" and not text.startswith("~/"):
            return text
        return self.variable("HOME") + text[1:]

    def matching(self, field: list[Piece]) -> list[str]:
        """The file names that match, in order, or the text itself."""
        text = "".join(piece for piece, _ in field)
        if not any(active and any(char in piece for char in "*?[") for piece, active in field):
            return [text]
        tokens: list[Token] = []
        for piece, active in field:
            self.meter.spend(1 + 4 * len(piece))
            tokens += tokenize(piece) if active else [("char", char) for char in piece]
        found = self.walk(tokens)
        return found or [text]

    def walk(self, tokens: "list[Token]") -> list[str]:
        parts: list[list[Token]] = [[]]
        for token in tokens:
            if token == ("char", "/"):
                parts.append([])
            else:
                parts[-1].append(token)
        # Paths so far with the folders they lead to.
        heads: list[tuple[str, Inode]] = [("", self.folder)]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            following: list[tuple[str, Inode]] = []
            for head, folder in heads:
                following += self.step(head, folder, part, first=index == 0, last=last)
                if len(following) > self.meter.limits.words:
                    raise LimitReached("words")
            heads = following
        return [head for head, _ in heads]

    def step(
        self, head: str, folder: Inode, part: "list[Token]", *, first: bool, last: bool
    ) -> list[tuple[str, Inode]]:
        self.meter.spend(40)
        slash = "" if last else "/"
        if not part:
            return [(head + slash, self.files.root if first and not last else folder)]
        fixed = all(kind == "char" for kind, _ in part)
        try:
            if fixed:
                name = "".join(str(char) for _, char in part)
                node = self.files.existing(name, folder, follow=not last)
                return [(head + name + slash, node)] if last or node.kind == "folder" else []
            children = self.files.children(folder, record=False)
        except Refused:
            return []
        found = []
        for name, node in children:
            if name.startswith(".") and part[0] != ("char", "."):
                continue
            if not matches(part, name, self.meter):
                continue
            if not last and node.kind == "link":
                try:
                    node = self.files.existing(name, folder)
                except Refused:
                    continue
            if last or node.kind == "folder":
                found.append((head + name + slash, node))
        return found


def is_plain(text: str) -> bool:
    """Whether an unquoted word stands for itself."""
    return text[0] != "~" and not any(char in text for char in "*?[")


Token = tuple[str, object]
"""``("char", c)``, ``("any", "")``, ``("star", "")`` or ``("set", (negated, characters, ranges))``."""


def tokenize(pattern: str) -> list[Token]:
    """The tokens of a file-name pattern; a bracket that is never closed is a character."""
    tokens: list[Token] = []
    pos = 0
    no_bracket_before = 0
    while pos < len(pattern):
        char = pattern[pos]
        if char == "*":
            if not tokens or tokens[-1][0] != "star":
                tokens.append(("star", ""))
        elif char == "?":
            tokens.append(("any", ""))
        elif char == "\\" and pos + 1 < len(pattern):
            pos += 1
            tokens.append(("char", pattern[pos]))
        elif char == "[" and no_bracket_before <= pos:
            begin = pos + 1 + (pattern[pos + 1 : pos + 2] in ("!", "^"))
            end = pattern.find("]", begin + 1)
            if end < 0 or "/" in pattern[begin:end]:
                tokens.append(("char", "["))
                no_bracket_before = len(pattern) if end < 0 else 0
            else:
                tokens.append(("set", bracket(pattern[begin:end], begin > pos + 1)))
                pos = end
        else:
            tokens.append(("char", char))
        pos += 1
    return tokens


def bracket(inner: str, negated: bool) -> tuple[bool, frozenset[str], tuple[tuple[str, str], ...]]:
    """What stands between brackets: whether it is negated, single characters, ranges."""
    chars, ranges, pos = set(), [], 0
    while pos < len(inner):
        if inner[pos + 1 : pos + 2] == "-" and pos + 2 < len(inner):
            ranges.append((inner[pos], inner[pos + 2]))
            pos += 3
        else:
            chars.add(inner[pos])
            pos += 1
    return negated, frozenset(chars), tuple(ranges)


def matches(tokens: list[Token], name: str, meter: Meter) -> bool:
    """Whether the whole ``name`` fits; on failure only the last star is tried further."""
    place, position, steps = 0, 0, 0
    star, retry = -1, 0
    while position < len(name):
        steps += 1
        if place < len(tokens) and tokens[place][0] == "star":
            star, retry = place, position
            place += 1
        elif place < len(tokens) and fits(tokens[place], name[position]):
            place += 1
            position += 1
        elif star >= 0:
            retry += 1
            place, position = star + 1, retry
        else:
            break
        if steps & 255 == 0:
            meter.spend(1024)
    meter.spend(2 + 4 * (steps & 255))
    while place < len(tokens) and tokens[place][0] == "star":
        place += 1
    return position == len(name) and place == len(tokens)


def fits(token: Token, char: str) -> bool:
    """Whether a token that reads one character reads ``char``."""
    kind, argument = token
    if kind == "char":
        return argument == char
    if kind == "set":
        assert isinstance(argument, tuple)
        negated, chars, ranges = argument
        found = char in chars or any(low <= char <= high for low, high in ranges)
        return bool(found != negated)
    return True
