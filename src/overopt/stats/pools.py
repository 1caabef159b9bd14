"""Pools: the scored samples of every prompt, in one rectangle or ragged, ranked by the proxy, with their ties.

Axes: P prompts, N samples of one prompt, R samples of all prompts, K values of n. A ragged pool is flat: each prompt's
samples lie together and ``sizes`` counts them. Prompts of one size are worked on together, in blocks of about a million
scores, so that neither memory nor the number of array operations grows with the number of prompts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_same_shape, float_array, integers_in
from overopt.stats.estimate import BoolArray, FloatArray

IntArray = npt.NDArray[np.intp]

# Scores sorted at once: keeps the work arrays near the processor's cache, whatever the number of prompts.
_BLOCK_SCORES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some prompts whose pools have one size; B of them."""

    prompts: slice | IntArray
    """Which prompts, as an index into arrays with the axis P."""
    columns: tuple[FloatArray, ...]
    """(B, N) each, in the order of ``Pools.columns``; a view where the samples lie together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedBlock:
    """Some prompts whose pools have one size, each prompt's samples in ascending order of the proxy."""

    prompts: slice | IntArray
    proxy: FloatArray
    """(B, N), ascending along N."""
    equals_previous: BoolArray
    """(B, N), true where a score equals the one before it in its row."""
    values: tuple[FloatArray, ...]
    """(B, N) each, in the proxy's order; equal proxy scores are in no particular order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The scores of all samples, by prompt. The first column is the proxy."""

    columns: tuple[FloatArray, ...]
    """(R,) each; columns given as one object stay one object, so that no work is done twice."""
    sizes: IntArray
    """(P,), at least 1 each."""

    @classmethod
    def of(
        cls,
        proxy: npt.ArrayLike,
        values: Sequence[npt.ArrayLike] = (),
        sizes: npt.ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
    ) -> "Pools":
        """Check and flatten: (P, N) arrays, or (R,) arrays with ``sizes``. ``names`` of the values are for errors."""
        axes = "PN" if sizes is None else "R"
        proxy_array = float_array("proxy", proxy, axes)
        arrays = [proxy_array]
        for name, column in zip(names or ["values"] * len(values), values, strict=True):
            array = proxy_array if column is proxy else float_array(name, column, axes)
            check_same_shape("proxy", proxy_array, name, array)
            arrays.append(array)
        if proxy_array.size == 0:
            raise DataError(f"best-of-n needs at least one prompt with one sample; got the shape {proxy_array.shape}")
        if sizes is None:
            counts = np.full(proxy_array.shape[0], proxy_array.shape[1], dtype=np.intp)
        else:
            counts = _checked_sizes(sizes, proxy_array.size)
        flat = {id(array): np.ascontiguousarray(array).reshape(-1) for array in arrays}
        return cls(columns=tuple(flat[id(array)] for array in arrays), sizes=counts)

    @property
    def n_prompts(self) -> int:
        return int(self.sizes.size)

    @property
    def smallest(self) -> int:
        return int(self.sizes.min())

    def checked_ns(self, ns: Sequence[int], *, spare: int = 0) -> list[int]:
        """``ns`` as integers that every pool can serve with ``spare`` samples left over."""
        high = self.smallest - spare
        if self.sizes.max() == self.smallest:
            return integers_in("ns", ns, 1, high)
        integers = integers_in("ns", ns, 1, np.iinfo(np.int64).max)
        largest = max(integers)
        if largest > high:
            n_short = int((self.sizes < largest + spare).sum())
            needed = f"{largest} samples" if spare == 0 else f"{largest} + {spare} samples"
            raise ConfigError(
                f"n = {largest} needs {needed} of each prompt, and {n_short} of {self.n_prompts} prompts have fewer, "
                f"the smallest pool {self.smallest}; lower n to at most {high} or leave those prompts out"
            )
        return integers

    def blocks(self) -> Iterator[Block]:
        """All prompts, grouped by size, ascending; D sizes need at least D(D+1)/2 samples, so groups are few."""
        starts = np.cumsum(self.sizes) - self.sizes
        by_size = np.argsort(self.sizes, kind="stable")
        first_of_size = np.flatnonzero(np.diff(self.sizes[by_size], prepend=0))
        for prompts in np.split(by_size, first_of_size[1:]):
            size = int(self.sizes[prompts[0]])
            step = max(1, _BLOCK_SCORES // size)
            for low in range(0, prompts.size, step):
                rows = prompts[low : low + step]
                if rows[-1] - rows[0] == rows.size - 1:  # rows ascend, so their samples are one stretch
                    begin, end = int(starts[rows[0]]), int(starts[rows[-1]]) + size
                    views = {id(c): c[begin:end].reshape(-1, size) for c in self.columns}
                    prompts_index: slice | IntArray = slice(int(rows[0]), int(rows[-1]) + 1)
                else:
                    index = starts[rows][:, None] + np.arange(size)
                    views = {id(c): c.take(index) for c in self.columns}
                    prompts_index = rows
                yield Block(prompts=prompts_index, columns=tuple(views[id(c)] for c in self.columns))

    def ranked(self) -> Iterator[RankedBlock]:
        """The blocks with each prompt's samples sorted by the proxy: one sort for all columns."""
        only_proxy = all(column is self.columns[0] for column in self.columns)
        for block in self.blocks():
            proxy, *values = block.columns
            if only_proxy:
                ranked_proxy, order = np.sort(proxy, axis=1), None
            else:
                order = np.argsort(proxy, axis=1)
                order += np.arange(0, proxy.size, proxy.shape[1])[:, None]
                ranked_proxy = proxy.take(order)
            ranked = {id(proxy): ranked_proxy}
            for column in values:
                if order is not None and id(column) not in ranked:
                    ranked[id(column)] = column.take(order)
            yield RankedBlock(
                prompts=block.prompts,
                proxy=ranked_proxy,
                equals_previous=equals_previous(ranked_proxy),
                values=tuple(ranked[id(column)] for column in values),
            )


def best_of_n_weights(pool: int, n: int) -> FloatArray:
    """Probability that the sample of each ascending rank is the best of ``n`` drawn from ``pool`` without return.

    Parameters
    ----------
    pool, n : int
        Samples per prompt N and samples the selector sees, 1 <= n <= N.

    Returns
    -------
    (N,) float64
        Entry i - 1 is C(i-1, n-1) / C(N, n), zero below rank n; they sum to 1.

    Notes
    -----
    Nakano et al. 2021 (arXiv:2112.09332), app. I. Computed downwards from the top rank, whose weight is n / N, by
    the ratio (i - n) / (i - 1) of neighbours: the relative error at N = 10^6 stays below 1e-14, below 1e-11 where
    numpy's long double is no longer than a double; differences of log-gamma values lose more digits. Weights too small
    for a float become 0.

    >>> best_of_n_weights(4, 2) * 6
    array([0., 1., 2., 3.])
    """
    return weight_matrix(pool, integers_in("n", [n], 1, pool))[:, 0]


def weight_matrix(pool: int, ns: Sequence[int]) -> FloatArray:
    """``best_of_n_weights`` of several n as the columns of one (N, K) array; every n within 1..N."""
    weights_NK = np.empty((pool, len(ns)))
    # The ratios round in one direction over long stretches, so a million of them are multiplied in extended precision.
    ranks = np.arange(pool, 1, -1, dtype=np.longdouble)
    ratios = np.empty(pool, dtype=np.longdouble)
    for k, n in enumerate(ns):
        ratios[0] = np.longdouble(n) / pool
        np.maximum(ranks - n, 0, out=ratios[1:])
        ratios[1:] /= ranks - 1
        weights_NK[::-1, k] = np.cumprod(ratios)
    return weights_NK


def equals_previous(ranked_PN: FloatArray) -> BoolArray:
    """True where a sorted score equals the one before it in its row."""
    equals = np.zeros(ranked_PN.shape, dtype=np.bool_)
    np.equal(ranked_PN[:, 1:], ranked_PN[:, :-1], out=equals[:, 1:])
    return equals


def tie_groups(equals_previous_PN: BoolArray) -> tuple[IntArray, IntArray]:
    """Flat index of the first member and the size of each group of equal scores; groups end with their row."""
    first = np.flatnonzero(~equals_previous_PN)
    return first, np.diff(first, append=equals_previous_PN.size)


def average_within_ties(ranked_PN: FloatArray, equals_previous_PN: BoolArray) -> None:
    """Replace the values of each tie group by their mean, in place; rows without ties are not touched."""
    rows = np.flatnonzero(equals_previous_PN.any(axis=1))
    if rows.size == 0:
        return
    first, sizes = tie_groups(equals_previous_PN[rows])
    tied = ranked_PN[rows]
    means = np.add.reduceat(tied.ravel(), first) / sizes
    ranked_PN[rows] = np.repeat(means, sizes).reshape(tied.shape)


def _checked_sizes(sizes: npt.ArrayLike, n_samples: int) -> IntArray:
    counts = np.asarray(sizes)
    if counts.ndim != 1 or counts.size == 0:
        raise ShapeError(f"sizes must have the shape (P,) with at least one prompt; got {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer):
        raise ConfigError(f"sizes must be integers, the number of samples of each prompt; got {counts.dtype}")
    empty = np.flatnonzero(counts < 1)
    if empty.size:
        raise DataError(f"{empty.size} prompts have no samples, the first at index {empty[0]}; leave them out")
    if counts.sum() != n_samples:
        raise ShapeError(f"sizes must sum to the number of samples, {n_samples}; got {counts.sum()}")
    return counts.astype(np.intp)
