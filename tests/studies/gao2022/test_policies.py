"""Gold, gap and peak against the size of the initial policy, on made-up policies that differ by a known slope."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.optimize import brentq

from gao2022.made_tables import WIDTHS, Truth, made_study, rl_law, varied
from overopt.records.tables import read_table, settings_of, write_table
from overopt.studies.gao2022 import policies
from overopt.studies.study_tables import StudyTables

PER_TEN = -0.2
"""Change of made gold at d = 1 for ten times the policy's parameters."""


def _claims(tables):
    return {claim.id: claim for claim in policies.answer(tables).claims}


def _size_of(run: str) -> float:
    """log10 of the policy's parameters over the main one's; ``w16-p8000-s0[-POLICY]-r0``."""
    parts = run.split("-")
    return float(np.log10(WIDTHS[parts[3]] / WIDTHS["w64"])) if len(parts) == 5 else 0.0


def _worse_when_larger(name, parameters, penalty):
    run = rl_law(0.45, 0.3)
    d = np.sqrt(run.kl)
    return replace(run, gold=(np.asarray(run.gold) + PER_TEN * _size_of(name) * d).tolist())


@pytest.fixture(scope="module")
def worse(tmp_path_factory):
    truth = Truth(run=_worse_when_larger, gold_noise=0.5)
    return made_study(tmp_path_factory.mktemp("worse"), truth, parts=("policies",))


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    truth = Truth(run=lambda name, parameters, penalty: rl_law(0.45, 0.3, d_max=4.5), gold_noise=0.2)
    return made_study(tmp_path_factory.mktemp("same"), truth, parts=("policies",))


def test_a_gain_that_shrinks_with_size_is_measured_where_gold_is_highest(worse):
    claim = _claims(worse)["policies-rl-gain"]
    found = float(claim.what.rpartition(" ")[2])
    sizes = [_size_of(name) for name in ("a-b-c-r0", "a-b-c-w128-r0", "a-b-c-w224-r0")]
    d = np.append(np.linspace(0.3, 3.0, 200), found)
    gold = np.mean([d * (0.45 - 0.3 * np.log(d) + PER_TEN * size) for size in sizes], axis=0)
    assert gold[-1] == pytest.approx(gold.max(), abs=0.03)
    assert claim.value == pytest.approx(PER_TEN * found, abs=0.1)
    assert claim.ci[0] <= PER_TEN * found <= claim.ci[1]
    assert claim.agreement == "agrees"


def test_a_gap_that_grows_with_size_is_measured_as_a_share_of_the_mean_gap(worse):
    claim = _claims(worse)["policies-gap"]
    sizes = [_size_of(name) for name in ("a-b-c-r0", "a-b-c-w128-r0", "a-b-c-w224-r0")]
    d = np.linspace(0.3, 3.0, 12)
    gaps = [float(np.mean(0.8 * d - d * (0.45 - 0.3 * np.log(d) + PER_TEN * size))) for size in sizes]
    expected = 100 * np.polyfit(sizes, gaps, 1)[0] / np.mean(gaps)
    assert claim.value == pytest.approx(expected, abs=6)
    assert claim.ci[0] <= expected <= claim.ci[1]
    assert (claim.outcome, claim.agreement) == ("above", "differs")


def test_policies_that_gain_alike_have_one_gap_and_one_peak(same):
    claims = _claims(same)
    assert claims["policies-gap"].agreement == "agrees"
    assert claims["policies-peak"].outcome == "equal"
    assert claims["policies-rl-gain"].agreement in ("undetermined", "differs")


def test_a_peak_that_moves_with_size_is_measured(tmp_path):
    # d (alpha - beta ln d) peaks at exp(alpha / beta - 1): 1.65 and, with the larger beta, 1.1. Half is lost at x times
    # that, x (1 - ln x) being one half.
    def run(name, parameters, penalty):
        return rl_law(0.45, 0.45 / (1 + np.log(1.1)) if "w224" in name else 0.3, d_max=4.5)

    x = brentq(lambda x: x * (1 - np.log(x)) - 0.5, 1.5, 3)
    tables = made_study(tmp_path, Truth(run=run, gold_noise=0.2), parts=("policies",))
    assert policies.answer(tables).tables[0].rows[0]["lost"] == pytest.approx(x * np.exp(0.5), abs=0.2)
    claim = _claims(tables)["policies-peak"]
    assert claim.value == pytest.approx(x * (1.1 - np.exp(0.5)), abs=0.2)
    assert claim.ci[1] < 0


def test_best_of_n_from_a_policy_that_the_proxy_cannot_rank_gains_nothing(tmp_path):
    tables = made_study(tmp_path, Truth(), parts=("policies",))
    path = tables.root / "scores-w224/w16-p8000-s0.parquet"
    scores = read_table(path, "scores")
    noise = np.random.default_rng(0).normal(size=len(scores))
    write_table(scores.with_columns(proxy=pl.Series(noise)), path, "scores", {})
    # Opened anew: the tables in hand have read the scores already.
    header = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    answer = policies.answer(StudyTables(tmp_path, header))
    gains = [row["bon"] for row in answer.tables[0].rows]
    truth = Truth().proxy(WIDTHS["w16"], 8_000, "", 0)
    n = 2.0 ** np.arange(1, 7)
    d = np.sqrt(np.log(n) - (n - 1) / n)
    expected = float(np.mean(d * (truth.alpha - truth.beta * d)))
    assert gains == pytest.approx([expected, expected, 0.0], abs=0.08)
    x = np.log10([WIDTHS["w64"], WIDTHS["w128"], WIDTHS["w224"]])
    slope = np.polyfit(x, [expected, expected, 0.0], 1)[0]
    claim = answer.claims[0]
    assert claim.id == "policies-bon-gain"
    assert claim.ci[0] <= slope <= claim.ci[1] < 0


def test_gains_are_over_what_a_policy_said_before(tmp_path):
    tables = made_study(tmp_path, Truth(), parts=("policies",))
    before = policies.answer(tables).tables[0].rows
    path = tables.root / "pools/pool-w224.parquet"
    replies, about = read_table(path, "samples"), settings_of(path, "samples")
    write_table(replies.with_columns(gold=pl.col("gold") + 0.9), path, "samples", about)
    header = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    after = policies.answer(StudyTables(tmp_path, header)).tables[0].rows
    better = 0.9 / tables.gold_map.scale
    assert after[-1]["start"] - before[-1]["start"] == pytest.approx(better)
    assert after[-1]["bon"] == pytest.approx(before[-1]["bon"])
    assert after[-1]["rl"] == pytest.approx(before[-1]["rl"] - better)


def test_policies_come_by_size_with_what_their_own_replies_are_worth(worse):
    rows = policies.answer(worse).tables[0].rows
    assert [row["policy"] for row in rows] == ["chitchat-w64", "chitchat-w128", "chitchat-w224"]
    assert rows[0]["start"] == pytest.approx(0.0, abs=1e-9)


def test_runs_that_keep_their_gold_are_not_compared(tmp_path):
    truth = Truth(run=lambda name, parameters, penalty: rl_law(0.45, 0.02))
    claim = _claims(made_study(tmp_path, truth, parts=("policies",)))["policies-peak"]
    assert claim.value is None
    assert claim.note.startswith("gold of chitchat-w64")


def test_a_study_with_one_policy_or_few_prompts_says_so(tmp_path):
    alone = made_study(tmp_path / "alone", parts=("penalties",))
    assert {claim.outcome for claim in policies.answer(alone).claims} == {"unknown"}
    few = made_study(tmp_path / "few", varied(Truth(), prompts=3, large_prompts=3), parts=("policies",))
    assert {claim.outcome for claim in policies.answer(few).claims} == {"unknown"}
