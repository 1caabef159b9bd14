"""sed: s, p, d, q, =, a, i, c, y with addresses, ``-n``, ``-i``, ``-E``, ``-e``, ``-s``."""

from overopt.envs.machine.commands.sed_script import Address, EditCommand, ScriptReader, SedError
from overopt.envs.machine.inodes import MISSING, Inode, Place, Refused
from overopt.envs.machine.options import read_options
from overopt.envs.machine.patterns import Pattern
from overopt.envs.machine.shell import Call
from overopt.envs.machine.text import shown

_LONG = {
    "quiet": "n", "silent": "n", "expression=": "e", "file=": "f", "regexp-extended": "E", "in-place?=": "i+",
    "separate": "s", "null-data": "z",
}  # fmt: skip


def sed(call: Call) -> int:
    """Edit lines by a script."""
    # -i takes its suffix from the same argument only, which getopt knows as an optional value.
    suffix, in_place, args, values_ahead = "", False, [], False
    for arg in call.args:
        if values_ahead or arg[:2] != "-i" or "--" in args:
            values_ahead = arg in ("-e", "-f", "--expression", "--file", "-ne", "-Ee", "-re", "-nEe")
            args.append(arg)
            continue
        in_place, suffix = True, arg[2:]
    call.args = args
    options = read_options(call, "nEre:f:sizu", _LONG, usage=_USAGE)
    if "i" in options or "i+" in options:
        in_place, suffix = True, options.value("i+")
    operands = options.operands
    scripts = [value for name, value in options.given if name == "e"]
    if "f" in options:
        try:
            scripts += [call.read(options.value("f"))]
        except Refused as refusal:
            return call.complain(f"couldn't open file {options.value('f')}: {refusal.reason}")
    if not scripts:
        if not operands:
            call.err.write(f"Usage: {call.name} [OPTION]... {{script-only-if-no-other-script}} [input-file]...\n")
            return 1
        scripts, operands = [operands[0]], operands[1:]
    try:
        reader = ScriptReader("\n".join(scripts), call, extended=bool(options.values.keys() & {"E", "r"}))
        commands = reader.commands()
    except SedError as error:
        if not error.supported:
            call.unsupported("script")
        return call.complain(str(error))
    editor = _Editor(call, commands, quiet="n" in options)
    if in_place:
        return _edit_files(call, editor, operands, suffix)
    status = 0
    texts = []
    for path in operands or ["-"]:
        try:
            if path != "-" and call.node(path).kind == "folder":
                status = call.complain(f"read error on {path}: Is a directory", 4)
                continue
            texts.append(call.read(path))
        except Refused as refusal:
            status = call.complain(f"can't read {path}: {refusal.reason}", 2)
    if "s" in options:
        for text in texts:
            call.say(editor.run(text))
    else:
        # A last line without newline gets one when another file follows.
        joined = "".join(text if text.endswith("\n") or not text else text + "\n" for text in texts[:-1])
        call.say(editor.run(joined + (texts[-1] if texts else "")))
    return editor.status or status


_USAGE = "Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n"


def _edit_files(call: Call, editor: "_Editor", paths: list[str], suffix: str) -> int:
    status = 0
    if not paths:
        return call.complain("no input files", 4)
    for path in paths:
        try:
            place = call.place(path, follow=False)
            node = place.node
            if node is None:
                raise Refused(MISSING)
            if node.kind == "link":
                target = call.node(path)
                node = target
            if node.kind != "file":
                status = call.complain(f"couldn't edit {path}: not a regular file", 4)
                continue
            text = call.files.read(Place(place.folder, place.name, node))
        except Refused as refusal:
            status = call.complain(f"can't read {path}: {refusal.reason}", 2)
            continue
        output = editor.run(text)
        try:
            if suffix:
                _keep_copy(call, place, node, suffix)
            call.files.replace(place, output)
        except Refused as refusal:
            status = call.complain(f"couldn't open temporary file {shown(path)}: {refusal.reason}", 4)
        if editor.ended:
            break
    return editor.status or status


def _keep_copy(call: Call, place: Place, node: Inode, suffix: str) -> None:
    name = suffix.replace("*", place.name) if "*" in suffix else place.name + suffix
    if "/" in name:
        raise Refused(MISSING)
    copy = Place(place.folder, name, call.files.nodes.get(place.folder.entries.get(name, 0)))
    if copy.node is None:
        call.files.create(copy, node.text, mode=node.mode)
    else:
        call.files.write(copy, node.text)


class _Editor:
    """Runs commands over the lines of a text."""

    def __init__(self, call: Call, commands: list[EditCommand], *, quiet: bool) -> None:
        self.call, self.commands, self.quiet = call, commands, quiet
        self.status, self.ended = 0, False

    def run(self, text: str) -> str:
        lines = self.call.lines(text)
        meter, limit = self.call.meter, self.call.shell.limits.pipe_chars
        output: list[str] = []
        size = 0
        for command in self.commands:
            command.active, command.until = False, 0
        for number, line in enumerate(lines, 1):
            if self.ended:
                break
            kept = len(output)
            meter.spend(10 + 10 * len(self.commands))
            self.line(line, number, number == len(lines), output)
            size += sum(len(piece) for piece in output[kept:])
            if size > limit:
                break
        joined = "\n".join(output)
        if output and (text.endswith("\n") or self.ended):
            joined += "\n"
        return joined

    def line(self, line: str, number: int, last: bool, output: list[str]) -> None:
        """Edit one line; ``output`` gets lines without their newlines."""
        meter = self.call.meter
        behind: list[str] = []
        shown_at_end = not self.quiet
        for command in self.commands:
            if not self.selected(command, line, number, last):
                continue
            letter = command.letter
            if letter == "s":
                changed = self.substitute(command, line)
                if changed is not None:
                    line = changed
                    if command.shows:
                        output.append(line)
            elif letter == "p":
                output.append(line)
            elif letter == "=":
                output.append(str(number))
            elif letter == "y":
                meter.bulk(4 * len(line))
                line = line.translate(command.table)
            elif letter == "a":
                behind.append(command.text)
            elif letter == "i":
                output.append(command.text)
            elif letter in "cd":
                shown_at_end = False
                if letter == "c" and (command.second is None or command.negated or not command.active or last):
                    output.append(command.text)
                break
            else:
                self.ended, self.status = True, command.nth & 255
                shown_at_end = shown_at_end and letter == "q"
                break
        if shown_at_end:
            output.append(line)
        output += behind
        meter.bulk(len(line))

    def selected(self, command: EditCommand, line: str, number: int, last: bool) -> bool:
        return self.in_range(command, line, number, last) != command.negated

    def in_range(self, command: EditCommand, line: str, number: int, last: bool) -> bool:
        if command.first is None:
            return True
        if command.second is None:
            return self.at(command.first, line, number, last)
        if command.active:
            if isinstance(command.second, Pattern):
                command.active = not command.second.matches(line)
            elif command.second == "$":
                command.active = not last
            else:
                command.active = number < command.until
                return number <= command.until
            return True
        if command.first == 0 and number == 1:
            assert isinstance(command.second, Pattern)
            command.active = not command.second.matches(line)
            return True
        if not self.at(command.first, line, number, last):
            return False
        if isinstance(command.second, int):
            command.until = number + command.second if command.relative else command.second
            command.active = number < command.until
        else:
            command.active = command.second != "$" or not last
        return True

    @staticmethod
    def at(address: Address, line: str, number: int, last: bool) -> bool:
        if isinstance(address, Pattern):
            return address.matches(line)
        return last if address == "$" else number == address

    def substitute(self, command: EditCommand, line: str) -> str | None:
        """The line after ``s``, or ``None`` when nothing matched."""
        pattern, meter = command.pattern, self.call.meter
        assert pattern is not None
        matches = pattern.find_all(line, None if command.every else command.nth)[command.nth - 1 :]
        if not matches:
            return None
        pieces: list[str] = []
        position = 0
        for match in matches:
            pieces.append(line[position : match.start])
            for piece in command.pieces:
                if isinstance(piece, str):
                    pieces.append(piece)
                    continue
                span = (match.start, match.end) if piece == 0 else match.groups[piece - 1]
                if span is not None:
                    pieces.append(line[slice(*span)])
                    meter.bulk(span[1] - span[0])
            meter.spend(10 + 4 * len(command.pieces))
            position = match.end
        pieces.append(line[position:])
        return "".join(pieces)
