"""Which replies of a pool are fitted, and how much each weighs: by the rank of its score, ties sharing evenly.

Axes: P prompts, N replies to each, B replies that are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overopt.protocols import Reply
from overopt.stats.estimate import FloatArray
from overopt.stats.pools import average_within_ties, equals_previous


@dataclass(frozen=True, slots=True)
class Kept:
    """What a round fits: each different reply once, with its weight."""

    replies: list[Reply]
    weight_B: FloatArray
    """Those of one prompt sum to 1."""


def selection_weights(score_PN: FloatArray, rank_weight_N: FloatArray) -> FloatArray:
    """Weight (P, N) of each reply in its pool: that of its rank; equal scores share theirs evenly.

    >>> selection_weights(np.array([[3.0, 1.0, 3.0, 2.0]]), np.array([0.0, 0.0, 0.0, 1.0]))
    array([[0.5, 0. , 0.5, 0. ]])
    """
    order_PN = score_PN.argsort(axis=1, kind="stable")
    ranked_PN = np.tile(rank_weight_N, (len(score_PN), 1))
    average_within_ties(ranked_PN, equals_previous(np.take_along_axis(score_PN, order_PN, axis=1)))
    weight_PN = np.empty_like(ranked_PN)
    np.put_along_axis(weight_PN, order_PN, ranked_PN, axis=1)
    return weight_PN


def keep_best(replies: Sequence[Reply], score_B: FloatArray, rank_weight_N: FloatArray) -> Kept:
    """The replies that weigh something; equal ones to a prompt are one reply with the sum of their weights."""
    weight_B = selection_weights(score_B.reshape(-1, len(rank_weight_N)), rank_weight_N).ravel()
    places: dict[tuple[int, ...], int] = {}
    kept: list[Reply] = []
    weights: list[float] = []
    for reply, weight in zip(replies, weight_B.tolist(), strict=True):
        if weight == 0:
            continue
        place = places.setdefault((reply.prompt, *reply.token_ids), len(kept))
        if place == len(kept):
            kept.append(reply)
            weights.append(0.0)
        weights[place] += weight
    return Kept(kept, np.array(weights))
