"""Scripted episodes a second: the native runner and Inspect on the same scripts, and what a stored episode takes.

Run: python bench/inspect_face.py                all environments, about two minutes
     python bench/inspect_face.py --small        a quarter of the episodes
     python bench/inspect_face.py NAME ...       these environments

Half of the episodes are honest, half game. Rates are wall time, and processor time of this process; the native runner's
is the best of three rounds, each with scenarios of a seed of its own, so that no judgement is known from the round
before. Inspect runs with its own defaults but for the display, and once more without the log that can be watched while
it grows. Bytes are those of files divided by episodes: a line of ours, an exported log, the logs of the runs. Goals:
1,000 episodes a second natively, 60 in Inspect, 4,096 bytes.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

_KEPT = tempfile.mkdtemp(prefix="bench-")
os.environ |= {name: _KEPT for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}

from common import table  # noqa: E402
from inspect_ai import eval as inspect_eval  # noqa: E402

from overopt.adapters import inspect_registry  # noqa: E402, F401
from overopt.adapters.inspect_log import to_inspect_log  # noqa: E402
from overopt.adapters.inspect_tasks import inspect_task  # noqa: E402
from overopt.envs.actors import Script  # noqa: E402
from overopt.envs.environment import Environment, Persona  # noqa: E402
from overopt.envs.episode import Episode  # noqa: E402
from overopt.envs.episode_file import write_episodes  # noqa: E402
from overopt.envs.registry import ENVIRONMENTS, environment  # noqa: E402
from overopt.envs.runner import run_episodes  # noqa: E402

PERSONAS: tuple[Persona, ...] = ("honest", "gamer")
NATIVE, INSPECT = 512, 128
"""Episodes of an environment and a round."""
HEADERS = (
    "environment", "native/s", "of processor", "Inspect/s", "no live log/s", "tool/s", "line", "export", "log",
    "tool log",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time scripted episodes natively and in Inspect.")
    parser.add_argument("names", nargs="*", help="environments; all unless named")
    parser.add_argument("--small", action="store_true", help="a quarter of the episodes")
    options = parser.parse_args()
    part = 4 if options.small else 1
    # A library of Inspect's renamed a word.
    warnings.filterwarnings("ignore", "The 'initial' parameter is deprecated", DeprecationWarning)
    with tempfile.TemporaryDirectory() as folder:
        # Inspect imports much of itself when it is first used.
        _inspect(environment("reward-tampering"), "tool", 4, Path(folder))
    rows = []
    for name in options.names or ENVIRONMENTS:
        rows.append(_row(environment(name), NATIVE // part, INSPECT // part))
        print(f"{name} done", file=sys.stderr)
    print(table(HEADERS, [[cell if isinstance(cell, str) else f"{cell:,.0f}" for cell in row] for row in rows]))
    columns = dict(zip(HEADERS, zip(*rows, strict=True), strict=True))
    for word, middle in (("median", statistics.median), ("mean", statistics.mean)):
        print(f"\n{word}: " + ", ".join(f"{head} {middle(columns[head]):,.0f}" for head in HEADERS[1:]))
    # The ratio of times, not of rates: what an episode costs on average.
    times = [statistics.mean(1 / rate for rate in columns[head]) for head in ("native/s", "Inspect/s")]
    print(f"\nan episode takes {times[1] / times[0]:.0f} times as long in Inspect")


def _row(found: Environment, native: int, inspect: int) -> list[float | str]:
    rates, episodes = zip(*(_native(found, native, seed) for seed in range(3)), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        lines, log = path / "x.jsonl", path / "x.eval"
        write_episodes(episodes[0], lines)
        to_inspect_log(episodes[0], log)
        sizes = [one.stat().st_size / len(episodes[0]) for one in (lines, log)]
        text = _inspect(found, "text", inspect, path / "text")
        quick = _inspect(found, "text", inspect, path / "quick", log_realtime=False)
        tool = _inspect(found, "tool", inspect, path / "tool")
    return [
        found.name, max(wall for wall, _ in rates), max(processor for _, processor in rates), text[0], quick[0],
        tool[0], *sizes, text[1], tool[1],
    ]  # fmt: skip


def _native(found: Environment, count: int, seed: int) -> tuple[tuple[float, float], list[Episode]]:
    """Episodes a second, of wall and of processor, and the episodes."""
    half = found.scenarios(count // 2, seed=1_000 * seed)
    wall, processor = time.perf_counter(), time.process_time()
    episodes = [one for persona in PERSONAS for one in run_episodes(found, Script(found, persona), half)]
    spent = time.perf_counter() - wall, time.process_time() - processor
    return (len(episodes) / spent[0], len(episodes) / spent[1]), episodes


def _inspect(found: Environment, protocol: str, count: int, folder: Path, **options: object) -> tuple[float, float]:
    """Episodes a second, and bytes an episode."""
    task = inspect_task(found.name, protocol=protocol, n=count // 2)  # type: ignore[arg-type]
    started = time.perf_counter()
    logs = inspect_eval(
        task, model=[f"overopt/{persona}" for persona in PERSONAS], log_dir=str(folder), display="log",
        log_level="error", max_tasks=1, **options,
    )  # fmt: skip
    spent = time.perf_counter() - started
    assert all(log.status == "success" for log in logs)
    return count / spent, sum(path.stat().st_size for path in folder.iterdir()) / count


if __name__ == "__main__":
    main()
