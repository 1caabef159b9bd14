"""What the question of the proxy's size finds in made-up studies whose coefficients are known."""

import json
import math

import numpy as np
import pytest

from gao2022.made_tables import WIDTHS, MadeStudy, ProxyTruth, RunTruth, Truth, made_study, rl_law, short, varied
from overopt.studies.gao2022 import sizes


def _size(parameters: int) -> float:
    return math.log10(parameters / 18_000)


def _claims(tables):
    return {claim.id: claim for claim in sizes.answer(tables).claims}


def _figure(answer, name):
    return next(figure for figure in answer.figures if figure.name == name)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """Alpha rises by 0.07 and beta falls by 0.02 for ten times the parameters; beta of PPO falls by 0.06."""

    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.4 + 0.07 * _size(parameters), beta=0.16 - 0.02 * _size(parameters))

    return made_study(tmp_path_factory.mktemp("usual"), Truth(proxy=proxy, seed=3), parts=("sizes",))


@pytest.fixture(scope="module")
def reversed_(tmp_path_factory):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.5 - 0.1 * _size(parameters), beta=0.12 + 0.02 * _size(parameters))

    def run(name, parameters, penalty):
        return rl_law(0.45, 0.18 + 0.06 * _size(parameters))

    return made_study(tmp_path_factory.mktemp("reversed"), Truth(proxy=proxy, run=run), parts=("sizes",))


def test_trends_of_coefficients_hold_the_truth_and_agree_with_the_paper(usual):
    claims = _claims(usual)
    for name, slope in (("sizes-alpha-bon", 0.07), ("sizes-beta-bon", -0.02), ("sizes-beta-rl", -0.06)):
        low, high = claims[name].ci
        assert low <= slope <= high, name
    assert claims["sizes-alpha-bon"].agreement == "agrees"
    assert claims["sizes-beta-rl"].agreement == "agrees"
    assert claims["sizes-gold"].agreement == "agrees"
    assert claims["sizes-peak-kl"].agreement == "agrees"


def test_a_reversed_truth_differs_from_the_paper(reversed_):
    claims = _claims(reversed_)
    assert claims["sizes-gold"].agreement == "differs"
    assert claims["sizes-alpha-bon"].agreement == "differs"
    assert claims["sizes-beta-rl"].agreement == "differs"
    assert claims["sizes-peak-kl"].agreement == "differs"


def test_gold_of_the_largest_against_the_smallest_is_that_of_the_reply_ranked_first(usual):
    claim = _claims(usual)["sizes-gold"]
    gold = usual.gold()
    first = {}
    for base in ("w8", "w224"):
        best = usual.raw_scores(f"{base}-p8000-s0").argmax(axis=1)
        first[base] = gold[np.arange(len(gold)), best]
    assert claim.value == pytest.approx((first["w224"] - first["w8"]).mean())


def test_a_size_left_out_is_predicted_by_the_line_through_the_others(usual):
    table = next(table for table in sizes.answer(usual).tables if table.name == "sizes-left-out")
    rows = [row for row in table.rows if row["coefficient"] == "α, best-of-n"]
    assert len(rows) == 6
    for row in rows:
        others = [other for other in rows if other is not row]
        slope, start = np.polyfit(
            [math.log10(other["parameters"]) for other in others], [other["measured"] for other in others], 1
        )
        assert row["predicted"] == pytest.approx(start + slope * math.log10(row["parameters"]))
        low, high = row["predicted_ci"]
        assert row["held"] == ("yes" if low <= row["measured"] <= high else "no")


def test_a_largest_proxy_off_the_trend_is_told_from_one_on_it(usual, tmp_path):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.05, beta=0.05) if parameters == WIDTHS["w224"] else ProxyTruth(alpha=0.5, beta=0.12)

    on_trend, off_trend = _claims(usual), _claims(made_study(tmp_path, Truth(proxy=proxy), parts=("sizes",)))
    low, high = on_trend["sizes-largest-predicted"].ci
    assert low <= 0 <= high
    assert off_trend["sizes-largest-predicted"].outcome == "below"
    assert off_trend["sizes-largest-predicted"].agreement == "differs"


def test_peaks_lie_where_the_laws_of_the_truth_turn(usual):
    rows = _figure(sizes.answer(usual), "sizes-peaks").rows
    held = []
    for row in rows:
        truth = 0.3 - 0.06 * _size(row["parameters"])
        if row["method"] == "PPO":
            kl = math.exp(0.45 / truth - 1) ** 2
        else:
            kl = ((0.4 + 0.07 * _size(row["parameters"])) / (0.32 - 0.04 * _size(row["parameters"]))) ** 2
        if row["low"] is not None:
            held.append(row["low"] <= kl <= row["high"])
    assert len(held) >= 8
    assert np.mean(held) >= 0.75


def test_a_proxy_at_chance_is_left_out_of_trends_and_said_so(tmp_path):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.0, beta=0.0) if parameters == WIDTHS["w8"] else ProxyTruth(alpha=0.5, beta=0.12)

    claim = _claims(made_study(tmp_path, Truth(proxy=proxy), parts=("sizes",)))["sizes-alpha-bon"]
    assert claim.counted == "5 sizes about a straight line"
    assert claim.note == "1 of 6 sizes have no usable fit"


def test_runs_are_those_of_the_proxy_s_own_seed_and_their_verdicts_are_counted(tmp_path):
    falling = RunTruth(
        steps=(0, 10, 20, 30, 40), kl=(0, 1, 3, 6, 9), gold=(0, 0.8, 0.6, 0.1, -0.6), proxy=(0, 1, 2, 3, 4)
    )
    truth = varied(Truth(run=lambda *_: falling), proxy_seeds=2, seeded_proxy="chitchat-w16", penalty_seeds=3)
    tables = made_study(tmp_path, truth, parts=("sizes", "penalties"))
    rows = {row["size"]: row for row in sizes.answer(tables).tables[0].rows}
    assert rows["w16"]["rl"] == "2 over-optimized"
    assert rows["w128"]["rl"] == "1 over-optimized"
    assert rows["w16"]["seeds"] == 2


def test_kl_by_step_is_the_mean_over_seeds_of_the_training_log(tmp_path):
    def run(name, parameters, penalty):
        return RunTruth(steps=(0, 4), kl=(0.0, 8.0 if "-s1-" in name else 4.0), gold=(0, 0), proxy=(0, 1))

    truth = varied(Truth(run=run), proxy_seeds=2, seeded_proxy="chitchat-w8")
    rows = _figure(sizes.answer(made_study(tmp_path, truth, parts=("sizes",))), "sizes-kl").rows
    of_w8 = [row["kl"] for row in rows if row["parameters"] == WIDTHS["w8"]]
    assert of_w8 == pytest.approx([1.5, 3.0, 4.5, 6.0])


def test_a_study_too_small_for_anything_claims_nothing(tmp_path):
    truth = varied(
        proxies=("chitchat-w8", "chitchat-w16"), data_proxies=("chitchat-w8",), large_proxies=("chitchat-w8",),
        prompts=3, pool=8, large_prompts=2, seeded_proxy="chitchat-w8",
    )  # fmt: skip
    found = sizes.answer(made_study(tmp_path, truth, parts=("sizes",)))
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_proxies_without_runs_still_give_best_of_n(tmp_path):
    truth = Truth()
    study = MadeStudy(tmp_path, truth)
    for base in truth.config.proxies:
        study.proxy(short(base), 8_000, 0)
    claims = _claims(study.tables)
    assert claims["sizes-beta-rl"].outcome == "unknown"
    assert claims["sizes-alpha-bon"].outcome != "unknown"


def test_sizes_that_were_trained_once_are_those_of_the_tables(tmp_path):
    def caveats(folder, seeded):
        settings = {"proxies": ("chitchat-w8", "chitchat-w16", "chitchat-w32"), "seeded_proxy": seeded}
        settings |= {"data_proxies": ("chitchat-w8",), "large_proxies": ("chitchat-w8",), "pool": 16, "prompts": 8}
        truth = varied(Truth(), proxy_seeds=2, **settings)
        return " ".join(sizes.answer(made_study(tmp_path / folder, truth, parts=("sizes",))).caveats)

    assert "Trained once: w16, w32." in caveats("some", "chitchat-w8")
    assert "Trained once" not in caveats("none", "chitchat-w32")
