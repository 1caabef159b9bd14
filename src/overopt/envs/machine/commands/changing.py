"""Commands that change the tree: rm, rmdir, mkdir, touch, chmod."""

from overopt.envs.machine.inodes import EXISTS, IS_A_FOLDER, MISSING, NOT_A_FOLDER, NOT_EMPTY, SEARCH, Place, Refused
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.shell import Call
from overopt.envs.machine.text import curly, quoted


def hint(call: Call, message: str) -> int:
    """Complain, point at the help, and return 1."""
    call.complain(message)
    call.err.write(f"Try '{call.name} --help' for more information.\n")
    return 1


def rm(call: Call) -> int:
    """Remove files and trees."""
    options = read_options(
        call, "rRfidvI", {"recursive": "r", "force": "f", "dir": "d", "verbose": "v", "no-preserve-root": "N",
                          "preserve-root": "P", "interactive?=": "i"}
    )  # fmt: skip
    force, recursive = "f" in options, "r" in options or "R" in options
    if not options.operands:
        return 0 if force else hint(call, "missing operand")
    status = 0
    replies = iter(call.lines(call.stdin.text) if "i" in options else [])
    for path in options.operands:
        base = path.rstrip("/").rpartition("/")[2]
        if base in (".", "..") and recursive:
            status = call.complain(f"refusing to remove '.' or '..' directory: skipping {quoted(path)}")
            continue
        try:
            place = call.place(path, follow=False)
            if place.node is None:
                raise Refused(MISSING)
            if place.node.kind == "folder" and recursive and place.node is call.files.root and "N" not in options:
                call.complain("it is dangerous to operate recursively on '/'")
                status = call.complain("use --no-preserve-root to override this failsafe")
                continue
            if "i" in options and options.last("if") != "f" and place.node.kind == "file":
                empty = "" if place.node.size else "empty "
                call.err.write(f"rm: remove regular {empty}file {quoted(path)}? ")
                if not next(replies, "").lower().startswith("y"):
                    continue
            if place.node.kind == "folder" and not recursive:
                if "d" not in options or base in (".", ".."):
                    raise Refused(IS_A_FOLDER)
                call.files.remove(place)
            else:
                status = max(status, _remove_tree(call, place, path, options))
                continue
            report(call, options, "removed directory " + quoted(path))
        except Refused as refusal:
            if not (force and refusal.reason in (MISSING, NOT_A_FOLDER)):
                status = call.complain(f"cannot remove {quoted(path)}: {refusal.reason}")
    return status


def report(call: Call, options: Options, message: str) -> None:
    """Print ``message`` when ``-v`` asks for it."""
    if "v" in options:
        call.say(message + "\n")


def _remove_tree(call: Call, place: Place, path: str, options: Options) -> int:
    node, status = place.node, 0
    assert node is not None
    call.meter.spend(20)
    if node.kind == "folder":
        try:
            children = call.files.children(node, record=False)
        except Refused as refusal:
            if node.entries:
                return call.complain(f"cannot remove {quoted(path)}: {refusal.reason}")
            children = []
        if children and not call.files.may(node, SEARCH):
            return call.complain(f"cannot remove {quoted(path)}: Permission denied")
        for name, child in children:
            status = max(
                status, _remove_tree(call, Place(node, name, child), f"{path.rstrip('/') or ''}/{name}", options)
            )
        if status:
            return status
    try:
        call.files.remove(place)
    except Refused as refusal:
        return call.complain(f"cannot remove {quoted(path)}: {refusal.reason}")
    report(call, options, ("removed directory " if node.kind == "folder" else "removed ") + quoted(path))
    return status


def rmdir(call: Call) -> int:
    """Remove empty folders."""
    options = read_options(call, "pv", {"parents": "p", "verbose": "v"})
    if not options.operands:
        return hint(call, "missing operand")
    status = 0
    for path in options.operands:
        targets = [path]
        while "p" in options and "/" in targets[-1].strip("/"):
            call.meter.spend(len(path))
            targets.append(targets[-1].rstrip("/").rpartition("/")[0])
        for target in targets:
            try:
                place = call.place(target, follow=False)
                if place.node is None:
                    raise Refused(MISSING)
                if place.node.kind != "folder":
                    raise Refused(NOT_A_FOLDER)
                if target.rstrip("/").rpartition("/")[2] == "..":
                    raise Refused(NOT_EMPTY)
                call.files.remove(place)
            except Refused as refusal:
                status = call.complain(f"failed to remove {quoted(target)}: {refusal.reason}")
                break
    return status


def mkdir(call: Call) -> int:
    """Make folders."""
    options = read_options(call, "pvm:", {"parents": "p", "verbose": "v", "mode=": "m"})
    if not options.operands:
        return hint(call, "missing operand")
    mode = 0o755
    if "m" in options:
        parsed = _parse_mode(options.value("m"), 0o777, folder=True)
        if parsed is None:
            return call.complain(f"invalid mode {curly(options.value('m'))}")
        mode = parsed
    status = 0
    for path in options.operands:
        targets = [path]
        if "p" in options:
            parts = path.split("/")
            targets = ["/".join(parts[: end + 1]) for end in range(min(len(parts), 2 * call.shell.limits.depth))]
        for target in targets:
            last = target is targets[-1]
            try:
                if not target and len(targets) > 1:
                    continue
                place = call.place(target)
                if place.node is None:
                    call.files.make_folder(place, mode=mode if last else 0o755)
                    report(call, options, f"{call.name}: created directory {quoted(target)}")
                elif "p" not in options:
                    raise Refused(EXISTS)
                elif place.node.kind != "folder":
                    raise Refused(EXISTS if last else NOT_A_FOLDER)
            except Refused as refusal:
                status = call.complain(f"cannot create directory {curly(target)}: {refusal.reason}")
                break
    return status


def touch(call: Call) -> int:
    """Make empty files, or set the time of files."""
    options = read_options(
        call, "acmhd:t:r:", {"no-create": "c", "date=": "d", "reference=": "r", "no-dereference": "h"}
    )
    if not options.operands:
        return hint(call, "missing file operand")
    moment = call.files.clock
    if "r" in options:
        try:
            moment = call.node(options.value("r")).mtime
        except Refused as refusal:
            return call.complain(f"failed to get attributes of {quoted(options.value('r'))}: {refusal.reason}")
    if "d" in options or "t" in options:
        text = options.value("d")
        if not (text.startswith("@") and text[1:].isdecimal() and text.isascii() and len(text) < 12):
            call.unsupported("-d and -t")
            return call.complain(f"invalid date format {curly(text or options.value('t'))}")
        moment = int(text[1:])
    status = 0
    for path in options.operands:
        try:
            place = call.place(path)
            if place.node is not None:
                call.files.set_time(place, moment)
            elif "c" not in options:
                if place.name.endswith("/"):
                    raise Refused(MISSING)
                place = Place(place.folder, place.name, call.files.create(place))
                assert place.node is not None
                place.node.mtime = moment
        except Refused as refusal:
            if "c" in options and refusal.reason == MISSING:
                continue
            verb = "setting times of" if refusal.reason in (NOT_A_FOLDER, MISSING) and path.endswith("/") else (
                "cannot touch"
            )  # fmt: skip
            status = call.complain(f"{verb} {quoted(path)}: {refusal.reason}")
    return status


def chmod(call: Call) -> int:
    """Change permissions."""
    # A mode may begin with a minus sign.
    args = call.args
    place = next((i for i, arg in enumerate(args) if not arg.startswith("-") or arg[1:2] in tuple("rwxX")), len(args))
    mode_text = args[place] if place < len(args) else ""
    call.args = [*args[:place], "--", *args[place + 1 :]] if place < len(args) and mode_text != "--" else args
    options = read_options(call, "Rvcf", {"recursive": "R", "verbose": "v", "silent": "f", "quiet": "f"})
    if not mode_text:
        return hint(call, "missing operand")
    if _parse_mode(mode_text, 0o644, folder=False) is None:
        return hint(call, f"invalid mode: {curly(mode_text)}")
    if not options.operands:
        return hint(call, f"missing operand after {curly(mode_text)}")
    status = 0
    for path in options.operands:
        try:
            found = call.place(path)
            if found.node is None:
                raise Refused(MISSING)
        except Refused as refusal:
            status = call.complain(f"cannot access {quoted(path)}: {refusal.reason}")
            continue
        todo = [(found, path)]
        while todo:
            item, name = todo.pop()
            node = item.node
            assert node is not None
            if node.kind == "link":
                continue
            mode = _parse_mode(mode_text, node.mode, folder=node.kind == "folder")
            assert mode is not None
            try:
                call.files.set_mode(item, mode)
            except Refused as refusal:
                status = call.complain(f"changing permissions of {quoted(name)}: {refusal.reason}")
            if "R" in options and node.kind == "folder":
                try:
                    children = call.files.children(node, record=False)
                except Refused as refusal:
                    status = call.complain(f"cannot read directory {quoted(name)}: {refusal.reason}")
                    continue
                todo += [(Place(node, entry, child), f"{name.rstrip('/')}/{entry}") for entry, child in children]
    return status


def _parse_mode(text: str, mode: int, *, folder: bool) -> int | None:
    """The permissions that ``text`` makes of ``mode``, or ``None`` when it is no mode."""
    if text.isascii() and text.isdecimal():
        return int(text, 8) if len(text) <= 5 and not set(text) & set("89") and int(text, 8) <= 0o7777 else None
    if len(text) > 60:
        return None
    for clause in text.split(","):
        who = clause[: len(clause) - len(clause.lstrip("ugoa"))]
        rest = clause[len(who) :]
        if not rest or rest[0] not in "+-=":
            return None
        while rest:
            operator, rest = rest[0], rest[1:]
            letters = rest[: len(rest) - len(rest.lstrip("rwxX"))]
            rest = rest[len(letters) :]
            if rest and rest[0] not in "+-=":
                return None
            bits = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in letters)
            if "X" in letters and (folder or mode & 0o111):
                bits |= 1
            shifts = {"u": 6, "g": 3, "o": 0}
            groups = "ugo" if not who or "a" in who else who
            mask = sum(bits << shift for group, shift in shifts.items() if group in groups)
            full = sum(7 << shift for group, shift in shifts.items() if group in groups)
            if not who:
                # Without a name of whom, the usual mask of 022 takes write permission from all but the owner.
                mask &= ~0o022
            mode = mode | mask if operator == "+" else mode & ~mask if operator == "-" else mode & ~full | mask
    return mode
