"""Expert iteration and distilled best-of-n against sums over every reply and every subset of a pool."""

import itertools
import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.best_of_n import expected_value
from oracles.language_models import plain_logprobs

from optimize.letter_world import (
    LetterScorer,
    exact_kl,
    expected,
    has_c,
    is_same,
    letter_policy,
    letters,
    replies_of,
    total_variation,
    weights,
)
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.optimize import distillation
from overopt.optimize.distillation import DistillationConfig, distil_policy
from overopt.optimize.fixed_replies import Fitter
from overopt.optimize.kept_replies import keep_best, selection_weights
from overopt.optimize.measurement import Measurement
from overopt.policies.models import HFPolicy
from overopt.protocols import Reply, SamplerConfig
from overopt.worlds.tabular import TabularWorld

PROMPTS = ["a", "b a"]
SAMPLER = SamplerConfig(max_tokens=2)


def distil(
    reference, scorer=None, *, prompts=PROMPTS, measure=lambda step, policy: None, seed=0, checkpoints=None,
    sampler=SAMPLER, **settings,
):  # fmt: skip
    usual = {"per_prompt": 32, "precision": "fp32", "warm_up": 1, "learning_rate": 1e-2}
    return distil_policy(
        reference, scorer or LetterScorer(has_c), prompts, config=DistillationConfig(**usual | settings),
        sampler=sampler, seed=seed, measure=measure, checkpoints=checkpoints,
    )  # fmt: skip


def taste(letters: list[str]) -> float:
    """Rounded, so that many replies tie."""
    return round(1.3 * letters.count("a") - 0.4 * letters.count("b") + 0.5 * (letters[:1] == ["b"]))


SCORES = st.lists(st.integers(0, 3), min_size=2, max_size=6)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(SCORES, st.data())
def test_best_of_n_weights_are_the_shares_of_subsets_that_a_reply_wins(scores, data):
    n = data.draw(st.integers(1, len(scores)))
    config = DistillationConfig(per_prompt=len(scores), best_of=n)
    (found,) = selection_weights(np.array([scores], dtype=float), config.rank_weights())
    for place in range(len(scores)):
        own = [float(other == place) for other in range(len(scores))]
        assert found[place] == pytest.approx(expected_value(scores, own, n), abs=1e-12)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(SCORES, st.data())
def test_kept_replies_share_their_ties_as_all_orders_of_equal_ones_do(scores, data):
    keep = data.draw(st.integers(1, len(scores)))
    config = DistillationConfig(per_prompt=len(scores), keep=keep)
    (found,) = selection_weights(np.array([scores], dtype=float), config.rank_weights())
    counts: Counter[int] = Counter()
    orders = list(itertools.permutations(range(len(scores))))
    for order in orders:
        counts.update(sorted(order, key=lambda place: -scores[place])[:keep])
    for place in range(len(scores)):
        assert found[place] == pytest.approx(counts[place] / len(orders) / keep, abs=1e-12)


def test_equal_replies_to_a_prompt_are_fitted_once_with_their_whole_weight():
    texts = [(0, [3]), (0, [4, 2]), (0, [3]), (0, [2]), (1, [3]), (1, [3]), (1, [4]), (1, [5])]
    replies = [Reply(p, n, ids, "", True, 0.0, 0.0) for n, (p, ids) in enumerate(texts)]
    scores = np.array([5.0, 5.0, 5.0, 1.0, 2.0, 2.0, 3.0, 0.0])
    kept = keep_best(replies, scores, np.array([0.0, 0.0, 0.5, 0.5]))
    assert [(reply.prompt, reply.token_ids) for reply in kept.replies] == [(0, [3]), (0, [4, 2]), (1, [3]), (1, [4])]
    assert kept.weight_B == pytest.approx([2 / 3, 1 / 3, 1 / 2, 1 / 2])


def best_of_n_policy(reference: HFPolicy, reward, n: int, max_tokens: int = 2):
    """The best-of-n distribution over replies to each prompt and its KL, by the exact small world."""
    found, kls = [], []
    for replies in replies_of(reference, PROMPTS, max_tokens):
        probabilities = np.array(list(replies.values()))
        scores = np.array([reward(letters(reference, reply)) for reply in replies])
        world = TabularWorld(probabilities=probabilities / probabilities.sum(), proxy=scores, gold=scores)
        best = world.best_of_n(n)
        found.append(dict(zip(replies, best.tolist(), strict=True)))
        kls.append(world.kl_of(best))
    return found, float(np.mean(kls))


@pytest.mark.parametrize("n", [2, 4])
def test_distilled_policy_is_the_best_of_n_policy(n):
    """With a pool far larger than n: its exact weights let every reply of it say something about best-of-n."""
    reference = letter_policy(2)
    target, kl = best_of_n_policy(reference, taste, n)
    before = weights(reference)
    found = distil(
        reference, LetterScorer(taste), per_prompt=3_000, best_of=n, epochs=150, learning_rate=2e-2, sampler=SAMPLER
    )
    assert total_variation(replies_of(reference, PROMPTS, 2), target) > 0.15
    assert total_variation(replies_of(found.policy, PROMPTS, 2), target) < 0.025
    assert exact_kl(found.policy, reference, PROMPTS, 2) == pytest.approx(kl, rel=0.06)
    assert is_same(before, weights(reference))
    (log,) = found.logs
    scores = [math.fsum(p * taste(letters(reference, reply)) for reply, p in replies.items()) for replies in target]
    # A standard error of the mean of 6,000 scores of spread below 1.5, made larger by the weights.
    assert log.kept_reward == pytest.approx(np.mean(scores), abs=0.08)
    assert log.reward == pytest.approx(expected(reference, LetterScorer(taste), PROMPTS, 2), abs=0.08)


def test_the_best_of_a_small_pool_is_its_best_of_n():
    """Keeping the top of n is best-of-n with a pool of n, ties shared, round by round the same numbers."""
    reference = letter_policy(2)
    one, other = (
        distil(reference, LetterScorer(taste), per_prompt=6, epochs=2, **settings) for settings in ({}, {"best_of": 6})
    )
    assert is_same(weights(one.policy), weights(other.policy))
    assert one.logs == other.logs


@pytest.mark.parametrize("start", ["last", "reference"])
def test_expert_iteration_raises_the_expected_reward_round_by_round(start):
    """Either way; a round that fits the reference anew starts from replies of the last policy."""
    reference, scorer = letter_policy(3), LetterScorer(lambda letters: letters.count("c") - 0.5 * letters.count("a"))
    rewards = []
    found = distil(
        reference, scorer, rounds=4, keep=16, per_prompt=64, epochs=20, start=start,
        measure=lambda step, policy: rewards.append(expected(policy, scorer, PROMPTS, 2)),
    )  # fmt: skip
    assert len(rewards) == 5
    assert (np.diff(rewards) > 0.04).all()
    assert rewards[-1] > rewards[0] + 0.8
    # Each round's replies are drawn from the policy that the one before left.
    assert [log.reward for log in found.logs] == pytest.approx(rewards[:-1], abs=0.25)
    assert all(log.kept_reward > log.reward for log in found.logs)
    assert all(log.loss < log.first_loss for log in found.logs)


def test_a_round_from_the_reference_forgets_the_weights_of_the_last(monkeypatch):
    """Fitted to the same replies, it gives the same policy whatever came before."""
    reference = letter_policy(2)
    fixed = distillation.draw

    def same(engine, prompts, *, group, step, seed, numbers):
        policy = engine.policy
        try:
            object.__setattr__(engine, "policy", reference)
            return fixed(engine, prompts, group=group, step=1, seed=seed, numbers=numbers)
        finally:
            object.__setattr__(engine, "policy", policy)

    monkeypatch.setattr(distillation, "draw", same)
    once, again, on = (
        weights(distil(reference, rounds=rounds, epochs=1, start=start).policy)
        for rounds, start in ((1, "reference"), (3, "reference"), (3, "last"))
    )
    assert is_same(once, again)
    assert not is_same(once, on)


def nll_by_hand(reference, draws_by_prompt, rank_weights, reward, temperature=1.0) -> float:
    """Weighted negative log-likelihood a weighted token, each reply alone."""
    total = tokens = 0.0
    for prompt, replies in draws_by_prompt.items():
        ids = reference.tokenizer(prompt)["input_ids"]
        scores = [reward(letters(reference, reply)) for reply in replies]
        ranked = sorted(range(len(replies)), key=lambda place: scores[place])
        weight = {}
        for score in set(scores):
            tied = [rank for rank, place in enumerate(ranked) if scores[place] == score]
            for rank in tied:
                weight[ranked[rank]] = math.fsum(rank_weights[r] for r in tied) / len(tied)
        for place, reply in enumerate(replies):
            rows = plain_logprobs(reference.model, ids, reply) / temperature
            rows = rows - np.log(np.exp(rows).sum(1, keepdims=True))
            total -= weight[place] * rows[np.arange(len(reply)), list(reply)].sum()
            tokens += weight[place] * len(reply)
    return total / tokens


@pytest.mark.parametrize("prompts_per_step", [1, 2, 3, 64])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_loss_is_the_mean_over_kept_tokens_however_steps_cut_the_round(monkeypatch, prompts_per_step, temperature):
    """No reply counts for less because it shares a step with long ones."""
    reference, seen, plain = letter_policy(3), {}, distillation.draw
    prompts = ["a", "b c", "c"]

    def spy(*args, **kwargs):
        draws = plain(*args, **kwargs)
        for reply in draws.replies:
            seen.setdefault(draws.prompts[reply.prompt], []).append(tuple(reply.token_ids))
        return draws

    monkeypatch.setattr(distillation, "draw", spy)
    sampler = SamplerConfig(max_tokens=5, temperature=temperature)
    found = distil(
        reference, LetterScorer(taste), prompts=prompts, per_prompt=10, keep=3, learning_rate=1e-12,
        prompts_per_step=prompts_per_step, sampler=sampler, places=40,
    )  # fmt: skip
    by_hand = nll_by_hand(reference, seen, [0.0] * 7 + [1 / 3] * 3, taste, temperature)
    assert found.logs[0].loss == found.logs[0].first_loss == pytest.approx(by_hand, rel=1e-5)
    assert found.logs[0].steps == -(-3 // prompts_per_step)


def test_log_counts_what_was_drawn_and_kept(monkeypatch):
    reference, plain, draws = letter_policy(3), distillation.draw, []
    monkeypatch.setattr(distillation, "draw", lambda *args, **kwargs: draws.append(plain(*args, **kwargs)) or draws[-1])
    scorer = LetterScorer(lambda letters: float(len(letters)))
    (log,) = distil(reference, scorer, per_prompt=24, keep=6).logs
    (drawn,) = draws
    kept, cut, fitted, score = 0, 0.0, 0, 0.0
    for prompt in range(2):
        pool = [(reply, s) for reply, s in zip(drawn.replies, drawn.raw_B, strict=True) if reply.prompt == prompt]
        edge = sorted(s for _, s in pool)[-6]
        above, at = [r for r, s in pool if s > edge], [r for r, s in pool if s == edge]
        share = (6 - len(above)) / len(at) / 6
        score += math.fsum(s for _, s in pool if s > edge) / 6 + share * len(at) * edge
        cut += sum(not r.finished for r in above) / 6 + share * sum(not r.finished for r in at)
        different = {tuple(r.token_ids) for r in above + at}
        kept, fitted = kept + len(different), fitted + sum(map(len, different))
    assert (log.kept, log.fitted_tokens) == (kept / 2, fitted)
    assert log.drawn_tokens == sum(len(reply.token_ids) for reply in drawn.replies)
    assert log.reward == pytest.approx(drawn.raw_B.mean())
    assert log.kept_reward == pytest.approx(score / 2)
    assert log.kept_truncated == pytest.approx(cut / 2)
    assert 0 < log.kept_truncated <= 1


class Halt(Exception):
    pass


@pytest.mark.parametrize("start", ["last", "reference"])
def test_stopped_run_goes_on_with_the_next_round_as_if_it_had_not(tmp_path, start):
    """Bit for bit, whether a round, or the measurement after one, was cut short."""
    reference, prompts = letter_policy(3), ["a", "b", "c a", "b b", "c"]
    settings = {
        "rounds": 4, "prompts_per_round": 3, "prompts_per_step": 2, "epochs": 2, "start": start, "measure_every": 3,
        "prompts": prompts,
    }  # fmt: skip
    straight = distil(reference, **settings)
    for where in (6, 8):
        folder, measured = tmp_path / str(where), []

        def fail(step, policy, where=where):
            if step >= where:
                raise Halt

        with pytest.raises(Halt):
            distil(reference, measure=fail, checkpoints=folder, **settings)
        resumed = distil(
            reference, checkpoints=folder, measure=lambda step, policy, seen=measured: seen.append(step), **settings
        )
        assert measured == [step for step in (3, 4, 7, 8, 11, 12, 15, 16) if step >= where]
        assert is_same(weights(straight.policy), weights(resumed.policy))
        assert straight.logs == resumed.logs
    with pytest.raises(ConfigError, match=r"distillation\.keep"):
        distil(reference, checkpoints=tmp_path / "6", keep=2, **settings)
    with pytest.raises(ConfigError, match="rounds is 2, but its checkpoint is of round 4"):
        distil(reference, checkpoints=tmp_path / "6", **settings | {"rounds": 2})


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({}, [0, 6, 12]), ({"measure_every": 2}, [0, 2, 4, 6, 8, 10, 12]), ({"measure_every": 4}, [0, 4, 6, 10, 12])],
)
def test_measured_at_the_start_and_after_each_round_and_within_if_asked(settings, steps):
    seen = []
    reference = letter_policy(2)
    found = distil(
        reference, rounds=2, epochs=3, prompts_per_step=1,
        measure=lambda step, policy: seen.append((step, weights(policy), policy.model.training)), **settings,
    )  # fmt: skip
    assert [step for step, _, _ in seen] == steps
    assert not any(training for _, _, training in seen)
    assert is_same(seen[0][1], weights(reference))
    assert is_same(seen[-1][1], weights(found.policy))


@pytest.mark.parametrize(("where", "rounds", "steps"), [(6, 1, 6), (8, 2, 2)])
def test_a_reason_to_stop_is_kept(tmp_path, where, rounds, steps):
    settings = {"rounds": 5, "epochs": 3, "prompts_per_step": 1, "measure_every": 2, "checkpoints": tmp_path}
    for _ in range(2):
        found = distil(
            letter_policy(2), measure=lambda step, policy: "far enough" if step == where else None, **settings
        )
        assert (found.stopped, len(found.logs), found.logs[-1].steps) == ("far enough", rounds, steps)


def test_one_seed_gives_one_policy():
    reference = letter_policy(2)
    first, again, other = (weights(distil(reference, rounds=2, seed=seed).policy) for seed in (0, 0, 1))
    assert is_same(first, again)
    assert not is_same(first, other)


def test_scores_that_are_not_finite_stop_the_round(tmp_path):
    scorer = LetterScorer(has_c, damage=math.nan, after=1)
    seen = []
    with pytest.raises(
        NonFiniteError, match=r"1 of 64 scores from letters in round 2 .* not finite; the replies are in"
    ):
        distil(
            letter_policy(2), scorer, rounds=3, checkpoints=tmp_path,
            measure=lambda step, policy: seen.append(weights(policy)),
        )  # fmt: skip
    saved = pl.read_parquet(tmp_path / "not-finite-round-000002.parquet")
    assert saved["raw"].is_nan().sum() == 1
    assert saved.height == 64
    resumed = distil(letter_policy(2), rounds=1, checkpoints=tmp_path)
    assert is_same(seen[-1], weights(resumed.policy))


def test_nothing_is_stepped_with_a_loss_that_is_not_finite(monkeypatch, tmp_path):
    plain, calls = distillation.token_logprobs, []

    def damaged(*args, **kwargs):
        calls.append(1)
        return plain(*args, **kwargs) * (math.inf if len(calls) == 2 else 1.0)

    monkeypatch.setattr(distillation, "token_logprobs", damaged)
    with pytest.raises(NonFiniteError, match=r"of round 2 of distillation is not finite; .* the replies are in"):
        distil(letter_policy(2), rounds=3, checkpoints=tmp_path)
    saved = pl.read_parquet(tmp_path / "not-finite-round-000002.parquet")
    assert saved["weight"].sum() == pytest.approx(2.0)
    assert saved["prompt"].unique().sort().to_list() == PROMPTS


class ShortScorer(LetterScorer):
    def score(self, prompts, completions, *, progress=None):
        return super().score(prompts, completions)[:-1]


def test_a_scorer_that_loses_count_is_named():
    with pytest.raises(DataError, match="letters returned scores of shape"):
        distil(letter_policy(2), ShortScorer(has_c))


@pytest.mark.parametrize(
    "settings", [{"best_of": 8, "per_prompt": 256}, {"rounds": 3}], ids=["best-of-n", "expert-iteration"]
)
def test_curve_lies_on_the_axes_of_reinforcement_learning(settings):
    reference, prompts, scorer = letter_policy(3), ["a", "b", "c a", "b b"], LetterScorer(has_c)
    measurement = Measurement(
        reference, prompts, range(4), replies=32, proxy=scorer, gold=scorer, sampler=SAMPLER, seed=5
    )
    distil(reference, prompts=prompts, epochs=40, measure=measurement, measure_every=20, **settings)
    curve = measurement.curve()
    assert curve["step"].to_list() == list(range(0, 40 * settings.get("rounds", 1) + 1, 20))
    assert curve["kl"][0] == pytest.approx(0, abs=1e-6)
    assert curve["kl"][-1] > 0.2
    assert curve["gold"][-1] > curve["gold"][0] + 0.12
    assert (curve["kl_se"][1:] > 0).all()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"rounds": 0}, "rounds"),
        ({"per_prompt": 0}, "per_prompt"),
        ({"keep": 5, "per_prompt": 4}, "keep"),
        ({"best_of": 5, "per_prompt": 4}, "best_of"),
        ({"best_of": 2, "keep": 2}, "best_of"),
        ({"start": "first"}, "start"),
        ({"epochs": 1.5}, "epochs"),
        ({"prompts_per_step": 0}, "prompts_per_step"),
        ({"prompts_per_round": 0}, "prompts_per_round"),
        ({"measure_every": 0}, "measure_every"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, name):
    with pytest.raises(ConfigError, match=rf"distillation\.{name}"):
        DistillationConfig(**changes)


@pytest.mark.parametrize(("prompts", "per_round"), [(PROMPTS, 3), ([], None)])
def test_more_prompts_a_round_than_there_are_is_refused(prompts, per_round):
    with pytest.raises(ConfigError, match=r"prompts_per_round is \d, but there are \d prompts"):
        distil(letter_policy(2), prompts=prompts, prompts_per_round=per_round)


def test_every_round_starts_its_optimiser_anew_and_lets_its_rate_rise_and_fall(monkeypatch):
    rates, is_new, plain = [], [], torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        is_new.append(not self.state)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    distil(letter_policy(2), rounds=2, epochs=6, warm_up=2, learning_rate=1.0e-3)
    assert rates[:6] == pytest.approx([5e-4, 1e-3, 1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert rates[6:] == rates[:6]
    assert [step for step, new in enumerate(is_new) if new] == [0, 6]


def test_log_holds_the_losses_of_the_first_and_the_last_pass(monkeypatch):
    losses, plain = [], Fitter.accumulate

    def spy(self, parts):
        found = plain(self, parts)
        losses.append(found)
        return found

    monkeypatch.setattr(Fitter, "accumulate", spy)
    logs = distil(letter_policy(2), rounds=2, epochs=3, prompts_per_step=1).logs
    totals, norms = (np.array(values).reshape(2, 3, 2) for values in zip(*losses, strict=True))
    for log, own, norm in zip(logs, totals, norms, strict=True):
        assert (log.first_loss, log.loss) == pytest.approx((own[0].mean(), own[-1].mean()))
        assert log.gradient_norm == pytest.approx(norm.mean())


def test_rounds_draw_other_replies_even_of_the_same_policy(monkeypatch):
    plain, drawn = distillation.draw, []

    def spy(*args, **kwargs):
        drawn.append(plain(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(distillation, "draw", spy)
    distil(letter_policy(3), prompts=["a"], rounds=2, learning_rate=1e-12)
    one, other = ([reply.token_ids for reply in draws.replies] for draws in drawn)
    assert one != other
