"""What happened in a study, in words: one outcome a curve, and sentences whose every claim follows from the numbers.

Scores are in standard deviations of gold on the base policy, 0 being the base policy; KL in nats.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from overopt.reports.numbers import count, decimal, is_known, nats, percent, score, score_interval
from overopt.reports.results import METHOD_NAMES, METHODS, Method, Results, Row, capitalized, proxy_words, rows_of

VERDICT_WORDS = {
    "overoptimized": "over-optimized",
    "not_overoptimized": "no fall seen",
    "undetermined": "undetermined",
    "collapsed": "collapsed",
    "improving": "improving",
}
STATUS_WORDS = {
    "ok": "the law describes the curve",
    "poor_fit": "poor fit: the law does not describe the curve",
    "unidentified": "not identified: the data do not tell whether or where gold turns",
    "too_few_points": "too few points to fit",
}
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_X_NAMES: dict[Method, str] = {"bon": "n", "rl": "step"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one curve shows; ``None`` is unknown."""

    method: Method
    row: Row
    """The entry of ``results`` it was read from."""
    peak: Row
    """Point of the curve where gold is largest; empty when unknown."""
    end: Row
    """The last point; empty without points."""
    drop: float | None
    """Fall of gold from its peak to the last point, as the test measured it."""
    drop_ci: Sequence[float | None] | None
    verdict: str | None

    @property
    def fit(self) -> Row:
        """The fitted law; empty when there is none."""
        return self.row.get("fit") or {}

    @property
    def proxy(self) -> str:
        """The proxy in words."""
        return proxy_words(self.row)

    @property
    def verdict_words(self) -> str:
        return verdict_words(self.verdict)

    def where(self, point: Row) -> str:
        """``n = 16`` or ``step 40``."""
        return place(self.method, point.get(_X_NAMES[self.method]))

    @property
    def sentence(self) -> str:
        """The verdict with the numbers that it rests on."""
        peak = f"{score(self.peak.get('gold'))} {score_interval(self.peak.get('gold_ci'))} at {self.where(self.peak)}"
        end = f"{score(self.end.get('gold'))} at {self.where(self.end)}"
        fall = f"{decimal(self.drop, signed=True)} {score_interval(self.drop_ci)}"
        if self.verdict in ("overoptimized", "collapsed"):
            also = " and so does the proxy" if self.verdict == "collapsed" else ""
            return f"Gold falls after its peak{also}: {peak}, {end}; drop {fall}."
        if self.verdict in ("not_overoptimized", "improving"):
            return f"Gold does not fall: {end}, highest {peak}; drop {fall}."
        if self.verdict == "undetermined":
            return f"The data do not tell whether gold falls: highest {peak}, {end}; drop {fall}."
        return f"No verdict: highest {peak}, {end}; drop {fall}."


def place(method: Method, x: object) -> str:
    """A point of a curve by name: ``n = 1,024`` or ``step 40``, in one piece when lines break."""
    return (f"n = {count(x)}" if method == "bon" else f"step {count(x)}").replace(" ", NO_BREAK_SPACE)


def verdict_words(verdict: str | None) -> str:
    """A verdict for people."""
    return "no verdict" if verdict is None else VERDICT_WORDS.get(verdict, str(verdict).replace("_", " "))


def status_words(fit: Row) -> str:
    """What a fit is worth, in words."""
    status = fit.get("status")
    return "no fit" if status is None else STATUS_WORDS.get(status, str(status).replace("_", " "))


def outcomes(results: Results, method: Method) -> list[Outcome]:
    """One outcome a best-of-n group or RL run, by number of pairs, then size, then seed."""
    found = [_outcome(method, row) for row in rows_of(results, method)]
    return sorted(found, key=lambda outcome: tuple(_order(outcome.row.get(key)) for key in ("pairs", "width", "seed")))


def _order(value: object) -> float:
    return value if is_known(value) else float("inf")


def _outcome(method: Method, row: Row) -> Outcome:
    curve: list[Row] = list(row.get("curve") or [])
    drop: Row = row.get("drop") or {}
    x = _X_NAMES[method]
    peak: Row = next((point for point in curve if is_known(drop.get("peak")) and point.get(x) == drop["peak"]), {})
    if not peak:
        known = [point for point in curve if is_known(point.get("gold"))]
        peak = max(known, key=lambda point: float(point["gold"]), default={})
    return Outcome(
        method=method,
        row=row,
        peak=peak,
        end=curve[-1] if curve else {},
        drop=drop.get("drop"),
        drop_ci=drop.get("ci"),
        verdict=row.get("verdict") or drop.get("verdict"),
    )


def headlines(results: Results) -> list[str]:
    """The findings of the study as sentences, most important first; what was not measured is left out."""
    sentences = []
    for method in METHODS:
        found = outcomes(results, method)
        if found:
            sentences += _method_sentences(method, found)
    sentences += _trend_sentences(rows_of(results, "trends"))
    sentences += _accuracy_sentences(rows_of(results, "proxies"))
    return sentences


def _method_sentences(method: Method, found: list[Outcome]) -> list[str]:
    name = METHOD_NAMES[method]
    unit = "proxy group" if method == "bon" else "run"
    tally = Counter(outcome.verdict_words for outcome in found)
    shares = ", ".join(f"{words} in {number}" for words, number in tally.most_common())
    start = f"{capitalized(name)}, {len(found)} {unit}{'s' if len(found) > 1 else ''}: {shares}."
    sentences = [start]
    fallen = [outcome for outcome in found if outcome.verdict == "overoptimized" and is_known(outcome.drop)]
    if fallen:
        worst = max(fallen, key=lambda outcome: outcome.drop or 0.0)
        sentences.append(
            f"Largest measured fall in {name}, {worst.proxy}: gold {score(worst.peak.get('gold'))} at "
            f"{worst.where(worst.peak)}, {score(worst.end.get('gold'))} at {worst.where(worst.end)}"
            f"{_proxy_clause(worst)}."
        )
    highest = [outcome for outcome in found if is_known(outcome.peak.get("gold"))]
    if len(highest) > 1:
        best = max(highest, key=lambda outcome: float(outcome.peak["gold"]))
        kl = best.peak.get("kl")
        sentences.append(
            f"Highest gold in {name}: {score(best.peak['gold'])} {score_interval(best.peak.get('gold_ci'))} against "
            f"{best.proxy}, at {best.where(best.peak)}" + (f" ({nats(kl)} nats)." if is_known(kl) else ".")
        )
    return sentences


def _proxy_clause(outcome: Outcome) -> str:
    before, after = outcome.peak.get("proxy"), outcome.end.get("proxy")
    if not (is_known(before) and is_known(after)):
        return ""
    verb = "rises" if after > before else "falls" if after < before else "stays"
    return f", while its proxy {verb} from {score(before)} to {score(after)}"


def _trend_sentences(trends: list[Row]) -> list[str]:
    """One sentence for all coefficients of a law at a number of pairs."""
    clauses: dict[tuple[str, object], list[str]] = {}
    for trend in trends:
        if is_known(trend.get("slope")):
            key = (str(trend.get("law")), trend.get("pairs"))
            clauses.setdefault(key, []).append(_trend_clause(trend))
    sentences = []
    for (law, pairs), found in clauses.items():
        name = METHOD_NAMES.get(law, law)  # type: ignore[call-overload]  # a law of a later version keeps its own name
        at = f", {count(pairs)} pairs" if is_known(pairs) else ""
        sentences.append(
            f"{capitalized(name)}{at}, for ten times the proxy's parameters (± standard error): {'; '.join(found)}."
        )
    return sentences


def _trend_clause(trend: Row) -> str:
    slope, error = trend["slope"], trend.get("slope_se")
    symbol = {"alpha": "α", "beta": "β"}.get(str(trend.get("coefficient")), str(trend.get("coefficient")))
    if not is_known(error):
        return f"{symbol} changes by {decimal(slope, 3, signed=True)} (error unknown)"
    plus_minus = f"{NO_BREAK_SPACE}±{NO_BREAK_SPACE}{decimal(error, 3)}"
    if abs(slope) > 2 * error:
        return f"{symbol} {'rises' if slope > 0 else 'falls'} by {decimal(abs(slope), 3)}{plus_minus}"
    return f"{symbol} has no clear trend ({decimal(slope, 3, signed=True)}{plus_minus})"


def _accuracy_sentences(proxies: list[Row]) -> list[str]:
    known = [row for row in proxies if is_known(row.get("accuracy"))]
    if not known:
        return []
    low, high = (choose(known, key=lambda row: float(row["accuracy"])) for choose in (min, max))
    if low is high:
        return [f"The proxy ({proxy_words(low)}) agrees with gold on {percent(low['accuracy'])} of held-out pairs."]
    return [
        f"The proxies agree with gold on {percent(low['accuracy'])} ({proxy_words(low)}) to "
        f"{percent(high['accuracy'])} ({proxy_words(high)}) of held-out pairs."
    ]


def introduction(results: Results) -> str:
    """One paragraph: what was optimised against what, and how it was measured."""
    base: Row = results.get("base") or {}
    data: Row = results.get("data") or {}
    proxies, rl = rows_of(results, "proxies"), rows_of(results, "rl")
    policy = f"The policy {base['policy']}" if base.get("policy") else "The policy"
    if is_known(base.get("parameters")):
        policy += f" ({count(base['parameters'])} parameters)"
    if proxies:
        number = "a learned reward model" if len(proxies) == 1 else f"{len(proxies)} learned reward models"
        against = f"the proxies, {number}" if len(proxies) != 1 else f"the proxy, {number}"
        learned = "; the proxies learned it from comparisons alone"
    else:
        against, learned = "a proxy", ""
    how = []
    if rows_of(results, "bon"):
        drawn = ""
        if is_known(data.get("prompts")) and is_known(data.get("samples_per_prompt")):
            drawn = f" ({count(data['prompts'])} prompts with {count(data['samples_per_prompt'])} replies each)"
        how.append(f"choosing the best of n replies{drawn}")
    if rl:
        how.append(f"reinforcement learning ({len(rl)} run{'s' if len(rl) > 1 else ''})")
    optimised = f" is optimized against {against}" + (f", by {' and by '.join(how)}." if how else ".")
    return (
        f"{policy}{optimised} The gold score stands for the true objective{learned}. "
        "The question is whether, and where, gold turns and falls while the proxy keeps rising. Scores are in "
        "standard deviations of gold on the base policy, which is 0; the distance "
        "d from it is the square root of the KL divergence in nats."
    )
