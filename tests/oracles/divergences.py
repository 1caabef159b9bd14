"""A tabular autoregressive model, all of whose responses can be listed; divergences by summing over the list.

Plain Python floats and dictionaries. Token 0 ends a response; responses have at most ``length`` tokens.
"""

import math


def random_model(rng, vocabulary, length):
    """Next-token probabilities after every prefix that has not ended: {prefix: [p, ...]}."""
    table = {}
    prefixes = [()]
    for _ in range(length):
        for prefix in prefixes:
            weights = [math.exp(rng.gauss(0, 1)) for _ in range(vocabulary)]
            table[prefix] = [w / sum(weights) for w in weights]
        prefixes = [(*prefix, token) for prefix in prefixes for token in range(1, vocabulary)]
    return table


def responses(table, length):
    """Every response with its probability: [(tokens, p), ...]; p sums to 1."""
    found, open_ = [], [((), 1.0)]
    for _ in range(length):
        grown = []
        for prefix, p in open_:
            for token, q in enumerate(table[prefix]):
                (found if token == 0 else grown).append(((*prefix, token), p * q))
        open_ = grown
    return found + open_


def probability(table, tokens):
    p = 1.0
    for i, token in enumerate(tokens):
        p *= table[tokens[:i]][token]
    return p


def kl(first, second, length):
    """KL(first || second) of whole responses."""
    return sum(p * math.log(p / probability(second, y)) for y, p in responses(first, length) if p > 0)


def chi_square(first, second, length):
    return sum(p * p / probability(second, y) for y, p in responses(first, length)) - 1


def squared_hellinger(first, second, length):
    """Half the squared distance of the roots."""
    return 0.5 * sum((math.sqrt(p) - math.sqrt(probability(second, y))) ** 2 for y, p in responses(first, length))


def entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def kept_by_sampler(probabilities, temperature, top_p, top_k):
    """The distribution that temperature, then top-k, then top-p leave; no ties among the probabilities."""
    weights = [p ** (1 / temperature) for p in probabilities]
    ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
    kept = ranked[: top_k or len(ranked)]
    total, nucleus, mass = sum(weights[i] for i in kept), [], 0.0
    for i in kept:
        nucleus.append(i)
        mass += weights[i] / total
        if mass >= top_p:
            break
    mass = sum(weights[i] for i in nucleus)
    return [weights[i] / mass if i in nucleus else 0.0 for i in range(len(weights))]
