"""Which n the pools of a score table allow."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from overopt.errors import ConfigError
from overopt.measure.pools import IntArray

MAX_SHORT_SHARE = 0.05
"""Of prompts that the default grid of n may leave out because their pools are short."""
MIN_GAIN = 2
"""How many times larger the largest n must become for that: one more power of two."""


def smallest_pool_of_default_grid(sizes: IntArray) -> int:
    """Samples that a prompt needs to be kept where no n is asked for.

    The largest n is that of the smallest pool, so one prompt with one sample would reduce any table to n = 1. The
    shortest pools, at most 5 % of the prompts, are left out if that at least doubles the largest n; where they cost
    less, all prompts stay, since those with missing samples need not be like the others.

    >>> smallest_pool_of_default_grid(np.array([64] * 29 + [1]))
    64
    >>> smallest_pool_of_default_grid(np.array([64] * 29 + [40]))
    40
    """
    in_order = np.sort(sizes)
    candidate = int(in_order[int(MAX_SHORT_SHARE * in_order.size)])
    return candidate if candidate >= MIN_GAIN * in_order[0] else int(in_order[0])


def check_largest_n(scores: pl.DataFrame, ns: Sequence[int], min_samples: int) -> None:
    """Refuse an n beyond the smallest pool that is kept, and say what leaving out the small pools would cost.

    ``scores`` has one row a sample and the column ``prompt``; prompts with fewer than ``min_samples`` are not kept.

    Raises
    ------
    ConfigError
        If an n is too large.
    """
    sizes = scores.group_by("prompt").len()["len"]
    kept = sizes.filter(sizes >= min_samples)
    n = max(ns)
    if kept.is_empty() or n <= int(kept.to_numpy().min()):
        return
    smallest, largest = int(kept.to_numpy().min()), int(kept.to_numpy().max())
    if largest < n:
        raise ConfigError(f"--n {n:,} needs prompts of as many samples; the largest pool holds {largest:,}")
    short = int((kept < n).sum())
    raise ConfigError(
        f"--n {n:,} is more than the {smallest:,} samples of the smallest pool; --min-samples {n} would leave out "
        f"{short:,} of {len(kept):,} prompts"
    )
