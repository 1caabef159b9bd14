"""Reads words of the shell language: plain text, quotes, escapes, variables and substitutions."""

import re

from overopt.envs.machine.cursor import Cursor
from overopt.envs.machine.escapes import decode_escapes
from overopt.envs.machine.syntax import Part, Script, Substitution, Text, Variable, Word

_PLAIN = re.compile(r"[^ \t\n|&;()<>'\"\\$`]+")
_PLAIN_IN_QUOTES = re.compile(r'[^"\\$`]+')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL = "?$#@*!0123456789-"
_RANGE = re.compile(r"-?[0-9]+\.\.-?[0-9]+(\.\.-?[0-9]+)?|[A-Za-z]\.\.[A-Za-z]")
_BACK_QUOTE = re.compile(r"[`\\]")
_SINGLE_QUOTE = re.compile(r"['\\]")


def read_word(cursor: Cursor, depth: int) -> Word | None:
    """The word here, or ``None`` where an operator, a blank or the end is."""
    word: Word = []
    text = cursor.text
    while cursor.pos < len(text):
        char = text[cursor.pos]
        plain = _PLAIN.match(text, cursor.pos)
        if plain:
            cursor.tally()
            word.append(Text(plain[0], False))
            cursor.pos = plain.end()
        elif char == "\\":
            _escape(cursor, word)
        elif char == "'":
            word.append(Text(_until(cursor, "'", 1), True))
        elif char == '"':
            cursor.pos += 1
            _double_quoted(cursor, word, depth)
        elif char == "$" and text.startswith("$'", cursor.pos):
            word.append(Text(_dollar_quoted(cursor), True))
        elif char == "$" and text.startswith('$"', cursor.pos):
            cursor.pos += 2
            _double_quoted(cursor, word, depth)
        elif char in "$`":
            word.append(_expansion(cursor, depth, quoted=False))
        else:
            break
    return word or None


def quoted_part(cursor: Cursor, word: Word, plain: re.Pattern[str], escapable: str, depth: int) -> None:
    """Read a stretch of quoted text, an escape or an expansion, up to what ``plain`` does not take."""
    cursor.tally()
    text = cursor.text
    found = plain.match(text, cursor.pos)
    if found:
        word.append(Text(found[0], True))
        cursor.pos = found.end()
    elif text[cursor.pos] == "\\":
        after = text[cursor.pos + 1 : cursor.pos + 2]
        cursor.pos += 1 + len(after)
        if after != "\n":
            word.append(Text(after if after and after in escapable else "\\" + after, True))
    else:
        word.append(_expansion(cursor, depth, quoted=True))


def check_braces(cursor: Cursor, word: Word) -> None:
    """Refuse what bash would expand: ``{a,b}`` and ``{1..9}`` outside quotes."""
    if not any(isinstance(part, Text) and not part.quoted and "{" in part.text for part in word):
        return
    skeleton = "".join(part.text if isinstance(part, Text) and not part.quoted else "_" for part in word)
    pieces = skeleton.split("{")
    for piece in pieces[1:]:
        inner, closed, _ = piece.partition("}")
        if closed and ("," in inner or _RANGE.fullmatch(inner)):
            raise cursor.unsupported("{", "brace expansion")
    if len(pieces) > 2 and "," in skeleton and "}" in skeleton:
        raise cursor.unsupported("{", "brace expansion")


def _escape(cursor: Cursor, word: Word) -> None:
    cursor.tally()
    after = cursor.text[cursor.pos + 1 : cursor.pos + 2]
    cursor.pos += 1 + len(after)
    if after != "\n":
        word.append(Text(after or "\\", True))


def _until(cursor: Cursor, mark: str, skip: int) -> str:
    """The text up to ``mark``, after ``skip`` characters; goes behind the mark."""
    cursor.tally()
    begin = cursor.pos + skip
    end = cursor.text.find(mark, begin)
    if end < 0:
        raise cursor.unfinished(mark)
    cursor.pos = end + 1
    return cursor.text[begin:end]


def _double_quoted(cursor: Cursor, word: Word, depth: int) -> None:
    """Read behind the opening quote."""
    before = len(word)
    text = cursor.text
    while True:
        if cursor.pos >= len(text):
            raise cursor.unfinished('"')
        if text[cursor.pos] == '"':
            cursor.pos += 1
            break
        quoted_part(cursor, word, _PLAIN_IN_QUOTES, '$`"\\', depth)
    if len(word) == before:
        word.append(Text("", True))


def _dollar_quoted(cursor: Cursor) -> str:
    """The text of ``$'…'``."""
    begin = position = cursor.pos + 2
    while True:
        cursor.tally()
        mark = _SINGLE_QUOTE.search(cursor.text, position)
        if mark is None:
            raise cursor.unfinished("'")
        position = mark.start()
        if cursor.text[position] == "'":
            cursor.pos = position + 1
            return decode_escapes(cursor.text[begin:position])[0]
        position += 2


def _expansion(cursor: Cursor, depth: int, *, quoted: bool) -> Part:
    """What begins with ``$`` or a back quote here."""
    cursor.tally()
    text, pos = cursor.text, cursor.pos
    if text[pos] == "`":
        return _back_quoted(cursor, quoted=quoted)
    if text.startswith("$((", pos) or text.startswith("$[", pos):
        raise cursor.unsupported(text[pos : pos + 3], "arithmetic")
    if text.startswith("$(", pos):
        cursor.descend()
        cursor.pos += 2
        outer, cursor.documents = cursor.documents, []
        script = Script(warnings=cursor.warnings)
        cursor.lists(cursor, script.lists, depth + 1)
        cursor.documents = outer
        cursor.level -= 1
        cursor.take(1)
        return Substitution(script, quoted)
    if text.startswith("${", pos):
        name = _NAME.match(text, pos + 2)
        end = name.end() if name else pos + 3
        inner = text[pos + 2 : end]
        if text[end : end + 1] == "}" and (name or (inner and inner in _SPECIAL)):
            cursor.pos = end + 1
            return Variable(inner, quoted)
        if text.find("}", pos) < 0:
            raise cursor.unfinished("}")
        raise cursor.unsupported("${", "operators inside ${…}")
    name = _NAME.match(text, pos + 1)
    if name:
        cursor.pos = name.end()
        return Variable(name[0], quoted)
    special = text[pos + 1 : pos + 2]
    if special and special in _SPECIAL:
        cursor.pos += 2
        return Variable(special, quoted)
    cursor.pos += 1
    return Text("$", quoted)


def _back_quoted(cursor: Cursor, *, quoted: bool) -> Substitution:
    cursor.descend()
    inner, pos = [], cursor.pos + 1
    while True:
        cursor.tally()
        mark = _BACK_QUOTE.search(cursor.text, pos)
        if mark is None:
            raise cursor.unfinished("`")
        found = mark.start()
        inner.append(cursor.text[pos:found])
        if cursor.text[found] == "`":
            break
        after = cursor.text[found + 1 : found + 2]
        inner.append(after if after and after in "`\\$" else "\\" + after)
        pos = found + 2
    reader = cursor.within("".join(inner))
    script = Script()
    cursor.lists(reader, script.lists, 0)
    cursor.count = reader.count
    cursor.level -= 1
    cursor.pos = found + 1
    return Substitution(script, quoted)
