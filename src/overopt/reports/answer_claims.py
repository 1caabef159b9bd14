"""Claims of a study as a reader meets them: in words, counted by agreement, and as rows of ``claims.csv``."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from overopt.reports.answer_scales import label
from overopt.reports.numbers import count, decimal, interval, is_known, seconds, short_count

Found = Mapping[str, Any]  # Any: the values of a JSON object

AGREEMENTS = {
    "agrees": "agrees",
    "differs": "differs",
    "undetermined": "undetermined",
    "not_comparable": "not comparable",
    "not_published": "not published",
}


def claims_of(question: Found) -> list[Found]:
    """Claims of an answer; none when it has none."""
    return list(question.get("claims") or [])


def agreement(claim: Found) -> str:
    """A key of ``AGREEMENTS``; anything else counts as undetermined."""
    found = claim.get("agreement")
    return found if found in AGREEMENTS else "undetermined"


def badge_words(name: str, n: int | None = None) -> str:
    """What a badge says, of one claim or of ``n``: ``agrees``, ``3 agree``."""
    words = AGREEMENTS[name]
    if n is None:
        return words
    return f"{count(n)} {words.removesuffix('s') if n != 1 and name in ('agrees', 'differs') else words}"


def counts(claims: Sequence[Found]) -> dict[str, int]:
    """How many claims agree, differ and so on, those that occur."""
    tally = Counter(map(agreement, claims))
    return {name: tally[name] for name in AGREEMENTS if tally[name]}


def numbers_of(claim: Found) -> str:
    """Value and interval: ``0.41 √nats [0.23, 0.60]``."""
    digits = _digits(claim)
    unit = f"\N{NO-BREAK SPACE}{claim['unit']}" if claim.get("unit") and is_known(claim.get("value")) else ""
    return f"{decimal(claim.get('value'), digits)}{unit} {interval(claim.get('ci'), digits)}"


def detail_of(claim: Found) -> str:
    """The numbers, unless the sentence has said them, and what the interval is over."""
    said = interval(claim.get("ci"), _digits(claim)) in str(claim.get("sentence") or "")
    return (
        measure_of(claim) if said or not is_known(claim.get("value")) else f"{numbers_of(claim)}; {measure_of(claim)}"
    )


def measure_of(claim: Found) -> str:
    """What the interval is: ``95 % interval over 64 prompts, 2 seeds``."""
    level = claim.get("level")
    words = f"{100 * level:g} % interval" if is_known(level) else "interval"
    return f"{words} over {claim['counted']}" if claim.get("counted") else words


def held_against(claim: Found) -> str:
    """The value that the claim is judged by, with its margin."""
    digits = _digits(claim)
    reference, margin = claim.get("reference"), claim.get("margin")
    if not is_known(reference):
        return ""
    within = f" ± {decimal(margin, digits)}" if is_known(margin) else ""
    return f"held against {decimal(reference, 0 if reference == 0 and not within else digits)}{within}"


def _digits(claim: Found) -> int:
    digits = claim.get("digits")
    return digits if isinstance(digits, int) else 2


def claim_rows(questions: Sequence[Found]) -> list[dict[str, Any]]:
    """Every claim of every question, with all digits."""
    rows = []
    for question in questions:
        for claim in claims_of(question):
            published = claim.get("published") or {}
            low, high = claim.get("ci") or (None, None)
            rows.append({
                "question": question.get("id"), "claim": claim.get("id"), "what": claim.get("what"),
                "value": claim.get("value"), "low": low, "high": high, "level": claim.get("level"),
                "unit": claim.get("unit"), "reference": claim.get("reference"), "margin": claim.get("margin"),
                "counted": claim.get("counted"), "outcome": claim.get("outcome"), "agreement": claim.get("agreement"),
                "finding": claim.get("sentence"), "published": published.get("finding"),
                "source": published.get("source"), "why_not_comparable": published.get("why_not"),
                "note": claim.get("note"),
            })  # fmt: skip
    return rows


def introduction(results: Found) -> str:
    """What was run, in a paragraph; what is not known is not mentioned."""
    base, data, timings = (results.get(key) or {} for key in ("base", "data", "timings"))
    settings = [f"the preset {label(results['preset'])}"] if results.get("preset") else []
    settings += [f"seed {label(results['seed'])}"] if results.get("seed") is not None else []
    run = f"The study {label(results.get('study') or 'without a name')} was run"
    run += f" with {' and '.join(settings)}" if settings else ""
    if is_known(timings.get("wall_s")):
        run += f" in {seconds(timings['wall_s'])}"
        run += f" on {count(timings['workers'])} workers" if is_known(timings.get("workers")) else ""
        run += _stored_part(timings)
    parts = []
    if base.get("policy"):
        size = f" ({short_count(base['parameters'])} parameters)" if is_known(base.get("parameters")) else ""
        parts.append(f"the policy {label(base['policy'])}{size}")
    for key, one, many in (
        ("prompts", "prompt", "prompts"),
        ("samples_per_prompt", "sample of each", "samples of each"),
        ("comparisons", "comparison labelled by gold", "comparisons labelled by gold"),
    ):
        if is_known(data.get(key)):
            parts.append(f"{count(data[key])} {one if data[key] == 1 else many}")
    with_parts = f", from {', '.join(parts)}" if parts else ""
    level = results.get("level")
    intervals = f" Intervals hold {100 * level:g} % unless they say otherwise." if is_known(level) else ""
    return f"{run}{with_parts}.{intervals}"


def _stored_part(timings: Found) -> str:
    """How long all stages took, where this call cannot have made them all in its time."""
    took = [stage.get("seconds") for stage in timings.get("stages") or []]
    total = sum(one for one in took if is_known(one))
    if not is_known(timings.get("workers")) or total <= timings["wall_s"] * timings["workers"]:
        return ""
    return f", with stages that were stored; all {count(len(took))} take {seconds(total)} one after another"


def tally_words(questions: Sequence[Found]) -> str:
    """How the claims compare with what was published, in a sentence."""
    claims = [claim for question in questions for claim in claims_of(question)]
    found = counts(claims)
    comparable = sum(found.get(name, 0) for name in ("agrees", "differs", "undetermined"))
    asked = f"{_counted(len(questions), 'question')}, {_counted(len(claims), 'claim')}."
    if not comparable:
        return f"{asked} None of them has a published finding that it could be held against." if claims else asked
    held = "1 claim that can" if comparable == 1 else f"{comparable} claims that can"
    agree, differ = (badge_words(name, found.get(name, 0)) for name in ("agrees", "differs"))
    undecided = found.get("undetermined", 0)
    verb = "is" if undecided == 1 else "are"
    outcomes = f"{agree}, {differ} and {undecided} {verb} undetermined"
    return f"{asked} Of the {held} be held against a published finding, {outcomes}."


def _counted(n: int, word: str) -> str:
    return f"{count(n)} {word}{'' if n == 1 else 's'}"


def command(results: Found, question: str | None = None) -> str:
    """The command line that makes the study, or one question of it, again; ``command`` where no study did."""
    if results.get("command"):
        return str(results["command"])
    words = ["overopt", "run", str(results.get("study") or "STUDY")]
    if results.get("preset"):
        words += ["--preset", str(results["preset"])]
    if results.get("seed"):
        words += ["--seed", str(results["seed"])]
    return shlex.join([*words, "--only", question] if question else words)
