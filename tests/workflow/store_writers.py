"""A process that writes one result when it is told to: ``store_writers.py ADDRESS READY NUMBER``."""

import subprocess
import sys
import time
from pathlib import Path

import toy_stages as toy

from overopt.workflow import Stage, open_store

STAGE = Stage(toy.write, text="hello world", label="greeting", settings=toy.Settings())


def start_writer(address: str, ready: Path, number: int) -> "subprocess.Popen[str]":
    """Writes ``number`` many times; waits, its result finished but not published, until the file ``go`` appears."""
    return subprocess.Popen(
        [sys.executable, __file__, address, str(ready), str(number)], stderr=subprocess.PIPE, text=True
    )


def release(children: list["subprocess.Popen[str]"], folder: Path) -> None:
    """Let all go on at once when the last is ready, and wait for their good end."""
    deadline = time.monotonic() + 60
    while len(list(folder.glob("ready*"))) < len(children):
        assert time.monotonic() < deadline
        assert all(child.poll() is None for child in children)
        time.sleep(0.01)
    (folder / "go").touch()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors


if __name__ == "__main__":
    with open_store(sys.argv[1]).writing(STAGE) as out:
        (out / "a").write_text(sys.argv[3] * 100_000)
        mark = Path(sys.argv[2])
        mark.touch()
        while not (mark.parent / "go").exists():
            time.sleep(0.001)
