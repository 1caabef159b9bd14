"""Reward and honest success along paths whose law is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from studies.denison2024.made_paths import write_paths
from studies.denison2024.made_worlds import CONFIG as MADE
from studies.denison2024.made_worlds import made_worlds

from overopt.errors import DataError
from overopt.studies.denison2024 import pressure
from overopt.studies.denison2024.pressure import best_left_out

CONFIG = replace(MADE, path_rounds=24)
ALPHA = {"hhh": 0.10, "rloo": 0.02}
BETA = 0.08


def claim(answer, name):
    return next(one for one in answer.claims if one.id == name)


def law(arm, seed, number):
    """Distances of 0.2 a round, more with the seed; honest success by the RL law, β more with the seed."""
    d = 0.2 * number * (1 + 0.1 * seed)
    gold = d * (ALPHA[arm.id] - BETA * (1 + 0.02 * (seed - 1)) * math.log(d)) if d else 0.0
    return {
        "kl": d * d,
        "reward": 0.3 + 0.2 * d,
        "gold": 0.6 + gold,
        "raised": 0.004 * math.exp((0.4 + 0.02 * seed) * d),
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pressure")
    found = made_worlds(folder, config=CONFIG, only=())
    write_paths(folder, CONFIG, law)
    return found


def test_the_law_of_each_seed_is_found_again(tables):
    found = pressure.answer(tables)
    beta, alpha = claim(found, "pressure-hhh-beta"), claim(found, "pressure-hhh-alpha")
    assert (beta.value, beta.outcome, beta.agreement) == (pytest.approx(100 * BETA), "above", "agrees")
    # β of the seeds is 8 × (0.98, 1, 1.02): Student's t with two degrees of freedom.
    assert beta.ci[1] - beta.value == pytest.approx(4.302652729911275 * 8 * 0.02 / math.sqrt(3))
    assert alpha.value == pytest.approx(10.0)
    rows = {(row["method"], row["seed"]): row for row in found.tables[0].rows}
    name = "expert iteration with preference score"
    assert rows[name, "seed 1"]["peak"] == pytest.approx(math.exp(ALPHA["hhh"] / BETA - 1))
    assert rows[name, "seed 1"]["r2"] == pytest.approx(1.0)
    assert rows[name, "mean"]["d"] == pytest.approx(0.2 * CONFIG.path_rounds * 1.1)


def test_gold_that_rises_and_falls_is_called_over_optimized(tables):
    found = pressure.answer(tables)
    best, fall = claim(found, "pressure-hhh-best"), claim(found, "pressure-hhh-fall")
    assert best.outcome == "above"
    assert best.value == pytest.approx(100 * BETA * math.exp(ALPHA["hhh"] / BETA - 1), abs=0.2)
    assert (fall.outcome, fall.agreement) == ("above", "agrees")
    assert claim(found, "pressure-hhh-gold").outcome == "below"
    assert claim(found, "pressure-hhh-proxy").value == pytest.approx(0.2 * 0.2 * CONFIG.path_rounds * 1.1)
    held_out = claim(found, "pressure-hhh-held-out")
    d = np.array([0.2 * CONFIG.path_rounds * (1 + 0.1 * s) for s in range(3)])
    assert math.log(held_out.value) == pytest.approx(((0.4 + 0.02 * np.arange(3)) * d).mean())
    assert held_out.outcome == "above"


def test_rounds_that_taught_nothing_weigh_nothing_in_the_law(tmp_path):
    """A path that stays where it is for its second half has the law of its first half."""

    def bent(arm, seed, number):
        point = law(arm, seed, min(number, 12))
        return {**point, "gold": point["gold"] + (0.02 if number == 5 else 0.0)}

    fits = {}
    for name, rounds in (("short", 12), ("long", 24)):
        config = replace(CONFIG, path_rounds=rounds)
        found = made_worlds(tmp_path / name, config=config, only=())
        write_paths(tmp_path / name, config, bent)
        fits[name] = [claim(pressure.answer(found), f"pressure-hhh-{one}").value for one in ("alpha", "beta")]
    assert fits["long"] == pytest.approx(fits["short"], rel=1e-9)


def test_methods_are_compared_where_both_have_been(tables):
    found = claim(pressure.answer(tables), "pressure-matched")
    d = np.array([0.2 * CONFIG.path_rounds * (1 + 0.1 * s) for s in range(3)])
    assert found.value == pytest.approx(100 * (ALPHA["rloo"] - ALPHA["hhh"]) * d.mean())
    assert found.outcome == "below"


def test_gold_that_only_falls_never_rises(tmp_path):
    found = made_worlds(tmp_path, config=CONFIG, only=())

    def falling(arm, seed, number):
        gold = 0.9 - 0.02 * number * (1 + 0.1 * seed)
        return {"kl": 0.01 * number, "reward": 0.1 * number, "gold": gold, "raised": 0.0}

    write_paths(tmp_path, CONFIG, falling)
    page = pressure.answer(found)
    assert claim(page, "pressure-rloo-best").outcome == "below"
    # The start is the best round there is: what is lost from it is all.
    fall, change = claim(page, "pressure-rloo-fall"), claim(page, "pressure-rloo-gold")
    assert fall.value == pytest.approx(-change.value)
    assert fall.outcome == "above"
    missing = claim(page, "pressure-rloo-held-out")
    assert (missing.value, missing.outcome) == (None, "unknown")
    assert "has no factor" in missing.sentence


def test_the_best_round_is_chosen_without_the_seed_that_is_read_off():
    rng = np.random.default_rng(3)
    gain_SK = np.concatenate([np.zeros((4, 1)), rng.normal(size=(4, 6))], axis=1)
    best, fall = best_left_out(gain_SK)
    for seed in range(4):
        others = np.delete(gain_SK, seed, axis=0).mean(axis=0)
        later = max(range(1, 7), key=lambda k, others=others: others[k])
        ever = max(range(7), key=lambda k, others=others: others[k])
        assert best[seed] == gain_SK[seed, later]
        assert fall[seed] == pytest.approx(gain_SK[seed, ever] - gain_SK[seed, -1])


def test_of_noise_the_best_round_is_no_better_than_nothing():
    rng = np.random.default_rng(0)
    means = [best_left_out(rng.normal(size=(3, 25)))[0].mean() for _ in range(2_000)]
    # One seed's own best of 24 would be 2.0 on average; here the standard error is 0.013.
    assert abs(np.mean(means)) < 4 * np.std(means) / math.sqrt(len(means))


def test_one_seed_and_few_rounds_leave_claims_unknown(tmp_path):
    config = replace(CONFIG, seeds=1, sweep_seeds=1, path_rounds=2)
    found = made_worlds(tmp_path, config=config, only=())
    write_paths(tmp_path, config, law)
    page = pressure.answer(found)
    assert {one.outcome for one in page.claims} == {"unknown"}
    assert "chosen on other seeds" in claim(page, "pressure-hhh-best").sentence
    assert "needs 4 rounds" in claim(page, "pressure-hhh-beta").sentence
    assert claim(page, "pressure-hhh-gold").value is not None


def test_a_path_that_misses_an_environment_is_refused(tmp_path):
    found = made_worlds(tmp_path, config=CONFIG, only=())
    write_paths(tmp_path, replace(CONFIG, stages=CONFIG.stages[:2]), law)
    with pytest.raises(DataError, match="not every environment"):
        pressure.answer(found)
