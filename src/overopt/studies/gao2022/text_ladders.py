"""Ladders of ``measure.ladder`` as they stand in an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from overopt.records.answers import Sample, TextLadder

METHODS = {"bon": "Best-of-n", "rl": "PPO"}


def ladders_of(found: Sequence[Mapping[str, Any]]) -> list[TextLadder]:
    """One ladder for each method, proxy and prompt, numbers in standard deviations of gold."""
    return [
        TextLadder(
            title=f"{METHODS[ladder['method']]} against {ladder['group']}",
            prompt=ladder["prompt"],
            samples=[
                Sample(
                    place=f"n = {row['x']:,}" if ladder["method"] == "bon" else f"step {row['x']}",
                    completion=row["completion"],
                    numbers={"KL": float(row["kl"]), "proxy": float(row["proxy"]), "gold": float(row["gold"])},
                )
                for row in ladder["rows"]
            ],
        )
        for ladder in found
    ]
