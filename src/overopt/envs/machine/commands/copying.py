"""Commands that copy, move and link: cp, mv, ln."""

from overopt.envs.machine.commands.changing import hint, report
from overopt.envs.machine.inodes import EXISTS, MISSING, NOT_A_FOLDER, READ, SEARCH, WRITE, Inode, Place, Refused
from overopt.envs.machine.options import Options, read_options
from overopt.envs.machine.shell import Call
from overopt.envs.machine.text import quoted, shown


def _targets(call: Call, options: Options) -> list[tuple[str, str]] | int:
    """Each source with the path that it goes to, or the status after a complaint."""
    operands = options.operands
    folder = options.value("t")
    if not operands:
        return hint(call, "missing file operand")
    if len(operands) == 1 and not folder:
        return hint(call, f"missing destination file operand after {quoted(operands[0])}")
    sources, target = (operands, folder) if folder else (operands[:-1], operands[-1])
    kind, reason = "", MISSING
    try:
        node = call.place(target).node
        kind = node.kind if node is not None else ""
    except Refused as refusal:
        reason = refusal.reason
    if "T" in options:
        return [(sources[0], target)]
    if kind == "folder":
        return [
            (source, target.rstrip("/") + "/" + source.rstrip("/").rpartition("/")[2] if target.rstrip("/") else
             "/" + source.rstrip("/").rpartition("/")[2])
            for source in sources
        ]  # fmt: skip
    if folder or len(sources) > 1:
        what = "target directory" if folder else "target"
        return call.complain(f"{what} {quoted(target)}: {NOT_A_FOLDER if kind else reason}")
    return [(sources[0], target)]


def cp(call: Call) -> int:
    """Copy files and trees."""
    options = read_options(
        call, "rRafnvpPLdiuTt:l", {"recursive": "r", "archive": "a", "force": "f", "no-clobber": "n", "verbose": "v",
                                   "target-directory=": "t", "no-target-directory": "T", "preserve?=": "p", "link": "l"}
    )  # fmt: skip
    pairs = _targets(call, options)
    if isinstance(pairs, int):
        return pairs
    status = 0
    for source, target in pairs:
        status = max(status, _copy(call, source, target, options))
    return status


def _copy(call: Call, source: str, target: str, options: Options) -> int:
    recursive = bool(options.values.keys() & {"r", "R", "a"})
    keep_links = recursive and "L" not in options
    try:
        place = call.place(source, follow=not keep_links)
        node = place.node
        if node is None:
            raise Refused(MISSING)
    except Refused as refusal:
        return call.complain(f"cannot stat {quoted(source)}: {refusal.reason}")
    if node.kind == "folder" and not recursive:
        return call.complain(f"-r not specified; omitting directory {quoted(source)}")
    try:
        goal = call.place(target)
    except Refused as refusal:
        if node.kind == "folder":
            return call.complain(f"cannot create directory {quoted(target)}: {refusal.reason}")
        verb = "cannot stat" if refusal.reason == NOT_A_FOLDER else "cannot create regular file"
        return call.complain(f"{verb} {quoted(target)}: {refusal.reason}")
    if goal.node is node:
        return call.complain(f"{quoted(source)} and {quoted(target)} are the same file")
    if node.kind == "folder":
        if call.files.is_inside(goal.node or goal.folder, node):
            return call.complain(f"cannot copy a directory, {quoted(source)}, into itself, {quoted(target)}")
        return _copy_tree(call, node, goal, source, target, options)
    return _copy_file(call, place, goal, source, target, options)


def _copy_tree(call: Call, node: Inode, goal: Place, source: str, target: str, options: Options) -> int:
    if goal.node is not None and goal.node.kind != "folder":
        return call.complain(f"cannot overwrite non-directory {quoted(target)} with directory {quoted(source)}")
    try:
        folder = goal.node or call.files.make_folder(goal, mode=node.mode)
    except Refused as refusal:
        return call.complain(f"cannot create directory {quoted(target)}: {refusal.reason}")
    if goal.node is None:
        report(call, options, f"{quoted(source)} -> {quoted(target)}")
    try:
        children = call.files.children(node)
        if not call.files.may(node, SEARCH):
            raise Refused("Permission denied")
    except Refused as refusal:
        return call.complain(f"cannot access {quoted(source)}: {refusal.reason}")
    status = 0
    for name, child in children:
        inner = Place(folder, name, call.files.nodes.get(folder.entries.get(name, 0)))
        paths = f"{source.rstrip('/')}/{name}", f"{target.rstrip('/')}/{name}"
        if child.kind == "folder":
            status = max(status, _copy_tree(call, child, inner, *paths, options))
        else:
            status = max(status, _copy_file(call, Place(node, name, child), inner, *paths, options))
    return status


def _copy_file(call: Call, place: Place, goal: Place, source: str, target: str, options: Options) -> int:
    node, files = place.node, call.files
    assert node is not None
    if goal.node is not None and goal.node.kind == "folder":
        return call.complain(f"cannot overwrite directory {quoted(target)} with non-directory")
    if goal.node is not None and "n" in options:
        return 0
    try:
        if node.kind == "link":
            if goal.node is not None:
                files.remove(goal)
            files.make_link(Place(goal.folder, goal.name, None), node.text)
            return 0
        if not files.may(node, READ):
            return call.complain(f"cannot open {quoted(source)} for reading: Permission denied")
        text = files.read(place)
        if goal.name.endswith("/"):
            return call.complain(f"cannot create regular file {quoted(target)}: {NOT_A_FOLDER}")
        if "l" in options and goal.node is None:
            files.make_hard_link(goal, place)
        elif goal.node is None:
            files.create(goal, text, mode=node.mode & 0o777)
        else:
            if not files.may(goal.node, WRITE) and "f" in options:
                files.remove(goal)
                files.create(Place(goal.folder, goal.name, None), text, mode=node.mode & 0o777)
            else:
                files.write(goal, text)
    except Refused as refusal:
        return call.complain(f"cannot create regular file {quoted(target)}: {refusal.reason}")
    report(call, options, f"{quoted(source)} -> {quoted(target)}")
    return 0


def mv(call: Call) -> int:
    """Move and rename."""
    options = read_options(
        call, "fnviuTt:", {"force": "f", "no-clobber": "n", "verbose": "v", "target-directory=": "t",
                           "no-target-directory": "T"}
    )  # fmt: skip
    pairs = _targets(call, options)
    if isinstance(pairs, int):
        return pairs
    status = 0
    for source, target in pairs:
        status = max(status, _move(call, source, target, options))
    return status


def _move(call: Call, source: str, target: str, options: Options) -> int:
    try:
        place = call.place(source, follow=False)
        node = place.node
        if node is None:
            raise Refused(MISSING)
    except Refused as refusal:
        return call.complain(f"cannot stat {quoted(source)}: {refusal.reason}")
    try:
        goal = call.place(target, follow=False)
        if (goal.node is node and place.folder is goal.folder and place.name == goal.name) or (
            goal.node is node and node.kind == "file"
        ):  # fmt: skip
            return call.complain(f"{quoted(source)} and {quoted(target)} are the same file")
        if goal.node is not None and "n" in options:
            return 0
        if goal.node is not None and goal.node.kind == "folder" and node.kind != "folder":
            return call.complain(f"cannot overwrite directory {quoted(target)} with non-directory")
        if goal.node is not None and goal.node.kind != "folder" and node.kind == "folder":
            return call.complain(f"cannot overwrite non-directory {quoted(target)} with directory {quoted(source)}")
        if node.kind == "folder" and call.files.is_inside(goal.node or goal.folder, node):
            return call.complain(f"cannot move {quoted(source)} to a subdirectory of itself, {quoted(target)}")
        if node.kind != "folder" and goal.name.endswith("/"):
            raise Refused(NOT_A_FOLDER)
        call.files.rename(place, goal)
    except Refused as refusal:
        return call.complain(f"cannot move {quoted(source)} to {quoted(target)}: {refusal.reason}")
    report(call, options, f"renamed {quoted(source)} -> {quoted(target)}")
    return 0


def ln(call: Call) -> int:
    """Make hard and symbolic links."""
    options = read_options(
        call, "sfnvTt:", {"symbolic": "s", "force": "f", "no-dereference": "n", "verbose": "v"}
    )  # fmt: skip
    operands = options.operands
    if not operands:
        return hint(call, "missing file operand")
    target = operands[-1] if len(operands) > 1 else "."
    status = 0
    soft = "s" in options
    for source in operands[:-1] or operands:
        name = target
        try:
            goal = call.place(target, follow="n" not in options)
            if goal.node is not None and goal.node.kind == "folder":
                name = target.rstrip("/") + "/" + source.rstrip("/").rpartition("/")[2]
                name = name.removeprefix("./") if target == "." else name
            goal = call.place(name, follow=False)
            origin = None
            if not soft:
                try:
                    origin = call.place(source, follow=False)
                    if origin.node is None:
                        raise Refused(MISSING)
                except Refused as refusal:
                    status = call.complain(f"failed to access {quoted(source)}: {refusal.reason}")
                    continue
                if origin.node.kind == "folder":
                    status = call.complain(f"{shown(source)}: hard link not allowed for directory")
                    continue
            if goal.node is not None:
                if "f" not in options or goal.node.kind == "folder":
                    raise Refused(EXISTS)
                if origin is not None and goal.node is origin.node:
                    status = call.complain(f"{quoted(source)} and {quoted(name)} are the same file")
                    continue
                call.files.remove(goal)
                goal = Place(goal.folder, goal.name, None)
            if origin is None:
                call.files.make_link(goal, source)
            else:
                call.files.make_hard_link(goal, origin)
        except Refused as refusal:
            kind = "symbolic" if soft else "hard"
            message = f"failed to create {kind} link {quoted(name)}"
            if not soft and refusal.reason != EXISTS:
                message += f" => {quoted(source)}"
            status = call.complain(f"{message}: {refusal.reason}")
    return status
