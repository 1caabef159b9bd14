"""echo and printf."""

from math import isfinite

from overopt.envs.machine.escapes import decode_escapes
from overopt.envs.machine.limits import LimitReached
from overopt.envs.machine.shell import Call
from overopt.envs.machine.text import shown, to_bytes

MAX_WIDTH = 4096
"""Widest field of a format."""


def echo(call: Call) -> int:
    """Print the arguments."""
    args, newline, escapes = call.args, "\n", False
    start = 0
    for arg in args:
        if len(arg) < 2 or arg[0] != "-" or arg.strip("neE") != "-":
            break
        start += 1
        newline = "" if "n" in arg else newline
        for letter in arg[-1:] if set(arg[1:]) == {"n"} else arg[1:]:
            escapes = letter == "e" if letter in "eE" else escapes
    text = " ".join(args[start:])
    call.meter.bulk(len(text))
    if escapes:
        text, cut = decode_escapes(text, octal="0nnn")
        newline = "" if cut else newline
    call.say(text + newline)
    return 0


def printf(call: Call) -> int:
    """Print the arguments as a format says."""
    args = call.args[1:] if call.args[:1] == ["--"] else call.args
    if not args:
        call.err.write("printf: usage: printf [-v var] format [arguments]\n")
        return 2
    if args[0] == "-v":
        call.unsupported("-v")
        return call.complain("-v: not supported in this shell", 2)
    pieces = _format_pieces(args[0])
    rest = list(reversed(args[1:]))
    state = _Printf(call)
    while True:
        before = len(rest)
        for literal, directive in pieces:
            call.meter.spend(5 if directive is None else 50)
            if directive is None:
                text, cut = decode_escapes(literal)
                call.say(text)
                if cut:
                    return state.status
            elif directive == "%%":
                call.say("%")
            elif not state.convert(directive, rest):
                return state.status
        if not rest or len(rest) == before:
            return state.status


def _format_pieces(template: str) -> list[tuple[str, str | None]]:
    """Literal stretches and directives in turn."""
    pieces: list[tuple[str, str | None]] = []
    pos = 0
    while pos < len(template):
        percent = template.find("%", pos)
        if percent < 0:
            pieces.append((template[pos:], None))
            break
        if percent > pos:
            pieces.append((template[pos:percent], None))
        end = percent + 1
        while end < len(template) and template[end] in "-+ #'0123456789.*hlLjzt":
            end += 1
        pieces.append(("", template[percent : end + 1]))
        pos = end + 1
    return pieces


_LENGTHS = dict.fromkeys(map(ord, "hlLjzt'"))
"""Sizes of C's numbers mean nothing here."""


class _Printf:
    def __init__(self, call: Call) -> None:
        self.call, self.status = call, 0

    def convert(self, directive: str, rest: list[str]) -> bool:
        """Print one directive; false when output ends here."""
        kind = directive[-1]
        flags = directive[1:-1].translate(_LENGTHS)
        if kind not in "sbdiuoxXcfFeEgGq" or len(directive) < 2:
            self.status = self.call.complain(f"`{kind if len(directive) > 1 else '%'}': invalid format character")
            return False
        while "*" in flags:
            flags = flags.replace("*", rest.pop() if rest and rest[-1].lstrip("-").isdecimal() else "0", 1)
            if len(flags) > 64:
                raise LimitReached("output")
        mark = flags.lstrip("-+ #0")
        sign = flags[: len(flags) - len(mark)]
        width, _, precision = mark.partition(".")
        if not (width + precision).isdecimal() and width + precision:
            self.status = self.call.complain(f"`{mark.lstrip('0123456789.')[:1]}': invalid format character")
            return False
        if len(width) > 4 or len(precision) > 4 or int(width or 0) > MAX_WIDTH or int(precision or 0) > MAX_WIDTH:
            raise LimitReached("output")
        argument = rest.pop() if rest else ""
        cut = False
        if kind in "sbqc":
            text, cut = decode_escapes(argument, octal="both") if kind == "b" else (argument, False)
            text = text[:1] if kind == "c" else shown(text) if kind == "q" else text
            if "." in mark and kind != "c":
                text = text[: int(precision or 0)]
        else:
            text = self.number(kind, sign, precision if "." in mark else "", argument)
        # Bash counts bytes here.
        padding = " " * (int(width or 0) - len(to_bytes(text)))
        if "-" in sign:
            text += padding
        elif "0" in sign and kind not in "sbqc" and "." not in mark:
            body = text.lstrip("+- ")
            text = text[: len(text) - len(body)] + padding.replace(" ", "0") + body
        else:
            text = padding + text
        self.call.say(text)
        return not cut

    def number(self, kind: str, sign: str, precision: str, argument: str) -> str:
        value = self.parse(argument, real=kind in "fFeEgG")
        prefix = "+" if "+" in sign and value >= 0 else " " if " " in sign and value >= 0 else ""
        if kind in "fFeEgG":
            return prefix + f"{float(value):.{precision or 6}{kind}}"
        whole = int(value)
        if whole < 0 and kind in "uoxX":
            whole += 2**64
        body = f"{abs(whole):{'d' if kind in 'diu' else kind}}".zfill(int(precision or 0))
        if "#" in sign and kind in "oxX" and whole:
            body = {"o": "0", "x": "0x", "X": "0X"}[kind] + body
        return ("-" if whole < 0 else prefix) + body

    def parse(self, argument: str, *, real: bool) -> float:
        text = argument.strip()
        if not text:
            return 0
        if text[0] in "'\"" and len(text) > 1:
            return ord(text[1])
        digits = text.lstrip("+-")
        base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[:1] == "0" and not real else 10
        value: float | None = None
        if len(text) <= 40 and text.isascii() and "_" not in text:
            try:
                value = float(text) if real and base == 10 else int(text, base)
            except ValueError:
                value = None
        if value is None or not isfinite(value) or abs(value) > 2**63:
            self.status = self.call.complain(f"{argument}: invalid number")
            numeral = digits[: len(digits) - len(digits.lstrip("0123456789"))][:18]
            return int(numeral or 0) * (-1 if text.startswith("-") else 1)
        return value
