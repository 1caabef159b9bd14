"""A bar on standard error for one long call, gone when it ends; nothing where no person looks."""

from collections.abc import Iterator
from contextlib import contextmanager

from overopt.protocols import Progress


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A callback that moves the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None, unit="")

        def move(done: int, total: int, unit: str) -> None:
            bars.update(task, completed=done, total=total, unit=unit)

        yield move
