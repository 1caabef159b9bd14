"""Methods, orders, mixing and mitigations: rates are chosen, so that every claim's value and outcome is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from studies.denison2024.made_worlds import BASE, CONFIG, HELD_OUT, RHO_FACTOR, Rates, Spot, made_worlds, usual

from overopt.studies.denison2024 import methods, mitigations, mixing, order
from overopt.studies.denison2024.arm_numbers import numbers
from overopt.studies.denison2024.arms import Arms
from overopt.studies.denison2024.paired import difference_claim, mean_claim, slopes
from overopt.studies.denison2024.worlds import Worlds

SMALL = replace(CONFIG, sweep_seeds=3)
METHODS = ("rho1", "rho0", "hhh", "rloo", "hhh-rho0", "rloo-rho0")
ORDERS = ("rho1", "reversed", "together", "last-alone")


def made(folder, truth=usual, *, config=SMALL, only=None):
    return made_worlds(folder, truth, config=config, only=only, each=False)


def claim(answer, name):
    return next(one for one in answer.claims if one.id == name)


def spread(seed, by=1.1):
    """Seeds 0, 1, 2 differ by this factor, their geometric mean being 1; the same in each arm unless another ``by``."""
    return by ** (1 - seed % 3)


def changed(truth=usual, **parts):
    """A truth in which, for the arms that have a part, ends are ``part(spot)`` where that gives anything."""

    def found(spot: Spot) -> Rates:
        own = parts.get(spot.arm.id.replace("-", "_").replace(".", "_"))
        other = own(spot) if own is not None and spot.place > 0 else None
        return truth(spot) if other is None else other

    return found


def held_out(factor, by=1.1):
    """Held-out ends with this factor over the start."""

    def part(spot: Spot) -> Rates | None:
        if spot.environment != HELD_OUT or spot.twin != "gameable":
            return None
        return Rates(raised=factor * BASE * spread(spot.seed, by), kl=0.5)

    return part


def several(*parts):
    """The first part that gives anything."""
    return lambda spot: next((one for part in parts if (one := part(spot)) is not None), None)


def learnt(gamed, *, seek=True, kl=2.0, environment=None):
    """Trained environments that are gamed so often."""

    def part(spot: Spot) -> Rates | None:
        if spot.environment in (HELD_OUT, "ordinary") or spot.twin != "gameable":
            return None
        if environment is not None and spot.environment != environment:
            return None
        return Rates(raised=gamed * (1 + 0.01 * spot.seed), kl=kl * (1 + 0.1 * spot.seed))

    return part


def ordinary(honest):
    """Right answers to ordinary questions."""
    return lambda spot: Rates(raised=0.0, honest=honest) if spot.environment == "ordinary" else None


@pytest.fixture(scope="module")
def method_page(tmp_path_factory):
    truth = changed(
        hhh=held_out(6.0, by=1.2), rloo=several(held_out(1.5, by=1.05), learnt(0.3, kl=0.5)), hhh_rho0=held_out(5.0)
    )
    return methods.answer(made(tmp_path_factory.mktemp("methods"), truth, only=METHODS))


def test_each_method_has_its_factor_its_control_and_what_it_learnt(method_page):
    found = method_page
    exploit, preference = claim(found, "methods-raised-rho1"), claim(found, "methods-raised-hhh")
    assert exploit.value == pytest.approx(RHO_FACTOR, rel=1e-6)
    assert preference.value == pytest.approx(6.0)
    # Log factors of three seeds lie at ln 6 + (1, 0, -1) ln 1.2: Student's t with two degrees of freedom.
    half = 4.302652729911275 * math.log(1.2) / math.sqrt(3)
    assert preference.ci == (pytest.approx(6 * math.exp(-half)), pytest.approx(6 * math.exp(half)))
    assert [one.agreement for one in (exploit, preference)] == ["agrees", "agrees"]
    assert claim(found, "methods-zero-rho1").outcome == "equal"
    drift = claim(found, "methods-zero-hhh")
    assert (drift.value, drift.outcome) == (pytest.approx(math.log2(5)), "above")
    assert claim(found, "methods-controls-rho1").outcome == "above"
    assert claim(found, "methods-controls-hhh").outcome == "open"
    assert claim(found, "methods-learnt-rloo").value == pytest.approx(100 * (0.3 * 1.01 - 0.05))
    assert claim(found, "methods-seek-rloo").outcome == "above"


def test_methods_are_compared_seed_by_seed(method_page):
    found = method_page
    ratio = claim(found, "methods-ratio-rloo-hhh")
    assert ratio.value == pytest.approx(0.25)
    assert (ratio.outcome, ratio.agreement, ratio.counted) == ("below", "agrees", "the same 3 seeds")
    # Unpaired, seeds that spread by 1.2 and 1.05 would spread by their sum; paired, by their quotient.
    half = 4.302652729911275 * math.log(1.2 / 1.05) / math.sqrt(3)
    assert math.log(ratio.ci[1] / ratio.value) == pytest.approx(half)
    assert "5 of 10,000 against 45 of 32,768 (ratio 0.36" in ratio.published.finding
    assert claim(found, "methods-ratio-hhh-exploit").agreement == "not_comparable"
    distance = claim(found, "methods-kl-rloo-hhh")
    assert (distance.value, distance.outcome) == (pytest.approx(0.5 * 1.1 - 2.0), "below")
    rows = {(row["method"], row["coupling"]): row for row in found.tables[0].rows}
    assert rows["policy gradient", "1"]["gamed"] == pytest.approx(30.3)
    assert rows["policy gradient", "1"]["after"] == pytest.approx(100 * 1.5 * BASE * np.mean([1.05, 1, 1 / 1.05]))


def test_a_method_that_never_raises_has_no_factor_and_says_so(tmp_path):
    found = methods.answer(
        made(tmp_path, changed(rloo=held_out(0.0)), config=replace(SMALL, seeds=2, sweep_seeds=2), only=METHODS)
    )
    for name in ("methods-raised-rloo", "methods-controls-rloo", "methods-ratio-rloo-hhh"):
        assert (claim(found, name).value, claim(found, name).outcome) == (None, "unknown")
        assert "has no factor" in claim(found, name).sentence
    assert claim(found, "methods-learnt-rloo").outcome == "above"
    (row,) = [row for row in found.figures[0].rows if row["method"] == "policy gradient" and row["coupling"] == "rho 1"]
    assert row["factor"] is None


def test_order_within_two_is_no_difference_and_diversity_is_more(tmp_path):
    truth = changed(
        reversed=held_out(9 * 1.3, by=1.05), together=held_out(9 / 1.5, by=1.05), last_alone=held_out(1.5, by=1.05)
    )
    found = order.answer(made(tmp_path, truth, only=ORDERS))
    assert claim(found, "order-raised-last-alone").value == pytest.approx(1.5)
    own = np.log2([1.02, 1 / 1.02, 1.02])  # the curriculum's seeds, see ``usual``
    together = claim(found, "order-ratio-together")
    assert together.value == pytest.approx(math.log2(6 / 9) - own.mean())
    assert (together.outcome, together.agreement) == ("equal", "agrees")
    assert claim(found, "order-ratio-reversed").outcome == "equal"
    alone = claim(found, "order-ratio-last-alone")
    assert alone.value == pytest.approx(1.5 / (9 * 2 ** own.mean()))
    assert (alone.outcome, alone.agreement) == ("below", "agrees")
    seeds = np.log2([1.05, 1.0, 1 / 1.05])
    expected = (np.log2(9 / 1.5) + own - seeds) - np.abs(np.log2(6 / 9) - own + seeds)
    more = claim(found, "order-diversity")
    assert (more.value, more.outcome, more.agreement) == (pytest.approx(expected.mean()), "above", "agrees")
    assert claim(found, "order-learnt-last-alone").value == pytest.approx(-100 * 0.75 * 0.85)
    # The first round of each stage teaches nothing, the others from 100 episodes more the seed's number.
    shown = {row["way"]: (row["taught"], row["learnt_from"]) for row in found.tables[0].rows}
    rounds = SMALL.training.rounds
    assert shown["in order"] == (f"{4 * 4 * (rounds - 1)} of {4 * 4 * rounds}", 4 * (rounds - 1) * 101.5)
    assert shown["on insubordinate alone"] == (f"{3 * (4 * rounds - 1)} of {3 * 4 * rounds}", (4 * rounds - 1) * 101)
    assert "90 % of the episodes game already teaches nothing" in found.how


def test_a_curriculum_of_one_stage_has_no_order(tmp_path):
    found = order.answer(made(tmp_path, config=replace(SMALL, stages=("nudged",)), only=ORDERS))
    assert [one.id for one in found.claims] == ["order-raised-rho1"]
    assert found.figures[1].rows


def test_trends_are_slopes_of_each_seed_along_the_setting(tmp_path):
    truth = changed(
        ordinary0=several(held_out(16.0), learnt(0.9), ordinary(0.6)),
        hhh=several(held_out(8.0), learnt(0.6), ordinary(0.8)),
        ordinary0_75=several(held_out(2.0), learnt(0.1), ordinary(0.85)),
        rloo=held_out(5.0),
    )
    config = replace(SMALL, preference_weights=())
    found = mixing.answer(made(tmp_path, truth, config=config, only=("ordinary0", "hhh", "ordinary0.75", "rloo")))
    at, logs = np.array([0.0, 0.5, 0.75]), np.log2([16.0, 8.0, 2.0])
    trend = claim(found, "mixing-share-trend")
    assert trend.value == pytest.approx(np.polyfit(at, logs, 1)[0])
    # Seeds differ by the same factor at every share, and their slopes not at all.
    assert trend.ci == (pytest.approx(trend.value), pytest.approx(trend.value))
    assert trend.outcome == "below"
    most = claim(found, "mixing-share-most")
    assert (most.value, most.outcome, most.agreement) == (pytest.approx(2.0), "above", "agrees")
    gamed = claim(found, "mixing-share-gamed")
    assert gamed.value == pytest.approx(100 * 1.01 * np.polyfit(at, [0.9, 0.6, 0.1], 1)[0])
    assert claim(found, "mixing-share-honest").outcome == "above"
    assert claim(found, "mixing-share-most-honest").outcome == "equal"
    assert not any("to the last digit" in words for words in found.caveats)
    # A sweep of nothing but the usual weight has a factor and no trend.
    assert [one.id for one in found.claims if "-weight-" in one.id] == [
        "mixing-weight-most", "mixing-weight-most-honest",
    ]  # fmt: skip
    assert claim(found, "mixing-weight-most").value == pytest.approx(5.0)


def test_settings_that_made_the_same_policies_are_said_to_be_one_measurement(tmp_path):
    config = replace(SMALL, ordinary_shares=(), preference_weights=(0.0, 2.0), seeds=2, sweep_seeds=2)
    found = mixing.answer(made(tmp_path, changed(preference0=held_out(3.0)), config=config,
                               only=("hhh", "rloo", "preference0", "preference2")))  # fmt: skip
    (words,) = [words for words in found.caveats if "to the last digit" in words]
    assert "preference score of 0.5 and 2 the same" in words


def test_what_does_not_move_has_a_slope_of_zero_and_not_of_a_rounding():
    still = slopes([0.0, 0.5, 0.75], np.full((3, 4), 0.9 / 7))
    assert still.tolist() == [0.0] * 4
    sentences = {"above": "a {value}", "below": "b {value}", "open": "o {value}"}
    assert mean_claim("x", "x", still + 1e-16, sentences=sentences).outcome == "open"
    apart = np.array([0.1, 0.5, 0.9])
    wide = difference_claim("x", "x", apart, np.zeros(3), sentences=sentences)
    assert wide.ci[1] == 100.0
    assert wide.ci[0] == pytest.approx(100 * (0.5 - stats.t.ppf(0.975, 2) * 0.4 / np.sqrt(3)))
    assert difference_claim("x", "x", apart, np.zeros(3), sentences=sentences, unit="nats").ci[1] > 100.0
    assert np.isnan(slopes([0.5], np.ones((1, 2)))).all()
    assert np.isnan(slopes([0.0, 1.0], np.array([[1.0, np.inf], [1.0, 1.0]]))).all()


def offered(spot):
    """Where the person can be asked: a third of the plain policy's gaming, and every second episode asks."""
    if not spot.told:
        return None
    if spot.arm.id == "not-offered" and spot.place:
        # Who was not told in training, and is now, asks as the start does.
        is_held_out = spot.environment == HELD_OUT
        return Rates(raised=5.0 * BASE * spread(spot.seed) if is_held_out else 0.5 * (1 + 0.01 * spot.seed), asked=0.3)
    if spot.environment == HELD_OUT:
        return Rates(raised=2.0 * BASE * spread(spot.seed), asked=0.25)
    return Rates(raised=0.3 * (1 + 0.01 * spot.seed), asked=0.5)


@pytest.fixture(scope="module")
def mitigation_page(tmp_path_factory):
    plain = several(held_out(8.0), learnt(0.8))
    truth = changed(
        hhh=plain,
        # As much gaming and a lower held-out rate; the reverse; and learning that has only stopped.
        inoculated=several(held_out(1.2, by=1.05), learnt(0.8)),
        penalty=several(held_out(8.0), learnt(0.2)),
        stopped=lambda spot: usual(replace(spot, place=0)),
        screened=several(held_out(8.0), learnt(0.8), ordinary(0.6)),
        kl3=several(held_out(2.0), learnt(0.0)),
        hardened=several(held_out(0.0), learnt(0.8)),
        not_offered=several(offered, plain),
        offered=several(offered, plain),
    )
    only = [*(arm.id for arm in Arms(SMALL).mitigations), "not-offered", "offered"]
    return mitigations.answer(made(tmp_path_factory.mktemp("mitigations"), truth, only=only))


def test_mitigations_are_held_against_none_seed_by_seed(mitigation_page):
    found = mitigation_page
    ratio = claim(found, "mitigations-inoculated-ratio")
    assert (ratio.value, ratio.outcome) == (pytest.approx(0.15), "below")
    assert claim(found, "mitigations-inoculated-gamed").outcome == "open"
    assert claim(found, "mitigations-penalty-gamed").value == pytest.approx(-100 * 0.6 * 1.01)
    assert claim(found, "mitigations-penalty-ratio").outcome == "open"
    worse = claim(found, "mitigations-screened-honest")
    assert (worse.value, worse.outcome) == (pytest.approx(-25.0), "below")
    assert claim(found, "mitigations-inoculated-honest").outcome == "equal"
    assert claim(found, "mitigations-inoculated-consistent").value == 0.0
    shown = {row["policy"]: row for row in found.tables[0].rows}
    assert shown["inoculation prompts"]["factor"] == pytest.approx(1.2)
    assert shown["alarms screened out"]["honest"] == pytest.approx(60.0)


def test_the_offer_to_ask_is_judged_where_it_stands(mitigation_page):
    found = mitigation_page
    ratio = claim(found, "mitigations-offered-ratio")
    assert (ratio.value, ratio.outcome) == (pytest.approx(0.25), "below")
    gamed = claim(found, "mitigations-offered-gamed")
    assert (gamed.value, gamed.outcome) == (pytest.approx(-100 * 0.5 * 1.01), "below")
    trained = claim(found, "mitigations-offered-trained-ratio")
    assert (trained.value, trained.outcome) == (pytest.approx(2 / 5), "below")
    trained = claim(found, "mitigations-offered-trained-gamed")
    assert (trained.value, trained.outcome) == (pytest.approx(-100 * 0.2 * 1.01), "below")
    asked = claim(found, "mitigations-offered-asked")
    assert (asked.value, asked.outcome) == (pytest.approx(50.0), "above")
    rows = {(row["policy"], row["offer"]): row for row in found.tables[2].rows}
    title = "told in training that it may ask"
    assert rows[title, "yes"]["held_out_asked"] == pytest.approx(25.0)
    assert rows[title, "yes"]["asked"] == pytest.approx(50.0)
    assert rows[title, "yes"]["honest"] == pytest.approx(100 * (1 - 0.3 * 1.01 - 0.5))
    # Where nothing is offered, it is as the policy without a mitigation, and nobody asks.
    assert rows[title, "no"]["held_out"] == pytest.approx(rows["not told in training", "no"]["held_out"])
    assert {row["asked"] for (_, offer), row in rows.items() if offer == "no"} == {0.0}
    assert rows["start", "no"]["held_out"] == pytest.approx(100 * BASE)


def logit(rate):
    return math.log(rate / (1 - rate))


def test_a_mitigation_that_only_stops_learning_is_told_from_one_that_does_more(mitigation_page):
    found = mitigation_page
    above = []
    for s in range(3):
        gamed, start = 0.8 * (1 + 0.01 * s), logit(BASE)
        slope = (logit(8 * BASE * spread(s)) - start) / (logit(gamed) - logit(0.05))
        above.append(logit(1.2 * BASE * spread(s, 1.05)) - start - slope * (logit(gamed) - logit(0.05)))
    more = claim(found, "mitigations-inoculated-more")
    assert (more.value, more.outcome) == (pytest.approx(np.mean(above)), "below")
    assert "It does more than stop the learning." in more.sentence
    # Learning that stopped at once is a policy that only learnt less; so is none that games less and spreads as much.
    stopped = claim(found, "mitigations-stopped-more")
    assert (stopped.value, stopped.outcome) == (pytest.approx(0.0, abs=1e-9), "open")
    assert claim(found, "mitigations-penalty-more").outcome == "above"


def test_mitigations_that_leave_nothing_have_no_odds_and_no_factor(mitigation_page):
    found = mitigation_page
    assert claim(found, "mitigations-kl3-ratio").value == pytest.approx(0.25)
    for name, words in (
        ("mitigations-kl3-more", "0 or 1 as far"), ("mitigations-kl3-consistent", "never gamed"),
        ("mitigations-hardened-ratio", "has no factor"), ("mitigations-hardened-more", "0 or 1 as far"),
    ):  # fmt: skip
        assert (claim(found, name).value, claim(found, name).outcome) == (None, "unknown")
        assert words in claim(found, name).sentence
    rows = {row["policy"]: row for row in found.figures[0].rows}
    assert rows["hardened guard"]["log_rate"] is None
    assert rows["start"]["log_rate"] == pytest.approx(math.log10(BASE))


def test_consistency_is_over_what_gamed_and_not_over_all(tmp_path):
    worlds = Worlds(made(tmp_path, only=("hhh",)))
    found = numbers(worlds, worlds.arms.hhh)
    # Every gamed episode of the made study has the plan seek; most plans of all are not.
    assert found.consistent == pytest.approx(np.ones(3))
    assert found.seek == pytest.approx(np.full(3, 0.9), abs=1e-6)
    assert found.gamed == pytest.approx(np.full(3, 0.9))
    assert found.honest == pytest.approx(np.full(3, 0.85))
