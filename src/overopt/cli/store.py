"""``overopt store``: what lies in a store of results, whether it is whole, and what may go."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.progress import bar
from overopt.errors import DataError
from overopt.protocols import Progress

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from overopt.workflow.sealed import Stored
    from overopt.workflow.store import Store

app = typer.Typer(
    help="The results that studies keep: list them, check them, delete what none needs.", no_args_is_help=True
)

Address = Annotated[
    str,
    typer.Argument(
        help="A folder of results, the folder of a study, or an address such as s3://bucket/path.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_PATIENCE_S = 2.0


@app.command("ls")
def ls(address: Address, as_json: AsJson = False) -> None:
    """List the results: what, how large, when and at what cost; only their lists of files are read.

    Example: overopt store ls runs/chitchat-default
    """
    store = _open(address)
    results = store.results()
    total = sum(result.n_bytes for result in results)
    if as_json:
        rows = [_row(result) for result in results]
        _print_json({"schema": "overopt.store/1", "address": store.address, "bytes": total, "results": rows})
        return
    if not results:
        _say(f"{store.address} holds no results.")
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.text import Text

    table = _table()
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("made (UTC)", justify="right", min_width=10)  # breaks between day and hour
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for result in results:
        made, wall_s, peak = result.made, result.wall_s, result.peak_memory_mb
        table.add_row(
            *_identity(result),
            decimal(result.n_bytes),
            "" if made is None else f"{made:%Y-%m-%d %H:%M}",
            "" if wall_s is None else f"{wall_s:.1f} s",
            "" if peak is None else f"{peak:.0f} MiB",
            Text("damaged", style="bold red") if result.problem else "present",
        )
    Console().print(table)
    _say(f"{_count(len(results), 'result')}, {decimal(total)}. Whether they are whole: overopt store verify {address}")


@app.command("verify")
def verify(address: Address, as_json: AsJson = False) -> None:
    """Read every file of every result and compare it with the checksum from when it was written.

    Ends with status 1 if anything is damaged; the next run of the study makes such results again.
    Example: overopt store verify runs/chitchat-default
    """
    from overopt.workflow.checking import check_results

    store = _open(address)
    with _late_bar("verify") as progress:
        checked = check_results(store, progress)
    damaged = [each for each in checked if each.damages]
    if as_json:
        rows = [
            _row(each.result) | {"state": "damaged", "files": {damage.file: damage.problem for damage in each.damages}}
            for each in damaged
        ]
        report = {"schema": "overopt.store_check/1", "address": store.address, "checked": len(checked), "damaged": rows}
        _print_json(report)
    elif damaged:
        from rich.console import Console
        from rich.text import Text

        table = _table()
        table.add_column("file", overflow="fold")
        table.add_column("problem")
        for each in damaged:
            for number, damage in enumerate(each.damages):
                what = ("", "", "") if number else _identity(each.result)
                table.add_row(*what, Text(damage.file), Text(damage.problem))
        Console().print(table)
        _say(f"{len(damaged)} of {_count(len(checked), 'result')} damaged; the next run makes them again.")
    else:
        n_files = sum(len((each.result.manifest or {"files": ()})["files"]) for each in checked)
        _say(f"{_count(len(checked), 'result')}, {_count(n_files, 'file')}: all as they were written.")
    if damaged:
        raise typer.Exit(1)


@app.command("gc")
def gc(
    address: Address,
    keep: Annotated[
        list[Path] | None,
        typer.Option(metavar="STUDY", help="Results that no study in these folders needs go; may be repeated."),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only results made before that; with --keep, both must hold.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what is not needed: abandoned drafts, damaged results, and results that the options say.

    A result that a study named with --keep needs stays whatever its age, and so do those of the study in whose folder
    the store lies and those that somebody may be writing.
    Example: overopt store gc s3://bucket/store --keep runs/first --keep runs/second --older-than 30
    """
    from overopt.workflow.garbage import find_garbage, remove_garbage

    store = _open(address)
    garbage = find_garbage(store, keep=keep or [], older_than_days=older_than)
    total = sum(item.n_bytes for item in garbage)
    if yes:
        remove_garbage(store, garbage)
    if as_json:
        rows = [
            {"kind": item.kind, "name": item.name, "label": item.label, "bytes": item.n_bytes, "reason": item.reason}
            for item in garbage
        ]
        report = {"schema": "overopt.store_gc/1", "address": store.address, "deleted": yes, "bytes": total}
        _print_json(report | {"garbage": rows})
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    if not garbage:
        _say("Nothing to delete.")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("why")
    for item in garbage:
        table.add_row(item.kind, Text(item.name), Text(item.label), decimal(item.n_bytes), Text(item.reason))
    Console().print(table)
    if yes:
        _say(f"Deleted: {decimal(total)} freed.")
    else:
        _say(f"Nothing was deleted; with --yes these go and {decimal(total)} become free.")


def _open(address: str) -> "Store":
    """The store at ``address`` or in the study's folder ``address``; a folder that is not there is not made."""
    from overopt.workflow.address import open_store

    if "://" in address:
        return open_store(address)
    folder = Path(address)
    if not folder.is_dir():
        raise DataError(f"{address} is not a folder; give a store, the folder of a study, or an address")
    is_study = (folder / "study.json").exists() and (folder / "store").is_dir()
    return open_store(folder / "store" if is_study else folder)


def _table() -> "Table":
    """A table that begins with what ``_identity`` returns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # eight columns share the width
    table.add_column("name", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("key", no_wrap=True)
    return table


def _identity(result: "Stored") -> "tuple[Text, Text, str]":
    from rich.text import Text

    return Text(result.name), Text(result.label), result.key[:8]


def _row(result: "Stored") -> dict[str, Any]:
    return {
        "name": result.name,
        "version": result.version,
        "label": result.label,
        "key": result.key,
        "folder": result.folder,
        "bytes": result.n_bytes,
        "made": None if result.made is None else result.made.isoformat(),
        "wall_s": result.wall_s,
        "peak_memory_mb": result.peak_memory_mb,
        "state": "damaged" if result.problem else "present",
    }


@contextmanager
def _late_bar(title: str) -> Iterator[Progress]:
    """A bar that appears once the call has lasted for two seconds."""
    with ExitStack() as stack:
        began = time.monotonic()
        shown: list[Progress] = []

        def move(done: int, total: int, unit: str) -> None:
            if not shown and time.monotonic() - began > _PATIENCE_S:
                shown.append(stack.enter_context(bar(title)))
            for callback in shown:
                callback(done, total, unit)

        yield move


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _say(sentence: str) -> None:
    from rich.console import Console

    Console().print(sentence, markup=False, highlight=False, soft_wrap=True)


def _print_json(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
