"""Scores of a saved reward model against Hugging Face's own model, called on one text at a time."""

import numpy as np
import pytest
import torch
from oracles.language_models import SENTENCES, byte_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from overopt.errors import ConfigError, DataError, NonFiniteError, ShapeError
from overopt.hf.encoding import encode_scored, right_padded
from overopt.rewards.checkpoint import RewardModel

CONTEXT = 160
PROMPTS = ["Hello?\n", "Hello?\n", f"{SENTENCES[0]}\n{SENTENCES[1]}\n", "é\n", "What a day\n", "Hello?\n"]
REPLIES = ["Hi.", "", SENTENCES[2], "I am fine", SENTENCES[3] * 2, "Hi."]
ROUNDING = 2e-5
"""Of float32 products whose order of summation may change with the shape of a batch."""


def classifier(*, outputs=1, dropout=0.0, pad=0, scale=1.0, seed=0):
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        num_labels=outputs,
        attention_dropout=dropout,
        pad_token_id=pad,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForSequenceClassification._from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                width = scale if name == "score.weight" else 0.4
                parameter.copy_(width * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("proxies") / "toy-proxy"
    classifier().save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def proxy(folder):
    return RewardModel.load(folder)


@torch.no_grad()
def scores_by_hand(folder, prompts, replies) -> list[float]:
    """<|bos|>, prompt, reply, <|eos|>, alone; the head applied to the last hidden state, in float64."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = byte_tokenizer()
    found = []
    for prompt, reply in zip(prompts, replies, strict=True):
        text = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, reply))
        ids = torch.tensor([[1, *next(text), *next(text), 2]])
        hidden = model.model(input_ids=ids).last_hidden_state
        found.append(float(hidden[0, -1] @ model.score.weight[0]))
    return found


def test_scores_are_those_of_the_last_token_of_prompt_reply_and_end(folder, proxy):
    expected = scores_by_hand(folder, PROMPTS, REPLIES)
    assert proxy.score(PROMPTS, REPLIES).tolist() == pytest.approx(expected, abs=ROUNDING)
    assert np.std(expected) > 1000 * ROUNDING


def test_the_score_depends_on_the_prompt_and_on_the_reply(proxy):
    scores = proxy.score(["Hello?\n", "What?\n", "Hello?\n"], ["Hi.", "Hi.", "Hi!"])
    assert abs(np.diff(scores)).min() > 1000 * ROUNDING
    assert abs(scores[0] - scores[2]) > 1000 * ROUNDING


@pytest.mark.parametrize("tokens", [1, 60, 100, 250, 8192])
def test_batch_size_and_order_do_not_move_a_score(proxy, tokens):
    """Neither do the longer texts of a batch: they set how much padding the others get."""
    alone = [float(proxy.score([p], [r])[0]) for p, r in zip(PROMPTS, REPLIES, strict=True)]
    order = [3, 0, 5, 2, 1, 4]
    batched = RewardModel(proxy.model, proxy.tokenizer, batch_tokens=tokens)
    found = batched.score([PROMPTS[i] for i in order], [REPLIES[i] for i in order])
    assert found.tolist() == pytest.approx([alone[i] for i in order], abs=ROUNDING)


def test_padding_and_its_amount_do_not_move_a_score(proxy):
    """Each text beside one that fills the context."""
    longest = "~" * (CONTEXT - 3)
    for prompt, reply in zip(PROMPTS, REPLIES, strict=True):
        padded, alone = proxy.score([prompt, "~"], [reply, longest])[0], proxy.score([prompt], [reply])[0]
        assert padded == pytest.approx(alone, abs=ROUNDING)


def test_batches_hold_the_tokens_they_may_and_no_more(proxy):
    """Padding included; a text that is longer than a batch is one by itself."""
    lengths = (1, 2, 3, 4, 5, 7, 17, 18, 60)
    # 3 more tokens each: bos, the prompt and eos. Longest first.
    seen = shapes_of_passes(proxy, 40, [chr(ord("a") + n) for n in range(9)], ["~" * n for n in lengths])
    assert seen[:2] == [(1, 63), (1, 21)]
    assert sum(rows for rows, _ in seen) == 9
    assert all(rows * length <= 40 for rows, length in seen[1:])
    assert len(seen) == 4


def test_rows_that_share_a_prompt_keep_to_the_tokens_of_a_batch(proxy):
    """Nine replies after one prompt: bos and prompt stand once in a row, an end token after each reply."""
    seen = shapes_of_passes(proxy, 40, ["~"] * 9, ["~" * n for n in (1, 2, 3, 4, 5, 7, 17, 18, 60)])
    assert seen[-1] == (1, 63)
    assert all(rows * length <= 40 for rows, length in seen[:-1])
    assert sum(rows * length for rows, length in seen) < 117 + 9 * 3


def shapes_of_passes(proxy, batch_tokens, prompts, replies):
    model = RewardModel(proxy.model, proxy.tokenizer, batch_tokens=batch_tokens)
    seen = []
    hook = model.model.base_model.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(tuple((args[0] if args else inputs["input_ids"]).shape)), with_kwargs=True
    )
    model.score(prompts, replies)
    hook.remove()
    return seen


def test_texts_end_with_the_end_token_and_nothing_is_cut(proxy):
    ids = encode_scored(proxy.tokenizer, PROMPTS, REPLIES)
    for tokens, prompt, reply in zip(ids, PROMPTS, REPLIES, strict=True):
        assert tokens[0] == 1
        assert tokens[-1] == 2
        assert tokens.count(1) == tokens.count(2) == 1
        assert proxy.tokenizer.decode(tokens[1:-1]) == prompt + reply


def test_right_padded_starts_together():
    ids, mask = right_padded([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_equal_texts_get_one_score(proxy):
    scores = RewardModel(proxy.model, proxy.tokenizer, batch_tokens=64).score(PROMPTS, REPLIES)
    assert scores[0] == scores[5]
    seen = []
    proxy.score(PROMPTS * 3, REPLIES * 3, progress=lambda done, total, unit: seen.append((done, total, unit)))
    assert seen[-1] == (5, 5, "texts")


def test_only_equal_pairs_are_scored_together(proxy):
    """Neither equal replies to two prompts nor pairs that read the same when joined stand for each other."""
    seen = []
    pairs = [("ab", "c"), ("a", "bc"), ("b", "c"), ("ab", "c")]
    prompts, replies = zip(*pairs, strict=True)
    scores = proxy.score(prompts, replies, progress=lambda done, total, unit: seen.append(total))
    assert seen[-1] == 3
    assert scores.tolist() == pytest.approx([float(proxy.score([p], [r])[0]) for p, r in pairs], abs=ROUNDING)
    assert abs(scores[0] - scores[2]) > 1000 * ROUNDING


def test_dropout_is_off_when_scoring():
    """GRM never called eval() on its reward models: dropout made rewards random."""
    model = classifier(dropout=0.5)
    model.train()
    proxy = RewardModel(model, byte_tokenizer())
    assert proxy.score(PROMPTS, REPLIES).tolist() == proxy.score(PROMPTS, REPLIES).tolist()
    plain = RewardModel(classifier(), byte_tokenizer()).score(PROMPTS, REPLIES)
    assert proxy.score(PROMPTS, REPLIES).tolist() == pytest.approx(plain.tolist(), abs=ROUNDING)


def test_scores_near_10_are_not_quantised(tmp_path):
    """bfloat16 steps by 1/16 there, which makes ties; a file stored in bfloat16 is scored in float32 all the same."""
    model = classifier(scale=4.0, seed=5)
    model.bfloat16().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    proxy = RewardModel.load(tmp_path)
    assert {parameter.dtype for parameter in proxy.model.parameters()} == {torch.float32}
    replies = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    scores = proxy.score(["Hello?\n"] * 100, replies)
    assert (abs(scores) > 8).sum() > 20
    assert len(set(scores.tolist())) == 100
    assert (scores == scores.astype(np.float32)).all()
    large = scores[abs(scores) > 8]
    assert (large != torch.tensor(large).bfloat16().double().numpy()).mean() > 0.9
    expected = scores_by_hand(tmp_path, ["Hello?\n"] * 100, replies)
    assert scores.tolist() == pytest.approx(expected, abs=2e-4)


def test_no_texts_have_no_scores(proxy):
    assert proxy.score([], []).shape == (0,)


def test_more_than_one_output_is_refused():
    with pytest.raises(ConfigError, match="toy has 2 outputs; a reward model has one"):
        RewardModel(classifier(outputs=2), byte_tokenizer(), name="toy")


@pytest.mark.parametrize("spelled", [None, "<|eos|>", "<|bos|>", "~"])
@pytest.mark.parametrize("configured", [None, 0, 2, 9])
def test_any_pad_token_will_do(spelled, configured, folder):
    """Hugging Face's model finds the last token by its config's pad id: pad = eos once moved the score off the end."""
    expected = scores_by_hand(folder, PROMPTS, REPLIES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = spelled
    tokenizer.padding_side = "left"
    model = classifier(pad=configured)
    found = RewardModel(model, tokenizer).score(PROMPTS, REPLIES)
    assert found.tolist() == pytest.approx(expected, abs=ROUNDING)
    assert model.config.pad_token_id == configured


def test_texts_that_use_every_token_can_be_padded(folder, proxy):
    """No token is left that no text contains; padding then repeats one that ends no text."""
    every = "".join(map(chr, range(32, 127)))
    prompts, replies = ["Hello?\n", "~"], ["Hi.", every]
    small = classifier()
    used = {token for tokens in encode_scored(proxy.tokenizer, prompts, replies) for token in tokens}
    model = RewardModel(small, proxy.tokenizer)
    from overopt.rewards.checkpoint import absent_token

    assert absent_token([[1, 5, 2], [1, 6, 2]], 4, preferred=0) == 0
    assert absent_token([[0, 1, 2], [0, 3, 2]], 4, preferred=None) in {0, 1, 3}
    assert absent_token([[0, 1, 2], [0, 3, 2]], 4, preferred=2) in {0, 1, 3}
    assert len(used) > 90
    assert model.score(prompts, replies).tolist() == pytest.approx(scores_by_hand(folder, prompts, replies), abs=2e-4)


def test_damaged_weights_are_reported():
    model = classifier()
    with torch.no_grad():
        model.score.weight[0, 3] = torch.nan
    with pytest.raises(NonFiniteError, match="toy returned a score that is not finite"):
        RewardModel(model, byte_tokenizer(), name="toy").score(PROMPTS, REPLIES)


def test_a_text_that_does_not_fit_is_refused_not_cut(proxy):
    """<|bos|> and <|eos|> count; every other byte here is a token."""
    proxy.score(["~"], ["~" * (CONTEXT - 3)])
    with pytest.raises(DataError, match="a text of 161 tokens does not fit toy-proxy, which reads 160"):
        proxy.score(["Hi\n", "~"], ["Hi", "~" * (CONTEXT - 2)])


def test_prompts_must_go_with_completions(proxy):
    with pytest.raises(ShapeError, match="2 prompts do not go with 1 completions"):
        proxy.score(["a", "b"], ["c"])
