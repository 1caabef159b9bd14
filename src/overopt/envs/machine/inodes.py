"""What a tree consists of: inodes, the places that paths lead to, and the reasons of refusals."""

from dataclasses import dataclass, field
from typing import Literal

from overopt.envs.machine.provenance import Role

Kind = Literal["folder", "file", "link", "device"]

MISSING = "No such file or directory"
EXISTS = "File exists"
NOT_A_FOLDER = "Not a directory"
IS_A_FOLDER = "Is a directory"
DENIED = "Permission denied"
NOT_PERMITTED = "Operation not permitted"
NOT_EMPTY = "Directory not empty"
LOOP = "Too many levels of symbolic links"
TOO_LONG = "File name too long"
NO_SPACE = "No space left on device"
TOO_LARGE = "File too large"
INVALID = "Invalid argument"
BUSY = "Device or resource busy"

READ, WRITE, SEARCH = 4, 2, 1
USER = "user"
"""The account that commands run as; set-up may also leave files that belong to root."""
ROOT = 1
"""Inode number of the root folder."""


class Refused(Exception):
    """An operation that did not happen; never leaves the package."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Inode:
    """One file, folder, link or device."""

    number: int
    kind: Kind
    mode: int
    owner: str
    mtime: int
    role: Role = "plain"
    text: str = ""
    """Content of a file, target of a link, name of a device."""
    size: int = 0
    sha: str | None = None
    links: int = 1
    parent: int = 0
    """Of a folder; 0 once it is removed."""
    name: str = ""
    """Of a folder, in the one above."""
    entries: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Inode":
        """The same, independent of it; :func:`dataclasses.replace` takes four times as long."""
        return Inode(
            self.number,
            self.kind,
            self.mode,
            self.owner,
            self.mtime,
            self.role,
            self.text,
            self.size,
            self.sha,
            self.links,
            self.parent,
            self.name,
            dict(self.entries),
        )


@dataclass(slots=True)
class Place:
    """Where a path leads: the folder, the name in it, and what is there."""

    folder: Inode
    name: str
    """Empty when the path ends in ``.`` or ``..`` or is the root."""
    node: Inode | None
