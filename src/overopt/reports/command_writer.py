"""Files for ``--plot``: a picture, or a page of its own that needs no network; the suffix decides."""

from collections.abc import Callable
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from overopt import __version__
from overopt.errors import ConfigError, StorageError
from overopt.reports import page
from overopt.reports.command_answers import VERDICTS, Answer
from overopt.reports.command_marks import PRINT, Ground, Spec
from overopt.reports.figures import PNG_SCALE
from overopt.reports.palette import SCHEMES
from overopt.reports.results import capitalized
from overopt.reports.writing import write_atomically

SUFFIXES = (".html", ".svg", ".png")

_HERE = Path(__file__).parent


def check_plot_path(path: Path) -> None:
    """Refuse a file that ``write_figure`` could not write, before any work is done.

    Raises
    ------
    ConfigError
        If the suffix is none of .html, .svg and .png.
    StorageError
        If the folder does not exist, or the path is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot must end in .html, .svg or .png; got {path}")
    if not path.parent.is_dir():
        raise StorageError(f"--plot needs an existing folder; {path.parent} is none")
    if path.is_dir():
        raise StorageError(f"--plot must name a file; {path} is a folder")


def write_figure(
    draw: Callable[[Ground], Spec], answer: Answer, path: Path, *, source: str = "", command: str = ""
) -> None:
    """Write the picture that ``draw`` makes, or a page with it and the answer.

    Parameters
    ----------
    draw : callable
        From a ground to a Vega-Lite specification.
    answer : Answer
        What the page says beside the picture.
    path : Path
        Ends in .html, .svg or .png.
    source, command : str
        The file that was analysed and the command line, for the page.

    Raises
    ------
    ConfigError, StorageError
        As ``check_plot_path``; StorageError also if the folder cannot be written to.
    """
    check_plot_path(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        content = render_page(draw, answer, source=source, command=command).encode()
    elif suffix == ".svg":
        content = vl_convert.vegalite_to_svg(draw(PRINT)).encode()
    else:
        content = vl_convert.vegalite_to_png(draw(PRINT), scale=PNG_SCALE)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def render_page(draw: Callable[[Ground], Spec], answer: Answer, *, source: str = "", command: str = "") -> str:
    """One page: the answer, the chart for a light and a dark screen, the numbers, and how they were asked for.

    Everything that came from a file passes through autoescaping or stands in a script element that is data, and a
    content security policy lets only our two scripts run.
    """
    specs = {scheme: draw(Ground(scheme, is_page=True, font=page.PAGE_FONT)) for scheme in SCHEMES}
    libraries = page._libraries()
    script = page._inside_script_element((_HERE / "command_page.js").read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    rendered = environment.get_template("command_page.html.jinja").render(
        answer=answer,
        heading=f"{answer.title} in {source}" if source else answer.title,
        lead=capitalized(answer.lead),
        mood=VERDICTS.get(answer.verdict or "", "open"),
        captions=specs["light"]["usermeta"]["captions"],
        specs=Markup(page._script_json(specs)),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        policy=page._content_security_policy(libraries, script),
        libraries=Markup(libraries),
        script=Markup(script),
        source=source,
        command=command,
        version=__version__,
    )
    return rendered + "\n"
