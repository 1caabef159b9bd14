import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from overopt.errors import ConfigError, DataError
from overopt.stats.best_of_poisson import largest_mu
from overopt.stats.hedge import hedge_tune

# Gold of the quantile u of the proxy: rises, then falls in the far tail.
FALL, POWER = 0.5, 20.0


def gold_of(u):
    return u - FALL * u**POWER


def grid_pools(n_prompts=6, size=40_000):
    """Every pool holds the quantiles themselves, so that plug-in curves are those of the continuous world."""
    u = np.tile((np.arange(size) + 0.5) / size, (n_prompts, 1))
    return u, gold_of(u)


def tune(proxy, gold, selector, seed=0, **options):
    return hedge_tune(proxy, gold, selector=selector, rng=np.random.default_rng(seed), **options)


def test_the_turn_of_best_of_n_is_the_root_of_the_closed_form():
    # E[u^j] under n u^(n-1) is n / (n + j), so the derivative vanishes where (n + m)^2 = c m (n + 1)^2.
    root = np.sqrt(FALL * POWER)
    expected = (POWER - root) / (root - 1)
    tuned = tune(*grid_pools(), "best-of-n", limit=1_000)
    assert tuned.tuned.status == "turns"
    assert tuned.tuned.parameter == pytest.approx(expected, rel=1e-3)
    assert [half.parameter for half in tuned.halves] == pytest.approx([expected] * 2, rel=1e-3)
    gain = expected / (expected + 1) - FALL * expected / (expected + POWER) - (0.5 - FALL / (POWER + 1))
    assert tuned.gain.value == pytest.approx(gain, abs=2e-3)  # a mixture of 7 and 8 samples
    assert tuned.saved.value == pytest.approx(gain + 0.5 - FALL / 21 - (1_000 / 1_001 - FALL * 1_000 / 1_020), abs=2e-3)


def test_the_turn_of_best_of_poisson_is_the_highest_point_of_the_integral():
    def minus_gold(mu):
        return -quad(lambda u: gold_of(u) * (1 + mu * u) * np.exp(mu * (u - 1)), 0, 1, epsabs=1e-13)[0]

    expected = minimize_scalar(minus_gold, bounds=(1, 30), method="bounded", options={"xatol": 1e-8})
    tuned = tune(*grid_pools(), "best-of-poisson", limit=500.0)
    assert tuned.tuned.status == "turns"
    assert tuned.tuned.parameter == pytest.approx(expected.x, rel=1e-3)
    base = 0.5 - FALL / (POWER + 1)
    assert tuned.gain.value == pytest.approx(-expected.fun - base, abs=2e-4)


def test_the_turn_of_the_temperature_is_the_highest_point_of_the_integral():
    def minus_gold(strength):
        gold = quad(lambda u: gold_of(u) * np.exp(strength * (u - 1)), 0, 1)[0]
        return -gold / quad(lambda u: np.exp(strength * (u - 1)), 0, 1)[0]

    expected = minimize_scalar(minus_gold, bounds=(1, 60), method="bounded", options={"xatol": 1e-8})
    tuned = tune(*grid_pools(size=4_000), "soft", limit=0.005)
    assert tuned.tuned.status == "turns"
    assert tuned.tuned.parameter == pytest.approx(1 / expected.x, rel=1e-3)
    assert tuned.gain.value == pytest.approx(-expected.fun - (0.5 - FALL / (POWER + 1)), abs=1e-3)


@pytest.mark.parametrize(
    ("selector", "options", "base", "limit"),
    [
        ("best-of-n", {}, 1.0, 400.0),
        ("best-of-n", {"limit": 64}, 1.0, 64.0),
        ("best-of-poisson", {}, 0.0, largest_mu(400)),
        ("soft", {"limit": 0.01}, np.inf, 0.01),
    ],
)
def test_an_honest_proxy_rises_to_the_limit_and_a_reversed_or_constant_gold_falls(selector, options, base, limit):
    proxy = np.random.default_rng(1).uniform(size=(20, 400))
    honest = tune(proxy, proxy, selector, **options)
    assert (honest.tuned.status, honest.tuned.parameter) == ("rises", limit)
    assert honest.saved.value == pytest.approx(0, abs=1e-12)
    assert honest.gain.value > 0.4
    for gold in (-proxy, np.full_like(proxy, 2.0), np.full_like(proxy, 0.1), np.full_like(proxy, -1 / 3)):
        fallen = tune(proxy, gold, selector, **options)
        assert (fallen.tuned.status, fallen.tuned.parameter) == ("falls", base)
        assert fallen.gain.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("selector", "options"), [("best-of-n", {}), ("best-of-poisson", {}), ("soft", {"limit": 0.01})]
)
def test_held_out_worth_is_not_inflated_by_tuning_on_noise(selector, options):
    """Gold that has nothing to do with the proxy: tuning finds a peak, and other prompts do not confirm it."""
    gains, peaks = [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        proxy, gold = rng.uniform(size=(2, 12, 48))
        tuned = tune(proxy, gold, selector, seed=seed, **options)
        gains.append(tuned.gain.value)
        peaks += tuned.tuned.status != "falls"
    assert peaks > 30
    assert abs(np.mean(gains)) < 4 * np.std(gains, ddof=1) / np.sqrt(60)


@pytest.mark.parametrize(
    ("selector", "options"), [("best-of-n", {}), ("best-of-poisson", {}), ("soft", {"limit": 0.05})]
)
def test_order_layout_and_units_of_gold_do_not_matter(selector, options):
    rng = np.random.default_rng(2)
    proxy = rng.integers(0, 30, (10, 60)) / 30
    gold = gold_of(proxy) + 0.1 * rng.normal(size=proxy.shape)
    tuned = tune(proxy, gold, selector, **options)
    samples = rng.permutation(60)
    shuffled = tune(proxy[:, samples], 3 * gold[:, samples] - 2, selector, **options)
    flat = tune(proxy.ravel(), gold.ravel(), selector, sizes=[60] * 10, **options)
    for other, scale in ((shuffled, 3), (flat, 1)):
        assert other.tuned.status == tuned.tuned.status
        assert other.tuned.parameter == pytest.approx(tuned.tuned.parameter, rel=1e-6)
        assert other.gain.value == pytest.approx(scale * tuned.gain.value, rel=1e-6)
        assert other.saved.stderr == pytest.approx(scale * tuned.saved.stderr, rel=1e-6)
    assert (tuned.gain.unit, tuned.gain.n_units) == ("prompt", 10)


@pytest.mark.parametrize(
    ("selector", "options"), [("best-of-n", {}), ("best-of-poisson", {}), ("soft", {"limit": 0.05})]
)
def test_ragged_pools_are_tuned_as_one_world(selector, options):
    rng = np.random.default_rng(3)
    sizes = rng.integers(200, 260, 80)
    proxy = rng.uniform(size=sizes.sum())
    gold = gold_of(proxy) + 0.05 * rng.normal(size=proxy.size)
    tuned = tune(proxy, gold, selector, sizes=sizes, **options)
    whole = tune(*grid_pools(size=2_000), selector, **options)
    assert tuned.tuned.status == "turns"
    assert tuned.tuned.parameter == pytest.approx(whole.tuned.parameter, rel=0.25)
    assert abs(tuned.gain.value - whole.gain.value) < 5 * tuned.gain.stderr + 0.01


@pytest.mark.parametrize(
    ("proxy", "options", "error", "words"),
    [
        (np.ones((1, 5)), {"selector": "best-of-n"}, DataError, "two prompts"),
        (np.ones((2, 5)), {"selector": "best-of-n", "limit": 6}, ConfigError, "above 1 and at most 5"),
        (np.ones((2, 5)), {"selector": "best-of-n", "limit": 1}, ConfigError, "above 1"),
        (np.ones((2, 5)), {"selector": "best-of-poisson", "limit": 9.0}, ConfigError, "above 0 and at most"),
        (np.ones((2, 5)), {"selector": "soft"}, ConfigError, "lowest temperature"),
        (np.ones((2, 5)), {"selector": "softly"}, ConfigError, "selector must be"),
    ],
)
def test_unusable_settings_are_refused_with_a_sentence(proxy, options, error, words):
    with pytest.raises(error, match=words):
        hedge_tune(proxy, proxy, rng=np.random.default_rng(0), **options)
