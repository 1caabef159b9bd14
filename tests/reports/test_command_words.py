"""The sentences that terminal, page and picture share: what each says, and that nothing unknown is put in words."""

import pytest

from overopt.reports.command_answers import bon_answer, diagnose_answer, eval_rm_answer, fit_answer
from overopt.reports.command_words import (
    drop_sentence,
    forecast_sentence,
    grid_sentence,
    law_sentence,
    left_out_sentences,
    misgivings,
    run_sentence,
    shared_sentence,
)

FIT = {
    "group": None, "law": "bon", "alpha": 0.6, "beta": 0.2, "alpha_ci": [0.5, 0.7], "beta_ci": [0.1, 0.3], "r2": 0.98,
    "points": 9, "status": "ok", "intervals": "units", "left_out": 0, "lack_of_fit": None, "widened_by": 1.0,
    "peak": {"d": 1.5, "kl": 2.25, "gold": 0.45, "inside_data": True, "d_ci": [1.2, 1.9], "gold_ci": [0.4, 0.5]},
    "best_seen": {"d": 1.4, "gold": 0.46},
}  # fmt: skip
BON = {
    "prompts": 200, "samples_per_prompt": {"min": 125, "max": 128}, "missing": 0, "prompts_left_out": 0, "level": 0.95,
    "tie_rate": 0.0, "fit": FIT, "verdict": "undetermined", "drop": {"drop": 0.1, "ci": [-0.1, 0.3], "seen": 0.127},
    "curve": [
        {"n": n, "kl": 0.1 * n, "proxy": n, "gold": 1.0, "gold_se": 0.1, "gain": 0.1, "gain_ci": [0.0, 0.2],
         "oracle": 2.0} for n in (1, 125)
    ],
}  # fmt: skip


def test_a_drop_is_told_as_seen_and_as_held_out() -> None:
    drop = {"drop": -0.048, "ci": [-0.169, 0.09], "seen": 0.127, "prompts_to_decide": 318.4}
    assert drop_sentence(BON | {"drop": drop}) == (
        "undetermined: whether gold falls from its peak to the largest n is open (drop seen 0.127; held out "
        "−0.048 [−0.169, 0.090]); about 320 prompts would decide"
    )


@pytest.mark.parametrize("verdict", ["overoptimized", "not_overoptimized"])
def test_a_verdict_that_is_clear_asks_for_no_more_prompts_and_none_denies_twice(verdict) -> None:
    drop = {"drop": 0.1, "ci": [0.05, 0.2], "seen": 0.1, "prompts_to_decide": 10}
    sentence = drop_sentence(BON | {"drop": drop, "verdict": verdict})
    assert "would decide" not in sentence
    assert sentence.removeprefix("not overoptimized").count("not") == 0


def test_too_few_prompts_are_said_to_be_too_few() -> None:
    assert drop_sentence(BON | {"drop": {"drop": None, "ci": [None, None]}}).endswith(
        "too few prompts or points to say"
    )
    unknown = {"drop": 0.1, "ci": [-0.1, 0.3], "seen": 0.1, "prompts_to_decide": None}
    assert drop_sentence(BON | {"drop": unknown}).endswith("; too few prompts to say how many would decide")
    no_fall = {"drop": 0.1, "ci": [-0.1, 0.3], "seen": 0.0, "prompts_to_decide": None}
    assert drop_sentence(BON | {"drop": no_fall}).endswith("0.300])")
    # Results without these keys claim nothing about them.
    assert drop_sentence(BON | {"drop": {"drop": 0.1, "ci": [-0.1, 0.3]}}).endswith(
        "(drop held out 0.100 [−0.100, 0.300])"
    )


def test_a_grid_that_stops_early_is_explained() -> None:
    assert grid_sentence(BON | {"smaller_pools": 75}) == (
        "n stops at 125, the fewest samples of a prompt; --min-samples 128 would leave out 75 of 200 prompts"
    )
    assert grid_sentence(BON | {"smaller_pools": 0}) is None
    assert grid_sentence(BON) is None


def test_few_prompts_and_unknown_wins_are_noted() -> None:
    assert not any("no intervals" in note for note in bon_answer(BON).notes)
    unknown = [point | {"gain_ci": [None, None]} for point in BON["curve"]]
    assert any(
        note.startswith("no intervals: 3 prompts ") for note in bon_answer(BON | {"prompts": 3, "curve": unknown}).notes
    )
    assert not any("wins" in note for note in bon_answer(BON).notes)
    curve = [BON["curve"][0] | {"win_rate": 0.5}, BON["curve"][1] | {"win_rate": None}]
    assert any(note.startswith("wins –: ") for note in bon_answer(BON | {"curve": curve}).notes)


def test_a_law_says_its_peak_only_where_the_law_is_to_be_believed() -> None:
    assert law_sentence(FIT) == (
        "R(d) = d(α − βd), d = √KL: α 0.600 [0.500, 0.700], β 0.200 [0.100, 0.300], R² 0.980; peak at d 1.50 "
        "[1.200, 1.900] (2.25 nats), inside the data"
    )
    assert "peak at" not in law_sentence(FIT | {"status": "poor_fit"})
    outside = FIT | {"peak": FIT["peak"] | {"inside_data": False}}
    assert "extrapolation" in law_sentence(outside | {"d_range": [0.2, 1.2]})
    assert law_sentence(outside | {"d_range": [2.0, 4.0]}).endswith("before the first point above KL 0")
    assert law_sentence(FIT | {"status": "too_few_points", "points": 3}).endswith(
        "too few points to fit (3 above KL 0)"
    )
    assert law_sentence(FIT | {"peak": None}).endswith("; no turn")
    assert law_sentence(FIT | {"peak": None, "shape": "falls"}).endswith("; gold falls from the start")
    assert law_sentence(FIT | {"peak": None, "shape": "rises"}).endswith("; gold rises without a turn")


def test_what_speaks_against_a_fit_is_said() -> None:
    assert misgivings(FIT) == []
    assert misgivings(FIT | {"lack_of_fit": {"p_value": 0.02}, "widened_by": None}) == []
    assert misgivings(FIT | {"status": "poor_fit", "lack_of_fit": {"p_value": 0.0004}, "widened_by": 2.55}) == [
        "the law misses the points by more than their errors (p below 0.001)",
        "the intervals are widened 2.5 times for that",
    ]
    assert misgivings(FIT | {"status": "poor_fit", "lack_of_fit": None}) == [
        "the law misses most of the variation of the points"
    ]
    assert misgivings(FIT | {"status": "poor_fit", "lack_of_fit": None, "chance": 0.31}) == [
        "the law explains no more than chance would (p 0.310)"
    ]
    assert misgivings(FIT | {"status": "poor_fit", "lack_of_fit": None, "chance": 0.001}) == [
        "the law misses most of the variation of the points"
    ]
    assert misgivings(FIT | {"status": "unidentified"}) == ["the data do not show where gold turns"]


def test_what_speaks_against_many_fits_is_counted() -> None:
    poor = FIT | {"status": "poor_fit", "lack_of_fit": {"p_value": 0.0004}, "widened_by": 2.55}
    far = FIT | {"best_seen": {"d": 3.0, "gold": 0.4}}
    report = {"shared": None, "level": 0.95, "missing": 0}
    few = [fit | {"group": f"g{i}"} for i, fit in enumerate([poor, FIT, far])]
    sentences = fit_answer(report | {"groups": few}).sentences
    assert [sentence.split(":")[0] for sentence in sentences] == ["g0", "g2"]
    assert fit_answer(report | {"groups": few * 5}).sentences == [
        "5 groups: the law misses the points by more than their errors",
        "5 groups: the best point seen lies outside the interval of the law's peak",
    ]


@pytest.mark.parametrize(
    ("d", "bounds", "is_said"),
    [(1.4, [1.2, 1.9], False), (1.0, [1.2, 1.9], True), (2.0, [1.2, 1.9], True), (2.0, [1.2, None], False),
     (2.0, [None, None], False), (None, [1.2, 1.9], False)],
)  # fmt: skip
def test_a_best_point_outside_the_interval_of_the_peak_is_said(d, bounds, is_said) -> None:
    fit = FIT | {"peak": FIT["peak"] | {"d_ci": bounds}, "best_seen": {"d": d, "gold": 0.46}}
    assert any("the best point seen, 0.460 at d" in words for words in misgivings(fit)) is is_said


def test_one_alpha_for_all_is_said_to_be_tenable_or_not() -> None:
    shared = {"alpha": 0.5, "alpha_ci": [0.4, 0.6], "r2": 0.9}
    assert shared_sentence(shared) == "shared α 0.500 [0.400, 0.600], R² 0.900"
    assert "one alpha is not tenable (p 0.012)" in shared_sentence(shared | {"tenable": False, "p_value": 0.012})
    assert shared_sentence(shared | {"tenable": True}).endswith("one alpha is tenable")
    with_aicc = shared_sentence(shared | {"aicc": -3.0, "aicc_separate": -5.0})
    assert with_aicc.endswith("AICc −3.0 against −5.0 with an α each")


@pytest.mark.parametrize(
    ("outlook", "words"),
    [
        ("falls_from_start", "gold falls from the start"),
        ("flat", "gold is flat so far"),
        ("beyond_reach", "a peak lies beyond d 6.00, if there is one; the run is at 3.00"),
        ("ahead", "gold peaks ahead, at d 4.00 [3.000, 5.000]"),
        ("passed", "gold has passed its peak, at d 4.00"),
        (None, "gold peaks at d 4.00"),
    ],
)
def test_a_forecast_says_its_outlook(outlook, words) -> None:
    forecast = {"status": "ok", "d_median": 4.0, "d_ci": [3.0, 5.0], "d_now": 3.0, "d_max": 6.0, "p_turned": 0.1}
    assert words in forecast_sentence(forecast | {"outlook": outlook})


def test_a_forecast_without_a_law_claims_no_numbers() -> None:
    unknown = dict.fromkeys(("outlook", "d_median", "d_ci", "d_now", "d_max", "p_turned"))
    for status, outlook in (("poor_fit", None), ("too_early", None), ("poor_fit", "flat")):
        sentence = forecast_sentence(unknown | {"status": status, "outlook": outlook})
        assert "–" not in sentence
        assert not any(character.isdigit() for character in sentence)


def test_a_run_says_its_drop_beside_what_is_noise() -> None:
    run = {"verdict": "overoptimized", "drop": 2.7, "threshold": 0.27, "gold_peak": {"step": 60}, "points": 60}
    assert run_sentence(run) == (
        "overoptimized: gold ends 2.700 below its peak at step 60; more than 0.270 is more than noise"
    )
    assert run_sentence(run | {"verdict": "improving", "drop": 0.1}) == (
        "improving: gold has risen and ends 0.100 below its peak at step 60, within the 0.270 that noise explains"
    )
    few = run | {"verdict": "undetermined", "threshold": None, "points": 1}
    assert run_sentence(few) == "undetermined: too few points to say"


def test_rows_are_counted_in_singular_and_plural_and_joins_are_told() -> None:
    assert left_out_sentences({"missing": 1}) == ["1 row dropped (a value missing)"]
    assert left_out_sentences({"missing": 0, "joined": None}) == []
    joined = {"rows": 30, "into": 15, "by": "global_step"}
    assert left_out_sentences({"missing": 2, "joined": joined}) == [
        "30 rows joined into 15 by global_step",
        "2 rows dropped (a value missing)",
    ]


def test_every_row_of_an_answer_has_a_cell_a_heading() -> None:
    fits = {"groups": [FIT, FIT | {"group": "b", "peak": None}], "shared": None, "level": 0.95, "missing": 0}
    run = {"group": None, "verdict": "improving", "drop": 0.0, "threshold": 0.1, "gold_final": 1.0, "proxy_final": 1.0,
           "gold_peak": {"step": 1, "gold": 1.0, "proxy": 1.0}, "rule": "rule", "forecast": None}  # fmt: skip
    pairs = {"pairs": 2, "accuracy": 0.5, "accuracy_ci": [0.1, 0.9], "ties": 0, "ties_count": "half", "missing": 0,
             "level": 0.95, "longer_is_better": None, "length_bias": None, "worst": None,
             "by": {"x": {"pairs": 2, "accuracy": None, "ci": [None, None], "ties": 0}}}  # fmt: skip
    for answer in (
        bon_answer(BON), fit_answer(fits), diagnose_answer({"groups": [run], "missing": 0}), eval_rm_answer(pairs)
    ):  # fmt: skip
        assert answer.rows
        assert all(len(row) == len(answer.headings) for row in answer.rows)
        assert all(cell and all(cell) for row in answer.rows for cell in row)


def test_a_best_point_beside_the_peak_is_no_misgiving_where_points_scatter() -> None:
    """The law is .45 at its peak, d 1.5, and .41 at d 1.95: less than three times the scatter of .02."""
    beside = FIT | {"best_seen": {"d": 1.95, "gold": 0.46}}
    assert misgivings(beside | {"rmse": 0.02}) == []
    assert len(misgivings(beside | {"rmse": 0.01})) == 1
    assert len(misgivings(beside | {"best_seen": {"d": 2.5, "gold": 0.46}, "rmse": 0.02})) == 1


def test_too_few_prompts_for_a_verdict_are_named_where_the_interval_excludes_0() -> None:
    report = BON | {"prompts": 4, "drop": {"drop": 0.8, "ci": [0.4, 1.2], "seen": 0.9, "prompts_to_decide": 6}}
    assert drop_sentence(report).startswith(
        "undetermined: 4 prompts are too few for a verdict, even if all agree (drop seen 0.900; held out 0.800 ["
    )
