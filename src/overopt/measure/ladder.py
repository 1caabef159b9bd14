"""What the replies look like under pressure: the same prompts at growing n and along RL.

The prompts shown are chosen before any result is seen: the ``SHOWN`` with the lowest numbers, of an order that was
drawn at random.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from overopt.measure.pools import IntArray
from overopt.records.tables import GOLD_PARTS
from overopt.stats.bon import kl_bound
from overopt.stats.calibration import Recalibration
from overopt.stats.estimate import FloatArray

SHOWN = 4


def best_of_n_ladder(
    pool: pl.DataFrame,
    scores: Mapping[str, FloatArray],
    gold_map: Recalibration,
    prompt_ids: IntArray,
    ns: Sequence[int],
) -> list[dict[str, Any]]:
    """For each proxy and shown prompt: the reply that the proxy likes best among the first 1, 4, 16 … drawn."""
    steps = [n for k, n in enumerate(ns) if k % 2 == 0 or n == ns[-1]]
    ladder = []
    ordered = pool.sort("prompt_id", "sample_id")
    for group, matrix in scores.items():
        for row, prompt_id in enumerate(prompt_ids[:SHOWN].tolist()):
            replies = ordered.filter(pl.col("prompt_id") == prompt_id)
            rows = []
            for n in steps:
                best = int(np.argmax(matrix[row, :n]))
                reply = replies.row(best, named=True)
                rows.append({"x": n, "kl": float(kl_bound(n)), **_shown(reply, float(matrix[row, best]), gold_map)})
            ladder.append(
                {"prompt_id": prompt_id, "prompt": replies["prompt"][0], "method": "bon", "group": group, "rows": rows}
            )
    return ladder


def rl_ladder(
    runs: Mapping[str, pl.DataFrame], maps: Mapping[str, Recalibration], gold_map: Recalibration, prompt_ids: IntArray
) -> list[dict[str, Any]]:
    """For each run and shown prompt: the first reply at about eight of the measured steps."""
    ladder = []
    for group, table in runs.items():
        numbers = np.array(sorted(table["step"].unique().to_list()))
        chosen = np.unique(np.linspace(0, len(numbers) - 1, 8).round().astype(int))
        firsts = table.filter((pl.col("sample_id") == 0) & pl.col("step").is_in(numbers[chosen].tolist()))
        kls = dict(table.group_by("step").agg(pl.col("kl").mean()).iter_rows())
        for prompt_id in prompt_ids[:SHOWN].tolist():
            replies = firsts.filter(pl.col("prompt_id") == prompt_id).sort("step")
            rows = [
                {
                    "x": reply["step"],
                    "kl": kls[reply["step"]],
                    **_shown(reply, float(maps[group].apply([reply["proxy"]])[0]), gold_map),
                }
                for reply in replies.iter_rows(named=True)
            ]
            ladder.append(
                {"prompt_id": prompt_id, "prompt": replies["prompt"][0], "method": "rl", "group": group, "rows": rows}
            )
    return ladder


def _shown(reply: dict[str, Any], proxy: float, gold_map: Recalibration) -> dict[str, Any]:
    """A reply with its scores in units of gold's sd on the base policy; the parts in the rubric's own."""
    return {
        "completion": reply["completion"],
        "finished": reply["finished"],
        "proxy": proxy,
        "gold": float(gold_map.apply([reply["gold"]])[0]),
        "parts": {part: reply[column] for part, column in GOLD_PARTS.items() if column in reply},
    }
