"""The shipped models: whole, small, as good as their record says, and loadable by anybody."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from overopt.assets import catalog
from overopt.assets.catalog import (
    MODELS_FOLDER,
    PROMPT_TOKENS,
    REPLY_TOKENS,
    WIDTHS,
    base_model,
    damages,
    fingerprint,
    model_name,
    model_path,
    read_catalog,
)
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.errors import ArtifactError, ConfigError
from overopt.training.language_model import tokenize_exchanges


@pytest.fixture
def copy(tmp_path):
    """The smallest model with its record."""
    name = model_name(8)
    shutil.copytree(MODELS_FOLDER / name, tmp_path / name)
    record = read_catalog()
    record["models"] = {name: record["models"][name]}
    (tmp_path / catalog.RECORD).write_text(json.dumps(record))
    assert damages(tmp_path) == []
    return tmp_path / name


@pytest.fixture(scope="module")
def held_out():
    """300 exchanges of the evaluation split, from all over it, whose reply fits."""
    tokenizer = AutoTokenizer.from_pretrained(model_path(128))
    rows = exchanges(load_conversations(), "evaluation").rows
    spread = [rows[index] for index in np.linspace(0, len(rows) - 1, 450).astype(int)]
    data = tokenize_exchanges(tokenizer, spread, prompt_tokens=PROMPT_TOKENS, reply_tokens=REPLY_TOKENS).complete()
    assert len(data.ids) >= 300
    return data


def test_the_shipped_files_are_those_that_were_built():
    assert damages() == []
    assert set(read_catalog()["models"]) == {model_name(width) for width in WIDTHS}


def test_the_shipped_files_are_no_more_than_10_mb():
    assert sum(path.stat().st_size for path in MODELS_FOLDER.rglob("*") if path.is_file()) <= 10_000_000


def test_one_flipped_bit_is_found(copy):
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    (found,) = damages(copy.parent)
    assert found == "chitchat-w8/model.safetensors is not the file that was built: its checksum differs"


def test_missing_and_extra_files_are_found_together(copy):
    (copy / "config.json").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"")
    assert damages(copy.parent) == [
        "chitchat-w8/config.json is missing",
        "chitchat-w8/pytorch_model.bin is not part of the model",
    ]


def test_a_missing_model_is_found(copy):
    shutil.rmtree(copy)
    found = damages(copy.parent)
    assert "chitchat-w8/model.safetensors is missing" in found
    assert all(sentence.endswith("is missing") for sentence in found)


@pytest.mark.parametrize("content", [None, "{", ""])
def test_a_record_that_cannot_be_read_is_reported(tmp_path, content):
    if content is not None:
        (tmp_path / catalog.RECORD).write_text(content)
    with pytest.raises(ArtifactError, match="the record of the shipped models"):
        read_catalog(tmp_path)


def test_fingerprints_follow_the_files(copy):
    root = copy.parent
    assert fingerprint(8, root=root) == fingerprint(8)
    assert len({fingerprint(width) for width in WIDTHS}) == len(WIDTHS)
    record = json.loads((root / catalog.RECORD).read_text())
    record["models"]["chitchat-w8"]["files"]["config.json"] = "0"
    (root / catalog.RECORD).write_text(json.dumps(record))
    assert fingerprint(8, root=root) != fingerprint(8)


def test_a_width_that_is_not_shipped_is_refused():
    with pytest.raises(ConfigError, match=r"no shipped model has width 12; there are 8, 16, 32, 64, 128, 224"):
        model_path(12)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_model_loads_as_recorded(width):
    model, found = AutoModelForCausalLM.from_pretrained(model_path(width), output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == base_model(width).parameters
    assert model.config.hidden_size == width
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    tokenizer = AutoTokenizer.from_pretrained(model_path(width))
    special = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert special == (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id)
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer("Hello!\n")["input_ids"][0] == tokenizer.bos_token_id
    assert model.config.max_position_embeddings >= 1 + PROMPT_TOKENS + REPLY_TOKENS


def test_all_models_share_one_tokenizer():
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert len({(model_path(width) / file).read_bytes() for width in WIDTHS}) == 1


def test_larger_models_are_better():
    """Up to width 128; the largest has no more data to learn from and is only as good."""
    losses = [base_model(width).reply_loss for width in WIDTHS]
    assert losses[:5] == sorted(losses[:5], reverse=True)
    assert losses[5] < losses[4] + 0.02
    assert base_model(128).reply_loss <= 3.80


@torch.no_grad()
@pytest.mark.parametrize("width", [8, 128])
def test_the_recorded_loss_is_measured_again(width, held_out):
    """One pass a batch, the loss by hand; tokens of one exchange are not independent, exchanges nearly are.

    The recorded number is a ratio (nats over tokens), so its standard error is that of a ratio.
    """
    model = AutoModelForCausalLM.from_pretrained(model_path(width), dtype=torch.float32).eval()
    nats, tokens = [], []
    for start in range(0, len(held_out.ids), 60):
        ids = torch.from_numpy(held_out.ids[start : start + 60])
        logprobs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits.double(), dim=-1)
        for row in range(len(ids)):
            first, end = held_out.reply_starts[start + row], held_out.lengths[start + row]
            chosen = logprobs[row, first - 1 : end - 1].gather(1, ids[row, first:end, None])
            nats.append(-float(chosen.sum()))
            tokens.append(int(end - first))
    total, count = np.array(nats), np.array(tokens)
    loss = total.sum() / count.sum()
    error = np.std(total - loss * count, ddof=1) / count.mean() / math.sqrt(len(count))
    assert error < 0.1
    assert abs(loss - base_model(width).reply_loss) < 4 * error
