"""Each algorithm on a world small enough to list every reply: uphill in reward, down in KL, up in entropy."""

import math

import pytest

from optimize.letter_world import (
    LetterScorer,
    begin_elsewhere,
    exact_kl,
    expected,
    has_c,
    is_same,
    letter_policy,
    moved,
    push,
    replies_of,
    weights,
)
from overopt.policies.models import HFPolicy

PROMPTS = ["a", "b", "c d", "d", "b c a", "e"]
ALGORITHMS = [
    {"algorithm": "rloo"},
    {"algorithm": "grpo"},
    {"algorithm": "grpo", "scale_by_sd": False},
    {"algorithm": "reinforce++"},
    {"algorithm": "ppo", "critic": "model"},
    {"algorithm": "ppo", "critic": "head"},
    {"algorithm": "ppo", "critic": "head", "group": 1},
]
NAMES = ["rloo", "grpo", "grpo-centred", "reinforce++", "ppo", "ppo-head", "ppo-one-reply"]


@pytest.mark.parametrize("settings", ALGORITHMS, ids=NAMES)
def test_what_is_rewarded_becomes_likely_and_what_is_punished_rare(settings):
    """Implementations have maximised their losses; the sign of the reward is the sign of the change."""
    reference = letter_policy()
    before = weights(reference)
    usual = {"steps": 8, "epochs": 4 if settings.get("group") == 1 else 1} | settings
    start = expected(reference, LetterScorer(has_c), PROMPTS, 2)
    assert 0.08 < start < 0.6
    raised = push(reference, PROMPTS, **usual)
    lowered = push(reference, PROMPTS, reward=lambda letters: -has_c(letters), **usual)
    assert expected(raised.policy, LetterScorer(has_c), PROMPTS, 2) > start + 0.2
    assert expected(lowered.policy, LetterScorer(has_c), PROMPTS, 2) < 0.7 * start
    assert is_same(before, weights(reference))
    assert [log.step for log in raised.logs] == list(range(1, 9))
    assert raised.logs[-1].reward > raised.logs[0].reward


@pytest.mark.parametrize("settings", ALGORITHMS[:-1], ids=NAMES[:-1])
def test_one_small_step_goes_uphill(settings):
    reference = letter_policy()
    start = expected(reference, LetterScorer(has_c), PROMPTS, 2)
    result = push(reference, PROMPTS, group=64, learning_rate=1e-4, **settings)
    assert 1e-5 < expected(result.policy, LetterScorer(has_c), PROMPTS, 2) - start < 0.05


ALLOWED = [("k1", "reward"), ("k2", "loss"), ("k3", "loss"), ("exact", "loss"), ("exact", "both")]
REFUSED = ("grpo", "exact", "both")
"""GRPO divides each group by its own spread."""


@pytest.mark.parametrize(
    ("algorithm", "estimator", "place"),
    [(name, *pair) for name in ("rloo", "grpo", "reinforce++", "ppo") for pair in ALLOWED if (name, *pair) != REFUSED],
)
def test_one_step_lowers_the_kl_when_nothing_else_is_penalised(monkeypatch, algorithm, estimator, place):
    """A sign slip once made public trainers maximise it for a whole release (Logic-RL#58, RAGEN#58)."""
    reference = letter_policy()
    start = moved(reference, by=0.5)
    begin_elsewhere(monkeypatch, start)
    found = push(
        reference, PROMPTS, reward=lambda letters: 0.0, group=32, algorithm=algorithm, learning_rate=1e-3,
        kl_coef=0.3, kl_estimator=estimator, kl_in=place,
    )  # fmt: skip
    before, after = (exact_kl(policy, reference, PROMPTS, 2) for policy in (start, found.policy))
    assert before > 0.2
    assert before - after > 1e-3


def test_entropy_bonus_raises_entropy():
    reference, prompts = letter_policy(), PROMPTS
    usual = {"reward": lambda letters: 0.0, "steps": 10, "group": 16}
    start = entropy(reference, prompts)
    assert entropy(push(reference, prompts, entropy_coef=0.1, **usual).policy, prompts) > start + 0.2
    assert entropy(push(reference, prompts, entropy_coef=-0.1, **usual).policy, prompts) < start - 0.2
    assert entropy(push(reference, prompts, **usual).policy, prompts) == pytest.approx(start, abs=1e-9)


def entropy(policy: HFPolicy, prompts) -> float:
    found = replies_of(policy, prompts, 2)
    return -math.fsum(p * math.log(p) for replies in found for p in replies.values()) / len(found)
