"""ROC curves of weighted cases, against pairs counted one by one and against the same cases repeated."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.auroc import auroc
from overopt.stats.detection import recall_at
from overopt.stats.weighted_roc import weighted_roc

CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans(), st.integers(0, 6)), min_size=2, max_size=12
).filter(lambda cases: all(sum(w for _, label, w in cases if label == kind) > 0 for kind in (True, False)))


def columns(cases):
    score, label, weight = zip(*cases, strict=True)
    return score, [int(one) for one in label], weight


def auroc_by_pairs(cases):
    """P(positive > negative) and half of P(equal), over all pairs, in fractions."""
    won, whole = Fraction(0), Fraction(0)
    for high, is_positive, weight in cases:
        for low, other, other_weight in cases:
            if is_positive and not other:
                both = Fraction(weight * other_weight)
                whole += both
                won += both * (1 if high > low else Fraction(1, 2) if high == low else 0)
    return won / whole


@given(CASES)
def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_half(cases):
    assert weighted_roc(*columns(cases)).auroc == pytest.approx(float(auroc_by_pairs(cases)), abs=1e-12)


@given(CASES, st.sampled_from([0.0, 0.001, 0.01, 0.25, 0.5]))
def test_a_weight_is_as_many_cases(cases, allowed):
    score, label, weight = columns(cases)
    repeated = np.repeat(score, weight), np.repeat(label, weight)
    found = weighted_roc(score, label, weight)
    assert found.auroc == pytest.approx(auroc(*repeated).estimate.value, abs=1e-12)
    assert found.recall_at(allowed) == pytest.approx(recall_at(*repeated, allowed).recall.value, abs=1e-12)


@given(CASES, st.floats(0.01, 100), st.floats(0.01, 100))
def test_only_ratios_of_weights_within_a_kind_matter(cases, own, other):
    score, label, weight = columns(cases)
    scaled = [w * (own if one else other) for w, one in zip(weight, label, strict=True)]
    assert weighted_roc(score, label, scaled).auroc == pytest.approx(weighted_roc(score, label, weight).auroc, abs=1e-9)


def test_equal_scores_alarm_together():
    found = weighted_roc([0.5, 0.5, 0.0], [1, 0, 0], [1e-4, 1e-6, 0.9])
    assert found.threshold.tolist() == [math.inf, 0.5, 0.0]
    assert found.recall.tolist() == [0.0, 1.0, 1.0]
    assert found.recall_at(0.0) == 0.0
    assert found.recall_at(0.001) == 1.0
    assert found.at(0.3) == (pytest.approx(1e-6 / 0.900001), 1.0)
    assert found.at(0.6) == (0.0, 0.0)


def test_without_both_kinds_nothing_is_known():
    for label in ([1, 1], [0, 0]):
        found = weighted_roc([0.1, 0.2], label, [1.0, 1.0])
        assert math.isnan(found.auroc)
        assert math.isnan(found.recall_at(0.01))


def test_what_is_no_roc_is_refused():
    with pytest.raises(ShapeError):
        weighted_roc([0.1], [1, 0], [1.0, 1.0])
    with pytest.raises(DataError, match="labels"):
        weighted_roc([0.1, 0.2], [1, 2], [1.0, 1.0])
    with pytest.raises(DataError, match="negative"):
        weighted_roc([0.1, 0.2], [1, 0], [1.0, -1.0])
    with pytest.raises(ConfigError):
        weighted_roc([0.1, 0.2], [1, 0], [1.0, 1.0]).recall_at(1.0)
