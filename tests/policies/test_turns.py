"""Turns that end where a text says so, each token with the probability that it had."""

from collections import Counter

import numpy as np
import pytest
from oracles.language_models import byte_tokenizer, every_reply, letter_tokenizer, plain_logprobs, tiny_llama

from overopt.envs.machine import scan
from overopt.errors import ConfigError
from overopt.policies.turns import TextEnd, draw_turns
from overopt.stats.sampling import SamplerSettings

CONTEXTS = [[1, 3, 4], [1, 5], [1, 3, 4], [1, 7, 6, 5, 4, 3], [1, 5]]
LIMITS = [6, 3, 6, 1, 6]


@pytest.fixture(scope="module")
def letters():
    return tiny_llama(letter_tokenizer(5), seed=2, sharpness=0.2)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def command_end(tokenizer):
    return TextEnd(tokenizer, "</bash>", lambda text: scan(text).command is not None)


def draw(model, contexts=CONTEXTS, limits=LIMITS, *, seed=0, settings=None, is_done=lambda ids: False, batch=None):
    return draw_turns(
        model, contexts, limits,
        settings=settings or SamplerSettings(), ends=(2,), is_done=is_done, rng=np.random.default_rng(seed),
        batch=batch,
    )  # fmt: skip


@pytest.mark.parametrize("settings", [SamplerSettings(), SamplerSettings(temperature=0.6), SamplerSettings(top_k=3)])
def test_log_probabilities_are_those_of_the_distribution_that_was_sampled(letters, settings):
    found = draw(letters, settings=settings)
    for turn, context, limit in zip(found, CONTEXTS, LIMITS, strict=True):
        assert 1 <= len(turn.token_ids) <= limit
        assert len(turn.token_ids) == limit or turn.token_ids[-1] == 2
        assert 2 not in turn.token_ids[:-1]
        temperature, top_k = settings.temperature, settings.top_k
        expected = dict(every_reply(letters, context, eos=2, max_tokens=3, temperature=temperature, top_k=top_k))
        head = turn.token_ids[:3]
        assert sum(turn.logprobs[: len(head)]) == pytest.approx(expected[head], abs=1e-4)
        if settings == SamplerSettings():
            plain = plain_logprobs(letters, context, turn.token_ids)
            assert turn.logprobs == pytest.approx(plain[range(len(turn.token_ids)), turn.token_ids], abs=1e-4)


def test_turns_come_as_often_as_enumeration_says(letters):
    contexts = [[1, 3, 4], [1, 5]] * 1_500
    found = draw(letters, contexts, [3] * len(contexts))
    for context in contexts[:2]:
        counts = Counter(turn.token_ids for turn, own in zip(found, contexts, strict=True) if own == context)
        for reply, logprob in every_reply(letters, context, eos=2, max_tokens=3):
            p = np.exp(logprob)
            assert abs(counts[reply] - 1_500 * p) < 6 * np.sqrt(1_500 * p * (1 - p)) + 3


def test_batches_and_company_play_no_part(letters):
    whole = draw(letters, seed=4)
    for batch in (1, 2, 3):
        parts = draw(letters, seed=4, batch=batch)
        assert [turn.token_ids for turn in parts] == [turn.token_ids for turn in whole]
        assert [turn.logprobs for turn in parts] == [pytest.approx(turn.logprobs, abs=1e-4) for turn in whole]
    twice = draw(letters, [[1, 3, 4]] * 20, [6] * 20)
    assert len({turn.token_ids for turn in twice}) > 5, "equal contexts are drawn apart"


def test_a_turn_ends_where_it_is_done_and_the_others_go_on(letters):
    found = draw(letters, [[1, 3, 4]] * 50, [6] * 50, is_done=lambda ids: ids[-1] == 5)
    assert any(turn.token_ids[-1] == 5 for turn in found)
    assert any(len(turn.token_ids) == 6 for turn in found)
    free = draw(letters, [[1, 3, 4]] * 50, [6] * 50)
    for turn, other in zip(found, free, strict=True):
        assert 5 not in turn.token_ids[:-1]
        assert other.token_ids[: len(turn.token_ids)] == turn.token_ids


def test_nothing_to_draw_and_no_room(letters):
    assert draw(letters, [], []) == []
    with pytest.raises(ConfigError, match="room for a token"):
        draw(letters, CONTEXTS, [3, 0, 1, 1, 1])


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", ["<bash>ls</bash>", "Let me see.<cot>hm</cot> <bash>cat 'é' ☃</bash>"])
def test_a_command_is_complete_with_the_token_that_closes_it(tokenizer, command_end, text):
    ids = ids_of(tokenizer, text)
    assert len(ids_of(tokenizer, "</bash>")) > 1, "the closing tag takes several tokens"
    assert [command_end(ids[: k + 1]) for k in range(len(ids))] == [False] * (len(ids) - 1) + [True]
    behind = ids_of(tokenizer, " and more <bash>pwd</bash>")
    assert command_end.length(ids + behind) == len(ids)


@pytest.mark.parametrize("text", ["<cot><bash>ls</bash>", "</bash>", "a </bash> b", "<bash>ls", "<bash>ls</bash", ""])
def test_a_closing_tag_that_closes_no_command_ends_nothing(tokenizer, command_end, text):
    ids = ids_of(tokenizer, text)
    assert not any(command_end(ids[: k + 1]) for k in range(len(ids)))
    assert command_end.length(ids) is None


def test_a_tag_that_shares_its_last_token_with_what_follows_keeps_that_token():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate([*alphabet, ">Ċ"])}
    made = Tokenizer(models.BPE(vocab=words, merges=[(">", "Ċ")]))
    made.pre_tokenizer, made.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        decoders.ByteLevel(),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    end = TextEnd(tokenizer, "</bash>", lambda text: scan(text).command is not None)
    ids = ids_of(tokenizer, "<bash>ls</bash>\nmore")
    length = end.length(ids)
    assert tokenizer.decode(ids[:length]) == "<bash>ls</bash>\n"
    assert [end(ids[: k + 1]) for k in range(length)] == [False] * (length - 1) + [True]
