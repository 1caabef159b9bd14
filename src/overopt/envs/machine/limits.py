"""How much one simulated machine may hold and do, and the meter that stops a call.

Sizes are bytes of UTF-8, ``*_chars`` are code points. A step is a unit of work of the interpreter (about a character
read by a pattern), never wall time, so that the same text stops at the same place on every host.
"""

from dataclasses import asdict, dataclass

from overopt.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a machine; each at least 1."""

    inodes: int = 256
    """Files, folders, links and devices together."""
    file_bytes: int = 128 * 1024
    total_bytes: int = 1024 * 1024
    depth: int = 32
    """Folders between the root and a new file."""
    name_bytes: int = 255
    path_bytes: int = 1024
    link_hops: int = 8
    """Symbolic links followed while one path is resolved."""
    script_chars: int = 64 * 1024
    """Longest text of one call."""
    words: int = 4096
    """Words, quoted stretches and operators of one call; also the most arguments after expansion."""
    commands: int = 64
    """Simple commands of one call, those of substitutions included."""
    stages: int = 8
    """Commands joined by one pipe line."""
    substitution_depth: int = 2
    pipe_chars: int = 256 * 1024
    """What one command may print, whoever reads it."""
    shown_bytes: int = 16 * 1024
    """What a call returns of each stream; the rest is cut and counted."""
    calls: int = 200
    """Calls of one episode."""
    steps: int = 100_000
    """Steps of one call."""

    def __post_init__(self) -> None:
        low = [name for name, value in asdict(self).items() if value < 1]
        if low:
            raise ConfigError(f"limits must be at least 1; these are not: {', '.join(low)}")


class LimitReached(Exception):
    """Ends a call; never leaves the package."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Meter:
    """Counts the steps and the commands of one call.

    Raises
    ------
    LimitReached
        From :meth:`spend` and :meth:`command`, when the call has used what it may.
    """

    __slots__ = ("commands", "left", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left = limits.steps
        self.commands = 0

    def spend(self, steps: int) -> None:
        """Take ``steps`` from what is left."""
        self.left -= steps
        if self.left < 0:
            raise LimitReached("steps")

    def bulk(self, chars: int) -> None:
        """Pay for handling ``chars`` characters at the speed of the host's own string functions."""
        self.spend(1 + (chars >> 4))

    def command(self) -> None:
        """Count one simple command."""
        self.commands += 1
        if self.commands > self.limits.commands:
            raise LimitReached("commands")
        self.spend(200)
