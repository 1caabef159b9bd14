"""What the parser makes of a script: words with their quoting, commands with their redirections, lists."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Text:
    """Text as written; ``quoted`` keeps it from being split and from matching file names."""

    text: str
    quoted: bool


@dataclass(slots=True)
class Variable:
    """``$name``."""

    name: str
    quoted: bool


@dataclass(slots=True)
class Substitution:
    """``$(script)``."""

    script: "Script"
    quoted: bool


Part = Text | Variable | Substitution
Word = list[Part]


@dataclass(slots=True)
class HereDocument:
    """The lines behind ``<<word``; ``delimiter`` is the word without quotes."""

    delimiter: str
    quoted: bool
    strip_tabs: bool
    line: int
    body: Word = field(default_factory=list)
    ended: bool = True


@dataclass(slots=True)
class Redirection:
    """``operator`` is one of ``< > >> <<< <<`` and ``>&`` with a digit in ``target``."""

    descriptor: int
    operator: str
    target: Word
    here: HereDocument | None = None


@dataclass(slots=True)
class Command:
    """A simple command."""

    words: list[Word] = field(default_factory=list)
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)
    line: int = 1


@dataclass(slots=True)
class Pipeline:
    """Commands joined by ``|``."""

    commands: list[Command]
    negated: bool


@dataclass(slots=True)
class AndOr:
    """Pipelines with the operator (``&&`` or ``||``) in front of each but the first."""

    first: Pipeline
    rest: list[tuple[str, Pipeline]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the rest of a script was not read."""

    message: str
    """What bash would print, or close to it; ends with a newline."""
    unsupported: str = ""
    """The construct, when it is one that bash has and this shell does not."""
    limit: str = ""
    """The limit that was reached."""


@dataclass(slots=True)
class Script:
    """Lists in order, up to the first problem."""

    lists: list[AndOr] = field(default_factory=list)
    problem: Problem | None = None
    warnings: list[str] = field(default_factory=list)
