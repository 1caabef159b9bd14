"""Random scripts: sentences of the shell's grammar, recorded scripts cut and joined at random, and noise."""

import random
import shlex

from overopt.envs.machine import Machine
from overopt.envs.machine.profiles import commands_of

from .corpus import FILES, corpus

_SCRIPTS = [answer["script"] for answer in corpus()]
_COMMANDS = [*sorted(commands_of("paper", None)), "nosuch", "python3", "./fruit.txt", "/bin/cat", "vim", "bash"]
_PATHS = [
    *FILES,
    "src", "src/deep", ".", "..", "/", "~", "nothere", "nodir/x", "/etc/passwd", "/proc/self/mem", "/dev/null",
    "/dev/stderr", "../../../../etc/shadow", "//tmp//x", "a\u0301", "\u202etxt", "x" * 300, "-", "--",
    "src/../fruit.txt/", "*", "*.txt", "?", "[a-c]*", "s*/*", "$HOME", "${x}", "$(ls)", "`pwd`", "'a b'", '"$x"',
    "\\n", "{a,b}", "l1", "l2",
]  # fmt: skip
_OPTIONS = [
    *(f"-{letter}" for letter in "aAbcdeEfFghiIklLmnNopPqrRsStuUvwxXyzZ0123456789"),
    "-rf", "-n1", "-n", "-la", "--help", "--version", "-name", "-type", "-exec", "{}", "\\;", "+", "-delete",
    "-maxdepth", "-ne", "-eq", "=", "!", "(", ")", "[", "]", "-k2n", "-t,", "-d,", "-f1-", "-c1-3", "+%F",
    "-sf", "-u", "--", "-",
]  # fmt: skip
_WORDS = [
    "s/a/b/g", "s/\\(a*\\)*/x&\\1/", "1,3p", "$!d", "/a/,/b/d", "a\\b", "(a|b)*c", "[[:alpha:]]+", "a{1,3}", "\\<a\\>",
    "^$", "%s\\n", "%d %5s %-3x|", "%b", "755", "u+x,go-w", "5", "-1", "99999999999999999999", "a=b",
    "x=$(cat fruit.txt)", "'", '"', "\\", "</cot>", "<bash>", "\x00", "\x1b[2J", "\udc80", "é", "😀", "$?",
    "$$", "$((1+1))", "${x:-y}", "#",
]  # fmt: skip
_JOINS = [";", "&&", "||", "|", "\n", "|&", "&", " ; ! ", "\n\n"]
_REDIRECTIONS = [">", ">>", "<", "2>", "2>&1", "&>", "<<<", "<<E", "<<-'E'", ">&2", "<>", "3>"]
_NOISE = [*"'\"\\$`(){}[]|&;<>!#*?~=\n\t -abc/.0", "$(", "<<", "\x00", "\u200b", "\ud800", "é", "if", "do", "EOF\n"]


def fuzz_machine() -> Machine:
    """A machine with the files of the corpus, links that lead in circles, and files that belong to root."""
    machine = Machine()
    for path, text in FILES.items():
        machine.put(path, text)
    machine.put_link("l1", "l2")
    machine.put_link("l2", "l1")
    machine.put_link("up", "/")
    machine.put("/srv/reward.py", "REWARD = -10\n", role="reward", owner="root")
    return machine


def script(rng: random.Random) -> str:
    """One script."""
    kind = rng.random()
    if kind < 0.5:
        return _sentence(rng)
    if kind < 0.85:
        return _mutated(rng)
    return "".join(rng.choice(_NOISE) for _ in range(rng.randint(1, 80)))


def _sentence(rng: random.Random) -> str:
    # Most words are quoted where the shell would read an operator, so that the commands see them.
    pieces = []
    wild = rng.random() < 0.3
    for _ in range(rng.randint(1, 6)):
        pieces.append(rng.choice(_COMMANDS))
        for _ in range(rng.randint(0, 5)):
            word = rng.choice(rng.choice([_PATHS, _PATHS, _OPTIONS, _WORDS]))
            pieces.append(
                word if wild or rng.random() < 0.1 or not set(word) & set("()'\"\\<>#&|;`{}^!") else shlex.quote(word)
            )
        if rng.random() < 0.3:
            pieces += [rng.choice(_REDIRECTIONS if wild else _REDIRECTIONS[:8]), rng.choice(_PATHS)]
        pieces.append(rng.choice(_JOINS if wild else _JOINS[:6]))
    return " ".join(pieces[: -1 if rng.random() < 0.9 else None])


def _mutated(rng: random.Random) -> str:
    text = rng.choice(_SCRIPTS)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(text))
        action = rng.random()
        if action < 0.3:
            text = text[:place] + rng.choice(_NOISE) + text[place:]
        elif action < 0.5:
            text = text[:place] + text[place + rng.randint(1, 5) :]
        elif action < 0.7:
            text = text[:place] + text[rng.randint(0, len(text)) :]
        elif action < 0.85:
            text += rng.choice(_JOINS) + rng.choice(_SCRIPTS)
        else:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice(rng.choice([_PATHS, _OPTIONS, _WORDS]))
            text = " ".join(words)
    return text[:4000]
