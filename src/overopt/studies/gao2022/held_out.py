"""What proxies say of held-out pairs, pair by pair, so that two proxies can be compared on the same pairs.

Axes: B pairs, in the order of their numbers.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from overopt.stats.calibration import Recalibration
from overopt.stats.estimate import FloatArray
from overopt.stats.ranking import pair_credit
from overopt.studies.study_tables import ProxyTable, StudyTables


class Pairs(NamedTuple):
    """Differences of held-out pairs, chosen minus rejected by gold; (B,) each."""

    margin: FloatArray
    """Of the proxy, raw."""
    gold_margin: FloatArray
    """Raw."""


def held_out_pairs(tables: StudyTables, proxy: ProxyTable) -> Pairs:
    """The held-out pairs that the proxy scored."""
    held_out = tables.preferences.filter(pl.col("held_out")).select("pair_id", "gold_chosen", "gold_rejected")
    joined = proxy.pair_scores.join(held_out, on="pair_id", how="inner").sort("pair_id")
    return Pairs(
        margin=(joined["score_chosen"] - joined["score_rejected"]).to_numpy(),
        gold_margin=(joined["gold_chosen"] - joined["gold_rejected"]).to_numpy(),
    )


def pair_losses(tables: StudyTables, proxy: ProxyTable) -> FloatArray:
    """Bradley-Terry loss of each pair with gold's own label, nats; its mean is ``proxy.loss``."""
    return np.asarray(np.logaddexp(0.0, -held_out_pairs(tables, proxy).margin))


def pair_hits(tables: StudyTables, proxy: ProxyTable) -> FloatArray:
    """1 where the proxy prefers what gold prefers, a half where it does not care."""
    margin = held_out_pairs(tables, proxy).margin
    return pair_credit(margin, np.ones(margin.size), "half")


def soft_labels(gold_margin: FloatArray, gold: Recalibration) -> FloatArray:
    """Probability that the chosen reply is the better one: sigmoid of gold's difference in its standard deviations."""
    return np.asarray(1 / (1 + np.exp(-gold_margin / gold.scale)))
