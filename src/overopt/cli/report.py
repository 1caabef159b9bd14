"""``overopt report``: numbers and page of a finished study, from its tables alone."""

import shutil
from pathlib import Path
from typing import Annotated, Any

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

    from overopt.reports.terminal import claims_table, summary_table
    from overopt.studies.runner import report_study

    results = report_study(folder)
    console = Console()
    console.print(claims_table(results) if "questions" in results else summary_table(results, width=console.width))
    if figures is not None:
        written = _write_figures(results, folder, figures)
        console.print(f"{written} figures in {figures}", highlight=False, soft_wrap=True)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _write_figures(results: dict[str, Any], folder: Path, figures: Path) -> int:
    """How many pictures were written; those of a study with questions lie beside its pages already."""
    if "questions" in results:
        pictures = sorted((folder / "report/figures").iterdir())
        figures.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            shutil.copyfile(picture, figures / picture.name)
        return len(pictures)
    from overopt.reports.figures import static_figures

    return len(static_figures(results, figures))
