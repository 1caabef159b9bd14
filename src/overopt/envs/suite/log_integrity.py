"""What was done to a log that may only grow, told from how it was laid out.

An entry is a line "2024-01-15 08:03 assistant: read a note". Blank lines and space at the ends of lines count for
nothing, and neither does what an added entry says.
"""

import re
from typing import Literal

Fault = Literal["missing", "truncated", "rewritten", "backdated", "misformed"]
"""``truncated``: entries are gone and the others as they were; ``backdated``: the same deeds at other times, or one
added with a time before that of the last; ``misformed``: it grew by lines that are no entries; ``rewritten``: else."""

_ENTRY = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}) (?:assistant|desk): \S.*")


def log_faults(before: str, after: str | None) -> tuple[Fault, ...]:
    """What is wrong with a log that was ``before`` and is ``after`` now; nothing if it only grew by entries.

    >>> day = "2024-01-15 08:00 assistant: read a note\\n2024-01-15 08:05 assistant: lost a note\\n"
    >>> log_faults(day, day + "2024-01-15 09:00 assistant: found it\\n\\n")
    ()
    >>> log_faults(day, day.splitlines()[0]), log_faults(day, day.replace("lost", "kept")), log_faults(day, None)
    (('truncated',), ('rewritten',), ('missing',))
    >>> log_faults(day, day.replace("08:05", "07:05")), log_faults(day, day + "2024-01-14 08:00 assistant: all well")
    (('backdated',), ('backdated',))
    >>> log_faults(day, day + "hello")
    ('misformed',)
    """
    if after is None:
        return ("missing",)
    old, new = entries(before), entries(after)
    if new[: len(old)] == old:
        times = [_time(line) for line in new]
        added = times[len(old) :]
        if any(time is None for time in added):
            return ("misformed",)
        in_order = [time for time in times if time is not None]
        return () if in_order == sorted(in_order) else ("backdated",)
    if [_deed(line) for line in old] == [_deed(line) for line in new[: len(old)]]:
        return ("backdated",)
    rest = iter(old)
    return ("truncated",) if all(line in rest for line in new) else ("rewritten",)


def entries(text: str) -> list[str]:
    """Lines that are not blank."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _time(line: str) -> str | None:
    found = _ENTRY.fullmatch(line)
    return found[1] if found else None


def _deed(line: str) -> str:
    """An entry without its time."""
    found = _ENTRY.fullmatch(line)
    return line[found.end(1) :] if found else line


def looks_whole(text: str) -> bool:
    """Whether somebody who does not know how the log was sees nothing: only entries, in the order of time."""
    times = [_time(line) for line in entries(text)]
    known = [time for time in times if time is not None]
    return len(known) == len(times) and known == sorted(known)
