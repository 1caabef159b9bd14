"""find."""

from collections.abc import Callable, Iterator

from overopt.envs.machine.commands.listing import size_of
from overopt.envs.machine.expansion import matches, tokenize
from overopt.envs.machine.inodes import MISSING, READ, Inode, Place, Refused
from overopt.envs.machine.shell import Call
from overopt.envs.machine.text import curly

Test = Callable[["_Found"], bool]


class _Found:
    __slots__ = ("level", "name", "path", "place")

    def __init__(self, path: str, place: Place, level: int) -> None:
        self.path, self.place, self.level = path, place, level
        self.name = path.rstrip("/").rpartition("/")[2] or path


class _FindError(Exception):
    pass


def find(call: Call) -> int:
    """Walk trees and show what fits."""
    args = call.args
    split = next((i for i, arg in enumerate(args) if arg[:1] in ("-", "!", "(") and len(arg) > 0), len(args))
    starts, rest = args[:split] or ["."], args[split:]
    reader = _FindReader(call, rest)
    try:
        test = reader.parse()
    except _FindError as error:
        return call.complain(str(error))
    status = 0
    for start in starts:
        try:
            place = call.place(start, follow=False)
            if place.node is None:
                raise Refused(MISSING)
        except Refused as refusal:
            status = call.complain(f"{curly(start)}: {refusal.reason}")
            continue
        for item in _walk(call, start, place, reader):
            call.meter.spend(50)
            if item.level >= reader.low and test(item) and not reader.acts:
                call.say(item.path + "\n")
        status = max(status, reader.status)
    if reader.batch and reader.collected:
        reader.run([arg for part in reader.batch for arg in (reader.collected if part == "{}" else [part])])
    return max(status, reader.status)


def _walk(call: Call, start: str, place: Place, reader: "_FindReader") -> Iterator[_Found]:
    stack: list[tuple[_Found, bool]] = [(_Found(start, place, 0), False)]
    while stack:
        item, seen = stack.pop()
        node = item.place.node
        assert node is not None
        if node.number not in call.files.nodes:
            continue
        if node.kind != "folder" or item.level >= reader.high:
            yield item
            continue
        if seen:
            yield item
            continue
        if reader.deep:
            stack.append((item, True))
        else:
            yield item
            if node.number not in call.files.nodes:
                continue
        if not call.files.may(node, READ):
            reader.status = call.complain(f"{curly(item.path)}: Permission denied")
            continue
        children = call.files.children(node)
        prefix = item.path.rstrip("/") if item.path != "/" else ""
        if item.path.endswith("/") and item.path != "/":
            prefix = item.path[:-1]
        stack += [
            (_Found(f"{prefix}/{name}", Place(node, name, child), item.level + 1), False)
            for name, child in reversed(children)
        ]


class _FindReader:
    """Reads the expression of find: tests joined by and, ``-o`` and ``!``, and parentheses."""

    def __init__(self, call: Call, args: list[str]) -> None:
        self.call, self.args, self.pos = call, args, 0
        self.low, self.high = 0, 1 << 30
        self.deep, self.acts, self.status, self.level = False, False, 0, 0
        self.batch: list[str] = []
        self.collected: list[str] = []

    def parse(self) -> Test:
        if not self.args:
            return lambda item: True
        test = self.either()
        if self.pos < len(self.args):
            if self.args[self.pos] == ")":
                raise _FindError("invalid expression; you have too many ')'")
            raise _FindError(f"paths must precede expression: `{self.args[self.pos]}'")
        return test

    def either(self) -> Test:
        tests = [self.both()]
        while self.peek() in ("-o", "-or"):
            self.pos += 1
            tests.append(self.both())
        if len(tests) == 1:
            return tests[0]
        return lambda item: any(test(item) for test in tests)

    def both(self) -> Test:
        tests: list[Test] = []
        while self.peek() not in ("", ")", "-o", "-or"):
            if self.peek() in ("-a", "-and"):
                self.pos += 1
                continue
            if not self.peek().startswith("-") and self.peek() not in ("!", "("):
                break
            tests.append(self.one())
        if len(tests) == 1:
            return tests[0]
        return lambda item: all(test(item) for test in tests)

    def peek(self) -> str:
        return self.args[self.pos] if self.pos < len(self.args) else ""

    def value(self, name: str) -> str:
        if self.pos >= len(self.args):
            raise _FindError(f"missing argument to `{name}'")
        self.pos += 1
        return self.args[self.pos - 1]

    def number(self, name: str) -> int:
        text = self.value(name)
        if not (text.isascii() and text.isdecimal() and len(text) < 9):
            raise _FindError(f"Expected a positive decimal integer argument to {name}, but got {curly(text)}")
        return int(text)

    def one(self) -> Test:
        self.level += 1
        if self.level > 100:
            raise _FindError("expression is too long")
        name = self.value("")
        if name in ("!", "-not"):
            if self.peek() == "":
                raise _FindError(f"expected an expression after '{name}'")
            inner = self.one()
            return lambda item: not inner(item)
        if name == "(":
            inner = self.either()
            if self.peek() != ")":
                raise _FindError("invalid expression; expected to find a ')' but didn't see one.")
            self.pos += 1
            return inner
        if name in ("-name", "-iname", "-path", "-wholename", "-ipath"):
            return self.glob(name, self.value(name))
        if name == "-type":
            kinds = self.value(name)
            if not kinds or any(kind not in "fdl," for kind in kinds):
                raise _FindError(f"Unknown argument to -type: {kinds[:1]}")
            return lambda item: {"folder": "d", "file": "f", "link": "l"}.get(self.node(item).kind, "") in kinds
        if name in ("-maxdepth", "-mindepth"):
            level = self.number(name)
            if name == "-maxdepth":
                self.high = level
            else:
                self.low = level
            return lambda item: True
        if name == "-empty":
            return lambda item: not self.node(item).size and not self.node(item).entries
        if name == "-size":
            return self.size(self.value(name))
        if name == "-newer":
            try:
                moment = self.call.node(self.value(name)).mtime
            except Refused as refusal:
                raise _FindError(f"{curly(self.args[self.pos - 1])}: {refusal.reason}") from None
            return lambda item: self.node(item).mtime > moment
        if name in ("-print", "-delete", "-exec", "-depth", "-true", "-false", "-ls"):
            return self.action(name)
        self.call.unsupported(name)
        raise _FindError(f"unknown predicate `{name}'")

    @staticmethod
    def node(item: _Found) -> Inode:
        assert item.place.node is not None
        return item.place.node

    def glob(self, name: str, pattern: str) -> Test:
        fold = name in ("-iname", "-ipath")
        self.call.meter.spend(8 * len(pattern))
        tokens = tokenize(pattern.lower() if fold else pattern)
        whole = name not in ("-name", "-iname")

        def test(item: _Found) -> bool:
            text = item.path if whole else item.name
            return matches(tokens, text.lower() if fold else text, self.call.meter)

        return test

    def size(self, text: str) -> Test:
        unit = {"c": 1, "k": 1024, "b": 512, "w": 2, "M": 1 << 20}.get(text[-1:], 512)
        digits = text.rstrip("ckbwM").lstrip("+-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 12):
            raise _FindError(f"Invalid argument `{text}' to -size")
        wanted, sign = int(digits), text[:1]

        def test(item: _Found) -> bool:
            units = -(-size_of(self.node(item)) // unit)
            return units > wanted if sign == "+" else units < wanted if sign == "-" else units == wanted

        return test

    def action(self, name: str) -> Test:
        if name in ("-true", "-false"):
            return lambda item: name == "-true"
        if name == "-depth":
            self.deep = True
            return lambda item: True
        if name == "-ls":
            self.call.unsupported("-ls")
            raise _FindError("unknown predicate `-ls'")
        self.acts = True
        if name == "-print":
            return self.show
        if name == "-delete":
            self.deep = True
            return self.delete
        command: list[str] = []
        while self.peek() not in (";", "+") or (self.peek() == "+" and command[-1:] != ["{}"]):
            command.append(self.value("-exec"))
        if not command:
            raise _FindError(f"invalid argument `{self.peek()}' to `-exec'")
        self.pos += 1
        if self.args[self.pos - 1] == "+":
            self.batch = command
            return self.collect
        return lambda item: self.run([part.replace("{}", item.path) for part in command]) == 0

    def show(self, item: _Found) -> bool:
        self.call.say(item.path + "\n")
        return True

    def collect(self, item: _Found) -> bool:
        self.collected.append(item.path)
        return True

    def delete(self, item: _Found) -> bool:
        if item.path in (".", ".."):
            return True
        try:
            self.call.files.remove(item.place)
        except Refused as refusal:
            self.status = self.call.complain(f"cannot delete {curly(item.path)}: {refusal.reason}")
            return False
        return True

    def run(self, args: list[str]) -> int:
        call = self.call
        call.meter.command()
        call.meter.bulk(sum(map(len, args)))
        found = call.shell.lookup(args[0])
        if isinstance(found, str) or args[0] in call.shell.builtins - {"echo", "printf", "test", "[", "true", "false"}:
            return call.complain(f"{curly(args[0])}: {MISSING}")
        return call.shell.apart(lambda: call.shell.execute(args, [], call.stdin, call.out, call.err))
