"""Accuracy of a reward model from a table of scored pairs, for ``overopt eval-rm scores``."""

from typing import Any, Literal

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.plain import plain
from overopt.stats.bias import accuracy_by_category, length_bias, longer_is_better
from overopt.stats.estimate import FloatArray
from overopt.stats.ranking import pair_accuracy

SCHEMA = "overopt.eval_rm/1"
LABELS = {
    "a": 1.0, "a>b": 1.0, "1": 1.0, "1.0": 1.0, "true": 1.0,
    "b": 0.0, "b>a": 0.0, "0": 0.0, "0.0": 0.0, "false": 0.0,
}  # fmt: skip
"""Spellings of "A is better" and "B is better", without regard to case and blanks."""
CHOSEN, REJECTED = "chosen", "rejected"


def scored_pairs_report(
    pairs: pl.DataFrame,
    *,
    missing: int = 0,
    ties: Literal["half", "wrong"] = "half",
    level: float = 0.95,
    names: tuple[str, str] = ("a", "b"),
) -> dict[str, Any]:
    """The ``overopt.eval_rm/1`` object.

    Parameters
    ----------
    pairs : DataFrame
        ``a`` and ``b`` (scores) and ``label`` (string; without it A is the better answer of every pair); if there are:
        ``pair`` (string, unique), ``by`` (string), ``len_a`` and ``len_b`` (lengths in any one unit), ``prompt``
        (string; pairs of one prompt are not independent).
    missing : int
        Rows that were dropped before, passed through.
    ties : "half" or "wrong"
        What two equal scores count.
    names : (str, str)
        What the columns of A and B are called in the file. If one says ``chosen`` and the other ``rejected``, these two
        words are labels as well.

    Raises
    ------
    DataError
        If a label is none of ``LABELS``, or a pair occurs twice.
    """
    label = _labels(pairs, names) if "label" in pairs.columns else np.ones(pairs.height)
    if "pair" in pairs.columns and pairs["pair"].is_duplicated().any():
        twice = pairs["pair"].filter(pairs["pair"].is_duplicated())[0]
        raise DataError(f"the pair {twice!r} occurs {int((pairs['pair'] == twice).sum())} times; a pair is one row")
    margin = (pairs["a"] - pairs["b"]).to_numpy()
    if not np.isfinite(margin).all():
        raise DataError("the difference of two scores overflows; divide all scores by one large number")
    prompt = pairs["prompt"].to_numpy() if "prompt" in pairs.columns else None
    found = pair_accuracy(margin, label, level=level, ties=ties, prompt=prompt)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "pairs": found.pairs,
        "accuracy": found.accuracy,
        "accuracy_ci": [found.low, found.high],
        "ties": found.ties,
        "ties_count": ties,
        "missing": missing,
        "level": level,
        "longer_is_better": None,
        "length_bias": None,
        "by": {},
        "worst": None,
    }
    if "len_a" in pairs.columns:
        difference = (pairs["len_a"] - pairs["len_b"]).to_numpy()
        report["longer_is_better"] = longer_is_better(difference, label, prompt=prompt, level=level).accuracy
        if (difference != 0).any():
            bias = length_bias(margin, label, difference, prompt=prompt, level=level)
            report["length_bias"] = {
                "proxy_prefers_longer": bias.proxy_prefers_longer.accuracy,
                "label_prefers_longer": bias.label_prefers_longer.accuracy,
                "accuracy_if_longer_is_right": bias.accuracy_if_longer_is_right.accuracy,
                "accuracy_if_shorter_is_right": bias.accuracy_if_shorter_is_right.accuracy,
                "gap": bias.gap.value,
                "gap_ci": bias.gap_ci,
                "equal_length": bias.equal_length,
            }
    if "by" in pairs.columns:
        categories = accuracy_by_category(margin, label, pairs["by"].to_list(), prompt=prompt, level=level, ties=ties)
        report["by"] = {
            name: {"pairs": one.pairs, "accuracy": one.accuracy, "ci": [one.low, one.high], "ties": one.ties}
            for name, one in categories.by
        }
        worst = categories.worst_simultaneous
        report["worst"] = {"category": categories.worst, "accuracy": worst.accuracy, "ci": [worst.low, worst.high]}
    converted = plain(report)
    assert isinstance(converted, dict)
    return converted


def _labels(pairs: pl.DataFrame, names: tuple[str, str]) -> FloatArray:
    """1 where A is better, 0 where B is."""
    meaning = LABELS | _roles(names)
    words = pairs["label"].str.to_lowercase().str.replace_all(r"\s", "")
    is_unknown = ~words.is_in(list(meaning))
    if is_unknown.any():
        first = pairs["label"][int(is_unknown.arg_true()[0])]
        hint = ""
        if set(words.filter(is_unknown)) <= {CHOSEN, REJECTED}:
            hint = (
                "; chosen and rejected are labels only where the names of the two score columns say which is which; if "
                "every row has its scores as chosen and rejected, use --chosen COL --rejected COL"
            )
        raise DataError(
            f"{int(is_unknown.sum())} of {pairs.height} labels are neither A or B, A>B or B>A, nor 1 or 0; the first "
            f"is {first!r}{hint}"
        )
    found: FloatArray = words.replace_strict(meaning, return_dtype=pl.Float64).to_numpy()
    return found


def _roles(names: tuple[str, str]) -> dict[str, float]:
    """What the labels chosen and rejected mean, if the names of the columns say it."""
    says_chosen, says_rejected = ([word in name.lower() for name in names] for word in (CHOSEN, REJECTED))
    if says_chosen == [True, False] and says_rejected == [False, True]:
        return {CHOSEN: 1.0, REJECTED: 0.0}
    if says_chosen == [False, True] and says_rejected == [True, False]:
        return {CHOSEN: 0.0, REJECTED: 1.0}
    return {}
