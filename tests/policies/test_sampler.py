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
from transformers import GenerationConfig

from overopt.assets.catalog import model_path
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.policies import sampler as sampler_module
from overopt.policies.models import HFPolicy, load_policy
from overopt.policies.sampler import end_tokens, sample
from overopt.protocols import SamplerConfig

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


def draw(model_and_tokenizer, prompts, *, per_prompt=1, seed=0, batch=512, numbers=None, max_tokens=8, **settings):
    config = SamplerConfig(max_tokens=max_tokens, **settings)
    return sample(
        *model_and_tokenizer, prompts, per_prompt=per_prompt, config=config, seed=seed, batch=batch, numbers=numbers
    )


def oracle_settings(settings):
    return {"temperature": 1.0, "top_k": None, "top_p": 1.0, **settings}


def chi_square_excess(counts: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's statistic over its ``CHANCE`` quantile; cells that expect fewer than 5 are put together."""
    expected = counts.sum() * probability
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / chi2.ppf(1 - CHANCE, len(counts) - 1))


SETTINGS = [
    {},
    {"temperature": 0.7},
    {"top_p": 0.8},
    {"top_k": 9},
    {"temperature": 1.5, "top_k": 12, "top_p": 0.9},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_first_tokens_come_as_often_as_the_model_says(letters, settings):
    model, tokenizer = letters
    n_replies = 8_000
    replies = draw(letters, ["a b c"], per_prompt=n_replies, max_tokens=1, batch=n_replies, **settings)
    counts = np.bincount([reply.token_ids[0] for reply in replies], minlength=len(tokenizer))
    ids = tokenizer("a b c")["input_ids"]
    probability = np.exp(next_logprobs(model, ids, **oracle_settings(settings)))
    assert counts[probability == 0].sum() == 0
    assert chi_square_excess(counts, probability) < 1
    for other in SETTINGS:
        if other != settings:
            unlike = np.exp(next_logprobs(model, ids, **oracle_settings(other)))
            assert counts[unlike == 0].sum() > 0 or chi_square_excess(counts, unlike) > 1, "cannot be told apart"


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7}, {"top_p": 0.95}, {"top_k": 4, "temperature": 1.3}])
def test_whole_replies_come_as_often_as_enumeration_says(few_letters, settings):
    """Through the cache, the dropping of finished rows, and left padding: the other prompt is longer."""
    model, tokenizer = few_letters
    prompts, n_replies = ["a b c d e a b", "c"], 6_000
    replies = draw(few_letters, prompts, per_prompt=n_replies, max_tokens=3, batch=2 * n_replies, **settings)
    for number, prompt in enumerate(prompts):
        counted = Counter(tuple(reply.token_ids) for reply in replies if reply.prompt == number)
        ids = tokenizer(prompt)["input_ids"]
        expected = dict(every_reply(model, ids, eos=2, max_tokens=3, **oracle_settings(settings)))
        assert set(counted) <= set(expected)
        counts = np.array([counted[reply] for reply in expected])
        assert counts.sum() == n_replies
        assert chi_square_excess(counts, np.exp(list(expected.values()))) < 1
        for reply in replies[:: n_replies // 40]:
            if reply.prompt == number:
                assert reply.logprob == pytest.approx(expected[tuple(reply.token_ids)], abs=1e-4)


def test_batch_size_does_not_change_a_reply(letters):
    whole = draw(letters, PROMPTS, per_prompt=12, seed=5, batch=512)
    for batch in (1, 7, 13, None):
        parts = draw(letters, PROMPTS, per_prompt=12, seed=5, batch=batch)
        assert [r.token_ids for r in parts] == [r.token_ids for r in whole]
        assert [r.logprob for r in parts] == pytest.approx([r.logprob for r in whole], abs=1e-4)
        assert [r.entropy for r in parts] == pytest.approx([r.entropy for r in whole], abs=1e-4)


def test_replies_are_sorted_and_numbered(letters):
    replies = draw(letters, PROMPTS, per_prompt=3, batch=5)
    assert [(r.prompt, r.sample) for r in replies] == [(p, s) for p in range(4) for s in range(3)]


def test_more_replies_a_prompt_keep_the_earlier_ones(letters):
    few, many = (draw(letters, PROMPTS, per_prompt=n, seed=5, batch=batch) for n, batch in ((3, 512), (6, 7)))
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
    """A prompt drawn alone, under the number that it has among others, gets the replies that it gets among them."""
    together = draw(letters, PROMPTS, per_prompt=8, seed=3)
    for number, prompt in enumerate(PROMPTS):
        alone = draw(letters, [prompt], per_prompt=8, seed=3, numbers=[number])
        among = [reply for reply in together if reply.prompt == number]
        assert [r.token_ids for r in alone] == [r.token_ids for r in among]
        assert [r.logprob for r in alone] == pytest.approx([r.logprob for r in among], abs=1e-4)


def test_prompts_have_streams_of_their_own(letters):
    """The same prompt twice is answered twice."""
    replies = draw(letters, ["a b", "a b"], per_prompt=20)
    assert [r.token_ids for r in replies[:20]] != [r.token_ids for r in replies[20:]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprob_and_entropy_are_those_of_a_plain_forward_pass(letters, temperature):
    model, tokenizer = letters
    replies = draw(letters, PROMPTS, per_prompt=5, temperature=temperature, max_tokens=6)
    config = SamplerConfig(max_tokens=6, temperature=temperature)
    again = HFPolicy(model, tokenizer).measure(PROMPTS, replies, reference=None, config=config)
    assert again.policy_logprob.tolist() == pytest.approx([r.logprob for r in replies], abs=2e-5)
    assert again.entropy.tolist() == pytest.approx([r.entropy for r in replies], abs=2e-5)
    prompt_ids = tokenizer(PROMPTS)["input_ids"]
    for reply in replies:
        expected = measure_reply(model, model, prompt_ids[reply.prompt], reply.token_ids, temperature)
        assert reply.logprob == pytest.approx(expected.logprob, abs=2e-5)
        assert reply.entropy == pytest.approx(expected.entropy, abs=2e-5)


@pytest.mark.parametrize("settings", SETTINGS[2:])
def test_truncated_replies_are_measured_as_they_were_drawn(letters, settings):
    model, tokenizer = letters
    config = SamplerConfig(max_tokens=6, **settings)
    replies = draw(letters, PROMPTS, per_prompt=20, max_tokens=6, **settings)
    again = HFPolicy(model, tokenizer).measure(PROMPTS, replies, reference=None, config=config)
    assert again.policy_logprob.tolist() == pytest.approx([r.logprob for r in replies], abs=5e-5)
    assert again.entropy.tolist() == pytest.approx([r.entropy for r in replies], abs=5e-5)
    for reply in replies[::13]:
        ids = tokenizer(PROMPTS[reply.prompt])["input_ids"]
        expected = 0.0
        for token in reply.token_ids:
            expected += next_logprobs(model, ids, **oracle_settings(settings))[token]
            ids = [*ids, token]
        assert reply.logprob == pytest.approx(expected, abs=5e-5)


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


def test_a_reply_of_its_end_alone_is_empty(few_letters):
    """One token, finished, no text."""
    replies = draw(few_letters, ["a b"], per_prompt=300, max_tokens=1)
    empty = [reply for reply in replies if reply.token_ids == [2]]
    assert 0 < len(empty) < 300
    assert {(reply.text, reply.finished) for reply in empty} == {("", True)}
    model, tokenizer = few_letters
    expected = next_logprobs(model, tokenizer("a b")["input_ids"])
    assert empty[0].logprob == pytest.approx(expected[2], abs=1e-5)
    assert not any(reply.finished for reply in replies if reply.token_ids != [2])


def test_stop_tokens_end_a_reply_and_leave_no_trace_in_its_text(few_letters):
    plain = draw(few_letters, ["a b", "c"], per_prompt=200, max_tokens=6)
    stopped = draw(few_letters, ["a b", "c"], per_prompt=200, max_tokens=6, stop=("d", "e"))
    ends = {2, 6, 7}
    for one, other in zip(plain, stopped, strict=True):
        first = next((place for place, token in enumerate(one.token_ids) if token in ends), None)
        cut = one.token_ids if first is None else one.token_ids[: first + 1]
        assert other.token_ids == cut
        assert other.finished == (first is not None)
        assert not set(other.text) & {"d", "e"}
    assert {reply.token_ids[-1] for reply in stopped if reply.finished} == ends


def test_all_end_tokens_of_a_model_end_a_reply(few_letters):
    """Chat models name several in their generation settings, some of which no role of the tokenizer has."""
    model, tokenizer = few_letters
    several = tiny_llama(tokenizer, seed=2)
    several.generation_config = GenerationConfig(eos_token_id=[2, 6])
    assert end_tokens(several, tokenizer) == (2, 6)
    assert end_tokens(several, tokenizer, ("c",)) == (2, 6, 5)
    plain, ended = (draw((m, tokenizer), ["a b"], per_prompt=200, max_tokens=5) for m in (model, several))
    for one, other in zip(plain, ended, strict=True):
        places = [place for place, token in enumerate(one.token_ids) if token in (2, 6)]
        assert other.token_ids == one.token_ids[: places[0] + 1 if places else None]
        assert "d" not in other.text
    assert any(reply.token_ids[-1] == 6 for reply in ended)


def test_a_tokenizer_without_an_end_needs_a_stop_token():
    tokenizer = letter_tokenizer.__wrapped__(5)
    tokenizer.eos_token = None
    endless = tiny_llama(tokenizer, seed=2)
    endless.generation_config.eos_token_id = None
    with pytest.raises(ConfigError, match="neither the model nor its tokenizer has an end token; name one"):
        draw((endless, tokenizer), ["a b"])
    stopped = draw((endless, tokenizer), ["a b"], per_prompt=100, max_tokens=5, stop=("c",))
    assert {reply.finished for reply in stopped} == {True, False}
    assert all(reply.finished == (reply.token_ids[-1] == 5) for reply in stopped)


@pytest.mark.parametrize(("stop", "why"), [("a b", "2 tokens"), ("", "0 tokens"), ("zebra", "no token of this")])
def test_a_stop_that_is_not_one_token_is_refused(few_letters, stop, why):
    with pytest.raises(ConfigError, match=rf"sampler\.stop: {stop!r} is .*{why}"):
        draw(few_letters, ["a"], stop=(stop,))


def test_a_stop_token_may_be_named_as_text_or_as_the_vocabulary_writes_it(bytes_model):
    model, tokenizer = bytes_model
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert len(newline) == 1
    written = tokenizer.convert_ids_to_tokens(newline)[0]
    assert written != "\n"
    for stop in ("\n", written):
        assert end_tokens(model, tokenizer, (stop,)) == (tokenizer.eos_token_id, newline[0])


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


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_no_temperature_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature must be above 0"):
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


def test_an_empty_prompt_is_refused(letters):
    with pytest.raises(DataError, match="prompt 1 is empty"):
        draw(letters, [PROMPTS[0], ""])


def test_a_reply_longer_than_the_context_is_not_blamed_on_the_prompt():
    model, tokenizer = load_policy(model_path(8))
    config = SamplerConfig(max_tokens=model.config.max_position_embeddings)
    with pytest.raises(ConfigError, match=r"sampler\.max_tokens"):
        sample(model, tokenizer, ["hi\n"], per_prompt=1, config=config, seed=0)


def test_a_large_pool_is_drawn_with_the_random_numbers_of_few_prompts(letters, monkeypatch):
    """A generator each prompt, opened when its turn comes and as often as batches need it."""
    opened = []
    stream = sampler_module.stream
    monkeypatch.setattr(sampler_module, "stream", lambda *names: opened.append(names[-1]) or stream(*names))
    draw(letters, PROMPTS, per_prompt=6, batch=4)
    assert sorted(opened) == [0, 1, 2, 3]


def test_long_prompts_and_large_vocabularies_make_small_batches(letters):
    model, _ = letters
    afford = sampler_module.affordable_batch
    assert afford(model, 40, 20, 1) == sampler_module.BATCH
    per_token = 2 * 4 * 2 * 16
    length = 2**30 // per_token // 100
    assert afford(model, length, 20, 1) == pytest.approx(100, rel=0.05)
    assert afford(model, length, 20, 4) == pytest.approx(400, rel=0.05), "four replies share the keys of a prompt"


def test_progress_counts_replies(letters):
    told = []
    config = SamplerConfig(max_tokens=2)
    sample(
        *letters, PROMPTS, per_prompt=3, config=config, seed=0, batch=5,
        progress=lambda done, whole, what: told.append((done, whole, what)),
    )  # fmt: skip
    assert told == [(5, 12, "replies"), (10, 12, "replies"), (12, 12, "replies")]


def test_no_prompts_have_no_replies(letters):
    assert draw(letters, []) == []


def test_a_policy_says_what_it_is(letters):
    described = HFPolicy(*letters, name="tiny").describe()
    assert described["policy"] == "tiny"
    assert described["dtype"] == "float32"
    assert described["architecture"] == "LlamaForCausalLM"
    assert described["parameters"] == letters[0].num_parameters()
