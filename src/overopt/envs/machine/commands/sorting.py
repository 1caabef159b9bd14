"""Commands that order and cut lines: sort, uniq, cut, tr."""

import re

from overopt.envs.machine.escapes import decode_escapes
from overopt.envs.machine.inodes import Refused
from overopt.envs.machine.limits import Meter
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.shell import Call
from overopt.envs.machine.streams import FileSink
from overopt.envs.machine.text import curly, shown, to_bytes

_NUMERAL = re.compile(r"[ \t]*(-?)([0-9]*)(?:\.([0-9]*))?")
_KEY = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?([bdfginrR]*)(?:,([0-9]{1,6})(?:\.([0-9]{1,6}))?([bdfginrR]*))?")
_FIELD = re.compile(r"[ \t]*[^ \t]+")
_DIGITS = 300
"""Digits of a number that decide its order, on each side of the point."""

SortKey = tuple[object, ...]


def sort(call: Call) -> int:
    """Sort lines."""
    options = read_options(
        call, "rnufbk:t:o:cCsdghMV",
        {"reverse": "r", "numeric-sort": "n", "unique": "u", "ignore-case": "f", "ignore-leading-blanks": "b",
         "key=": "k", "field-separator=": "t", "output=": "o", "check": "c", "stable": "s"},
        status=2,
    )  # fmt: skip
    for letter in "dghMV":
        if letter in options:
            call.unsupported(f"-{letter}")
            return call.complain(f"option -{letter} is not supported in this shell", 2)
    separator = options.value("t")
    separator = "\0" if separator == "\\0" else separator
    if len(separator) > 1:
        return call.complain(f"multi-character tab {curly(separator)}", 2)
    keys = []
    for name, value in options.given:
        if name == "k":
            found = _KEY.fullmatch(value)
            if found is None or found[1].strip("0") == "":
                return call.complain(
                    f"field number is zero: invalid field specification {curly(value)}" if found else
                    f"invalid number at field start: invalid count at start of {curly(value)}", 2,
                )  # fmt: skip
            keys.append(found)
    lines: list[str] = []
    for path in options.operands or ["-"]:
        try:
            lines += call.lines(call.read(path))
        except Refused as refusal:
            verb = "read failed" if refusal.reason == "Is a directory" else "cannot read"
            return call.complain(f"{verb}: {shown(path)}: {refusal.reason}", 2)
    chars = sum(map(len, lines))
    plain = not keys and not options.values.keys() & set("nfbucC")
    call.meter.spend(len(lines) if plain else len(lines) * (4 + 12 * max(len(keys), 1)) + chars // 2)
    rank = _Ranking(options, keys, separator)
    if options.values.keys() & {"c", "C"}:
        return _check(call, lines, rank, options)
    reverse = "r" in options
    if plain:
        ordered = sorted(lines, key=to_bytes, reverse=reverse)
        return _deliver(call, options, "".join(line + "\n" for line in ordered))
    tagged = [(rank(line), line) for line in lines]
    # Equal keys are ordered by the whole line, unless -s or -u ask for the order of the input.
    if not options.values.keys() & {"s", "u"}:
        tagged.sort(key=lambda item: to_bytes(item[1]), reverse=reverse)
    tagged.sort(key=lambda item: item[0], reverse=reverse and not keys)
    if "u" in options:
        tagged = [item for i, item in enumerate(tagged) if not i or item[0] != tagged[i - 1][0]]
    return _deliver(call, options, "".join(line + "\n" for _, line in tagged))


def _deliver(call: Call, options: Options, text: str) -> int:
    if "o" not in options:
        call.say(text)
        return 0
    try:
        sink = FileSink(call.files, call.place(options.value("o")), call.shell.limits.pipe_chars, append=False)
        sink.write(text)
        sink.close()
    except Refused as refusal:
        return call.complain(f"open failed: {shown(options.value('o'))}: {refusal.reason}", 2)
    return 0


class _Reversed:
    """Orders the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: object) -> None:
        self.key = key

    def __lt__(self, other: "_Reversed") -> bool:
        return bool(other.key < self.key)  # type: ignore[operator]  # both are bytes or both are numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]  # used for ordering only


class _Ranking:
    """Maps a line to what it is ordered by."""

    def __init__(self, options: Options, keys: list[re.Match[str]], separator: str) -> None:
        self.options, self.keys, self.separator = options, keys, separator

    def __call__(self, line: str) -> SortKey:
        given = "".join(letter for letter in "nfb" if letter in self.options)
        if not self.keys:
            return (self.value(line, given),)
        ranks: list[object] = []
        for key in self.keys:
            own = (key[3] or "") + (key[6] or "")
            flags = own or given + ("r" if "r" in self.options else "")
            rank = self.value(self.part(line, key), flags)
            ranks.append(_Reversed(rank) if "r" in flags else rank)
        return tuple(ranks)

    def part(self, line: str, key: re.Match[str]) -> str:
        """The stretch of the line that a key names; fields keep the blanks in front of them."""
        starts, ends = self.fields(line)
        first, last = int(key[1]) - 1, int(key[4] or 0) - 1
        if first >= len(starts):
            return ""
        begin = starts[first]
        if "b" in (key[3] or "") or ("b" in self.options and not key[3]):
            begin += len(line[begin:]) - len(line[begin:].lstrip(" \t"))
        begin += int(key[2] or 1) - 1
        end = ends[last] if 0 <= last < len(ends) else len(line)
        if key[5] and 0 <= last < len(starts):
            end = min(starts[last] + int(key[5]), len(line))
        return line[begin:end]

    def fields(self, line: str) -> tuple[list[int], list[int]]:
        starts, ends = [0], []
        if self.separator:
            position = line.find(self.separator)
            while position >= 0:
                ends.append(position)
                starts.append(position + 1)
                position = line.find(self.separator, position + 1)
        else:
            ends = [found.end() for found in _FIELD.finditer(line)]
            starts = [0, *ends[:-1]] if ends else [0]
            return starts, ends or [len(line)]
        return starts, [*ends, len(line)]

    @staticmethod
    def value(text: str, flags: str) -> object:
        if "n" in flags:
            return numeric_value(text)
        if "b" in flags:
            text = text.lstrip(" \t")
        return to_bytes(text.upper() if "f" in flags and text.isascii() else text)


def numeric_value(text: str) -> int:
    """The number that a line begins with, times ten to a fixed power; 0 when there is none.

    >>> numeric_value("-2") < numeric_value(" -1.5x") < numeric_value("word") < numeric_value("10")
    True
    """
    found = _NUMERAL.match(text)
    assert found is not None
    whole, decimals = found[2][:_DIGITS], (found[3] or "")[:_DIGITS]
    value = int((whole + decimals.ljust(20, "0")[:20]) or 0)
    return -value if found[1] else value


def _check(call: Call, lines: list[str], rank: _Ranking, options: Options) -> int:
    reverse = "r" in options
    for number in range(1, len(lines)):
        before, here = ((rank(line), to_bytes(line)) for line in lines[number - 1 : number + 1])
        wrong = here > before if reverse else here < before
        if wrong or ("u" in options and here[0] == before[0]):
            if "c" in options:
                name = options.operands[0] if options.operands else "-"
                call.complain(f"{name}:{number + 1}: disorder: {lines[number]}")
            return 1
    return 0


def uniq(call: Call) -> int:
    """Drop or count repeated lines that stand together."""
    options = read_options(
        call, "cduif:s:w:", {"count": "c", "repeated": "d", "unique": "u", "ignore-case": "i", "skip-fields=": "f",
                             "skip-chars=": "s", "check-chars=": "w"}
    )  # fmt: skip
    if len(options.operands) > 2:
        call.complain(f"extra operand {quoted_operand(options.operands[2])}")
        call.err.write("Try 'uniq --help' for more information.\n")
        return 1
    for letter in "fsw":
        text = options.value(letter, "0")
        if not (text.isascii() and text.isdecimal() and len(text) < 9):
            what = {"f": "fields to skip", "s": "bytes to skip", "w": "bytes to compare"}[letter]
            return call.complain(f"{text}: invalid number of {what}")
    path = options.operands[0] if options.operands else "-"
    try:
        lines = call.lines(call.read(path))
    except Refused as refusal:
        reading = "error reading " if refusal.reason == "Is a directory" else ""
        return call.complain(f"{reading}{shown(path)}: {refusal.reason}")
    call.meter.spend(8 * len(lines) + (sum(map(len, lines)) if "f" in options else 0))
    skip_fields, skip, check = (int(options.value(letter, "0")) for letter in "fsw")
    groups: list[tuple[str, int]] = []
    last_key = None
    for line in lines:
        key = _without_fields(line, skip_fields)[skip:][: check if "w" in options else None]
        key = key.lower() if "i" in options else key
        if key == last_key:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1)
        else:
            groups.append((line, 1))
        last_key = key
    for line, count in groups:
        if ("d" in options and count < 2) or ("u" in options and count > 1):
            continue
        text = (f"{count:7} " if "c" in options else "") + line + "\n"
        call.say(text)
    return 0


def _without_fields(line: str, count: int) -> str:
    position = 0
    while count and position < len(line):
        found = _FIELD.match(line, position)
        position = found.end() if found else len(line)
        count -= 1
    return line[position:]


def quoted_operand(text: str) -> str:
    """An operand as messages about too many of them show it."""
    return curly(text).replace("‘", "'").replace("’", "'")


_RANGE = re.compile(r"([0-9]{0,9})(-?)([0-9]{0,9})")


def cut(call: Call) -> int:
    """Print parts of lines."""
    options = read_options(
        call, "d:f:c:b:s", {"delimiter=": "d", "fields=": "f", "characters=": "c", "bytes=": "b", "only-delimited": "s",
                            "output-delimiter=": "O"}
    )  # fmt: skip

    def wrong(message: str) -> int:
        call.complain(message)
        call.err.write("Try 'cut --help' for more information.\n")
        return 1

    chosen = [letter for letter in "fcb" if letter in options]
    if len(chosen) != 1:
        return wrong(
            "only one type of list may be specified" if chosen else
            "you must specify a list of bytes, characters, or fields"
        )  # fmt: skip
    delimiter = options.value("d", "\t")
    if len(delimiter) != 1:
        return wrong("the delimiter must be a single character")
    spans: list[tuple[int, int]] = []
    noun = "field" if chosen == ["f"] else "byte/character position"
    for item in options.value(chosen[0]).replace(" ", ",").split(","):
        found = _RANGE.fullmatch(item)
        if found is None or not (found[1] or found[3]):
            what = "field value" if noun == "field" else "byte or character position"
            return wrong(f"invalid {what} {curly(item)}")
        low = int(found[1] or 1)
        high = int(found[3]) if found[3] else (1 << 30 if found[2] else low)
        if not low:
            return wrong(f"{noun}s are numbered from 1")
        if high < low:
            return wrong("invalid decreasing range")
        spans.append((low, high))
        call.meter.spend(5)
    texts, status = call.texts(options.operands)
    for _, text in texts:
        for line in call.lines(text):
            call.meter.spend(5 + len(line) // 4 + 2 * len(spans))
            parts = line.split(delimiter) if chosen == ["f"] else list(line)
            if chosen == ["f"] and len(parts) == 1:
                if "s" not in options:
                    call.say(line + "\n")
                continue
            call.meter.spend(sum(max(min(high, len(parts)) - low + 1, 0) for low, high in spans))
            wanted = sorted({i for low, high in spans for i in range(low, min(high, len(parts)) + 1)})
            call.meter.spend(2 * len(wanted))
            glue = options.value("O", delimiter) if chosen == ["f"] else ""
            call.say(glue.join(parts[i - 1] for i in wanted) + "\n")
    return status


_TR_CLASSES = {
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "lower": "abcdefghijklmnopqrstuvwxyz", "digit": "0123456789",
    "space": "\t\n\v\f\r ", "blank": "\t ", "punct": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
}  # fmt: skip
_TR_CLASSES["alpha"] = _TR_CLASSES["upper"] + _TR_CLASSES["lower"]
_TR_CLASSES["alnum"] = _TR_CLASSES["digit"] + _TR_CLASSES["alpha"]


def tr(call: Call) -> int:
    """Translate, squeeze or delete characters."""
    options = read_options(
        call, "dscCt", {"delete": "d", "squeeze-repeats": "s", "complement": "c"}, permute=False
    )  # fmt: skip
    operands = options.operands
    needed = 1 if "d" in options or "s" in options else 2

    def wrong(message: str) -> int:
        call.complain(message)
        call.err.write("Try 'tr --help' for more information.\n")
        return 1

    if not operands:
        return wrong("missing operand")
    if len(operands) < needed:
        call.complain(f"missing operand after {curly(operands[-1])}")
        call.err.write("Two strings must be given when translating.\nTry 'tr --help' for more information.\n")
        return 1
    if len(operands) > 2:
        return wrong(f"extra operand {curly(operands[2])}")
    call.meter.spend(20 + 4 * sum(map(len, operands)))
    first = _tr_set(operands[0], call.meter)
    second = _tr_set(operands[1], call.meter) if len(operands) > 1 else ""
    if first is None or second is None:
        return call.complain("range-endpoints are in reverse collating sequence order")
    call.meter.spend(2 * (len(first) + len(second)))
    text = call.read("-")
    complement = bool(options.values.keys() & {"c", "C"})
    members = frozenset(first)
    squeezed = frozenset(second or first) if "s" in options else frozenset()
    table: dict[str, str] = {}
    if "d" not in options and second:
        padded = second + second[-1] * max(len(first) - len(second), 0)
        table = dict(reversed(list(zip(first, padded, strict=False)))) if not complement else {}
    call.meter.spend(len(text))
    found: list[str] = []
    last = ""
    for char in text:
        inside = (char in members) != complement
        if "d" in options:
            if inside:
                continue
        elif inside and second:
            char = second[-1] if complement else table.get(char, char)
        hit = char in squeezed if second or not complement else inside
        if hit and char == last:
            continue
        last = char if hit else ""
        found.append(char)
    call.say("".join(found))
    return 0


def _tr_set(text: str, meter: Meter) -> str | None:
    """The characters that a set of ``tr`` names, or ``None`` when a range is reversed."""
    for name, members in _TR_CLASSES.items():
        text = text.replace(f"[:{name}:]", members)
    text = decode_escapes(text)[0]
    found: list[str] = []
    pos = 0
    while pos < len(text):
        if text[pos + 1 : pos + 2] == "-" and pos + 2 < len(text):
            low, high = ord(text[pos]), ord(text[pos + 2])
            if high < low:
                return None
            meter.spend(10 + min(high - low, 512))
            found += [chr(code) for code in range(low, min(high, low + 512) + 1)]
            pos += 3
        else:
            found.append(text[pos])
            pos += 1
    return "".join(found)
