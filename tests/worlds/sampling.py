"""Monte Carlo beside the truth of a world."""

import numpy as np


def best_of_first(proxy, values):
    """Values of each row's highest proxy; rows are exchangeable, so the first of equals is a random one."""
    return values[np.arange(len(values)), proxy.argmax(axis=1)]


def z_score(values, truth):
    """How many standard errors the mean of independent values lies from the truth."""
    return (values.mean() - truth) / (values.std(ddof=1) / np.sqrt(values.size))
