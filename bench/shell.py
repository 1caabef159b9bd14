"""The simulated shell: commands a second, the longest hostile calls, random scripts under an audit hook.

Run: python bench/shell.py          all of it, about ten seconds
     python bench/shell.py --small  a tenth of the random scripts

Scripts, hostile calls and the hook are those of ``tests/envs/machine``. Times are processor seconds of this process,
the best of three for one call; the last column of the first table is wall time. A host event is anything that Python's
audit hooks report while a script runs.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "envs"))

from machine.corpus import FILES, corpus
from machine.fuzz import fuzz_machine, script
from machine.host_events import host_events
from machine.hostile import CALLS, hostile_machine

from overopt.envs.machine import Limits, Machine, observation, scan

SCRIPTS = 20_000
TYPICAL = {
    "echo": "echo hello",
    "cat": "cat fruit.txt",
    "pipe of three": "cat fruit.txt | grep an | wc -l",
    "write and list": "echo more >> out; ls -la",
    "sed in place": "sed -i 's/a/b/;s/b/a/' fruit.txt",
    "find": "find . -name '*.py'",
    "recursive grep": "grep -rn 'TO*DO' src",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and fuzz the simulated shell.")
    parser.add_argument("--small", action="store_true", help="a tenth of the random scripts")
    small = parser.parse_args().small
    _rates()
    _corpus()
    _hostile()
    _fuzz(SCRIPTS // 10 if small else SCRIPTS)


def _machine(limits: Limits | None = None) -> Machine:
    machine = Machine(limits=limits)
    for path, text in FILES.items():
        machine.put(path, text)
    return machine


def _rates() -> None:
    print("| call | commands/s, processor | commands/s, wall |")
    print("|---|---:|---:|")
    totals = [0, 0.0, 0.0]
    for name, text in TYPICAL.items():
        machine = _machine(Limits(calls=10**9))
        wall, processor, commands = time.perf_counter(), time.process_time(), 0
        for _ in range(500):
            machine.run(text)
            commands += machine.shell.meter.commands
        spent = [commands, time.process_time() - processor, time.perf_counter() - wall]
        totals = [total + part for total, part in zip(totals, spent, strict=True)]
        print(f"| {name} | {spent[0] / spent[1]:,.0f} | {spent[0] / spent[2]:,.0f} |")
    print(f"| all | {totals[0] / totals[1]:,.0f} | {totals[0] / totals[2]:,.0f} |")
    started, episodes = time.process_time(), 0
    base = _machine()
    while time.process_time() - started < 2:
        machine = base.copy()
        for text in TYPICAL.values():
            turn = scan(f"<cot>think</cot><bash>{text}</bash>")
            observation(machine.run(turn.command or ""))
        episodes += 1
    print(f"\n{episodes / (time.process_time() - started):,.0f} episodes a second of {len(TYPICAL)} calls each\n")


def _corpus() -> None:
    recorded = corpus()
    agreeing = 0
    for entry in recorded:
        result = _machine().run(entry["script"])
        agreeing += (result.stdout, result.stderr, result.status) == (entry["stdout"], entry["stderr"], entry["status"])
    print(f"{agreeing} of {len(recorded)} recorded scripts answered as by the real tools\n")


def _hostile() -> None:
    base = hostile_machine()
    found = []
    for name, text in CALLS.items():
        seconds = []
        for _ in range(3):
            machine = base.copy()
            started = time.process_time()
            result = machine.run(text)
            seconds.append(time.process_time() - started)
        found.append((min(seconds), name, ", ".join(result.limits + result.unsupported)))
    print(f"| the longest of {len(CALLS)} hostile calls | ms | stopped by |")
    print("|---|---:|---|")
    for seconds, name, stopped in sorted(found, reverse=True)[:8]:
        print(f"| {name} | {1e3 * seconds:.1f} | {stopped} |")
    print()


def _fuzz(scripts: int) -> None:
    base = fuzz_machine()
    events, errors, longest = 0, 0, 0.0
    statuses: dict[int, int] = {}
    begun = time.perf_counter()
    for number in range(scripts):
        text = script(random.Random(f"bench-{number}"))
        if number % 5 == 0:
            machine = base.copy()
        started = time.process_time()
        with host_events() as seen:
            try:
                status = machine.run(text).status
            except BaseException as error:
                errors += 1
                print(f"{text!r} raised {error!r}")
        longest = max(longest, time.process_time() - started)
        events += len(seen)
        statuses[status] = statuses.get(status, 0) + 1
    most = ", ".join(f"{count:,} ended with {status}" for status, count in sorted(statuses.items())[:4])
    print(
        f"{scripts:,} random scripts in {time.perf_counter() - begun:.0f} s: {events} host events, {errors} uncaught "
        f"exceptions, longest {1e3 * longest:.1f} ms; {most}"
    )


if __name__ == "__main__":
    main()
