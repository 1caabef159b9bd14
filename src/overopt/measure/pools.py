"""Score tables as matrices: P prompts by N samples, always in the order of prompt and sample numbers."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from overopt.errors import DataError
from overopt.stats.estimate import FloatArray

IntArray = npt.NDArray[np.int64]


class Pool(NamedTuple):
    """Columns of a sample table, each (P, N), and the prompts (P,) they belong to."""

    prompt_ids: IntArray
    columns: dict[str, FloatArray]


def as_matrices(table: pl.DataFrame, columns: list[str]) -> Pool:
    """The named columns as (P, N) float64 matrices.

    Raises
    ------
    DataError
        If a sample occurs twice, or prompts do not have the same number of samples.
    """
    ordered = table.select("prompt_id", "sample_id", *columns).sort("prompt_id", "sample_id")
    ids = ordered["prompt_id"].to_numpy()
    prompts, counts = np.unique(ids, return_counts=True)
    if len(set(counts.tolist())) > 1:
        raise DataError(f"prompts have between {counts.min()} and {counts.max()} samples; expected the same number")
    if ordered.select("prompt_id", "sample_id").is_duplicated().any():
        raise DataError("a sample of the pool occurs twice: prompt and sample number must name one row")
    shape = (len(prompts), int(counts[0]) if len(counts) else 0)
    return Pool(
        prompt_ids=prompts.astype(np.int64),
        columns={name: ordered[name].cast(pl.Float64).to_numpy().reshape(shape) for name in columns},
    )


def mean_by_prompt(table: pl.DataFrame, column: str, prompt_ids: IntArray) -> FloatArray:
    """Mean of a column over each prompt's rows, (P,) in the order of ``prompt_ids``.

    Raises
    ------
    DataError
        If the table has other prompts than these.
    """
    means = table.group_by("prompt_id").agg(pl.col(column).cast(pl.Float64).mean()).sort("prompt_id")
    if means["prompt_id"].to_list() != prompt_ids.tolist():
        raise DataError("two tables of a study do not hold the same prompts; one of them belongs to another run")
    return means[column].to_numpy()
