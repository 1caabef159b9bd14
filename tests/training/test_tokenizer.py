"""The byte-level tokenizer: nothing is lost, texts start with <|bos|>, the end can be told from padding."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.language_models import SENTENCES, byte_tokenizer
from transformers import AutoTokenizer

from overopt.training.tokenizer import BOS, EOS, PAD, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def test_bos_comes_first_and_pad_is_not_eos(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for text in (*SENTENCES, ""):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 1
        assert not {0, 1, 2} & set(ids[1:])
        assert ids[1:] == tokenizer(text, add_special_tokens=False)["input_ids"]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.text(max_size=40).filter(lambda text: not any(special in text for special in (PAD, BOS, EOS))))
@example("it 's fine , isn 't it ?  Yes .\n")
@example("\n turn\t \u00a0\u200d👩‍👩‍👧 é e\u0301 ﷽")
@example("<|nothing|>")
def test_any_text_survives_the_round_trip(text):
    """Save the names of the special tokens, which chat templates write and mean."""
    tokenizer = byte_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_merges_make_frequent_words_short(tokenizer):
    words = SENTENCES[3].split()
    assert len(tokenizer(SENTENCES[3], add_special_tokens=False)["input_ids"]) < len(SENTENCES[3].encode()) - len(words)
    assert len(tokenizer) == 300


def test_one_set_of_texts_gives_one_tokenizer():
    one, other = (train_tokenizer(iter(SENTENCES), vocabulary=290) for _ in range(2))
    assert one.get_vocab() == other.get_vocab()


def test_the_chat_template_writes_turns_as_prompts_are_written(tokenizer):
    """A prompt is "turn\\n" for each turn, so the reply begins on its own line and ends with <|eos|>."""
    chat = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert asked == "<|bos|>Hi!\nHello.\n"
    answered = [*chat, {"role": "user", "content": "How are you?"}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == asked + "How are you?<|eos|>"
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert ids == tokenizer("Hi!\nHello.\n")["input_ids"]


def test_the_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in SENTENCES:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.padding_side == "right"
