"""The script of a diff turns one file into the other and is as short as any can be."""

import random

from overopt.envs.machine.commands.comparing import Hunk, shortest_script
from overopt.envs.machine.limits import Limits, Meter


def applied(a: list[str], b: list[str], hunks: list[Hunk]) -> list[str]:
    found, position = [], 0
    for hunk in hunks:
        found += a[position : hunk.a_start] + b[hunk.b_start : hunk.b_end]
        position = hunk.a_end
    return found + a[position:]


def longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, by the table that defines it."""
    row = [0] * (len(b) + 1)
    for x in a:
        previous = row
        row = [0]
        for j, y in enumerate(b):
            row.append(previous[j] + 1 if x == y else max(row[j], previous[j + 1]))
    return row[-1]


def test_scripts_are_right_and_shortest():
    rng = random.Random(0)
    for _ in range(500):
        a, b = ([rng.choice("abc") for _ in range(rng.randint(0, 9))] for _ in range(2))
        hunks = shortest_script(a, b, Meter(Limits()))
        assert applied(a, b, hunks) == b
        changes = sum(hunk.a_end - hunk.a_start + hunk.b_end - hunk.b_start for hunk in hunks)
        assert changes == len(a) + len(b) - 2 * longest_common(a, b)
