"""``overopt report``: numbers and page of a finished study, from its tables alone."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished study.")],
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure as SVG and PNG into this folder.")
    ] = None,
) -> None:
    """Compute results.json and report.html anew from the stored tables; needs neither torch nor a network.

    Example: overopt report runs/chitchat-default --figures figures
    """
    from rich.console import Console

    from overopt.reports.terminal import summary_table
    from overopt.studies.runner import report_study

    results = report_study(folder)
    console = Console()
    console.print(summary_table(results, width=console.width))
    if figures is not None:
        from overopt.reports.figures import static_figures

        written = static_figures(results, figures)
        console.print(f"{len(written)} figures in {figures}", highlight=False, soft_wrap=True)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
