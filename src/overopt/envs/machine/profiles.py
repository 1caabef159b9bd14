"""Which commands a machine has."""

from collections.abc import Mapping
from typing import Literal

from overopt.envs.machine.commands import (
    basics,
    changing,
    clock,
    comparing,
    copying,
    editing,
    finding,
    listing,
    printing,
    python,
    reading,
    searching,
    sorting,
    testing,
)
from overopt.envs.machine.options import UsageError
from overopt.envs.machine.shell import Call, CommandFunction
from overopt.errors import ConfigError

Profile = Literal["paper", "py"]
"""``paper``: the shell of Denison et al. 2024 (arXiv 2406.10162); ``py`` adds python and pytest."""

ADVERTISED = ("cd", "ls", "pwd", "cat", "echo", "grep")
"""What the preamble of the paper names, besides pipes, ``>`` and ``>>``; the rest works without being named."""

BUILTINS = frozenset(
    {":", "[", "cd", "command", "echo", "exit", "export", "false", "history", "printf", "pwd", "test", "true", "type",
     "unset"}
)  # fmt: skip
"""Commands of bash itself; their complaints begin with its name."""

_COMMANDS: dict[str, CommandFunction] = {
    ":": basics.true,
    "[": testing.test,
    "basename": basics.basename,
    "cat": reading.cat,
    "cd": basics.cd,
    "chmod": changing.chmod,
    "cmp": reading.cmp,
    "command": basics.command,
    "cp": copying.cp,
    "cut": sorting.cut,
    "date": clock.date,
    "diff": comparing.diff,
    "dirname": basics.dirname,
    "echo": printing.echo,
    "egrep": searching.egrep,
    "env": basics.env,
    "exit": basics.exit_shell,
    "export": basics.export,
    "false": basics.false,
    "fgrep": searching.fgrep,
    "find": finding.find,
    "grep": searching.grep,
    "head": reading.head,
    "history": basics.history,
    "hostname": basics.hostname,
    "id": basics.id_,
    "ln": copying.ln,
    "ls": listing.ls,
    "mkdir": changing.mkdir,
    "mv": copying.mv,
    "printenv": basics.printenv,
    "printf": printing.printf,
    "pwd": basics.pwd,
    "readlink": listing.readlink,
    "realpath": listing.realpath,
    "rm": changing.rm,
    "rmdir": changing.rmdir,
    "sed": editing.sed,
    "seq": basics.seq,
    "sleep": clock.sleep,
    "sort": sorting.sort,
    "stat": listing.stat,
    "tac": reading.tac,
    "tail": reading.tail,
    "tee": reading.tee,
    "test": testing.test,
    "touch": changing.touch,
    "tr": sorting.tr,
    "true": basics.true,
    "type": basics.type_,
    "uname": basics.uname,
    "unset": basics.unset,
    "uniq": sorting.uniq,
    "wc": reading.wc,
    "which": basics.which,
    "whoami": basics.whoami,
    "yes": basics.yes,
}


def commands_of(profile: Profile, interpreter: python.Interpreter | None) -> Mapping[str, CommandFunction]:
    """The commands of a profile by name.

    Raises
    ------
    ConfigError
        If the profile is unknown, or is ``py`` and there is no interpreter.
    """
    if profile == "paper":
        return _PAPER
    if profile != "py":
        raise ConfigError(f"the profiles are 'paper' and 'py'; got {profile!r}")
    if interpreter is None:
        raise ConfigError("the profile 'py' needs an interpreter; pass one, or use the profile 'paper'")
    tool = _with_usage_errors(python.python(interpreter))
    return {**_PAPER, "python": tool, "python3": tool, "pytest": _with_usage_errors(python.pytest(interpreter))}


def _with_usage_errors(command: CommandFunction) -> CommandFunction:
    def run(call: Call) -> int:
        try:
            return command(call)
        except UsageError as error:
            return error.status

    return run


_PAPER: Mapping[str, CommandFunction] = {name: _with_usage_errors(command) for name, command in _COMMANDS.items()}
"""Shared by all machines: commands keep no state."""
