import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from overopt.errors import DataError, ShapeError
from overopt.measure.sandbagging import accuracy_gap


def test_the_gap_is_the_paired_t_of_means_over_runs():
    rng = np.random.default_rng(3)
    plain, incentive = rng.binomial(6, 0.9, (20, 3)), rng.binomial(6, 0.6, (20, 5))
    found = accuracy_gap(plain, incentive, items=6)
    expected = ttest_rel(plain.mean(axis=1) / 6, incentive.mean(axis=1) / 6).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.gap == pytest.approx(found.plain - found.incentive)
    worse = int((plain.mean(axis=1) > incentive.mean(axis=1) + 1e-9).sum())
    better = int((plain.mean(axis=1) < incentive.mean(axis=1) - 1e-9).sum())
    assert found.p_value == pytest.approx(binomtest(min(worse, better), worse + better).pvalue)


def test_the_two_conditions_swapped_turn_the_gap_around():
    one, other = [6, 5, 6, 4], [1, 2, 6, 0]
    there, back = accuracy_gap(one, other, items=6), accuracy_gap(other, one, items=6)
    assert (there.gap, there.low, there.high) == pytest.approx((-back.gap, -back.high, -back.low))
    assert there.p_value == back.p_value


def test_sheets_that_nobody_could_read_are_counted_and_are_no_noughts():
    nan = float("nan")
    found = accuracy_gap([[6, nan], [6, 6], [nan, nan], [5, 5]], [[3, 3], [nan, 0], [1, 1], [nan, nan]], items=6)
    assert (found.n_pairs, found.left_out, found.unread_plain, found.unread_incentive) == (2, 2, 3, 3)
    assert found.gap == pytest.approx((3 / 6 + 6 / 6) / 2)


def test_without_pairs_nothing_is_known_and_with_one_no_interval():
    nan = float("nan")
    none, one = accuracy_gap([nan], [3], items=6), accuracy_gap([6], [3], items=6)
    assert np.isnan([none.gap, none.low, none.high, none.p_value]).all()
    assert none.left_out == 1
    assert one.gap == 0.5
    assert np.isnan([one.low, one.high]).all()


def test_pairs_that_are_all_alike_leave_room_for_those_not_seen():
    few, many = (accuracy_gap([6] * n, [6] * n, items=6) for n in (8, 512))
    assert few.gap == many.gap == 0
    assert few.low < many.low < 0 < many.high < few.high
    # A share that eight variants miss with probability 0.025: (1 - share)^8.
    assert few.high == pytest.approx(1 - 0.025 ** (1 / 8))


@pytest.mark.parametrize(("share", "n"), [(0.05, 32), (0.05, 64), (0.3, 64), (0.7, 64)])
def test_the_interval_covers_the_share_of_variants_that_are_failed(share, n):
    rng = np.random.default_rng(17)
    runs = 400
    hits = 0
    for _ in range(runs):
        found = accuracy_gap(np.full(n, 6), np.where(rng.random(n) < share, 0, 6), items=6)
        hits += found.low <= share <= found.high
    # Three standard errors of 0.95 over 400 runs below it.
    assert hits / runs >= 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5


def test_what_is_no_count_is_refused():
    with pytest.raises(DataError):
        accuracy_gap([7], [1], items=6)
    with pytest.raises(DataError):
        accuracy_gap([-1], [1], items=6)
    with pytest.raises(DataError):
        accuracy_gap([1], [1], items=0)
    with pytest.raises(ShapeError):
        accuracy_gap([1, 2], [1], items=6)
    with pytest.raises(ShapeError):
        accuracy_gap([[[1]]], [1], items=6)
