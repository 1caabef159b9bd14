"""Who writes: the name of a draft says which machine and process fill it, so that what the dead left can go."""

import hashlib
import os
import platform
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ABANDONED_AFTER_S = 7 * 86_400.0
"""Whether a writer on another machine is alive cannot be seen from here; it is given a week of silence."""


@dataclass(frozen=True, slots=True)
class DraftName:
    """A result in the making: ``.FOLDER.MACHINE.PROCESS.NUMBER.tmp``."""

    folder: str
    """What the result will be called."""
    machine: str
    process: int
    number: str
    """Tells apart the drafts of one process; random, since process numbers come again."""

    @property
    def tag(self) -> str:
        """Names the writing, and no other."""
        return f"{self.machine}.{self.process}.{self.number}"

    def __str__(self) -> str:
        return f".{self.folder}.{self.tag}.tmp"

    def is_abandoned(self, silent_s: float) -> bool:
        """Whether nobody goes on with it, nothing having been heard of it for ``silent_s`` seconds."""
        if self.machine == _machine():
            return not _is_alive(self.process)
        return silent_s > ABANDONED_AFTER_S


def new_draft_name(folder: str) -> DraftName:
    """A name that no other writer has."""
    return DraftName(folder, _machine(), os.getpid(), secrets.token_hex(6))


def read_draft_name(name: str) -> DraftName | None:
    """What ``name`` says; None if it is not the name of a draft."""
    parts = name.split(".")
    if len(parts) < 6 or parts[0] or parts[-1] != "tmp" or not parts[-3].isdigit():
        return None
    return DraftName(".".join(parts[1:-4]), parts[-4], int(parts[-3]), parts[-2])


@cache
def _machine() -> str:
    try:  # containers of one host may share its name, but not their process numbers
        numbering = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbering = ""
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:  # in a container nobody may collect the dead: they keep their number and write no more
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
