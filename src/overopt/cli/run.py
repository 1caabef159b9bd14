"""``overopt run``: a study, from data to report."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from overopt.cli.extras import require_models
from overopt.errors import ConfigError

STUDIES = ("chitchat",)
EXECUTORS = ("local",)


def run(
    study: Annotated[str, typer.Argument(help="Which study: chitchat.")] = "chitchat",
    preset: Annotated[
        str, typer.Option(help="smoke: everything in miniature, in a minute. default: the real thing.")
    ] = "default",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything made; by default runs/STUDY-PRESET.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random stream.")] = 0,
    executor: Annotated[str, typer.Option(help="Where stages run: local.")] = "local",
    workers: Annotated[int | None, typer.Option(min=0, help="Stages at once; by default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
) -> None:
    """Run a study; the same command again goes on where it stopped.

    Example: overopt run chitchat --preset smoke --out runs/first --set prompts=32
    """
    if study not in STUDIES:
        raise ConfigError(f"there is no study {study!r}; there is {', '.join(STUDIES)}")
    if executor not in EXECUTORS:
        raise ConfigError(f"there is no executor {executor!r}; there is {', '.join(EXECUTORS)}")
    require_models("overopt run")
    from overopt.studies.chitchat import chitchat
    from overopt.studies.runner import run_study
    from overopt.workflow.progress import LiveView

    wanted = chitchat(preset, seed=seed, assignments=assignments or [])
    folder = out if out is not None else Path("runs") / f"{study}-{preset}"
    with LiveView(study) as view:
        results = run_study(wanted, folder, workers=workers if workers is not None else cores(), events=view)
    if as_json:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")
        return
    from rich.console import Console

    from overopt.reports.terminal import summary_table

    console = Console()
    console.print(summary_table(results, width=console.width))
    timings = results["timings"]
    console.print(f"{timings['wall_s']:.0f} s. Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
