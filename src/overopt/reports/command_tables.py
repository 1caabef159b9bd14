"""What ``overopt bon``, ``fit``, ``diagnose`` and ``eval-rm scores`` print for people, from their JSON."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from overopt.reports.numbers import UNKNOWN, coefficient, count, decimal, interval, is_known, nats, percent

Report = Mapping[str, Any]  # Any: the values of a JSON object

_STYLES = {"overoptimized": "bold red", "collapsed": "bold red", "not_overoptimized": "green", "improving": "green"}
_LAWS = {"bon": "d(α − βd)", "rl": "d(α − β ln d)"}
_SOURCES = {
    "units": "bootstrap over prompts",
    "gold_se": "gold's standard errors",
    "residuals": "scatter about the law, errors taken as independent",
    "none": "none",
}


def bon_table(report: Report) -> RenderableType:
    """The curve, the law and the verdict of an ``overopt.bon/1`` object."""
    table = _table("n", "KL", "proxy", "gold", "gain over n = 1", "oracle")
    has_wins = "win_rate" in report["curve"][0]
    if has_wins:
        table.add_column("wins", justify="right")
    for point in report["curve"]:
        cells = [
            count(point["n"]),
            nats(point["kl"]),
            _value(point["proxy"]),
            f"{_value(point['gold'])} ± {_value(point['gold_se'])}",
            f"{_value(point['gain'], signed=True)} {_interval(point['gain_ci'], signed=True)}",
            _value(point["oracle"]),
        ]
        table.add_row(*cells, *([percent(point["win_rate"])] if has_wins else []))
    sizes, fit, drop = report["samples_per_prompt"], report["fit"], report["drop"]
    per_prompt = count(sizes["min"]) if sizes["min"] == sizes["max"] else f"{count(sizes['min'])}–{count(sizes['max'])}"
    counted = f"{count(report['prompts'])} prompts, {per_prompt} samples each, {percent(report['tie_rate'])} tied"
    dropped = [f"{count(report['missing'])} rows dropped (a score or id missing)"] if report["missing"] else []
    if report["prompts_left_out"]:
        dropped.append(f"{count(report['prompts_left_out'])} prompts left out (too few samples)")
    return Group(
        table,
        Text("; ".join([counted, *dropped])),
        Text(f"{_fit_words(fit)}"),
        _verdict(
            report["verdict"],
            f"drop of gold from its peak to the largest n {_value(drop['drop'])} {_interval(drop['ci'])}",
        ),
        Text(
            f"KL in nats, ties counted; {percent(report['level'], 0)} intervals over prompts; "
            "the drop is measured from a peak that other prompts chose",
            style="dim",
        ),
    )


def fit_table(report: Report) -> RenderableType:
    """One row a group of an ``overopt.fit/1`` object."""
    table = _table("group", "law", "α", "β", "R²", "peak d", "peak gold", "status")
    for fit in report["groups"]:
        peak = fit["peak"]
        table.add_row(
            Text(fit["group"] or "all"),
            fit["law"],
            f"{coefficient(fit['alpha'])} {_interval(fit['alpha_ci'])}",
            f"{coefficient(fit['beta'])} {_interval(fit['beta_ci'])}",
            coefficient(fit["r2"]),
            UNKNOWN if peak is None else f"{decimal(peak['d'])} {_interval(peak['d_ci'])}" + _outside(peak),
            UNKNOWN if peak is None else f"{_value(peak['gold'])} {_interval(peak['gold_ci'])}",
            Text(fit["status"].replace("_", " "), style="green" if fit["status"] == "ok" else "yellow"),
        )
    lines: list[RenderableType] = [table]
    if report["shared"] is not None:
        shared = report["shared"]
        lines.append(
            Text(
                f"shared α {coefficient(shared['alpha'])} {_interval(shared['alpha_ci'])}, "
                f"R² {coefficient(shared['r2'])}"
                + (
                    f"; AICc {decimal(shared['aicc'], 1)} against {decimal(shared['separate_aicc'], 1)} with an α each"
                    if is_known(shared["aicc"]) and is_known(shared["separate_aicc"])
                    else ""
                )
            )
        )
    lines += _dropped(report)
    negative = sum(fit["left_out"] for fit in report["groups"])
    if negative:
        lines.append(Text(f"{count(negative)} rows with a negative KL left out"))
    sources = dict.fromkeys(_SOURCES[fit["intervals"]] for fit in report["groups"])
    lines.append(Text(f"d = √KL; {percent(report['level'], 0)} intervals from: {', '.join(sources)}", style="dim"))
    if any(fit["peak"] is not None and not fit["peak"]["inside_data"] for fit in report["groups"]):
        lines.append(Text("* outside the data: an extrapolation of the law", style="dim"))
    return Group(*lines)


def diagnose_table(report: Report) -> RenderableType:
    """One row a run of an ``overopt.diagnose/1`` object, with the rule of each threshold."""
    table = _table(
        "run", "gold\npeak", "at\nstep", "gold\nlast", "\ndrop", "\nthreshold", "proxy\npeak", "proxy\nlast", "verdict"
    )
    for run in report["groups"]:
        peak = run["gold_peak"]
        table.add_row(
            Text(run["group"] or "all"),
            _value(peak["gold"]),
            count(peak["step"]),
            _value(run["gold_final"]),
            _value(run["drop"]),
            _value(run["threshold"]),
            _value(peak["proxy"]),
            _value(run["proxy_final"]),
            Text(run["verdict"], style=_STYLES.get(run["verdict"], "yellow")),
        )
    lines: list[RenderableType] = [table]
    for run in report["groups"]:
        name = f"{run['group']}: " if run["group"] else ""
        lines.append(Text(f"{name}{run['rule']}", style="dim"))
        forecast = run["forecast"]
        if forecast is not None:
            lines.append(Text(f"{name}{_forecast_words(forecast)}"))
    return Group(*lines, *_dropped(report))


def eval_rm_table(report: Report) -> RenderableType:
    """Accuracy, overall and by category, of an ``overopt.eval_rm/1`` object."""
    table = _table("category", "pairs", "accuracy", "interval", "ties")
    rows = [("all", report | {"ci": report["accuracy_ci"]}), *report["by"].items()]  # type: ignore[operator]
    for name, row in rows:
        bounds = [100 * bound if is_known(bound) else None for bound in row["ci"]]
        table.add_row(
            Text(str(name), style="bold" if row is rows[0][1] else ""),
            count(row["pairs"]),
            percent(row["accuracy"]),
            f"{interval(bounds, 1)} %",
            count(row["ties"]),
        )
    lines: list[RenderableType] = [table]
    if report["worst"] is not None and len(report["by"]) > 1:
        worst = report["worst"]
        bounds = [100 * bound if is_known(bound) else None for bound in worst["ci"]]
        lines.append(
            Text(f"worst: {worst['category']}, {percent(worst['accuracy'])} {interval(bounds, 1)} as the worst of all")
        )
    if report["longer_is_better"] is not None:
        lines.append(Text(f'"prefer the longer answer" would score {percent(report["longer_is_better"])}'))
    bias = report["length_bias"]
    if bias is not None:
        lines.append(
            Text(
                f"accuracy {percent(bias['accuracy_if_longer_is_right'])} where the longer is right, "
                f"{percent(bias['accuracy_if_shorter_is_right'])} where the shorter is"
            )
        )
    counted = "one half" if report["ties_count"] == "half" else "as wrong"
    lines.append(Text(f"{percent(report['level'], 0)} intervals; ties count {counted}", style="dim"))
    return Group(*lines, *_dropped(report))


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1 if len(names) > 7 else 2, 0, 0), pad_edge=False)
    for index, name in enumerate(names):
        is_text = index == 0 or name in ("law", "status", "verdict")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name == "verdict", vertical="top")
    return table


def _value(value: object, *, signed: bool = False) -> str:
    """A score in the user's units: three digits, whatever its size."""
    if not is_known(value):
        return UNKNOWN
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e6:
        return f"{value:+.2e}" if signed else f"{value:.2e}"
    return decimal(value, 3 if size < 10 else 2 if size < 100 else 1, signed=signed)


def _interval(bounds: object, *, signed: bool = False) -> str:
    if not isinstance(bounds, list) or not any(is_known(bound) for bound in bounds):
        return ""
    return f"[{', '.join(_value(bound, signed=signed) for bound in bounds)}]"


def _outside(peak: Report) -> str:
    return "" if peak["inside_data"] else " *"


def _fit_words(fit: Report) -> str:
    head = f"R(d) = {_LAWS.get(fit['law'], fit['law'])}, d = √KL: "
    if fit["status"] == "too_few_points":
        return head + f"too few points to fit ({fit['points']} above KL 0)"
    words = (
        f"α {coefficient(fit['alpha'])} {_interval(fit['alpha_ci'])}, "
        f"β {coefficient(fit['beta'])} {_interval(fit['beta_ci'])}, R² {coefficient(fit['r2'])}"
    )
    peak = fit["peak"]
    if fit["status"] != "ok":
        why = {"poor_fit": "the law does not fit", "unidentified": "the data do not show where gold turns"}
        return head + words + f"; {why[fit['status']]}"
    if peak is None:
        return head + words + "; no turn"
    where = "inside the data" if peak["inside_data"] else "outside the data, an extrapolation"
    return (
        head + words + f"; peak at d {decimal(peak['d'])} {_interval(peak['d_ci'])} ({nats(peak['kl'])} nats), {where}"
    )


def _forecast_words(forecast: Report) -> str:
    if forecast["status"] != "ok":
        why = {"too_early": "too early to tell the peak", "poor_fit": "the RL law does not describe this run"}
        return f"forecast: {why[forecast['status']]}"
    return (
        f"forecast (RL law): gold peaks at d {decimal(forecast['d_median'])} {_interval(forecast['d_ci'])}; "
        f"the run is at {decimal(forecast['d_now'])}, past its peak with probability {percent(forecast['p_turned'], 0)}"
    )


def _verdict(verdict: str, because: str) -> Text:
    return Text.assemble((verdict.replace("_", " "), _STYLES.get(verdict, "bold yellow")), f": {because}")


def _dropped(report: Report) -> list[RenderableType]:
    return [Text(f"{count(report['missing'])} rows dropped (a value missing)")] if report["missing"] else []
