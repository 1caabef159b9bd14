"""A study run by a process of its own, so that a test can kill it: ``driver.py ROOT NOTES WORKERS CHATTY``.

WORKERS is a number, or ``ray`` for a cluster of its own.
"""

import sys

import toy_stages as toy

from overopt.workflow import RayCluster, Stage, Store, run


def study(notes: str, chatty: bool) -> list[Stage]:
    first = Stage(toy.write, text="first", notes=notes)
    slow = Stage(toy.wait_for, part=first, notes=notes, file="go", chatty=chatty)
    return [Stage(toy.join, parts=[first, slow], notes=notes)]


if __name__ == "__main__":
    is_ray = sys.argv[3] == "ray"
    where = {"workers": 1, "cluster": RayCluster()} if is_ray else {"workers": int(sys.argv[3])}
    run(study(sys.argv[2], sys.argv[4] == "chatty"), Store(sys.argv[1]), **where)
