"""A continuous piecewise-linear regression over the samples of many prompts, refitted for any bootstrap draw of them.

Axes: P prompts, N samples of one prompt, K knots, D draws. Each prompt keeps its own normal equations, so a draw of
prompts is a weighted sum of them and one small solve.
"""

import numpy as np

from overopt.stats.estimate import BoolArray, FloatArray

# Samples beyond the outermost inner knot; the counts double from there to the middle. Fewer would cost more in variance
# than they gain in fit.
_TAIL_COUNT = 32
# Pulls the slopes of neighbouring segments together where a bootstrap draw left a segment without samples; small enough
# to change no fit that the samples determine.
_SMOOTHING = 1e-8
# Of the range of x: equal scores of two prompts differ by a rounding error once they are centred.
_ROUNDING = 1e-9


class PiecewiseLinear:
    """Least-squares fit of y on x, both (P, N), x not constant; knots at pooled quantiles, denser towards both ends."""

    def __init__(self, x_PN: FloatArray, y_PN: FloatArray) -> None:
        self.knots = _knots(x_PN)
        """(K,) ascending; the outer ones are the range of x."""
        n_prompts, size = x_PN.shape[0], self.knots.size
        self._squares = (x_PN * x_PN).sum(axis=1)
        self._gram = np.empty((n_prompts, size, size))
        self._moment = np.empty((n_prompts, size))
        for p in range(n_prompts):  # one prompt at a time: the hats of a large pool would not fit in memory
            hats_NK = self._hats(x_PN[p])
            self._gram[p] = hats_NK.T @ hats_NK
            self._moment[p] = hats_NK.T @ y_PN[p]
        # Squared changes of slope, in units of a sample: lines are free, so the residuals keep their zero mean.
        gaps = np.diff(self.knots)
        bends = np.zeros((size - 2, size))
        for i in range(size - 2):
            bends[i, i : i + 3] = 1 / gaps[i], -1 / gaps[i] - 1 / gaps[i + 1], 1 / gaps[i + 1]
            bends[i] *= min(gaps[i], gaps[i + 1])
        self._penalty = _SMOOTHING * x_PN.size * (bends.T @ bends)

    def reaches(self, x: FloatArray) -> BoolArray:
        """Whether each entry lies within the range of the samples that were fitted."""
        slack = _ROUNDING * (self.knots[-1] - self.knots[0])
        return np.asarray((x >= self.knots[0] - slack) & (x <= self.knots[-1] + slack))

    def mean_hats(self, x_PM: FloatArray) -> FloatArray:
        """Mean weight of each knot in the interpolation at a prompt's points, (P, K), points out of reach weighing 0.

        Its product with ``coefficients`` is the prompt's mean prediction.
        """
        return np.stack([self._hats(x_M).mean(axis=0) for x_M in x_PM])

    def coefficients(self, counts_DP: FloatArray) -> FloatArray:
        """Fitted y at the knots for each draw of prompts, (D, K); nan where x is constant in all prompts drawn."""
        n_prompts, size = self._moment.shape
        varies = counts_DP @ self._squares > 0
        gram = (counts_DP[varies] @ self._gram.reshape(n_prompts, size * size)).reshape(-1, size, size)
        found = np.full((counts_DP.shape[0], size), np.nan)
        found[varies] = np.linalg.solve(gram + self._penalty, (counts_DP[varies] @ self._moment)[..., None])[..., 0]
        return found

    def _hats(self, x_N: FloatArray) -> FloatArray:
        left = np.clip(np.searchsorted(self.knots, x_N, side="right") - 1, 0, self.knots.size - 2)
        share = (x_N - self.knots[left]) / (self.knots[left + 1] - self.knots[left])
        is_inside = self.reaches(x_N)
        hats = np.zeros((x_N.size, self.knots.size))
        rows = np.arange(x_N.size)
        hats[rows, left] = np.where(is_inside, 1 - share, 0.0)
        hats[rows, left + 1] = np.where(is_inside, share, 0.0)
        return hats


def _knots(x_PN: FloatArray) -> FloatArray:
    """Ends of the pooled values and quantiles that leave 32, 64, 128, ... of them beyond; ascending and apart."""
    ranked = np.sort(x_PN.ravel())
    doublings = int(np.log2(max(ranked.size / (2 * _TAIL_COUNT), 1)))
    counts = _TAIL_COUNT * 2 ** np.arange(doublings + 1)
    counts = counts[counts < ranked.size / 2]
    knots = np.unique(ranked[np.concatenate(([0], counts, [ranked.size // 2], -1 - counts, [-1]))])
    slack = _ROUNDING * (knots[-1] - knots[0])
    # Of knots that are one up to rounding the first stays; at the upper end the last does.
    is_apart = (np.diff(knots)[:-1] > slack) & (knots[-1] - knots[1:-1] > slack)
    return np.concatenate((knots[:1], knots[1:-1][is_apart], knots[-1:]))
