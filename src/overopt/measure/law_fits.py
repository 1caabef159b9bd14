"""Laws of other people's curves: one table of KL and gold, fitted group by group, for ``overopt fit``."""

from typing import Any, Literal

import numpy as np
import polars as pl

from overopt.measure.plain import plain
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import Fit, fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.laws import LAWS, Law

SCHEMA = "overopt.fit/1"


def law_fits_report(
    points: pl.DataFrame,
    *,
    missing: int = 0,
    law: Literal["bon", "rl", "auto"] = "auto",
    share: Literal["alpha", "none"] = "none",
    baseline: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``overopt.fit/1`` object.

    Parameters
    ----------
    points : DataFrame
        ``kl`` (nats) and ``gold``, finite floats, one row a point; ``group`` (string) and ``gold_se`` if there are.
    missing : int
        Rows that were dropped before, passed through.
    law : "bon", "rl" or "auto"
        ``auto`` takes the one with the smaller AICc, group by group, or of all groups together with a shared alpha.
    share : "alpha" or "none"
        Whether all groups get one alpha.
    baseline : float, optional
        Gold at KL 0. Without it: the mean gold of a group's rows with KL 0 exactly, or else 0.

    Returns
    -------
    dict
        Each group also says its ``baseline`` and ``left_out``, the rows with a negative KL, which a sampled estimate
        can be and a distance cannot.
    """
    groups = {name: _curve(rows, baseline) for name, rows in _groups(points)}
    shared = None
    if share == "alpha":
        fits, shared = _shared_fits(groups, law, level, seed)
    else:
        fits = [_fit(name, curve, law, level, seed) for name, curve in groups.items()]
    report = plain(
        {
            "schema": SCHEMA,
            "missing": missing,
            "level": level,
            "groups": [
                fit.to_dict() | {"baseline": curve["baseline"], "left_out": curve["left_out"]}
                for fit, curve in zip(fits, groups.values(), strict=True)
            ],
            "shared": shared,
        }
    )
    assert isinstance(report, dict)
    return report


def points_of(points: pl.DataFrame, report: dict[str, Any]) -> list[dict[str, Any]]:
    """``group``, ``d`` and ``gold`` (less the baseline) of every point with a KL of at least 0, for a picture."""
    baselines = {group["group"]: group["baseline"] for group in report["groups"]}
    return [
        {"group": name, "d": float(np.sqrt(kl)), "gold": gold - baselines[name]}
        for name, rows in _groups(points)
        for kl, gold in zip(rows["kl"], rows["gold"], strict=True)
        if kl >= 0
    ]


def _groups(points: pl.DataFrame) -> list[tuple[str | None, pl.DataFrame]]:
    if "group" not in points.columns:
        return [(None, points)]
    return [(str(rows["group"][0]), rows) for rows in points.partition_by("group", maintain_order=True)]


def _curve(rows: pl.DataFrame, baseline: float | None) -> dict[str, Any]:
    kl, gold = rows["kl"].to_numpy(), rows["gold"].to_numpy()
    if baseline is None:
        baseline = float(gold[kl == 0].mean()) if (kl == 0).any() else 0.0
    return {
        "kl": kl,
        "gold": gold - baseline,
        "se": rows["gold_se"].to_numpy() if "gold_se" in rows.columns else None,
        "baseline": baseline,
        "left_out": int((kl < 0).sum()),
    }


def _fit(group: str | None, curve: dict[str, Any], law: Literal["bon", "rl", "auto"], level: float, seed: int) -> Fit:
    def fitted(name: Law) -> Fit:
        rng = stream(seed, "fit", name, group or "")
        return fit_law(name, curve["kl"], curve["gold"], gold_se=curve["se"], rng=rng, group=group, level=level)

    return fitted(law) if law != "auto" else min((fitted(name) for name in LAWS), key=_badness)


def _badness(fit: Fit) -> tuple[float, float]:
    """Smaller is better: AICc where it is known, else what is left unexplained."""
    return (fit.aicc if np.isfinite(fit.aicc) else 0.0, -fit.r2 if np.isfinite(fit.r2) else 0.0)


def _shared_fits(
    groups: dict[str | None, dict[str, Any]], law: Literal["bon", "rl", "auto"], level: float, seed: int
) -> tuple[list[Fit], dict[str, Any]]:
    names = list(groups)
    kl: list[FloatArray] = [curve["kl"] for curve in groups.values()]
    gold: list[FloatArray] = [curve["gold"] for curve in groups.values()]
    errors = [curve["se"] for curve in groups.values()]
    tried = [
        fit_shared_alpha(
            name, kl, gold,
            gold_se=None if errors[0] is None else errors, groups=names, rng=stream(seed, "fit", name), level=level,
        )
        for name in (LAWS if law == "auto" else (law,))
    ]  # fmt: skip
    best = min(tried, key=lambda found: found.aicc if np.isfinite(found.aicc) else 0.0)
    shared = {
        "law": best.law,
        "alpha": best.alpha,
        "alpha_ci": best.alpha_ci,
        "r2": best.r2,
        "aicc": best.aicc,
        "separate_aicc": best.separate_aicc,
    }
    return list(best.fits), shared
