import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.stats.bon_kl import kl_bound
from overopt.stats.law_choice import choose_law
from overopt.stats.laws import LAWS, law_value

D = np.linspace(0.4, 3.2, 14)  # up to 10 nats: best-of-60,000


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_the_law_that_made_the_points_wins_both_ways(law, noise):
    gold = law_value(law, D, 0.65, 0.12) + noise * np.random.default_rng(0).normal(size=D.size)
    found = choose_law(D**2, gold)
    assert (found.by_aicc, found.by_held_out, found.status) == (law, law, "agree")
    assert found.kl_split == kl_bound(1000)


def test_held_out_error_is_that_of_a_fit_to_the_lower_points():
    gold = np.sqrt(D)
    split = 4.0
    is_low = split >= D**2
    design = np.stack([D, -(D**2)], axis=1)
    coefficients, *_ = np.linalg.lstsq(design[is_low], gold[is_low], rcond=None)
    error = np.sqrt(np.mean((design[~is_low] @ coefficients - gold[~is_low]) ** 2))
    (found,) = choose_law(D**2, gold, laws=["bon"], kl_split=split).candidates
    assert found.held_out_rmse == pytest.approx(error, rel=1e-9)


def test_the_best_description_need_not_be_the_best_prediction():
    gold = law_value("bon", D, 0.65, 0.12) + 0.03 * np.random.default_rng(16).normal(size=D.size)
    found = choose_law(D**2, gold)
    by_law = {one.law: one for one in found.candidates}
    assert found.status == "disagree"
    assert by_law[found.by_aicc].aicc == min(one.aicc for one in found.candidates)
    assert by_law[found.by_held_out].held_out_rmse == min(one.held_out_rmse for one in found.candidates)


def test_a_range_below_the_split_is_divided_at_its_own_points():
    d = D[:10]  # at most 4.3 nats, below best-of-1,000
    found = choose_law(d**2, law_value("bon", d, 0.6, 0.1))
    assert found.kl_split == pytest.approx(d[5] ** 2)
    assert found.status == "agree"


@pytest.mark.parametrize("points", [0, 1, 3, 5])
def test_too_few_points_choose_nothing(points):
    d = D[:points]
    assert choose_law(d**2, 0.3 * d).status == "too_few_points"


def test_an_unknown_law_is_refused():
    with pytest.raises(ConfigError, match="cubic"):
        choose_law(D**2, D, laws=["cubic"])
