"""How heavy the upper tail of a score is, above all of the proxy's error.

If the proxy's error has a tail that no exponential bounds, E exp(t X) is infinite for all t > 0, and a policy can gain
any proxy at vanishing KL from that tail alone, without gold: Kwa et al. 2024 (arXiv:2407.14503). A finite sample says
something about the tail that it reached, never about the one beyond. Axes: N values, P prompts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_draws, check_level, check_same_shape, float_array, integers_in
from overopt.stats.estimate import FloatArray

Tail = Literal["heavy", "light", "undetermined"]

MIN_EXCEEDANCES = 20
"""Values above the threshold that a verdict needs."""


class TailCurve(NamedTuple):
    """Tail index xi for several numbers k of upper order statistics, each (K,)."""

    xi: FloatArray
    stderr: FloatArray


class QuantilePlot(NamedTuple):
    """Points of a quantile-quantile plot, ascending."""

    reference: FloatArray
    sample: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TailTest:
    """Whether a tail is heavier than exponential."""

    tail: Tail
    xi: float
    """Generalised Pareto index of the exceedances: 1 / xi moments exist if positive, a finite end if negative."""
    xi_stderr: float
    """By unit; ``nan`` where xi < -1/2, where it has no normal error."""
    xi_ci: tuple[float, float]
    variation: float
    """Standard deviation of the exceedances over their mean: 1 for an exponential, more if heavier."""
    p_heavier: float
    """Chance that an exponential tail varies at least as much; ``p_lighter`` at most as much."""
    p_lighter: float
    threshold: float
    exceedances: int
    design_effect: float
    """By how much dependence within units inflates the variance of ``variation``; at least 1."""
    units: int
    """Units with an exceedance."""
    level: float


def proxy_error(proxy: npt.ArrayLike, gold: npt.ArrayLike) -> FloatArray:
    """Error of the proxy: what is left of it after the best linear fit by gold within prompts; (P, N) scores, (P, N).

    U = V + X of arXiv:2407.14503 with the proxy U, gold V on the proxy's scale, and the error X, whose upper tail is
    where the proxy overrates. Prompts are centred, one slope serves all; constant gold fits nothing and leaves the
    centred proxy.

    >>> proxy_error([[1.0, 2.0, 4.0]], [[0.0, 1.0, 2.0]]).round(3)
    array([[ 0.167, -0.333,  0.167]])
    """
    proxy_PN, gold_PN = float_array("proxy", proxy, "PN"), float_array("gold", gold, "PN")
    check_same_shape("proxy", proxy_PN, "gold", gold_PN)
    if proxy_PN.size == 0:
        raise DataError("a proxy error needs at least one sample")
    proxy_PN = proxy_PN - proxy_PN.mean(axis=1, keepdims=True)
    gold_PN = gold_PN - gold_PN.mean(axis=1, keepdims=True)
    spread = float((gold_PN**2).sum())
    slope = float((proxy_PN * gold_PN).sum()) / spread if spread > 0 else 0.0
    return np.asarray(proxy_PN - slope * gold_PN)


def hill_curve(values: npt.ArrayLike, ks: Sequence[int]) -> TailCurve:
    """Hill's tail index from the k largest of ``values`` (N,), for each k: the data of a Hill plot.

    Needs the k + 1 largest values to be positive; 1 <= k < N. xi > 0 always, so it cannot say that a tail is light:
    ``moment_curve`` can. It depends on where 0 is. ``stderr`` is xi / sqrt(k), for independent values and without the
    bias that grows with k. Hill 1975.

    >>> hill_curve([1.0, 2.0, 4.0, 8.0], [1, 3]).xi.round(4)
    array([0.6931, 1.3863])
    """
    logs, k = _top_logs(values, ks)
    xi = np.cumsum(logs)[k - 1] / k - logs[k]
    return TailCurve(xi, xi / np.sqrt(k))


def moment_curve(values: npt.ArrayLike, ks: Sequence[int]) -> TailCurve:
    """Tail index of any sign from the k largest of ``values`` (N,): Dekkers, Einmahl and de Haan 1989.

    Positive for a power law, 0 for normal and exponential, negative for a finite end. The k + 1 largest values must be
    positive, 2 <= k < N; nan where they are all equal. ``stderr`` is the asymptotic one, for independent values.

    >>> bool(moment_curve(np.arange(1.0, 1001.0), [200]).xi[0] < -0.5)
    True
    """
    logs, k = _top_logs(values, ks)
    first = np.cumsum(logs)[k - 1] / k - logs[k]
    # Against the mean of the k logs and not against 0, so that squares of large scores do not cancel.
    second = np.array([float(((logs[:size] - logs[size]) ** 2).mean()) for size in k])
    with np.errstate(divide="ignore", invalid="ignore"):
        xi = np.where(second > first**2, first + 1 - 0.5 / (1 - first**2 / second), np.nan)
    g = np.minimum(xi, 0.0)
    bracket = 4 - 8 * (1 - 2 * g) / (1 - 3 * g) + (5 - 11 * g) * (1 - 2 * g) / ((1 - 3 * g) * (1 - 4 * g))
    variance = np.where(xi >= 0, 1 + xi**2, (1 - g) ** 2 * (1 - 2 * g) * bracket)
    return TailCurve(xi, np.sqrt(variance / k))


def choose_k(values: npt.ArrayLike, ks: Sequence[int]) -> int:
    """The k of ``ks`` whose largest values a Pareto law fits best: the smallest Kolmogorov-Smirnov distance.

    Clauset, Shalizi and Newman 2009 (SIAM Review 51). It presumes a power law; whether there is one is the question of
    ``heavy_tail_test``. The standard error at a chosen k does not know of the choice.

    >>> choose_k(1 / (1 - (np.arange(100) + 0.5) / 100), [10, 50])
    50
    """
    logs, k = _top_logs(values, ks)
    distances = []
    for size, xi in zip(k, hill_curve(values, ks).xi, strict=True):
        share = np.exp(-(logs[:size] - logs[size]) / xi) if xi > 0 else np.zeros(size)
        steps = np.arange(size + 1) / size
        distances.append(max(np.abs(share - steps[1:]).max(), np.abs(share - steps[:-1]).max()))
    return int(k[int(np.argmin(distances))])


def quantile_plot(values: npt.ArrayLike, reference: Literal["normal", "exponential"] = "normal") -> QuantilePlot:
    """Sorted ``values`` (N,) against the quantiles of a standard normal or exponential at (i - 1/2) / N.

    A straight line if the law fits; a tail that bends up is heavier.

    >>> quantile_plot([3.0, 1.0, 2.0]).reference.round(3)
    array([-0.967,  0.   ,  0.967])
    """
    sample = np.sort(float_array("values", values, "N"))
    share = (np.arange(sample.size) + 0.5) / max(sample.size, 1)
    if reference not in ("normal", "exponential"):
        raise ConfigError(f"reference must be 'normal' or 'exponential'; got {reference!r}")
    return QuantilePlot(ndtri(share) if reference == "normal" else -np.log1p(-share), sample)


def heavy_tail_test(
    values: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    units: npt.ArrayLike | None = None,
    share: float = 0.05,
    level: float = 0.95,
    draws: int = 4000,
) -> TailTest:
    """Whether the upper tail of ``values`` is heavier than exponential, from how much the largest of them vary.

    Parameters
    ----------
    values : (N,) float64
        For example ``proxy_error(...).ravel()``. Shift and scale do not matter.
    rng : numpy.random.Generator
        Draws the exponential samples that the variation is compared with.
    units : (N,) integers, optional
        Which prompt a value belongs to; without it values are taken as independent.
    share : float
        Of the values that count as the tail, 0 < share < 1; the largest one below is the threshold.
    level : float
    draws : int

    Returns
    -------
    TailTest
        ``heavy`` if an exponential tail would vary this much in at most (1 - level) / 2 of samples, ``light`` if this
        little, else ``undetermined``: also with fewer than 20 exceedances, and where they are all equal. An
        exponential tail itself is undetermined, and then ``xi_ci`` says what is left possible.

    Raises
    ------
    ShapeError, DataError, ConfigError

    Notes
    -----
    Exceedances over the k + 1st largest value of an exponential sample are k independent exponentials, so with
    independent values the test is exact but for the ``draws``; it is the score test of xi = 0 in the generalised Pareto
    family, and the coefficient of variation of del Castillo, Daoudi and Lockhart 2014 (Scandinavian Journal of
    Statistics 41). With units the null sample is k over the design effect of the score. xi is maximum likelihood with
    a standard error clustered by unit; its interval is asymptotic: with 200 exceedances a nominal 95 % covers 95 % at
    xi = 0.3, 92 % at 0 and 89 % at -0.2. The verdict does not use it. Pooling prompts of different spread makes a tail
    heavier than each has.

    >>> found = heavy_tail_test(1 / np.random.default_rng(0).random(2000), rng=np.random.default_rng(1))
    >>> found.tail
    'heavy'
    """
    check_level(level)
    check_draws(draws)
    if not 0 < share < 1:
        raise ConfigError(f"share must lie between 0 and 1; got {share}")
    values_N = float_array("values", values, "N")
    units_N = np.arange(values_N.size) if units is None else np.asarray(units)
    if units_N.shape != values_N.shape:
        raise ShapeError(f"values and units must have one shape; got {values_N.shape} and {units_N.shape}")
    if values_N.size < 2:
        raise DataError(f"a tail needs at least two values; got {values_N.size}")
    k = min(max(1, math.ceil(share * values_N.size)), values_N.size - 1)
    order = np.argsort(values_N)
    threshold = float(values_N[order[-k - 1]])
    excess, unit = values_N[order[-k:]] - threshold, np.unique(units_N[order[-k:]], return_inverse=True)[1]
    mean, n_units = float(excess.mean()), int(unit.max()) + 1
    xi, stderr, variation, effect, heavier, lighter = (math.nan,) * 6
    tail: Tail = "undetermined"
    if k >= MIN_EXCEEDANCES and float(np.ptp(excess)) > 0:
        z = excess / mean
        variation = float(z.std())
        # Influence of an exceedance on the score of xi = 0; exponentials would have a mean of 0 and a variance of 1.
        influence = z**2 / 2 - float((z**2).mean()) * (z - 1)
        influence -= influence.mean()
        effect = max(1.0, float((np.bincount(unit, influence) ** 2).sum() / (influence**2).sum()))
        null = _exponential_variations(max(2, round(k / effect)), draws, rng)
        heavier = float(1 + (null >= variation).sum()) / (draws + 1)
        lighter = float(1 + (null <= variation).sum()) / (draws + 1)
        tail = "heavy" if heavier <= (1 - level) / 2 else "light" if lighter <= (1 - level) / 2 else "undetermined"
        xi, stderr = _generalised_pareto(z, unit)
    # The standard error grows as 1 + xi: the ends are the xi whose own error would reach the estimate.
    reach = -float(ndtri((1 - level) / 2)) * stderr / (1 + xi)
    return TailTest(
        tail=tail,
        xi=xi,
        xi_stderr=stderr,
        xi_ci=((xi - reach) / (1 + reach), (xi + reach) / (1 - reach) if not reach >= 1 else math.inf),
        variation=variation,
        p_heavier=heavier,
        p_lighter=lighter,
        threshold=threshold,
        exceedances=k,
        design_effect=effect,
        units=n_units,
        level=level,
    )


def _exponential_variations(size: int, draws: int, rng: np.random.Generator) -> FloatArray:
    variations = np.empty(draws)
    step = max(1, (1 << 20) // size)
    for start in range(0, draws, step):
        sample = rng.standard_exponential((min(step, draws - start), size))
        variations[start : start + step] = sample.std(axis=1) / sample.mean(axis=1)
    return variations


def _generalised_pareto(excess: FloatArray, unit: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Maximum-likelihood xi of exceedances of mean 1, and its standard error clustered by unit (a sandwich)."""
    # With theta = xi / scale, xi = mean ln(1 + theta y) at the best: one variable is left (Grimshaw 1993).
    largest = float(excess.max())

    def loss(theta: float) -> float:
        xi = float(np.log1p(theta * excess).mean())
        # At theta = 0 the law is exponential with scale 1.
        return xi + (math.log(xi / theta) if abs(theta) > 1e-9 else 0.0)

    # Searched as ln(1 + theta y_max), so that both the finite end and heavy tails are within reach. Towards xi = -1 the
    # likelihood grows without bound; the search stops before.
    grid = np.linspace(-6.0, 12.0, 181)
    losses = np.array([loss(math.expm1(x) / largest) for x in grid])
    usable = np.array([float(np.log1p(np.expm1(x) / largest * excess).mean()) > -0.95 for x in grid])
    best = int(np.argmin(np.where(usable, losses, np.inf)))
    found = minimize_scalar(
        lambda x: loss(math.expm1(x) / largest),
        bounds=(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    theta = math.expm1(float(found.x)) / largest
    if abs(theta) < 1e-6:
        theta = 1e-6
    xi = float(np.log1p(theta * excess).mean())
    if xi <= -0.5:
        return xi, math.nan
    # Scores of (ln scale, xi), and minus their mean second derivatives at the fitted law.
    logs, ratio = np.log1p(theta * excess), theta * excess / (1 + theta * excess)
    scores = np.stack([(1 + 1 / xi) * ratio - 1, logs / xi**2 - (1 + 1 / xi) * ratio / xi])
    information = np.array([[1 / (1 + 2 * xi), 1 / ((1 + xi) * (1 + 2 * xi))], [0.0, 2 / ((1 + xi) * (1 + 2 * xi))]])
    information[1, 0] = information[0, 1]
    by_unit = np.stack([np.bincount(unit, score) for score in scores])
    inverse = np.linalg.inv(information * excess.size)
    meat = by_unit @ by_unit.T if int(unit.max()) + 1 < excess.size else information * excess.size
    return xi, math.sqrt(float((inverse @ meat @ inverse)[1, 1]))


def _top_logs(values: npt.ArrayLike, ks: Sequence[int]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Logs of the largest values, descending, one more than the largest k."""
    values_N = float_array("values", values, "N")
    if values_N.size < 2:
        raise DataError(f"a tail index needs at least two values; got {values_N.size}")
    k = np.array(integers_in("ks", ks, 1, values_N.size - 1), dtype=np.int64)
    top = np.sort(values_N)[::-1][: int(k.max()) + 1]
    if top[-1] <= 0:
        raise DataError(f"the {top.size} largest values must be positive; the smallest of them is {top[-1]:g}")
    return np.log(top), k
