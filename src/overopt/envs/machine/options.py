"""Options of commands, read as GNU tools read them."""

from collections.abc import Mapping

from overopt.envs.machine.shell import Call


class UsageError(Exception):
    """Wrong options: what was printed is already on standard error; never leaves the package."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Options:
    """The options that were given, the last value of each, and the operands."""

    __slots__ = ("given", "operands", "values")

    def __init__(self, given: list[tuple[str, str]], operands: list[str]) -> None:
        self.given, self.operands = given, operands
        self.values = dict(given)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def value(self, name: str, default: str = "") -> str:
        """Value of the last ``name``."""
        return self.values.get(name, default)

    def last(self, names: str) -> str:
        """Which of the letters ``names`` was given last; empty if none."""
        return next((option for option, _ in reversed(self.given) if len(option) == 1 and option in names), "")


def read_options(
    call: Call,
    short: str,
    long: Mapping[str, str] | None = None,
    *,
    status: int = 1,
    permute: bool = True,
    usage: str = "",
) -> Options:
    """Split the arguments of ``call`` into options and operands.

    Parameters
    ----------
    short
        Letters as getopt takes them: a colon behind those with a value.
    long
        Long names with the letter they stand for; a name that ends in ``=`` has a value, one in ``?=`` may have one.
    status
        Of the command when an option is wrong.
    permute
        Whether options may follow operands.
    usage
        Lines to print behind the complaint, instead of the hint at ``--help``.

    Raises
    ------
    UsageError
        After the complaint was printed.
    """
    names = {key.rstrip("=?"): (value, key) for key, value in (long or {}).items()}
    given: list[tuple[str, str]] = []
    operands: list[str] = []
    rest = list(reversed(call.args))
    hint = usage or f"Try '{call.name} --help' for more information.\n"

    def wrong(message: str) -> UsageError:
        call.err.write(f"{call.name}: {message}\n{hint}")
        return UsageError(status)

    while rest:
        argument = rest.pop()
        if argument == "--":
            operands += reversed(rest)
            break
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            candidates = [name] if name in names else [known for known in names if known.startswith(name)]
            if len(candidates) != 1:
                call.unsupported(f"--{name}")
                raise wrong(f"unrecognized option '{argument}'")
            letter, key = names[candidates[0]]
            if key.endswith("=") and not equals and not key.endswith("?="):
                if not rest:
                    raise wrong(f"option '--{candidates[0]}' requires an argument")
                value = rest.pop()
            elif equals and not key.endswith("="):
                raise wrong(f"option '--{candidates[0]}' doesn't allow an argument")
            given.append((letter, value))
        elif argument.startswith("-") and argument != "-":
            index = 1
            while index < len(argument):
                letter = argument[index]
                index += 1
                call.meter.spend(10)
                place = short.find(letter)
                if place < 0 or letter == ":":
                    call.unsupported(f"-{letter}")
                    raise wrong(f"invalid option -- '{letter}'")
                if short[place + 1 : place + 2] != ":":
                    given.append((letter, ""))
                    continue
                if index == len(argument) and not rest:
                    raise wrong(f"option requires an argument -- '{letter}'")
                given.append((letter, argument[index:] or rest.pop()))
                break
        else:
            operands.append(argument)
            if not permute:
                operands += reversed(rest)
                break
    return Options(given, operands)
