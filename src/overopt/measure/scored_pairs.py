"""Accuracy of a reward model from a table of scored pairs, for ``overopt eval-rm scores``."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
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
BLANK = "(blank)"
"""The category of pairs that name none."""
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
        (string; pairs of one prompt are not independent). A pair may lack any of these four and counts all the same:
        it has no name to check, belongs to the category ``(blank)``, plays no part in what lengths say, or stands for
        a prompt of its own.
    missing : int
        Rows that were dropped before, passed through.
    ties : "half" or "wrong"
        What two equal scores count.
    names : (str, str)
        What the columns of A and B are called in the file. If one says ``chosen`` and the other ``rejected``, these two
        words are labels as well.

    Returns
    -------
    dict
        ``blank`` counts the pairs that lack each of the columns ``pair``, ``by``, ``length`` and ``prompt``, of those
        that there are.

    Raises
    ------
    DataError
        If a label is none of ``LABELS``, or a pair occurs twice.
    """
    label = _labels(pairs, names) if "label" in pairs.columns else np.ones(pairs.height)
    if "pair" in pairs.columns and (named := pairs["pair"].drop_nulls()).is_duplicated().any():
        twice = named.filter(named.is_duplicated())[0]
        raise DataError(f"the pair {twice!r} occurs {int((named == twice).sum())} times; a pair is one row")
    margin = (pairs["a"] - pairs["b"]).to_numpy()
    if not np.isfinite(margin).all():
        raise DataError("the difference of two scores overflows; divide all scores by one large number")
    prompt = _prompts(pairs["prompt"]) if "prompt" in pairs.columns else None
    found = pair_accuracy(margin, label, level=level, ties=ties, prompt=prompt)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "pairs": found.pairs,
        "accuracy": found.accuracy,
        "accuracy_ci": [found.low, found.high],
        "ties": found.ties,
        "ties_count": ties,
        "missing": missing,
        "blank": _blank(pairs),
        "level": level,
        "longer_is_better": None,
        "length_bias": None,
        "by": {},
        "worst": None,
    }
    if "len_a" in pairs.columns:
        lengths = pairs["len_a"] - pairs["len_b"]
        has_length = lengths.is_not_null().to_numpy()
        difference = lengths.drop_nulls().to_numpy()
        own_prompt = None if prompt is None else prompt[has_length]
        own_label = label[has_length]
        if difference.size:
            found_rule = longer_is_better(difference, own_label, prompt=own_prompt, level=level)
            report["longer_is_better"] = found_rule.accuracy
        if (difference != 0).any():
            bias = length_bias(margin[has_length], own_label, difference, prompt=own_prompt, level=level)
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
        names_of_pairs = pairs["by"].fill_null(BLANK).to_list()
        categories = accuracy_by_category(margin, label, names_of_pairs, prompt=prompt, level=level, ties=ties)
        report["by"] = {
            name: {"pairs": one.pairs, "accuracy": one.accuracy, "ci": [one.low, one.high], "ties": one.ties}
            for name, one in categories.by
        }
        worst = categories.worst_simultaneous
        report["worst"] = {"category": categories.worst, "accuracy": worst.accuracy, "ci": [worst.low, worst.high]}
    converted = plain(report)
    assert isinstance(converted, dict)
    return converted


def _prompts(names: pl.Series) -> npt.NDArray[np.int64]:
    """A number for each prompt; pairs without a prompt are prompts of their own."""
    is_blank = names.is_null().to_numpy()
    numbers = np.unique(names.fill_null("").to_numpy(), return_inverse=True)[1].astype(np.int64)
    return np.where(is_blank, -1 - np.arange(len(names)), numbers)


def _blank(pairs: pl.DataFrame) -> dict[str, int]:
    """How many pairs lack each column that a pair may lack."""
    found: dict[str, int] = {
        name: pairs[name].null_count() for name in ("pair", "by", "prompt") if name in pairs.columns
    }
    if "len_a" in pairs.columns:
        found["length"] = int((pairs["len_a"].is_null() | pairs["len_b"].is_null()).sum())
    return found


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
