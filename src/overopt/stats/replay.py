"""What a stopping rule costs on finished runs whose true gold is known.

A rule is judged by regret (true gold lost), lead time (how long before the true peak it stopped), false alarms and
the gold it bought. A setting chosen on the runs it is judged by proves nothing, so ``tune`` chooses it on other runs,
and false alarms are counted on clean runs, whose gold never turns.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from overopt.errors import ConfigError, DataError, EstimationError
from overopt.stats.estimate import BoolArray, Estimate, FloatArray, mean_over_units
from overopt.stats.stopping import Prefix, Rule, Run

TOLERANCE = 0.02
"""Gold that does not matter, as a share of the range of a run's true gold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How a rule did on one run."""

    index: int
    """Checkpoint of the stop; the last one when there was no alarm."""
    alarmed: bool
    d: float
    gold: float
    """True gold at the stop."""
    kept_index: int
    """Checkpoint that the rule would restore."""
    true_peak_index: int
    """The first checkpoint of the largest true gold."""
    lead_steps: float
    """Checkpoints from the alarm to the true peak, positive for an early alarm; ``nan`` without one."""
    lead_kl: float
    """The same in nats."""
    regret: float
    """True gold at the true peak minus true gold at the stop."""
    kept_regret: float
    """The same for the checkpoint that the rule would restore."""
    is_false_alarm: bool
    """An alarm after which true gold would still have risen by more than the tolerance."""
    n_bought: int
    """Checkpoints whose gold was bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScore:
    """How a rule did on many runs. Clean runs are those whose true gold never falls by more than the tolerance."""

    name: str
    n_runs: int
    regret: Estimate
    kept_regret: Estimate
    false_alarms: Estimate
    """Share of the clean runs with a false alarm."""
    early_alarms: Estimate
    """Share of the other runs with one."""
    missed: Estimate
    """Share of the other runs without any alarm."""
    lead_steps: float
    """Median over the other runs with an alarm."""
    lead_kl: float
    n_bought: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A rule whose setting was chosen on runs that must not judge it."""

    setting: float
    rule: Rule
    score: RuleScore
    """On the runs it was tuned on: optimistic."""


def replay(run: Run, rule: Rule, *, tolerance: float = TOLERANCE) -> Stop:
    """Show a run to a rule, checkpoint by checkpoint, until it stops; ``tolerance`` as a share of true gold's range.

    The range includes 0, the gold of d = 0.
    """
    if not 0 <= tolerance < 1:
        raise ConfigError(f"tolerance is a share of gold's range, at least 0 and below 1; got {tolerance}")
    seen = Prefix(run, 0)
    alarmed = False
    while not alarmed and seen.length < run.d.size:
        seen.length += 1
        alarmed = rule(seen)
    index, kept = seen.length - 1, rule.keeps(seen)
    truth = run.true_gold
    peak = int(np.argmax(truth))
    return Stop(
        index=index,
        alarmed=alarmed,
        d=float(run.d[index]),
        gold=float(truth[index]),
        kept_index=kept,
        true_peak_index=peak,
        lead_steps=float(peak - index) if alarmed else math.nan,
        lead_kl=float(run.d[peak] ** 2 - run.d[index] ** 2) if alarmed else math.nan,
        regret=float(truth[peak] - truth[index]),
        kept_regret=float(truth[peak] - truth[kept]),
        is_false_alarm=alarmed and bool(truth[index:].max() - truth[index] > tolerance * _range(truth)),
        n_bought=seen.n_bought,
    )


def is_clean(run: Run, *, tolerance: float = TOLERANCE) -> bool:
    """Whether true gold never falls below an earlier value by more than ``tolerance`` of its range."""
    falls = np.maximum.accumulate(run.true_gold) - run.true_gold
    return bool(falls.max() <= tolerance * _range(run.true_gold))


def score_rules(
    runs: Sequence[Run], rules: Mapping[str, Rule], *, tolerance: float = TOLERANCE
) -> tuple[RuleScore, ...]:
    """Replay each run with each rule; errors are over runs, and a share without runs to count is ``nan``."""
    if not runs:
        raise DataError("judging a rule needs at least one run")
    clean = np.array([is_clean(run, tolerance=tolerance) for run in runs])
    return tuple(
        _score(name, [replay(run, rule, tolerance=tolerance) for run in runs], clean) for name, rule in rules.items()
    )


def tune(
    family: Callable[[float], Rule],
    settings: Sequence[float],
    runs: Sequence[Run],
    *,
    false_alarm: float = 0.05,
    tolerance: float = TOLERANCE,
) -> Tuned:
    """The setting with the smallest mean regret among those whose share of false alarms is at most ``false_alarm``.

    Parameters
    ----------
    family : callable
        A rule for each setting, such as ``lambda k: KDrops(k=int(k))``.
    settings : sequence of float
        Tried in order; the first of equals wins.
    runs : sequence of Run
        With clean ones among them, at least 1 / ``false_alarm``: fewer could not show a share that small. Judge the
        rule on other runs.
    false_alarm : float
        Within 0..1, of the clean runs; 1 asks for nothing and tunes on regret alone.

    Raises
    ------
    DataError
        With too few clean runs.
    EstimationError
        If no setting keeps the false alarms down.
    """
    if not 0 < false_alarm <= 1 or len(settings) == 0:
        raise ConfigError(f"tuning needs settings and a share of false alarms within 0..1; got {false_alarm}")
    n_clean = sum(is_clean(run, tolerance=tolerance) for run in runs)
    if not runs or (false_alarm < 1 and n_clean * false_alarm < 1 - 1e-12):
        raise DataError(
            f"tuning for at most {false_alarm:g} false alarms needs {math.ceil(1 / false_alarm - 1e-9)} clean runs "
            f"or more; got {n_clean}"
        )
    best: Tuned | None = None
    for setting in settings:
        rule = family(setting)
        (score,) = score_rules(runs, {f"{setting:g}": rule}, tolerance=tolerance)
        is_allowed = false_alarm == 1 or score.false_alarms.value <= false_alarm
        if is_allowed and (best is None or score.regret.value < best.score.regret.value):
            best = Tuned(setting=setting, rule=rule, score=score)
    if best is None:
        raise EstimationError(
            f"no setting of {len(settings)} has false alarms on at most {false_alarm:g} of clean runs"
        )
    return best


def _score(name: str, stops: list[Stop], clean: BoolArray) -> RuleScore:
    turning = [stop for stop, is_quiet in zip(stops, clean, strict=True) if not is_quiet]
    quiet = [stop for stop, is_quiet in zip(stops, clean, strict=True) if is_quiet]
    leads = np.array([(stop.lead_steps, stop.lead_kl) for stop in turning if stop.alarmed]).reshape(-1, 2)
    lead_steps, lead_kl = (float(x) for x in np.median(leads, axis=0)) if len(leads) else (math.nan, math.nan)
    return RuleScore(
        name=name,
        n_runs=len(stops),
        regret=_mean([stop.regret for stop in stops]),
        kept_regret=_mean([stop.kept_regret for stop in stops]),
        false_alarms=_mean([stop.is_false_alarm for stop in quiet]),
        early_alarms=_mean([stop.is_false_alarm for stop in turning]),
        missed=_mean([not stop.alarmed for stop in turning]),
        lead_steps=lead_steps,
        lead_kl=lead_kl,
        n_bought=_mean([stop.n_bought for stop in stops]),
    )


def _mean(values: Sequence[float]) -> Estimate:
    return mean_over_units(np.asarray(values, dtype=np.float64), unit="run")


def _range(truth: FloatArray) -> float:
    return max(float(truth.max()), 0.0) - min(float(truth.min()), 0.0)
