"""Verdicts on logs of training runs: step, proxy and gold, and a forecast of the peak where the KL is known."""

import math
from typing import Any

import numpy as np
import polars as pl

from overopt.measure.plain import plain
from overopt.stats.diagnosis import diagnose_run
from overopt.stats.estimate import FloatArray
from overopt.stats.forecast import forecast_peak

SCHEMA = "overopt.diagnose/1"
_FORECAST = (
    "status", "law", "d_now", "d_max", "p_turned", "p_turn_by_d_max", "p_no_turn", "p_falling", "d_median", "d_ci",
    "gold_median", "gold_ci", "regret_now", "regret_at_d_max", "best_d",
)  # fmt: skip


def run_logs_report(
    log: pl.DataFrame, *, missing: int = 0, baseline: float | None = None, level: float = 0.95
) -> dict[str, Any]:
    """The ``overopt.diagnose/1`` object.

    Parameters
    ----------
    log : DataFrame
        ``step``, ``proxy``, ``gold``, finite floats; ``group`` (string) and ``kl`` (nats) if there are. Rows of one
        step are averaged; where every step has several, their spread gives the error of each point.
    missing : int
        Rows that were dropped before, passed through.
    baseline : float, optional
        Gold at KL 0, for the forecast. Without it: gold where KL is 0, or else there is no forecast.

    Returns
    -------
    dict
        ``forecast`` is null without KL, and is that of the RL law.
    """
    report = plain(
        {
            "schema": SCHEMA,
            "missing": missing,
            "level": level,
            "groups": [_run(name, rows, baseline, level) for name, rows in _runs(log)],
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


def _run(group: str | None, rows: pl.DataFrame, baseline: float | None, level: float) -> dict[str, Any]:
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
        "forecast": _forecast(steps, errors.get("gold_se"), found.noise_sd, baseline),
    }


def _forecast(
    steps: pl.DataFrame, gold_se: FloatArray | None, noise_sd: float, baseline: float | None
) -> dict[str, Any] | None:
    if "kl" not in steps.columns:
        return None
    kl, gold = steps["kl"].to_numpy(), steps["gold"].to_numpy()
    if baseline is None:
        if not (kl == 0).any():
            return None
        baseline = float(gold[kl == 0].mean())
    is_used = kl > 0
    gold = gold[is_used] - baseline
    if gold.size == 0 or not np.abs(gold).max() > 0:
        return None
    # Even a smooth curve is not known to more than a thousandth of its size.
    least = 1e-3 * float(np.abs(gold).max())
    errors = gold_se[is_used] if gold_se is not None else np.full(gold.size, noise_sd if noise_sd > 0 else least)
    if not np.isfinite(errors).all():
        return None
    forecast = forecast_peak(np.sqrt(kl[is_used]), gold, np.maximum(errors, least), law="rl")
    found = {name: getattr(forecast, name) for name in _FORECAST}
    return found | {"kl_median": forecast.d_median**2 if math.isfinite(forecast.d_median) else math.nan}
