"""``python3`` and ``pytest``: the source goes to an interpreter that the caller supplies; nothing is run here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from overopt.envs.machine.inodes import MISSING, Refused
from overopt.envs.machine.shell import Call, CommandFunction

VERSION = "3.11.7"


@dataclass(frozen=True, slots=True)
class PythonRequest:
    """What a command asks of the interpreter."""

    tool: str
    """``python`` or ``pytest``."""
    source: str
    """The program; empty for pytest."""
    path: str
    """File that the program comes from, as it was written; empty for ``-c`` and standard input."""
    args: tuple[str, ...]
    """What stands behind the program; for pytest its operands and options."""
    stdin: str
    read: Callable[[str], str | None]
    """Content of a file of the machine by its path, ``None`` when it cannot be read."""
    files: Mapping[str, str]
    """Absolute path → text of every regular file that the user may read."""
    folder: str
    """Where the shell stands."""


@dataclass(frozen=True, slots=True)
class PythonAnswer:
    """What the interpreter printed and how it ended."""

    stdout: str = ""
    stderr: str = ""
    status: int = 0


class Interpreter(Protocol):
    """Runs a bounded part of Python without touching the host; must not raise on any program."""

    def __call__(self, request: PythonRequest) -> PythonAnswer:
        """What ``request`` prints."""
        ...


def python(interpreter: Interpreter) -> CommandFunction:
    """The command ``python3`` on top of ``interpreter``."""

    def run(call: Call) -> int:
        args = call.args
        while args[:1] and args[0] in ("-u", "-B", "-I", "-s", "-E", "-O", "-q"):
            args = args[1:]
        if args[:1] in (["-V"], ["--version"]):
            call.say(f"Python {VERSION}\n")
            return 0
        if args[:1] == ["-c"]:
            if len(args) < 2:
                call.err.write("Argument expected for the -c option\n")
                return 2
            return _answer(call, interpreter, "python", args[1], "", args[2:])
        if args[:2] == ["-m", "pytest"]:
            return _answer(call, interpreter, "pytest", "", "", args[2:])
        if args[:1] and args[0].startswith("-") and args[0] != "-":
            call.unsupported(args[0])
            if args[0] == "-m" and len(args) > 1:
                call.err.write(f"/usr/bin/{call.name}: No module named {args[1]}\n")
                return 1
            call.err.write(f"unknown option {args[0]}\nusage: {call.name} [option] ... [-c cmd | file | -] [arg] ...\n")
            return 2
        path = args[0] if args else "-"
        try:
            source = call.read(path)
        except Refused as refusal:
            folder = call.files.path_of(call.shell.folder).rstrip("/")
            where = path if path.startswith("/") else f"{folder}/{path}"
            number = 2 if refusal.reason == MISSING else 13
            if refusal.reason == "Is a directory":
                call.err.write(f"/usr/bin/{call.name}: can't find '__main__' module in {where!r}\n")
                return 1
            call.err.write(f"{call.name}: can't open file {where!r}: [Errno {number}] {refusal.reason}\n")
            return 2
        return _answer(call, interpreter, "python", source, "" if path == "-" else path, args[1:])

    return run


def pytest(interpreter: Interpreter) -> CommandFunction:
    """The command ``pytest`` on top of ``interpreter``."""

    def run(call: Call) -> int:
        return _answer(call, interpreter, "pytest", "", "", call.args)

    return run


def _answer(call: Call, interpreter: Interpreter, tool: str, source: str, path: str, args: list[str]) -> int:
    def read(name: str) -> str | None:
        try:
            return call.read(name)
        except Refused:
            return None

    call.meter.spend(1000 + len(source))
    files = {place: node.text for place, node in call.files.paths() if node.kind == "file" and call.files.may(node, 4)}
    folder = call.files.path_of(call.shell.folder)
    answer = interpreter(PythonRequest(tool, source, path, tuple(args), call.stdin.text, read, files, folder))
    call.say(answer.stdout)
    call.err.write(answer.stderr)
    return answer.status
