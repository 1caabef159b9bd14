"""A test that gold has turned which stays valid however often one looks and whenever one stops.

Evidence is an e-process: a number that starts at 1 or less, whose chance of ever reaching 1 / level is at most level
while gold has not fallen (Ville's inequality; Waudby-Smith & Ramdas 2024, arXiv:2010.09686; Ramdas & Wang 2024,
arXiv:2410.23614). Repeating an ordinary test at each checkpoint has no such bound. U units (prompts), K checkpoints.

Two designs. The same held-out prompts at each checkpoint: ``turn_test``. New prompts at each checkpoint, answered by
the present policy and by the candidate peak: ``fresh_turn_test``. What is bet on is the paired difference, earlier gold
minus gold now, of each unit; two kinds of gold are allowed:

- bounded: |difference| <= ``bound``. The null hypothesis speaks of means.
- unbounded, ``bound=None``: each unit's difference is symmetric about a centre that is 0 or less, such as that of two
  checkpoints that are equally good. Differences are clipped at twice the root mean square of the units before, an odd
  function, so the bet is fair whatever the tails and the scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, float_array
from overopt.stats.estimate import FloatArray

STAKES = 0.9 * 0.5 ** np.arange(7)
"""Shares of the wealth that are staked, mixed with equal weights; the best one is about mean / mean square."""
CLIP = 2.0
"""Unbounded differences are cut at this many root mean squares of the units before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTest:
    """Evidence that gold has fallen below an earlier level, at each checkpoint."""

    evidence: FloatArray
    """(K,) e-process; 1 / level rejects."""
    p_value: float
    """1 / largest evidence so far, at most 1; valid at any stopping time."""
    alarm: int | None
    """First checkpoint at which the evidence reached 1 / level."""
    level: float
    n_labels: int
    """Gold labels that the test has used."""


def turn_test(
    gold_by_unit: npt.ArrayLike, *, level: float = 0.05, bound: float | None = None, checks: int | None = None
) -> TurnTest:
    """Has gold fallen since an earlier checkpoint? For the same held-out units at every checkpoint.

    Parameters
    ----------
    gold_by_unit : (U, K) float64
        Gold of each unit at the checkpoints so far, in order. Units are independent of each other and in an order
        that has nothing to do with their gold.
    level : float
        Chance, at most, of an alarm at any time in a run whose gold never falls.
    bound : float, optional
        Largest possible |difference| of a unit's gold between checkpoints, known beforehand. ``None``: see the module.
    checks : int, optional
        How many checkpoints after the first will be tested at most, fixed beforehand: spends the level evenly. When
        absent, checkpoint t = 1, 2, … has the share 1 / (t (t + 1)), for a run of any length.

    Returns
    -------
    TurnTest
        For a prefix of the columns the evidence is the prefix of the evidence.

    Raises
    ------
    DataError
        If a difference exceeds ``bound``, or there are more checkpoints than ``checks``.

    Notes
    -----
    Checkpoint t is compared with every earlier one c by a bet over the units, and the bets are averaged over c: the
    same units would choose a lucky candidate (winner's curse), and giving up half of them to choose costs more than
    the average, ln t nats. The same units come back at each checkpoint, so evidence of different t is summed with
    shares that were fixed beforehand, not multiplied: a sum of e-values with shares summing to 1 is one under any
    dependence, and as it only grows, its largest value is its last (Vovk & Wang 2021, arXiv:1912.06116).
    """
    check_level(level)
    gold_UK = float_array("gold_by_unit", gold_by_unit, "UK")
    n_units, n_points = gold_UK.shape
    if n_units == 0 or n_points == 0:
        raise DataError(f"a test needs at least one unit and one checkpoint; got the shape {gold_UK.shape}")
    shares = _shares(n_points - 1, checks)
    evidence = np.zeros(n_points)
    for t in range(1, n_points):
        difference_UC = gold_UK[:, :t] - gold_UK[:, t, None]
        evidence[t] = evidence[t - 1] + shares[t - 1] * float(_e_values(_bets(difference_UC, bound)).mean())
    return _result(evidence, level, gold_UK.size)


def fresh_turn_test(
    differences: Sequence[npt.ArrayLike], *, level: float = 0.05, bound: float | None = None, checks: int | None = None
) -> TurnTest:
    """Is gold now below that of the candidate peak? For units that are new at every checkpoint.

    Parameters
    ----------
    differences : one (U_k,) array a checkpoint
        Gold of the candidate's answer minus gold of the present policy's, on the same unit. The candidate of a
        checkpoint may be chosen from everything before, not from its own batch; a batch may be empty.
    level, bound, checks
        As ``turn_test``; ``checks`` bounds the number of batches.

    Returns
    -------
    TurnTest
        Two labels a unit are counted.

    Notes
    -----
    New units allow products over checkpoints. One long product would be bankrupt after a long rise, so the wealth is
    shared among bets that begin at each checkpoint, an e-detector with a prior on the start (Shin, Ramdas & Rinaldo
    2024, arXiv:2203.03532), and between stakes; each is a martingale under the null, so their mean is one too.
    """
    check_level(level)
    batches = [float_array(f"differences[{k}]", batch, "U") for k, batch in enumerate(differences)]
    if not batches:
        raise DataError("a test needs at least one batch of differences")
    bets = _bets(np.concatenate(batches)[:, None], bound)[:, 0]
    gains = np.log1p(STAKES * bets[:, None])  # (units, stakes)
    ends = np.cumsum([batch.size for batch in batches])
    total = np.vstack([np.zeros(STAKES.size), np.cumsum(gains, axis=0)])
    starts = np.concatenate([[0], ends[:-1]])
    shares = _shares(len(batches), checks)
    evidence = np.empty(len(batches))
    for k, end in enumerate(ends):
        wealth = np.exp(np.minimum(total[end] - total[starts[: k + 1]], 700.0)).mean(axis=1)
        # Shares of the bets that have not begun yet are kept in cash.
        evidence[k] = float(shares[: k + 1] @ wealth) + max(1 - float(shares[: k + 1].sum()), 0.0)
    return _result(evidence, level, 2 * bets.size)


def _shares(looks: int, checks: int | None) -> FloatArray:
    """What part of the evidence each look may contribute; they sum to at most 1."""
    if checks is None:
        t = np.arange(1.0, looks + 1)
        return np.asarray(1 / (t * (t + 1)))
    if checks < 1:
        raise ConfigError(f"checks must be at least 1; got {checks}")
    if looks > checks:
        raise DataError(f"the test was planned for {checks} looks; got {looks}")
    return np.full(looks, 1 / checks)


def _bets(difference: FloatArray, bound: float | None) -> FloatArray:
    """Differences (U, C) as payoffs in [-1, 1] with a mean of 0 or less under the null, given the units before."""
    if bound is not None:
        if not (bound > 0 and math.isfinite(bound)):
            raise ConfigError(f"bound must be positive and finite; got {bound}")
        largest = float(np.abs(difference).max(initial=0))
        if largest > bound:
            raise DataError(f"a difference of gold is {largest:g}, beyond the bound {bound:g} that was promised")
        return np.asarray(difference / bound)
    squares = np.zeros_like(difference)
    np.cumsum(difference[:-1] ** 2, axis=0, out=squares[1:])
    limit = CLIP * np.sqrt(squares / np.maximum(np.arange(len(difference)), 1)[:, None])
    # Units before the first difference say nothing about the scale: their sign is bet on.
    ratio = np.divide(difference, limit, out=np.sign(difference), where=limit > 0)
    return np.asarray(np.clip(ratio, -1, 1))


def _e_values(bets: FloatArray) -> FloatArray:
    """Wealth from betting on (U, C) payoffs, mixed over the stakes, (C,)."""
    log_wealth = np.stack([np.log1p(stake * bets).sum(axis=0) for stake in STAKES])
    return np.asarray(np.exp(np.minimum(log_wealth, 700.0)).mean(axis=0))


def _result(evidence: FloatArray, level: float, n_labels: int) -> TurnTest:
    reached = np.flatnonzero(evidence >= 1 / level)
    largest = float(evidence.max())
    return TurnTest(
        evidence=evidence,
        p_value=min(1.0, 1 / largest) if largest > 0 else 1.0,
        alarm=int(reached[0]) if reached.size else None,
        level=level,
        n_labels=n_labels,
    )
