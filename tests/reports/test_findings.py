"""The sentences say what the numbers say: change a number and the sentence changes with it."""

from typing import Any

import pytest

from overopt.errors import DataError
from overopt.reports.findings import headlines, introduction, outcomes, status_words
from overopt.reports.results import Sizes, check_schema, interval_word

Json = dict[str, Any]


def _group(results: Json, method: str, name: str) -> Json:
    found: Json = next(row for row in results[method] if row["group"] == name)
    return found


def _sentence(results: Json, method: str, name: str) -> str:
    return next(found for found in outcomes(results, method) if found.row["group"] == name).sentence  # type: ignore[arg-type]


def test_a_flipped_verdict_changes_the_sentence_and_the_tally(results: Json) -> None:
    before = headlines(results)
    assert _sentence(results, "bon", "w8-p10000").startswith("Gold falls after its peak")
    assert "over-optimized in 3" in before[0]

    _group(results, "bon", "w8-p10000")["verdict"] = "not_overoptimized"
    assert _sentence(results, "bon", "w8-p10000").startswith("Gold does not fall")
    assert "over-optimized in 2" in headlines(results)[0]

    _group(results, "bon", "w8-p10000")["verdict"] = "undetermined"
    assert _sentence(results, "bon", "w8-p10000").startswith("The data do not tell")


@pytest.mark.parametrize("verdict", ["not_overoptimized", "undetermined", None, "something_new"])
def test_nobody_is_said_to_fall_without_a_verdict_of_over_optimization(results: Json, verdict: str | None) -> None:
    for method in ("bon", "rl"):
        for row in results[method]:
            row["verdict"] = row["drop"]["verdict"] = verdict
        for outcome in outcomes(results, method):
            assert "Gold falls" not in outcome.sentence
    text = " ".join(headlines(results))
    assert "over-optimized" not in text
    assert "fall in" not in text


def test_the_proxy_is_said_to_rise_only_if_it_did(results: Json) -> None:
    results["bon"] = [_group(results, "bon", "w8-p10000")]
    assert "while its proxy rises" in " ".join(headlines(results))
    for point in results["bon"][0]["curve"]:
        point["proxy"] = -point["proxy"]
    assert "while its proxy falls from" in " ".join(headlines(results))


def test_the_peak_is_the_point_that_the_drop_names(results: Json) -> None:
    group = _group(results, "bon", "w128-p10000")
    group["drop"]["peak"] = 4
    outcome = next(found for found in outcomes(results, "bon") if found.row is group)
    assert outcome.peak["n"] == 4
    assert outcome.end["n"] == 1024


def test_a_slope_within_two_standard_errors_is_no_trend(results: Json) -> None:
    trend = results["trends"][0]
    results["trends"] = [trend]
    assert "α rises by 0.070" in " ".join(headlines(results))
    trend["slope"] = -0.07
    assert "α falls by 0.070" in " ".join(headlines(results))
    trend["slope"], trend["slope_se"] = 0.02, 0.012
    assert "α has no clear trend (+0.020" in " ".join(headlines(results))
    trend["slope_se"] = None
    assert "error unknown" in " ".join(headlines(results))
    trend["slope"] = None
    assert "α" not in " ".join(headlines(results))


def test_the_introduction_counts_what_is_there(results: Json) -> None:
    assert "20 learned reward models" in introduction(results)
    assert "reinforcement learning (6 runs)" in introduction(results)
    results["rl"] = []
    results["proxies"] = results["proxies"][:1]
    assert "reinforcement learning" not in introduction(results)
    assert "the proxy, a learned reward model" in introduction(results)


def test_every_status_has_words_and_an_absent_fit_is_not_a_good_one() -> None:
    words = {status_words({"status": status}) for status in ("ok", "poor_fit", "unidentified", "too_few_points")}
    assert len(words) == 4
    assert status_words({}) == "no fit"


def test_sizes_are_ordered_by_width_not_by_their_names(results: Json) -> None:
    assert list(Sizes.of(results).labels) == [8, 16, 32, 64, 128]


def test_a_level_is_named_only_if_the_settings_know_it(results: Json) -> None:
    assert interval_word(results) == "95 % interval"
    results["level"] = 0.9
    assert interval_word(results) == "90 % interval"
    del results["level"]
    assert interval_word(results) == "interval"


@pytest.mark.parametrize("other", [{}, {"schema": "overopt.bon/1"}, None, []])
def test_other_results_are_refused(other: object) -> None:
    with pytest.raises(DataError, match=r"overopt\.study/1"):
        check_schema(other)  # type: ignore[arg-type]
