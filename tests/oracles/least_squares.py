"""Weighted least squares of a law by numpy's general solver on the plain design matrix."""

from collections.abc import Sequence

import numpy as np

Numbers = Sequence[float]

BENDS = {
    "bon": lambda d: -d * d,
    "rl": lambda d: -d * np.log(d),
    "rl1p": lambda d: -d * np.log(1 + d),
}
"""The column that beta multiplies; alpha's is d."""


def law_coefficients(law: str, d: Numbers, gold: Numbers, weights: Numbers) -> tuple[float, float]:
    """alpha and beta of one curve."""
    alpha, betas = shared_coefficients(law, [d], [gold], [weights])
    return alpha, betas[0]


def shared_coefficients(
    law: str, d: Sequence[Numbers], gold: Sequence[Numbers], weights: Sequence[Numbers]
) -> tuple[float, list[float]]:
    """alpha of all curves and beta of each: a row for each point, a column for alpha and one for each beta."""
    rows, targets = [], []
    for g, (distances, golds, sizes) in enumerate(zip(d, gold, weights, strict=True)):
        for distance, value, size in zip(distances, golds, sizes, strict=True):
            row = np.zeros(1 + len(d))
            row[0], row[1 + g] = distance, BENDS[law](distance)
            rows.append(np.sqrt(size) * row)
            targets.append(np.sqrt(size) * value)
    alpha, *betas = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    return float(alpha), [float(beta) for beta in betas]
