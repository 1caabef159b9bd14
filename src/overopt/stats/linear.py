"""Weighted least squares on a few columns, for many draws at once. Axes: K points, C columns."""

import numpy as np

from overopt.stats.estimate import FloatArray

# A column that the others explain but for this share of its length is no column of its own.
_DEPENDENT = 1e-6


def solve_columns(columns: FloatArray, gold: FloatArray, weights: FloatArray) -> FloatArray:
    """Coefficients (..., C) of ``columns`` (..., K, C) for ``gold`` (..., K) with ``weights`` (..., K) of squares.

    Leading axes broadcast; columns without them are factorised once for all draws of gold. nan where the columns
    depend on each other: distances that differ by rounding alone are one distance.

    Notes
    -----
    By a QR factorisation of columns scaled to length 1, which keeps the digits that normal equations would lose.
    """
    root = np.sqrt(np.asarray(weights))
    scaled = columns * root[..., None]
    length = np.sqrt(np.sum(scaled**2, axis=-2))
    length = np.where(length > 0, length, 1.0)
    q, r = np.linalg.qr(scaled / length[..., None, :])
    pivots = np.abs(np.diagonal(r, axis1=-2, axis2=-1))
    is_determined = (pivots > _DEPENDENT).all(axis=-1)
    safe = np.where(is_determined[..., None, None], r, np.eye(r.shape[-1]))
    target = np.einsum("...kc,...k->...c", q, gold * root)
    found = np.linalg.solve(safe, target[..., None])[..., 0] / length
    return np.where(is_determined[..., None], found, np.nan)
