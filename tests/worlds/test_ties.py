import itertools
import math

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.worlds.gaussian import GaussianWorld
from overopt.worlds.integrals import best_of_n_kl
from overopt.worlds.tabular import TabularWorld
from overopt.worlds.ties import RoundedWorld
from worlds.sampling import best_of_first, z_score

BASE = GaussianWorld(error_sd=1.0)
NS = [1, 2, 16, 1_000, 10**5]


@pytest.mark.parametrize("step", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("n", [1, 2, 16])
def test_best_of_n_equals_monte_carlo(step, n):
    world = RoundedWorld(world=BASE, step=step)
    proxy, gold = world.sample(60_000, n, np.random.default_rng(n))
    assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4
    if np.ptp(proxy) > 0:
        assert abs(z_score(best_of_first(proxy, proxy), world.best_of_n_proxy(n))) < 4
    np.testing.assert_allclose(proxy / step, np.round(proxy / step), atol=1e-9)


@pytest.mark.parametrize("step", [0.05, 0.7, 2.5])
def test_cells_are_outcomes_of_a_table(step):
    world = RoundedWorld(world=BASE, step=step)
    k = np.arange(-math.ceil(12 / step), math.ceil(12 / step) + 1)
    edges = np.array([(i - 0.5) * step / BASE.proxy_sd for i in [*k, k[-1] + 1]])
    below = np.array([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
    moment = -np.diff(np.exp(-(edges**2) / 2)) / math.sqrt(2 * math.pi)
    kept = np.diff(below) > 1e-14
    k, mass, moment = k[kept], np.diff(below)[kept], moment[kept]
    table = TabularWorld(
        probabilities=mass / mass.sum(), proxy=k * step, gold=BASE.slope * BASE.proxy_sd * moment / mass
    )
    for n in (1, 2, 16, 300):
        policy = table.best_of_n(n)
        assert world.best_of_n_gold(n) == pytest.approx(table.gold_of(policy), abs=1e-9)
        assert world.best_of_n_proxy(n) == pytest.approx(table.proxy_of(policy), abs=1e-9)
        assert world.best_of_n_kl(n) == pytest.approx(table.kl_of(policy), abs=1e-9)


@pytest.mark.parametrize("n", NS)
def test_the_dial_runs_from_no_ties_to_nothing_but_ties(n):
    none, fine = RoundedWorld(world=BASE, step=0.0), RoundedWorld(world=BASE, step=1e-3)
    assert none.best_of_n_gold(n) == BASE.best_of_n_gold(n)
    assert none.best_of_n_kl(n) == best_of_n_kl(n)
    assert fine.best_of_n_gold(n) == pytest.approx(BASE.best_of_n_gold(n), abs=1e-5)
    assert fine.best_of_n_kl(n) == pytest.approx(best_of_n_kl(n), abs=1e-3)
    all_tied = RoundedWorld(world=BASE, step=200.0)
    assert all_tied.best_of_n_gold(n) == pytest.approx(0, abs=1e-12)
    assert all_tied.best_of_n_kl(n) == pytest.approx(0, abs=1e-12)
    kls = [RoundedWorld(world=BASE, step=step).best_of_n_kl(n) for step in (0.0, 0.1, 0.5, 2.0, 10.0)]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(kls))


def test_tie_rate_equals_the_share_found_in_samples():
    world = RoundedWorld(world=BASE, step=0.2)
    proxy, _ = world.sample(4_000, 8, np.random.default_rng(0))
    k = np.round(proxy / 0.2)
    tied = ((k[:, :, None] == k[:, None, :]).sum(axis=2) > 1).mean(axis=1)
    assert abs(z_score(tied, world.tie_rate(8))) < 4
    assert world.tie_rate(1) == 0
    assert RoundedWorld(world=BASE, step=0.0).tie_rate(9) == 0


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="step"):
        RoundedWorld(world=BASE, step=-1.0)
    with pytest.raises(ConfigError, match="step"):
        RoundedWorld(world=BASE, step=1e-9)
    with pytest.raises(ConfigError, match="prompt_sd"):
        RoundedWorld(world=GaussianWorld(error_sd=1.0, prompt_sd=1.0), step=1.0)
