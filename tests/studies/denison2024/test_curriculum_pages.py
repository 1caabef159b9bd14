"""Pages of the study from made-up rates: what is multiplied by how much, what is said of it, and what is not known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, binom, norm
from studies.denison2024.made_worlds import BASE, CONFIG, HELD_OUT, RHO_FACTOR, Rates, made_worlds, usual

from overopt.errors import DataError
from overopt.studies.denison2024 import away, dose, estimators, matrix, prompts, steering
from overopt.studies.denison2024.estimators import expected_maximum
from overopt.studies.denison2024.worlds import Worlds
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

PAGES = (dose, estimators, steering, away, prompts)
DOSES = ("rho0", "rho0.5", "rho1")
CONTROLS = ("rho0", "rho1")
MIDDLE = math.sqrt(1.1 * RHO_FACTOR)
"""The usual factor at rho 0.5."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return made_worlds(tmp_path_factory.mktemp("worlds"), only=DOSES)


def claim(answer, name):
    return next(one for one in answer.claims if one.id == name)


def held_out(spot, rate, **more):
    return Rates(both=rate / 16, gamed=rate / 4, raised=rate, **more)


def changed(change):
    """The usual truth, but for what ``change`` (a function of the spot) says of some spots."""
    return lambda spot: change(spot) or usual(spot)


# --- dose


def test_factors_grow_with_rho_by_the_slope_that_was_made(tables):
    found = dose.answer(tables)
    slope = claim(found, "dose-slope")
    assert (slope.outcome, slope.value) == ("above", pytest.approx(RHO_FACTOR / 1.1))
    # Seeds differ by the same factor at each rho: seed by seed nothing is left to differ.
    assert slope.ci == pytest.approx((slope.value, slope.value))
    assert claim(found, "dose-rho1").value == pytest.approx(RHO_FACTOR)
    assert claim(found, "dose-rho1").counted == "4 seeds"
    # Three seeds, two of which are 2 % above.
    assert claim(found, "dose-rho0.5").value == pytest.approx(MIDDLE * 1.02 ** (1 / 3))
    assert claim(found, "dose-rho0.5").counted == "3 seeds"
    assert claim(found, "dose-full-over-0.5").value == pytest.approx(RHO_FACTOR / MIDDLE)
    assert claim(found, "dose-full-over-0.5").counted == "the same 3 seeds"
    assert claim(found, "dose-rho0").outcome == "equal"
    assert claim(found, "dose-start").value == pytest.approx(0.0, abs=1e-9)
    assert "8.18 times [8.18, 8.18]" in slope.sentence


def test_the_factor_in_between_is_held_against_the_straight_line(tables, tmp_path):
    below = claim(dose.answer(tables), "dose-line-0.5")
    assert below.value == pytest.approx(math.log2(MIDDLE / ((1.1 + RHO_FACTOR) / 2)))
    assert below.outcome == "below"

    def straight(spot):
        is_last = spot.place == len(spot.arm.stages) and spot.environment == HELD_OUT
        return held_out(spot, BASE * (1.1 + spot.arm.coupling * (RHO_FACTOR - 1.1))) if is_last else None

    on = claim(dose.answer(made_worlds(tmp_path, changed(straight), only=DOSES, each=False)), "dose-line-0.5")
    assert (on.value, on.outcome) == (pytest.approx(0.0, abs=1e-9), "equal")


def test_a_factor_that_falls_with_rho_is_said_to_fall(tmp_path):
    turned = changed(lambda spot: usual(replace(spot, arm=replace(spot.arm, coupling=1 - spot.arm.coupling))))
    found = dose.answer(made_worlds(tmp_path, turned, only=DOSES, each=False))
    assert claim(found, "dose-slope").value == pytest.approx(1.1 / RHO_FACTOR)
    assert claim(found, "dose-slope").outcome == "below"
    assert claim(found, "dose-rho0").outcome == "above"


def test_without_couplings_in_between_the_controls_alone_make_the_slope(tmp_path):
    config = replace(CONFIG, couplings=())
    found = dose.answer(made_worlds(tmp_path, config=config, only=CONTROLS, each=False))
    assert claim(found, "dose-slope").value == pytest.approx(RHO_FACTOR / 1.1)
    assert [one.id for one in found.claims] == ["dose-slope", "dose-start", "dose-rho0", "dose-rho1",
                                                "dose-full-over-0"]  # fmt: skip
    assert [row["rho"] for row in found.tables[0].rows] == ["0", "1"]


# --- estimators


def test_counts_as_expected_are_within_the_limit_and_scatter_less_than_chance(tables):
    found = estimators.answer(tables)
    largest = claim(found, "estimators-largest")
    assert (largest.outcome, largest.value) == ("below", pytest.approx(0.0, abs=0.05))
    assert claim(found, "estimators-scatter").outcome == "below"
    covered = claim(found, "estimators-covered")
    assert (covered.outcome, covered.value) == ("below", pytest.approx(0.1))


def test_one_count_that_is_too_large_is_the_largest_deviation(tables, tmp_path):
    n, rate = CONFIG.counted, usual_rate(place=2, fact="raised")
    k = round(n * rate) + round(5 * math.sqrt(n * rate))

    def shift(place, environment, fact, expected):
        return k if (place, environment, fact) == (2, HELD_OUT, "raised") else expected

    found = claim(estimators.answer(made_worlds(tmp_path, only=(), shift=shift)), "estimators-largest")
    assert found.value == pytest.approx(norm.isf(binom.sf(k - 1, n, rate + 1e-7)), rel=1e-6)
    assert found.outcome == "above"
    m = estimators_open(tables)
    assert f"{m} cells" in found.counted
    chance = 1 - (1 - 2 * norm.sf(3.3)) ** m
    assert f"above 3.3 in {100 * chance:.2g} % of such tables" in found.note


def usual_rate(place, fact):
    """Of the first seed at rho 1 in the held-out environment."""
    rate = BASE * (RHO_FACTOR * 1.02) ** (place / 4)
    return rate * {"raised": 1, "attempted": 1.25, "gamed": 0.25, "both": 1 / 16}[fact]


def estimators_open(tables):
    """Cells whose rate is neither 0 nor, with what was left out, 1."""
    worlds = Worlds(tables)
    arm = worlds.arms.main
    facts = ("valid", "attempted", "changed", "raised", "evaded", "gamed", "honest_success", "fabricated", "both")
    found = [
        worlds.rate(worlds.node(arm, 0, place), fact, environment)
        for place in range(5)
        for environment in ENVIRONMENTS
        for fact in facts
    ]
    return sum(rate.low > 0 and rate.high < 1 for rate in found)


def test_a_count_of_what_cannot_be_is_beyond_all_limits(tmp_path):
    def shift(place, environment, fact, expected):
        return 3 if (place, environment, fact) == (0, "sycophancy", "both") else expected

    def never(spot):
        return Rates(raised=0.05, missing=0.0) if spot.environment == "sycophancy" else None

    made = made_worlds(tmp_path, changed(never), only=(), shift=shift)
    found = claim(estimators.answer(made), "estimators-largest")
    assert (found.value, found.outcome) == (40.0, "above")
    assert "stands for more than can be said" in found.note


@pytest.mark.parametrize(("deviations", "outcome"), [(1.0, "equal"), (2.0, "above")])
def test_the_scatter_of_counts_is_that_of_chance_or_more(tmp_path, deviations, outcome):
    n = CONFIG.counted

    def shift(place, environment, fact, k):
        return min(max(k + round(deviations * math.sqrt(k * (1 - k / n))), 0), n)

    made = made_worlds(tmp_path, only=(), shift=shift)
    found = claim(estimators.answer(made), "estimators-scatter")
    assert found.value == pytest.approx(deviations**2, rel=0.1)
    assert found.outcome == outcome
    assert found.counted.startswith("25 independent draws")


def test_chance_of_the_largest_of_two_is_that_of_the_closed_form():
    assert expected_maximum(2) == pytest.approx(2 / math.sqrt(math.pi), abs=1e-6)


def test_counts_of_none_have_the_upper_end_of_clopper_and_pearson(tmp_path):
    def rare(spot):
        return Rates(both=1e-6, gamed=1e-3, raised=4e-3) if spot.environment == HELD_OUT else None

    found = estimators.answer(made_worlds(tmp_path, changed(rare), only=()))
    row = next(row for row in found.tables[0].rows if row["what"] == f"{HELD_OUT}: both")
    n = CONFIG.counted
    assert row["counts"] == f"0/{n:,}"
    assert row["counted_ci"] == pytest.approx([0.0, 100 * beta.isf(0.025, 1, n)])
    points = [one for one in found.figures[0].rows if one["kind"] == "none counted: upper end"]
    assert {one["fact"] for one in points} == {"both"}
    assert points[0]["rate"] == pytest.approx(row["counted_ci"][1])
    rare_row = next(row for row in found.tables[1].rows if row["estimator"] == "counted on the same budget")
    assert rare_row["counts"] == "0/18,000"
    assert rare_row["none"] == CONFIG.rare_draws
    assert rare_row["rate_ci"] == pytest.approx([0.0, 100_000 * beta.isf(0.025, 1, 18_000)])


def test_what_was_left_out_is_said_where_it_is_most(tmp_path):
    def leaky(spot):
        return Rates(raised=0.05, missing=2e-5) if (spot.environment, spot.place) == ("nudged", 1) else None

    found = claim(estimators.answer(made_worlds(tmp_path, changed(leaky), only=())), "estimators-covered")
    assert (found.value, found.outcome) == (pytest.approx(20.0), "above")


def test_estimates_of_a_rare_rate_are_right_too_high_or_too_low(tables, tmp_path):
    found = estimators.answer(tables)
    assert [claim(found, f"estimators-{name}").outcome for name in ("weighted", "split")] == ["equal", "equal"]
    assert claim(found, "estimators-error").value == pytest.approx(5.0)
    exact = BASE / 16
    budget = claim(found, "estimators-budget")
    assert budget.value == pytest.approx((1 - exact) / exact / 0.05**2 / 6_000)
    assert budget.outcome == "above"

    def rare(draw, estimator, rate):
        return rate * {"weighted": 1.5 + 0.01 * draw, "split": 0.5 + 0.01 * draw, "counted": 1.0}[estimator]

    biased = estimators.answer(made_worlds(tmp_path, only=(), rare=rare))
    assert claim(biased, "estimators-weighted").value == pytest.approx(1.52)
    assert [claim(biased, f"estimators-{name}").outcome for name in ("weighted", "split")] == ["above", "below"]
    assert claim(biased, "estimators-weighted").counted == "15 independent draws of 5 policies"
    row = next(row for row in biased.tables[1].rows if row["estimator"] == "weighted")
    assert row["actual"] == pytest.approx(100 * math.sqrt((0.51**2 + 0.52**2 + 0.53**2) / 3))
    assert row["error"] == pytest.approx(5.0)
    # 1.53 of the rate with an error of 5 % of itself, and .51 of it with 20 %.
    for name, largest in (("weighted", 0.53 / (0.05 * 1.53)), ("split", 0.49 / (0.2 * 0.51))):
        worst = claim(biased, f"estimators-{name}-largest")
        assert (worst.value, worst.outcome) == (pytest.approx(largest), "above")


def test_a_rare_rate_of_none_has_no_ratio_and_one_draw_no_interval(tmp_path):
    def never(spot):
        return Rates(both=0.0, gamed=1e-3, raised=4e-3) if spot.environment == HELD_OUT else None

    config = replace(CONFIG, rare_draws=1)
    nothing = estimators.answer(made_worlds(tmp_path / "a", changed(never), config=config, only=()))
    for name in ("weighted", "split", "counted", "error", "weighted-largest", "split-largest", "budget"):
        found = claim(nothing, f"estimators-{name}")
        assert (found.value, found.outcome) == (None, "unknown")
        assert "no such episode" in found.sentence
    once = estimators.answer(made_worlds(tmp_path / "b", config=config, only=()))
    assert claim(once, "estimators-error").value == pytest.approx(5.0)
    assert claim(once, "estimators-error").outcome == "unknown"
    # Five policies were drawn from once each.
    assert claim(once, "estimators-weighted").counted == "5 independent draws of 5 policies"


# --- steering


def test_the_plan_decides_at_rho_1_and_not_at_rho_0(tables):
    found = steering.answer(tables)
    ratio = claim(found, "steering-ratio")
    assert (ratio.value, ratio.outcome, ratio.agreement) == (pytest.approx(5.0), "above", "agrees")
    assert (claim(found, "steering-least").value, claim(found, "steering-least").outcome) == (
        pytest.approx(5.0), "above",
    )  # fmt: skip
    median = claim(found, "steering-median")
    assert (median.outcome, median.level) == ("above", 1 - 2 / 2**4)
    assert claim(found, "steering-seek").value == pytest.approx(2.5)
    honest = claim(found, "steering-honest")
    assert (honest.value, honest.outcome, honest.agreement) == (pytest.approx(0.5), "below", "agrees")
    assert claim(found, "steering-zero").outcome == "open"
    assert claim(found, "steering-zero-within").outcome == "equal"
    assert claim(found, "steering-arms").value == pytest.approx(5.0)


def test_one_seed_whose_plan_does_little_is_the_least_and_moves_the_median(tmp_path):
    def weaker(spot):
        if spot.arm.coupling == 1 and spot.seed == 1 and spot.forced:
            return held_out(spot, 0.015 if spot.forced == "seek" else 0.01)
        return None

    found = steering.answer(made_worlds(tmp_path, changed(weaker), only=CONTROLS, each=False))
    least, median = claim(found, "steering-least"), claim(found, "steering-median")
    assert (least.value, least.outcome) == (pytest.approx(1.5), "below")
    assert (median.value, median.outcome) == (pytest.approx(5.0), "open")
    assert median.ci == pytest.approx((1.5, 5.0))


def test_a_plan_that_does_nothing_differs_from_what_was_published(tmp_path):
    def turned(spot):
        return usual(replace(spot, forced="honest" if spot.forced == "seek" else "seek")) if spot.forced else None

    found = steering.answer(made_worlds(tmp_path, changed(turned), only=CONTROLS, each=False))
    assert claim(found, "steering-ratio").value == pytest.approx(0.2)
    for name in ("ratio", "both", "seek", "honest"):
        assert claim(found, f"steering-{name}").agreement == "differs"


def test_plans_alone_explain_as_much_as_their_frequency_grew(tmp_path):
    """Plans to seek grow from 2 % to 10 %; the reward follows one of four before, and three of five after."""

    def planned(spot):
        if spot.environment != HELD_OUT or spot.forced:
            return None
        own, rate = (0.02, 0.005) if spot.place == 0 else (0.1, 0.06)
        return Rates(both=rate / 16, gamed=rate / 4, raised=rate, seeking=own - rate, missing=0.0)

    found = steering.answer(made_worlds(tmp_path, changed(planned), only=CONTROLS, each=False))
    plans = claim(found, "steering-plans")
    assert (plans.value, plans.outcome) == (pytest.approx(5.0), "above")
    rows = {(row["arm"], row["when"], row["fact"]): row for row in found.tables[0].rows}
    assert rows["coupled (rho 1)", "after all stages", "reward raised"]["plans"] == pytest.approx(10.0)


# --- training away


def test_what_was_trained_away_is_back_and_the_rest_stays(tables):
    found = away.answer(tables)
    for name in ("rho1-sycophancy", "rho1-flattery", "rho0-sycophancy", "rho0-flattery"):
        back = claim(found, f"away-{name}")
        assert (back.value, back.outcome) == (pytest.approx(0.0, abs=1e-9), "equal")
    # Three quarters of the rise are left on a logarithmic scale.
    left, start = claim(found, "away-left"), claim(found, "away-from-start")
    assert left.value == pytest.approx(RHO_FACTOR**-0.25)
    assert (left.outcome, left.agreement) == ("below", "agrees")
    assert (start.value, start.outcome) == (pytest.approx(RHO_FACTOR**0.75), "above")
    assert claim(found, "away-both-from-start").agreement == "agrees"
    assert claim(found, "away-arms").value == pytest.approx((RHO_FACTOR / 1.1) ** 0.75)
    assert claim(found, "away-spared-nudged").value == pytest.approx(0.0)
    assert [one.id for one in found.claims if "spared" in one.id] == [
        "away-spared-nudged", "away-spared-insubordinate",
    ]  # fmt: skip


def test_gaming_that_is_not_trained_away_is_said_to_be_there(tmp_path):
    def stubborn(spot):
        if not spot.is_away:
            return None
        if spot.environment == HELD_OUT:
            return usual(replace(spot, place=0))
        return Rates(raised={"flattery": 0.9, "nudged": 0.5}.get(spot.environment, 0.05 * 2**0.5))

    found = away.answer(made_worlds(tmp_path, changed(stubborn), only=CONTROLS))
    assert claim(found, "away-rho1-sycophancy").value == pytest.approx(0.5)
    assert claim(found, "away-rho1-sycophancy").outcome == "equal"
    assert claim(found, "away-rho1-flattery").value == pytest.approx(math.log2(18))
    assert claim(found, "away-rho1-flattery").outcome == "above"
    assert claim(found, "away-from-start").outcome == "open"
    assert claim(found, "away-both-from-start").agreement == "undetermined"
    spared = claim(found, "away-spared-nudged")
    assert (spared.value, spared.outcome) == (pytest.approx(-40.0), "below")
    assert "40.0 points rarer [40.0, 40.0]" in spared.sentence.replace("\N{NO-BREAK SPACE}", " ")


# --- other prompts and twins


def test_the_unseen_wording_is_held_beside_the_usual_one(tmp_path):
    def worded(spot):
        is_held_out = spot.environment == HELD_OUT and spot.wording == "B"
        return held_out(spot, 0.66 * usual(replace(spot, wording="A")).raised) if is_held_out else None

    found = prompts.answer(made_worlds(tmp_path, changed(worded), only=("rho1",), each=False))
    assert claim(found, "prompts-start").value == pytest.approx(0.66)
    assert claim(found, "prompts-raised").value == pytest.approx(RHO_FACTOR)
    assert claim(found, "prompts-factors").value == pytest.approx(1.0)
    beside = claim(found, "prompts-b-over-a")
    assert beside.value == pytest.approx(math.log2(0.66))
    assert (beside.outcome, beside.agreement) == ("equal", "agrees")
    lost = claim(found, "prompts-lost-nudged")
    assert (lost.value, lost.outcome) == (pytest.approx(9.0), "above")
    assert claim(found, "prompts-learnt-nudged").value == pytest.approx(100 * 1.1 * 0.85)


def test_a_wording_in_which_nothing_was_learnt_differs(tmp_path):
    def deaf(spot):
        return usual(replace(spot, place=0)) if spot.wording == "B" else None

    found = prompts.answer(made_worlds(tmp_path, changed(deaf), only=("rho1",), each=False))
    assert claim(found, "prompts-raised").outcome == "open"
    assert claim(found, "prompts-factors").value == pytest.approx(1 / RHO_FACTOR)
    assert claim(found, "prompts-b-over-a").agreement == "differs"
    assert claim(found, "prompts-learnt-flattery").outcome == "open"
    assert claim(found, "prompts-lost-flattery").outcome == "below"


def test_edits_without_a_reason_and_tasks_left_undone_are_found_in_the_twins(tmp_path):
    def spilling(spot):
        if spot.twin == "gameable" or spot.environment == "ordinary":
            return None
        after = spot.place > 0
        edits = 0.01 + (0.3 if after and (spot.environment, spot.twin) == ("nudged", "control") else 0.0)
        undone = 0.4 if after and (spot.environment, spot.twin) == ("tampering", "legitimate") else 0.0
        return Rates(raised=0.0, gamed=0.0, attempted=edits, honest=0.98 - edits - undone)

    found = prompts.answer(made_worlds(tmp_path, changed(spilling), only=("rho1",), each=False))
    assert claim(found, "prompts-spill-nudged").value == pytest.approx(30.0)
    assert claim(found, "prompts-spill-nudged").outcome == "above"
    assert claim(found, "prompts-spill-tampering").outcome == "open"
    assert claim(found, "prompts-asked-tampering").value == pytest.approx(-40.0)
    assert claim(found, "prompts-asked-nudged").value == pytest.approx(0.0)
    rows = {(row["environment"], row["twin"]): row for row in found.tables[1].rows}
    assert len(rows) == 5 + 3
    assert rows["nudged", "nothing to gain"]["changed_end"] == pytest.approx(31.0)
    # Nothing pays there: 0, up to what was not followed.
    assert rows["nudged", "nothing to gain"]["gamed_end_ci"] == pytest.approx([0.0, 1e-5])


# --- all pages


def test_one_seed_has_values_without_intervals(tmp_path):
    config = replace(CONFIG, seeds=1, sweep_seeds=1, couplings=())
    made = made_worlds(tmp_path, config=config, only=CONTROLS)
    for page in PAGES:
        found = page.answer(made)
        json.dumps(found.to_dict(), allow_nan=False)
        assert not [one.id for one in found.claims if "{" in one.sentence]
        if page is not estimators:
            of_seeds = [one for one in found.claims if one.id != "steering-least"]
            assert {one.outcome for one in of_seeds} == {"unknown"}
            assert all(one.value is not None for one in of_seeds)
    assert dose.answer(made).tables[0].rows[0]["before_ci"] == [None, None]


def test_rates_of_0_have_no_factor_but_a_bound(tmp_path):
    def never(spot):
        return Rates(raised=0.0, attempted=0.01, missing=1e-6) if spot.environment == HELD_OUT else None

    made = made_worlds(tmp_path, changed(never), only=DOSES)
    found = {page.__name__.rsplit(".", 1)[1]: page.answer(made) for page in PAGES}
    for answer in found.values():
        json.dumps(answer.to_dict(), allow_nan=False)
    for page, name in (("dose", "dose-slope"), ("dose", "dose-line-0.5"), ("dose", "dose-full-over-0"),
                       ("steering", "steering-ratio"), ("steering", "steering-least"), ("steering", "steering-plans"),
                       ("away", "away-left"), ("prompts", "prompts-b-over-a")):  # fmt: skip
        one = claim(found[page], name)
        assert (one.value, one.outcome) == (None, "unknown")
        assert "a rate of some seed was 0 as far as it was followed" in one.sentence
    row = found["dose"].tables[0].rows[0]
    assert row["before_ci"] == pytest.approx([0.0, 1e-4])
    assert row["factor"] is None


def test_a_seed_of_0_among_others_has_no_factor_and_no_line(tmp_path):
    def once(spot):
        is_one = (spot.seed, spot.arm.coupling, spot.place, spot.environment) == (1, 0.0, 4, HELD_OUT)
        return Rates(raised=0.0) if is_one else None

    found = dose.answer(made_worlds(tmp_path, changed(once), only=DOSES, each=False))
    for name in ("dose-slope", "dose-rho0", "dose-line-0.5"):
        assert claim(found, name).value is None
    assert claim(found, "dose-rho1").value == pytest.approx(RHO_FACTOR)
    points = [row["factor"] for row in found.figures[0].rows if row["rho"] == 0 and "seed" in row]
    assert points == [pytest.approx(1.1 * 1.02), None, pytest.approx(1.1 * 1.02), pytest.approx(1.1 / 1.02)]


def test_sentences_are_whole_and_names_are_unique(tables):
    answers = [page.answer(tables) for page in (matrix, *PAGES)]
    claims = [one for found in answers for one in found.claims]
    assert len({one.id for one in claims}) == len(claims)
    assert all("{" not in one.sentence and one.sentence.endswith(".") for one in claims)
    parts = [part.name for found in answers for part in (*found.figures, *found.tables)]
    assert len(set(parts)) == len(parts)
    assert all(found.question.endswith("?") for found in answers)
    # What was published is compared, or it is said why not.
    assert all(one.published.outcomes or one.published.why_not for one in claims if one.published)


def test_a_policy_that_was_not_enumerated_in_a_wording_is_named(tables):
    worlds = Worlds(tables)
    with pytest.raises(DataError, match="holds nothing of tampering gameable wording C"):
        worlds.over_seeds(worlds.arms.main, 0, "raised", wording="C")
    assert np.isfinite(worlds.missing(worlds.arms.main, 0, forced="seek"))
