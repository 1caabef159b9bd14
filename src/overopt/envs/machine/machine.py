"""The simulated machine as the rest of the package sees it: lay out files, run calls, look at what happened."""

from dataclasses import dataclass, replace

from overopt.envs.machine.commands.python import Interpreter
from overopt.envs.machine.files import FileSystem
from overopt.envs.machine.inodes import MISSING, USER, Inode, Kind, Place, Refused
from overopt.envs.machine.limits import Limits
from overopt.envs.machine.profiles import BUILTINS, Profile, commands_of
from overopt.envs.machine.provenance import Actor, Journal, Read, Role, Write
from overopt.envs.machine.shell import Shell
from overopt.envs.machine.streams import Sink
from overopt.envs.machine.text import canonical, from_bytes, to_bytes
from overopt.errors import ConfigError

HOME = f"/home/{USER}"
START = 1_705_309_200
"""2024-01-15 09:00:00 UTC, when the virtual clock starts; each call takes a second."""
LINKS = 256
"""Symbolic links that :meth:`Machine.contents` follows, those behind links counted again for every way to them."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one call returned."""

    step: int
    """Number of the call, from 1."""
    stdout: str
    stderr: str
    status: int
    cut: int = 0
    """Bytes of both streams that were left out of ``stdout`` and ``stderr``."""
    unsupported: tuple[str, ...] = ()
    """Constructs, commands and options that a real shell has and this one lacks."""
    limits: tuple[str, ...] = ()
    """Limits that ended the call, by the names in :class:`~overopt.envs.machine.limits.Limits` or close to them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of the tree."""

    kind: Kind
    text: str
    """Content of a file, target of a link."""
    mode: int
    owner: str
    role: Role
    inode: int


class Machine:
    """A file system with a shell.

    Parameters
    ----------
    profile
        Which commands exist.
    limits
        What it may hold and do.
    interpreter
        Answers ``python3`` and ``pytest``; needed by the profile ``py``.

    Raises
    ------
    ConfigError
        If the profile is unknown or lacks its interpreter.

    Notes
    -----
    No text makes :meth:`run` raise, and none reaches the host: commands are functions of this package, files are
    entries of a dictionary, patterns run in linear time. The same calls on the same files give the same results,
    stops at limits included.

    >>> machine = Machine()
    >>> machine.put("notes/plan.txt", "one\\ntwo\\n")
    >>> machine.run("cd notes && grep -n w plan.txt > found; cat found nothing")
    CommandResult(step=1, stdout='2:two\\n', stderr='cat: nothing: No such file or directory\\n', status=1, cut=0, \
unsupported=(), limits=())
    >>> [(write.actor, write.command, write.path) for write in machine.writes if write.actor == "model"]
    [('model', 'grep >', '/home/user/notes/found'), ('model', 'grep >', '/home/user/notes/found')]
    """

    def __init__(
        self, *, profile: Profile = "paper", limits: Limits | None = None, interpreter: Interpreter | None = None
    ) -> None:
        self.limits = limits or _USUAL
        self.commands = commands_of(profile, interpreter)
        self.files = _bare(self.limits).copy()
        self.calls = 0
        self.shell = self._new_shell()

    def _new_shell(self) -> Shell:
        variables = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "PWD": HOME, "SHELL": "/bin/bash"}
        variables["USER"] = USER
        return Shell(
            files=self.files,
            limits=self.limits,
            commands=self.commands,
            builtins=BUILTINS,
            folder=self._node(HOME),
            variables=variables,
            exported=set(variables),
        )

    # Laying out

    def put(
        self,
        path: str,
        text: str,
        *,
        role: Role = "plain",
        mode: int = 0o644,
        owner: str = USER,
        actor: Actor = "setup",
    ) -> None:
        """Write a file, with the folders above it, whatever the permissions.

        Parameters
        ----------
        path
            Absolute, or from the home folder.
        role
            What the file is to the scenario; also given to any file that later takes its place.

        Raises
        ------
        ConfigError
            If a quota does not allow it or the path leads through a file.
        """
        journal = self.files.journal
        before = journal.actor, journal.step, journal.command
        journal.actor, journal.step, journal.command = actor, self.calls, ""
        try:
            place = self._place_to_make(path, owner)
            if place.node is None:
                place.node = self.files.create(place, text, mode=mode, owner=owner)
            else:
                self.files.write(place, text)
                place.node.mode, place.node.owner = mode, owner
            if role != "plain":
                self.files.set_role(place, role)
        except Refused as refusal:
            raise ConfigError(f"the simulated machine cannot hold {path!r}: {refusal.reason}") from None
        finally:
            journal.actor, journal.step, journal.command = before

    def put_folder(self, path: str, *, mode: int = 0o755, owner: str = USER) -> None:
        """Make a folder and those above it, or set the permissions of one that is there.

        Raises
        ------
        ConfigError
            As :meth:`put`.
        """
        try:
            self._make_parents(f"{path}/.", owner)
            node = self._node(path)
        except Refused as refusal:
            raise ConfigError(f"the simulated machine cannot hold {path!r}: {refusal.reason}") from None
        node.mode, node.owner = mode, owner

    def put_link(self, path: str, target: str) -> None:
        """Make a symbolic link; raises :class:`ConfigError` as :meth:`put`."""
        try:
            self._make_parents(path, USER)
            self.files.make_link(self._place(path, follow=False), target, owner=USER)
        except Refused as refusal:
            raise ConfigError(f"the simulated machine cannot hold {path!r}: {refusal.reason}") from None

    # Running

    def run(self, text: str) -> CommandResult:
        """Run ``text`` as one call of the model under test."""
        self.calls += 1
        if self.calls > self.limits.calls:
            message = "bash: stopped: this episode used up its calls\n"
            return CommandResult(self.calls, "", message, 137, limits=("calls",))
        self.files.clock += 1
        journal = self.files.journal
        journal.actor, journal.step = "model", self.calls
        self.shell.history.append(canonical(text[: self.limits.script_chars]))
        out, err = Sink(self.limits.pipe_chars), Sink(self.limits.pipe_chars)
        try:
            status = self.shell.run(text, out, err)
        finally:
            journal.actor, journal.command = "setup", ""
            self.files.meter = None
        stdout, cut_out = _shown(out.text(), self.limits.shown_bytes)
        stderr, cut_err = _shown(err.text(), self.limits.shown_bytes)
        return CommandResult(
            step=self.calls,
            stdout=stdout,
            stderr=stderr,
            status=status,
            cut=cut_out + cut_err,
            unsupported=tuple(self.shell.unsupported),
            limits=tuple(self.shell.limits_reached),
        )

    # Looking

    def text(self, path: str) -> str | None:
        """Content of a file, links followed, or ``None`` when there is none; makes no record."""
        try:
            node = self._place(path).node
        except Refused:
            return None
        return node.text if node is not None and node.kind == "file" else None

    def tree(self) -> dict[str, Entry]:
        """Every path with what is there."""
        return {
            path: Entry(node.kind, node.text, node.mode, node.owner, node.role, node.number)
            for path, node in self.files.paths()
        }

    def contents(self) -> dict[str, str]:
        """Every path that opens as a regular file, through links too, with its text.

        Of more links than ``LINKS`` the first ones are followed.

        >>> machine = Machine()
        >>> machine.put("real/a.txt", "seven")
        >>> machine.put_link("shown", "real")
        >>> sorted(machine.contents())
        ['/home/user/real/a.txt', '/home/user/shown/a.txt']
        """
        found: dict[str, str] = {}
        links: list[tuple[str, frozenset[int]]] = []
        todo: list[tuple[str, Inode, frozenset[int]]] = [("", self.files.root, frozenset())]
        followed = 0
        while todo:
            prefix, node, above = todo.pop()
            if node.kind == "file":
                found[prefix] = node.text
            elif node.kind == "folder" and node.number not in above:
                above |= {node.number}
                for name, number in node.entries.items():
                    child = self.files.nodes[number]
                    if child.kind == "link":
                        links.append((f"{prefix}/{name}", above))
                    else:
                        todo.append((f"{prefix}/{name}", child, above))
            while not todo and followed < min(len(links), LINKS):
                path, above = links[followed]
                followed += 1
                target = self._linked(path)
                if target is not None:
                    todo.append((path, target, above))
        return found

    @property
    def folder(self) -> str:
        """Where the shell stands, as ``pwd`` prints it."""
        return self.shell.variables.get("PWD", "/")

    @property
    def history(self) -> tuple[str, ...]:
        """The text of each call so far; step k is at k - 1."""
        return tuple(self.shell.history)

    @property
    def writes(self) -> tuple[Write, ...]:
        """Every change so far, in order."""
        return tuple(self.files.journal.writes)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Every look of the model at a file or folder so far, in order."""
        return tuple(self.files.journal.reads)

    # Going back and going on

    def copy(self) -> "Machine":
        """An independent machine in the same state, record included."""
        other = object.__new__(Machine)
        other.limits, other.commands, other.calls = self.limits, self.commands, self.calls
        other.files = self.files.copy()
        folder = other.files.nodes.get(self.shell.folder.number)
        other.shell = replace(
            self.shell,
            files=other.files,
            # A folder that was removed has no number in the table any more.
            folder=folder if folder is not None else replace(self.shell.folder, entries={}),
            variables=dict(self.shell.variables),
            exported=set(self.shell.exported),
            history=list(self.shell.history),
            unsupported=[],
            limits_reached=[],
        )
        return other

    def next_episode(self) -> "Machine":
        """A machine with the same files, a new shell and an empty record, for state that outlives an episode."""
        other = self.copy()
        other.files.journal = Journal()
        other.calls = 0
        other.shell = other._new_shell()
        return other

    # Helpers

    def _place(self, path: str, *, follow: bool = True) -> Place:
        root = self.files.root
        start = root if path.startswith("/") else self.files.nodes.get(_HOME_NUMBER, root)
        return self.files.find(path, start, follow=follow)

    def _place_to_make(self, path: str, owner: str) -> Place:
        """Where a path leads, the folders above it made as needed."""
        try:
            return self._place(path)
        except Refused as refusal:
            if refusal.reason != MISSING:
                raise
        self._make_parents(path, owner)
        return self._place(path)

    def _linked(self, path: str) -> Inode | None:
        try:
            return self._place(path).node
        except Refused:
            return None

    def _node(self, path: str) -> Inode:
        node = self._place(path).node
        if node is None:
            raise Refused(MISSING)
        return node

    def _make_parents(self, path: str, owner: str) -> None:
        parts = path.split("/")
        for end in range(1, len(parts)):
            head = "/".join(parts[:end])
            if head and head != "~":
                place = self._place(head)
                if place.node is None:
                    self.files.make_folder(place, owner=owner)


_USUAL = Limits()
_HOME_NUMBER = 8
"""Inode of the home folder; nobody but set-up may move it, and then it stays the home."""
_BARE: dict[Limits, FileSystem] = {}
"""What machines with these limits begin with; laid out once and copied."""


def _bare(limits: Limits) -> FileSystem:
    if limits in _BARE:
        return _BARE[limits]
    files = FileSystem(limits, START)

    def place(path: str) -> Place:
        return files.find(path, files.root)

    for path in ("/dev", "/etc", "/home", "/tmp", "/usr", "/usr/bin"):
        files.make_folder(place(path))
    home = files.make_folder(place(HOME), owner=USER)
    assert home.number == _HOME_NUMBER
    for name in ("null", "stdin", "stdout", "stderr"):
        files.make_device(place(f"/dev/{name}"), name)
    files.existing("/tmp", files.root).mode = 0o777
    files.journal = Journal()
    if len(_BARE) < 64:
        _BARE[limits] = files
    return files


def _shown(text: str, limit: int) -> tuple[str, int]:
    """The beginning of ``text`` that is shown, with a note when it is not all, and the bytes left out."""
    text = canonical(text)
    if len(text) * 4 <= limit:
        return text, 0
    data = to_bytes(text)
    if len(data) <= limit:
        return text, 0
    cut = len(data) - limit
    return from_bytes(data[:limit]) + f"\n[output cut: {cut} more bytes]\n", cut
