"""A text that is read from left to right, with what a shell says when it cannot go on."""

from collections.abc import Callable

from overopt.envs.machine.limits import Limits
from overopt.envs.machine.syntax import AndOr, HereDocument, Problem


class Stop(Exception):
    """The text has a problem here; never leaves the package."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Cursor:
    """Where reading stands in a text, and what was counted on the way.

    Parameters
    ----------
    text
        What is read.
    limits
        Of pieces, commands and depth.
    warnings
        Collects what is said of a text that is taken all the same.
    lists
        Reads lists behind a cursor, those of a substitution included, at a depth of substitutions.
    """

    def __init__(
        self, text: str, limits: Limits, warnings: list[str], lists: Callable[["Cursor", list[AndOr], int], None]
    ) -> None:
        self.text, self.limits, self.warnings, self.lists = text, limits, warnings, lists
        self.pos, self.count = 0, 0
        self.complete, self.level, self.commands = 0, 0, 0
        self.counted, self.lines = 0, 1
        self.documents: list[HereDocument] = []

    def peek(self) -> str:
        """The character here, empty at the end."""
        return self.text[self.pos : self.pos + 1]

    def take(self, n: int) -> None:
        """Go on by ``n`` characters."""
        self.tally()
        self.pos += n

    def blanks(self) -> None:
        """Go behind blanks, continued lines and a comment."""
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

    def line(self) -> int:
        """Number of the line here, from 1."""
        self.lines += self.text.count("\n", self.counted, self.pos)
        self.counted = max(self.counted, self.pos)
        return self.lines

    def tally(self) -> None:
        """Count one piece of the text, up to the limit of words."""
        self.count += 1
        if self.count > self.limits.words:
            raise Stop(Problem("bash: Argument list too long\n", limit="words"))

    def descend(self) -> None:
        """Go into a substitution, not deeper than is allowed."""
        self.level += 1
        if self.level > self.limits.substitution_depth:
            raise self.unsupported("$(", f"substitutions more than {self.limits.substitution_depth} deep")

    def within(self, text: str) -> "Cursor":
        """A cursor in a text that stands inside this one."""
        inner = Cursor(text, self.limits, self.warnings, self.lists)
        inner.count, inner.level = self.count, self.level
        return inner

    # Problems

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

    def unexpected(self, token: str) -> Stop:
        """What bash says of a token that cannot stand here."""
        at_end = token == "newline" and not self.peek()
        line = self.line()
        begin = self.text.rfind("\n", 0, self.pos) + 1
        source = self.text[begin:].partition("\n")[0]
        if at_end and source.rstrip().endswith(("|", "&&")):
            return Stop(Problem(f"bash: -c: line {line + 1}: syntax error: unexpected end of file\n"))
        return Stop(
            Problem(
                f"bash: -c: line {line}: syntax error near unexpected token `{token}'\n"
                f"bash: -c: line {line}: `{source}'\n"
            )
        )

    def unfinished(self, mark: str) -> Stop:
        """What bash says of a quote or a substitution that is never closed."""
        # bash names the line of the opening quote, but the last line for an open substitution.
        line = self.text.rstrip("\n").count("\n") + 2 if mark == ")" else self.line()
        return Stop(Problem(f"bash: -c: line {line}: unexpected EOF while looking for matching `{mark}'\n"))

    def unsupported(self, token: str, what: str) -> Stop:
        """What this shell says of a construct that it lacks."""
        return Stop(Problem(f"bash: -c: line {self.line()}: `{token}': {what}: not supported in this shell\n", what))
