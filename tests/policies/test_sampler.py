"""Samples against exact probabilities, and against the same samples drawn another way."""

from collections import Counter

import numpy as np
import pytest
import torch
from oracles.language_models import (
    SENTENCES,
    byte_tokenizer,
    every_reply,
    letter_tokenizer,
    measure_reply,
    next_logprobs,
    tiny_llama,
)
from scipy.stats import chi2

from overopt.assets.catalog import model_path
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.policies.logprobs import join_tokens, reply_statistics
from overopt.policies.models import encode_prompts, load_policy
from overopt.policies.sampler import SamplerConfig, _inverse_cdf, left_padded, sample

CHANCE = 1e-6
"""How often a correct sampler may fail a test of frequencies under another seed."""
PROMPTS = ["a b", "c", "d e f a b c d", "b b b"]


@pytest.fixture(scope="module")
def letters():
    tokenizer = letter_tokenizer(37)
    return tiny_llama(tokenizer, seed=1), tokenizer


@pytest.fixture(scope="module")
def few_letters():
    tokenizer = letter_tokenizer(5)
    return tiny_llama(tokenizer, seed=2), tokenizer


@pytest.fixture(scope="module")
def bytes_model():
    tokenizer = byte_tokenizer()
    return tiny_llama(tokenizer, seed=3, sharpness=0.8), tokenizer


def draw(model_and_tokenizer, prompts, *, per_prompt=1, seed=0, max_tokens=8, temperature=1.0, batch=512):
    config = SamplerConfig(max_tokens=max_tokens, temperature=temperature)
    return sample(*model_and_tokenizer, prompts, per_prompt=per_prompt, config=config, seed=seed, batch=batch)


def chi_square_excess(counts: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's statistic over its ``CHANCE`` quantile; cells that expect fewer than 5 are put together."""
    expected = counts.sum() * probability
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / chi2.ppf(1 - CHANCE, len(counts) - 1))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_first_tokens_come_as_often_as_the_model_says(letters, temperature):
    model, tokenizer = letters
    n_replies = 8_000
    replies = draw(letters, ["a b c"], per_prompt=n_replies, max_tokens=1, temperature=temperature, batch=n_replies)
    counts = np.bincount([reply.token_ids[0] for reply in replies], minlength=len(tokenizer))
    ids = tokenizer("a b c")["input_ids"]
    assert chi_square_excess(counts, np.exp(next_logprobs(model, ids, temperature))) < 1
    other = 0.7 if temperature == 1.0 else 1.0
    assert chi_square_excess(counts, np.exp(next_logprobs(model, ids, other))) > 1, "the test cannot tell them apart"


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_whole_replies_come_as_often_as_enumeration_says(few_letters, temperature):
    """Through the cache, the dropping of finished rows, and left padding: the other prompt is longer."""
    model, tokenizer = few_letters
    prompts, n_replies = ["a b c d e a b", "c"], 6_000
    replies = draw(
        few_letters, prompts, per_prompt=n_replies, max_tokens=3, temperature=temperature, batch=2 * n_replies
    )
    for number, prompt in enumerate(prompts):
        counted = Counter(tuple(reply.token_ids) for reply in replies if reply.prompt == number)
        ids = tokenizer(prompt)["input_ids"]
        expected = dict(every_reply(model, ids, eos=2, max_tokens=3, temperature=temperature))
        assert set(counted) <= set(expected)
        counts = np.array([counted[reply] for reply in expected])
        assert counts.sum() == n_replies
        assert chi_square_excess(counts, np.exp(list(expected.values()))) < 1


def test_batch_size_does_not_change_a_reply(letters):
    whole = draw(letters, PROMPTS, per_prompt=12, seed=5)
    for batch in (1, 7, 13):
        parts = draw(letters, PROMPTS, per_prompt=12, seed=5, batch=batch)
        assert [r.token_ids for r in parts] == [r.token_ids for r in whole]
        assert [r.logprob for r in parts] == pytest.approx([r.logprob for r in whole], abs=1e-4)
        assert [r.entropy for r in parts] == pytest.approx([r.entropy for r in whole], abs=1e-4)


def test_replies_are_sorted_and_numbered(letters):
    replies = draw(letters, PROMPTS, per_prompt=3, batch=5)
    assert [(r.prompt, r.sample) for r in replies] == [(p, s) for p in range(4) for s in range(3)]


def test_more_replies_a_prompt_keep_the_earlier_ones(letters):
    few, many = (draw(letters, PROMPTS, per_prompt=n, seed=5) for n in (3, 6))
    assert [r.token_ids for r in many if r.sample < 3] == [r.token_ids for r in few]


def test_seeds_differ_and_one_seed_repeats(letters):
    first, again, other = (draw(letters, PROMPTS, per_prompt=20, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert [r.token_ids for r in first] != [r.token_ids for r in other]


def test_the_global_random_state_is_left_alone(letters):
    torch.manual_seed(0)
    before = draw(letters, PROMPTS, per_prompt=4)
    state = torch.get_rng_state()
    torch.manual_seed(99)
    assert draw(letters, PROMPTS, per_prompt=4) == before
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_left_padding_changes_nothing(letters):
    """A prompt's number chooses its random numbers, so the prompt drawn alone keeps its place among copies of it."""
    together = draw(letters, PROMPTS, per_prompt=8, seed=3)
    for number, prompt in enumerate(PROMPTS):
        alone = draw(letters, [prompt] * len(PROMPTS), per_prompt=8, seed=3)
        for one, other in zip(together, alone, strict=True):
            if one.prompt == number:
                assert one.token_ids == other.token_ids
                assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_left_padded_ends_together():
    ids, mask = left_padded([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprob_and_entropy_are_those_of_a_plain_forward_pass(letters, temperature):
    model, tokenizer = letters
    replies = draw(letters, PROMPTS, per_prompt=5, temperature=temperature, max_tokens=6)
    prompt_ids = tokenizer(PROMPTS)["input_ids"]
    tokens = join_tokens([prompt_ids[r.prompt] for r in replies], [r.token_ids for r in replies], pad=0)
    again = reply_statistics(model, model, tokens, temperature=temperature)
    assert again.policy_logprob.tolist() == pytest.approx([r.logprob for r in replies], abs=1e-4)
    assert again.entropy.tolist() == pytest.approx([r.entropy for r in replies], abs=1e-4)
    for reply in replies:
        expected = measure_reply(model, model, prompt_ids[reply.prompt], reply.token_ids, temperature)
        assert reply.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert reply.entropy == pytest.approx(expected.entropy, abs=1e-4)


def test_a_reply_ends_at_the_first_end_token(few_letters):
    replies = draw(few_letters, ["a b", "c"], per_prompt=300, max_tokens=5)
    lengths = Counter(len(reply.token_ids) for reply in replies)
    assert set(lengths) == {1, 2, 3, 4, 5}
    for reply in replies:
        assert 2 not in reply.token_ids[:-1]
        assert reply.finished == (reply.token_ids[-1] == 2)
        assert reply.finished or len(reply.token_ids) == 5
    assert 0 < sum(reply.finished for reply in replies) < len(replies)
    assert any(reply.finished and len(reply.token_ids) == 5 for reply in replies)


def test_text_is_the_tokens_without_special_ones(bytes_model):
    _, tokenizer = bytes_model
    special = set(tokenizer.all_special_ids)
    replies = draw(bytes_model, list(SENTENCES), per_prompt=60, max_tokens=12)
    assert any(special & set(reply.token_ids) for reply in replies)
    for reply in replies:
        assert "<|" not in reply.text
        assert reply.text == tokenizer.decode([token for token in reply.token_ids if token not in special])


def test_tokens_of_probability_0_are_never_drawn(letters):
    """First, last and middle of the vocabulary: rounding of the cumulative sum must not reach them."""
    model, tokenizer = letters
    forbidden = [0, 1, 7, 8, 20, len(tokenizer) - 2, len(tokenizer) - 1]
    masked = tiny_llama(tokenizer, seed=1)
    masked.lm_head = torch.nn.Linear(16, len(tokenizer), bias=True)
    with torch.no_grad():
        masked.lm_head.weight.copy_(model.lm_head.weight)
        masked.lm_head.bias.zero_()
        masked.lm_head.bias[forbidden] = -torch.inf
    replies = draw((masked, tokenizer), PROMPTS, per_prompt=100, max_tokens=6)
    drawn = {token for reply in replies for token in reply.token_ids}
    assert not drawn & set(forbidden)
    assert len(drawn) > 20
    for reply in replies[:10]:
        prompt = tokenizer(PROMPTS[reply.prompt])["input_ids"]
        expected = measure_reply(masked, masked, prompt, reply.token_ids, 1.0)
        assert reply.entropy == pytest.approx(expected.entropy, abs=1e-4)


def test_extreme_uniform_numbers_choose_possible_tokens():
    probability = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]])
    uniforms = {0.0: 1, 0.29999: 1, 0.30001: 3, 1 - 2**-53: 3, 1 - 2**-25: 3}
    for uniform, token in uniforms.items():
        assert _inverse_cdf(probability, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token]
    rounded_down = torch.full((1, 10), 0.0999, dtype=torch.float32)
    assert _inverse_cdf(rounded_down, torch.tensor([1 - 2**-53], dtype=torch.float64)).tolist() == [9]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_no_temperature_is_refused(temperature):
    with pytest.raises(ConfigError, match=r"sampler\.temperature must be above 0"):
        SamplerConfig(temperature=temperature)


def test_room_for_no_token_is_refused():
    with pytest.raises(ConfigError, match=r"sampler\.max_tokens"):
        SamplerConfig(max_tokens=0)


def test_a_prompt_that_does_not_fit_is_named_not_cut(letters):
    """Context 64, 8 for the reply: 55 letters and <|bos|> just fit."""
    assert len(draw(letters, ["a", "b " * 55])) == 2
    with pytest.raises(DataError, match=r"prompt 1 takes 57 tokens, the policy has room for 56"):
        draw(letters, ["a", "b " * 56])


def test_damaged_weights_are_reported(letters):
    _, tokenizer = letters
    damaged = tiny_llama(tokenizer, seed=1)
    with torch.no_grad():
        damaged.lm_head.weight[3, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="not finite while sampling"):
        draw((damaged, tokenizer), PROMPTS)


def test_weights_that_overflow_are_reported(letters):
    _, tokenizer = letters
    damaged = tiny_llama(tokenizer, seed=1)
    with torch.no_grad():
        damaged.lm_head.weight[3] = 3e38
    with pytest.raises(NonFiniteError, match="not finite while sampling"):
        draw((damaged, tokenizer), PROMPTS)


def test_a_shipped_model_loads_and_ends_its_replies():
    policy = load_policy(model_path(64))
    assert policy[0].dtype == torch.float32
    assert not policy[0].training
    prompts = ["Hello!\nHi, how are you?\n", "What do you do?\nI am a student, and you?\n"]
    replies = draw(policy, prompts, per_prompt=40, max_tokens=32)
    share = np.mean([reply.finished for reply in replies])
    assert share > 0.8
    assert np.mean([reply.text.isascii() for reply in replies]) > 0.9
    assert len({reply.text for reply in replies}) > 50


def test_a_tokenizer_that_pads_with_the_end_token_is_refused(tmp_path, letters):
    model, _ = letters
    model.save_pretrained(tmp_path)
    tokenizer = letter_tokenizer.__wrapped__(37)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="one token for padding and for the end"):
        load_policy(tmp_path)


def test_a_prompt_that_spells_the_end_token_does_not_end(letters):
    """Encoded as the special token it would put a real end into the middle of a prompt."""
    _, tokenizer = load_policy(model_path(8))
    ids = encode_prompts(tokenizer, ["a<|eos|>b"])[0]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<|eos|>b"


def test_an_empty_prompt_is_refused(letters):
    with pytest.raises(DataError, match="prompt 1 is empty"):
        draw(letters, [PROMPTS[0], ""])


def test_a_reply_longer_than_the_context_is_not_blamed_on_the_prompt():
    model, tokenizer = load_policy(model_path(8))
    config = SamplerConfig(max_tokens=model.config.max_position_embeddings)
    with pytest.raises(ConfigError, match=r"sampler\.max_tokens"):
        sample(model, tokenizer, ["hi\n"], per_prompt=1, config=config, seed=0)
