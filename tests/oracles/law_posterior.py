"""Slow reference for the posterior of a law: one joint Gaussian of everything, conditioned on the points.

Shares no code with the package: the laws, the departure (as an integral, by quadrature) and the orthant probability
are written again from their definitions.
"""

import math
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr


def law(name, d, alpha, beta):
    return d * (alpha - beta * (d if name == "bon" else math.log(d)))


def departure_covariance(s, t, end):
    """Twice-integrated white noise from 0, variance 1 at ``end``."""
    value, _ = quad(lambda x: (s - x) * (t - x), 0, min(s, t), epsabs=0, epsrel=1e-12)
    return 3 * value / end**3


def posterior(name, d, gold, errors, prior_mean, prior_covariance, size, d_new):
    """Mean and covariance of (alpha, beta, gold at d_new...), and the log density of the points."""
    end = max(d)
    places = [*d_new, *d]
    design = np.array([[law(name, x, 1, 0), law(name, x, 0, 1)] for x in places])
    departure = np.array([[departure_covariance(s, t, end) for t in places] for s in places])
    states = np.vstack([np.eye(2), design])
    joint = states @ np.asarray(prior_covariance) @ states.T
    joint[2:, 2:] += size**2 * departure
    n_new = 2 + len(d_new)
    joint[n_new:, n_new:] += errors
    mean = states @ np.asarray(prior_mean)
    pull = np.linalg.solve(joint[n_new:, n_new:], joint[n_new:, :n_new]).T
    surprise = np.asarray(gold) - mean[n_new:]
    _, log_determinant = np.linalg.slogdet(joint[n_new:, n_new:])
    misfit = surprise @ np.linalg.solve(joint[n_new:, n_new:], surprise)
    return (
        mean[:n_new] + pull @ surprise,
        joint[:n_new, :n_new] - pull @ joint[n_new:, :n_new],
        -0.5 * (misfit + log_determinant),
    )


def turn_probability(name, mean, covariance, d):
    """P(beta > 0 and the slope at d is negative) by integrating over beta."""
    h = 2 * d if name == "bon" else 1 + math.log(d)
    sd = math.sqrt(covariance[1][1])
    lever = covariance[0][1] / covariance[1][1]
    rest = math.sqrt(covariance[0][0] - lever * covariance[0][1])

    def density(z):
        beta = mean[1] + sd * z
        alpha = mean[0] + lever * sd * z
        return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) * float(ndtr((beta * h - alpha) / rest))

    low = -mean[1] / sd
    # Finely near beta = 0, where the slope's sign changes fast when d is large.
    near = [low + step for step in 10.0 ** np.arange(-9, 0)]
    edges = sorted([max(low, -12.0), *[x for x in [*near, *np.linspace(-12, 12, 49)] if x > max(low, -12.0)]])
    return sum(quad(density, a, b, epsabs=1e-13)[0] for a, b in pairwise(edges))
