"""Best-of-n by listing every subset, and with exact fractions."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, product
from math import comb, log, prod


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
        total += chosen * log(chosen / probability) if chosen > 0 else 0.0
        below += probability
    return total


def win_rate(proxy: Sequence[float], gold: Sequence[float], n: int) -> float:
    """Chance that the best of a size-n subset beats one sample outside it in gold, over every subset and opponent.

    A fair draw among the subset's tied best; equal gold is half a win.
    """
    total, cases = Fraction(0), 0
    for subset in combinations(range(len(proxy)), n):
        best = max(proxy[i] for i in subset)
        winners = [i for i in subset if proxy[i] == best]
        for opponent in set(range(len(proxy))) - set(subset):
            wins = [Fraction((gold[i] > gold[opponent]) * 2 + (gold[i] == gold[opponent]), 2) for i in winners]
            total += sum(wins) / len(winners)
            cases += 1
    return float(total / cases)


def discrete_kl(probabilities: Sequence[Fraction], scores: Sequence[float], n: int) -> float:
    """KL of best-of-n to the base by listing every sequence of n answers, a fair draw among its tied best."""
    chosen = [Fraction(0)] * len(probabilities)
    for draw in product(range(len(probabilities)), repeat=n):
        chance = prod(probabilities[i] for i in draw)
        best = max(scores[i] for i in draw)
        winners = [i for i in draw if scores[i] == best]
        for i in winners:
            chosen[i] += chance / len(winners)
    return sum(float(q) * log(q / p) for q, p in zip(chosen, probabilities, strict=True) if q > 0)


def kl_of_winners(probabilities: Sequence[float], n: int) -> float:
    """What the estimator of arXiv:2401.01879 is on average; answers listed from worst to best, all distinct."""
    total, below = 0.0, 0.0
    for eps in probabilities:
        chosen = (below + eps) ** n - below**n
        missed = (1 - eps) ** n
        total += chosen * (missed * (log(n) - (n - 1) / n) + (1 - missed) * log((1 - missed) / eps))
        below += eps
    return total
