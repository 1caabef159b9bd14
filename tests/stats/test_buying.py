import math

import numpy as np
import pytest

from overopt.errors import ConfigError, DataError
from overopt.stats.buying import best_checkpoint, next_gold
from overopt.stats.law_posterior import Prior, law_posterior, predict
from overopt.stats.laws import law_value

D = np.linspace(0.4, 14, 35)
PRIOR = Prior(mean=(0.4, 0.15), covariance=((0.02, 0.004), (0.004, 0.002)))


def bought(truth, indices, se, rng=None):
    gold, errors = np.full(truth.size, math.nan), np.full(truth.size, math.nan)
    gold[indices] = truth[indices] + (0 if rng is None else se * rng.normal(size=len(indices)))
    errors[indices] = se
    return gold, errors


def law_world(rng):
    turn, top = math.exp(rng.uniform(math.log(0.8), math.log(9))), rng.uniform(0.4, 1.2)
    return law_value("rl", D, top / turn * (1 + math.log(turn)), top / turn)


def bump_world(rng):
    """Rises and falls like a Gaussian: neither of the two laws."""
    centre, width = rng.uniform(3, 11), rng.uniform(2, 4)
    return np.exp(-0.5 * ((D - centre) / width) ** 2) - np.exp(-0.5 * (centre / width) ** 2)


def mean_regret(world, policy, runs, purchases, se=0.15):
    """True gold lost by the checkpoint chosen after so many purchases."""
    rng = np.random.default_rng(7)
    lost = []
    for _ in range(runs):
        truth, luck = world(rng), se * rng.normal(size=D.size)
        indices = policy(truth + luck, se, purchases)
        gold, errors = bought(truth + luck, indices, se)
        lost.append(truth.max() - truth[best_checkpoint("rl", D, gold, errors)])
    return float(np.mean(lost))


def by_worth(measured, se, purchases):
    indices = []
    while len(indices) < purchases:
        gold, errors = bought(measured, indices, se)
        indices += next_gold("rl", D, gold, errors, label_se=se)
    return indices


def evenly(measured, se, purchases):
    return np.linspace(0, D.size - 1, purchases + 1).round().astype(int)[1:].tolist()


@pytest.mark.parametrize(("world", "purchases", "se"), [(law_world, 9, 0.3), (bump_world, 6, 0.1)])
def test_chosen_purchases_beat_evenly_spaced_ones(world, purchases, se):
    chosen = mean_regret(world, by_worth, 150, purchases, se)
    even = mean_regret(world, evenly, 150, purchases, se)
    assert chosen < 0.85 * even


def test_the_worth_of_a_purchase_is_the_expected_rise_of_the_best_mean():
    """Each purchase played out: draw the new gold, update the posterior from scratch, take the best mean."""
    truth = law_value("rl", D, 0.45, 0.17)
    known = [3, 10, 22, 34]
    gold, errors = bought(truth, known, 0.1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    now = law_posterior("rl", D[known], gold[known], errors[known], prior=PRIOR, departures=(0.0,))
    mean, covariance = (a[0] for a in predict(now, D))
    worth = np.full(D.size, -1.0)
    for i in range(D.size):
        if i not in known:
            spread = math.sqrt(covariance[i, i] + 0.08**2)
            after = []
            for z in nodes:
                points = (D[[*known, i]], [*gold[known], mean[i] + spread * z], [*errors[known], 0.08])
                then = law_posterior("rl", *points, prior=PRIOR, departures=(0.0,))
                after.append(predict(then, D).mean[0].max())
            worth[i] = weights @ after / weights.sum() - mean.max()
    (found,) = next_gold("rl", D, gold, errors, label_se=0.08, prior=PRIOR, departures=(0.0,))
    assert worth[found] >= 0.98 * worth.max() > 0


def test_purchases_close_in_on_the_peak():
    truth = law_value("rl", D, 0.45, 0.17)
    peak = D[np.argmax(truth)]
    indices = by_worth(truth, 0.02, 9)
    assert len(set(indices)) == 9
    first, last = np.abs(D[indices[:4]] - peak).mean(), np.abs(D[indices[4:]] - peak).mean()
    assert last < 0.8 * first
    near = D[indices[4:]]
    assert near.min() < peak < near.max()


def test_the_first_purchases_span_the_run():
    nothing = np.full(D.size, math.nan)
    places = [int(np.argmin(np.abs(D - share * D[-1]))) for share in (1, 0.5, 0.25, 0.75)]
    assert next_gold("rl", D, nothing, nothing, label_se=0.1, count=2) == tuple(places[:2])
    gold, errors = bought(D, places[:3], 0.1)
    assert next_gold("rl", D, gold, errors, label_se=0.1) == (places[3],)


def test_a_plan_of_several_has_distinct_unbought_checkpoints():
    truth = law_value("rl", D, 0.45, 0.17)
    gold, errors = bought(truth, [5, 20, 34], 0.05)
    plan = next_gold("rl", D, gold, errors, label_se=0.05, count=32)
    assert sorted([*plan, 5, 20, 34]) == list(range(35))
    assert plan[:1] == next_gold("rl", D, gold, errors, label_se=0.05)


def test_units_do_not_matter():
    rng = np.random.default_rng(0)
    gold, errors = bought(law_value("rl", D, 0.45, 0.17), [2, 9, 20, 34], 0.05, rng)
    first = next_gold("rl", D, gold, errors, label_se=0.05, count=4)
    assert next_gold("rl", 3 * D, 100 * gold, 100 * errors, label_se=5.0, count=4) == first
    assert best_checkpoint("rl", 3 * D, 100 * gold, 100 * errors) == best_checkpoint("rl", D, gold, errors)


def test_one_lucky_measurement_is_not_the_best_checkpoint():
    truth = law_value("rl", D, 0.45, 0.17)
    gold, errors = bought(truth, list(range(35)), 0.1)
    gold[31] = truth.max() + 0.15
    assert int(np.argmax(gold)) == 31
    assert abs(best_checkpoint("rl", D, gold, errors) - int(np.argmax(truth))) <= 3


def test_bad_input_is_refused():
    gold, errors = bought(D, [1, 2], 0.1)
    with pytest.raises(ConfigError, match="label_se"):
        next_gold("rl", D, gold, errors, label_se=0.0)
    with pytest.raises(ConfigError, match=r"within 1\.\.33"):
        next_gold("rl", D, gold, errors, label_se=0.1, count=34)
    with pytest.raises(DataError, match="at one checkpoint at least"):
        next_gold("rl", D, np.full(35, math.nan), errors, label_se=0.1, count=5)
    with pytest.raises(DataError, match="gold_se"):
        next_gold("rl", D, gold, np.full(35, math.nan), label_se=0.1)
    with pytest.raises(DataError, match="at one above d = 0"):
        best_checkpoint("rl", D, np.full(35, math.nan), errors)
