import math

import numpy as np
import pytest
from scipy import stats

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.tails import choose_k, heavy_tail_test, hill_curve, moment_curve, proxy_error, quantile_plot

N = 4000


def verdicts(draw, runs, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return [heavy_tail_test(draw(rng), rng=rng, draws=1000, **settings).tail for _ in range(runs)]


def test_hill_by_definition_and_shift_of_scale():
    values = np.random.default_rng(1).pareto(2, 500) + 1
    ranked = np.sort(values)[::-1]
    for k, xi in zip([1, 10, 200], hill_curve(values, [1, 10, 200]).xi, strict=True):
        assert xi == pytest.approx(np.mean([math.log(v / ranked[k]) for v in ranked[:k]]))
    np.testing.assert_allclose(hill_curve(7 * values, [1, 10]).xi, hill_curve(values, [1, 10]).xi)


def test_hill_of_a_pareto_law_is_unbiased_with_its_standard_error():
    rng = np.random.default_rng(2)
    found = [hill_curve(rng.pareto(3, 1000) + 1, [100]) for _ in range(1000)]
    xi = np.ravel([f.xi for f in found])
    assert xi.mean() == pytest.approx(1 / 3, abs=4 * xi.std() / math.sqrt(1000))
    assert np.mean([f.stderr for f in found]) == pytest.approx(xi.std(), rel=0.1)


@pytest.mark.parametrize(
    ("draw", "xi", "slack"),
    [
        (lambda rng: rng.pareto(2, 100_000) + 1, 0.5, 0.02),
        (lambda rng: rng.random(100_000), -1.0, 0.05),
        (lambda rng: rng.standard_exponential(100_000), 0.0, 0.15),
    ],
)
def test_the_moment_estimator_knows_all_signs(draw, xi, slack):
    found = moment_curve(draw(np.random.default_rng(3)), [1000])
    assert abs(found.xi[0] - xi) < 4 * found.stderr[0] + slack


def test_moment_standard_error_matches_its_spread():
    rng = np.random.default_rng(4)
    for draw in (lambda: rng.pareto(2, 2000) + 1, lambda: 2 + rng.random(2000)):
        found = [moment_curve(draw(), [400]) for _ in range(400)]
        assert np.std([f.xi for f in found]) == pytest.approx(np.mean([f.stderr for f in found]), rel=0.15)


def test_the_chosen_k_stays_within_the_power_law():
    """Pareto above 1 in the largest 20 %, uniform below."""
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.pareto(2, 2000) + 1, rng.random(8000)])
    k = choose_k(values, [20, 200, 1000, 1900, 4000, 8000])
    assert k <= 1900
    assert hill_curve(values, [k]).xi[0] == pytest.approx(0.5, abs=0.1)


def test_quantile_plots_are_straight_for_their_law():
    rng = np.random.default_rng(6)
    for reference, sample in (("normal", 3 + 2 * rng.normal(size=N)), ("exponential", rng.standard_exponential(N))):
        plot = quantile_plot(sample, reference)
        assert np.corrcoef(plot.reference, plot.sample)[0, 1] > 0.995
    assert quantile_plot([2.0, 1.0], "exponential").reference == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_proxy_error_is_what_gold_does_not_explain():
    rng = np.random.default_rng(7)
    gold, error = rng.normal(size=(40, 500)), rng.normal(size=(40, 500))
    proxy = 3 * gold + error + 10 * rng.normal(size=(40, 1))
    found = proxy_error(proxy, gold)
    assert np.corrcoef(found.ravel(), error.ravel())[0, 1] > 0.99
    assert abs((found * gold).sum()) < 1e-8
    assert found.mean(axis=1) == pytest.approx(np.zeros(40), abs=1e-12)
    np.testing.assert_allclose(proxy_error(proxy, np.ones((40, 500))), proxy - proxy.mean(axis=1, keepdims=True))


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.standard_exponential(1000), lambda rng: rng.normal(size=1000), lambda rng: rng.random(1000)],
)
def test_no_light_tail_is_called_heavy_more_often_than_promised(draw):
    runs = 200
    assert np.mean([tail == "heavy" for tail in verdicts(draw, runs)]) <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / runs)


def test_heavy_and_light_tails_are_recognised():
    assert np.mean([t == "heavy" for t in verdicts(lambda rng: rng.standard_t(3, N), 50)]) > 0.8
    assert np.mean([t == "heavy" for t in verdicts(lambda rng: rng.lognormal(0, 1, N), 50)]) > 0.6
    assert np.mean([t == "light" for t in verdicts(lambda rng: rng.normal(size=4 * N), 50)]) > 0.6
    assert np.mean([t == "light" for t in verdicts(lambda rng: rng.random(N), 20)]) == 1


def test_copies_within_a_prompt_are_no_evidence():
    """Twenty copies of each of 50 tail values of an exponential would look like a thousand independent ones."""
    found = []
    rng = np.random.default_rng(8)
    for _ in range(100):
        values = np.repeat(rng.standard_exponential(1000), 20)
        found.append(heavy_tail_test(values, units=np.repeat(np.arange(1000), 20), rng=rng, draws=500))
    assert np.mean([f.tail == "heavy" for f in found]) <= 0.1
    assert np.median([f.design_effect for f in found]) > 12
    naive = [heavy_tail_test(np.repeat(rng.standard_exponential(1000), 20), rng=rng, draws=500).tail for _ in range(50)]
    assert np.mean([tail == "heavy" for tail in naive]) > 0.15


def test_shift_and_scale_change_no_verdict():
    values = np.random.default_rng(9).standard_t(3, 2000)
    first, mapped = (heavy_tail_test(v, rng=np.random.default_rng(0)) for v in (values, 3 * values - 100))
    assert mapped.p_heavier == first.p_heavier
    assert mapped.xi == pytest.approx(first.xi, abs=1e-5)
    assert mapped.threshold == pytest.approx(3 * first.threshold - 100)


@pytest.mark.parametrize("xi", [-0.3, -0.1, 0.1, 0.4, 1.0])
def test_xi_is_the_maximum_of_the_generalised_pareto_likelihood(xi):
    values = np.concatenate([np.zeros(1), stats.genpareto.rvs(xi, size=500, random_state=10)])
    found = heavy_tail_test(values, rng=np.random.default_rng(0), share=0.998)
    excess = np.sort(values)[-found.exceedances :] - found.threshold
    shape, _, scale = stats.genpareto.fit(excess, floc=0)
    ours = max(stats.genpareto.logpdf(excess, found.xi, 0, s).sum() for s in np.linspace(0.5 * scale, 2 * scale, 3001))
    assert (found.exceedances, found.threshold) == (500, np.sort(values)[0])
    assert ours >= stats.genpareto.logpdf(excess, shape, 0, scale).sum() - 1e-3
    assert found.xi_stderr == pytest.approx((1 + found.xi) / math.sqrt(found.exceedances), rel=1e-6)


def test_few_or_equal_values_are_undetermined():
    rng = np.random.default_rng(0)
    for values in (np.arange(30.0), np.zeros(1000), np.repeat([0.0, 1.0], [500, 500])):
        found = heavy_tail_test(values, rng=rng)
        assert found.tail == "undetermined"
        assert math.isnan(found.xi)


def test_what_has_no_tail_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="positive"):
        hill_curve([-1.0, -2.0, 3.0], [1])
    with pytest.raises(ConfigError):
        hill_curve([1.0, 2.0], [2])
    with pytest.raises(DataError):
        heavy_tail_test([1.0], rng=rng)
    with pytest.raises(ConfigError):
        heavy_tail_test([1.0, 2.0], rng=rng, share=1.0)
    with pytest.raises(ShapeError):
        heavy_tail_test([1.0, 2.0], rng=rng, units=[1])
    with pytest.raises(ConfigError):
        quantile_plot([1.0], "uniform")


def coverage_of_tail_indices(runs=2000):
    rng = np.random.default_rng(11)
    cases = []
    found = [hill_curve(rng.pareto(3, 1000) + 1, [100]) for _ in range(runs)]
    covered = [abs(f.xi[0] - 1 / 3) <= 1.96 * f.stderr[0] for f in found]
    cases.append(("Hill, Pareto of index 3, k = 100", float(np.mean(covered))))
    for xi in (-0.2, 0.0, 0.3):
        tests = [
            heavy_tail_test(stats.genpareto.rvs(xi, size=4000, random_state=rng), rng=rng, draws=1) for _ in range(runs)
        ]
        covered = [t.xi_ci[0] <= xi <= t.xi_ci[1] for t in tests]
        cases.append((f"generalised Pareto, xi {xi}, 200 exceedances", float(np.mean(covered))))
    return cases


@pytest.mark.slow
def test_tail_indices_cover_as_the_docstring_says():
    lowest = [0.92, 0.87, 0.90, 0.93]
    for (case, coverage), low in zip(coverage_of_tail_indices(1000), lowest, strict=True):
        assert low <= coverage <= 0.97, (case, coverage)
