"""``overopt bon``, ``fit``, ``diagnose`` and ``eval-rm scores``: other people's numbers, one file in, one answer."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from overopt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

File = Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet, told from its content.", show_default=False)]
Level = Annotated[float, typer.Option(help="Level of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also draw it: FILE.html (works offline), .svg or .png.")
]
Choice = TypeVar("Choice", bound=str)
Report = dict[str, Any]  # Any: the values of a JSON object

eval_rm_app = typer.Typer(help="Evaluate a reward model on preference pairs.", no_args_is_help=True)


def bon(
    file: File,
    prompt: Annotated[str, typer.Option(metavar="COL", help="Column that names the prompt.")] = "prompt",
    proxy: Annotated[str, typer.Option(metavar="COL", help="Column of the score that selects.")] = "proxy",
    gold: Annotated[str, typer.Option(metavar="COL", help="Column of the score that counts.")] = "gold",
    n: Annotated[str | None, typer.Option(metavar="1,2,4", help="Values of n [powers of two].")] = None,
    min_samples: Annotated[int, typer.Option(min=1, help="Leave out prompts with fewer samples.")] = 1,
    win_rate: Annotated[bool, typer.Option("--win-rate", help="Also the rate of wins over one sample.")] = False,
    level: Level = 0.95,
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Best-of-n from scored samples: the unbiased curve of gold, its law, its peak, a verdict.

    One row of the file is one sample. Example: overopt bon examples/bon.csv
    """
    from overopt.measure.score_table import best_of_n_report
    from overopt.records.files import Column, read_columns

    _check(level, plot)
    ns = None if n is None else parse_integers("--n", n)
    read = read_columns(
        file,
        {"prompt": Column(prompt, "text"), "proxy": Column(proxy, "number"), "gold": Column(gold, "number")},
    )
    report = best_of_n_report(
        read.data, missing=read.missing, ns=ns, min_samples=min_samples, level=level, seed=seed,
        with_win_rate=win_rate,
    )  # fmt: skip
    if plot is not None:
        from overopt.reports.command_figures import bon_figure, write_figure

        write_figure(bon_figure(report), plot)
    _show(report, as_json, "bon")


def fit(
    file: File,
    kl: Annotated[str, typer.Option(metavar="COL", help="Column of the KL of whole responses, in nats.")] = "kl",
    gold: Annotated[str, typer.Option(metavar="COL", help="Column of gold.")] = "gold",
    group: Annotated[str | None, typer.Option(metavar="COL", help="Column that names the curve.")] = None,
    gold_se: Annotated[str | None, typer.Option(metavar="COL", help="Column of gold's standard error.")] = None,
    law: Annotated[str, typer.Option(help="bon, rl, or auto: the one with the smaller AICc.")] = "auto",
    share: Annotated[str, typer.Option(help="alpha: one alpha for all groups; or none.")] = "none",
    baseline: Annotated[float | None, typer.Option(help="Gold at KL 0 [that of the rows with KL 0, else 0].")] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Fit R(d) = d(alpha - beta d) or d(alpha - beta ln d), d = sqrt(KL), to curves of gold.

    One row of the file is one point of a curve. Example: overopt fit examples/rl.csv --group run
    """
    from overopt.measure.law_fits import law_fits_report, points_of
    from overopt.records.files import Column, read_columns

    _check(level, plot)
    chosen_law: Literal["bon", "rl", "auto"] = _one_of("--law", law, ("bon", "rl", "auto"))
    chosen_share: Literal["alpha", "none"] = _one_of("--share", share, ("alpha", "none"))
    wanted = {"kl": Column(kl, "number"), "gold": Column(gold, "number")}
    wanted |= {"group": Column(group, "text")} if group else {}
    wanted |= {"gold_se": Column(gold_se, "number")} if gold_se else {}
    read = read_columns(file, wanted)
    report = law_fits_report(
        read.data, missing=read.missing, law=chosen_law, share=chosen_share, baseline=baseline, level=level, seed=seed
    )
    if plot is not None:
        from overopt.reports.command_figures import fit_figure, write_figure

        write_figure(fit_figure(report, points_of(read.data, report)), plot)
    _show(report, as_json, "fit")


def diagnose(
    file: File,
    step: Annotated[str, typer.Option(metavar="COL", help="Column of the training step.")] = "step",
    proxy: Annotated[str, typer.Option(metavar="COL", help="Column of the reward that is optimised.")] = "proxy",
    gold: Annotated[str, typer.Option(metavar="COL", help="Column of the score that counts.")] = "gold",
    kl: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the KL of whole responses, in nats: adds a forecast.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="COL", help="Column that names the run.")] = None,
    baseline: Annotated[float | None, typer.Option(help="Gold at KL 0, for the forecast.")] = None,
    level: Level = 0.95,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a training run over-optimized its proxy, collapsed, improves, or cannot be told.

    One row of the file is one log entry. Example: overopt diagnose examples/rl.csv --group run --kl kl
    """
    from overopt.measure.run_logs import points_of, run_logs_report
    from overopt.records.files import Column, read_columns

    _check(level, plot)
    wanted = {"step": Column(step, "number"), "proxy": Column(proxy, "number"), "gold": Column(gold, "number")}
    wanted |= {"kl": Column(kl, "number")} if kl else {}
    wanted |= {"group": Column(group, "text")} if group else {}
    read = read_columns(file, wanted)
    report = run_logs_report(read.data, missing=read.missing, baseline=baseline, level=level)
    if plot is not None:
        from overopt.reports.command_figures import diagnose_figure, write_figure

        write_figure(diagnose_figure(report, points_of(read.data)), plot)
    _show(report, as_json, "diagnose")


@eval_rm_app.command("scores")
def eval_rm_scores(
    file: File,
    a: Annotated[str, typer.Option("--a", metavar="COL", help="Column of the score of answer A.")] = "a",
    b: Annotated[str, typer.Option("--b", metavar="COL", help="Column of the score of answer B.")] = "b",
    label: Annotated[
        str, typer.Option(metavar="COL", help="Column that says which is better: A or B, A>B or B>A, 1 (A) or 0 (B).")
    ] = "label",
    pair: Annotated[str | None, typer.Option(metavar="COL", help="Column that names the pair; checked.")] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="COL", help="Column that names the prompt, for intervals over prompts.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="COL", help="Column of the category.")] = None,
    len_a: Annotated[str | None, typer.Option(metavar="COL", help="Column of A's length.")] = None,
    len_b: Annotated[str | None, typer.Option(metavar="COL", help="Column of B's length.")] = None,
    ties: Annotated[str, typer.Option(help="What equal scores count: half or wrong.")] = "half",
    level: Level = 0.95,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy of a reward model from the scores of both answers, by category, with its leaning on length.

    One row of the file is one pair. Example: overopt eval-rm scores examples/pairs.csv --by category
    """
    from overopt.measure.scored_pairs import scored_pairs_report
    from overopt.records.files import Column, read_columns

    _check(level, plot)
    chosen: Literal["half", "wrong"] = _one_of("--ties", ties, ("half", "wrong"))
    if (len_a is None) != (len_b is None):
        raise ConfigError("--len-a and --len-b go together: the length of one answer alone says nothing")
    wanted = {"a": Column(a, "number"), "b": Column(b, "number"), "label": Column(label, "text")}
    wanted |= {role: Column(name, "text") for role, name in (("pair", pair), ("prompt", prompt), ("by", by)) if name}
    wanted |= {role: Column(name, "number") for role, name in (("len_a", len_a), ("len_b", len_b)) if name}
    read = read_columns(file, wanted)
    report = scored_pairs_report(read.data, missing=read.missing, ties=chosen, level=level)
    if plot is not None:
        from overopt.reports.command_figures import eval_rm_figure, write_figure

        write_figure(eval_rm_figure(report), plot)
    _show(report, as_json, "eval_rm")


def parse_integers(option: str, text: str) -> list[int]:
    """A comma-separated list of positive integers, such as ``1,2,4``, in ascending order.

    Raises
    ------
    ConfigError
        The text is not such a list, or names a number twice.
    """
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} must be whole numbers between commas, such as 1,2,4; got {text!r}") from None
    if min(values) < 1 or len(set(values)) < len(values):
        raise ConfigError(f"{option} must name numbers of at least 1, none twice; got {text!r}")
    return sorted(values)


def _check(level: float, plot: Path | None) -> None:
    """What can be refused before the file is read."""
    if not 0 < level < 1:
        raise ConfigError(f"--level must lie between 0 and 1, such as 0.95; got {level}")
    if plot is not None:
        from overopt.reports.command_figures import check_plot_path

        check_plot_path(plot)


def _one_of(option: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise ConfigError(f"{option} must be one of {', '.join(choices)}; got {value!r}")


def _show(report: Report, as_json: bool, name: str) -> None:
    if as_json:
        sys.stdout.write(json.dumps(report, indent=1, allow_nan=False) + "\n")
        return
    from rich.console import Console

    from overopt.reports import command_tables

    tables: dict[str, Callable[[Report], RenderableType]] = {
        "bon": command_tables.bon_table,
        "fit": command_tables.fit_table,
        "diagnose": command_tables.diagnose_table,
        "eval_rm": command_tables.eval_rm_table,
    }
    Console().print(tables[name](report))
