"""What the workflow itself costs: stages that do next to nothing, one after another and side by side.

Run: python bench/orchestration.py                 1,000 stages each, about half a minute
     python bench/orchestration.py --stages 200    fewer
     python bench/orchestration.py --ray           on a Ray cluster started here too

"wide" stages need nothing; in a "chain" each reads the one before. A stage writes one file of a few bytes; its folder
is checksummed and brought to the disk like any other. "again" is the same call when everything is there. The store
lies in the folder for temporary files unless --folder says otherwise, so its disk is part of the result.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from overopt.workflow import RayCluster, Stage, StageContext, Store, run, stage_function


@stage_function(name="bench.touch")
def touch(ctx: StageContext, *, number: int, before: Path | None = None) -> None:
    (ctx.out / "number.txt").write_text(str(number))


def wide(n: int) -> list[Stage]:
    return [Stage(touch, number=number) for number in range(n)]


def chain(n: int) -> list[Stage]:
    last = None
    for number in range(n):
        last = Stage(touch, number=number, before=last)
    assert last is not None
    return [last]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the workflow with trivial stages.")
    parser.add_argument("--stages", type=int, default=1_000)
    parser.add_argument("--folder", help="where the store is put")
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster of two cores, its start included")
    options = parser.parse_args()
    places: list[tuple[str, int, RayCluster | None]] = [("in this process", 0, None), ("2 processes", 2, None)]
    if options.ray:
        places.append(("Ray, 2 cores", 2, RayCluster()))
    print(f"{options.stages:,} stages")
    print()
    print("| where | shape | seconds | ms a stage | again, seconds |")
    print("|---|---|---:|---:|---:|")
    for place, workers, cluster in places:
        for shape in (wide, chain):
            first, again = measure(shape, options.stages, options.folder, workers, cluster)
            print(f"| {place} | {shape.__name__} | {first:.2f} | {1e3 * first / options.stages:.2f} | {again:.2f} |")


def measure(
    shape: Callable[[int], list[Stage]], n: int, folder: str | None, workers: int, cluster: RayCluster | None
) -> tuple[float, float]:
    """Seconds of a run from nothing and of the run after it; the plan's making included."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            run(shape(n), Store(root), workers=workers, cluster=cluster)
            seconds.append(time.perf_counter() - began)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main()
