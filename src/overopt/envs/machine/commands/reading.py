"""Commands that show files: cat, tac, head, tail, wc, tee, cmp."""

from overopt.envs.machine.inodes import IS_A_FOLDER, Refused
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.shell import Call
from overopt.envs.machine.streams import FileSink
from overopt.envs.machine.text import byte_length, curly, from_bytes, lines_of, shown, to_bytes


def cat(call: Call) -> int:
    """Print files one after the other."""
    options = read_options(
        call, "nbsAEeTtuv", {"number": "n", "number-nonblank": "b", "squeeze-blank": "s", "show-all": "A",
                             "show-ends": "E", "show-tabs": "T", "show-nonprinting": "v"}
    )  # fmt: skip
    status, number, last_blank = 0, 0, False
    changed = options.values.keys() - {"u"}
    spelled = options.values.keys() & {"A", "e", "t", "v"}
    for path in options.operands or ["-"]:
        try:
            node = call.stdin.node if path == "-" else call.node(path)
            text = call.read(path)
        except Refused as refusal:
            status = call.complain(f"{shown(path)}: {refusal.reason}")
            continue
        if node is not None and node is call.out.node and node.size:
            status = call.complain(f"{shown(path)}: input file is output file")
            continue
        if not changed:
            call.say(text)
            continue
        for line in _lines(call, text):
            call.meter.spend(16 + (2 * len(line) if spelled else 0))
            blank = line == "\n"
            if blank and last_blank and "s" in options:
                continue
            last_blank = blank
            prefix = ""
            if ("b" in options and not blank) or ("n" in options and "b" not in options):
                number += 1
                prefix = f"{number:6}\t"
            call.say(prefix + _visible(line, options))
    return status


def _lines(call: Call, text: str) -> list[str]:
    """The lines with their newlines."""
    lines = [line + "\n" for line in call.lines(text)]
    if lines and not text.endswith("\n"):
        lines[-1] = lines[-1][:-1]
    return lines


def _visible(line: str, options: Options) -> str:
    given = options.values
    body, newline = (line[:-1], "\n") if line.endswith("\n") else (line, "")
    if given.keys() & {"A", "e", "t", "v"}:
        body = "".join(_caret(byte) for byte in to_bytes(body))
    if given.keys() & {"A", "T", "t"}:
        body = body.replace("\t", "^I")
    return body + ("$" if newline and given.keys() & {"A", "E", "e"} else "") + newline


def _caret(byte: int) -> str:
    if byte >= 128:
        return "M-" + _caret(byte - 128) if byte - 128 not in (9, 10) else "M-^" + chr(byte - 128 + 64)
    if byte == 127:
        return "^?"
    return chr(byte) if byte >= 32 or byte == 9 else "^" + chr(byte + 64)


def tac(call: Call) -> int:
    """Print the lines of files in reverse order."""
    options = read_options(call, "")
    texts, status = call.texts(options.operands)
    for _, text in texts:
        call.say("".join(reversed(_lines(call, text))))
    return status


def head(call: Call) -> int:
    """Print the first lines or bytes of files."""
    return _ends(call, first=True)


def tail(call: Call) -> int:
    """Print the last lines or bytes of files."""
    return _ends(call, first=False)


def _ends(call: Call, *, first: bool) -> int:
    args = call.args
    if args and len(args[0]) > 1 and args[0][0] == "-" and args[0][1:].isdecimal():
        call.args = ["-n", args[0][1:], *args[1:]]
    options = read_options(
        call, "n:c:qvzf" if not first else "n:c:qvz",
        {"lines=": "n", "bytes=": "c", "quiet": "q", "silent": "q", "verbose": "v", "follow?=": "f"},
    )  # fmt: skip
    unit = options.last("nc") or "n"
    wanted = options.value(unit, "10")
    sign = wanted[:1] if wanted[:1] in ("-", "+") else ""
    digits = wanted.removeprefix(sign)
    if not (digits.isascii() and digits.isdecimal()):
        return call.complain(f"invalid number of {'lines' if unit == 'n' else 'bytes'}: {curly(wanted)}")
    count = int(digits[-18:])
    status, headed = 0, False
    names = options.operands or ["-"]
    for path in names:
        try:
            text = call.read(path)
        except Refused as refusal:
            if refusal.reason == IS_A_FOLDER:
                reading = f"error reading '{path}': {refusal.reason}"
                if len(names) > 1:
                    call.say(f"{chr(10) if headed else ''}==> {path} <==\n")
                    headed = True
                status = call.complain(reading)
            else:
                status = call.complain(f"cannot open '{path}' for reading: {refusal.reason}")
            continue
        if (len(names) > 1 and "q" not in options) or "v" in options:
            call.say(f"{chr(10) if headed else ''}==> {'standard input' if path == '-' else path} <==\n")
            headed = True
        call.meter.bulk(2 * len(text))
        if unit == "c":
            data = to_bytes(text)
            call.say(from_bytes(data[_span(len(data), count, sign, first=first)]))
        else:
            lines = _lines(call, text)
            call.say("".join(lines[_span(len(lines), count, sign, first=first)]))
    return status


def _span(length: int, count: int, sign: str, *, first: bool) -> slice:
    if first:
        return slice(0, max(length - count, 0) if sign == "-" else count)
    return slice(max(count - 1, 0), None) if sign == "+" else slice(max(length - count, 0), None)


def wc(call: Call) -> int:
    """Count lines, words, characters and bytes."""
    options = read_options(
        call, "lwcmL", {"lines": "l", "words": "w", "bytes": "c", "chars": "m", "max-line-length": "L"}
    )
    columns = [letter for letter in "lwmcL" if letter in options] or ["l", "w", "c"]
    rows: list[tuple[list[int], str]] = []
    status, regular, irregular = 0, 0, False
    totals = [0] * len(columns)
    for path in options.operands or ["-"]:
        named = path if options.operands else ""
        try:
            node = call.stdin.node if path == "-" else call.node(path)
            if node is None or node.kind != "file":
                irregular = True
            else:
                regular += node.size
            text = call.read(path)
        except Refused as refusal:
            status = call.complain(f"{shown(path)}: {refusal.reason}")
            if refusal.reason == IS_A_FOLDER:
                rows.append(([0] * len(columns), named))
            continue
        call.meter.bulk(4 * len(text))
        counts = [_count(letter, text) for letter in columns]
        rows.append((counts, named))
        totals = [max(a, b) if letter == "L" else a + b for letter, a, b in zip(columns, totals, counts, strict=True)]
    if len(options.operands) > 1:
        rows.append((totals, "total"))
    width = max(len(str(regular)), 7 if irregular else 1)
    if len(options.operands) <= 1 and len(columns) == 1:
        width = 1
    for counts, named in rows:
        call.say(" ".join(f"{count:{width}}" for count in counts) + (f" {named}" if named else "") + "\n")
    return status


def _count(letter: str, text: str) -> int:
    if letter == "l":
        return text.count("\n")
    if letter == "w":
        return len(text.split())
    if letter == "m":
        return sum(1 for char in text if not "\udc80" <= char <= "\udcff") if not text.isascii() else len(text)
    if letter == "L":
        return max((len(line.expandtabs()) for line in lines_of(text)), default=0)
    return byte_length(text)


def tee(call: Call) -> int:
    """Copy the input to the output and to files."""
    options = read_options(call, "ai", {"append": "a"})
    status = 0
    call.meter.bulk(len(call.stdin.text))
    call.say(call.stdin.text)
    for path in options.operands:
        try:
            place = call.place(path)
            if place.node is not None and place.node.kind == "device":
                continue
            sink = FileSink(call.files, place, call.shell.limits.pipe_chars, append="a" in options)
            sink.write(call.stdin.text)
            sink.close()
        except Refused as refusal:
            status = call.complain(f"{shown(path)}: {refusal.reason}")
    return status


def cmp(call: Call) -> int:
    """Find the first byte in which two files differ."""
    options = read_options(call, "s", {"quiet": "s", "silent": "s"}, status=2)
    if len(options.operands) not in (1, 2):
        problem = f"extra operand '{options.operands[2]}'" if options.operands else "missing operand after 'cmp'"
        call.err.write(f"cmp: {problem}\ncmp: Try 'cmp --help' for more information.\n")
        return 2
    names = [*options.operands, "-"][:2]
    datas = []
    for path in names:
        try:
            datas.append(to_bytes(call.read(path)))
        except Refused as refusal:
            if "s" not in options or refusal.reason != "No such file or directory":
                call.complain(f"{path}: {refusal.reason}")
            return 2
    first, second = datas
    if first == second:
        return 0
    call.meter.spend(10 + min(len(first), len(second)))
    place = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if "s" in options:
        return 1
    if place is None:
        short = 0 if len(first) < len(second) else 1
        data = datas[short]
        if not data:
            return call.complain(f"EOF on {names[short]} which is empty")
        line = data.count(b"\n")
        where = f"line {line}" if data.endswith(b"\n") else f"in line {line + 1}"
        return call.complain(f"EOF on {names[short]} after byte {len(data)}, {where}")
    line = first.count(b"\n", 0, place) + 1
    call.say(f"{names[0]} {names[1]} differ: byte {place + 1}, line {line}\n")
    return 1
