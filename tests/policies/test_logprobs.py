"""Log-probabilities, exact KL and entropy against sums over the vocabulary and over all replies."""

import math

import numpy as np
import pytest
import torch
from oracles.language_models import every_reply, letter_tokenizer, measure_reply, tiny_llama

from overopt.policies.logprobs import ReplyTokens, by_length, join_tokens, reply_statistics, token_logprobs
from overopt.policies.sampler import SamplerConfig, sample

PROMPTS = [[1, 3, 4], [1, 5], [1, 3, 3, 3, 3, 4, 4], [1, 6]]
REPLIES = [[3, 4, 5, 2], [2], [6, 7, 7, 7, 0], [5, 1, 2]]
"""Pad, bos and end tokens are also things a policy can say."""


@pytest.fixture(scope="module")
def tokenizer():
    return letter_tokenizer(5)


@pytest.fixture(scope="module")
def policy(tokenizer):
    return tiny_llama(tokenizer, seed=11)


@pytest.fixture(scope="module")
def reference(tokenizer):
    return tiny_llama(tokenizer, seed=12)


@pytest.fixture(scope="module")
def near_policy(tokenizer, reference):
    """The reference with its output weights moved a little."""
    moved = tiny_llama(tokenizer, seed=12)
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        moved.lm_head.weight += 0.15 * torch.randn(moved.lm_head.weight.shape, generator=generator)
    return moved


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_every_sum_is_that_of_the_loop_over_tokens(policy, reference, temperature, batch):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    found = reply_statistics(policy, reference, tokens, temperature=temperature, batch=batch)
    for row, (prompt, reply) in enumerate(zip(PROMPTS, REPLIES, strict=True)):
        expected = measure_reply(policy, reference, prompt, reply, temperature)
        assert float(found.policy_logprob[row]) == pytest.approx(expected.logprob, abs=1e-4)
        assert float(found.reference_logprob[row]) == pytest.approx(expected.reference_logprob, abs=1e-4)
        assert float(found.kl[row]) == pytest.approx(expected.kl, abs=1e-4)
        assert float(found.entropy[row]) == pytest.approx(expected.entropy, abs=1e-4)


def test_temperature_changes_both_models(policy, reference):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    warm, cold = (reply_statistics(policy, reference, tokens, temperature=t) for t in (1.0, 0.5))
    for name in ("policy_logprob", "reference_logprob", "kl", "entropy"):
        assert (getattr(warm, name) - getattr(cold, name)).abs().min() > 1e-3


def test_kl_to_itself_is_0_and_to_another_above_0(policy, reference, near_policy):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    assert reply_statistics(policy, policy, tokens, temperature=1.0).kl.tolist() == [0.0] * len(PROMPTS)
    for other in (policy, near_policy):
        assert (reply_statistics(other, reference, tokens, temperature=1.0).kl > 0).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_mean_kl_over_replies_is_the_kl_of_whole_replies(near_policy, reference, tokenizer, temperature):
    """By enumeration of all replies of up to 3 tokens; k1, the mean log-ratio, agrees and is the noisier one."""
    max_tokens, n_replies = 3, 4_000
    prompt = tokenizer("a b")["input_ids"]
    settings = {"eos": 2, "max_tokens": max_tokens, "temperature": temperature}
    own = dict(every_reply(near_policy, prompt, **settings))
    other = dict(every_reply(reference, prompt, **settings))
    assert math.fsum(map(math.exp, own.values())) == pytest.approx(1, abs=1e-9)
    true_kl = math.fsum(math.exp(own[reply]) * (own[reply] - other[reply]) for reply in own)

    config = SamplerConfig(max_tokens=max_tokens, temperature=temperature)
    replies = sample(near_policy, tokenizer, ["a b"], per_prompt=n_replies, config=config, seed=4, batch=n_replies)
    tokens = join_tokens([prompt] * n_replies, [reply.token_ids for reply in replies], pad=0)
    found = reply_statistics(near_policy, reference, tokens, temperature=temperature, batch=n_replies)
    exact = found.kl.numpy()
    k1 = (found.policy_logprob - found.reference_logprob).numpy()
    errors = {name: values.std(ddof=1) / math.sqrt(n_replies) for name, values in (("exact", exact), ("k1", k1))}
    assert abs(exact.mean() - true_kl) < 4 * errors["exact"]
    assert abs(k1.mean() - true_kl) < 4 * errors["k1"]
    assert errors["exact"] < 0.8 * errors["k1"]
    assert true_kl > 10 * errors["exact"], "a KL of 0 would pass"


def test_padding_and_order_change_nothing(policy, reference):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    plain = reply_statistics(policy, reference, tokens, temperature=1.0)
    more = 9
    wide = ReplyTokens(
        torch.nn.functional.pad(tokens.ids, (0, more)),
        torch.nn.functional.pad(tokens.mask, (0, more)),
        torch.nn.functional.pad(tokens.is_reply, (0, more)),
    )
    order = torch.tensor([2, 0, 3, 1])
    shuffled = ReplyTokens(wide.ids[order], wide.mask[order], wide.is_reply[order])
    found = reply_statistics(policy, reference, shuffled, temperature=1.0, batch=2)
    for name in ("policy_logprob", "reference_logprob", "kl", "entropy"):
        assert getattr(found, name).tolist() == pytest.approx(getattr(plain, name)[order].tolist(), abs=1e-5)


def test_a_reply_the_reference_cannot_give_is_infinitely_far(policy, reference, tokenizer):
    """Not clamped; and a token that neither can say adds nothing."""
    impossible = tiny_llama(tokenizer, seed=12)
    own = tiny_llama(tokenizer, seed=11)
    for model, source, forbidden in ((impossible, reference, [5, 7]), (own, policy, [7])):
        model.lm_head = torch.nn.Linear(16, len(tokenizer), bias=True)
        with torch.no_grad():
            model.lm_head.weight.copy_(source.lm_head.weight)
            model.lm_head.bias.zero_()
            model.lm_head.bias[forbidden] = -torch.inf
    tokens = join_tokens([[1, 3]] * 2, [[5, 2], [4, 2]], pad=0)
    found = reply_statistics(own, impossible, tokens, temperature=1.0)
    assert found.kl.tolist() == [math.inf] * 2
    assert found.reference_logprob[0] == -math.inf
    assert torch.isfinite(found.reference_logprob[1])
    assert torch.isfinite(found.policy_logprob).all()
    assert torch.isfinite(found.entropy).all()
    backwards = reply_statistics(impossible, own, tokens, temperature=1.0)
    assert torch.isfinite(backwards.kl).all()
    expected = measure_reply(impossible, own, [1, 3], [4, 2], 1.0)
    assert float(backwards.kl[1]) == pytest.approx(expected.kl, abs=1e-4)
    assert float(backwards.entropy[1]) == pytest.approx(expected.entropy, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logprobs_stand_at_their_tokens(policy, temperature):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    found = token_logprobs(policy, tokens, temperature=temperature).detach()
    assert (found[~tokens.is_reply] == 0).all()
    for row, (prompt, reply) in enumerate(zip(PROMPTS, REPLIES, strict=True)):
        for step in range(len(reply)):
            before = measure_reply(policy, policy, prompt, reply[:step], temperature).logprob
            after = measure_reply(policy, policy, prompt, reply[: step + 1], temperature).logprob
            assert float(found[row, len(prompt) + step]) == pytest.approx(after - before, abs=1e-4)


def test_gradient_of_token_logprobs_is_that_of_a_plain_forward_pass(tokenizer):
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    batched, plain = tiny_llama(tokenizer, seed=11), tiny_llama(tokenizer, seed=11)
    token_logprobs(batched, tokens, temperature=0.7).sum().backward()
    for prompt, reply in zip(PROMPTS, REPLIES, strict=True):
        logits = plain(input_ids=torch.tensor([prompt + reply]), use_cache=False).logits[0, len(prompt) - 1 : -1] / 0.7
        torch.log_softmax(logits, -1)[torch.arange(len(reply)), torch.tensor(reply)].sum().backward()
    for one, other in zip(batched.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_rows_keep_their_tokens_and_lose_spare_columns():
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    part = tokens.rows(torch.tensor([3, 1]))
    assert part.ids.tolist() == [[1, 6, 5, 1, 2], [1, 5, 2, 0, 0]]
    assert part.mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert part.is_reply.tolist() == [[False, False, True, True, True], [False, False, True, False, False]]


def test_by_length_names_each_row_once_shortest_first():
    tokens = join_tokens(PROMPTS, REPLIES, pad=0)
    rows = torch.cat(list(by_length(tokens, 3))).tolist()
    lengths = [len(p) + len(r) for p, r in zip(PROMPTS, REPLIES, strict=True)]
    assert sorted(rows) == [0, 1, 2, 3]
    assert [lengths[row] for row in rows] == sorted(lengths)
    assert np.diff([lengths[row] for row in rows]).min() >= 0
