import math

import numpy as np
import pytest

from overopt.errors import ConfigError, DataError, EstimationError, ShapeError
from overopt.stats.laws import law_value
from overopt.stats.replay import is_clean, replay, score_rules, tune
from overopt.stats.stopping import AnytimeStop, Cusum, FixedKL, ForecastStop, KDrops, Prefix, Run

D = np.linspace(0.4, 14, 30)


def a_run(gold, true_gold=None, se=0.1, d=None):
    gold = np.asarray(gold, dtype=float)
    d = np.arange(1.0, gold.size + 1) if d is None else d
    return Run(
        d=d, gold=gold, gold_se=np.full(gold.size, se), true_gold=gold if true_gold is None else np.asarray(true_gold)
    )


def law_runs(rng, n, se, turns=True):
    """Runs by the RL law: peak at 15 to 80 % of the run, or beyond its end."""
    runs = []
    for _ in range(n):
        turn = D[-1] * math.exp(rng.uniform(*np.log((0.15, 0.8) if turns else (1.2, 4))))
        truth = law_value("rl", D, 1 + math.log(turn), 1.0)
        truth = truth / truth.max() * rng.uniform(0.4, 1.2)
        runs.append(a_run(truth + se * rng.normal(size=D.size), truth, se, D))
    return runs


def test_a_budget_stops_at_the_first_checkpoint_that_reaches_it():
    stop = replay(a_run([1, 2, 3, 2, 1]), FixedKL(budget=9.0))
    assert (stop.index, stop.d, stop.alarmed, stop.n_bought, stop.regret) == (2, 3.0, True, 0, 0.0)
    assert replay(a_run([1, 2, 3]), FixedKL(budget=9.5)).alarmed is False


def test_k_drops_need_k_falls_in_a_row():
    gold = [1, 2, 1.5, 1.6, 1.5, 1.4, 1.3, 1.2]
    assert [replay(a_run(gold), KDrops(k=k)).index for k in (1, 2, 3, 4)] == [2, 5, 6, 7]
    assert not replay(a_run(gold), KDrops(k=5)).alarmed
    assert not replay(a_run([3, 2, 2, 1, 1]), KDrops(k=2)).alarmed  # standing still is no drop
    every_second = replay(a_run(gold), KDrops(k=1, every=2))
    assert (every_second.index, every_second.n_bought) == (6, 4)  # sees 1, 1.5, 1.5, 1.3


def test_cusum_sums_the_falls_beyond_the_drift():
    gold = np.array([1, 2, 1.8, 1.6, 1.7, 1.3, 1.0])
    total, path = 0.0, []
    for fall in -np.diff(gold) / (0.1 * math.sqrt(2)):
        total = max(0.0, total + fall - 0.5)
        path.append(total)
    for threshold in (0.5, 1.5, 3.0):
        expected = next(i for i, value in enumerate(path, start=1) if value >= threshold)
        assert replay(a_run(gold), Cusum(threshold=threshold, drift=0.5)).index == expected


def test_lead_regret_and_false_alarms_are_counted_from_the_true_gold():
    truth = [0.0, 1.0, 2.0, 3.0, 2.5, 2.0]
    late = replay(a_run([0, 1, 2, 3, 2, 1], truth), KDrops(k=2))
    assert (late.index, late.true_peak_index, late.lead_steps, late.lead_kl) == (5, 3, -2.0, 16.0 - 36.0)
    assert (late.regret, late.kept_regret, late.is_false_alarm) == (1.0, 0.0, False)
    early = replay(a_run([0, 1, 0.5, 3, 2, 1], truth), KDrops(k=1))
    assert (early.index, early.lead_steps, early.regret, early.kept_regret) == (2, 1.0, 1.0, 2.0)
    assert early.is_false_alarm
    never = replay(a_run(truth, truth), FixedKL(budget=1e9))
    assert math.isnan(never.lead_steps)
    assert (never.regret, never.is_false_alarm) == (1.0, False)
    # What would still be gained is below the tolerance: stopping there is no false alarm.
    assert not replay(a_run([0, 1, 0.5, 3, 2, 1], truth), KDrops(k=1), tolerance=0.4).is_false_alarm


def test_rules_see_no_future_and_no_truth():
    rng = np.random.default_rng(0)
    run = law_runs(rng, 1, 0.05)[0]
    for rule in (KDrops(k=2), Cusum(threshold=1), ForecastStop(), FixedKL(budget=60)):
        stop = replay(run, rule)
        changed = a_run(run.gold.copy(), -run.true_gold, 0.05, run.d.copy())
        changed.gold[stop.index + 1 :] = 1e6 * rng.normal(size=run.d.size - stop.index - 1)
        assert replay(changed, rule).index == stop.index


def test_a_prefix_sells_only_what_has_happened():
    seen = Prefix(a_run([1, 2, 3]), 2)
    assert seen.d.tolist() == [1.0, 2.0]
    seen.buy(1)
    seen.buy(1)
    assert (seen.n_bought, seen.known().gold.tolist()) == (1, [2.0])
    with pytest.raises(ConfigError, match="not among"):
        seen.buy(2)
    with pytest.raises(DataError, match="gold of each unit"):
        seen.known_by_unit()


def test_thrifty_forecasts_buy_few_checkpoints_and_lose_little():
    runs = law_runs(np.random.default_rng(1), 40, 0.05)
    all_of_them, few = score_rules(runs, {"all": ForecastStop(), "few": ForecastStop(growth=1.3)})
    assert few.n_bought.value < 0.85 * all_of_them.n_bought.value
    assert few.regret.value < all_of_them.regret.value + 0.03
    clean = law_runs(np.random.default_rng(1), 20, 0.05, turns=False)
    (few,) = score_rules(clean, {"few": ForecastStop(growth=1.3)})
    assert few.n_bought.value < 15  # of 30


def test_the_forecast_loses_less_than_a_tuned_budget_and_than_drops():
    """Settings tuned on other runs of the same worlds: half of the runs turn, half are clean."""
    rng = np.random.default_rng(2)
    train, judge = (law_runs(rng, 40, 0.08) + law_runs(rng, 40, 0.08, turns=False) for _ in range(2))
    budget = tune(lambda b: FixedKL(budget=b), np.linspace(4, 200, 25), train, false_alarm=1).rule
    drops = tune(lambda k: KDrops(k=int(k)), [2, 3, 4, 5, 6], train).rule
    forecast = tune(lambda p: ForecastStop(probability=p), [0.8, 0.9, 0.95, 0.98], train).rule
    scores = {s.name: s for s in score_rules(judge, {"kl": budget, "drops": drops, "forecast": forecast})}
    assert scores["forecast"].regret.value < 0.5 * scores["kl"].regret.value
    assert scores["forecast"].regret.value < 0.5 * scores["drops"].regret.value
    assert scores["forecast"].kept_regret.value < scores["drops"].kept_regret.value
    assert scores["forecast"].false_alarms.value <= 0.15
    assert scores["kl"].false_alarms.value > 0.15  # one budget cannot fit runs that turn at different distances


def test_a_run_that_leaves_the_law_is_stopped_too():
    truth = np.minimum(D / 6, 1.0) - 0.15 * np.maximum(D - 8, 0)
    stops = []
    for seed in range(20):
        noise = 0.03 * np.random.default_rng(seed).normal(size=30)
        stops.append(replay(a_run(truth + noise, truth, 0.03, D), ForecastStop()))
    assert all(stop.alarmed for stop in stops)
    assert np.mean([stop.regret for stop in stops]) < 0.35 * (truth.max() - truth[-1])


def test_anytime_stop_uses_the_units():
    rng = np.random.default_rng(3)
    truth = law_value("rl", D, 0.5, 0.25)
    units = truth + 2 * rng.normal(size=(100, 1)) + 0.5 * rng.normal(size=(100, 30))
    run = Run(d=D, gold=units.mean(axis=0), gold_se=np.full(30, 0.2), true_gold=truth, gold_by_unit=units)
    stop = replay(run, AnytimeStop(checks=29))
    assert stop.alarmed
    assert stop.index > stop.true_peak_index
    with pytest.raises(DataError, match="each unit"):
        replay(law_runs(rng, 1, 0.1)[0], AnytimeStop())


def test_forecasts_use_the_covariance_of_shared_units():
    rng = np.random.default_rng(3)
    truth = law_value("rl", D, 0.5, 0.25)
    slope = rng.normal(size=(40, 1))
    units = truth + slope * D / 5 + 0.02 * rng.normal(size=(40, 30))  # units differ in alpha: nearly one common error
    shared = Run(d=D, gold=units.mean(axis=0), gold_se=units.std(axis=0) / 40**0.5, true_gold=truth, gold_by_unit=units)
    seen = Prefix(shared, 30)
    for i in range(30):
        seen.buy(i)
    errors = seen.known_errors()
    assert errors.shape == (30, 30)
    assert errors[-1, -2] / math.sqrt(errors[-1, -1] * errors[-2, -2]) > 0.9


def test_a_score_counts_clean_and_turning_runs_apart():
    turning, clean = a_run([0, 1, 2, 1, 0]), a_run([0, 1, 2, 3, 4])
    assert is_clean(clean)
    assert not is_clean(turning)
    (score,) = score_rules([turning, clean, clean], {"kl": FixedKL(budget=4.0)})
    assert (score.n_runs, score.false_alarms.value, score.false_alarms.n_units) == (3, 1.0, 2)
    assert (score.early_alarms.value, score.missed.value, score.lead_steps) == (1.0, 0.0, 1.0)
    assert score.regret.value == pytest.approx((1 + 3 + 3) / 3)
    (only_clean,) = score_rules([clean], {"kl": FixedKL(budget=1e9)})
    assert math.isnan(only_clean.missed.value)
    assert math.isnan(only_clean.lead_steps)


def test_tuning_keeps_false_alarms_down_or_says_that_it_cannot():
    rng = np.random.default_rng(4)
    runs = law_runs(rng, 10, 0.1) + law_runs(rng, 20, 0.1, turns=False)
    free = tune(lambda k: KDrops(k=int(k)), [1, 2, 3, 4, 5, 6], runs, false_alarm=1)
    strict = tune(lambda k: KDrops(k=int(k)), [1, 2, 3, 4, 5, 6], runs, false_alarm=0.05)
    assert free.setting < strict.setting
    assert strict.score.false_alarms.value <= 0.05
    with pytest.raises(EstimationError, match="no setting"):
        tune(lambda k: KDrops(k=int(k)), [1, 2], runs)
    with pytest.raises(DataError, match="needs 20 clean runs"):
        tune(lambda k: KDrops(k=int(k)), [1, 2], runs[:15])


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError):
        FixedKL(budget=0)
    with pytest.raises(ConfigError):
        KDrops(k=0)
    with pytest.raises(ConfigError):
        Cusum(threshold=0)
    with pytest.raises(ConfigError):
        ForecastStop(growth=0.5)
    with pytest.raises(ConfigError, match="tolerance"):
        replay(a_run([1, 2]), KDrops(), tolerance=1)
    with pytest.raises(ShapeError):
        a_run([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="not finite"):
        a_run([1, math.nan])
    with pytest.raises(DataError, match="mean of gold_by_unit"):
        Run(d=D[:2], gold=D[:2], gold_se=D[:2], true_gold=D[:2], gold_by_unit=np.zeros((3, 2)))
    with pytest.raises(DataError, match="at least one run"):
        score_rules([], {"kl": FixedKL(budget=1)})
