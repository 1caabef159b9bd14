"""Stopping rules on simulated runs: lead time, regret, false alarms on clean runs, and gold bought.

Run: python bench/forecast.py          three tables, some forty seconds
     python bench/forecast.py --small  a third of the judged runs

A run has 40 checkpoints, evenly spaced in d up to 14 (196 nats), and gold is measured at each that a rule buys on the
same 64 prompts. Worlds: the RL law with an early, a late or no turn within the run (no turn: the law peaks beyond its
end, or gold rises in a straight line), and a run that follows no law: it rises, stays, and falls in a straight line.
Each rule's setting is tuned for the smallest regret at 5 % false alarms on the clean ones among other runs; a fixed
budget, which cannot keep its false alarms down without ever stopping, on regret alone. One table a noise level.

Lead is the median of checkpoints from the alarm to the true peak (negative: late) over runs that turn and got an
alarm. Regret is true gold at the true peak minus at the stop, kept regret minus at the checkpoint the rule would
restore, in units of the largest true gold of a run, means over all runs.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from overopt.stats.estimate import FloatArray
from overopt.stats.laws import law_value
from overopt.stats.replay import RuleScore, score_rules, tune
from overopt.stats.stopping import AnytimeStop, Cusum, FixedKL, ForecastStop, KDrops, Rule, Run

D = np.linspace(0, 14, 41)[1:]
PROMPTS = 64
TUNING_RUNS = 12  # a world
NOISES = (0.02, 0.06, 0.15)
FAMILIES: dict[str, tuple[Callable[[float], Rule], list[float], float]] = {
    "fixed KL budget": (lambda nats: FixedKL(budget=nats), [float(x) for x in np.linspace(4, 200, 50)], 1.0),
    "k drops in a row": (lambda k: KDrops(k=int(k)), [2, 3, 4, 5, 6, 8], 0.05),
    "CUSUM": (lambda limit: Cusum(threshold=limit), [0.5, 1, 1.5, 2, 3, 4, 6], 0.05),
    "anytime-valid test, every other": (lambda level: AnytimeStop(level=level, checks=19, every=2), [0.05], 1.0),
    "forecast, gold everywhere": (lambda p: ForecastStop(probability=p), [0.9, 0.95, 0.98, 0.99, 0.995], 0.05),
    "forecast, bought as d grows by 1.25": (
        lambda p: ForecastStop(probability=p, growth=1.25),
        [0.9, 0.95, 0.98, 0.99, 0.995],
        0.05,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare stopping rules on simulated runs.")
    parser.add_argument("--small", action="store_true", help="a third of the runs")
    runs = 8 if parser.parse_args().small else 20
    start = time.perf_counter()
    for noise in NOISES:
        _table(noise, runs)
    print(f"{time.perf_counter() - start:.0f} s")


def _table(noise: float, per_world: int) -> None:
    rng = np.random.default_rng(0)
    others, judged = _runs(rng, TUNING_RUNS, noise), _runs(rng, per_world, noise)
    print(f"standard error of gold {noise:g} of its peak; {len(judged)} runs, {per_world} a world")
    print()
    print("| rule | setting | lead | regret | kept regret | false alarms, clean | no alarm, turning | gold bought |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, (family, settings, false_alarm) in FAMILIES.items():
        setting = settings[0]
        if len(settings) > 1:
            setting = tune(family, settings, others, false_alarm=false_alarm).setting
        (score,) = score_rules(judged, {name: family(setting)})
        print(_row(score, setting))
    print()


def _row(score: RuleScore, setting: float) -> str:
    return (
        f"| {score.name} | {setting:g} | {score.lead_steps:+.1f} | {_pm(score.regret.value, score.regret.stderr)} "
        f"| {_pm(score.kept_regret.value, score.kept_regret.stderr)} "
        f"| {score.false_alarms.value:.0%} of {score.false_alarms.n_units} "
        f"| {score.missed.value:.0%} of {score.missed.n_units} | {score.n_bought.value:.1f} |"
    )


def _pm(value: float, stderr: float) -> str:
    return f"{value:.3f} ± {stderr:.3f}"


def _runs(rng: np.random.Generator, per_world: int, noise: float) -> list[Run]:
    worlds = (_early, _late, _beyond, _straight, _lawless)
    return [_measured(rng, world(rng), noise) for world in worlds for _ in range(per_world)]


def _measured(rng: np.random.Generator, truth: FloatArray, noise: float) -> Run:
    """Gold of 64 prompts: easy and hard ones, and errors of each answer, whose mean has the standard error."""
    units = truth + noise * PROMPTS**0.5 * rng.normal(size=(PROMPTS, D.size))
    return Run(
        d=D,
        gold=units.mean(axis=0),
        gold_se=units.std(axis=0, ddof=1) / PROMPTS**0.5,
        true_gold=truth,
        gold_by_unit=units,
    )


def _law(turn: float) -> FloatArray:
    truth = law_value("rl", D, 1 + np.log(turn), 1.0)
    return np.asarray(truth / truth.max())


def _early(rng: np.random.Generator) -> FloatArray:
    return _law(D[-1] * rng.uniform(0.15, 0.35))


def _late(rng: np.random.Generator) -> FloatArray:
    return _law(D[-1] * rng.uniform(0.35, 0.75))


def _beyond(rng: np.random.Generator) -> FloatArray:
    return _law(D[-1] * rng.uniform(1.1, 3.0))


def _straight(rng: np.random.Generator) -> FloatArray:
    return np.asarray(D / D[-1])


def _lawless(rng: np.random.Generator) -> FloatArray:
    truth = np.minimum(D / rng.uniform(3, 5), 1.0) - rng.uniform(0.08, 0.2) * np.maximum(D - rng.uniform(5, 9), 0)
    return np.asarray(truth / truth.max())


if __name__ == "__main__":
    main()
