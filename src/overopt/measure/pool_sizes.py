"""Which n the pools of a score table allow."""

from collections.abc import Sequence

import polars as pl

from overopt.errors import ConfigError


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
