"""The made-up study has the truth it claims, by means that share no code with the package's estimators."""

import numpy as np
import pytest

from gao2022.made_tables import GaoConfig, ProxyTruth, RunTruth, Truth, made_study, varied


def test_the_best_of_a_small_group_has_the_gold_of_the_law(tmp_path):
    truth = varied(Truth(proxy=lambda *_: ProxyTruth(alpha=0.5, beta=0.15)), prompts=128, pool=1_024)
    tables = made_study(tmp_path, truth, parts=())
    name = _proxy(tmp_path, truth)
    gold = tables.gold()
    scores = tables.raw_scores(name)
    for n in (2, 8, 32):
        groups = scores.reshape(128, -1, n)
        best = np.take_along_axis(gold.reshape(128, -1, n), groups.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
        d = np.sqrt(np.log(n) - (n - 1) / n)
        error = best.std() / np.sqrt(best.size)
        assert best.mean() == pytest.approx(d * (0.5 - 0.15 * d), abs=4 * error + 0.005)


def test_a_run_has_the_kl_gold_and_proxy_it_was_given(tmp_path):
    run = RunTruth(steps=(0, 10, 20), kl=(0.0, 2.0, 5.0), gold=(0.0, 0.5, 0.1), proxy=(0.0, 1.0, 2.0))
    tables = made_study(tmp_path, Truth(run=lambda *_: run), parts=("policies",))
    found = tables.run("w16-p8000-s0-w128-r0")
    assert found.kl_PK.mean(axis=0) == pytest.approx(run.kl, abs=0.2)
    assert found.gold_PK.mean(axis=0) == pytest.approx(run.gold, abs=0.15)
    assert found.proxy_PK.mean(axis=0) == pytest.approx(run.proxy, abs=0.1)


def test_the_plan_and_the_made_up_study_name_the_same_tables(tmp_path):
    from overopt.studies.gao2022.plan import Plan

    config = GaoConfig(penalty_seeds=1, prompts=8, pool=8, other_pool=8, large_pool=8)
    plan = Plan(config, 0)
    plan.build()
    tables = made_study(tmp_path, Truth(config=config, held_out=60))
    found = {path.relative_to(tables.root).as_posix() for path in tables.root.rglob("*.parquet")}
    assert found == set(plan.tables)
    assert tables._runs == plan.runs


def _proxy(folder, truth):
    from gao2022.made_tables import MadeStudy

    return MadeStudy(folder, truth).proxy("w16", 8_000, 0)
