"""Shaped rewards against their formulas written out; the raw score is never lost."""

import math

import numpy as np
import pytest

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.rewards.shaping import (
    PAR,
    Clip,
    LengthPenalty,
    LogSigmoidCentred,
    MinMax,
    MissingEosPenalty,
    RunningStandardise,
    Standardise,
    observed,
    shape,
)

RAW = np.array([-12.0, -1.0, 0.0, 0.5, 3.0, 40.0])
LENGTHS = np.array([1, 5, 10, 11, 12, 40])
FINISHED = np.array([True, True, False, True, True, False])
REFERENCE = np.array([0.0, 1.0, -2.0, 0.5, 2.0, 2.0])
ALL = {"length_B": LENGTHS, "finished_B": FINISHED, "reference_B": REFERENCE}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_each_rule_equals_its_formula():
    assert shape([Clip(low=-10, high=10)], RAW, **ALL).tolist() == [-10.0, -1.0, 0.0, 0.5, 3.0, 10.0]
    assert shape([Standardise(mean=0.5, sd=2.0)], RAW, **ALL).tolist() == [(r - 0.5) / 2 for r in RAW]
    assert shape([MinMax(low=-1.0, high=3.0)], RAW, **ALL).tolist() == [(r + 1) / 4 for r in RAW]
    assert shape([LengthPenalty(per_token=0.1, target=10)], RAW, **ALL).tolist() == pytest.approx(
        [-12.0, -1.0, 0.0, 0.5 - 0.1, 3.0 - 0.2, 40.0 - 3.0]
    )
    assert shape([MissingEosPenalty(penalty=2.0)], RAW, **ALL).tolist() == [-12.0, -1.0, -2.0, 0.5, 3.0, 38.0]


def test_par_is_the_probability_of_beating_the_reference():
    found = shape([PAR()], RAW, **ALL)
    assert found.tolist() == pytest.approx([sigmoid(r - f) for r, f in zip(RAW, REFERENCE, strict=True)])
    assert found[3] == 0.5
    assert (found > 0).all()
    assert (found <= 1).all()


def test_par_is_the_mean_over_several_references():
    """A mean of probabilities, which differs from the probability at the mean."""
    several = np.stack([REFERENCE, REFERENCE + 3, REFERENCE - 5], axis=1)
    found = shape([PAR()], RAW, length_B=LENGTHS, finished_B=FINISHED, reference_B=several)
    expected = [sum(sigmoid(r - f) for f in row) / 3 for r, row in zip(RAW, several, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    one = shape([PAR()], RAW, length_B=LENGTHS, finished_B=FINISHED, reference_B=several[:, :1])
    assert one.tolist() == shape([PAR()], RAW, **ALL).tolist()


def test_lsc_is_the_log_of_par():
    found = shape([LogSigmoidCentred()], RAW, **ALL)
    assert found.tolist() == pytest.approx(np.log(shape([PAR()], RAW, **ALL)).tolist())
    far = shape([LogSigmoidCentred()], [-1000.0], length_B=[1], finished_B=[True], reference_B=[0.0])
    assert far.tolist() == [-1000.0]


def test_rules_are_applied_from_left_to_right():
    clip, scale = Clip(low=-1, high=1), Standardise(mean=0, sd=0.5)
    assert shape([clip, scale], RAW, **ALL)[-1] == 2.0
    assert shape([scale, clip], RAW, **ALL)[-1] == 1.0
    chain = [PAR(), LengthPenalty(per_token=0.01, target=10), MissingEosPenalty(penalty=1.0)]
    assert shape(chain, RAW, **ALL)[-1] == pytest.approx(sigmoid(38) - 0.3 - 1.0)


def test_the_raw_scores_are_not_touched():
    raw = RAW.copy()
    shaped = shape([Clip(low=-1, high=1)], raw, **ALL)
    assert (raw == RAW).all()
    plain = shape([], raw, **ALL)
    assert (plain == RAW).all()
    assert not np.shares_memory(plain, raw)
    assert not np.shares_memory(shaped, raw)


@pytest.mark.parametrize("shaper", [Clip(low=-5, high=5), MinMax(low=0, high=1), Standardise(mean=1, sd=2), PAR()])
def test_fixed_rules_are_functions_of_the_text_alone(shaper):
    """The same reply earns the same reward at any step and in any batch, and measuring does not change that."""
    together = shape([shaper], RAW, **ALL)
    for index in range(len(RAW)):
        place = slice(index, index + 1)
        alone = shape(
            [shaper], RAW[place], length_B=LENGTHS[place], finished_B=FINISHED[place], reference_B=REFERENCE[place]
        )
        assert alone[0] == together[index]
    assert observed([shaper], RAW, **ALL) == (shaper,)
    assert not shaper.drifts


def test_running_mean_and_sd_are_those_of_everything_seen():
    batches = [np.random.default_rng(seed).normal(5, 3, size=size) for seed, size in enumerate([4, 1, 30, 7])]
    shapers: tuple = (RunningStandardise(),)
    for batch in batches:
        ones = {"length_B": np.ones(len(batch)), "finished_B": np.ones(len(batch), dtype=bool)}
        shapers = observed(shapers, batch, **ones)
    seen = np.concatenate(batches)
    assert (shapers[0].count, shapers[0].mean, shapers[0].sd) == pytest.approx((42, seen.mean(), seen.std()))
    found = shape(shapers, batches[-1], **ones)
    assert found.tolist() == pytest.approx(((batches[-1] - seen.mean()) / seen.std()).tolist())


def test_a_running_rule_says_that_it_drifts_and_only_moves_when_told():
    running = observed([RunningStandardise()], RAW, **ALL)
    assert running[0].drifts
    first = shape(running, RAW, **ALL)
    assert shape(running, RAW * 100, **ALL)[0] != first[0]
    assert (shape(running, RAW, **ALL) == first).all()
    moved = observed(running, RAW + 50, **ALL)
    assert shape(moved, RAW, **ALL)[0] < first[0]
    assert (shape(running, RAW, **ALL) == first).all()


def test_a_running_rule_sees_what_the_rules_before_it_leave():
    running = observed([Clip(low=-1, high=1), RunningStandardise()], RAW, **ALL)
    assert running[1].mean == pytest.approx(np.clip(RAW, -1, 1).mean())


def test_a_running_rule_can_be_written_down_and_read_back():
    """A run that goes on from a checkpoint needs what was seen."""
    import dataclasses

    (running,) = observed([RunningStandardise()], RAW, **ALL)
    again = RunningStandardise(**dataclasses.asdict(running))
    assert again == running
    assert eval(repr(running)) == running


def test_equal_scores_are_not_divided_by_0():
    (running,) = observed([RunningStandardise()], np.full(6, 2.0), **ALL)
    assert running.sd == 1.0
    assert shape([running], np.full(6, 2.0), **ALL).tolist() == [0.0] * 6


def test_a_running_rule_that_has_seen_nothing_refuses():
    with pytest.raises(ConfigError, match=r"has seen no scores; pass the shapers through observed\(\)"):
        shape([RunningStandardise()], RAW, **ALL)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Clip(low=1, high=1), "clip needs low < high"),
        (lambda: Clip(low=-math.inf, high=1), r"clip\.low must be a finite number"),
        (lambda: Standardise(mean=0, sd=0), r"standardise\.sd must be above 0"),
        (lambda: Standardise(mean=math.nan, sd=1), r"standardise\.mean must be a finite number"),
        (lambda: MinMax(low=2, high=1), "min-max needs low < high"),
        (lambda: LengthPenalty(per_token=-0.1, target=3), "at least 0; it is taken off"),
        (lambda: LengthPenalty(per_token=0.1, target=-3), "target must be at least 0 tokens"),
        (lambda: MissingEosPenalty(penalty=-1), "at least 0; it is taken off"),
        (lambda: RunningStandardise(count=-1), "at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def test_a_reference_that_is_needed_must_be_given_and_still_on_its_scale():
    with pytest.raises(ConfigError, match="PAR compares with scores of the reference's replies; none were given"):
        shape([PAR()], RAW, length_B=LENGTHS, finished_B=FINISHED)
    with pytest.raises(ConfigError, match=r"PAR compares with raw scores .* Standardise comes before it"):
        shape([Standardise(mean=0, sd=2), PAR()], RAW, **ALL)
    assert PAR.needs_reference
    assert not Clip.needs_reference


def test_arrays_that_do_not_go_together_are_refused():
    with pytest.raises(ShapeError, match=r"one shape \(B,\)"):
        shape([], RAW, length_B=LENGTHS[:3], finished_B=FINISHED)
    with pytest.raises(ShapeError, match="reference scores must have the shape"):
        shape([PAR()], RAW, length_B=LENGTHS, finished_B=FINISHED, reference_B=[1.0])
    with pytest.raises(DataError, match="1 of 6 scores are not finite"):
        shape([], np.where(RAW > 30, np.nan, RAW), length_B=LENGTHS, finished_B=FINISHED)
    with pytest.raises(DataError, match="true or false"):
        shape([], RAW, length_B=LENGTHS, finished_B=LENGTHS)
    assert shape([PAR()], [], length_B=[], finished_B=[], reference_B=[]).shape == (0,)
