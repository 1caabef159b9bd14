"""Random programs: safe ones that run in Python too, and hostile ones made by breaking them or from loose tokens."""

from random import Random

NAMES = {
    "int": ["i", "j", "k"],
    "float": ["x", "y"],
    "str": ["s", "t"],
    "list": ["a", "b"],
    "dict": ["d"],
    "set": ["u"],
}


class Generator:
    """Writes programs of typed expressions, so that most run through and some end in an ordinary exception."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.functions: list[str] = []

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def name(self, kind: str) -> str:
        return self.rng.choice(NAMES[kind])

    def whole(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(str(self.rng.randint(-9, 20)), self.name("int"))
        e = depth - 1
        return self.rng.choice(
            [
                lambda: f"({self.whole(e)} {self.pick('+', '-', '*', '//', '%', '&', '|', '^')} {self.whole(e)})",
                lambda: f"-{self.whole(e)}",
                lambda: f"abs({self.whole(e)})",
                lambda: f"len({self.any_sized(e)})",
                lambda: f"int({self.real(e)})",
                lambda: f"round({self.real(e)})",
                lambda: f"{self.pick('min', 'max')}({self.whole(e)}, {self.whole(e)})",
                lambda: f"sum({self.items(e)})",
                lambda: f"{self.items(e)}[{self.whole(0)}]",
                lambda: f"({self.whole(e)} if {self.truth(e)} else {self.whole(e)})",
                lambda: f"{self.text(e)}.{self.pick('count', 'find', 'index')}({self.text(0)})",
                lambda: f"{self.name('dict')}.get({self.text(0)}, {self.whole(0)})",
                lambda: f"{self.name('dict')}[{self.text(0)}]",
                lambda: f"sum(n * {self.whole(0)} for n in {self.items(e)} if n {self.pick('>', '<')} {self.whole(0)})",
                lambda: f"ord({self.text(e)}[0])",
                lambda: f"(lambda n, m={self.whole(0)}: n + m)({self.whole(e)})",
                lambda: f"{self.rng.choice(self.functions)}({self.whole(e)})" if self.functions else "7",
                lambda: f"({self.name('int')} := {self.whole(e)})",
            ]
        )()

    def real(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(f"{self.rng.uniform(-5, 5):.3f}", self.name("float"))
        e = depth - 1
        return self.rng.choice(
            [
                lambda: f"({self.real(e)} {self.pick('+', '-', '*', '/', '//', '%')} {self.real(e)})",
                lambda: f"({self.whole(e)} / {self.whole(e)})",
                lambda: f"round({self.real(e)}, {self.rng.randint(-1, 4)})",
                lambda: f"float({self.whole(e)})",
                lambda: f"(abs({self.real(e)}) ** {self.pick('2', '0.5', '-1')})",
                lambda: f"math.{self.pick('sqrt', 'exp', 'tanh', 'floor')}({self.real(e)})",
            ]
        )()

    def text(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(repr(self.pick("", "a", "bc", "Hello world", "x,y,,z", "ab ab")), self.name("str"))
        e = depth - 1
        method = self.pick("lower()", "upper()", "strip()", "title()", "swapcase()", "replace('a', 'xy')", "zfill(6)")
        return self.rng.choice(
            [
                lambda: f"({self.text(e)} + {self.text(e)})",
                lambda: f"({self.text(e)} * {self.rng.randint(-1, 3)})",
                lambda: f"{self.text(e)}.{method}",
                lambda: f"str({self.any(e)})",
                lambda: f"repr({self.any(e)})",
                lambda: f"{self.text(e)}[{self.slice()}]",
                lambda: (
                    f"f'{{{self.whole(e)}:>{self.rng.randint(1, 9)}}}|{{{self.real(e)}:.{self.rng.randint(0, 4)}f}}'"
                    if e < 1
                    else "'z'"
                ),
                lambda: f"'%d-%s' % ({self.whole(e)}, {self.text(e)})",
                lambda: (
                    f"'{{}}/{{:>5}}/{{0!r}}'.format({self.whole(e)}, {self.text(e)})"
                    if self.rng.random() < 0.3
                    else f"'{{0}}/{{1:>5}}/{{0!r}}'.format({self.whole(e)}, {self.text(e)})"
                ),
                lambda: f"','.join(str(n) for n in {self.items(e)})",
                lambda: f"'-'.join({self.text(e)}.split({self.pick('', repr(','), repr(' ')) or ''}))",
            ]
        )()

    def truth(self, depth: int) -> str:
        if depth <= 0:
            return self.pick("True", "False", f"{self.name('int')} > 0")
        e = depth - 1
        compare = self.pick("<", "<=", ">", ">=", "==", "!=")
        return self.rng.choice(
            [
                lambda: f"{self.whole(e)} {compare} {self.whole(e)}",
                lambda: f"{self.whole(0)} < {self.whole(e)} <= {self.whole(0)}",
                lambda: f"{self.text(e)} {compare} {self.text(e)}",
                lambda: f"{self.items(e)} {compare} {self.items(e)}",
                lambda: f"({self.truth(e)} {self.pick('and', 'or')} {self.truth(e)})",
                lambda: f"not {self.truth(e)}",
                lambda: f"{self.text(0)} in {self.text(e)}",
                lambda: f"{self.whole(0)} {self.pick('in', 'not in')} {self.items(e)}",
                lambda: f"{self.pick('any', 'all')}(n > {self.whole(0)} for n in {self.items(e)})",
                lambda: f"isinstance({self.any(e)}, (int, str))",
                lambda: f"{self.text(e)}.{self.pick('startswith', 'endswith')}({self.text(0)})",
                lambda: f"{self.pick('i', 's', 'a', 'd')} is {self.pick('None', 'not None')}",
                lambda: f"bool({self.any(e)})",
            ]
        )()

    def items(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(f"[{', '.join(self.whole(0) for _ in range(self.rng.randint(0, 4)))}]", self.name("list"))
        e = depth - 1
        return self.rng.choice(
            [
                lambda: f"({self.items(e)} + {self.items(e)})",
                lambda: f"({self.items(e)} * {self.rng.randint(0, 2)})",
                lambda: f"[n + {self.whole(0)} for n in {self.items(e)} if n % 2 == {self.pick('0', '1')}]",
                lambda: f"[n * m for n in range({self.rng.randint(0, 4)}) for m in {self.items(0)}]",
                lambda: f"sorted({self.items(e)}, reverse={self.truth(0)})",
                lambda: f"sorted({self.items(e)}, key=lambda n: (n % 3, -n))",
                lambda: f"list(range({self.whole(0)}, {self.whole(0)}, {self.pick('1', '2', '-1', '-3')}))",
                lambda: f"{self.items(e)}[{self.slice()}]",
                lambda: f"list(map(abs, {self.items(e)}))",
                lambda: f"[n for n, m in zip({self.items(e)}, {self.items(e)}) if n > m]",
                lambda: f"[n * m for n, m in enumerate({self.items(e)}, 1)]",
                lambda: f"list({self.name('dict')}.values())",
                lambda: f"list(reversed({self.items(e)}))",
                lambda: f"sorted({{n % 5 for n in {self.items(e)}}})",
            ]
        )()

    def slice(self) -> str:
        parts = [self.pick("", str(self.rng.randint(-4, 4))) for _ in range(2)]
        return ":".join(parts) + self.pick("", ":2", ":-1")

    def any_sized(self, depth: int) -> str:
        return self.rng.choice([self.text, self.items])(depth)

    def any(self, depth: int) -> str:
        return self.rng.choice([self.whole, self.real, self.text, self.truth, self.items, lambda _: "None"])(depth)

    def assignment(self) -> str:
        kinds = {"int": self.whole, "float": self.real, "str": self.text, "list": self.items}
        kind = self.rng.choice(list(kinds))
        return f"{self.name(kind)} = {kinds[kind](2)}"

    def block(self, depth: int, indent: str) -> list[str]:
        lines: list[str] = []
        for _ in range(self.rng.randint(1, 3)):
            lines += self.statement(depth, indent)
        return lines

    def statement(self, depth: int, indent: str) -> list[str]:
        inside = indent + "    "
        simple = [
            self.assignment,
            lambda: f"print({self.any(2)}, {self.any(1)}, sep={self.pick(repr(' '), repr('-'))})",
            lambda: f"{self.name('int')} {self.pick('+=', '-=', '*=')} {self.whole(1)}",
            lambda: f"{self.name('list')}.append({self.whole(1)})",
            lambda: f"{self.name('list')}.{self.pick('reverse()', 'sort()', 'pop()', 'copy()', 'insert(1, 5)')}",
            lambda: f"d[{self.text(1)}] = {self.whole(1)}",
            lambda: f"d.update({{'a': {self.whole(1)}, {self.text(0)}: 2}})",
            lambda: f"u.{self.pick('add', 'discard')}({self.whole(0)})",
            lambda: f"i, *a = {self.items(1)}",
            lambda: f"x, s = {self.real(1)}, {self.text(1)}",
            lambda: f"assert {self.truth(1)}, {self.text(1)}",
            lambda: f"del a[{self.slice()}]",
            lambda: "print(sorted(u), d, a)",
        ]
        if depth <= 0 or self.rng.random() < 0.55:
            return [indent + self.rng.choice(simple)()]
        kind = self.rng.randrange(7)
        body = lambda: self.block(depth - 1, inside)  # noqa: E731
        if kind == 0:
            lines = [f"{indent}if {self.truth(2)}:", *body()]
            if self.rng.random() < 0.5:
                lines += [f"{indent}elif {self.truth(1)}:", *body()]
            return [*lines, f"{indent}else:", *body()]
        if kind == 1:
            leave = [f"{inside}if {self.truth(1)}:", f"{inside}    {self.pick('break', 'continue')}"]
            source = self.pick(f"range({self.rng.randint(0, 5)})", self.items(0), "d.copy()", "'pq'")
            target = "m" if source.startswith(("d", "'")) else "i"
            return [f"{indent}for {target} in {source}:", *leave, *body(), f"{indent}else:", *body()]
        if kind == 2:
            counter = f"w{len(indent)}"
            step = f"{inside}{counter} += 1"
            return [f"{indent}{counter} = 0", f"{indent}while {counter} < 4:", step, *body()]
        if kind == 3:
            kinds = self.pick("ZeroDivisionError", "(IndexError, KeyError)", "Exception", "ValueError")
            lines = [f"{indent}try:", *body(), f"{indent}except {kinds} as error:"]
            return [*lines, f"{inside}print(repr(error))", *body(), f"{indent}finally:", *body()]
        if kind == 4:
            name = f"f{len(self.functions)}"
            head = f"{indent}def {name}(i, j={self.rng.randint(0, 5)}, *rest, k=1):"
            start = [f"{inside}a, b, s, t, x, y, d, u = [i, j], [k], 'in', 'f', 0.5, 1.5, {{'a': j}}, {{i}}"]
            lines = [head, *start, *body(), f"{inside}return {self.whole(2)}"]
            if not indent:
                self.functions.append(name)
            return lines
        if kind == 5:
            raised = self.pick("ValueError('v', 1)", "KeyError('q')", "RuntimeError", "AssertionError('no')")
            return [f"{indent}if {self.truth(1)} and {self.truth(1)}:", f"{inside}raise {raised}", *body()]
        return [
            f"{indent}class C{len(indent)}:",
            f"{inside}base = {self.whole(0)}",
            f"{inside}def __init__(self, n):",
            f"{inside}    self.n = n",
            f"{inside}def get(self, more=1):",
            f"{inside}    return self.n * self.base + more",
            f"{indent}print(C{len(indent)}({self.whole(1)}).get({self.whole(0)}))",
        ]

    def program(self) -> str:
        start = ["import math", "i, j, k = 3, -2, 7", "x, y = 0.5, -1.25", "s, t = 'Hello', 'a,b'"]
        start += ["a, b = [1, 2, 3], [5]", "d = {'a': 1, 'bc': 2}", "u = {1, 2}", "m = 'm'"]
        lines = list(start)
        for _ in range(self.rng.randint(3, 9)):
            lines += self.statement(3, "")
        return "\n".join([*lines, "print(i, j, k, x, y, s, t, a, b, d, sorted(u))"]) + "\n"


_WORDS = """
    def class if else elif for while in not and or is lambda return yield try except finally with as import from raise
    assert pass break continue global nonlocal del async await match case None True False print len range int str eval
    exec open compile getattr __import__ __class__ __builtins__ __subclasses__ os sys subprocess pathlib type object
    ( ) [ ] { } : ; , . = == != < > + - * / // % ** @ & | ^ ~ << >> := -> ... ' " \''' \""" \\ # f' f" {x} {{ 0 1 2
    10 9999999999 1e308 0x10 'a' "b" x y self . .format .join .__class__ .__globals__ [0] (x)
"""
TOKENS = [*_WORDS.split(), "\u202e", "\u0301", "\ud800", "\x00", "\u200b"]
SPLICES = (
    "().__class__.__bases__[0].__subclasses__()",
    "__import__('os').system('true')",
    "open('/etc/passwd').read()",
    "eval('1')",
    "exec('x=1')",
    "10**10**10",
    "'a'*10**9",
    "[0]*10**9",
    "list(range(10**12))",
    "'{0.__class__}'.format(1)",
    "f'{1:>99999999}'",
    "(lambda f: f(f))(lambda f: f(f))",
    "import os\nos.system('true')\n",
    "while True: pass\n",
    "print.__self__",
    "[].append.__self__",
    "math.__loader__",
    "1 << 10**9",
    "sum(range(10**9))",
    "a.append(a)",
    "str(a)",
    "(x for x in iter(int, 1))",
)


def soup(rng: Random) -> str:
    """Loose tokens with random blanks and line ends."""
    return "".join(rng.choice(TOKENS) + rng.choice(["", " ", " ", "\n", "\n    "]) for _ in range(rng.randint(1, 60)))


def mutated(rng: Random, text: str) -> str:
    """A program with characters, lines or tokens cut, doubled, moved or replaced by something hostile."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        lines = text.split("\n")
        kind = rng.randrange(7)
        at = rng.randrange(len(lines))
        spot = rng.randrange(len(text) + 1)
        if kind == 0:
            lines[at] = lines[at] + " " + rng.choice(TOKENS)
            text = "\n".join(lines)
        elif kind == 1:
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            lines.insert(at, indent + rng.choice(SPLICES))
            text = "\n".join(lines)
        elif kind == 2:
            del lines[at]
            text = "\n".join(lines)
        elif kind == 3:
            text = text[:spot] + rng.choice(TOKENS) + text[spot:]
        elif kind == 4:
            text = text[:spot] + text[spot + rng.randint(1, 6) :]
        elif kind == 5:
            lines[at] = lines[at].replace(rng.choice(["1", "2", "a", "i", "s", "(", "+"]), rng.choice(SPLICES))
            text = "\n".join(lines)
        else:
            rng.shuffle(lines)
            text = "\n".join(lines)
        text = text or "x"
    return text


def hostile(rng: Random) -> str:
    """One hostile text of any of the kinds."""
    return soup(rng) if rng.random() < 0.15 else mutated(rng, Generator(rng).program())
