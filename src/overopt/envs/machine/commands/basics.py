"""What bash does itself and what needs no file: cd, export, history, env, which and their kin."""

from overopt.envs.machine.inodes import NOT_A_FOLDER, SEARCH, Refused
from overopt.envs.machine.options import read_options
from overopt.envs.machine.shell import Call, Exit
from overopt.envs.machine.text import curly

HOST = "sandbox"


def true(call: Call) -> int:
    """Succeed."""
    return 0


def false(call: Call) -> int:
    """Fail."""
    return 1


def cd(call: Call) -> int:
    """Change the folder."""
    args = [arg for arg in call.args if arg not in ("-P", "-L", "--")]
    if len(args) > 1:
        return call.complain("too many arguments")
    variables = call.shell.variables
    target = args[0] if args else variables.get("HOME", "")
    if target == "-":
        target = variables.get("OLDPWD", "")
        if not target:
            return call.complain("OLDPWD not set")
        call.say(target + "\n")
    if not target:
        return 0
    if target.startswith("-") and target != "-":
        call.complain(f"{target[:2]}: invalid option")
        call.err.write("cd: usage: cd [-L|[-P [-e]] [-@]] [dir]\n")
        return 2
    here = variables.get("PWD", "/")
    logical = target if target.startswith("/") else f"{here}/{target}"
    call.meter.spend(len(logical))
    parts: list[str] = []
    for part in logical.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    path = "/" + "/".join(parts)
    try:
        node = call.node(target)
        if ".." in target.split("/"):
            # Links on the way count as folders of their own.
            node = call.node(path)
        if node.kind != "folder":
            raise Refused(NOT_A_FOLDER)
        if not call.files.may(node, SEARCH):
            raise Refused("Permission denied")
    except Refused as refusal:
        return call.complain(f"{target}: {refusal.reason}")
    call.shell.folder = node
    call.shell.assign("OLDPWD", here)
    call.shell.assign("PWD", path)
    return 0


def pwd(call: Call) -> int:
    """Print the folder."""
    physical = "-P" in call.args
    call.say((call.files.path_of(call.shell.folder) if physical else call.shell.variables.get("PWD", "/")) + "\n")
    return 0


def exit_shell(call: Call) -> int:
    """End the call."""
    if not call.args:
        raise Exit(call.shell.status)
    text = call.args[0]
    if not (text.lstrip("+-").isdecimal() and text.isascii() and len(text) < 19):
        call.complain(f"{text}: numeric argument required")
        raise Exit(2)
    if len(call.args) > 1:
        return call.complain("too many arguments")
    raise Exit(int(text) & 255)


def export(call: Call) -> int:
    """Give variables to commands, or list those that are given."""
    args = [arg for arg in call.args if arg != "-p"]
    shell, status = call.shell, 0
    if not args:
        for name in sorted(shell.exported):
            value = shell.variables.get(name)
            call.say(f"declare -x {name}" + (f'="{value}"' if value is not None else "") + "\n")
    for arg in args:
        name, equals, value = arg.partition("=")
        if not _is_name(name):
            status = call.complain(f"`{arg}': not a valid identifier")
            continue
        if equals:
            shell.assign(name, value)
        shell.exported.add(name)
    return status


def unset(call: Call) -> int:
    """Forget variables."""
    for name in call.args:
        call.shell.variables.pop(name, None)
        call.shell.exported.discard(name)
    return 0


def _is_name(name: str) -> bool:
    return name.isascii() and name.replace("_", "a").isalnum() and not name[0].isdecimal()


def env(call: Call) -> int:
    """List the variables that commands get, or run a command with some more."""
    shell = call.shell
    args = list(call.args)
    cleared = bool(args) and args[0] in ("-i", "-")
    if cleared:
        args.pop(0)
    if args and args[0].startswith("-"):
        call.unsupported(args[0])
        call.complain(f"invalid option -- '{args[0][1:2]}'")
        call.err.write("Try 'env --help' for more information.\n")
        return 125
    extra: list[tuple[str, str]] = []
    while args and "=" in args[0]:
        name, _, value = args.pop(0).partition("=")
        extra.append((name, value))
    if args:
        call.meter.command()
        if args[0] in shell.builtins - {"echo", "printf", "pwd", "test", "[", "true", "false"} or isinstance(
            shell.lookup(args[0]), str
        ):
            call.complain(f"{curly(args[0])}: No such file or directory")
            return 127
        return shell.apart(lambda: shell.execute(args, extra, call.stdin, call.out, call.err))
    values = {} if cleared else {name: shell.variables[name] for name in shell.exported if name in shell.variables}
    for name, value in [*sorted(values.items()), *extra]:
        call.say(f"{name}={value}\n")
    return 0


def printenv(call: Call) -> int:
    """Print variables that commands get."""
    shell = call.shell
    if not call.args:
        return env(call)
    found = [shell.variables[name] for name in call.args if name in shell.exported and name in shell.variables]
    for value in found:
        call.say(value + "\n")
    return int(len(found) < len(call.args))


def history(call: Call) -> int:
    """List the calls so far, this one included."""
    call.meter.bulk(sum(map(len, call.shell.history)))
    lines = [line for text in call.shell.history for line in text.rstrip("\n").split("\n")]
    count = int(call.args[0]) if call.args and call.args[0].isdecimal() and len(call.args[0]) < 9 else len(lines)
    for number, line in list(enumerate(lines, 1))[max(len(lines) - count, 0) :]:
        call.say(f"{number:5}  {line}\n")
    return 0


def which(call: Call) -> int:
    """Print where commands are."""
    status = 0
    for name in call.args:
        if name in call.shell.commands and name not in call.shell.builtins - _ALSO_FILES:
            call.say(f"/usr/bin/{name}\n")
        else:
            status = 1
    return status


_ALSO_FILES = frozenset({"echo", "printf", "pwd", "test", "[", "true", "false"})


def type_(call: Call) -> int:
    """Say what names are to the shell."""
    status = 0
    for name in call.args:
        if name in call.shell.builtins:
            call.say(f"{name} is a shell builtin\n")
        elif name in call.shell.commands:
            call.say(f"{name} is /usr/bin/{name}\n")
        else:
            status = call.complain(f"{name}: not found")
    return status


def command(call: Call) -> int:
    """Run a command, or with ``-v`` say where it is."""
    if call.args[:1] in (["-v"], ["-V"]):
        status = 0
        for name in call.args[1:]:
            if name not in call.shell.commands:
                status = 1
                if call.args[0] == "-V":
                    call.complain(f"{name}: not found")
            elif call.args[0] == "-V":
                type_(Call(call.shell, call.name, [name], call.stdin, call.out, call.err))
            else:
                call.say(f"{name}\n" if name in call.shell.builtins else f"/usr/bin/{name}\n")
        return status
    if not call.args:
        return 0
    call.meter.command()
    return call.shell.execute(call.args, [], call.stdin, call.out, call.err)


def whoami(call: Call) -> int:
    """Print the account."""
    call.say(call.shell.variables.get("USER", "user") + "\n")
    return 0


def hostname(call: Call) -> int:
    """Print the machine's name."""
    call.say(HOST + "\n")
    return 0


def uname(call: Call) -> int:
    """Print the system's name."""
    options = read_options(call, "asnrvmpio", {"all": "a", "kernel-name": "s", "nodename": "n"})
    fields = {"s": "Linux", "n": HOST, "r": "6.1.0", "v": "#1 SMP", "m": "x86_64", "o": "GNU/Linux"}
    wanted = fields if "a" in options else {letter: fields[letter] for letter in fields if letter in options}
    call.say(" ".join((wanted or {"s": "Linux"}).values()) + "\n")
    return 0


def id_(call: Call) -> int:
    """Print the account's numbers."""
    options = read_options(call, "ugnG", {"user": "u", "group": "g", "name": "n", "groups": "G"})
    if options.values.keys() & {"u", "g", "G"}:
        call.say("user\n" if "n" in options else "1000\n")
    else:
        call.say("uid=1000(user) gid=1000(user) groups=1000(user)\n")
    return 0


def basename(call: Call) -> int:
    """Print the last part of a path."""
    options = read_options(call, "as:z", {"multiple": "a", "suffix=": "s"})
    operands = options.operands
    if not operands:
        call.complain("missing operand")
        call.err.write("Try 'basename --help' for more information.\n")
        return 1
    many = options.values.keys() & {"a", "s"}
    suffix = options.value("s") if many else operands[1] if len(operands) > 1 else ""
    if not many and len(operands) > 2:
        call.complain(f"extra operand {curly(operands[2])}")
        call.err.write("Try 'basename --help' for more information.\n")
        return 1
    for path in operands if many else operands[:1]:
        name = path.rstrip("/").rpartition("/")[2] or ("/" if path else "")
        call.say((name.removesuffix(suffix) if name != suffix else name) + "\n")
    return 0


def dirname(call: Call) -> int:
    """Print a path without its last part."""
    options = read_options(call, "z")
    if not options.operands:
        call.complain("missing operand")
        call.err.write("Try 'dirname --help' for more information.\n")
        return 1
    for path in options.operands:
        head, slash, _ = path.rstrip("/").rpartition("/")
        call.say((head.rstrip("/") or ("/" if slash or path.startswith("/") else ".")) + "\n")
    return 0


def seq(call: Call) -> int:
    """Print whole numbers in order."""
    numbers = []
    for arg in call.args:
        if not (arg.removeprefix("-").isdecimal() and arg.isascii() and len(arg) < 12):
            call.unsupported("other than whole numbers")
            call.complain(f"invalid floating point argument: {curly(arg)}")
            call.err.write("Try 'seq --help' for more information.\n")
            return 1
        numbers.append(int(arg))
    if not 1 <= len(numbers) <= 3:
        call.complain("missing operand" if not numbers else f"extra operand {curly(call.args[3])}")
        call.err.write("Try 'seq --help' for more information.\n")
        return 1
    first = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) == 3 else 1
    if not step:
        return call.complain("invalid Zero increment value: ‘0’")
    for number in range(first, numbers[-1] + (1 if step > 0 else -1), step):
        call.meter.spend(3)
        call.say(f"{number}\n")
    return 0


def yes(call: Call) -> int:
    """Print a line again and again, as long as a reader could want."""
    line = (" ".join(call.args) or "y") + "\n"
    call.say(line * (64 * 1024 // len(line)))
    return 0
