"""The best-of-n peaks of Gao et al. 2022 (arXiv:2210.10760) from their coefficients.

The paper has no table of coefficients. These were read from its figure 3, themselves good to 5-10 %, and printed to
three digits with the KL of the peak to one decimal; the two rows agree within that rounding or a formula is wrong.
"""

import pytest

from overopt.stats.laws import law_value, peak, zero_distance

# Reward model, alpha_bon, beta_bon, KL of the peak in nats.
FIGURE_3 = [
    ("3M", 0.490, 0.120, 4.2),
    ("12M", 0.513, 0.120, 4.6),
    ("25M", 0.558, 0.115, 5.9),
    ("42M", 0.548, 0.111, 6.1),
    ("85M", 0.599, 0.106, 8.0),
    ("300M", 0.633, 0.0995, 10.1),
    ("680M", 0.649, 0.098, 11.0),
    ("1.2B", 0.653, 0.0965, 11.4),
    ("3B", 0.662, 0.090, 13.5),
]
sizes = pytest.mark.parametrize(("size", "alpha", "beta", "kl"), FIGURE_3, ids=[row[0] for row in FIGURE_3])


@sizes
def test_peak_kl_is_the_printed_one_within_rounding(size, alpha, beta, kl):
    turn = peak("bon", alpha, beta)
    # Half a unit of the last digit of each: of alpha and beta (whichever of 3 or 4 decimals was kept), and of the KL.
    digit = 0.0005
    lowest = peak("bon", alpha - digit, beta + digit).d ** 2 - 0.05
    highest = peak("bon", alpha + digit, beta - digit).d ** 2 + 0.05
    assert lowest <= kl <= highest
    assert turn.d**2 == pytest.approx(kl, abs=0.15)


@sizes
def test_gold_at_the_peak_is_not_the_number_of_the_caption(size, alpha, beta, kl):
    """The caption of figure 12 names alpha / 2 beta, the distance of the peak; gold there is alpha^2 / 4 beta."""
    turn = peak("bon", alpha, beta)
    assert turn.gold == pytest.approx(alpha**2 / (4 * beta), rel=1e-12)
    assert turn.gold == pytest.approx(float(law_value("bon", turn.d, alpha, beta)), rel=1e-12)
    assert turn.d == pytest.approx(alpha / (2 * beta), rel=1e-12)
    assert abs(turn.gold - alpha / (2 * beta)) > 1


@sizes
def test_all_gold_is_lost_at_four_times_the_kl_of_the_peak(size, alpha, beta, kl):
    assert float(zero_distance("bon", alpha, beta)) ** 2 == pytest.approx(4 * kl, abs=0.6)


def test_peaks_come_later_with_larger_reward_models():
    turns = [peak("bon", alpha, beta) for _, alpha, beta, _ in FIGURE_3]
    assert sorted(turn.d for turn in turns) == [turn.d for turn in turns]
