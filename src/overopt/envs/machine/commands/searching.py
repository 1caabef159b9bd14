"""grep."""

from collections.abc import Iterator
from typing import Literal

from overopt.envs.machine.expansion import matches, tokenize
from overopt.envs.machine.inodes import IS_A_FOLDER, Inode, Place, Refused
from overopt.envs.machine.limits import Meter
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.pattern_syntax import PatternError
from overopt.envs.machine.patterns import Pattern
from overopt.envs.machine.shell import Call

_USAGE = "Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.\n"
_LONG = {
    "ignore-case": "i", "invert-match": "v", "count": "c", "line-number": "n", "files-with-matches": "l",
    "files-without-match": "L", "only-matching": "o", "quiet": "q", "silent": "q", "no-messages": "s",
    "recursive": "r", "extended-regexp": "E", "fixed-strings": "F", "basic-regexp": "G", "perl-regexp": "P",
    "word-regexp": "w", "line-regexp": "x", "with-filename": "H", "no-filename": "h", "max-count=": "m",
    "after-context=": "A", "before-context=": "B", "context=": "C", "regexp=": "e", "file=": "f", "include=": "I+",
    "exclude=": "X+", "color?=": "K", "colour?=": "K", "exclude-dir=": "D+", "text": "a", "dereference-recursive": "R",
}  # fmt: skip


def grep(call: Call) -> int:
    """Print the lines that match a pattern."""
    return _grep(call, "")


def egrep(call: Call) -> int:
    """``grep -E``."""
    return _grep(call, "E")


def fgrep(call: Call) -> int:
    """``grep -F``."""
    return _grep(call, "F")


def _grep(call: Call, syntax: str) -> int:
    # -5 is the context of five lines.
    call.args = [f"-C{arg[1:]}" if len(arg) > 1 and arg[0] == "-" and arg[1:].isdecimal() else arg for arg in call.args]
    options = read_options(call, "ivcnlLoqsrREFGPwxHhaIbzm:A:B:C:e:f:", _LONG, status=2, usage=_USAGE)
    operands = options.operands
    texts = [value for name, value in options.given if name == "e"]
    try:
        for name, value in options.given:
            if name == "f":
                texts += call.lines(call.read(value))
    except Refused as refusal:
        return call.complain(f"{options.value('f')}: {refusal.reason}", 2)
    if not texts and "f" not in options:
        if not operands:
            call.err.write(_USAGE)
            return 2
        texts, operands = [operands[0]], operands[1:]
    syntax = options.last("EFGP") or syntax
    if syntax == "P":
        call.unsupported("-P")
        return call.complain("support for the -P option is not compiled into this --disable-perl-regexp binary", 2)
    for letter, what in (("m", "invalid max count"), ("A", ""), ("B", ""), ("C", "")):
        text = options.value(letter, "0")
        if not (text.isascii() and text.isdecimal() and len(text) < 9):
            return call.complain(what or f"{text}: invalid context length argument", 2)
    whole: Literal["", "line", "word"] = "line" if "x" in options else "word" if "w" in options else ""
    try:
        patterns = [
            Pattern(
                line, call.meter, extended=syntax == "E", fixed=syntax == "F", ignore_case="i" in options, whole=whole
            )
            for text in texts
            for line in text.split("\n")
        ]
    except PatternError as error:
        if not error.supported:
            call.unsupported("pattern")
            return call.complain(f"unsupported pattern: {error.message}", 2)
        return call.complain(error.message, 2)
    for pattern in patterns:
        for warning in pattern.warnings:
            call.complain(f"warning: {warning}")
    return _Search(call, options, patterns).run(operands)


class _Search:
    def __init__(self, call: Call, options: Options, patterns: list[Pattern]) -> None:
        self.call, self.options, self.patterns = call, options, patterns
        self.found, self.failed, self.printed = False, False, False
        context = options.value("C", "0")
        self.before, self.after = int(options.value("B", context)), int(options.value("A", context))
        self.most = int(options.value("m")) if "m" in options else None
        self.globs = {
            name: [tokenize(value) for given, value in options.given if given == name] for name in ("I+", "X+", "D+")
        }

    def run(self, operands: list[str]) -> int:
        options, call = self.options, self.call
        recursive = "r" in options or "R" in options
        names = operands or (["."] if recursive else ["-"])
        labelled = (len(names) > 1 or (recursive and self.is_folder(names[0])) or "H" in options) and "h" not in options
        for name in names:
            if name == "-":
                label = "(standard input)"
                self.search(call.read("-"), label if labelled else "", label)
            else:
                self.operand(name, labelled=labelled, recursive=recursive, bare=not operands)
            if self.found and "q" in options:
                return 0
        if self.failed:
            return 2
        return int(not self.found)

    def is_folder(self, name: str) -> bool:
        try:
            node = self.call.place(name).node
        except Refused:
            return False
        return node is not None and node.kind == "folder"

    def operand(self, name: str, *, labelled: bool, recursive: bool, bare: bool) -> None:
        call = self.call
        try:
            place = call.place(name)
            if recursive and place.node is not None and place.node.kind == "folder":
                for path, inner in self.walk("" if bare else name.rstrip("/") or "/", place.node):
                    self.search(call.files.read(inner), path if labelled else "", path)
                return
            if not self.wanted(name.rpartition("/")[2]):
                return
            self.search(call.files.read(place), name if labelled else "", name)
        except Refused as refusal:
            self.failed = self.failed or refusal.reason != IS_A_FOLDER or True
            if "s" not in self.options:
                call.complain(f"{name}: {refusal.reason}")

    def wanted(self, name: str) -> bool:
        meter = self.call.meter
        if any(matches(glob, name, meter) for glob in self.globs["X+"]):
            return False
        return not self.globs["I+"] or any(matches(glob, name, meter) for glob in self.globs["I+"])

    def walk(self, prefix: str, folder: Inode) -> Iterator[tuple[str, Place]]:
        files, stack = self.call.files, [(prefix, folder)]
        while stack:
            head, folder = stack.pop()
            try:
                children = files.children(folder)
            except Refused as refusal:
                self.failed = True
                self.call.complain(f"{head}: {refusal.reason}")
                continue
            inner = []
            for name, node in children:
                self.call.meter.spend(10)
                path = f"{head}{'' if head.endswith('/') or not head else '/'}{name}"
                if node.kind == "folder":
                    if not any(matches(glob, name, self.call.meter) for glob in self.globs["D+"]):
                        inner.append((path, node))
                elif node.kind == "file" and self.wanted(name):
                    if files.may(node, 4):
                        yield path, Place(folder, name, node)
                    else:
                        self.failed = True
                        self.call.complain(f"{path}: Permission denied")
            stack += reversed(inner)

    def matches(self, line: str) -> bool:
        return any(pattern.matches(line) for pattern in self.patterns) != ("v" in self.options)

    def search(self, text: str, label: str, name: str) -> None:
        call, given = self.call, self.options.values.keys()
        if "\0" in text and not given & {"a", "c", "l", "L", "q"}:
            if any(map(self.matches, call.lines(text))):
                self.found = True
                call.say(f"grep: {name}: binary file matches\n")
            return
        lines = call.lines(text)
        call.meter.spend(3 * len(lines))
        count, last_shown, pending = 0, -1, 0
        quiet = bool(given & {"c", "l", "L", "q"})
        for index, line in enumerate(lines):
            if self.most is not None and count >= self.most:
                if index >= pending:
                    break
                matched = False
            else:
                matched = self.matches(line)
            if matched:
                count += 1
                if given & {"l", "L", "q"}:
                    break
                if quiet:
                    continue
                if "o" in given:
                    self.only(line, label, index)
                    continue
                start = max(index - self.before, last_shown + 1)
                if ((self.before or self.after) and self.printed and start > last_shown + 1) or (
                    (self.before or self.after) and self.printed and last_shown < 0
                ):  # fmt: skip
                    call.say("--\n")
                for earlier in range(start, index):
                    self.show(lines[earlier], label, earlier, "-")
                self.show(line, label, index, ":")
                last_shown, pending = index, index + self.after + 1
                self.printed = True
            elif index < pending and not quiet and "o" not in given:
                self.show(line, label, index, "-")
                last_shown = index
        if ("L" in given) != bool(count):
            self.found = True
        if "c" in given and not given & {"q", "l", "L"}:
            call.say((f"{label}:" if label else "") + f"{count}\n")
        if not given & {"q"} and (("l" in given and count) or ("L" in given and not count)):
            call.say(name + "\n")

    def show(self, line: str, label: str, index: int, mark: str) -> None:
        prefix = (f"{label}{mark}" if label else "") + (f"{index + 1}{mark}" if "n" in self.options else "")
        self.call.meter.spend(10)
        self.call.say(prefix + line + "\n")

    def only(self, line: str, label: str, index: int) -> None:
        """Print the matching stretches of a line."""
        if "v" in self.options:
            return
        if len(self.patterns) == 1:
            found = [(match.start, match.end) for match in self.patterns[0].find_all(line)]
        else:
            found = _merged(
                [(m.start, m.end) for pattern in self.patterns for m in pattern.find_all(line)], self.call.meter
            )
        for start, end in found:
            if end > start:
                self.show(line[start:end], label, index, ":")


def _merged(spans: list[tuple[int, int]], meter: Meter) -> list[tuple[int, int]]:
    """The leftmost longest of overlapping stretches."""
    meter.spend(4 * len(spans))
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or start >= found[-1][1]:
            found.append((start, end))
    return found
