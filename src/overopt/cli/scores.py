"""``overopt bon``, ``fit``, ``diagnose`` and ``eval-rm scores``: other people's numbers, one file in, one answer."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.records.files import Column, Columns
    from overopt.reports.command_answers import Answer
    from overopt.reports.command_marks import Ground, Spec

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
    n: Annotated[str | None, typer.Option(metavar="1,2,4", help="Values of n; by default the powers of two.")] = None,
    min_samples: Annotated[int, typer.Option(min=1, help="Leave out prompts with fewer samples.")] = 1,
    win_rate: Annotated[bool, typer.Option("--win-rate", help="Also the rate of wins over one sample.")] = False,
    level: Level = 0.95,
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Best-of-n from scored samples: the unbiased curve of gold, its law, its peak, a verdict.

    One row of the file is one sample.
    Example: overopt bon scores.csv --prompt prompt_id --proxy rm_score --gold gold_score
    """
    from overopt.measure.pool_sizes import check_largest_n
    from overopt.measure.score_table import best_of_n_report
    from overopt.records.files import Column, read_columns
    from overopt.reports.command_answers import bon_answer

    _check(level, plot)
    ns = None if n is None else parse_integers("--n", n)
    read = read_columns(
        file,
        {
            "prompt": Column(prompt, "text", "--prompt"),
            "proxy": Column(proxy, "number", "--proxy"),
            "gold": Column(gold, "number", "--gold"),
            "step": Column("step", "number", "--step", is_optional=True),
        },
    )
    scores = read.data.drop("step", strict=False)
    if ns is not None:
        check_largest_n(scores, ns, min_samples)
    report = best_of_n_report(
        scores, missing=read.missing, ns=ns, min_samples=min_samples, level=level, seed=seed,
        with_win_rate=win_rate,
    )  # fmt: skip
    report["steps"] = read.data["step"].n_unique() if "step" in read.data.columns else None

    def draw(ground: "Ground") -> "Spec":
        from overopt.reports.command_figures import bon_figure

        return bon_figure(report, ground)

    _finish(report, bon_answer, draw, file, plot, as_json)


def fit(
    file: File,
    kl: Annotated[str, typer.Option(metavar="COL", help="Column of the KL of whole responses, in nats.")] = "kl",
    gold: Annotated[str, typer.Option(metavar="COL", help="Column of gold.")] = "gold",
    group: Annotated[str | None, typer.Option(metavar="COL", help="Column that names the curve.")] = None,
    step: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Column of the step, to join rows of one step; step if the file has it."),
    ] = None,
    gold_se: Annotated[str | None, typer.Option(metavar="COL", help="Column of gold's standard error.")] = None,
    law: Annotated[str, typer.Option(help="bon, rl, or auto: the one with the smaller AICc.")] = "auto",
    share: Annotated[str, typer.Option(help="alpha: one alpha for all groups; or none.")] = "none",
    baseline: Annotated[
        float | None, typer.Option(help="Gold at KL 0; by default fitted to the rows with KL 0, else 0.")
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Fit R(d) = d(alpha - beta d) or d(alpha - beta ln d), d = sqrt(KL), to curves of gold.

    One row of the file is one point of a curve; rows of one step (and group) are averaged.
    Example: overopt fit log.jsonl --kl objective/kl --gold eval/gold --step global_step --law rl
    """
    from overopt.measure.curve_points import curve_points
    from overopt.measure.groups import one_row_a_step
    from overopt.measure.law_fits import law_fits_report
    from overopt.records.files import Column, read_columns
    from overopt.reports.command_answers import fit_answer

    _check(level, plot)
    chosen_law: Literal["bon", "rl", "auto"] = _one_of("--law", law, ("bon", "rl", "auto"))
    chosen_share: Literal["alpha", "none"] = _one_of("--share", share, ("alpha", "none"))
    wanted = {"kl": Column(kl, "number", "--kl"), "gold": Column(gold, "number", "--gold")}
    wanted |= {"group": Column(group, "text", "--group")} if group else {}
    wanted |= {"gold_se": Column(gold_se, "number", "--gold-se", may_be_blank=True)} if gold_se else {}
    wanted |= {"step": Column(step or "step", "number", "--step", is_optional=step is None)}
    read = read_columns(file, wanted, join_on=("step", "group"))
    points, averaged = one_row_a_step(read.data)
    report = law_fits_report(
        points, missing=read.missing, incomplete=read.incomplete, law=chosen_law, share=chosen_share,
        baseline=baseline, level=level, seed=seed,
    )  # fmt: skip
    report["joined"] = _joined(read, step or "step")
    report["averaged"] = None if averaged is None else {"rows": averaged, "into": points.height, "by": step or "step"}

    def draw(ground: "Ground") -> "Spec":
        from overopt.reports.command_figures import fit_figure

        return fit_figure(report, curve_points(points, report), ground)

    _finish(report, fit_answer, draw, file, plot, as_json)


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
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a training run over-optimized its proxy, collapsed, improves, or cannot be told.

    One row of the file is one log entry; rows that hold the values of one step between them are joined.
    Example: overopt diagnose log.jsonl --step global_step --proxy objective/scores --gold eval/gold
    """
    from overopt.measure.run_logs import points_of, run_logs_report
    from overopt.records.files import Column, read_columns
    from overopt.reports.command_answers import diagnose_answer

    _check(level, plot)
    wanted = {
        "step": Column(step, "number", "--step"),
        "proxy": Column(proxy, "number", "--proxy"),
        "gold": Column(gold, "number", "--gold"),
    }
    wanted |= {"kl": Column(kl, "number", "--kl")} if kl else {}
    wanted |= {"group": Column(group, "text", "--group")} if group else {}
    read = read_columns(file, wanted, join_on=("step", "group"))
    report = run_logs_report(
        read.data, missing=read.missing, incomplete=read.incomplete, baseline=baseline, level=level, seed=seed
    )
    report["joined"] = _joined(read, step)

    def draw(ground: "Ground") -> "Spec":
        from overopt.reports.command_run_figures import diagnose_figure

        return diagnose_figure(report, points_of(read.data), ground)

    _finish(report, diagnose_answer, draw, file, plot, as_json)


@eval_rm_app.command("scores")
def eval_rm_scores(
    file: File,
    a: Annotated[str | None, typer.Option("--a", metavar="COL", help="Column of A's score; by default a.")] = None,
    b: Annotated[str | None, typer.Option("--b", metavar="COL", help="Column of B's score; by default b.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COL",
            help="Column of the better one: A or B, A>B or B>A, 1 (A) or 0 (B); by default label.",
        ),
    ] = None,
    chosen: Annotated[
        str | None, typer.Option(metavar="COL", help="Or, without labels: column of the better answer's score (A),")
    ] = None,
    rejected: Annotated[
        str | None, typer.Option(metavar="COL", help="and column of the worse answer's score (B).")
    ] = None,
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

    One row of the file is one pair.
    Example: overopt eval-rm scores pairs.csv --chosen chosen_score --rejected rejected_score --by subset
    """
    from overopt.measure.scored_pairs import scored_pairs_report
    from overopt.records.files import Column, read_columns
    from overopt.reports.command_answers import eval_rm_answer

    _check(level, plot)
    ties_count: Literal["half", "wrong"] = _one_of("--ties", ties, ("half", "wrong"))
    wanted = _scores_and_label(a, b, label, chosen, rejected)
    if (len_a is None) != (len_b is None):
        raise ConfigError("--len-a and --len-b go together: the length of one answer alone says nothing")
    texts = (("pair", pair), ("prompt", prompt), ("by", by))
    wanted |= {role: Column(name, "text", f"--{role}", may_be_blank=True) for role, name in texts if name}
    lengths = (("len_a", len_a), ("len_b", len_b))
    wanted |= {
        role: Column(name, "number", f"--{role.replace('_', '-')}", may_be_blank=True) for role, name in lengths if name
    }
    read = read_columns(file, wanted)
    names = (wanted["a"].name, wanted["b"].name)
    report = scored_pairs_report(read.data, missing=read.missing, ties=ties_count, level=level, names=names)

    def draw(ground: "Ground") -> "Spec":
        from overopt.reports.command_run_figures import eval_rm_figure

        return eval_rm_figure(report, ground)

    _finish(report, eval_rm_answer, draw, file, plot, as_json)


def _scores_and_label(
    a: str | None, b: str | None, label: str | None, chosen: str | None, rejected: str | None
) -> "dict[str, Column]":
    """The columns of the two scores and of the label; none of the latter where the columns say which is better."""
    from overopt.records.files import Column

    if chosen is None and rejected is None:
        first, second, options = a or "a", b or "b", ("--a", "--b")
        found = {"label": Column(label or "label", "text", "--label")}
    else:
        if chosen is None or rejected is None or any(name is not None for name in (a, b, label)):
            raise ConfigError("--chosen and --rejected go together, and without --a, --b and --label")
        first, second, options, found = chosen, rejected, ("--chosen", "--rejected"), {}
    if first == second:
        raise ConfigError(f"{options[0]} and {options[1]} must be two columns; both are {first!r}")
    return {"a": Column(first, "number", options[0]), "b": Column(second, "number", options[1]), **found}


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
        from overopt.reports.command_writer import check_plot_path

        check_plot_path(plot)


def _one_of(option: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise ConfigError(f"{option} must be one of {', '.join(choices)}; got {value!r}")


def _joined(read: "Columns", by: str) -> dict[str, int | str] | None:
    return {"rows": read.joined, "into": read.joined_into, "by": by} if read.joined else None


def _finish(
    report: Report,
    answer: "Callable[[Report], Answer]",
    draw: "Callable[[Ground], Spec]",
    file: Path,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Draw the answer if it is wanted, and print it."""
    if plot is not None:
        from overopt.reports.command_writer import write_figure

        command = shlex.join(["overopt", *sys.argv[1:]])
        write_figure(draw, answer(report), plot, source=file.name, command=command)
    if as_json:
        sys.stdout.write(json.dumps(report, indent=1, allow_nan=False) + "\n")
        return
    from overopt.reports.command_tables import answer_console, print_answer

    print_answer(answer(report), answer_console())
