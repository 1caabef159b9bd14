"""What ``bon``, ``fit``, ``diagnose`` and ``eval-rm scores`` answer, as one table and a few sentences each.

The terminal and the page of ``--plot`` show the same answer. Cells are text; a cell of two pieces is a value and its
interval, which may stand below each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overopt.reports import command_words as words
from overopt.reports.numbers import UNKNOWN, coefficient, count, decimal, is_known, nats, percent

Report = Mapping[str, Any]  # Any: the values of a JSON object
Cell = tuple[str, ...]

VERDICTS = {"overoptimized": "bad", "collapsed": "bad", "not_overoptimized": "good", "improving": "good"}
"""Whether a verdict is bad or good news; the others are open."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of the table."""

    name: str
    is_text: bool = False
    is_beneath: bool = False
    """Whether its cells may stand beneath those of the column before, where room is short."""
    is_spare: bool = False
    """Whether it may be left out where room is shorter still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One command's answer, ready to be shown."""

    title: str
    verdict: str | None
    """As in the JSON; ``None`` where there are several or none."""
    lead: str
    """The answer in one sentence."""
    headings: list[Heading]
    rows: list[list[Cell]]
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """How to read the numbers."""


def bon_answer(report: Report) -> Answer:
    """The curve, the law and the verdict of an ``overopt.bon/1`` object."""
    curve = report["curve"]
    has_wins = "win_rate" in curve[0]
    rows: list[list[Cell]] = [
        [
            (count(point["n"]),),
            (nats(point["kl"]),),
            (words.value_words(point["proxy"]),),
            (words.value_words(point["gold"]), f"± {words.value_words(point['gold_se'])}"),
            _pair(words.value_words(point["gain"], signed=True), words.interval_words(point["gain_ci"], signed=True)),
            (words.value_words(point["oracle"]),),
            *([(percent(point["win_rate"]),)] if has_wins else []),
        ]
        for point in curve
    ]
    names = ["n", "KL", "proxy", "gold", "gain over n = 1", "oracle", *(["wins"] if has_wins else [])]
    sizes = report["samples_per_prompt"]
    per_prompt = count(sizes["min"]) if sizes["min"] == sizes["max"] else f"{count(sizes['min'])}–{count(sizes['max'])}"
    counted = [
        f"{words.counted(report['prompts'], 'prompt')}, {per_prompt} samples each, {percent(report['tie_rate'])} tied",
        *words.left_out_sentences(report),
    ]
    if report["prompts_left_out"]:
        counted.append(f"{words.counted(report['prompts_left_out'], 'prompt')} left out (too few samples)")
    notes = [
        f"KL in nats, ties counted; {percent(report['level'], 0)} intervals over prompts; held out: from a peak that "
        "other prompts chose"
    ]
    if not any(is_known(bound) for bound in curve[-1]["gain_ci"]):
        notes.append(f"no intervals: {words.counted(report['prompts'], 'prompt')} cannot tell how much prompts differ")
    if has_wins and any(not is_known(point["win_rate"]) for point in curve):
        notes.append(f"wins {UNKNOWN}: n takes the whole of the smallest pool, and no sample is left to win over")
    if (report.get("steps") or 1) > 1:
        notes.append(
            f"the file has samples of {count(report['steps'])} steps: best-of-n is about one policy, so keep one step"
        )
    grid = words.grid_sentence(report)
    return Answer(
        title="Best-of-n",
        verdict=report["verdict"],
        lead=words.drop_sentence(report),
        headings=[Heading(name) for name in names],
        rows=rows,
        sentences=["; ".join(counted), words.law_sentence(report["fit"]), *([grid] if grid else [])],
        notes=notes,
    )


def fit_answer(report: Report) -> Answer:
    """One row a group of an ``overopt.fit/1`` object."""
    fits = report["groups"]
    rows: list[list[Cell]] = []
    for fit in fits:
        peak = fit["peak"] or {}
        mark = "" if peak.get("inside_data", True) else " *"
        rows.append(
            [
                (fit["group"] or "all",),
                (words.plain_words(fit["status"]),),
                (fit["law"],),
                (coefficient(fit["r2"]),),
                *(_pair(coefficient(fit[name]), words.interval_words(fit[f"{name}_ci"])) for name in ("alpha", "beta")),
                _pair(decimal(peak.get("d")) + mark, words.interval_words(peak.get("d_ci"))),
                _pair(words.value_words(peak.get("gold")), words.interval_words(peak.get("gold_ci"))),
            ]
        )
    headings = [
        Heading("group", is_text=True), Heading("status", is_text=True, is_beneath=True), Heading("law", is_text=True),
        Heading("R²", is_text=True, is_beneath=True), Heading("α"), Heading("β"), Heading("peak d"),
        Heading("peak gold", is_spare=True),
    ]  # fmt: skip
    sentences = [words.shared_sentence(report["shared"])] if report["shared"] is not None else []
    sentences += _misgivings(fits)
    sentences += words.left_out_sentences(report)
    averaged = report.get("averaged")
    if averaged:
        sentences.append(
            f"{words.counted(averaged['rows'], 'row')} averaged into {count(averaged['into'])} by {averaged['by']}"
            + ("" if fits[0]["group"] else "; if they are several runs, --group COL tells them apart")
        )
    negative = sum(fit["left_out"] for fit in fits)
    if negative:
        sentences.append(f"{words.counted(negative, 'row')} with a negative KL left out")
    sources = dict.fromkeys(_SOURCES.get(fit["intervals"], fit["intervals"]) for fit in fits)
    notes = [f"d = √KL; {percent(report['level'], 0)} intervals from: {', '.join(sources)}"]
    if any(fit["peak"] is not None and not fit["peak"]["inside_data"] for fit in fits):
        places = {
            words.outside_words(fit) for fit in fits if fit["peak"] is not None and not fit["peak"]["inside_data"]
        }
        notes.append(f"* {' or '.join(sorted(places))}")
    one = fits[0] if len(fits) == 1 else None
    return Answer(
        title="Law of gold" if one else "Laws of gold",
        verdict=None,
        lead=words.law_sentence(one)
        if one
        else f"{words.counted(len(fits), 'group')}: {words.tally(words.plain_words(fit['status']) for fit in fits)}",
        headings=headings,
        rows=rows,
        sentences=sentences,
        notes=notes,
    )


def _misgivings(fits: Sequence[Report]) -> list[str]:
    """What speaks against each fit, or how often each thing does where the groups are many."""
    if len(fits) <= _GROUPS_TO_NAME:
        told = [(fit["group"], "; ".join(words.misgivings(fit))) for fit in fits]
        return [f"{group}: {against}" if group else against for group, against in told if against]
    counts = Counter(against for fit in fits for against in words.misgivings(fit, is_brief=True))
    return [f"{words.counted(number, 'group')}: {against}" for against, number in counts.most_common()]


_GROUPS_TO_NAME = 8
_SOURCES = {
    "units": "bootstrap over prompts",
    "gold_se": "gold's standard errors",
    "residuals": "scatter about the law, errors taken as independent",
    "none": "none",
}


def diagnose_answer(report: Report) -> Answer:
    """One row a run of an ``overopt.diagnose/1`` object, with the rule of each threshold."""
    runs = report["groups"]
    rows: list[list[Cell]] = []
    sentences, notes = [], []
    for run in runs:
        peak = run["gold_peak"]
        rows.append(
            [
                (run["group"] or "all",),
                (words.value_words(peak["gold"]),),
                (count(peak["step"]),),
                *((words.value_words(run[name]),) for name in ("gold_final", "drop", "threshold")),
                (words.value_words(peak["proxy"]),),
                (words.value_words(run["proxy_final"]),),
                (words.plain_words(run["verdict"]),),
            ]
        )
        name = f"{run['group']}: " if run["group"] else ""
        if run.get("averaged"):
            sentences.append(
                f"{name}{words.counted(run['averaged'], 'row')} averaged into {words.counted(run['points'], 'step')}"
                + ("" if run["group"] else "; if they are several runs, --group COL tells them apart")
            )
        if run["forecast"] is not None:
            sentences.append(f"{name}{words.forecast_sentence(run['forecast'])}")
        notes.append(f"{name}{run['rule']}")
    names = ("gold peak", "at step", "gold last", "drop", "threshold", "proxy peak", "proxy last")
    one = runs[0] if len(runs) == 1 else None
    return Answer(
        title="Training run" if one else "Training runs",
        verdict=one["verdict"] if one else None,
        lead=words.run_sentence(one)
        if one
        else f"{words.counted(len(runs), 'run')}: {words.tally(words.plain_words(run['verdict']) for run in runs)}",
        headings=[Heading("run", is_text=True), *map(Heading, names), Heading("verdict", is_text=True)],
        rows=rows,
        sentences=[*sentences, *words.left_out_sentences(report)],
        notes=notes,
    )


def eval_rm_answer(report: Report) -> Answer:
    """Accuracy, overall and by category, of an ``overopt.eval_rm/1`` object."""
    whole = {"pairs": report["pairs"], "accuracy": report["accuracy"], "ci": report["accuracy_ci"],
             "ties": report["ties"]}  # fmt: skip
    rows: list[list[Cell]] = [
        [
            (str(name),),
            (count(row["pairs"]),),
            (percent(row["accuracy"]),),
            (words.share_interval_words(row["ci"]) or UNKNOWN,),
            (count(row["ties"]),),
        ]
        for name, row in [("all", whole), *report["by"].items()]
    ]
    sentences = []
    if report["worst"] is not None and len(report["by"]) > 1:
        worst = report["worst"]
        accuracy = words.with_interval(percent(worst["accuracy"]), words.share_interval_words(worst["ci"]))
        sentences.append(f"worst: {worst['category']}, {accuracy} as the worst of all")
    if report["longer_is_better"] is not None:
        sentences.append(f'"prefer the longer answer" would score {percent(report["longer_is_better"])}')
    bias = report["length_bias"]
    if bias is not None:
        sentences.append(
            f"accuracy {percent(bias['accuracy_if_longer_is_right'])} where the longer is right, "
            f"{percent(bias['accuracy_if_shorter_is_right'])} where the shorter is"
        )
    counted = "one half" if report["ties_count"] == "half" else "as wrong"
    return Answer(
        title="Accuracy of the reward model",
        verdict=None,
        lead=words.accuracy_sentence(report),
        headings=[Heading("category", is_text=True), *map(Heading, ("pairs", "accuracy", "interval", "ties"))],
        rows=rows,
        sentences=[*sentences, *words.left_out_sentences(report)],
        notes=[f"{percent(report['level'], 0)} intervals; ties count {counted}"],
    )


def _pair(value: str, bounds: str) -> Cell:
    return (value, bounds) if bounds else (value,)
