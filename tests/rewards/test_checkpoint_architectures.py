"""Reward models of many architectures against their own bodies and heads, one unpadded text at a time in float64."""

import copy
import shutil

import numpy as np
import pytest
import torch
from oracles.language_models import SENTENCES, byte_tokenizer, letter_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
)

from overopt.errors import ConfigError, DataError
from overopt.rewards.checkpoint import RewardModel

CONTEXT = 160
PROMPTS = ["Hello?\n", "Hello?\n", f"{SENTENCES[0]}\n{SENTENCES[1]}\n", "é\n", "What a day\n", "Hello?\n"]
REPLIES = ["Hi.", "", SENTENCES[2], "I am fine", SENTENCES[3] * 2, "Hi!"]
ROUNDING = 1e-5
SIZES = {
    "vocab_size": len(byte_tokenizer()),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
    "num_labels": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WIDE = {**SIZES, "intermediate_size": 32}
DECODERS = {
    "llama": LlamaConfig(**WIDE),
    "qwen2": Qwen2Config(**WIDE, num_key_value_heads=1),
    "gpt-neox": GPTNeoXConfig(**WIDE),
    "gpt2": GPT2Config(**SIZES),
}
ENCODERS = {
    "bert": BertConfig(**WIDE, pad_token_id=0),
    # RoBERTa counts positions from pad + 1.
    "roberta": RobertaConfig(**{**WIDE, "max_position_embeddings": CONTEXT + 1}, pad_token_id=0, type_vocab_size=1),
    "deberta": DebertaV2Config(
        **WIDE, pad_token_id=0, relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        type_vocab_size=0, max_relative_positions=32, position_buckets=16,
    ),
}  # fmt: skip


def filled(config, *, seed=0):
    """Weights so large that scores differ much between texts."""
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def encoder_tokenizer() -> PreTrainedTokenizerFast:
    """[CLS] one [SEP] two [SEP], bytes as tokens, two segments, and no end token, as BERT's."""
    special = ["[PAD]", "[CLS]", "[SEP]"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@torch.no_grad()
def decoder_scores(model, texts: list[list[int]]) -> list[float]:
    body = copy.deepcopy(model.base_model).double()
    weight = model.score.weight[0].double()
    return [float(body(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] @ weight) for ids in texts]


def byte_ids(text: str) -> list[int]:
    return byte_tokenizer()(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("pad", [None, "<|eos|>", "<|pad|>"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders_are_read_at_the_last_real_token(name, pad, tmp_path):
    """GRM's and AlpacaFarm's scorers each assumed one padding side; pad = eos moved the end of others."""
    model = filled(DECODERS[name])
    expected = decoder_scores(
        model, [[1, *byte_ids(p), *byte_ids(r), 2] for p, r in zip(PROMPTS, REPLIES, strict=True)]
    )
    byte_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = pad
    model.config.pad_token_id = tokenizer.pad_token_id
    proxy = RewardModel(model, tokenizer)
    assert proxy.score(PROMPTS, REPLIES).tolist() == pytest.approx(expected, abs=ROUNDING)
    order = [4, 2, 0, 5, 3, 1]
    shuffled = RewardModel(model, tokenizer, batch_tokens=70).score(
        [PROMPTS[i] for i in order], [REPLIES[i] for i in order]
    )
    assert shuffled.tolist() == pytest.approx([expected[i] for i in order], abs=ROUNDING)
    assert np.ptp(expected) > 1000 * ROUNDING
    assert model.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_encoders_read_a_pair_in_their_own_form(name, tmp_path):
    model = filled(ENCODERS[name])
    model.save_pretrained(tmp_path)
    encoder_tokenizer().save_pretrained(tmp_path)
    proxy = RewardModel.load(tmp_path, device="cpu")
    alone = copy.deepcopy(model).double()
    letters = proxy.tokenizer
    expected = []
    for prompt, reply in zip(PROMPTS, REPLIES, strict=True):
        first, second = (letters(text, add_special_tokens=False)["input_ids"] for text in (prompt, reply))
        inputs = {"input_ids": torch.tensor([[1, *first, 2, *second, 2]])}
        if name == "bert":
            inputs["token_type_ids"] = torch.tensor([[0] * (len(first) + 2) + [1] * (len(second) + 1)])
        if name == "roberta":
            # One kind of segment: its table has no second row.
            proxy.tokenizer.model_input_names = ["input_ids", "attention_mask"]
        expected.append(float(alone(**inputs).logits[0, 0]))
    assert np.ptp(expected) > 100 * ROUNDING
    assert proxy.score(PROMPTS, REPLIES).tolist() == pytest.approx(expected, abs=ROUNDING)
    singles = [float(proxy.score([p], [r])[0]) for p, r in zip(PROMPTS, REPLIES, strict=True)]
    assert singles == pytest.approx(expected, abs=ROUNDING)


def test_what_is_scored_beside_a_text_does_not_change_its_form():
    """A pair of texts has separators and segments, a conversation its template, also where both come in one call."""
    tokenizer = encoder_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.chat_template = "[CLS]{% for m in messages %}{{ m['role'] }} {{ m['content'] }}[SEP]{% endfor %}"
    proxy = RewardModel(filled(ENCODERS["bert"]), tokenizer)
    prompts = ["Hello?", [{"role": "user", "content": "Hello?"}], "What?"]
    alone = [float(proxy.score([prompt], ["Hi."])[0]) for prompt in prompts]
    assert proxy.score(prompts, ["Hi."] * 3).tolist() == pytest.approx(alone, abs=ROUNDING)
    assert len({round(score, 3) for score in alone}) == 3


def test_position_tables_with_a_padding_row_hold_fewer_tokens():
    """RoBERTa's 514 positions read 512 tokens; the 513th would look up a row that is not there."""
    tokenizer = encoder_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    proxy = RewardModel(filled(ENCODERS["roberta"]), tokenizer, name="toy")
    assert np.isfinite(proxy.score(["a"], ["b" * (CONTEXT - 4)])).all()
    with pytest.raises(DataError, match="a text of 161 tokens does not fit toy, which reads 160"):
        proxy.score(["a"], ["b" * (CONTEXT - 3)])


@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_the_head_computes_in_float32_above_a_bfloat16_body(name):
    """bfloat16 heads quantise scores near 10 to steps of 1/16, which makes ties and picks the wrong best of n."""
    model = filled({**DECODERS, **ENCODERS}[name]).bfloat16()
    heads = [module for child, module in model.named_children() if child != model.base_model_prefix]
    with torch.no_grad():
        for parameter in heads[-1].parameters():
            parameter.mul_(16)
    halves = copy.deepcopy(model)
    proxy = RewardModel(model, byte_tokenizer())
    replies = [f"{first}{second}" for first in "abcdefgh" for second in "klmnop"]
    replies = [reply for reply in replies if len(byte_ids(reply)) == 2]
    scores = proxy.score(["Hello?\n"] * len(replies), replies)
    ids = torch.tensor([[1, *byte_ids("Hello?\n"), *byte_ids(reply), 2] for reply in replies])
    with torch.no_grad():
        half = halves(input_ids=ids, attention_mask=torch.ones_like(ids)).logits if name in ENCODERS else None
    assert (scores == scores.astype(np.float32)).all()
    assert (scores != torch.tensor(scores).bfloat16().double().numpy()).mean() > 0.9
    if half is not None:
        assert scores.tolist() == pytest.approx(half[:, 0].double().tolist(), rel=0.1, abs=0.1)
        return
    with torch.no_grad():
        hidden = halves.base_model(input_ids=ids).last_hidden_state[:, -1]
        assert hidden.dtype == torch.bfloat16
        expected = (hidden.double() @ halves.score.weight[0].double()).tolist()
        in_half = (hidden @ halves.score.weight[0]).tolist()
    assert scores.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-4)
    assert len(set(scores.tolist())) > len(set(in_half))


def test_mixed_precision_of_the_caller_does_not_reach_the_scores():
    """An RL step that scores inside its autocast context once had half-precision rewards."""
    proxy = RewardModel(filled(DECODERS["llama"]), byte_tokenizer())
    plain = proxy.score(PROMPTS, REPLIES)
    with torch.autocast("cpu", torch.bfloat16):
        inside = proxy.score(PROMPTS, REPLIES)
    assert inside.tolist() == plain.tolist()


def test_training_mode_of_the_caller_does_not_reach_the_scores():
    config = copy.deepcopy(DECODERS["gpt2"])
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.5
    proxy = RewardModel(filled(config), byte_tokenizer())
    plain = proxy.score(PROMPTS, REPLIES)
    proxy.model.train()
    assert proxy.score(PROMPTS, REPLIES).tolist() == plain.tolist()


def test_conversations_are_scored_in_the_models_own_template():
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    model = filled(DECODERS["llama"])
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    others = [{"role": "user", "content": "A much longer turn, so that there is padding."}]
    scores = RewardModel(model, tokenizer).score([turns, others, "Hello?\n", turns], ["Hi.", "", "Hi.", "Hi."])

    def spoken(*turns: tuple[str, str]) -> list[int]:
        return [1, *(token for role, text in turns for token in [*byte_ids(f"<{role}>{text}"), 2])]

    expected = decoder_scores(
        model,
        [
            spoken(("system", "Be brief."), ("user", "Hello?"), ("assistant", "Hi.")),
            spoken(("user", others[0]["content"]), ("assistant", "")),
            [1, *byte_ids("Hello?\n"), *byte_ids("Hi."), 2],
        ],
    )
    assert scores.tolist() == pytest.approx([*expected, expected[0]], abs=ROUNDING)


def test_a_template_that_ends_after_the_end_token_is_read_at_its_end():
    """ChatML ends turns with a newline: the score is the last real token's, not the end token's."""
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    )
    model = filled(DECODERS["llama"])
    prompts = [[{"role": "user", "content": "Hello?"}], [{"role": "user", "content": "Hello? " * 9}]]
    found = RewardModel(model, tokenizer).score(prompts, ["Hi.", "Hi."])
    newline = byte_ids("\n")
    texts = [
        [1, *byte_ids(f"user\n{prompt[0]['content']}"), 2, *byte_ids("\nassistant\nHi."), 2, *newline]
        for prompt in prompts
    ]
    assert found.tolist() == pytest.approx(decoder_scores(model, texts), abs=ROUNDING)


def test_a_conversation_without_a_template_is_refused():
    proxy = RewardModel(filled(DECODERS["llama"]), byte_tokenizer())
    proxy.tokenizer.chat_template, kept = None, proxy.tokenizer.chat_template
    try:
        with pytest.raises(ConfigError, match="has no chat template"):
            proxy.score([[{"role": "user", "content": "Hello?"}]], ["Hi."])
    finally:
        proxy.tokenizer.chat_template = kept


def test_text_is_tokenized_by_the_reward_models_own_vocabulary():
    """A proxy reads text, never the token ids of the policy that wrote it."""
    config = copy.deepcopy(DECODERS["llama"])
    tokenizer = letter_tokenizer(6)
    config.vocab_size = len(tokenizer)
    model = filled(config)
    scores = RewardModel(model, tokenizer).score(["a b", "a b"], ["c d", "f"])
    letters = dict(zip("abcdef", range(3, 9), strict=True))
    texts = [[1, *(letters[letter] for letter in text), 2] for text in ("abcd", "abf")]
    assert scores.tolist() == pytest.approx(decoder_scores(model, texts), abs=ROUNDING)


def test_a_tokenizer_larger_than_the_model_is_refused_where_it_matters():
    config = copy.deepcopy(DECODERS["llama"])
    config.vocab_size = 40
    proxy = RewardModel(filled(config), letter_tokenizer(37), name="toy")
    assert len(proxy.score(["a"], ["b"])) == 1
    small = copy.deepcopy(config)
    small.vocab_size = 28
    proxy = RewardModel(filled(small), letter_tokenizer(37), name="toy")
    assert len(proxy.score(["a"], ["b c"])) == 1
    with pytest.raises(DataError, match="gives token 28, but the model knows 28; they do not belong together"):
        proxy.score(["a"], ["z"])


def test_a_pad_token_that_the_model_does_not_know_is_not_used():
    """Pad tokens are often added to a tokenizer without a row for them in the model."""
    config = copy.deepcopy(DECODERS["llama"])
    model = filled(config)
    tokenizer = copy.deepcopy(byte_tokenizer())
    expected = RewardModel(model, tokenizer).score(PROMPTS, REPLIES)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    assert tokenizer.pad_token_id == config.vocab_size
    assert RewardModel(model, tokenizer).score(PROMPTS, REPLIES).tolist() == pytest.approx(
        expected.tolist(), abs=ROUNDING
    )


def test_a_checkpoint_without_a_head_is_refused(tmp_path):
    """A head that was not saved is random: GRM's loader made whole ensembles of such heads."""
    config = copy.deepcopy(DECODERS["llama"])
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"holds no weights for score\.weight"):
        RewardModel.load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no model can be loaded from"):
        RewardModel.load(tmp_path)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    filled(DECODERS["llama"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no tokenizer can be loaded from"):
        RewardModel.load(tmp_path)


def test_device_and_dtype_are_those_asked_for(tmp_path):
    filled(DECODERS["llama"]).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    proxy = RewardModel.load(str(tmp_path), device="cpu", dtype="bfloat16")
    assert proxy.model.dtype == torch.bfloat16
    assert proxy.model.score.weight.dtype == torch.float32
    assert proxy.name == tmp_path.name
    with pytest.raises(ConfigError, match="there is no dtype"):
        RewardModel.load(tmp_path, device="cpu", dtype="int3")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT asks transformers for it
def test_a_lora_wrapped_model_keeps_its_head_in_float32():
    peft = pytest.importorskip("peft")
    plain = filled(DECODERS["llama"]).bfloat16()
    expected = RewardModel(copy.deepcopy(plain), byte_tokenizer()).score(PROMPTS, REPLIES)
    wrapped = peft.get_peft_model(plain, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"]))
    found = RewardModel(wrapped, byte_tokenizer()).score(PROMPTS, REPLIES)
    # LoRA starts as nothing.
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)
    assert (found != torch.tensor(found).bfloat16().double().numpy()).any()


def test_a_damaged_file_is_refused(tmp_path):
    filled(DECODERS["llama"]).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ConfigError, match="no model can be loaded from"):
        RewardModel.load(tmp_path)
    shutil.rmtree(tmp_path)
