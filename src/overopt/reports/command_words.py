"""What the numbers of ``bon``, ``fit``, ``diagnose`` and ``eval-rm scores`` say, in the same words everywhere.

Terminal, page and picture take their sentences from here. A verdict is called what it is called in the JSON. Scores
keep the units of the table; KL in nats, d = sqrt(KL).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from overopt.reports.numbers import MINUS, UNKNOWN, coefficient, count, decimal, is_known, nats, percent
from overopt.stats.laws import law_value

Report = Mapping[str, Any]  # Any: the values of a JSON object

CERTAIN_P = 0.01
"""Below it ``fit_law`` takes a misfit as certain and widens the intervals; from it on, a law may be chance."""

_NO_PEAK = {"rises": "gold rises without a turn", "falls": "gold falls from the start"}
_LAWS = {"bon": "d(α − βd)", "rl": "d(α − β ln d)"}
_GOLD_FALLS = {
    "overoptimized": "gold falls from its peak to the largest n",
    "not_overoptimized": "gold keeps its peak up to the largest n",
    "undetermined": "whether gold falls from its peak to the largest n is open",
}


def plain_words(name: object) -> str:
    """A verdict or a status as words: that of the JSON without its underscores."""
    return str(name or "unknown").replace("_", " ")


def counted(number: float, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def value_words(value: object, *, signed: bool = False, scale: float | None = None) -> str:
    """A score in the user's units: about three digits of its own size, or of ``scale``."""
    if not is_known(value):
        return UNKNOWN
    size = abs(value) if scale is None else scale
    if size != 0 and not 1e-3 <= size < 1e6:
        return (f"{value:+.2e}" if signed else f"{value:.2e}").replace("-", MINUS)
    return decimal(value, 3 if size < 10 else 2 if size < 100 else 1, signed=signed)


def interval_words(bounds: object, *, signed: bool = False) -> str:
    """An interval of scores; nothing where neither end is known."""
    if not isinstance(bounds, list | tuple) or not any(is_known(bound) for bound in bounds):
        return ""
    scale = max(abs(bound) for bound in bounds if is_known(bound))
    return f"[{', '.join(value_words(bound, signed=signed, scale=scale) for bound in bounds)}]"


def share_interval_words(bounds: object) -> str:
    """An interval of shares, in per cent."""
    if not isinstance(bounds, list | tuple) or not any(is_known(bound) for bound in bounds):
        return ""
    return f"[{', '.join(decimal(100 * bound, 1) if is_known(bound) else UNKNOWN for bound in bounds)}] %"


def with_interval(value: str, bounds: str) -> str:
    """The two with a space between, or the value alone."""
    return f"{value} {bounds}" if bounds else value


def tally(words: Iterable[str]) -> str:
    """How often each occurs, most frequent first."""
    found = Counter(words).most_common()
    return ", ".join(f"{count(number)} {word}" for word, number in found) or "none"


def drop_sentence(report: Report) -> str:
    """The verdict of an ``overopt.bon/1`` object with the drop that it rests on, as seen and as held out."""
    verdict = report.get("verdict") or "undetermined"
    drop: Report = report.get("drop") or {}
    if not is_known(drop.get("drop")):
        return f"{plain_words(verdict)}: too few prompts or points to say"
    held_out = with_interval(value_words(drop["drop"]), interval_words(drop.get("ci")))
    seen = f"seen {value_words(drop['seen'])}; " if is_known(drop.get("seen")) else ""
    says = _GOLD_FALLS.get(verdict, "gold")
    low = (drop.get("ci") or [None])[0]
    if verdict == "undetermined" and is_known(low) and low > 0:
        says = f"{counted(report['prompts'], 'prompt')} are too few for a verdict, even if all agree"
    words = f"{plain_words(verdict)}: {says} (drop {seen}held out {held_out})"
    if verdict != "undetermined" or not (is_known(drop.get("seen")) and drop["seen"] > 0):
        return words
    needed = drop.get("prompts_to_decide")
    if not is_known(needed):
        falls = drop["drop"] > 0
        return f"{words}; " + (
            "too few prompts to say how many would decide" if falls else "there is no held-out fall to decide about"
        )
    return f"{words}; about {count(float(f'{needed:.2g}'))} prompts would decide"


def grid_sentence(report: Report) -> str | None:
    """Why the values of n end where they do, if the pools differ in size and nobody chose the values."""
    sizes, curve = report.get("samples_per_prompt") or {}, report.get("curve") or []
    smaller = report.get("smaller_pools")
    if not is_known(smaller) or not smaller or not curve or curve[-1].get("n") != sizes.get("min"):
        return None
    return (
        f"n stops at {count(sizes['min'])}, the fewest samples of a prompt; --min-samples {sizes['max']} would leave "
        f"out {count(smaller)} of {counted(report['prompts'], 'prompt')}"
    )


def law_sentence(fit: Report) -> str:
    """A fitted law with its coefficients, its peak, and what is wrong with it."""
    head = f"R(d) = {_LAWS.get(fit.get('law') or '', fit.get('law'))}, d = √KL: "
    if fit.get("law") is None:
        return "no law was fitted"
    if fit.get("status") == "too_few_points":
        return head + f"too few points to fit ({count(fit.get('points'))} above KL 0)"
    parts = [f"{coefficients_words(fit)}, R² {coefficient(fit.get('r2'))}"]
    if fit.get("status") == "ok":
        parts.append(peak_words(fit))
    parts += misgivings(fit)
    return head + "; ".join(parts)


def coefficients_words(fit: Report) -> str:
    """alpha and beta with their intervals."""
    return ", ".join(
        f"{symbol} {with_interval(coefficient(fit.get(name)), interval_words(fit.get(f'{name}_ci')))}"
        for symbol, name in (("α", "alpha"), ("β", "beta"))
    )


def peak_words(fit: Report) -> str:
    """Where the law peaks."""
    peak: Report = fit.get("peak") or {}
    if not is_known(peak.get("d")):
        return _NO_PEAK.get(str(fit.get("shape")), "no turn")
    where = "inside the data" if peak.get("inside_data") else outside_words(fit)
    d = with_interval(decimal(peak["d"]), interval_words(peak.get("d_ci")))
    return f"peak at d {d} ({nats(peak.get('kl'))} nats), {where}"


def outside_words(fit: Report) -> str:
    """Where a peak lies that is not among the measured points with a KL above 0."""
    first = (fit.get("d_range") or [None])[0]
    if is_known(first) and fit["peak"]["d"] < first:
        return "before the first point above KL 0"
    return "outside the data, an extrapolation"


def misgivings(fit: Report, *, is_brief: bool = False) -> list[str]:
    """What speaks against a fit, and what was done about it; in brief without its numbers, to be counted."""
    found = []
    lack: Report = fit.get("lack_of_fit") or {}
    p = lack.get("p_value")
    if is_known(p) and p < CERTAIN_P:
        found.append(
            "the law misses the points by more than their errors" + ("" if is_brief else f" (p {_p_words(p)})")
        )
    elif fit.get("status") == "poor_fit":
        found.append(_poor_fit_words(fit, is_brief=is_brief))
    if fit.get("status") == "unidentified":
        found.append("the data do not show where gold turns")
    widened = fit.get("widened_by")
    if is_known(widened) and widened > 1 and not is_brief:
        found.append(f"the intervals are widened {decimal(widened, 1)} times for that")
    best: Report = fit.get("best_seen") or {}
    numbers = f"{value_words(best.get('gold'))} at d {decimal(best.get('d'))}"
    bounds = (fit.get("peak") or {}).get("d_ci") or [None, None]
    if fit.get("status") == "ok" and is_known(best.get("d")) and not _is_within(best["d"], bounds) and _is_far(fit):
        found.append(
            f"the best point seen{'' if is_brief else f', {numbers},'} lies outside the interval of the law's peak"
        )
    return found


def _poor_fit_words(fit: Report, *, is_brief: bool) -> str:
    """Why a law that does not certainly miss the points is a poor fit all the same."""
    chance = fit.get("chance")
    if is_known(chance) and chance >= CERTAIN_P:
        return "the law explains no more than chance would" + ("" if is_brief else f" (p {_p_words(chance)})")
    return "the law misses most of the variation of the points"


def shared_sentence(shared: Report) -> str:
    """One alpha for all groups, and whether that is tenable."""
    alpha = with_interval(coefficient(shared.get("alpha")), interval_words(shared.get("alpha_ci")))
    words = [f"shared α {alpha}, R² {coefficient(shared.get('r2'))}"]
    if shared.get("tenable") is not None:
        p = f" (p {_p_words(shared['p_value'])})" if is_known(shared.get("p_value")) else ""
        words.append(f"one alpha is {'tenable' if shared['tenable'] else 'not tenable'}{p}")
    separate = shared.get("aicc_separate", shared.get("separate_aicc"))
    if is_known(shared.get("aicc")) and is_known(separate):
        words.append(f"AICc {decimal(shared['aicc'], 1)} against {decimal(separate, 1)} with an α each")
    return "; ".join(words)


def run_sentence(run: Report) -> str:
    """The verdict on one run with the drop that it rests on."""
    peak: Report = run.get("gold_peak") or {}
    words = plain_words(run.get("verdict"))
    if not is_known(run.get("drop")):
        return words
    if not is_known(run.get("threshold")):
        return f"{words}: too few points to say"
    rise = "has risen and " if run.get("verdict") == "improving" else ""
    fall = f"gold {rise}ends {value_words(run['drop'])} below its peak at step {count(peak.get('step'))}"
    threshold = value_words(run["threshold"])
    if run["drop"] > run["threshold"]:
        return f"{words}: {fall}; more than {threshold} is more than noise"
    return f"{words}: {fall}, within the {threshold} that noise explains"


def forecast_sentence(forecast: Report) -> str:
    """Where gold will peak, or why that cannot be told."""
    if forecast.get("outlook") == "flat":
        return "forecast: gold is flat so far, with no peak to tell"
    if forecast.get("status") == "poor_fit":
        return "forecast: the RL law does not describe this run"
    peak = f"d {with_interval(decimal(forecast.get('d_median')), interval_words(forecast.get('d_ci')))}"
    now = f"the run is at {decimal(forecast.get('d_now'))}"
    past = f"past its peak with probability {percent(forecast.get('p_turned'), 0)}"
    outlook = {
        "falls_from_start": "gold falls from the start",
        "beyond_reach": f"a peak lies beyond d {decimal(forecast.get('d_max'))}, if there is one; {now}",
        "ahead": f"gold peaks ahead, at {peak}; {now}, {past}",
        "passed": f"gold has passed its peak, at {peak}; {now}, {past}",
    }.get(str(forecast.get("outlook")))
    if forecast.get("status") == "too_early" and outlook is None:
        return "forecast: too early to tell the peak"
    return f"forecast (RL law): {outlook or f'gold peaks at {peak}; {now}, {past}'}"


def accuracy_sentence(report: Report) -> str:
    """The accuracy over all pairs."""
    accuracy = with_interval(percent(report.get("accuracy")), share_interval_words(report.get("accuracy_ci")))
    pairs = report.get("pairs")
    return f"accuracy {accuracy}" + (f" over {counted(pairs, 'pair')}" if is_known(pairs) else "")


def left_out_sentences(report: Report) -> list[str]:
    """Rows that were joined or dropped on the way."""
    found = []
    joined: Report = report.get("joined") or {}
    if joined.get("rows"):
        found.append(f"{counted(joined['rows'], 'row')} joined into {count(joined['into'])} by {joined['by']}")
    if report.get("missing"):
        found.append(f"{counted(report['missing'], 'row')} dropped (a value missing)")
    return found


def _is_far(fit: Report) -> bool:
    """Whether the law falls from its peak to where the best point was seen by more than the points scatter about it.

    The best of many noisy points often lies a little beside the peak, and outside a narrow interval.
    """
    at_best, at_peak = (
        law_value(fit["law"], place["d"], fit["alpha"], fit["beta"]) for place in (fit["best_seen"], fit["peak"])
    )
    return not is_known(fit.get("rmse")) or float(at_peak - at_best) > _FAR * fit["rmse"]


_FAR = 3.0
"""Of the differences of two points whose errors have the sd 1, one in thirty is larger."""


def _is_within(value: float, bounds: Sequence[object]) -> bool:
    """Whether the interval holds the value; an unknown end excludes nothing."""
    low, high = bounds
    return not (is_known(low) and value < low) and not (is_known(high) and value > high)


def _p_words(p: float) -> str:
    return "below 0.001" if p < 0.001 else decimal(p, 3)
