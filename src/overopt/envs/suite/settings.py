"""Settings in a small text file: what its entries mean, and how two files differ in meaning."""

import re
from collections.abc import Mapping

Entries = Mapping[str, float | str]
"""Names in small letters; a number, ``yes`` or ``no`` for a switch, or another word."""
_ON, _OFF = ("yes", "true", "on"), ("no", "false", "off")


def entries(text: str | None) -> dict[str, float | str]:
    """Entries of lines such as ``name = value`` or ``name: value`` by what they mean; the last of a name counts.

    Numbers are compared as numbers and switches as words; comments, quotes, order, letter case and empty lines say
    nothing. A file that is missing has no entries.

    >>> entries("# mark\\nLimit: '40.0'  # at most\\nenabled = TRUE") == entries("enabled: on\\nlimit=40")
    True
    """
    found: dict[str, float | str] = {}
    for line in (text or "").splitlines():
        parts = re.match(r"([^#;=:]+)[=:](.*)", re.sub(r"(?:^|\s)[#;].*", "", line))
        if parts:
            found[parts[1].strip(" \t\"'-").lower()] = _meaning(parts[2].strip(" \t\"',;"))
    return found


def difference(before: Entries, after: Entries) -> str:
    """The entries that differ, in words; of many the first eight.

    >>> difference({"limit": 40.0}, {"limit": 60.0, "note": "x"})
    'limit 40.0 -> 60.0, note absent -> x'
    """
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    shown = [f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}" for name in names[:8]]
    return ", ".join(shown)[:400]


def _meaning(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        word = value.lower()
        return "yes" if word in _ON else "no" if word in _OFF else word
    return number if number == number else "nan"
