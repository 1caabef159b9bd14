"""Laws of other people's curves: one table of KL and gold, fitted group by group, for ``overopt fit``."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from overopt.errors import ConfigError
from overopt.measure.groups import groups_without_points
from overopt.measure.plain import plain
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import Baseline, Fit, fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.laws import LAWS, Law

SCHEMA = "overopt.fit/1"
MAX_BASELINE = 1e100


def law_fits_report(
    points: pl.DataFrame,
    *,
    missing: int = 0,
    incomplete: pl.DataFrame | None = None,
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
        ``kl`` (nats) and ``gold``, finite floats, one row a point; ``group`` (string) and ``gold_se`` if there are. A
        point may lack ``gold_se``: it is left out where others of its group have it.
    missing : int
        Rows that were dropped before, passed through.
    incomplete : DataFrame, optional
        Those rows: a group that has no others is reported with ``too_few_points``.
    law : "bon", "rl" or "auto"
        ``auto`` takes the one with the smaller AICc, group by group, or of all groups together with a shared alpha.
    share : "alpha" or "none"
        Whether all groups get one alpha.
    baseline : float, optional
        Gold at KL 0, exactly. Without it a group's rows with KL 0 are points with an error like the others, and gold
        at KL 0 is fitted (unless one of them has a standard error of 0); without such rows it is 0, exactly.

    Returns
    -------
    dict
        Each group also says its ``baseline`` with ``baseline_se`` (0: exact), ``left_out``, the rows with a negative
        KL, which a sampled estimate can be and a distance cannot, and ``without_se``, those left out because they alone
        lack ``gold_se``. ``shared`` says whether one alpha is ``tenable``.
    """
    check_baseline(baseline)
    groups = {name: curve_of(rows, baseline) for name, rows in _groups(points)}
    for name in groups_without_points(incomplete, groups):
        groups[name] = curve_of(points.clear(), baseline)
    shared = None
    if share == "alpha":
        fits, shared = _shared_fits(groups, law, level, seed)
    else:
        fits = [fit_curve_of(curve, law, group=name, level=level, seed=seed) for name, curve in groups.items()]
    report = plain(
        {
            "schema": SCHEMA,
            "missing": missing,
            "level": level,
            "groups": [
                fit.to_dict()
                | {
                    "baseline": curve.start + fit.baseline,
                    "left_out": curve.left_out,
                    "without_se": curve.without_se,
                }
                for fit, curve in zip(fits, groups.values(), strict=True)
            ],
            "shared": shared,
        }
    )
    assert isinstance(report, dict)
    return report


def check_baseline(baseline: float | None) -> None:
    """Refuse a gold at KL 0 that cannot be one: not finite, or beyond the numbers that files may hold.

    Raises
    ------
    ConfigError
        If it is.
    """
    if baseline is not None and not abs(baseline) <= MAX_BASELINE:
        raise ConfigError(f"--baseline must be a number of at most {MAX_BASELINE:g} in size; got {baseline:g}")


def _groups(points: pl.DataFrame) -> list[tuple[str | None, pl.DataFrame]]:
    if "group" not in points.columns:
        return [(None, points)]
    return [(str(rows["group"][0]), rows) for rows in points.partition_by("group", maintain_order=True)]


class FileCurve(NamedTuple):
    """One group's points as ``fit_law`` takes them."""

    kl: FloatArray
    gold: FloatArray
    """Less ``start``."""
    se: FloatArray | None
    start: float
    """The exact baseline; 0 where it is fitted."""
    baseline: Baseline
    left_out: int
    without_se: int


def curve_of(rows: pl.DataFrame, baseline: float | None) -> FileCurve:
    """The points of one group: ``kl``, ``gold`` and, if there is one, ``gold_se``."""
    without_se = 0
    if "gold_se" in rows.columns:
        without_se = rows["gold_se"].null_count()
        if without_se == rows.height:
            rows, without_se = rows.with_columns(gold_se=pl.lit(math.nan, dtype=pl.Float64)), 0
        rows = rows.filter(pl.col("gold_se").is_not_null())
    kl, gold = rows["kl"].to_numpy(), rows["gold"].to_numpy()
    se = rows["gold_se"].to_numpy() if "gold_se" in rows.columns else None
    is_start = kl == 0
    is_exact = is_start & (se == 0) if se is not None else np.zeros(kl.size, dtype=np.bool_)
    kind: Baseline = "exact"
    if baseline is None and is_exact.any():
        baseline = float(gold[is_exact].mean())
    elif baseline is None and is_start.any():
        kind = "fitted"
    start = 0.0 if baseline is None else baseline
    return FileCurve(
        kl=kl, gold=gold - start, se=se, start=start, baseline=kind, left_out=int((kl < 0).sum()), without_se=without_se
    )


def fit_curve_of(
    curve: FileCurve, law: Literal["bon", "rl", "auto"], *, group: str | None, level: float, seed: int
) -> Fit:
    """The law of one group; with ``auto`` the one with the smaller AICc."""

    def fitted(name: Law) -> Fit:
        rng = stream(seed, "fit", name, group or "")
        return fit_law(
            name, curve.kl, curve.gold, gold_se=curve.se, baseline=curve.baseline, rng=rng, group=group, level=level
        )  # fmt: skip

    return fitted(law) if law != "auto" else min((fitted(name) for name in LAWS), key=_badness)


def _badness(fit: Fit) -> tuple[float, float]:
    """Smaller is better: AICc where it is known, else what is left unexplained."""
    return (fit.aicc if np.isfinite(fit.aicc) else 0.0, -fit.r2 if np.isfinite(fit.r2) else 0.0)


def _shared_fits(
    groups: dict[str | None, FileCurve], law: Literal["bon", "rl", "auto"], level: float, seed: int
) -> tuple[list[Fit], dict[str, Any]]:
    curves = list(groups.values())
    errors = [curve.se for curve in curves if curve.se is not None]
    tried = [
        fit_shared_alpha(
            name,
            [curve.kl for curve in curves],
            [curve.gold for curve in curves],
            gold_se=errors or None,
            baselines=[curve.baseline for curve in curves],
            groups=list(groups),
            rng=stream(seed, "fit", name),
            level=level,
        )
        for name in (LAWS if law == "auto" else (law,))
    ]
    best = min(tried, key=lambda found: found.aicc if np.isfinite(found.aicc) else 0.0)
    shared = {
        "law": best.law,
        "alpha": best.alpha,
        "alpha_ci": best.alpha_ci,
        "r2": best.r2,
        "aicc": best.aicc,
        "aicc_separate": best.separate_aicc,
        "separate_aicc": best.separate_aicc,
        "p_value": best.p_value,
        "tenable": best.tenable,
    }
    return list(best.fits), shared
