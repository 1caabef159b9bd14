"""Backslash escapes of ``$'…'``, ``printf`` and ``echo -e``."""

import re
from typing import Literal

from overopt.envs.machine.text import from_bytes

_OCTAL = re.compile(r"[0-7]{1,3}")
_HEX = re.compile(r"[0-9A-Fa-f]{1,2}")
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip


def decode_escapes(text: str, *, octal: Literal["nnn", "0nnn", "both"] = "nnn") -> tuple[str, bool]:
    r"""``text`` with its backslash escapes replaced, and whether ``\c`` cut it short.

    ``octal`` says how bytes are written in octal: as by ``printf``, by ``echo -e``, or in either way.

    >>> decode_escapes(r"a\tb\x41\101\c not")
    ('a\tbAA', True)
    """
    pieces = text.split("\\")
    found = [pieces[0]]
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        index += 1
        if not piece:
            # Two backslashes, or one at the very end.
            found.append("\\" + (pieces[index] if index < len(pieces) else ""))
            index += 1
            continue
        char = piece[0]
        zero = octal != "nnn" and char == "0"
        digits = _OCTAL.match(piece, int(zero)) if zero or octal != "0nnn" else None
        hexadecimal = _HEX.match(piece, 1) if char == "x" else None
        if char == "c":
            return "".join(found), True
        if digits:
            found.append(from_bytes(bytes([int(digits[0], 8) & 255])) + piece[digits.end() :])
        elif zero:
            found.append("\0" + piece[1:])
        elif hexadecimal:
            found.append(from_bytes(bytes([int(hexadecimal[0], 16)])) + piece[hexadecimal.end() :])
        elif char in _ESCAPES and char != "\\":
            found.append(_ESCAPES[char] + piece[1:])
        else:
            found.append("\\" + piece)
    return "".join(found), False
