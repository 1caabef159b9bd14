"""Kill a study's driver at random moments, go on, and compare with a run that nobody disturbed.

Run: python tests/workflow/kill_study.py --moments 20              the smoke study, about a minute a moment
     python tests/workflow/kill_study.py --executor ray --moments 3

Prints a table: when the driver was killed (SIGKILL), how many stages were finished then, how many of these ran again,
and whether tables and results are the same byte for byte. Exit status 1 if a finished stage ran again or a result
differs. Workers are not killed: they see that their parent is gone and end.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Killed:
    """What became of one run that was killed."""

    moment_s: float
    n_finished: int
    """Stages that were finished when the driver was killed."""
    n_again: int
    """How many of these ran again."""
    is_same: bool
    """Whether tables and results are those of the undisturbed run."""


def command(folder: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "overopt", "run", "--preset", "smoke", "--out", str(folder), *options]


def run_to_the_end(folder: Path, options: Sequence[str] = ()) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    done = subprocess.run(command(folder, options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def kill_and_resume(folder: Path, moment_s: float, reference: Path, options: Sequence[str] = ()) -> Killed:
    """Run the study in the new ``folder``, kill its driver after ``moment_s`` seconds, and finish it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command(folder, options), **quiet) as driver:
        time.sleep(moment_s)
        driver.send_signal(signal.SIGKILL)
    before = finished(folder)
    run_to_the_end(folder, options)
    after = finished(folder)
    again = [name for name, manifest in before.items() if after.get(name) != manifest]
    return Killed(moment_s, len(before), len(again), outcome(folder) == outcome(reference))


def finished(folder: Path) -> dict[str, bytes]:
    """Manifests of finished stages; they hold the time at which the stage began, so a second run changes them."""
    return {path.parent.name: path.read_bytes() for path in folder.glob("store/[!.]*/_artifact.json")}


def outcome(folder: Path) -> tuple[dict[str, bytes], object]:
    """Tables, and the results without times."""
    tables = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("tables/**/*.parquet")}
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    del results["timings"]
    return tables, results


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the smoke study at random moments and go on.")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    options = ["--executor", given.executor, "--workers", given.workers]
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        reference = Path(place) / "reference"
        whole_s = run_to_the_end(reference, options)
        n_stages = len(finished(reference))
        print(f"undisturbed: {whole_s:.0f} s, {n_stages} stages\n", flush=True)
        print("| killed after, s | stages finished | ran again | identical |\n|---:|---:|---:|---|", flush=True)
        all_killed = []
        for number in range(given.moments):
            killed = kill_and_resume(Path(place) / str(number), moments.uniform(1, whole_s), reference, options)
            all_killed.append(killed)
            said = "yes" if killed.is_same else "NO"
            print(f"| {killed.moment_s:.1f} | {killed.n_finished} | {killed.n_again} | {said} |", flush=True)
    return int(any(killed.n_again or not killed.is_same for killed in all_killed))


if __name__ == "__main__":
    sys.exit(main())
