"""Runs parsed scripts on a simulated file system: lists, pipe lines, redirections, variables, one command at a time.

Every command is a function of this package that gets its arguments, its input and two sinks. Stages of a pipe line run
one after the other, each to its end. Nothing here starts a process, opens a file or reads the host's environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from overopt.envs.machine.expansion import Expander
from overopt.envs.machine.files import FileSystem
from overopt.envs.machine.inodes import IS_A_FOLDER, MISSING, SEARCH, Inode, Place, Refused
from overopt.envs.machine.limits import LimitReached, Limits, Meter
from overopt.envs.machine.parser import parse
from overopt.envs.machine.streams import FileSink, Input, NullSink, Sink
from overopt.envs.machine.syntax import AndOr, Command, Pipeline, Redirection, Script, Variable
from overopt.envs.machine.text import canonical, lines_of, shown

BINARIES = ("/usr/bin/", "/bin/")
MAX_VARIABLE_CHARS = 64 * 1024
_ELSEWHERE = """
apt apt-get awk base64 bash bc cargo column comm curl dd df du ed emacs expr file free g++ gawk gcc git gzip
install java jobs join jq kill killall less make man mawk md5sum more nano nc node npm patch perl pip pip3 pkill ps
pytest python python3 read rev rsync ruby scp set sh sha256sum source split ssh su sudo tar time timeout top trap
tree ulimit unzip vi vim watch wget whereis who xargs xxd zip
"""
ELSEWHERE = frozenset(_ELSEWHERE.split())
"""Well-known commands: one of them that is absent here counts as unsupported, not as a misspelling."""


class Exit(Exception):
    """``exit`` was called; never leaves the package."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class Call:
    """One simple command while it runs."""

    shell: "Shell"
    name: str
    args: list[str]
    stdin: Input
    out: Sink
    err: Sink

    @property
    def files(self) -> FileSystem:
        """The file system."""
        return self.shell.files

    @property
    def meter(self) -> Meter:
        """The meter of the call."""
        return self.shell.meter

    def say(self, text: str) -> None:
        """Print on standard output."""
        self.out.write(text)

    def complain(self, message: str, status: int = 1) -> int:
        """Print ``name: message`` on standard error and return ``status``."""
        self.meter.spend(30)
        self.err.write(f"{self.name}: {message}\n")
        return status

    def unsupported(self, what: str) -> None:
        """Count something that the real command does and this one does not."""
        self.shell.unsupported.append(f"{self.name} {what}"[:80])

    def place(self, path: str, *, follow: bool = True) -> Place:
        """Where ``path`` leads; raises :class:`~overopt.envs.machine.inodes.Refused`."""
        self.meter.spend(20)
        return self.files.find(path, self.shell.folder, follow=follow)

    def node(self, path: str, *, follow: bool = True) -> Inode:
        """What is at ``path``; raises :class:`~overopt.envs.machine.inodes.Refused`."""
        self.meter.spend(20)
        return self.files.existing(path, self.shell.folder, follow=follow)

    def read(self, path: str) -> str:
        """Content of a file, or of standard input for ``-``; raises :class:`~overopt.envs.machine.inodes.Refused`."""
        if path == "-":
            self.meter.bulk(len(self.stdin.text))
            return self.stdin.text
        return self.files.read(self.place(path))

    def lines(self, text: str) -> list[str]:
        """The lines of ``text`` without their newlines, paid for."""
        self.meter.spend(1 + 2 * text.count("\n"))
        return lines_of(text)

    def texts(self, paths: list[str]) -> tuple[list[tuple[str, str]], int]:
        """Name and content of each file that can be read, and 1 after complaints about those that cannot, else 0."""
        found, status = [], 0
        for path in paths or ["-"]:
            try:
                found.append((path, self.read(path)))
            except Refused as refusal:
                status = self.complain(f"{shown(path)}: {refusal.reason}")
        return found, status


CommandFunction = Callable[[Call], int]


@dataclass(slots=True)
class Shell:
    """State that lasts between calls: folder, variables, status, history."""

    files: FileSystem
    limits: Limits
    commands: Mapping[str, CommandFunction]
    builtins: frozenset[str]
    """Names that stay commands without a file in ``/usr/bin``."""
    folder: Inode
    variables: dict[str, str]
    exported: set[str]
    status: int = 0
    history: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    """Constructs and options of the current call that this shell lacks."""
    meter: Meter = field(init=False)
    limits_reached: list[str] = field(default_factory=list)
    line: int = 1
    """Number of the line of the command that runs."""
    substituted: int | None = None
    """Status of the last substitution of the command that is being expanded."""

    def __post_init__(self) -> None:
        self.meter = Meter(self.limits)

    def run(self, text: str, out: Sink, err: Sink) -> int:
        """Run a script as one call and return its status; any text is fine."""
        self.unsupported, self.limits_reached = [], []
        self.meter = self.files.meter = Meter(self.limits)
        script = parse(canonical(text[: self.limits.script_chars + 1]).replace("\0", ""), self.limits)
        try:
            for warning in script.warnings:
                err.write(warning)
            self.script(script, Input(), out, err)
            if script.problem is not None:
                err.write(script.problem.message)
                self.status = 2
        except Exit as ending:
            self.status = ending.status
        except LimitReached as limit:
            self.limits_reached.append(limit.what)
            self.status = 137
            err.left = 200
            err.parts.append(f"bash: stopped: this call used up its {limit.what}\n")
        if script.problem is not None:
            self.unsupported += [script.problem.unsupported] if script.problem.unsupported else []
            self.limits_reached += [script.problem.limit] if script.problem.limit else []
        self.files.meter = None
        return self.status

    def script(self, script: Script, stdin: Input, out: Sink, err: Sink) -> None:
        """Run the lists of a script."""
        for item in script.lists:
            self.and_or(item, stdin, out, err)

    def and_or(self, item: AndOr, stdin: Input, out: Sink, err: Sink) -> None:
        self.status = self.pipeline(item.first, stdin, out, err)
        for operator, pipeline in item.rest:
            if (self.status == 0) == (operator == "&&"):
                self.status = self.pipeline(pipeline, stdin, out, err)

    def pipeline(self, pipeline: Pipeline, stdin: Input, out: Sink, err: Sink) -> int:
        if len(pipeline.commands) == 1:
            status = self.command(pipeline.commands[0], stdin, out, err)
        else:
            status = 0
            for number, command in enumerate(pipeline.commands, 1):
                sink = out if number == len(pipeline.commands) else Sink(self.limits.pipe_chars)
                status = self.apart(lambda: self.command(command, stdin, sink, err))  # noqa: B023  # called at once
                stdin = Input(sink.text()) if sink is not out else stdin
        return int(status == 0) if pipeline.negated else status

    def apart(self, work: Callable[[], int]) -> int:
        """Run ``work`` as in a process of its own: folder and variables are as before afterwards."""
        kept = self.folder, dict(self.variables), set(self.exported)
        try:
            return work()
        except Exit as ending:
            return ending.status
        finally:
            self.folder, self.variables, self.exported = kept

    def substitute(self, script: Script, err: Sink) -> str:
        """Output of a script without its last newlines."""
        sink = Sink(self.limits.pipe_chars)

        def work() -> int:
            self.script(script, Input(), sink, err)
            return self.status

        self.status = self.substituted = self.apart(work)
        return sink.text().rstrip("\n").replace("\0", "")

    # One command

    def command(self, command: Command, stdin: Input, out: Sink, err: Sink) -> int:
        """Expand, redirect and run one simple command."""
        self.meter.command()
        self.substituted, self.line = None, command.line
        expander = Expander(
            self.files, self.meter, self.folder, self.variable, lambda script: self.substitute(script, err)
        )
        args = expander.arguments(command.words)
        name = args[0] if args else ""
        assignments = [(variable, expander.text(word)) for variable, word in command.assignments]
        opened: list[FileSink] = []
        self.acts(f"{name} >")
        # Assignments alone have the status of the last substitution in them.
        status = 0 if args or self.substituted is None else self.substituted
        try:
            try:
                streams = [out, err]
                for redirection in command.redirections:
                    stdin = self.redirect(redirection, expander, stdin, streams, opened)
            except Refused as refusal:
                err.write(f"bash: line {command.line}: {refusal.reason}\n")
                status = 1
            else:
                if args:
                    status = self.execute(args, assignments, stdin, streams[0], streams[1])
                else:
                    for variable, value in assignments:
                        self.assign(variable, value)
        except LimitReached as reached:
            self.acts(f"{name} >")
            for sink in opened:
                sink.abandon(f"stopped at a limit: {reached.what}")
            raise
        except Exit:
            self.close(opened, name, err)
            raise
        return self.close(opened, name, err) or status

    def redirect(
        self, redirection: Redirection, expander: Expander, stdin: Input, streams: list[Sink], opened: list[FileSink]
    ) -> Input:
        """Put one redirection into effect and return the input; the reason of a refusal begins with the name."""
        operator = redirection.operator
        if redirection.here is not None:
            return Input(expander.text(redirection.here.body))
        if operator == "<<<":
            return Input(expander.text(redirection.target) + "\n")
        if operator == ">&":
            target = expander.text(redirection.target)
            if redirection.descriptor:
                streams[redirection.descriptor - 1] = streams[int(target) - 1]
            return stdin
        names = expander.arguments([redirection.target])
        if len(names) != 1:
            part = redirection.target[0]
            raise Refused(f"${part.name}: ambiguous redirect" if isinstance(part, Variable) else "ambiguous redirect")
        name = names[0]
        try:
            place = self.files.find(name, self.folder)
            if operator == "<":
                self.acts(self.files.journal.command.replace(">", "<"))
                text = self.files.read(place)
                self.acts(self.files.journal.command.replace("<", ">"))
                return Input(text, place.node)
            sink = self.sink(place, streams, append=operator == ">>")
        except Refused as refusal:
            raise Refused(f"{name}: {refusal.reason}") from None
        if isinstance(sink, FileSink):
            opened.append(sink)
        if redirection.descriptor:
            streams[redirection.descriptor - 1] = sink
        return stdin

    def sink(self, place: Place, streams: list[Sink], *, append: bool) -> Sink:
        """What a redirection to ``place`` writes to."""
        if place.node is not None and place.node.kind == "device":
            device = place.node.text
            return streams[0] if device == "stdout" else streams[1] if device == "stderr" else NullSink(0)
        return FileSink(self.files, place, self.limits.pipe_chars, append=append)

    def close(self, opened: list[FileSink], name: str, err: Sink) -> int:
        """Write the files behind redirections; 1 after a refusal, else 0."""
        self.acts(f"{name} >")
        complaints: list[str] = []
        for index, sink in enumerate(opened):
            try:
                sink.close()
            except Refused as refusal:
                complaints.append(f"{self.called(name)}: write error: {refusal.reason}\n")
            except LimitReached as reached:
                for other in opened[index + 1 :]:
                    other.abandon(f"stopped at a limit: {reached.what}")
                raise
        # Printing may reach a limit, so it waits until no file is open.
        for complaint in complaints:
            err.write(complaint)
        return int(bool(complaints))

    def acts(self, name: str) -> None:
        """Tell the record who acts from here on."""
        self.files.journal.command = name.strip()[:60]

    def execute(self, args: list[str], assignments: list[tuple[str, str]], stdin: Input, out: Sink, err: Sink) -> int:
        """Run the command that ``args`` name, with ``assignments`` in its environment only."""
        name = args[0]
        found = self.lookup(name)
        if isinstance(found, str):
            err.write(f"bash: line {self.line}: {name}: {found}\n")
            return 127 if found in ("command not found", MISSING) else 126
        call = Call(self, self.called(name), args[1:], stdin, out, err)
        outer = self.files.journal.command
        self.acts(name)
        status = self.execute_with(assignments, lambda: found(call))
        self.acts(outer)
        return status

    def execute_with(self, assignments: list[tuple[str, str]], work: Callable[[], int]) -> int:
        """Run ``work`` while ``assignments`` hold."""
        if not assignments:
            return work()
        variables, exported = dict(self.variables), set(self.exported)
        for variable, value in assignments:
            self.assign(variable, value)
            self.exported.add(variable)
        status = work()
        for variable, _ in assignments:
            self.exported.discard(variable)
            self.variables.pop(variable, None)
            if variable in variables:
                self.variables[variable] = variables[variable]
            if variable in exported:
                self.exported.add(variable)
        return status

    def called(self, name: str) -> str:
        """How the command ``name`` begins its complaints."""
        return f"bash: line {self.line}: {name}" if name in self.builtins else name

    def lookup(self, name: str) -> CommandFunction | str:
        """The command of this name, or what is wrong with it."""
        found = self.commands.get(name)
        if found is not None:
            return found
        if "/" not in name:
            if name in ELSEWHERE:
                self.unsupported.append(f"command {name}")
            return "command not found"
        for prefix in BINARIES:
            found = self.commands.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if found is not None and name.removeprefix(prefix) not in self.builtins - {"echo", "printf", "test", "["}:
                return found
        try:
            node = self.files.existing(name, self.folder)
        except Refused as refusal:
            return refusal.reason
        if node.kind == "folder":
            return IS_A_FOLDER
        if not node.mode & 0o111 or not self.files.may(node, SEARCH):
            return "Permission denied"
        self.unsupported.append("scripts")
        return "cannot execute: required file not found"

    # Variables

    def variable(self, name: str) -> str:
        """Value of a variable, empty when it is not set."""
        if name == "?":
            return str(self.status)
        if name == "#":
            return "0"
        if name == "$":
            return "1"
        if name == "0":
            return "bash"
        return self.variables.get(name, "")

    def assign(self, name: str, value: str) -> None:
        """Set a variable.

        Raises
        ------
        LimitReached
            If all variables together would be too long.
        """
        self.variables[name] = value
        if sum(map(len, self.variables.values())) + sum(map(len, self.variables)) > MAX_VARIABLE_CHARS:
            del self.variables[name]
            raise LimitReached("variables")
