"""Coefficients of fitted laws as the claims use them: which fits feed a trend, and gold where selection is strongest.

A trend over fits whose status is ``ok`` alone would be biased: ``unidentified`` is a fit whose peak lies beyond the
data, so leaving it out keeps large betas and drops small ones. And a curve known to a percent is a ``poor_fit`` though
its law explains nearly all of it; such misfit is scatter about a trend. Only fits that explain little are left out, and
are counted. Axes: S training seeds, P prompts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from overopt.stats.bon import best_of_n_curve
from overopt.stats.estimate import FloatArray
from overopt.stats.lack_of_fit import CERTAIN_P
from overopt.stats.laws import law_value
from overopt.studies.study_tables import StudyTables

MIN_R2 = 0.9
"""What a law must explain of a curve that certainly leaves it, for its coefficients to feed a trend."""


def is_usable(fit: Mapping[str, Any]) -> bool:
    """Whether the coefficients of a fit's record may feed a trend."""
    if fit["status"] == "too_few_points" or any(not _is_number(fit[name]) for name in ("alpha", "beta")):
        return False
    if fit["status"] != "poor_fit":
        return True
    return _is_number(fit["r2"]) and fit["r2"] >= MIN_R2 and _is_number(fit["chance"]) and fit["chance"] < CERTAIN_P


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def left_out(fits: Iterable[Mapping[str, Any]]) -> str:
    """How many fits are not used, in words; empty if all are.

    >>> left_out([{"status": "poor_fit", "alpha": 1.0, "beta": 1.0, "r2": 0.4, "chance": 0.2}])
    '1 of 1 fits left out, since their law explains little of the curve'
    """
    known = list(fits)
    missing = sum(not is_usable(fit) for fit in known)
    return f"{missing} of {len(known)} fits left out, since their law explains little of the curve" if missing else ""


def fitted_maximum(record: Mapping[str, Any]) -> float | None:
    """Largest gold of the fitted best-of-n law over the measured distances: at its peak or at an end of the curve."""
    fit = record["fit"]
    if not is_usable(fit):
        return None
    d = math.sqrt(record["curve"][-1]["kl_bound"])
    peak = fit["peak"]
    if peak is not None and 0 < peak["d"] < d and fit["beta"] > 0:
        return float(peak["gold"])
    return max(0.0, float(law_value("bon", np.array(d), fit["alpha"], fit["beta"])))


def gold_gains(tables: StudyTables, names: Sequence[str], n: int | None = None) -> FloatArray:
    """Gold of the best of ``n`` over the base policy (S, P), one row a proxy; of the whole pool unless given."""
    gold = tables.gold()
    of = gold.shape[1] if n is None else n
    return np.stack([best_of_n_curve(tables.scores(name), gold, [of])[:, 0] - gold.mean(axis=1) for name in names])


def largest_n(tables: StudyTables) -> int:
    """Replies of a prompt in the main pool."""
    return int(tables.gold().shape[1])
