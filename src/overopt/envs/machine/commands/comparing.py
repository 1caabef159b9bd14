"""diff, by the shortest script of removed and added lines."""

from collections.abc import Hashable
from dataclasses import dataclass

from overopt.envs.machine.commands.clock import format_time
from overopt.envs.machine.inodes import MISSING, Inode, Refused
from overopt.envs.machine.limits import Meter
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.shell import Call

_LONG = {
    "unified?=": "u", "brief": "q", "recursive": "r", "ignore-case": "i", "ignore-all-space": "w",
    "ignore-space-change": "b", "ignore-blank-lines": "B", "label=": "L", "new-file": "N", "text": "a",
    "report-identical-files": "s", "color?=": "K",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines ``a[a_start:a_end]`` that are replaced by ``b[b_start:b_end]``; one of the two may be empty."""

    a_start: int
    a_end: int
    b_start: int
    b_end: int


def shortest_script(a: list[Hashable], b: list[Hashable], meter: Meter) -> list[Hunk]:
    """The changes that turn ``a`` into ``b``, with as few lines removed and added as possible.

    Myers 1986: furthest points on the diagonals for 0, 1, 2, … changes. The cost, the product of length and number of
    changes, is paid by ``meter`` step by step.

    >>> from overopt.envs.machine.limits import Limits
    >>> shortest_script(list("abc"), list("axc"), Meter(Limits()))
    [Hunk(a_start=1, a_end=2, b_start=1, b_end=2)]
    """
    head = 0
    while head < len(a) and head < len(b) and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    meter.spend(head + tail)
    n, m = len(a) - head - tail, len(b) - head - tail
    trail: list[dict[int, int]] = []
    furthest = {1: 0}
    for changes in range(n + m + 1):
        trail.append(dict(furthest))
        meter.spend(5 + 5 * changes)
        for k in range(-changes, changes + 1, 2):
            down = k == -changes or (k != changes and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            start = x
            while x < n and y < m and a[head + x] == b[head + y]:
                x, y = x + 1, y + 1
            meter.spend(x - start)
            furthest[k] = x
            if x >= n and y >= m:
                return _hunks(a, b, _edits(trail, n, m), head)
    raise AssertionError("removing and adding every line is a script")


def _edits(trail: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, bool]]:
    """The single changes (place in a, place in b, whether a line is added), in order."""
    found: list[tuple[int, int, bool]] = []
    for changes in range(len(trail) - 1, 0, -1):
        furthest, k = trail[changes], x - y
        down = k == -changes or (k != changes and furthest[k - 1] < furthest[k + 1])
        before = k + 1 if down else k - 1
        x = furthest[before]
        y = x - before
        found.append((x, y, down))
    found.reverse()
    return found


def _hunks(a: list[Hashable], b: list[Hashable], edits: list[tuple[int, int, bool]], head: int) -> list[Hunk]:
    removed = [False] * (len(a) + 1)
    added = [False] * (len(b) + 1)
    for x, y, down in edits:
        if down:
            added[head + y] = True
        else:
            removed[head + x] = True
    hunks: list[Hunk] = []
    i = j = 0
    while i < len(a) or j < len(b):
        if removed[i] or added[j]:
            a_start, b_start = i, j
            while removed[i]:
                i += 1
            while added[j]:
                j += 1
            hunks.append(Hunk(a_start, i, b_start, j))
        else:
            i, j = i + 1, j + 1
    return hunks


def diff(call: Call) -> int:
    """Compare files or folders."""
    options = read_options(
        call, "uU:qriwbBL:Nasc", _LONG, status=2,
        usage="diff: Try 'diff --help' for more information.\n",
    )  # fmt: skip
    operands = options.operands
    if len(operands) != 2:
        last = operands[0] if operands else "diff"
        problem = f"extra operand '{operands[2]}'" if len(operands) > 2 else f"missing operand after '{last}'"
        call.complain(problem)
        return call.complain("Try 'diff --help' for more information.", 2)
    if "c" in options:
        call.unsupported("-c")
        return call.complain("option -c is not supported in this shell", 2)
    context = options.value("U", "3")
    if not (context.isascii() and context.isdecimal() and len(context) < 7):
        return call.complain(f"invalid context length '{context}'", 2)
    nodes: list[Inode | None] = []
    failed = False
    for path in operands:
        try:
            nodes.append(None if path == "-" else call.node(path))
        except Refused as refusal:
            nodes.append(None)
            if not ("N" in options and refusal.reason == MISSING):
                call.complain(f"{path}: {refusal.reason}")
                failed = True
    if failed:
        return 2
    left, right = operands
    kinds = [node.kind if node is not None else "file" for node in nodes]
    if nodes[0] is nodes[1] and nodes[0] is not None and "s" not in options:
        return 0
    if kinds == ["folder", "folder"]:
        return _folders(call, left, right, options)
    if kinds[0] == "folder":
        left = f"{left.rstrip('/')}/{right.rpartition('/')[2]}"
    elif kinds[1] == "folder":
        right = f"{right.rstrip('/')}/{left.rpartition('/')[2]}"
    return _files(call, left, right, options, "")


def _folders(call: Call, left: str, right: str, options: Options) -> int:
    status = 0
    stack = [(left.rstrip("/") or "/", right.rstrip("/") or "/")]
    while stack:
        a, b = stack.pop()
        try:
            ours = dict(call.files.children(call.node(a)))
            theirs = dict(call.files.children(call.node(b)))
        except Refused as refusal:
            status = call.complain(f"{a}: {refusal.reason}", 2)
            continue
        for name in sorted(ours.keys() | theirs.keys()):
            call.meter.spend(20)
            if name not in ours or name not in theirs:
                call.say(f"Only in {a if name in ours else b}: {name}\n")
                status = max(status, 1)
                continue
            pair = f"{a}/{name}", f"{b}/{name}"
            both = [ours[name].kind == "folder", theirs[name].kind == "folder"]
            if both == [True, True]:
                if "r" in options:
                    stack.append(pair)
                else:
                    call.say(f"Common subdirectories: {pair[0]} and {pair[1]}\n")
            elif any(both):
                words = ["a directory" if folder else "a regular file" for folder in both]
                call.say(f"File {pair[0]} is {words[0]} while file {pair[1]} is {words[1]}\n")
                status = max(status, 1)
            else:
                flags = "".join(f" -{letter}" for letter, _ in options.given if len(letter) == 1)
                status = max(status, _files(call, *pair, options, f"diff{flags} {pair[0]} {pair[1]}\n"))
    return status


def _files(call: Call, left: str, right: str, options: Options, title: str) -> int:
    texts, times = [], []
    for path in (left, right):
        try:
            texts.append(call.read(path))
            times.append(call.files.clock if path == "-" else call.node(path).mtime)
        except Refused as refusal:
            if "N" in options and refusal.reason == MISSING:
                texts.append("")
                times.append(0)
                continue
            return call.complain(f"{path}: {refusal.reason}", 2)
    if texts[0] == texts[1]:
        if "s" in options:
            call.say(f"Files {left} and {right} are identical\n")
        return 0
    if "q" in options:
        call.say(f"Files {left} and {right} differ\n")
        return 1
    if any("\0" in text for text in texts):
        call.say(f"Binary files {left} and {right} differ\n")
        return 1
    a, b = (_split(text) for text in texts)
    call.meter.spend(4 * (len(a) + len(b)) + (len(texts[0]) + len(texts[1])) // 8)
    hunks = shortest_script([_key(line, options) for line in a], [_key(line, options) for line in b], call.meter)
    if not hunks:
        return 0
    call.say(title)
    call.meter.spend(10 * (len(a) + len(b)))
    if "u" in options or "U" in options:
        labels = [value for name, value in options.given if name == "L"]
        for index, (mark, path) in enumerate((("---", left), ("+++", right))):
            stamp = format_time(times[index], "%F %T.%N %z")
            call.say(f"{mark} {labels[index] if index < len(labels) else f'{path}{chr(9)}{stamp}'}\n")
        _unified(call, a, b, hunks, int(options.value("U", "3")))
    else:
        _normal(call, a, b, hunks)
    return 1


def _split(text: str) -> list[str]:
    """Lines with their newlines, so that a missing last one is a difference."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _key(line: str, options: Options) -> str:
    if "w" in options:
        line = "".join(line.split())
    elif "b" in options:
        line = " ".join((line + ".").split())
    return line.lower() if "i" in options else line


def _print_line(call: Call, mark: str, line: str) -> None:
    call.say(mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n")


def _normal(call: Call, a: list[str], b: list[str], hunks: list[Hunk]) -> None:
    for hunk in hunks:
        ours, theirs = _span(hunk.a_start, hunk.a_end), _span(hunk.b_start, hunk.b_end)
        letter = "a" if hunk.a_start == hunk.a_end else "d" if hunk.b_start == hunk.b_end else "c"
        call.say(f"{ours}{letter}{theirs}\n")
        for line in a[hunk.a_start : hunk.a_end]:
            _print_line(call, "< ", line)
        if letter == "c":
            call.say("---\n")
        for line in b[hunk.b_start : hunk.b_end]:
            _print_line(call, "> ", line)


def _span(start: int, end: int) -> str:
    return str(start) if start == end else str(end) if end == start + 1 else f"{start + 1},{end}"


def _unified(call: Call, a: list[str], b: list[str], hunks: list[Hunk], context: int) -> None:
    groups: list[list[Hunk]] = []
    for hunk in hunks:
        if groups and hunk.a_start - groups[-1][-1].a_end <= 2 * context:
            groups[-1].append(hunk)
        else:
            groups.append([hunk])
    for group in groups:
        a_start, b_start = max(group[0].a_start - context, 0), max(group[0].b_start - context, 0)
        a_end, b_end = min(group[-1].a_end + context, len(a)), min(group[-1].b_end + context, len(b))
        call.say(f"@@ -{_unified_span(a_start, a_end)} +{_unified_span(b_start, b_end)} @@\n")
        position = a_start
        for hunk in group:
            for line in a[position : hunk.a_start]:
                _print_line(call, " ", line)
            for line in a[hunk.a_start : hunk.a_end]:
                _print_line(call, "-", line)
            for line in b[hunk.b_start : hunk.b_end]:
                _print_line(call, "+", line)
            position = hunk.a_end
        for line in a[position:a_end]:
            _print_line(call, " ", line)


def _unified_span(start: int, end: int) -> str:
    length = end - start
    return f"{start if not length else start + 1}" + ("" if length == 1 else f",{length}")
