"""RL against best-of-n, on made-up runs that spend a known multiple of the KL of best-of-n."""

from dataclasses import replace

import numpy as np
import pytest

from gao2022.made_tables import MadeStudy, RunTruth, Truth, made_study, varied
from overopt.studies.gao2022 import methods

SIZES = {"proxies": ("chitchat-w8", "chitchat-w16", "chitchat-w32")}


def _study(folder, *, times: float, more_gold: float = 0.0, growth: float = 0.0):
    """Runs that reach each proxy and gold of best-of-n at ``times`` its KL, with ``more_gold`` a unit of proxy.

    ``growth`` raises that multiple in proportion to the proxy, by so much at the highest one.
    """
    small = varied(
        Truth(gold_noise=0.2), **SIZES, seeded_proxy="chitchat-w32", data_proxies=("chitchat-w8",),
        large_proxies=("chitchat-w8",),
    )  # fmt: skip

    def run(name, parameters, penalty):
        curve = study.tables.best_of_n([name.rpartition("-r")[0]])["curve"]
        highest = curve[-1]["proxy"]
        return RunTruth(
            steps=range(len(curve)),
            kl=[(times + growth * point["proxy"] / highest) * point["kl_bound"] for point in curve],
            gold=[point["gold"] + more_gold * point["proxy"] for point in curve],
            proxy=[point["proxy"] for point in curve],
        )

    study = MadeStudy(folder, replace(small, run=run))
    study.sizes()
    return study.tables


def _claims(tables):
    return {claim.id: claim for claim in methods.answer(tables).claims}


@pytest.fixture(scope="module")
def dear(tmp_path_factory):
    return _study(tmp_path_factory.mktemp("dear"), times=4.0)


def test_rl_that_spends_four_times_the_kl_is_found_to(dear):
    claims = _claims(dear)
    for name, within in (("methods-kl-proxy", 0.2), ("methods-kl-gold", 0.8)):
        assert claims[name].value == pytest.approx(4.0, abs=within)
        assert claims[name].ci[0] <= 4.0 <= claims[name].ci[1]
        assert claims[name].agreement == "agrees"
    assert claims["methods-relation"].outcome == "equal"
    assert claims["methods-relation"].value == pytest.approx(0.0, abs=0.03)


def test_rl_that_is_the_cheaper_one_with_better_gold_is_found_to_be(tmp_path):
    tables = _study(tmp_path, times=0.25, more_gold=0.6)
    claims = _claims(tables)
    assert claims["methods-kl-proxy"].value == pytest.approx(0.25, rel=0.05)
    assert claims["methods-kl-proxy"].agreement == "differs"
    # At a quarter, a half and three quarters of the highest proxy that both reach.
    level = np.mean([row["level"] for row in methods.answer(tables).tables[0].rows])
    relation = claims["methods-relation"]
    assert relation.value == pytest.approx(0.6 * level / 2, abs=0.04)
    assert (relation.outcome, relation.agreement) == ("above", "agrees")


def test_the_cost_is_that_of_a_share_of_the_highest_common_score(tmp_path):
    answer = methods.answer(_study(tmp_path, times=1.0, growth=4.0))
    for row in answer.tables[0].rows:
        assert row["proxy_0.5"] == pytest.approx(1 + 4 * 0.5, rel=0.1)
        assert row["proxy_0.75"] == pytest.approx(1 + 4 * 0.75, rel=0.1)
    assert answer.claims[0].value == pytest.approx(1 + 4 * 0.75, rel=0.1)


def test_every_size_has_a_row_and_a_curve_of_each_method_from_the_start(dear):
    answer = methods.answer(dear)
    assert [row["proxy"] for row in answer.tables[0].rows] == ["w8", "w16", "w32"]
    assert all(row["proxy_0.5"] == pytest.approx(4.0, rel=0.1) for row in answer.tables[0].rows)
    starts = [row for row in answer.figures[0].rows if row["k"] == 0]
    assert {(row["size"], row["method"]) for row in starts} == {
        (size, method) for size in ("w8", "w16", "w32") for method in ("PPO", "best-of-n")
    }
    assert all(row["d"] == row["proxy"] == row["gold"] == 0 for row in starts)
    # The made runs are measured at d = 0 and at the eight n above 1, and nothing else is drawn.
    assert len(answer.figures[0].rows) == 3 * 2 * 9


def test_gold_that_never_gains_leaves_the_cost_of_gold_unknown(tmp_path):
    claim = _claims(_study(tmp_path, times=4.0, more_gold=-3.0))["methods-kl-gold"]
    assert claim.outcome == "unknown"
    assert claim.note


def test_few_prompts_or_no_runs_are_said_to_tell_nothing(tmp_path):
    few = made_study(tmp_path / "few", varied(Truth(), prompts=3, large_prompts=3), parts=("sizes",))
    assert {claim.outcome for claim in methods.answer(few).claims} == {"unknown"}
    none = methods.answer(made_study(tmp_path / "none", parts=("labels",)))
    assert all(claim.value is None and claim.note for claim in none.claims)
    assert not none.figures
