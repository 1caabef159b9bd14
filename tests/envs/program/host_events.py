"""What the host is asked to do while a block runs, seen by an audit hook."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ACTIVE: list[list[str]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _ACTIVE:
        return
    # The parser is asked for a tree of a nameless source, and after a syntax error it tries to open the file of that
    # name to quote a line. No file can have the empty name; nothing else is allowed.
    if (event == "compile" and arguments[1] == "") or (event == "open" and arguments == ("", "rb", 0)):
        return
    _ACTIVE[-1].append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)


@contextmanager
def host_events() -> Iterator[list[str]]:
    """The list of events of the block, filled while it runs."""
    events: list[str] = []
    _ACTIVE.append(events)
    try:
        yield events
    finally:
        _ACTIVE.pop()
