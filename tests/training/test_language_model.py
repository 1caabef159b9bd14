"""Exchanges as tokens, the held-out loss, and a few steps of pretraining."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.language_models import SENTENCES, byte_tokenizer, next_logprobs, tiny_llama

from overopt.assets.chitchat import Exchange
from overopt.errors import NonFiniteError
from overopt.training.language_model import (
    Architecture,
    PretrainConfig,
    fit_prompts,
    held_out_losses,
    pretrain,
    tokenize_exchanges,
)

ARCHITECTURE = Architecture(width=16, layers=1, heads=2, hidden=32)
ROWS = [
    Exchange("one", f"{SENTENCES[0]}\n{SENTENCES[1]}\n", SENTENCES[2]),
    Exchange("one", "Hello\nHi\n", "How are you?"),
    Exchange("two", "What?\nYes\n", "Ok"),
    Exchange("two", "a b\nc\n", "~" * 11),
    Exchange("two", "a b\nc\n", "~" * 12),
]
PROMPT_TOKENS, REPLY_TOKENS = 20, 12


@pytest.fixture(scope="module")
def data():
    return tokenize_exchanges(byte_tokenizer(), ROWS, prompt_tokens=PROMPT_TOKENS, reply_tokens=REPLY_TOKENS)


def n_tokens(text: str) -> int:
    return len(byte_tokenizer()(text, add_special_tokens=False)["input_ids"])


TURNS = st.lists(
    st.one_of(st.sampled_from(["Hello", "there,", "you", "\n", "  ", "é", "👩‍👧"]), st.text(max_size=12)), max_size=12
).map(" ".join)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(TURNS, st.integers(1, 25))
@example("unbreakable" * 9, 5)
@example("a " + "👩" * 30, 8)
@example("Hello there, how are you today?\nI am fine\n", 6)
def test_a_fitted_prompt_is_its_end_cut_between_words(prompt, limit):
    fitted = fit_prompts(byte_tokenizer(), [prompt], limit)[0]
    assert prompt.endswith(fitted)
    assert n_tokens(fitted) <= limit
    if n_tokens(prompt) <= limit:
        assert fitted == prompt
    elif fitted:
        assert prompt[len(prompt) - len(fitted) - 1].isspace()


def test_a_fitted_prompt_keeps_all_the_words_that_fit():
    prompt = "one two three four five six seven\n"
    for limit in range(1, n_tokens(prompt) + 2):
        fitted = fit_prompts(byte_tokenizer(), [prompt], limit)[0]
        ends = [prompt[start:] for start in range(len(prompt)) if start == 0 or prompt[start - 1] == " "]
        assert fitted == max((end for end in ends if n_tokens(end) <= limit), key=len, default="")


def test_prompts_are_fitted_each_for_itself():
    prompts = ["Hello", "Hello there, how are you today?\n" * 3, ""]
    assert fit_prompts(byte_tokenizer(), prompts, 9) == [fit_prompts(byte_tokenizer(), [p], 9)[0] for p in prompts]


def test_rows_hold_bos_prompt_reply_and_end(data):
    tokenizer = byte_tokenizer()
    assert data.ids.shape == (len(ROWS), 1 + PROMPT_TOKENS + REPLY_TOKENS)
    for row, exchange in enumerate(ROWS):
        start, length = data.reply_starts[row], data.lengths[row]
        ids = data.ids[row]
        assert ids[0] == 1
        prompt = tokenizer.decode(ids[1:start])
        assert exchange.prompt.endswith(prompt)
        assert prompt == fit_prompts(tokenizer, [exchange.prompt], PROMPT_TOKENS)[0]
        reply = [*tokenizer(exchange.reply, add_special_tokens=False)["input_ids"], 2]
        assert ids[start:length].tolist() == reply[:REPLY_TOKENS]
        assert (ids[length:] == 0).all()
        assert data.is_complete[row] == (len(reply) <= REPLY_TOKENS)
    assert data.is_complete.tolist() == [False, True, True, True, False]
    assert data.lengths[3] == data.lengths[4]


def test_complete_keeps_the_rows_that_end(data):
    kept = data.complete()
    assert kept.ids.tolist() == data.ids[[1, 2, 3]].tolist()
    assert kept.lengths.tolist() == data.lengths[[1, 2, 3]].tolist()
    assert kept.reply_starts.tolist() == data.reply_starts[[1, 2, 3]].tolist()
    assert kept.is_complete.all()
    assert all(row[length - 1] == 2 for row, length in zip(kept.ids, kept.lengths, strict=True))


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_held_out_losses_are_the_means_over_their_tokens(data, batch):
    model = tiny_llama(byte_tokenizer(), seed=21)
    losses = {"reply": [], "all": []}
    for ids, length, start in zip(data.ids.tolist(), data.lengths, data.reply_starts, strict=True):
        for position in range(1, length):
            loss = -float(next_logprobs(model, ids[:position])[ids[position]])
            losses["all"].append(loss)
            if position >= start:
                losses["reply"].append(loss)
    expected = {name: math.fsum(values) / len(values) for name, values in losses.items()}
    assert held_out_losses(model, data, batch=batch) == pytest.approx(expected, abs=1e-5)
    assert abs(expected["reply"] - expected["all"]) > 0.01


@pytest.fixture(scope="module")
def easy_data():
    """A hundred exchanges with four replies, each of which follows from its prompt."""
    rows = [Exchange(str(n), f"say {'abcd'[n % 4]}\nnow\n", f"{'wxyz'[n % 4]} it is") for n in range(100)]
    return tokenize_exchanges(byte_tokenizer(), rows, prompt_tokens=16, reply_tokens=12)


def train(data, **changes):
    config = PretrainConfig(architecture=ARCHITECTURE, batch=16, **{"steps": 40, **changes})
    return pretrain(config, data, byte_tokenizer())


def test_pretraining_learns_what_is_there_to_learn(easy_data):
    """Far below the loss of one unpretrained token in 300, and below a uniform choice among the four replies."""
    trained = train(easy_data, steps=120, matrix_lr=3e-2, embedding_lr=3e-2)
    assert not trained.training
    assert held_out_losses(train(easy_data, steps=1), easy_data)["reply"] > 4
    assert held_out_losses(trained, easy_data)["reply"] < 1


def test_one_seed_gives_one_model_whatever_was_drawn_before(easy_data):
    first = train(easy_data, steps=4)
    torch.rand(17)
    again, other = train(easy_data, steps=4), train(easy_data, steps=4, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_no_loss_is_taken_on_padding(easy_data):
    """A model that trained on rows with more columns of padding is the same model."""
    wide = type(easy_data)(
        np.pad(easy_data.ids, ((0, 0), (0, 7)), constant_values=99),
        easy_data.lengths,
        easy_data.reply_starts,
        easy_data.is_complete,
    )
    for one, other in zip(train(easy_data, steps=3).parameters(), train(wide, steps=3).parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_padding_inside_a_batch_is_not_learnt(easy_data):
    """Rows of one batch differ in length here; the id under the padding must not matter."""
    lengths = easy_data.lengths - np.arange(100) % 5
    variants = []
    for filler in (0, 77):
        ids = easy_data.ids.copy()
        ids[np.arange(ids.shape[1])[None] >= lengths[:, None]] = filler
        matrix = type(easy_data)(ids, lengths, easy_data.reply_starts, easy_data.is_complete)
        variants.append(train(matrix, steps=3))
    for one, other in zip(variants[0].parameters(), variants[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def test_only_complete_exchanges_are_shown_at_the_end(easy_data):
    """From step 0 here: the incomplete rows, all of one unusual reply, are never seen."""
    incomplete = np.arange(100) % 2 == 0
    ids = easy_data.ids.copy()
    ids[incomplete] = np.where(ids[incomplete] > 2, 250, ids[incomplete])
    changed = type(easy_data)(ids, easy_data.lengths, easy_data.reply_starts, ~incomplete)
    original = type(easy_data)(easy_data.ids, easy_data.lengths, easy_data.reply_starts, ~incomplete)
    seen, unseen = ([train(matrix, steps=4, complete_from=c) for matrix in (changed, original)] for c in (1.0, 0.0))
    equal = [
        all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        for one, other in (seen, unseen)
    ]
    assert equal == [False, True]


def test_a_loss_that_is_not_finite_is_not_stepped_with(easy_data, monkeypatch):
    stepped = []
    for optimizer in (torch.optim.AdamW, torch.optim.Muon):
        monkeypatch.setattr(optimizer, "step", lambda self, *args: stepped.append(self))
    monkeypatch.setattr(
        "overopt.training.language_model.F.cross_entropy", lambda *args, **kwargs: torch.tensor(torch.inf)
    )
    with pytest.raises(NonFiniteError, match="the loss of pretraining step 0 is inf"):
        train(easy_data)
    assert not stepped
