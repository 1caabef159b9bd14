import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError, EstimationError, ShapeError
from overopt.stats.bon import best_of_n_curve
from overopt.stats.goodhart import decompose_best_of_n, decompose_policy
from overopt.worlds.goodhart import AdversarialWorld, CausalWorld, ExtremalWorld, regressional_world

PARTS = ("regressional", "extremal", "shift", "unidentified")


def optimised(world, kl, n_prompts, samples, rng):
    """Samples of the policy that the world's failure belongs to, and its expected proxy and gold."""
    if isinstance(world, CausalWorld):
        drawn = world.sample_intervened(kl, n_prompts, samples, rng)
        return *drawn, world.intervened_proxy(kl), world.intervened_gold(kl)
    return *world.sample_tilted(kl, n_prompts, samples, rng), world.tilted_proxy(kl), world.tilted_gold(kl)


def truth(world, kl):
    """gap, regressional part and the rest, split into extremal and shift by what the world is."""
    *_, proxy, gold = optimised(world, kl, 1, 1, np.random.default_rng(0))
    proxy, gold = proxy - world.best_of_n_proxy(1), gold - world.best_of_n_gold(1)
    rest = world.slope * proxy - gold
    is_shift = isinstance(world, CausalWorld | AdversarialWorld)
    return {
        "proxy_gain": proxy,
        "gold_gain": gold,
        "gap": proxy - gold,
        "slope": world.slope,
        "regressional": (1 - world.slope) * proxy,
        "extremal": 0.0 if is_shift else rest,
        "shift": rest if is_shift else 0.0,
    }


def identified_sum(loss):
    return sum(part.value for name in PARTS if not math.isnan((part := getattr(loss, name)).value))


# KL and base such that the policy stays within what the base reaches; the mode of the adversarial world lies where the
# base has its usual high proxies, so that the conditional relation and not the support gives it away.
CASES = [
    *[(regressional_world(dial), 1.0) for dial in (0.0, 0.5, 1.5)],
    *[(ExtremalWorld(dial=dial, onset=1.0, noise_sd=0.3), 1.0) for dial in (0.0, 0.3, 0.9)],
    *[(CausalWorld(dial=dial, correlation=0.6), 1.0) for dial in (0.0, 0.5, 1.0)],
]


@pytest.mark.parametrize(("world", "kl"), CASES, ids=lambda case: str(case)[:40])
def test_the_parts_of_a_policys_loss_recover_the_dial(world, kl):
    rng = np.random.default_rng(0)
    base = world.sample(200, 256, rng)
    proxy, gold, *_ = optimised(world, kl, 200, 32, rng)
    loss = decompose_policy(*base, proxy, gold, rng=rng, draws=400)
    # A few samples per thousand lie beyond the base: what they lose is set apart, and is small.
    assert loss.unidentified_share < 0.005
    for name, expected in truth(world, kl).items():
        part = getattr(loss, name)
        assert part.value == pytest.approx(expected, abs=4.5 * part.stderr + 0.01), name
    assert abs(loss.unidentified.value) < 0.03
    assert identified_sum(loss) == pytest.approx(loss.gap.value, abs=1e-9)


@pytest.mark.parametrize("dial", [0.5, 1.0, 2.0])
def test_a_mode_within_the_bases_proxies_is_a_shift_and_grows_with_its_dial(dial):
    world = AdversarialWorld(dial=dial, rare_mass=1e-4, bonus=2.0)
    rng = np.random.default_rng(1)
    base = world.sample(100, 512, rng)
    # An optimiser that found the mode and nothing else: base-like samples and samples of the mode, at proxies that
    # honest base samples reach too.
    is_rare = rng.random((100, 64)) < 0.4
    proxy = rng.standard_normal((100, 64)) + 2.0 * is_rare
    gold = np.where(is_rare, 1 - dial, 1.0) * proxy
    loss = decompose_policy(*base, proxy, gold, rng=rng, draws=400)
    assert loss.shift.value == pytest.approx(dial * 0.4 * 2.0, abs=4 * loss.shift.stderr + 0.05)
    assert loss.extremal.value == pytest.approx(0, abs=4 * loss.extremal.stderr + 0.02)
    assert loss.regressional.value == pytest.approx(0, abs=0.02)


def test_beyond_the_base_extremal_and_adversarial_are_not_told_apart():
    """Two worlds with the same base: in one the relation bends, in the other a mode was found. Their policies score
    alike, so the decomposition must not choose."""
    rng = np.random.default_rng(2)
    world = AdversarialWorld(dial=1.0, rare_mass=1e-8, bonus=10.0)
    base = world.sample(60, 128, rng)
    loss = decompose_policy(*base, *world.sample_tilted(20.0, 60, 32, rng), rng=rng, draws=200)
    assert loss.status == "unidentified"
    assert loss.unidentified_share > 0.9
    for name in ("extremal", "shift"):
        assert math.isnan(getattr(loss, name).value)
        assert all(math.isnan(end) for end in getattr(loss, name).ci)
    assert loss.regressional.value == pytest.approx(0, abs=1e-6)
    assert loss.unidentified.value == pytest.approx(loss.gap.value, abs=1e-6)
    assert loss.unidentified.value > 9


def test_status_follows_the_share_of_samples_beyond_the_base():
    rng = np.random.default_rng(3)
    x = np.tile(np.linspace(-1, 1, 21), (4, 1))
    for beyond, status in ((0, "identified"), (1, "partly_identified"), (5, "partly_identified"), (6, "unidentified")):
        policy = np.zeros((4, 10))
        policy[:, :beyond] = 3.0
        loss = decompose_policy(x, x, policy, policy, rng=rng, draws=10)
        assert (loss.status, loss.unidentified_share) == (status, pytest.approx(beyond / 10))
        policy[:, :beyond] = -3.0
        assert decompose_policy(x, x, policy, policy, rng=rng, draws=10).status == status


def test_a_policy_that_is_the_base_loses_nothing():
    rng = np.random.default_rng(4)
    proxy, gold = ExtremalWorld(dial=1.0, noise_sd=1.0, prompt_sd=3.0).sample(20, 50, rng)
    loss = decompose_policy(proxy, gold, proxy, gold, rng=rng, draws=50)
    assert loss.status == "identified"
    for name in ("proxy_gain", "gold_gain", "gap", *PARTS):
        assert getattr(loss, name).value == pytest.approx(0, abs=1e-6)
        assert getattr(loss, name).stderr == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("world", [world for world, _ in CASES], ids=lambda world: str(world)[:40])
@pytest.mark.parametrize("n", [4, 64])
def test_the_parts_of_best_of_n_recover_the_dial(world, n):
    rng = np.random.default_rng(5)
    loss = decompose_best_of_n(*world.sample(400, 128, rng), n, rng=rng, draws=300)
    proxy = world.best_of_n_proxy(n) - world.best_of_n_proxy(1)
    gold = world.best_of_n_gold(n) - world.best_of_n_gold(1)
    expected = {
        "proxy_gain": proxy,
        "gold_gain": gold,
        "gap": proxy - gold,
        "slope": world.slope,
        "regressional": (1 - world.slope) * proxy,
        "extremal": world.slope * proxy - gold,
    }
    for name, value in expected.items():
        part = getattr(loss, name)
        assert part.value == pytest.approx(value, abs=4.5 * part.stderr + 1e-9), name
    # Selection keeps the conditional relation of the base, whatever the cause of it: no shift, causal world or not.
    assert (loss.shift.value, loss.shift.ci, loss.unidentified.value) == (0, (0, 0), 0)
    assert (loss.status, loss.unidentified_share) == ("identified", 0)
    assert identified_sum(loss) == pytest.approx(loss.gap.value, abs=1e-12)


@st.composite
def scores(draw):
    n_prompts, base, policy = draw(st.integers(1, 4)), draw(st.integers(2, 6)), draw(st.integers(1, 4))
    numbers = st.integers(-3, 3).map(float)

    def array(width):
        size = n_prompts * width
        return np.reshape(draw(st.lists(numbers, min_size=size, max_size=size)), (n_prompts, width))

    found = array(base), array(base), array(policy), array(policy)
    found[0][0, :2] = 0.0, 1.0  # the proxy varies somewhere
    return found


@given(scores(), st.integers(0, 100))
def test_parts_sum_to_the_gap_exactly(case, seed):
    loss = decompose_policy(*case, rng=np.random.default_rng(seed), draws=20)
    assert identified_sum(loss) == pytest.approx(loss.gap.value, abs=1e-9)
    assert loss.gap.value == pytest.approx(loss.proxy_gain.value - loss.gold_gain.value, abs=1e-12)
    assert loss.proxy_gain.value == pytest.approx((case[2].mean(axis=1) - case[0].mean(axis=1)).mean(), abs=1e-12)
    n = case[0].shape[1]
    best = decompose_best_of_n(case[0], case[1], n, rng=np.random.default_rng(seed), draws=20)
    assert identified_sum(best) == pytest.approx(best.gap.value, abs=1e-9)
    gain = best_of_n_curve(case[0], case[1], [n])[:, 0].mean() - case[1].mean()
    assert best.gold_gain.value == pytest.approx(gain, abs=1e-12)


@given(scores(), st.sampled_from([0.5, 4.0]), st.integers(-9, 9))
def test_units_and_prompt_levels_do_not_change_the_split(case, scale, level):
    loss = decompose_policy(*case, rng=np.random.default_rng(0), draws=20)
    levels = level * np.arange(len(case[0]), dtype=float)[:, None]
    moved = decompose_policy(
        *(scale * scores + shift for scores, shift in zip(case, (levels, -levels, levels, -levels), strict=True)),
        rng=np.random.default_rng(0),
        draws=20,
    )
    assert (moved.status, moved.unidentified_share) == (loss.status, loss.unidentified_share)
    for name in PARTS:
        assert getattr(moved, name).value == pytest.approx(scale * getattr(loss, name).value, abs=1e-6, nan_ok=True)


def test_the_slope_is_within_prompts():
    """Across prompts gold falls with the proxy; within each it rises: only the latter is what an optimiser uses."""
    x = np.tile([-1.0, 0.0, 1.0], (5, 1))
    level = 10.0 * np.arange(5)[:, None]
    loss = decompose_best_of_n(x + level, 0.5 * x - level, 2, rng=np.random.default_rng(0), draws=50)
    assert loss.slope.value == pytest.approx(0.5)
    assert loss.extremal.value == pytest.approx(0, abs=1e-12)
    assert loss.regressional.value == pytest.approx(0.5 * loss.proxy_gain.value)


def test_one_prompt_has_no_intervals():
    rng = np.random.default_rng(6)
    loss = decompose_best_of_n(*regressional_world(1.0).sample(1, 30, rng), 5, rng=rng)
    assert math.isnan(loss.gap.stderr)
    assert all(math.isnan(end) for end in loss.gap.ci)
    assert math.isfinite(loss.gap.value)


def test_prompts_with_a_constant_proxy_leave_draws_without_a_slope_and_say_so():
    x = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    loss = decompose_policy(x, x, x + 0.1, x, rng=np.random.default_rng(0), draws=200)
    assert loss.slope.value == pytest.approx(1)
    assert all(math.isnan(end) for end in loss.slope.ci)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([[1.0, 2.0]], [[1.0]], [[1.0]], [[1.0]]), ShapeError, "one shape"),
        (([[1.0]], [[1.0]], [[1.0]], [[1.0]]), ShapeError, "two samples"),
        (([[1.0, 2.0]], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0], [2.0]]), ShapeError, "1 base prompts"),
        (([[1.0, 2.0]], [[1.0, 2.0]], np.empty((1, 0)), np.empty((1, 0))), ShapeError, "at least one sample"),
        (([[1.0, math.nan]], [[1.0, 2.0]], [[1.0]], [[1.0]]), DataError, "proxy holds 1"),
        (([[1.0, 1.0]], [[1.0, 2.0]], [[1.0]], [[1.0]]), EstimationError, "constant"),
    ],
)
def test_unusable_input_is_refused_with_a_sentence(arguments, error, words):
    with pytest.raises(error, match=words):
        decompose_policy(*arguments, rng=np.random.default_rng(0))


def test_unusable_settings_are_refused():
    pool = np.arange(6.0).reshape(2, 3)
    for n, draws, level in ((4, 10, 0.9), (2, 0, 0.9), (2, 10, 1.0)):
        with pytest.raises(ConfigError):
            decompose_best_of_n(pool, pool, n, rng=np.random.default_rng(0), draws=draws, level=level)


def coverage_of_goodhart_parts(runs=2_000, draws=300) -> list[tuple[str, float]]:
    """How often the nominal 95 % intervals hold the truth: 64 prompts, 32 base and 16 policy samples."""
    found = []
    for world in (regressional_world(1.0), CausalWorld(dial=0.5, correlation=0.6)):
        rng, kl = np.random.default_rng(0), 0.125
        expected = truth(world, kl)
        names = ("gap", "regressional", "extremal", "shift")
        hits = dict.fromkeys(names, 0)
        for _ in range(runs):
            base = world.sample(64, 32, rng)
            proxy, gold, *_ = optimised(world, kl, 64, 16, rng)
            loss = decompose_policy(*base, proxy, gold, rng=rng, draws=draws)
            for name in names:
                low, high = getattr(loss, name).ci
                hits[name] += low <= expected[name] <= high
        found += [(f"{type(world).__name__} policy, {name}", hits[name] / runs) for name in names]
    world, n = ExtremalWorld(dial=0.5, onset=1.0, noise_sd=0.5), 16
    rng = np.random.default_rng(1)
    proxy_gain, gold_gain = world.best_of_n_proxy(n), world.best_of_n_gold(n) - world.best_of_n_gold(1)
    expected = {"regressional": (1 - world.slope) * proxy_gain, "extremal": world.slope * proxy_gain - gold_gain}
    hits = dict.fromkeys(expected, 0)
    for _ in range(runs):
        loss = decompose_best_of_n(*world.sample(64, 64, rng), n, rng=rng, draws=draws)
        for name, value in expected.items():
            low, high = getattr(loss, name).ci
            hits[name] += low <= value <= high
    return found + [(f"ExtremalWorld best-of-{n}, {name}", hits[name] / runs) for name in expected]


@pytest.mark.slow
def test_intervals_of_the_parts_cover_the_truth():
    for case, coverage in coverage_of_goodhart_parts():
        # Refitting the curve to few distinct tail samples adds spread to a draw that fresh prompts would not have.
        highest = 1.0 if "policy, extremal" in case else 0.97
        assert 0.93 <= coverage <= highest, (case, coverage)
