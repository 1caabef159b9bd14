"""A study run by a process of its own, so that a test can kill it: ``driver.py ROOT NOTES WORKERS CHATTY``."""

import sys

import toy_stages as toy

from overopt.workflow import Stage, Store, run


def study(notes: str, chatty: bool) -> list[Stage]:
    first = Stage(toy.write, text="first", notes=notes)
    slow = Stage(toy.wait_for, part=first, notes=notes, file="go", chatty=chatty)
    return [Stage(toy.join, parts=[first, slow], notes=notes)]


if __name__ == "__main__":
    run(study(sys.argv[2], sys.argv[4] == "chatty"), Store(sys.argv[1]), workers=int(sys.argv[3]))
