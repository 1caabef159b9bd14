"""Variety across the replies of a measurement: how many different words they share, how many are the same.

Axes: R runs, P prompts. Numbers that are no means over prompts; their intervals leave out prompts in turn.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from overopt.measure.text_features import expected_types, identical_share, ngrams
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import IntArray
from overopt.studies.claims import Interval
from overopt.studies.gao2022.leaving_out import without_prompts

VARIETY = {
    "distinct_1": "different words across replies, share",
    "distinct_2": "different word pairs across replies, share",
    "identical": "replies that another prompt got too, share",
}
BEFORE = "before"
PEAK, END = "at gold's peak", "at the end"
Number = tuple[float | None, Interval]
Texts = list[list[list[list[list[str]]]]]
"""Words of replies: R × 3 stages × P × replies; as many replies at each stage."""


class _Encoded(NamedTuple):
    """All n-grams of one stage of one run as numbers, and the prompt of each."""

    grams: IntArray
    prompts: IntArray


def variety_of(texts: Texts, seed: int) -> dict[tuple[str, str], Number]:
    """(stage, measure) → change since the base policy, mean over runs, and the base policy's own."""
    n_prompts = len(texts[0][0])
    coded = {n: [[_encoded(stage, n) for stage in run] for run in texts] for n in (1, 2)}
    # Half of the smallest stage, so that enough is there when prompts are left out.
    drawn = {n: min(stage.grams.size for run in coded[n] for stage in run) // 2 for n in coded}

    def measures(rows: IntArray) -> FloatArray:
        kept = np.zeros(n_prompts, dtype=np.bool_)
        kept[rows] = True
        values = np.empty((len(texts), 3, len(VARIETY)))
        for r, run in enumerate(texts):
            for k, stage in enumerate(run):
                for n in (1, 2):
                    one = coded[n][r][k]
                    counts = np.unique(one.grams[kept[one.prompts]], return_counts=True)[1]
                    values[r, k, n - 1] = expected_types(counts, drawn[n]) / drawn[n] if drawn[n] else math.nan
                replies = [(words, row) for row in rows.tolist() for words in stage[row]]
                values[r, k, 2] = identical_share([words for words, _ in replies], [row for _, row in replies])
        mean = values.mean(axis=0)
        return np.concatenate([mean[0], mean[1] - mean[0], mean[2] - mean[0]])

    numbers = without_prompts(measures, n_prompts, stream(seed, "texts", "variety"))
    keys = [(stage, name) for stage in (BEFORE, PEAK, END) for name in VARIETY]
    numbered = dict(zip(keys, numbers, strict=True))
    for stage in (PEAK, END):
        if numbered[BEFORE, "identical"][0] == 0 and numbered[stage, "identical"] == (0.0, (0.0, 0.0)):
            # None among the prompts is no proof of none: the rule of three bounds a share that was never seen.
            rare = min(3 / n_prompts, 1.0)
            numbered[stage, "identical"] = (0.0, (-rare, rare))
    return numbered


def _encoded(stage: Sequence[Sequence[Sequence[str]]], n: int) -> _Encoded:
    known: dict[tuple[str, ...], int] = {}
    grams, prompts = [], []
    for row, replies in enumerate(stage):
        for words in replies:
            for gram in ngrams(words, n):
                grams.append(known.setdefault(gram, len(known)))
                prompts.append(row)
    return _Encoded(np.array(grams, dtype=np.int64), np.array(prompts, dtype=np.int64))
