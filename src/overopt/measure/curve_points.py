"""The points behind fitted laws, for a picture: distance and gold over the baseline, group by group."""

import math
from typing import Any

import polars as pl


def curve_points(points: pl.DataFrame, report: dict[str, Any]) -> list[dict[str, Any]]:
    """``group``, ``d``, ``gold`` (less its group's baseline) and ``gold_se`` of every point with a KL of at least 0.

    Parameters
    ----------
    points : DataFrame
        ``kl`` and ``gold``, and ``group`` and ``gold_se`` if there are; one row a point.
    report : dict
        The ``overopt.fit/1`` object made from them. ``gold_se`` is ``None`` without that column.
    """
    baselines = {fit["group"]: fit.get("baseline") or 0.0 for fit in report["groups"]}
    return [
        {
            "group": row.get("group"),
            "d": math.sqrt(row["kl"]),
            "gold": row["gold"] - baselines[row.get("group")],
            "gold_se": row.get("gold_se"),
        }
        for row in points.to_dicts()
        if row["kl"] >= 0
    ]
