"""``overopt run``: a study, from data to report."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.extras import require_models
from overopt.errors import ConfigError
from overopt.studies.catalog import STUDIES, build_study, check_name

if TYPE_CHECKING:
    from overopt.studies.study import Study
    from overopt.workflow import RayCluster, Stage, Store
    from overopt.workflow.estimate import Estimate

EXECUTORS = ("local", "ray")
DRY_RUN_SCHEMA = "overopt.dry_run/1"


def run(
    study: Annotated[str, typer.Argument(help=f"Which study: {', '.join(STUDIES)}.")] = "chitchat",
    preset: Annotated[
        str,
        typer.Option(
            help="smoke: everything in miniature, in a minute. default: the real thing. full: for a GPU or a cluster."
        ),
    ] = "default",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PATTERN",
            help="Make only the stages, tables, models or questions of that name (* for any letters), and what they "
            "need; may be repeated.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything made; by default runs/STUDY-PRESET.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Where results of stages are kept, such as s3://bucket/path; by default OUT/store."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random stream.")] = 0,
    executor: Annotated[str, typer.Option(help="Where stages run: local or ray.")] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster to use (host:port or auto); by default one is started here."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Stages at once; by default one a core of this machine or the cluster.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made, and how long it would take; make nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json, or the plan, instead of a table.")] = (
        False
    ),
) -> None:
    """Run a study; the same command again goes on where it stopped.

    Example: overopt run chitchat --preset smoke --out runs/first --set prompts=32
    """
    check_name(study)
    cluster = _cluster(executor, ray_address)
    require_models("overopt run")
    from overopt.studies.runner import run_study
    from overopt.workflow import open_store
    from overopt.workflow.progress import LiveView

    wanted = build_study(study, preset, seed=seed, assignments=assignments or [])
    stages = wanted.selected(only) if only else wanted.stages()
    folder = out if out is not None else Path("runs") / f"{study}-{preset}"
    address = store if store is not None else str(folder / "store")
    if dry_run:
        _show_plan(wanted, stages, address, workers if workers is not None else cores(), as_json)
        return
    at_once = workers if workers is not None or cluster is not None else cores()
    # The folder is claimed before its store is made in it.
    place = None if store is None else open_store(store)
    with LiveView(study) as view:
        results = run_study(
            wanted, folder, stages=stages if only else None, workers=at_once, store=place, cluster=cluster, events=view
        )
    if results is None:
        _say_what_is_there(wanted, stages, folder, open_store(address), as_json)
        return
    if as_json:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")
        return
    from rich.console import Console

    from overopt.reports.terminal import claims_table, summary_table

    console = Console()
    console.print(claims_table(results) if "questions" in results else summary_table(results, width=console.width))
    timings = results["timings"]
    console.print(f"{timings['wall_s']:.0f} s. Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cluster(executor: str, address: str | None) -> "RayCluster | None":
    if executor not in EXECUTORS:
        raise ConfigError(f"there is no executor {executor!r}; there is {', '.join(EXECUTORS)}")
    if executor == "local":
        if address is not None:
            raise ConfigError("--ray-address is for --executor ray")
        return None
    from overopt.workflow import RayCluster

    return RayCluster(address=address)


def _say_what_is_there(study: "Study", stages: "list[Stage]", folder: Path, store: "Store", as_json: bool) -> None:
    from overopt.workflow.estimate import estimate

    n_missing = len(estimate(study.stages(), store, workers=1).missing)
    if as_json:
        made = [{"label": stage.label, "key": stage.key} for stage in stages]
        found = {"schema": "overopt.partial_run/1", "study": study.name, "made": made, "missing": n_missing}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    labels = [stage.label for stage in stages]
    more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
    sys.stdout.write(
        f"Made {', '.join(labels[:8])}{more}. {n_missing} other stages of {study.name} are not made, so there is no "
        f"report in {folder} yet.\n"
    )


def _show_plan(study: "Study", stages: "list[Stage]", address: str, workers: int, as_json: bool) -> None:
    from overopt.workflow import open_store
    from overopt.workflow.estimate import estimate

    # A folder that is not there stays so; what a dry run looks at it does not make.
    is_there = "://" in address or Path(address).is_dir()
    found = estimate(stages, open_store(address) if is_there else None, workers=workers)
    if as_json:
        sys.stdout.write(json.dumps(_plan_as_json(study, address, found), indent=1) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    from overopt.workflow.progress import readable_time

    table = Table("stages", box=None, pad_edge=False)
    for title in ("done", "to make", "time of these"):
        table.add_column(title, justify="right")
    table.add_column("taken from")
    for group in found.groups:
        seconds = readable_time(group.seconds) if group.n_missing else ""
        basis = "" if group.basis == "done" else group.basis
        table.add_row(group.name, str(group.n_done), str(group.n_missing), seconds, basis)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"{found.n_done} of {found.n_done + len(found.missing)} stages are done in {address}; the other "
        f"{len(found.missing)} take about {readable_time(found.wall_s)} with {max(workers, 1)} at once "
        f"({readable_time(found.work_s)} one after another), without the start of processes."
    )
    console.print(f"Times rest on {found.rests_on}.")


def _plan_as_json(study: "Study", address: str, found: "Estimate") -> dict[str, Any]:
    return {
        "schema": DRY_RUN_SCHEMA,
        "study": study.name,
        "preset": study.preset,
        "store": address,
        "done": found.n_done,
        "to_make": len(found.missing),
        "workers": found.workers,
        "wall_s": round(found.wall_s, 1),
        "work_s": round(found.work_s, 1),
        "rests_on": found.rests_on,
        "groups": [
            {
                "name": group.name,
                "done": group.n_done,
                "to_make": group.n_missing,
                "seconds": round(group.seconds, 1),
                "basis": group.basis,
            }
            for group in found.groups
        ],
        "missing": [
            {"label": stage.label, "key": stage.key, "seconds": round(found.seconds[stage.key], 1)}
            for stage in found.missing
        ],
    }
