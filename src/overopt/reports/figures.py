"""The figures of a study as Altair charts, one definition for the page and for pictures; no browser, no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vl_convert

from overopt.errors import ConfigError
from overopt.reports.charts import Figure
from overopt.reports.curve_figures import frontier_figures, score_figures
from overopt.reports.palette import chart_config
from overopt.reports.results import Results, Sizes, check_schema
from overopt.reports.size_figures import accuracy_figures, coefficient_figures
from overopt.reports.step_figures import step_figures
from overopt.reports.writing import write_atomically

__all__ = ["Figure", "figures", "static_figures", "static_spec"]

STATIC_WIDTH = 640
STATIC_LEGEND_COLUMNS = 5
STATIC_FONT = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
PNG_SCALE = 2.0


def figures(results: Results) -> list[Figure]:
    """All figures for which the results hold data, in reading order."""
    check_schema(results)
    return [
        *score_figures(results, "bon"), *score_figures(results, "rl"), *frontier_figures(results),
        *step_figures(results), *coefficient_figures(results), *accuracy_figures(results),
    ]  # fmt: skip


def static_figures(results: Results, folder: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write every figure on a white ground as ``folder/NAME.FORMAT``; the folder is made if it is absent.

    Raises
    ------
    ConfigError
        If a format is neither svg nor png.
    """
    unknown = sorted(set(formats) - {"svg", "png"})
    if unknown:
        raise ConfigError(f"figures are written as svg or png; got {', '.join(unknown)}")
    folder.mkdir(parents=True, exist_ok=True)
    n_sizes = len(Sizes.of(results).labels)
    written = []
    for figure in figures(results):
        spec = static_spec(figure, n_sizes)
        for name in formats:
            path = folder / f"{figure.name}.{name}"
            if name == "svg":
                write_atomically(path, vl_convert.vegalite_to_svg(spec).encode())
            else:
                write_atomically(path, vl_convert.vegalite_to_png(spec, scale=PNG_SCALE))
            written.append(path)
    return written


def static_spec(figure: Figure, n_sizes: int) -> dict[str, Any]:
    """The specification of a picture: fixed width, its title inside, light colours on white."""
    config = chart_config("light", n_sizes, font=STATIC_FONT, legend_columns=STATIC_LEGEND_COLUMNS)
    return figure.spec() | {
        "width": STATIC_WIDTH, "title": figure.title, "background": "white", "padding": 12,
        "config": config | {"background": "white"},
    }  # fmt: skip
