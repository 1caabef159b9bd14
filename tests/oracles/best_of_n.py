"""Best-of-n by listing every subset, and with exact fractions."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import comb, log


def weights(pool: int, n: int) -> list[Fraction]:
    """C(i-1, n-1) / C(N, n) for i = 1..N, exactly."""
    return [Fraction(comb(rank - 1, n - 1), comb(pool, n)) for rank in range(1, pool + 1)]


def expected_value(proxy: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean over every size-n subset of the value of its best by proxy, a fair draw among its tied best."""
    subsets = list(combinations(range(len(proxy)), n))
    total = Fraction(0)
    for subset in subsets:
        best = max(proxy[i] for i in subset)
        winners = [Fraction(values[i]) for i in subset if proxy[i] == best]
        total += sum(winners) / len(winners)
    return float(total / len(subsets))


def kl(probabilities: Sequence[float], n: int) -> float:
    """KL of best-of-n to a base with these probabilities of answers, listed from worst to best, all distinct."""
    total, below = 0.0, 0.0
    for probability in probabilities:
        chosen = (below + probability) ** n - below**n
        total += chosen * log(chosen / probability)
        below += probability
    return total
