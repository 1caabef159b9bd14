import itertools

import numpy as np
import pytest
from scipy.special import ndtri

from gao2022.changed_tables import change, opened_again, raw_gold
from gao2022.made_tables import MadeStudy, Truth, varied
from overopt.stats.bon import kl_bound
from overopt.studies.gao2022.extrapolation import answer

FORMS = {
    "simple": lambda d: d * (0.9 - 0.2 * d),
    "log": lambda d: d * (1.0 - 0.6 * np.log1p(d)),
}


def gold_of_rank(u, form):
    """E[gold | rank u] with which best-of-n has the gold of the form: E[u^k] of the best of n is n / (n + k)."""
    powers = np.concatenate([[0.0], 2.0 ** np.arange(-2, 15)])
    n = 2.0 ** np.arange(0, 15, 0.5)
    target = FORMS[form](np.sqrt(np.asarray(kl_bound(n.astype(int).tolist()))))
    design = n.astype(int)[:, None] / (n.astype(int)[:, None] + powers)
    ridge = 1e-4 * np.eye(powers.size)
    weights, *_ = np.linalg.lstsq(
        np.concatenate([design, ridge]), np.concatenate([target, np.zeros(powers.size)]), rcond=None
    )
    return (u[..., None] ** powers) @ weights


def large_study(folder, form, *, prompts=16, pool=8_192, limit=64, noise=0.02):
    settings = {"proxies": ("chitchat-w8", "chitchat-w16"), "reference_proxy": "chitchat-w8", "pool": 32}
    settings |= {"seeded_proxy": "chitchat-w8", "data_proxies": ("chitchat-w8",), "large_proxies": ("chitchat-w8",)}
    truth = varied(Truth(), large_prompts=prompts, large_pool=pool, fitted_up_to=limit, **settings)
    study = MadeStudy(folder, truth)
    study.extrapolation()
    rng = np.random.default_rng(1)
    u = rng.random((prompts, pool))
    gold = gold_of_rank(u, form) + noise * rng.standard_normal(u.shape)
    change(study.root / "pools/pool-large.parquet", "samples", lambda _: {"gold": raw_gold(gold).ravel()})
    change(study.root / "scores-large/w8-p8000-s0.parquet", "scores", lambda _: {"proxy": ndtri(u).ravel()})
    return opened_again(study.tables)


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    return answer(large_study(tmp_path_factory.mktemp("simple"), "simple"))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return answer(large_study(tmp_path_factory.mktemp("log"), "log"))


def claim(answer, name):
    return next(claim for claim in answer.claims if claim.id == f"extrapolation-{name}")


def test_gold_of_the_simple_form_is_foretold_better_by_it(simple):
    found = claim(simple, "log-minus-simple")
    assert (found.outcome, found.agreement) == ("above", "not_comparable")


def test_gold_of_the_log_form_is_foretold_better_by_that_one(log):
    found = claim(log, "log-minus-simple")
    assert (found.outcome, found.agreement) == ("below", "not_comparable")
    assert "form for RL" in found.published.why_not


def test_an_extrapolation_that_is_right_is_called_so(simple):
    found = claim(simple, "error")
    assert (found.outcome, found.agreement) == ("equal", "agrees")
    assert found.value == pytest.approx(0, abs=0.06)


def test_an_extrapolation_by_the_wrong_form_promises_too_little_by_what_the_forms_differ(log):
    """Oracle: the simple form fitted to the exact log form at the same n."""
    ns = np.array([row["n"] for row in log.figures[0].rows if row["curve"] == "measured"])
    d = np.sqrt(np.asarray(kl_bound(ns.tolist())))
    used = (ns > 1) & (ns <= 64)
    columns = np.stack([d, -(d**2)], axis=1)
    alpha, beta = np.linalg.lstsq(columns[used], FORMS["log"](d[used]), rcond=None)[0]
    beyond = d[ns > 64]
    expected = np.mean(beyond * (alpha - beta * beyond) - FORMS["log"](beyond))
    found = claim(log, "error")
    assert found.outcome == "below"
    assert found.agreement == "differs"
    assert found.value == pytest.approx(expected, abs=0.03)


def test_a_line_is_worse_than_a_law_where_gold_bends(simple):
    assert claim(simple, "line-minus-simple").outcome == "above"


def test_the_exponent_is_that_of_the_form(simple, log):
    assert claim(simple, "gamma").ci[0] < 1 < claim(simple, "gamma").ci[1]
    assert claim(log, "gamma").outcome == "below"
    assert claim(log, "gamma").agreement == "not_comparable"


def test_points_beyond_the_limit_play_no_part_in_the_fit(tmp_path):
    first = large_study(tmp_path / "a", "simple", limit=64)
    second = large_study(tmp_path / "b", "simple", limit=64)

    def lifted(frame):
        """The best reply of each prompt: among 64 of 8,192 it is in one case of 128, among all of them always."""
        proxy = first.raw_scores("w8-p8000-s0", "scores-large", "pool-large")
        rank = proxy.argsort(axis=1).argsort(axis=1)
        return {"gold": frame["gold"].to_numpy() + 3 * (rank >= proxy.shape[1] - 1).ravel()}

    change(second.root / "pools/pool-large.parquet", "samples", lifted)
    rows = [answer(tables).tables[0].rows[0] for tables in (first, opened_again(second))]
    assert rows[1]["measured"] > rows[0]["measured"] + 1.5
    assert rows[1]["foretold"] == pytest.approx(rows[0]["foretold"], abs=0.1)


def test_the_curve_has_two_points_for_each_doubling_however_large_the_pool(simple):
    """A point of a pool of 60,000 costs a tenth of a second, so a grid of all n would take hours."""
    ns = [row["n"] for row in simple.figures[0].rows if row["curve"] == "measured"]
    assert {1, 2, 64, 8_192} <= set(ns)
    assert len(ns) <= 2 * 13 + 2
    assert max(b / a for a, b in itertools.pairwise(ns[1:])) <= 1.6


def test_a_pool_no_larger_than_the_limit_leaves_the_claims_unknown(tmp_path):
    found = answer(large_study(tmp_path, "simple", prompts=2, pool=4, limit=1_000))
    assert {one.outcome for one in found.claims} == {"unknown"}
    assert all(one.note for one in found.claims)


def test_three_prompts_have_no_intervals(tmp_path):
    found = answer(large_study(tmp_path, "simple", prompts=3, pool=256, limit=16))
    assert claim(found, "error").value is not None
    assert {one.outcome for one in found.claims} == {"unknown"}
