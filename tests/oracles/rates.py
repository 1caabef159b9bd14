"""Rates by definition: exact binomial sums in rational arithmetic, and tables one by one. Slow; small counts only."""

from fractions import Fraction
from math import comb


def binomial_tail(successes, trials, probability):
    """P(at least ``successes``) as an exact fraction."""
    p = Fraction(probability)
    return sum(comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(successes, trials + 1))


def clopper_pearson(successes, trials, tail, steps=60):
    """Ends where the exact tail probabilities equal ``tail``, by bisection."""
    low = 0.0 if successes == 0 else _bisect(lambda p: binomial_tail(successes, trials, p) < tail, steps)
    high = 1.0
    if successes < trials:
        high = _bisect(lambda p: 1 - binomial_tail(successes + 1, trials, p) > tail, steps)
    return low, high


def mcnemar(only_first, only_second):
    """Two-sided exact and mid-p: the probability of splits of the discordant items as uneven as this one."""
    n = only_first + only_second
    gap = abs(only_first - only_second)
    exact = sum(Fraction(comb(n, i), 2**n) for i in range(n + 1) if abs(n - 2 * i) >= gap)
    observed = sum(Fraction(comb(n, i), 2**n) for i in range(n + 1) if abs(n - 2 * i) == gap)
    return float(exact), float(exact - observed / 2)


def fisher(k1, n1, k2, n2):
    """Two-sided exact and mid-p: tables with these margins that are less likely, and as likely."""
    m = k1 + k2
    weight = {i: comb(n1, i) * comb(n2, m - i) for i in range(m + 1)}
    total = sum(weight.values())
    less = sum(w for w in weight.values() if w < weight[k1])
    same = sum(w for w in weight.values() if w == weight[k1])
    return (less + same) / total, (less + same / 2) / total


def score_interval_of_difference(only_first, only_second, n, z, grid):
    """Differences on a grid whose score statistic stays within z, the nuisance share maximised by golden section."""
    from math import log

    kept = []
    for delta in grid:
        low, high = max(0.0, -delta), (1 - delta) / 2

        def likelihood(share, delta=delta):
            terms = (
                (only_first, share + delta),
                (only_second, share),
                (n - only_first - only_second, 1 - 2 * share - delta),
            )
            return sum(k * log(p) if p > 0 else (-1e300 if k else 0.0) for k, p in terms)

        for _ in range(40):
            left, right = low + 0.382 * (high - low), low + 0.618 * (high - low)
            low, high = (low, right) if likelihood(left) > likelihood(right) else (left, high)
        share = (low + high) / 2
        variance = n * (2 * share + delta - delta**2)
        if (only_first - only_second - n * delta) ** 2 <= z**2 * variance:
            kept.append(delta)
    return kept[0], kept[-1]


def _bisect(is_below, steps):
    low, high = Fraction(0), Fraction(1)
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
        # Keeps denominators short.
        low, high = Fraction(float(low)), Fraction(float(high))
    return float(low)
