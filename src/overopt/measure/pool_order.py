"""An order of prompts that depends on their scores alone, so that no result depends on names or on the file's order.

Axes: P prompts, R samples of all prompts, those of a prompt together.
"""

import numpy as np
import numpy.typing as npt

from overopt.measure.pools import IntArray
from overopt.stats.estimate import FloatArray


def order_by_scores(proxy: FloatArray, gold: FloatArray, sizes: IntArray) -> tuple[IntArray, IntArray]:
    """The prompts (P,) in an order that their scores (R,) decide, and the rows (R,) in that order of prompts.

    Prompts are sorted by a hash of their gold scores, and of both scores where these are the same; the order of a
    prompt's samples plays no part in either. Prompts that agree in both hashes hold the same samples.

    >>> proxy, gold, sizes = np.array([1.0, 2.0, 5.0]), np.array([3.0, 4.0, 6.0]), np.array([2, 1])
    >>> order_by_scores(proxy, gold, sizes)[0].tolist() != order_by_scores(
    ...     proxy[[2, 0, 1]], gold[[2, 0, 1]], sizes[::-1])[0].tolist()
    True
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    gold_bits = _mixed(_bits(gold))
    both_bits = _mixed(gold_bits ^ (_bits(proxy) * np.uint64(0x9E3779B97F4A7C15)))
    gold_key, both_key = (np.add.reduceat(bits, starts) for bits in (gold_bits, both_bits))
    order = np.lexsort((both_key, gold_key, sizes))
    lengths = sizes[order]
    within = np.arange(len(gold)) - np.repeat(np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return order, np.repeat(starts[order], lengths) + within


def _bits(scores: FloatArray) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(scores + 0.0).view(np.uint64)  # -0 becomes 0


def _mixed(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit of the input moves half of the output's."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
