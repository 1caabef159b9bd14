"""The reader of the shell language: never raises on any text.

Read: words, single, double and ``$'…'`` quotes, escapes, ``$name``, ``${name}``, ``$?``, ``$(…)``, back quotes,
assignments, ``; && || | |& !``, the redirections ``< > >> >| 2> 2>&1 &> &>> <<< << <<-``, comments.
Not read, and reported as unsupported: loops, conditions, functions, groups, subshells, jobs, arithmetic, braces and the
operators inside ``${…}``. Lines before a problem are kept, as bash runs them before it reads on.
"""

import re

from overopt.envs.machine.escapes import decode_escapes
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
    Substitution,
    Text,
    Variable,
    Word,
)

_PLAIN = re.compile(r"[^ \t\n|&;()<>'\"\\$`]+")
_PLAIN_IN_QUOTES = re.compile(r'[^"\\$`]+')
_PLAIN_IN_DOCUMENT = re.compile(r"[^\\$`]+")
_REDIRECTION = re.compile(r"(?:([0-9]{1,3})?(<<<|<<-|<<|<&|<>|<|>>|>&|>\||>))|(&>>|&>)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL = "?$#@*!0123456789-"
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_RANGE = re.compile(r"-?[0-9]+\.\.-?[0-9]+(\.\.-?[0-9]+)?|[A-Za-z]\.\.[A-Za-z]")
_BACK_QUOTE = re.compile(r"[`\\]")
_SINGLE_QUOTE = re.compile(r"['\\]")
_COMPOUND = {
    "if", "for", "while", "until", "case", "select", "function", "time", "coproc", "{", "[[",
}  # fmt: skip
_CLOSING = {"then", "elif", "else", "fi", "do", "done", "esac", "}"}


class _Stop(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse(text: str, limits: Limits) -> Script:
    """The script ``text``, up to its end or its first problem."""
    script = Script()
    if len(text) > limits.script_chars:
        script.problem = Problem("bash: Argument list too long\n", limit="script")
        return script
    reader = _Reader(text, limits, script.warnings)
    try:
        reader.lists(script.lists, depth=0)
    except _Stop as stop:
        script.problem = stop.problem
        # What stands on the line of the problem is not run.
        del script.lists[reader.complete :]
    return script


class _Reader:
    def __init__(self, text: str, limits: Limits, warnings: list[str]) -> None:
        self.text, self.limits, self.warnings = text, limits, warnings
        self.pos, self.count = 0, 0
        self.complete, self.level, self.commands = 0, 0, 0
        self.counted, self.lines = 0, 1
        self.documents: list[HereDocument] = []

    # Lists

    def lists(self, found: list[AndOr], *, depth: int) -> None:
        """Read lists until the end of the text, or the ``)`` that closes a substitution."""
        while True:
            self.blanks()
            char = self.peek()
            if char == "\n" or not char:
                self.newline()
                if not depth:
                    self.complete = len(found)
                if not char:
                    if depth:
                        raise self.unfinished(")")
                    return
                continue
            if char == ")" and depth:
                return
            found.append(self.and_or(depth))
            self.blanks()
            char = self.peek()
            if char == "&" and not self.text.startswith(("&&", "&>"), self.pos):
                raise self.unsupported("&", "background jobs")
            if char == ";":
                if self.text.startswith(";;", self.pos):
                    raise self.unexpected(";;")
                self.take(1)
            elif char and char != "\n" and not (char == ")" and depth):
                raise self.unexpected(self.operator())

    def and_or(self, depth: int) -> AndOr:
        result = AndOr(self.pipeline(depth), [])
        while True:
            self.blanks()
            operator = self.text[self.pos : self.pos + 2]
            if operator not in ("&&", "||"):
                return result
            self.take(2)
            self.line_breaks()
            result.rest.append((operator, self.pipeline(depth)))

    def pipeline(self, depth: int) -> Pipeline:
        negated = False
        self.blanks()
        while self.text[self.pos : self.pos + 2] in ("! ", "!\t", "!\n"):
            negated = not negated
            self.take(1)
            self.blanks()
        commands = [self.command(depth)]
        while True:
            self.blanks()
            if self.peek() != "|" or self.text.startswith("||", self.pos):
                break
            self.take(1)
            if self.peek() == "&":
                self.take(1)
                commands[-1].redirections.append(Redirection(2, ">&", [Text("1", True)]))
            self.line_breaks()
            commands.append(self.command(depth))
        if len(commands) > self.limits.stages:
            raise _Stop(Problem("bash: fork: retry: Resource temporarily unavailable\n", limit="stages"))
        return Pipeline(commands, negated)

    def command(self, depth: int) -> Command:
        self.blanks()
        self.commands += 1
        if self.commands > 4 * self.limits.commands:
            raise _Stop(Problem("bash: Argument list too long\n", limit="commands"))
        command = Command(line=self.line())
        while True:
            self.blanks()
            redirection = _REDIRECTION.match(self.text, self.pos)
            if redirection and not self.text.startswith(("<(", ">("), redirection.end() - 1):
                self.redirections(command, redirection, depth)
                continue
            begin = self.pos
            word = self.word(depth)
            if word is None:
                break
            if not command.words:
                self.check_first(word, self.text[begin : self.pos])
                assignment = isinstance(word[0], Text) and not word[0].quoted and _ASSIGNMENT.match(word[0].text)
                if assignment:
                    assert isinstance(word[0], Text)
                    if assignment[2]:
                        raise self.unsupported("+=", "assignments that append")
                    word[0].text = word[0].text[assignment.end() :]
                    if not word[0].text and self.peek() == "(":
                        raise self.unsupported("(", "arrays")
                    command.assignments.append((assignment[1], word))
                    continue
            self.check_braces(word)
            command.words.append(word)
        if self.peek() == "(":
            what = "subshells" if not command.words else "functions"
            if self.text.startswith("((", self.pos):
                what = "arithmetic"
            if len(command.words) > 1 or command.assignments:
                raise self.unexpected("(")
            raise self.unsupported("(", what)
        if self.text.startswith(("<(", ">("), self.pos):
            raise self.unsupported(self.text[self.pos : self.pos + 2], "process substitution")
        if not command.words and not command.assignments and not command.redirections:
            raise self.unexpected(self.operator())
        return command

    def check_first(self, word: Word, source: str) -> None:
        if source in _COMPOUND:
            raise self.unsupported(source, f"'{source}'")
        if source in _CLOSING:
            raise self.unexpected(source)

    def redirections(self, command: Command, found: re.Match[str], depth: int) -> None:
        number, operator, both = found.groups()
        self.take(found.end() - self.pos)
        self.blanks()
        if operator == "<>":
            raise self.unsupported("<>", "redirections that read and write")
        line = self.line()
        word = self.word(depth)
        if word is None:
            raise self.unexpected(self.operator())
        if both:
            command.redirections.append(Redirection(1, both[1:], word))
            command.redirections.append(Redirection(2, ">&", [Text("1", True)]))
            return
        if operator in ("<<", "<<-"):
            quoted = any(isinstance(part, Text) and part.quoted for part in word)
            delimiter = "".join(part.text for part in word if isinstance(part, Text))
            here = HereDocument(delimiter, quoted, operator == "<<-", line)
            self.documents.append(here)
            command.redirections.append(Redirection(int(number or 0), "<<", [], here))
            return
        descriptor = int(number) if number else 0 if operator[0] == "<" else 1
        if operator == ">|":
            operator = ">"
        single = len(word) == 1 and self.is_descriptor(word[0])
        if operator == ">&" and not number and not single:
            command.redirections.append(Redirection(1, ">", word))
            command.redirections.append(Redirection(2, ">&", [Text("1", True)]))
            return
        if descriptor > 2 or operator == "<&" or (operator == ">&" and not single):
            raise self.unsupported(operator, "other descriptors than 0, 1 and 2")
        command.redirections.append(Redirection(descriptor, operator, word))

    @staticmethod
    def is_descriptor(part: Part) -> bool:
        return isinstance(part, Text) and part.text in ("1", "2")

    # Words

    def word(self, depth: int) -> Word | None:
        """The word here, or ``None`` where an operator, a blank or the end is."""
        word: Word = []
        text = self.text
        while self.pos < len(text):
            char = text[self.pos]
            plain = _PLAIN.match(text, self.pos)
            if plain:
                self.tally()
                word.append(Text(plain[0], False))
                self.pos = plain.end()
            elif char == "\\":
                self.escape(word)
            elif char == "'":
                word.append(Text(self.until("'", 1), True))
            elif char == '"':
                self.pos += 1
                self.double_quoted(word, depth)
            elif char == "$" and text.startswith("$'", self.pos):
                word.append(Text(self.dollar_quoted(), True))
            elif char == "$" and text.startswith('$"', self.pos):
                self.pos += 2
                self.double_quoted(word, depth)
            elif char in "$`":
                word.append(self.expansion(depth, quoted=False))
            else:
                break
        return word or None

    def escape(self, word: Word) -> None:
        self.tally()
        after = self.text[self.pos + 1 : self.pos + 2]
        self.pos += 1 + len(after)
        if after != "\n":
            word.append(Text(after or "\\", True))

    def until(self, mark: str, skip: int) -> str:
        """The text up to ``mark``, after ``skip`` characters; goes behind the mark."""
        self.tally()
        begin = self.pos + skip
        end = self.text.find(mark, begin)
        if end < 0:
            raise self.unfinished(mark)
        self.pos = end + 1
        return self.text[begin:end]

    def double_quoted(self, word: Word, depth: int) -> None:
        """Read behind the opening quote."""
        before = len(word)
        text = self.text
        while True:
            if self.pos >= len(text):
                raise self.unfinished('"')
            if text[self.pos] == '"':
                self.pos += 1
                break
            self.quoted_part(word, _PLAIN_IN_QUOTES, '$`"\\', depth)
        if len(word) == before:
            word.append(Text("", True))

    def quoted_part(self, word: Word, plain: re.Pattern[str], escapable: str, depth: int) -> None:
        self.tally()
        text = self.text
        found = plain.match(text, self.pos)
        if found:
            word.append(Text(found[0], True))
            self.pos = found.end()
        elif text[self.pos] == "\\":
            after = text[self.pos + 1 : self.pos + 2]
            self.pos += 1 + len(after)
            if after != "\n":
                word.append(Text(after if after and after in escapable else "\\" + after, True))
        else:
            word.append(self.expansion(depth, quoted=True))

    def dollar_quoted(self) -> str:
        """The text of ``$'…'``."""
        begin = position = self.pos + 2
        while True:
            self.tally()
            mark = _SINGLE_QUOTE.search(self.text, position)
            if mark is None:
                raise self.unfinished("'")
            position = mark.start()
            if self.text[position] == "'":
                self.pos = position + 1
                return decode_escapes(self.text[begin:position])[0]
            position += 2

    def expansion(self, depth: int, *, quoted: bool) -> Part:
        """What begins with ``$`` or a back quote here."""
        self.tally()
        text, pos = self.text, self.pos
        if text[pos] == "`":
            return self.back_quoted(quoted=quoted)
        if text.startswith("$((", pos) or text.startswith("$[", pos):
            raise self.unsupported(text[pos : pos + 3], "arithmetic")
        if text.startswith("$(", pos):
            self.descend()
            self.pos += 2
            outer, self.documents = self.documents, []
            script = Script(warnings=self.warnings)
            self.lists(script.lists, depth=depth + 1)
            self.documents = outer
            self.level -= 1
            self.take(1)
            return Substitution(script, quoted)
        if text.startswith("${", pos):
            name = _NAME.match(text, pos + 2)
            end = name.end() if name else pos + 3
            inner = text[pos + 2 : end]
            if text[end : end + 1] == "}" and (name or (inner and inner in _SPECIAL)):
                self.pos = end + 1
                return Variable(inner, quoted)
            if text.find("}", pos) < 0:
                raise self.unfinished("}")
            raise self.unsupported("${", "operators inside ${…}")
        name = _NAME.match(text, pos + 1)
        if name:
            self.pos = name.end()
            return Variable(name[0], quoted)
        special = text[pos + 1 : pos + 2]
        if special and special in _SPECIAL:
            self.pos += 2
            return Variable(special, quoted)
        self.pos += 1
        return Text("$", quoted)

    def back_quoted(self, *, quoted: bool) -> Substitution:
        self.descend()
        inner, pos = [], self.pos + 1
        while True:
            self.tally()
            mark = _BACK_QUOTE.search(self.text, pos)
            if mark is None:
                raise self.unfinished("`")
            found = mark.start()
            inner.append(self.text[pos:found])
            if self.text[found] == "`":
                break
            after = self.text[found + 1 : found + 2]
            inner.append(after if after and after in "`\\$" else "\\" + after)
            pos = found + 2
        reader = self.within("".join(inner))
        script = Script()
        reader.lists(script.lists, depth=0)
        self.count = reader.count
        self.level -= 1
        self.pos = found + 1
        return Substitution(script, quoted)

    def within(self, text: str) -> "_Reader":
        """A reader of a text that stands inside this one."""
        reader = _Reader(text, self.limits, self.warnings)
        reader.count, reader.level = self.count, self.level
        return reader

    def descend(self) -> None:
        self.level += 1
        if self.level > self.limits.substitution_depth:
            raise self.unsupported("$(", f"substitutions more than {self.limits.substitution_depth} deep")

    def check_braces(self, word: Word) -> None:
        """Refuse what bash would expand: ``{a,b}`` and ``{1..9}`` outside quotes."""
        if not any(isinstance(part, Text) and not part.quoted and "{" in part.text for part in word):
            return
        skeleton = "".join(part.text if isinstance(part, Text) and not part.quoted else "_" for part in word)
        pieces = skeleton.split("{")
        for piece in pieces[1:]:
            inner, closed, _ = piece.partition("}")
            if closed and ("," in inner or _RANGE.fullmatch(inner)):
                raise self.unsupported("{", "brace expansion")
        if len(pieces) > 2 and "," in skeleton and "}" in skeleton:
            raise self.unsupported("{", "brace expansion")

    # Blanks, line ends, here-documents

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def take(self, n: int) -> None:
        self.tally()
        self.pos += n

    def blanks(self) -> None:
        text, length = self.text, len(self.text)
        while self.pos < length:
            char = text[self.pos]
            if char in " \t":
                self.pos += 1
            elif char == "\\" and text.startswith("\\\n", self.pos):
                self.pos += 2
            elif char == "#" and (self.pos == 0 or text[self.pos - 1] in " \t\n;&|()"):
                end = text.find("\n", self.pos)
                self.pos = length if end < 0 else end
            else:
                return

    def line_breaks(self) -> None:
        self.blanks()
        while self.peek() == "\n":
            self.newline()
            self.blanks()

    def newline(self) -> None:
        """Go behind the end of this line and the documents that follow it."""
        self.take(1)
        documents, self.documents = self.documents, []
        for here in documents:
            lines: list[str] = []
            here.ended = False
            while self.pos < len(self.text):
                self.tally()
                end = self.text.find("\n", self.pos)
                line = self.text[self.pos :] if end < 0 else self.text[self.pos : end]
                self.pos = len(self.text) if end < 0 else end + 1
                if here.strip_tabs:
                    line = line.lstrip("\t")
                if line == here.delimiter:
                    here.ended = True
                    break
                lines.append(line + "\n")
            if not here.ended:
                self.warnings.append(
                    f"bash: line {self.line()}: warning: here-document at line {here.line} delimited by end-of-file "
                    f"(wanted `{here.delimiter}')\n"
                )
            here.body = self.document_body("".join(lines), quoted=here.quoted)

    def document_body(self, body: str, *, quoted: bool) -> Word:
        if quoted or not any(char in body for char in "\\$`"):
            return [Text(body, True)]
        reader = self.within(body)
        word: Word = []
        while reader.pos < len(body):
            reader.quoted_part(word, _PLAIN_IN_DOCUMENT, "$`\\", 0)
        self.count = reader.count
        return word

    # Problems

    def tally(self) -> None:
        self.count += 1
        if self.count > self.limits.words:
            raise _Stop(Problem("bash: Argument list too long\n", limit="words"))

    def line(self) -> int:
        """Number of the line here, from 1."""
        self.lines += self.text.count("\n", self.counted, self.pos)
        self.counted = max(self.counted, self.pos)
        return self.lines

    def operator(self) -> str:
        """The operator here as bash names it in a message."""
        char = self.peek()
        if not char or char == "\n":
            return "newline"
        for operator in (
            ";;",
            "&&",
            "||",
            "|&",
            "<<<",
            "<<",
            ">>",
            ">&",
            "<&",
            "&>",
            ";",
            "|",
            "&",
            "(",
            ")",
            "<",
            ">",
        ):
            if self.text.startswith(operator, self.pos):
                return operator
        return char

    def unexpected(self, token: str) -> _Stop:
        at_end = token == "newline" and not self.peek()
        line = self.line()
        begin = self.text.rfind("\n", 0, self.pos) + 1
        source = self.text[begin:].partition("\n")[0]
        if at_end and source.rstrip().endswith(("|", "&&")):
            return _Stop(Problem(f"bash: -c: line {line + 1}: syntax error: unexpected end of file\n"))
        return _Stop(
            Problem(
                f"bash: -c: line {line}: syntax error near unexpected token `{token}'\n"
                f"bash: -c: line {line}: `{source}'\n"
            )
        )

    def unfinished(self, mark: str) -> _Stop:
        # bash names the line of the opening quote, but the last line for an open substitution.
        line = self.text.rstrip("\n").count("\n") + 2 if mark == ")" else self.line()
        return _Stop(Problem(f"bash: -c: line {line}: unexpected EOF while looking for matching `{mark}'\n"))

    def unsupported(self, token: str, what: str) -> _Stop:
        return _Stop(Problem(f"bash: -c: line {self.line()}: `{token}': {what}: not supported in this shell\n", what))
