"""Regular expressions of grep and sed in time linear in the text, whatever the pattern.

A pattern becomes a nondeterministic automaton, which is run on sets of its states; sets seen before are looked up.
There is nothing to backtrack into: a search costs at most one step for each character and state of the automaton, and
the meter pays for it. Matches are the leftmost longest ones, as POSIX asks; the parts that groups matched follow the
first alternative that fits, which differs from POSIX only where alternatives share a beginning. Back-references need
backtracking and are refused.
"""

from dataclasses import dataclass
from typing import Literal

from overopt.envs.machine.limits import Meter
from overopt.envs.machine.pattern_syntax import CharSet, PatternError, PatternReader, Tree

MAX_NODES = 2_000
MAX_CACHED = 400

# One node of the automaton: (kind, argument, next nodes).
_Node = tuple[str, object, tuple[int, ...]]


class _Builder:
    """Thompson's construction, written from the end of the pattern to its beginning; ``backward`` reads it reversed."""

    def __init__(self, *, fold: bool, backward: bool) -> None:
        self.nodes: list[_Node] = [("match", None, ())]
        self.fold, self.backward = fold, backward

    def add(self, kind: str, argument: object, *targets: int) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise PatternError("Regular expression too big")
        self.nodes.append((kind, argument, targets))
        return len(self.nodes) - 1

    def build(self, tree: Tree, then: int) -> int:
        kind = tree[0]
        if kind == "char":
            char = tree[1]
            if self.fold and char.lower() != char.upper():
                return self.add("set", CharSet(frozenset({char, char.lower(), char.upper()})), then)
            return self.add("char", char, then)
        if kind == "any":
            return self.add("any", None, then)
        if kind in ("set", "assert"):
            return self.add(kind, tree[1], then)
        if kind == "cat":
            for item in tree[1] if self.backward else reversed(tree[1]):
                then = self.build(item, then)
            return then
        if kind == "alt":
            return self.add("split", None, *[self.build(branch, then) for branch in tree[1]])
        if kind == "group":
            close = self.add("save", 2 * tree[1] + 1, then)
            return self.add("save", 2 * tree[1], self.build(tree[2], close))
        _, item, low, high = tree
        if high is None:
            loop = self.add("split", None)
            self.nodes[loop] = ("split", None, (self.build(item, loop), then))
            then = loop
        else:
            for _ in range(high - low):
                then = self.add("split", None, self.build(item, then), then)
        for _ in range(low):
            then = self.build(item, then)
        return then


class _State(dict[str, "_State"]):
    """A set of automaton nodes with the kind of the character before; maps the next character to the next state."""

    __slots__ = ("matched", "nodes", "owner", "previous")

    def __init__(self, owner: "_Machine", nodes: frozenset[int], previous: str, matched: bool) -> None:
        super().__init__()
        self.owner, self.nodes, self.previous, self.matched = owner, nodes, previous, matched

    def __missing__(self, char: str) -> "_State":
        return self.owner.step(self, char)


_EDGE = ""
"""Stands for the character before the first and behind the last of a line."""


def _kind(char: str) -> str:
    return _EDGE if char == _EDGE else "w" if char == "_" or char.isalnum() else "-"


class _Machine:
    """Runs the automaton over characters, those of the text from its beginning or from its end.

    A state's ``matched`` says that a match ended before the character that led to it; ``everywhere`` lets a match
    begin at any character.
    """

    def __init__(self, builder: "_Builder", start: int, meter: Meter, *, everywhere: bool) -> None:
        self.nodes, self.backward = builder.nodes, builder.backward
        self.start, self.meter, self.everywhere = start, meter, everywhere
        self.cache: dict[tuple[frozenset[int], str, bool], _State] = {}

    def state(self, nodes: frozenset[int], previous: str, matched: bool) -> _State:
        key = (nodes, previous, matched)
        found = self.cache.get(key)
        if found is None:
            if len(self.cache) >= MAX_CACHED:
                for state in self.cache.values():
                    state.clear()
                self.cache.clear()
            found = self.cache[key] = _State(self, nodes, previous, matched)
        return found

    def begin(self, previous: str) -> _State:
        return self.state(frozenset((self.start,)), _kind(previous), False)

    def step(self, state: _State, char: str) -> _State:
        after = _kind(char)
        sides = (after, state.previous) if self.backward else (state.previous, after)
        closed = closure(self.nodes, state.nodes, *sides)
        self.meter.spend(20 + 8 * len(closed))
        following: set[int] = {self.start} if self.everywhere else set()
        matched = False
        for number in closed:
            kind, argument, targets = self.nodes[number]
            if kind == "match":
                matched = True
            elif char != _EDGE and accepts(kind, argument, char):
                following.add(targets[0])
        result = self.state(frozenset(following), after, matched)
        if char.isascii():
            state[char] = result
        return result


def accepts(kind: str, argument: object, char: str) -> bool:
    """Whether a node that reads one character reads ``char``."""
    if kind == "char":
        return char == argument
    if kind == "any":
        return char != "\n" and not "\udc80" <= char <= "\udcff"
    return kind == "set" and isinstance(argument, CharSet) and char in argument


def closure(nodes: list[_Node], start: frozenset[int], before: str, after: str) -> list[int]:
    """The nodes reachable without reading a character, between characters of the kinds ``before`` and ``after``."""
    seen, stack = set(start), list(start)
    while stack:
        kind, argument, targets = nodes[stack.pop()]
        if kind == "assert" and not holds(argument, before, after):
            continue
        if kind in ("assert", "split", "save"):
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
    return sorted(seen)


def holds(assertion: object, before: str, after: str) -> bool:
    """Whether a position between two characters of these kinds fulfils ``assertion``."""
    if assertion == "start":
        return before == _EDGE
    if assertion == "end":
        return after == _EDGE
    if assertion == "boundary":
        return (before == "w") != (after == "w")
    if assertion == "inside":
        return (before == "w") == (after == "w")
    if assertion in ("word-start", "free-start"):
        return before != "w" and (after == "w" or assertion == "free-start")
    return after != "w" and (before == "w" or assertion == "free-end")


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern matched, and its groups as (start, end) or ``None``."""

    start: int
    end: int
    groups: tuple[tuple[int, int] | None, ...] = ()


class Pattern:
    """A compiled pattern.

    Parameters
    ----------
    text
        Basic syntax of POSIX with GNU's extensions, or extended syntax.
    meter
        Pays for every search.
    extended, fixed, ignore_case
        As grep's ``-E``, ``-F`` and ``-i``.
    whole
        ``"line"`` and ``"word"`` as grep's ``-x`` and ``-w``.

    Raises
    ------
    PatternError
        If the pattern is malformed or not supported.

    >>> from overopt.envs.machine.limits import Limits
    >>> pattern = Pattern("a*b", Meter(Limits()))
    >>> pattern.search("xaab"), pattern.matches("aaa")
    (Match(start=1, end=4, groups=()), False)
    """

    def __init__(
        self,
        text: str,
        meter: Meter,
        *,
        extended: bool = False,
        fixed: bool = False,
        ignore_case: bool = False,
        whole: Literal["", "line", "word"] = "",
    ) -> None:
        meter.spend(50 + 25 * len(text))
        self.meter = meter
        self.group_count = 0
        self.warnings: list[str] = []
        """What grep says about a pattern that it takes all the same."""
        plain = fixed or not any(char in "\\[.*^$" or (extended and char in "(){}|+?") for char in text)
        self.literal = text if plain and not ignore_case and not whole else None
        if self.literal is not None:
            return
        if fixed:
            tree: Tree = ("cat", [("char", char) for char in text])
        else:
            parser = PatternReader(text, extended=extended, fold=ignore_case)
            tree = parser.parse()
            self.group_count, self.warnings = parser.groups, parser.warnings
        if whole == "line":
            tree = ("cat", [("assert", "start"), tree, ("assert", "end")])
        if whole == "word":
            tree = ("cat", [("assert", "free-start"), tree, ("assert", "free-end")])
        self._forward = _Builder(fold=ignore_case, backward=False)
        self._start = self._forward.build(tree, 0)
        self._searcher = _Machine(self._forward, self._start, meter, everywhere=True)
        self._runner = _Machine(self._forward, self._start, meter, everywhere=False)
        self._tree, self._fold = tree, ignore_case
        self._backward: _Machine | None = None
        meter.spend(10 * len(self._forward.nodes))

    def matches(self, line: str) -> bool:
        """Whether ``line`` holds a match."""
        if self.literal is not None:
            self.meter.bulk(len(line))
            return self.literal in line
        self.meter.spend(1 + len(line) // 2)
        state = self._searcher.begin(_EDGE)
        for char in line:
            state = state[char]
            if state.matched:
                return True
        return self._searcher.step(state, _EDGE).matched

    def find_all(self, line: str, most: int | None = None) -> list[Match]:
        """The leftmost longest matches that do not overlap, in order, at most ``most``.

        An empty match right behind another match does not count.
        """
        if self.literal is not None:
            return self._find_literal(line, most)
        found: list[Match] = []
        begin, last_end = 0, -1
        for start in self._starts(line):
            if most is not None and len(found) >= most:
                break
            if start < begin:
                continue
            end = self._longest(line, start)
            assert end is not None
            if start == end == last_end:
                continue
            self.meter.spend(10)
            found.append(Match(start, end, self._groups(line, start, end)))
            begin, last_end = max(end, start + 1) if end == start else end, end
        return found

    def search(self, line: str) -> Match | None:
        """The leftmost longest match."""
        return next(iter(self.find_all(line, 1)), None)

    def _find_literal(self, line: str, most: int | None) -> list[Match]:
        assert self.literal is not None
        self.meter.bulk(len(line))
        found: list[Match] = []
        width, position = len(self.literal), line.find(self.literal)
        while position >= 0 and (most is None or len(found) < most):
            self.meter.spend(10)
            found.append(Match(position, position + width))
            position = line.find(self.literal, position + max(width, 1)) if position < len(line) else -1
        return found

    def _starts(self, line: str) -> list[int]:
        """Every position at which some match begins, in order, by one pass from the end."""
        self.meter.spend(1 + len(line))
        if self._backward is None:
            builder = _Builder(fold=self._fold, backward=True)
            self._backward = _Machine(builder, builder.build(self._tree, 0), self.meter, everywhere=True)
            self.meter.spend(10 * len(builder.nodes))
        marker = self._backward
        state = marker.begin(_EDGE)
        found = []
        for position in range(len(line), 0, -1):
            state = state[line[position - 1]]
            if state.matched:
                found.append(position)
        if marker.step(state, _EDGE).matched:
            found.append(0)
        found.reverse()
        return found

    def _longest(self, line: str, start: int) -> int | None:
        state = self._runner.begin(line[start - 1] if start else _EDGE)
        last, position, length = None, start, len(line)
        while position < length:
            state = state[line[position]]
            if state.matched:
                last = position
            if not state.nodes:
                break
            position += 1
        else:
            if self._runner.step(state, _EDGE).matched:
                last = length
        self.meter.spend(2 + (position - start) // 2)
        return last

    def _groups(self, line: str, start: int, end: int) -> tuple[tuple[int, int] | None, ...]:
        if not self.group_count:
            return ()
        # Threads in order of preference, each with the positions it saved; the first that ends at ``end`` wins.
        width = 2 * (self.group_count + 1)
        threads: list[tuple[int, tuple[int, ...]]] = [(self._start, (-1,) * width)]
        for position in range(start, end + 1):
            before = _kind(line[position - 1]) if position else _EDGE
            char = line[position] if position < len(line) else _EDGE
            threads = self._spread(threads, position, before, _kind(char))
            self.meter.spend(10 + 10 * len(threads))
            if position == end:
                saved = next(
                    (slots for node, slots in threads if self._forward.nodes[node][0] == "match"), (-1,) * width
                )
                pairs = [(saved[2 * group], saved[2 * group + 1]) for group in range(1, self.group_count + 1)]
                return tuple(pair if min(pair) >= 0 else None for pair in pairs)
            threads = [
                (self._forward.nodes[node][2][0], slots)
                for node, slots in threads
                if accepts(self._forward.nodes[node][0], self._forward.nodes[node][1], char)
            ]
        raise AssertionError("the range above ends with a return")

    def _spread(
        self, threads: list[tuple[int, tuple[int, ...]]], position: int, before: str, after: str
    ) -> list[tuple[int, tuple[int, ...]]]:
        seen: set[int] = set()
        found: list[tuple[int, tuple[int, ...]]] = []
        stack = list(reversed(threads))
        while stack:
            node, slots = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            kind, argument, targets = self._forward.nodes[node]
            if kind == "split":
                stack.extend((target, slots) for target in reversed(targets))
            elif kind == "save":
                assert isinstance(argument, int)
                stack.append((targets[0], (*slots[:argument], position, *slots[argument + 1 :])))
            elif kind == "assert":
                if holds(argument, before, after):
                    stack.append((targets[0], slots))
            else:
                found.append((node, slots))
        return found
