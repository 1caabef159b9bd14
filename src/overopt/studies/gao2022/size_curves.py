"""What the question of the proxy's size reads: curves and coefficients by size, and what other sizes predict.

Axes: S sizes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.errors import EstimationError
from overopt.seeding import stream
from overopt.stats.joint import SharedFit, fit_shared_alpha
from overopt.stats.trends import predict_coefficient
from overopt.studies.claims import UNKNOWN, Interval, known
from overopt.studies.gao2022.coefficients import is_usable
from overopt.studies.gao2022.main_proxies import free_runs, main_proxies
from overopt.studies.study_tables import StudyTables

QUANTITIES = {
    "alpha_bon": "α, best-of-n",
    "beta_bon": "β, best-of-n",
    "beta_rl": "β, PPO, one α for all sizes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The proxies of one size, one a training seed, and a run against each."""

    base: str
    parameters: int
    names: list[str]
    runs: list[str]
    bon: dict[str, Any]
    """Curve, fit and drop of best-of-n."""
    beta_rl: float | None = None
    """Mean over the runs that the law with a common alpha describes."""
    beta_rl_ci: Interval = UNKNOWN
    """As wide as one run's, however many there are: they share prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A size's coefficient beside what the other sizes predict for it."""

    base: str
    measured: float
    predicted: float
    ci: Interval

    @property
    def is_held(self) -> bool | None:
        low, high = self.ci
        return None if low is None or high is None else low <= self.measured <= high


def read_sizes(tables: StudyTables) -> tuple[list[Size], SharedFit | None]:
    sizes = []
    for base, names in main_proxies(tables).items():
        of_same_seed = [
            run for name in names for run in free_runs(tables, name) if run.endswith("-r" + name.rpartition("-s")[2])
        ]
        sizes.append(
            Size(
                base=base,
                parameters=tables.proxy(names[0]).parameters,
                names=names,
                runs=of_same_seed,
                bon=tables.best_of_n(names),
            )
        )
    runs = [run for size in sizes for run in size.runs]
    curves = [tables.run_record(run)["curve"] for run in runs]
    try:
        shared = fit_shared_alpha(
            "rl",
            [[point["kl"] for point in curve] for curve in curves],
            [[point["gold"] for point in curve] for curve in curves],
            gold_se=[[point["gold_se"] for point in curve] for curve in curves],
            groups=runs,
            rng=stream(tables.seed, "sizes", "shared alpha"),
        )
    except EstimationError:
        return sizes, None
    return [_with_beta(size, shared) for size in sizes], shared


def _with_beta(size: Size, shared: SharedFit) -> Size:
    fits = [fit for fit in shared.fits if fit.group in size.runs and is_usable(fit.to_dict())]
    if not fits:
        return size
    ends = np.mean([fit.beta_ci for fit in fits], axis=0)
    return Size(
        base=size.base, parameters=size.parameters, names=size.names, runs=size.runs, bon=size.bon,
        beta_rl=float(np.mean([fit.beta for fit in fits])),
        beta_rl_ci=(float(ends[0]), float(ends[1])) if np.isfinite(ends).all() else UNKNOWN,
    )  # fmt: skip


def coefficient(size: Size, quantity: str) -> float | None:
    if quantity == "beta_rl":
        return size.beta_rl
    fit = size.bon["fit"]
    return float(fit[quantity.removesuffix("_bon")]) if is_usable(fit) else None


def interval(size: Size, quantity: str) -> Interval:
    if quantity == "beta_rl":
        return size.beta_rl_ci
    low, high = size.bon["fit"][f"{quantity.removesuffix('_bon')}_ci"]
    return low, high


def with_coefficient(sizes: list[Size], quantity: str) -> tuple[list[Size], list[float]]:
    found = [(size, value) for size in sizes if (value := coefficient(size, quantity)) is not None]
    return [size for size, _ in found], [value for _, value in found]


def each_left_out(sizes: list[Size], quantity: str) -> list[LeftOut]:
    known, values = with_coefficient(sizes, quantity)
    found = []
    for k, size in enumerate(known):
        others = [j for j in range(len(known)) if j != k]
        if len(others) < 2:
            continue
        low, value, high = predicted_at([known[j] for j in others], [values[j] for j in others], size)
        found.append(LeftOut(base=size.base, measured=values[k], predicted=value, ci=(low, high)))
    return found


def predicted_at(sizes: list[Size], values: list[float], at: Size) -> tuple[float | None, float, float | None]:
    found = predict_coefficient([size.parameters for size in sizes], values, [at.parameters])
    low, high = map(known, found.ci[:, 0])
    return low, float(found.value[0]), high


def peaks(sizes: list[Size]) -> list[tuple[Size, dict[str, Any]]]:
    """Best-of-n peaks of usable fits that turn."""
    found = [(size, size.bon["fit"]["peak"]) for size in sizes if is_usable(size.bon["fit"])]
    return [(size, peak) for size, peak in found if peak is not None and peak["d"] > 0]
