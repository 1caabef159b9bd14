"""The outcome of a study as a table for the terminal, 80 columns or more."""

from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from overopt.reports.findings import Outcome, outcomes
from overopt.reports.numbers import coefficient, decimal, nats, score, score_interval
from overopt.reports.results import METHOD_NAMES, METHODS, Results, capitalized, check_schema, interval_word

_VERDICT_STYLES = {
    "overoptimized": "bold red",
    "collapsed": "bold red",
    "not_overoptimized": "green",
    "improving": "green",
}
# Name, alignment, and the width below which a number would be cut.
_COLUMNS: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    ("proxy", "left", 13),
    ("peak\ngold", "right", 14),
    ("at\n(KL)", "left", 9),
    ("last\ngold", "right", 5),
    ("drop", "right", 14),
    ("verdict", "left", 12),
    ("α β R²", "right", 6),
)
_EASY_WIDTH = 93
"""From here on the table finds widths of its own."""


class _Pieces:
    """A cell that breaks between its pieces only: a number or an interval is never cut in two.

    The pieces are not read as markup, so nothing in the results is taken for a style.
    """

    def __init__(self, *pieces: str, style: str = "", justify: Literal["left", "right"] = "left") -> None:
        self._pieces = pieces
        self._style = style
        self._justify = justify

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self._pieces)), max(map(len, self._lines(options.max_width))))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = "\n".join(self._lines(options.max_width))
        yield Text(text, style=self._style, justify=self._justify, no_wrap=True)

    def _lines(self, width: int) -> list[str]:
        lines = [self._pieces[0]]
        for piece in self._pieces[1:]:
            longer = lines[-1] + ("" if lines[-1].endswith("-") else " ") + piece
            if len(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
        return lines


def summary_table(results: Results, *, width: int | None = None) -> Table:
    """One row for each best-of-n group and RL run: where gold peaks, where it ends, the drop, the fitted law.

    Scores are in standard deviations of gold on the base policy; unknown numbers are dashes.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds.
    width : int, optional
        Columns of the terminal. Below 93 every interval gets a line of its own, so that the table fits into 80.

    Raises
    ------
    DataError
        If ``results`` are not those of a study.
    """
    check_schema(results)
    study = results.get("study")
    table = Table(
        title=Text(f"{study}: gold under optimization" if study else "Gold under optimization"),
        caption=Text(f"gold in sd on the base policy; brackets: {interval_word(results)}; KL in nats"),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    is_narrow = width is not None and width < _EASY_WIDTH
    for name, justify, least in _COLUMNS:
        table.add_column(name, justify=justify, min_width=least, width=least if is_narrow else None)
    for method in METHODS:
        found = outcomes(results, method)
        if found:
            table.add_row(Text(capitalized(METHOD_NAMES[method]), style="bold underline"))
            for outcome in found:
                table.add_row(*_cells(outcome))
    return table


def _cells(outcome: Outcome) -> list[_Pieces]:
    peak, end, fit = outcome.peak, outcome.end, outcome.fit
    words, verdict = outcome.proxy.split(", "), outcome.verdict_words.replace("-", "- ").split(" ")
    return [
        _Pieces(*(f"{word}," for word in words[:-1]), words[-1]),
        _Pieces(score(peak.get("gold")), score_interval(peak.get("gold_ci")), justify="right"),
        _Pieces(outcome.where(peak), f"({nats(peak.get('kl'))})"),
        _Pieces(score(end.get("gold")), justify="right"),
        _Pieces(decimal(outcome.drop, signed=True), score_interval(outcome.drop_ci), justify="right"),
        _Pieces(*verdict, style=_VERDICT_STYLES.get(outcome.verdict or "", "")),
        _Pieces(*(coefficient(fit.get(name)) for name in ("alpha", "beta", "r2")), justify="right"),
    ]


_AGREEMENT_STYLES = {"agrees": "green", "differs": "bold red"}


def claims_table(results: Results) -> Table:
    """The claims of a study with questions: what was found, and whether it agrees with what was published."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("question", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("published", no_wrap=True)
    for question in results["questions"]:
        for number, claim in enumerate(question["claims"]):
            agreement = str(claim["agreement"])
            table.add_row(
                Text(str(question["id"]) if number == 0 else ""),
                Text(str(claim["sentence"])),
                Text(agreement.replace("_", " "), style=_AGREEMENT_STYLES.get(agreement, "")),
            )
    return table
