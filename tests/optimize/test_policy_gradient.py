"""The loop: which prompts, when it measures, what it logs, what it adapts, and what it refuses before a step."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from oracles.language_models import measure_reply

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
    weights,
)
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.optimize import policy_gradient
from overopt.optimize import rollout as rollout_module
from overopt.optimize.policy_gradient import _Run, optimize_policy
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig
from overopt.rewards.shaping import PAR, Standardise
from overopt.seeding import numbers_of

PROMPTS = ["a", "b", "c d", "d", "b c a", "e"]


@pytest.fixture
def reference():
    return letter_policy()


@pytest.fixture
def rollouts(monkeypatch):
    """Every rollout of a run, as it is trained on."""
    kept = []
    original = _Run._update

    def spy(self, rollout, signal, step):
        kept.append(rollout)
        return original(self, rollout, signal, step)

    monkeypatch.setattr(_Run, "_update", spy)
    return kept


def test_reward_scale_divides_the_gradient_and_not_the_logged_score(reference):
    """The raw score is logged whatever shaping makes of it."""
    usual = {"steps": 1, "learning_rate": 1e-9, "group": 64}
    logs = [push(reference, PROMPTS, shaping=[Standardise(mean=0.0, sd=sd)], **usual).logs[0] for sd in (1.0, 4.0)]
    assert logs[0].gradient_norm == pytest.approx(4 * logs[1].gradient_norm, rel=1e-4)
    assert logs[0].reward == logs[1].reward
    assert logs[0].shaped == pytest.approx(4 * logs[1].shaped)
    true = expected(reference, LetterScorer(has_c), PROMPTS, 2)
    assert abs(logs[0].reward - true) < 4 * math.sqrt(true * (1 - true) / (6 * 64))


def test_reference_rewards_are_drawn_where_shaping_compares_with_them(reference, rollouts):
    push(reference, PROMPTS, shaping=[PAR()], steps=1)
    (rollout,) = rollouts
    assert set(rollout.raw_B) == {0.0, 1.0}
    assert ((rollout.shaped_B > 0) & (rollout.shaped_B < 1)).all()
    # A score of 1 beats replies that score 0 or 1 with a mean of sigmoids between those of 0 and 1.
    assert (rollout.shaped_B[rollout.raw_B == 1] >= 0.5).all()
    assert (rollout.shaped_B[rollout.raw_B == 0] <= 0.5).all()
    assert len(set(rollout.shaped_B)) > 2, "prompts differ in what the reference earns"


def test_equal_rewards_move_nothing(reference):
    """Not even by rounding, which Adam would make steps of full length."""
    for algorithm in ("rloo", "grpo", "reinforce++"):
        result = push(reference, PROMPTS, reward=lambda letters: 0.1, steps=3, algorithm=algorithm, group=3)
        assert is_same(weights(result.policy), weights(reference))
        assert {log.gradient_norm for log in result.logs} == {0.0}


@pytest.mark.parametrize("algorithm", ["grpo", "reinforce++", "ppo"])
def test_the_rounding_of_a_kl_of_0_is_no_signal(reference, algorithm, monkeypatch):
    """Divided by its own spread it would move the policy as far as any reward."""
    original = rollout_module.complete

    def noisy(*args, **kwargs):
        rollout = original(*args, **kwargs)
        noise = torch.linspace(-1e-7, 1e-7, rollout.logprob_BT.numel()).reshape(rollout.logprob_BT.shape)
        return replace(rollout, reference_logprob_BT=rollout.logprob_BT + torch.where(rollout.mask_BT, noise, 0.0))

    monkeypatch.setattr(policy_gradient, "complete", noisy)
    log = push(reference, PROMPTS, reward=lambda letters: 0.0, kl_coef=0.1, algorithm=algorithm).logs[0]
    assert log.gradient_norm < 1e-6


@pytest.mark.parametrize(("every", "steps", "due"), [(3, 8, [0, 3, 6, 8]), (4, 8, [0, 4, 8]), (9, 2, [0, 2])])
def test_measured_at_the_start_on_schedule_and_at_the_end(reference, every, steps, due):
    seen = []
    result = push(
        reference, PROMPTS, steps=steps, prompts_per_step=2, group=2, measure_every=every,
        measure=lambda step, policy: seen.append((step, weights(policy), policy.model.training)),
    )  # fmt: skip
    assert [step for step, _, _ in seen] == due
    assert not any(training for _, _, training in seen)
    assert is_same(seen[0][1], weights(reference))
    assert is_same(seen[-1][1], weights(result.policy))


def test_measured_when_the_distance_passes_a_line_of_the_grid(reference):
    seen = []
    result = push(
        reference, PROMPTS, steps=12, group=16, measure_grid=0.25, measure=lambda step, policy: seen.append(step)
    )
    lines = [math.floor(math.sqrt(log.kl) / 0.25) for log in result.logs]
    passed = [step for step in range(1, 13) if lines[step - 1] > (lines[step - 2] if step > 1 else 0)]
    assert seen == sorted({0, *passed, 12})
    assert 2 <= len(passed) < 11


def test_each_prompt_is_drawn_once_before_any_is_drawn_again():
    drawn = [number for step in range(1, 30) for number in numbers_of(step, 7, 3, 4, "rl")]
    for start in range(0, len(drawn) - 6, 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))
    assert drawn[:7] != drawn[7:14]
    assert drawn != [number for step in range(1, 30) for number in numbers_of(step, 7, 3, 5, "rl")]
    assert sorted(numbers_of(1, 3, 3, 0, "rl")) == [0, 1, 2]


def test_prompts_of_the_steps_are_those_drawn(reference, rollouts):
    push(reference, PROMPTS, steps=4, prompts_per_step=3, group=2)
    drawn = [prompt for rollout in rollouts for prompt in rollout.prompts]
    assert Counter(drawn) == dict.fromkeys(PROMPTS, 2)
    assert {len(rollout.replies) for rollout in rollouts} == {6}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logs_are_those_of_the_loop_over_replies(reference, rollouts, monkeypatch, temperature):
    """KL and entropy of whole replies: sums over tokens, at the temperature that was sampled."""
    start = moved(reference, by=0.5)
    begin_elsewhere(monkeypatch, start)
    (log,) = push(reference, PROMPTS, steps=1, group=4, max_tokens=3, temperature=temperature, kl_coef=0.3).logs
    (rollout,) = rollouts
    measured = [
        measure_reply(
            start.model, reference.model, reference.tokenizer(rollout.prompts[r.prompt])["input_ids"], r.token_ids,
            temperature,
        )
        for r in rollout.replies
    ]  # fmt: skip
    assert log.kl == pytest.approx(np.mean([one.kl for one in measured]), abs=1e-5)
    assert log.entropy == pytest.approx(np.mean([one.entropy for one in measured]), abs=1e-5)
    assert log.length == pytest.approx(np.mean([len(r.token_ids) for r in rollout.replies]))
    assert log.truncated == pytest.approx(np.mean([2 not in r.token_ids for r in rollout.replies]))
    assert 0 < log.truncated < 1
    assert (log.step, log.kl_coef) == (1, 0.3)
    assert math.isnan(log.value_error)
    k3 = 0.0
    for reply in rollout.replies:
        ids = reference.tokenizer(rollout.prompts[reply.prompt])["input_ids"]
        for place in range(len(reply.token_ids)):
            prefix = [*ids, *reply.token_ids[:place]]
            one = measure_reply(start.model, reference.model, prefix, [reply.token_ids[place]], temperature)
            k3 += math.exp(one.reference_logprob - one.logprob) - 1 - (one.reference_logprob - one.logprob)
    assert log.k3 == pytest.approx(k3 / len(rollout.replies), abs=1e-5)


def test_logged_kl_agrees_with_the_sum_over_all_replies(reference, monkeypatch):
    """Measured though nothing penalises it: TRL and others run no reference then and log 0 or nothing."""
    start = moved(reference, by=0.5)
    begin_elsewhere(monkeypatch, start)
    log = push(reference, PROMPTS, steps=1, group=256).logs[0]
    true = exact_kl(start, reference, PROMPTS, 2)
    assert log.kl_coef == 0
    assert log.kl == pytest.approx(true, rel=0.08)
    assert log.k3 == pytest.approx(true, rel=0.25)


def test_gradient_norm_is_logged_before_it_is_scaled_down(reference):
    usual = {"steps": 1, "learning_rate": 1e-9}
    norms = [push(reference, PROMPTS, max_gradient=limit, **usual).logs[0].gradient_norm for limit in (1e-4, 1e9)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert norms[0] > 0.01


@pytest.mark.parametrize(("target", "goes"), [(100.0, -1), (1e-6, 1)])
def test_the_weight_of_the_kl_goes_towards_its_target(reference, target, goes):
    """Down while the policy is closer than the target, up beyond; by 2 % a step at most (Ziegler et al. 2019)."""
    logs = push(reference, PROMPTS, steps=6, kl_coef=0.05, kl_target=target).logs
    steps = np.diff(np.log([log.kl_coef for log in logs]))
    for log, change in zip(logs, steps.tolist(), strict=False):
        error = min(max(log.kl / target - 1, -0.2), 0.2)
        assert change == pytest.approx(math.log(1 + 0.1 * error), abs=1e-9)
    # The first batch is of the reference itself, at KL 0.
    assert (goes * steps[1:] > 0.01).all()


def test_a_controlled_kl_stays_near_its_target(reference):
    usual = {"steps": 40, "group": 8, "measure_every": 100}
    free = push(reference, PROMPTS, **usual).logs[-1].kl
    held = push(reference, PROMPTS, kl_coef=1.0, kl_target=0.3, **usual).logs
    assert free > 1.5
    assert 0.1 < np.mean([log.kl for log in held[-15:]]) < 0.7


def test_one_seed_gives_one_policy(reference):
    runs = [
        push(reference, PROMPTS, steps=3, prompts_per_step=3, algorithm="ppo", seed=seed).policy for seed in (0, 0, 1)
    ]
    first, again, other = map(weights, runs)
    assert is_same(first, again)
    assert not is_same(first, other)


DAMAGE = [(name, damage) for name in ("rloo", "ppo") for damage in (math.nan, math.inf, 1e30, 1e300)]
# In units of its spread any finite reward is finite.
DAMAGE += [("reinforce++", math.nan), ("reinforce++", -math.inf)]


@pytest.mark.parametrize(("algorithm", "damage"), DAMAGE)
def test_nothing_is_stepped_with_numbers_that_are_not_finite(reference, tmp_path, algorithm, damage):
    """At 1e30 the loss is finite and the norm of its gradient is not; the batch is kept to be looked at."""
    policies = []
    with pytest.raises(NonFiniteError, match=r"of RL step 1 (is|are) not finite.*not-finite-step-000001\.parquet"):
        push(
            reference, PROMPTS, scorer=LetterScorer(has_c, damage=damage), algorithm=algorithm,
            measure=lambda step, policy: policies.append(policy), checkpoints=tmp_path,
        )  # fmt: skip
    assert is_same(weights(policies[0]), weights(reference))
    table = pl.read_parquet(tmp_path / "not-finite-step-000001.parquet")
    assert {"prompt", "completion", "token_ids", "raw"} <= set(table.columns)
    assert table.height == 48
    assert table["raw"].to_list().count(damage) == 1 or math.isnan(damage)


def test_without_a_folder_the_refusal_says_what_it_can(reference):
    with pytest.raises(NonFiniteError, match=r"1 of 48 rewards from letters of RL step 1 are not finite$"):
        push(reference, PROMPTS, scorer=LetterScorer(has_c, damage=math.nan))


def test_weights_that_are_damaged_are_refused_before_the_step(reference, monkeypatch):
    start = moved(reference, by=0.0)
    with torch.no_grad():
        start.model.model.layers[0].mlp.up_proj.weight[0, 0] = math.nan
    begin_elsewhere(monkeypatch, start)
    with pytest.raises(NonFiniteError, match="not finite"):
        push(reference, PROMPTS)


@pytest.mark.parametrize("count", [0, 1, 47, 49])
def test_another_number_of_scores_is_refused(reference, count):
    scorer = LetterScorer(has_c, name="short")
    scorer.score = lambda prompts, completions, progress=None: np.zeros(count)
    with pytest.raises(DataError, match=rf"short returned scores of shape \({count},\) for 48 replies"):
        push(reference, PROMPTS, scorer=scorer)


@pytest.mark.parametrize("changes", [{"top_p": 0.9}, {"top_k": 2}])
def test_a_truncated_sampler_is_refused(reference, changes):
    with pytest.raises(ConfigError, match="top_p and top_k would cut"):
        optimize_policy(
            reference, LetterScorer(has_c), PROMPTS, config=PolicyGradientConfig(steps=1, prompts_per_step=6),
            sampler=SamplerConfig(max_tokens=2, **changes), seed=0, measure=lambda *_: None,
        )  # fmt: skip


def test_more_prompts_a_step_than_there_are_is_refused(reference):
    with pytest.raises(ConfigError, match=r"rl\.prompts_per_step is 7, but there are 6 prompts"):
        push(reference, PROMPTS, prompts_per_step=7)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"group": 1}, "group"),
        ({"group": 0, "algorithm": "ppo"}, "group"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"prompts_per_step": 0}, "prompts_per_step"),
        ({"epochs": 0}, "epochs"),
        ({"minibatches": 0}, "minibatches"),
        ({"minibatches": 3, "prompts_per_step": 2}, "minibatches"),
        ({"measure_every": 0}, "measure_every"),
        ({"measure_grid": 0.0}, "measure_grid"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"places": 0}, "places"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"critic_learning_rate": -1.0}, "critic_learning_rate"),
        ({"clip": 0.0}, "clip"),
        ({"clip_high": 0.0}, "clip_high"),
        ({"value_clip": 0.0}, "value_clip"),
        ({"max_gradient": -1.0}, "max_gradient"),
        ({"warm_up": -1}, "warm_up"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"kl_coef": -0.1}, "kl_coef"),
        ({"kl_coef": math.nan}, "kl_coef"),
        ({"kl_coef": 1.0, "kl_target": 0.0}, "kl_target"),
        ({"entropy_coef": math.inf}, "entropy_coef"),
        ({"gamma": 1.1}, "gamma"),
        ({"gae_lambda": -0.1}, "gae_lambda"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"algorithm": "a2c"}, "algorithm"),
        ({"kl_estimator": "k4"}, "kl_estimator"),
        ({"kl_in": "nowhere"}, "kl_in"),
        ({"critic": "none"}, "critic"),
        ({"average": "batch"}, "average"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, name):
    with pytest.raises(ConfigError, match=rf"(^|; )rl\.{name} "):
        PolicyGradientConfig(**{"steps": 1, **changes})


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        PolicyGradientConfig(steps=0, clip=-1.0, algorithm="a2c", kl_coef=0.1, kl_in="both", gamma=2.0)
    for name in ("steps", "clip", "algorithm", "kl_in", "gamma"):
        assert f"rl.{name} " in str(caught.value)


def test_one_reply_a_prompt_is_enough_for_a_critic():
    assert PolicyGradientConfig(steps=1, algorithm="ppo", group=1).group == 1
