"""The reader of the shell language: never raises on any text.

Read: words, single, double and ``$'…'`` quotes, escapes, ``$name``, ``${name}``, ``$?``, ``$(…)``, back quotes,
assignments, ``; && || | |& !``, the redirections ``< > >> >| 2> 2>&1 &> &>> <<< << <<-``, comments.
Not read, and reported as unsupported: loops, conditions, functions, groups, subshells, jobs, arithmetic, braces and the
operators inside ``${…}``. Lines before a problem are kept, as bash runs them before it reads on.
"""

import re

from overopt.envs.machine.cursor import Cursor, Stop
from overopt.envs.machine.limits import Limits
from overopt.envs.machine.syntax import (
    AndOr,
    Command,
    HereDocument,
    Part,
    Pipeline,
    Problem,
    Redirection,
    Script,
    Text,
    Word,
)
from overopt.envs.machine.words import check_braces, quoted_part, read_word

_PLAIN_IN_DOCUMENT = re.compile(r"[^\\$`]+")
_REDIRECTION = re.compile(r"(?:([0-9]{1,3})?(<<<|<<-|<<|<&|<>|<|>>|>&|>\||>))|(&>>|&>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_COMPOUND = {
    "if", "for", "while", "until", "case", "select", "function", "time", "coproc", "{", "[[",
}  # fmt: skip
_CLOSING = {"then", "elif", "else", "fi", "do", "done", "esac", "}"}


def parse(text: str, limits: Limits) -> Script:
    """The script ``text``, up to its end or its first problem."""
    script = Script()
    if len(text) > limits.script_chars:
        script.problem = Problem("bash: Argument list too long\n", limit="script")
        return script
    cursor = Cursor(text, limits, script.warnings, _lists)
    try:
        _lists(cursor, script.lists, 0)
    except Stop as stop:
        script.problem = stop.problem
        # What stands on the line of the problem is not run.
        del script.lists[cursor.complete :]
    return script


def _lists(cursor: Cursor, found: list[AndOr], depth: int) -> None:
    """Read lists until the end of the text, or the ``)`` that closes a substitution."""
    while True:
        cursor.blanks()
        char = cursor.peek()
        if char == "\n" or not char:
            _newline(cursor)
            if not depth:
                cursor.complete = len(found)
            if not char:
                if depth:
                    raise cursor.unfinished(")")
                return
            continue
        if char == ")" and depth:
            return
        found.append(_and_or(cursor, depth))
        cursor.blanks()
        char = cursor.peek()
        if char == "&" and not cursor.text.startswith(("&&", "&>"), cursor.pos):
            raise cursor.unsupported("&", "background jobs")
        if char == ";":
            if cursor.text.startswith(";;", cursor.pos):
                raise cursor.unexpected(";;")
            cursor.take(1)
        elif char and char != "\n" and not (char == ")" and depth):
            raise cursor.unexpected(cursor.operator())


def _and_or(cursor: Cursor, depth: int) -> AndOr:
    result = AndOr(_pipeline(cursor, depth), [])
    while True:
        cursor.blanks()
        operator = cursor.text[cursor.pos : cursor.pos + 2]
        if operator not in ("&&", "||"):
            return result
        cursor.take(2)
        _line_breaks(cursor)
        result.rest.append((operator, _pipeline(cursor, depth)))


def _pipeline(cursor: Cursor, depth: int) -> Pipeline:
    negated = False
    cursor.blanks()
    while cursor.text[cursor.pos : cursor.pos + 2] in ("! ", "!\t", "!\n"):
        negated = not negated
        cursor.take(1)
        cursor.blanks()
    commands = [_command(cursor, depth)]
    while True:
        cursor.blanks()
        if cursor.peek() != "|" or cursor.text.startswith("||", cursor.pos):
            break
        cursor.take(1)
        if cursor.peek() == "&":
            cursor.take(1)
            commands[-1].redirections.append(Redirection(2, ">&", [Text("1", True)]))
        _line_breaks(cursor)
        commands.append(_command(cursor, depth))
    if len(commands) > cursor.limits.stages:
        raise Stop(Problem("bash: fork: retry: Resource temporarily unavailable\n", limit="stages"))
    return Pipeline(commands, negated)


def _command(cursor: Cursor, depth: int) -> Command:
    cursor.blanks()
    cursor.commands += 1
    if cursor.commands > 4 * cursor.limits.commands:
        raise Stop(Problem("bash: Argument list too long\n", limit="commands"))
    command = Command(line=cursor.line())
    while True:
        cursor.blanks()
        redirection = _REDIRECTION.match(cursor.text, cursor.pos)
        if redirection and not cursor.text.startswith(("<(", ">("), redirection.end() - 1):
            _redirections(cursor, command, redirection, depth)
            continue
        begin = cursor.pos
        word = read_word(cursor, depth)
        if word is None:
            break
        if not command.words:
            _check_first(cursor, cursor.text[begin : cursor.pos])
            assignment = isinstance(word[0], Text) and not word[0].quoted and _ASSIGNMENT.match(word[0].text)
            if assignment:
                assert isinstance(word[0], Text)
                if assignment[2]:
                    raise cursor.unsupported("+=", "assignments that append")
                word[0].text = word[0].text[assignment.end() :]
                if not word[0].text and cursor.peek() == "(":
                    raise cursor.unsupported("(", "arrays")
                command.assignments.append((assignment[1], word))
                continue
        check_braces(cursor, word)
        command.words.append(word)
    if cursor.peek() == "(":
        what = "subshells" if not command.words else "functions"
        if cursor.text.startswith("((", cursor.pos):
            what = "arithmetic"
        if len(command.words) > 1 or command.assignments:
            raise cursor.unexpected("(")
        raise cursor.unsupported("(", what)
    if cursor.text.startswith(("<(", ">("), cursor.pos):
        raise cursor.unsupported(cursor.text[cursor.pos : cursor.pos + 2], "process substitution")
    if not command.words and not command.assignments and not command.redirections:
        raise cursor.unexpected(cursor.operator())
    return command


def _check_first(cursor: Cursor, source: str) -> None:
    if source in _COMPOUND:
        raise cursor.unsupported(source, f"'{source}'")
    if source in _CLOSING:
        raise cursor.unexpected(source)


def _redirections(cursor: Cursor, command: Command, found: re.Match[str], depth: int) -> None:
    number, operator, both = found.groups()
    cursor.take(found.end() - cursor.pos)
    cursor.blanks()
    if operator == "<>":
        raise cursor.unsupported("<>", "redirections that read and write")
    line = cursor.line()
    word = read_word(cursor, depth)
    if word is None:
        raise cursor.unexpected(cursor.operator())
    if both:
        command.redirections.append(Redirection(1, both[1:], word))
        command.redirections.append(Redirection(2, ">&", [Text("1", True)]))
        return
    if operator in ("<<", "<<-"):
        quoted = any(isinstance(part, Text) and part.quoted for part in word)
        delimiter = "".join(part.text for part in word if isinstance(part, Text))
        here = HereDocument(delimiter, quoted, operator == "<<-", line)
        cursor.documents.append(here)
        command.redirections.append(Redirection(int(number or 0), "<<", [], here))
        return
    descriptor = int(number) if number else 0 if operator[0] == "<" else 1
    if operator == ">|":
        operator = ">"
    single = len(word) == 1 and _is_descriptor(word[0])
    if operator == ">&" and not number and not single:
        command.redirections.append(Redirection(1, ">", word))
        command.redirections.append(Redirection(2, ">&", [Text("1", True)]))
        return
    if descriptor > 2 or operator == "<&" or (operator == ">&" and not single):
        raise cursor.unsupported(operator, "other descriptors than 0, 1 and 2")
    command.redirections.append(Redirection(descriptor, operator, word))


def _is_descriptor(part: Part) -> bool:
    return isinstance(part, Text) and part.text in ("1", "2")


def _line_breaks(cursor: Cursor) -> None:
    cursor.blanks()
    while cursor.peek() == "\n":
        _newline(cursor)
        cursor.blanks()


def _newline(cursor: Cursor) -> None:
    """Go behind the end of this line and the documents that follow it."""
    cursor.take(1)
    documents, cursor.documents = cursor.documents, []
    for here in documents:
        lines: list[str] = []
        here.ended = False
        while cursor.pos < len(cursor.text):
            cursor.tally()
            end = cursor.text.find("\n", cursor.pos)
            line = cursor.text[cursor.pos :] if end < 0 else cursor.text[cursor.pos : end]
            cursor.pos = len(cursor.text) if end < 0 else end + 1
            if here.strip_tabs:
                line = line.lstrip("\t")
            if line == here.delimiter:
                here.ended = True
                break
            lines.append(line + "\n")
        if not here.ended:
            cursor.warnings.append(
                f"bash: line {cursor.line()}: warning: here-document at line {here.line} delimited by end-of-file "
                f"(wanted `{here.delimiter}')\n"
            )
        here.body = _document_body(cursor, "".join(lines), quoted=here.quoted)


def _document_body(cursor: Cursor, body: str, *, quoted: bool) -> Word:
    if quoted or not any(char in body for char in "\\$`"):
        return [Text(body, True)]
    reader = cursor.within(body)
    word: Word = []
    while reader.pos < len(body):
        quoted_part(reader, word, _PLAIN_IN_DOCUMENT, "$`\\", 0)
    cursor.count = reader.count
    return word
