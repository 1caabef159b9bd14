"""Weighted least squares of a law by numpy's general solver on the plain design matrix."""

from collections.abc import Sequence

import numpy as np


def law_coefficients(
    law: str, d: Sequence[float], gold: Sequence[float], weights: Sequence[float]
) -> tuple[float, float]:
    """alpha and beta of R = alpha d - beta d^2 ("bon") or alpha d - beta d ln d ("rl")."""
    distance = np.asarray(d, dtype=float)
    second = -(distance**2) if law == "bon" else -distance * np.log(distance)
    root = np.sqrt(np.asarray(weights, dtype=float))
    design = np.stack([distance, second], axis=1) * root[:, None]
    alpha, beta = np.linalg.lstsq(design, np.asarray(gold, dtype=float) * root, rcond=None)[0]
    return float(alpha), float(beta)
