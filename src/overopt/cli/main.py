"""``overopt``: one command with its groups, and one way to fail.

What a user can cause ends in one sentence on standard error and exit status 2, or 1 where the run failed; anything
else is our bug and keeps its traceback.
"""

import sys
from typing import Annotated

import typer

from overopt import __version__
from overopt.cli import assets, plan, report, run, scores
from overopt.errors import OveroptError

app = typer.Typer(
    name="overopt",
    help="Measure, predict and prevent reward over-optimization.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("report")(report.report)
app.command("bon")(scores.bon)
app.command("fit")(scores.fit)
app.command("diagnose")(scores.diagnose)
app.add_typer(scores.eval_rm_app, name="eval-rm")
app.add_typer(plan.app, name="plan")
app.add_typer(assets.app, name="assets")


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except OveroptError as error:
        sys.stderr.write(f"overopt: {error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("overopt: stopped; the same command goes on where it stopped\n")
        sys.exit(130)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"overopt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
