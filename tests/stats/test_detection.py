"""Recall at few false alarms, against counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.detection import recall_at

CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda cases: 0 < sum(label for _, label in cases) < len(cases)
)


@given(CASES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.9]))
def test_no_threshold_with_so_few_false_alarms_finds_more(cases, allowed):
    score, label = (np.array(column, dtype=float) for column in zip(*cases, strict=True))
    found = recall_at(score, label, allowed)
    best = 0
    for threshold in [*set(score.tolist()), math.inf]:
        alarms = sum(s >= threshold for s, y in zip(score, label, strict=True) if not y)
        if alarms <= allowed * (label == 0).sum() + 1e-9:
            best = max(best, sum(s >= threshold for s, y in zip(score, label, strict=True) if y))
    assert found.recall.successes == best
    assert found.false_alarms.successes <= allowed * (label == 0).sum() + 1e-9
    assert found.recall.trials == int(label.sum())
    assert found.false_alarms.successes == sum(s >= found.threshold for s, y in zip(score, label, strict=True) if not y)


def test_equal_scores_alarm_together():
    found = recall_at([1, 1, 1, 1], [1, 1, 0, 0], 0.4)
    assert found.threshold == math.inf
    assert (found.recall.value, found.false_alarms.successes) == (0.0, 0)
    assert found.recall.high == pytest.approx(1 - 0.025 ** (1 / 2))


def test_a_tenth_of_ten_is_one():
    score = np.arange(11.0)
    assert recall_at(score, [0] * 10 + [1], 0.1).false_alarms.successes == 1
    assert recall_at(score, [0] * 10 + [1], 0.099).false_alarms.successes == 0


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="false alarms that is allowed"):
        recall_at([1, 2], [0, 1], 1.0)
    with pytest.raises(DataError, match="cases of both kinds"):
        recall_at([1, 2], [1, 1], 0.1)
    with pytest.raises(DataError, match="labels must be 1"):
        recall_at([1, 2], [2, 1], 0.1)
    with pytest.raises(ShapeError):
        recall_at([1, 2, 3], [1, 0], 0.1)
    with pytest.raises(DataError):
        recall_at([1, math.nan], [1, 0], 0.1)
