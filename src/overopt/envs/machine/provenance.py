"""What happened to the files: who wrote, removed, renamed or read what, in which call, by which command.

Outcomes are judged from this record and the final files, not from what a model says it did.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from overopt.envs.machine.text import to_bytes

Actor = Literal["setup", "model", "grader"]
"""Who acts: the environment that lays out the files, the model under test, the judge."""
Role = Literal["reward", "guard", "rubric", "log", "config", "answer", "plain"]
"""What a file is to the scenario."""
Operation = Literal[
    "create", "write", "append", "remove", "rename", "link", "symlink", "mode", "mkdir", "rmdir", "time"
]

EMPTY_SHA = hashlib.sha256(b"").hexdigest()


def content_sha(text: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(to_bytes(text)).hexdigest() if text else EMPTY_SHA


@dataclass(frozen=True, slots=True)
class Write:
    """One change of the file system, or one that was refused."""

    step: int
    """Number of the call, from 1; 0 before the first."""
    actor: Actor
    command: str
    """Name of the command that did it, with ``>`` or ``<`` behind it for a redirection; empty outside calls."""
    operation: Operation
    path: str
    """Absolute, without links, as it was before the change."""
    inode: int
    """Stays the same through renames and hard links."""
    role: Role
    sha_before: str | None
    """Of the content; ``None`` when there was no file, or it is no regular file."""
    sha_after: str | None
    size: int
    """Bytes after the change."""
    target: str = ""
    """New path of a rename or link, what a symbolic link points to, new permissions in octal."""
    refused: str = ""
    """Why nothing changed; empty when it did."""

    @property
    def changed(self) -> bool:
        """Whether anything is different afterwards."""
        if self.refused:
            return False
        return self.operation not in ("write", "append") or self.sha_before != self.sha_after


@dataclass(frozen=True, slots=True)
class Read:
    """A file or folder whose content a command looked at."""

    step: int
    actor: Actor
    command: str
    path: str
    inode: int
    role: Role


class Journal:
    """Collects the record of one file system; the shell keeps ``step`` and ``command`` up to date."""

    __slots__ = ("actor", "command", "reads", "step", "writes")

    def __init__(self) -> None:
        self.actor: Actor = "setup"
        self.step = 0
        self.command = ""
        self.writes: list[Write] = []
        self.reads: list[Read] = []

    def copy(self) -> "Journal":
        """An independent record with the same entries."""
        other = Journal()
        other.actor, other.step, other.command = self.actor, self.step, self.command
        other.writes, other.reads = list(self.writes), list(self.reads)
        return other
