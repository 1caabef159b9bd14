"""``test`` and ``[``: claims about files, texts and numbers."""

from collections.abc import Callable

from overopt.envs.machine.inodes import READ, SEARCH, WRITE, Inode, Refused
from overopt.envs.machine.shell import Call

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}
_FILE_PAIRS = ("-nt", "-ot", "-ef")
_UNARY = frozenset(
    [
        "-b",
        "-c",
        "-d",
        "-e",
        "-f",
        "-g",
        "-h",
        "-k",
        "-L",
        "-n",
        "-p",
        "-r",
        "-s",
        "-S",
        "-t",
        "-u",
        "-v",
        "-w",
        "-x",
        "-z",
        "-G",
        "-N",
        "-O",
    ]
)
_MAX_DEPTH = 50


class _TestError(Exception):
    pass


def test(call: Call) -> int:
    """Evaluate the arguments; 0 when they hold, 1 when not, 2 when they make no sense."""
    args = call.args
    if call.name.endswith("["):
        if not args or args[-1] != "]":
            return call.complain("missing `]'", 2)
        args = args[:-1]
    call.meter.spend(10 * len(args))
    try:
        return int(not _evaluate(call, args, 0))
    except _TestError as error:
        return call.complain(str(error), 2)


def _evaluate(call: Call, args: list[str], depth: int) -> bool:
    # POSIX decides by the number of arguments.
    if depth > _MAX_DEPTH:
        raise _TestError("too many arguments")
    if not args:
        return False
    if len(args) == 1:
        return args[0] != ""
    if len(args) == 2:
        if args[0] == "!":
            return args[1] == ""
        if args[0] not in _UNARY:
            raise _TestError(f"{args[0]}: unary operator expected")
        return _unary(call, args[0], args[1])
    if len(args) == 3:
        if args[1] in _NUMBERS or args[1] in _TEXTS or args[1] in _FILE_PAIRS:
            return _binary(call, *args)
        if args[1] in ("-a", "-o"):
            left, right = args[0] != "", args[2] != ""
            return (left and right) if args[1] == "-a" else (left or right)
        if args[0] == "!":
            return not _evaluate(call, args[1:], depth + 1)
        if args[0] == "(" and args[2] == ")":
            return args[1] != ""
        raise _TestError(f"{args[1]}: binary operator expected")
    if len(args) == 4 and args[0] == "!":
        return not _evaluate(call, args[1:], depth + 1)
    if len(args) == 4 and args[0] == "(" and args[3] == ")":
        return _evaluate(call, args[1:3], depth + 1)
    reader = _Reader(call, args)
    value = reader.either(depth)
    if reader.pos < len(args):
        raise _TestError("too many arguments")
    return value


class _Reader:
    """Longer expressions: ``-o`` joins what ``-a`` joins."""

    def __init__(self, call: Call, args: list[str]) -> None:
        self.call, self.args, self.pos = call, args, 0

    def either(self, depth: int) -> bool:
        value = self.both(depth)
        while self.peek() == "-o":
            self.pos += 1
            value = self.both(depth) or value
        return value

    def both(self, depth: int) -> bool:
        value = self.one(depth)
        while self.peek() == "-a":
            self.pos += 1
            value = self.one(depth) and value
        return value

    def one(self, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            raise _TestError("too many arguments")
        left = self.peek(0)
        operator = self.peek(1)
        if left is None:
            raise _TestError("argument expected")
        if operator is not None and (operator in _NUMBERS or operator in _TEXTS or operator in _FILE_PAIRS):
            right = self.peek(2)
            if right is None:
                raise _TestError("argument expected")
            self.pos += 3
            return _binary(self.call, left, operator, right)
        self.pos += 1
        if left == "!":
            return not self.one(depth + 1)
        if left == "(":
            value = self.either(depth + 1)
            if self.peek() != ")":
                raise _TestError("`)' expected")
            self.pos += 1
            return value
        if left in _UNARY and operator is not None:
            self.pos += 1
            return _unary(self.call, left, operator)
        return left != ""

    def peek(self, ahead: int = 0) -> str | None:
        place = self.pos + ahead
        return self.args[place] if place < len(self.args) else None


def _unary(call: Call, operator: str, value: str) -> bool:
    if operator in ("-n", "-z"):
        return (value != "") == (operator == "-n")
    if operator == "-v":
        return value in call.shell.variables
    if operator == "-t":
        return False
    node = _node(call, value, follow=operator not in ("-h", "-L"))
    if node is None:
        return False
    kinds = {"-f": "file", "-d": "folder", "-h": "link", "-L": "link", "-c": "device"}
    if operator in kinds:
        return node.kind == kinds[operator]
    if operator in ("-r", "-w", "-x"):
        return call.files.may(node, {"-r": READ, "-w": WRITE, "-x": SEARCH}[operator])
    if operator == "-s":
        return node.size > 0 or node.kind == "folder"
    if operator in ("-O", "-G"):
        return node.owner == "user"
    return operator in ("-e", "-N")


def _binary(call: Call, left: str, operator: str, right: str) -> bool:
    if operator in _TEXTS:
        return _TEXTS[operator](left, right)
    if operator in _NUMBERS:
        return _NUMBERS[operator](_number(left), _number(right))
    first, second = _node(call, left), _node(call, right)
    if operator == "-ef":
        return first is not None and first is second
    if operator == "-ot":
        first, second = second, first
    return first is not None and (second is None or first.mtime > second.mtime)


def _number(text: str) -> int:
    stripped = text.strip()
    digits = stripped[1:] if stripped[:1] in ("+", "-") else stripped
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise _TestError(f"{text}: integer expression expected")
    return int(stripped)


def _node(call: Call, path: str, *, follow: bool = True) -> Inode | None:
    try:
        return call.place(path, follow=follow).node
    except Refused:
        return None
