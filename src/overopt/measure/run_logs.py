"""Verdicts on logs of training runs: step, proxy and gold, and a forecast of the peak where the KL is known."""

from typing import Any

import polars as pl

from overopt.measure.groups import groups_without_points
from overopt.measure.law_fits import check_baseline
from overopt.measure.plain import plain
from overopt.measure.run_forecast import run_forecast
from overopt.stats.diagnosis import diagnose_run
from overopt.stats.estimate import FloatArray

SCHEMA = "overopt.diagnose/1"


def run_logs_report(
    log: pl.DataFrame,
    *,
    missing: int = 0,
    incomplete: pl.DataFrame | None = None,
    baseline: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``overopt.diagnose/1`` object.

    Parameters
    ----------
    log : DataFrame
        ``step``, ``proxy``, ``gold``, finite floats; ``group`` (string) and ``kl`` (nats) if there are. Rows of one
        step are averaged; where every step has several, their spread gives the error of each point.
    missing : int
        Rows that were dropped before, passed through.
    incomplete : DataFrame, optional
        Those rows: a run that has no others is reported as ``undetermined`` with 0 points.
    baseline : float, optional
        Gold at KL 0, for the forecast. Without it: gold where KL is 0, whose error then counts, or else there is no
        forecast.
    seed : int
        Of the fit that the forecast is judged by.

    Returns
    -------
    dict
        ``averaged`` of a run says how many rows became its points, null where each is a point;
        ``forecast`` is null without KL, and is that of the RL law; ``run_forecast`` explains it.
    """
    check_baseline(baseline)
    runs = _runs(log)
    without_points = groups_without_points(incomplete, [name for name, _ in runs])
    report = plain(
        {
            "schema": SCHEMA,
            "missing": missing,
            "level": level,
            "groups": [
                *(_run(name, rows, baseline, level, seed) for name, rows in runs),
                *map(_run_without_points, without_points),
            ],
        }
    )
    assert isinstance(report, dict)
    return report


def points_of(log: pl.DataFrame) -> list[dict[str, Any]]:
    """``group``, ``step``, ``gold`` and ``proxy`` of every step, for a picture."""
    return [
        {"group": name, **row}
        for name, rows in _runs(log)
        for row in averaged_by_step(rows).select("step", "gold", "proxy").to_dicts()
    ]


def averaged_by_step(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a step, in order: means, and standard errors ``gold_se`` and ``proxy_se``, null for a single row."""
    names = [name for name in ("proxy", "gold", "kl") if name in rows.columns]
    return (
        rows.group_by("step")
        .agg(
            *(pl.col(name).mean() for name in names),
            *((pl.col(name).std() / pl.len().sqrt()).alias(f"{name}_se") for name in ("proxy", "gold")),
        )
        .sort("step")
    )


def _runs(log: pl.DataFrame) -> list[tuple[str | None, pl.DataFrame]]:
    if "group" not in log.columns:
        return [(None, log)]
    return [(str(rows["group"][0]), rows) for rows in log.partition_by("group", maintain_order=True)]


def _run(group: str | None, rows: pl.DataFrame, baseline: float | None, level: float, seed: int) -> dict[str, Any]:
    steps = averaged_by_step(rows)
    step, proxy, gold = (steps[name].to_numpy() for name in ("step", "proxy", "gold"))
    errors: dict[str, FloatArray] = {}
    if not steps["gold_se"].is_null().any() and not steps["proxy_se"].is_null().any():
        errors = {name: steps[name].to_numpy() for name in ("gold_se", "proxy_se")}
    found = diagnose_run(proxy, gold, gold_se=errors.get("gold_se"), proxy_se=errors.get("proxy_se"), level=level)
    return {
        "group": group,
        "verdict": found.verdict,
        "points": found.points,
        "averaged": rows.height if rows.height > found.points else None,
        "gold_peak": {
            "step": step[found.peak_index],
            "gold": found.gold_peak,
            "proxy": found.proxy_at_peak,
        },
        "gold_final": found.gold_final,
        "proxy_final": found.proxy_final,
        "drop": found.drop,
        "threshold": found.threshold,
        "noise_sd": found.noise_sd,
        "proxy_threshold": found.proxy_threshold,
        "rule": found.rule,
        "forecast": None
        if "kl" not in steps.columns
        else run_forecast(steps, errors.get("gold_se"), found.noise_sd, baseline, level=level, seed=seed),
    }


def _run_without_points(group: str) -> dict[str, Any]:
    unknown = ("gold_final", "proxy_final", "drop", "threshold", "noise_sd", "proxy_threshold", "forecast")
    return {
        "group": group,
        "verdict": "undetermined",
        "points": 0,
        "averaged": None,
        "gold_peak": dict.fromkeys(("step", "gold", "proxy")),
        "rule": "no row has step, proxy and gold",
        **dict.fromkeys(unknown),
    }
