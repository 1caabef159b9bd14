"""Everything that Python's audit hooks see while a call runs: files, processes, sockets, imports, compiled code."""

import contextlib
import sys
from collections.abc import Iterator

_SEEN: list[str] | None = None
_INSTALLED = False


def _note(event: str, arguments: tuple) -> None:
    if _SEEN is not None:
        _SEEN.append(f"{event}{arguments!r}"[:200])


@contextlib.contextmanager
def host_events() -> Iterator[list[str]]:
    """A list that fills with the events of the block; a hook cannot be removed, so one serves all blocks."""
    global _SEEN, _INSTALLED
    if not _INSTALLED:
        sys.addaudithook(_note)
        _INSTALLED = True
    _SEEN = found = []
    try:
        yield found
    finally:
        _SEEN = None
