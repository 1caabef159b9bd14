"""What cannot be loaded is refused in one sentence; what is loaded is whole and in evaluation mode."""

import json
import os
import subprocess
import sys

import pytest
import torch
from oracles.language_models import letter_tokenizer, tiny_llama
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaForSequenceClassification

from overopt.errors import ConfigError
from overopt.hf.loading import choose_device, choose_dtype, evaluating, load_model, load_tokenizer

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """A model with its tokenizer."""
    tokenizer = letter_tokenizer(5)
    tiny_llama(tokenizer, seed=1).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(path, auto=AutoModelForCausalLM, dtype=torch.float32):
    return load_model(auto, path, device=CPU, dtype=dtype)


def refusal(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_loaded_as_it_was_saved(folder, dtype):
    model = load(folder, dtype=dtype)
    assert model.dtype == dtype
    assert not model.training
    expected = tiny_llama(letter_tokenizer(5), seed=1).to(dtype)
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    assert load_tokenizer(folder).eos_token_id == 2


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "some/where/deep"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(path):
    assert refusal(load, path) == f"there is no folder {path}"
    assert refusal(load_tokenizer, path) == f"there is no folder {path}"


def test_a_path_is_no_name_on_the_hub(tmp_path):
    assert refusal(load, tmp_path / "gone") == f"there is no folder {tmp_path / 'gone'}"


def test_an_empty_folder_holds_no_model(tmp_path):
    assert refusal(load, tmp_path).startswith(f"no model can be loaded from {tmp_path}: ")
    assert refusal(load_tokenizer, tmp_path).startswith(f"no tokenizer can be loaded from {tmp_path}: ")


def test_pickled_weights_are_refused(folder):
    """They can run code when they are opened."""
    model = load(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert "no file named model.safetensors" in refusal(load, folder)


def test_code_from_a_models_folder_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('this code ran')\n")
    assert refusal(load, folder).startswith("no model can be loaded")


@pytest.mark.parametrize("keep", [2, 1_000])
def test_a_cut_file_of_weights_is_refused(folder, keep):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert refusal(load, folder).startswith(f"no model can be loaded from {folder}: ")


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    assert refusal(load, folder) == f"the weights in {folder} have other shapes than its configuration says"


def test_weights_that_are_not_there_are_not_made_up(folder, tmp_path):
    """A language model read as a reward model would have a random head, and the reverse random words."""
    sentence = refusal(load, folder, AutoModelForSequenceClassification)
    assert sentence == f"{folder} holds no weights for score.weight: it is no whole LlamaForSequenceClassification"
    scorer = LlamaForSequenceClassification(load(folder).config)
    scorer.save_pretrained(tmp_path / "scorer")
    assert "holds no weights for lm_head.weight" in refusal(load, tmp_path / "scorer")


def test_a_broken_configuration_is_refused(folder):
    (folder / "config.json").write_text("{oops")
    assert "not a valid JSON file" in refusal(load, folder)


def test_a_broken_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("oops")
    assert refusal(load_tokenizer, folder).startswith(f"no tokenizer can be loaded from {folder}: ")


def test_a_tokenizer_without_an_end_is_refused(folder):
    tokenizer = letter_tokenizer.__wrapped__(5)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    assert refusal(load_tokenizer, folder).endswith("needs an end-of-sequence token: the end of a text must be visible")
    assert load_tokenizer(folder, needs_end=False).eos_token is None


@pytest.mark.parametrize("pad", ["<|eos|>", None])
def test_a_tokenizer_may_pad_with_its_end_or_not_at_all(folder, pad):
    tokenizer = letter_tokenizer(5, pad=pad)
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(folder).pad_token == pad


@pytest.mark.parametrize("name", ["banana", "cuda:99", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used_is_named(name):
    assert refusal(choose_device, name).startswith(f"the device {name!r} cannot be used here: ")


def test_devices_have_defaults():
    assert choose_device("cpu") == CPU
    assert choose_device(None).type in ("cpu", "cuda", "mps")
    assert choose_dtype(None, CPU) == torch.float32
    assert choose_dtype(None, torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("float16", CPU) == torch.float16


@pytest.fixture
def gpus(monkeypatch):
    """A machine with as many GPUs as it is told."""

    def have(count: int, rank: str | None = None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        if rank is not None:
            monkeypatch.setenv("LOCAL_RANK", rank)

    return have


@pytest.mark.parametrize("name", [None, "cuda"])
def test_each_process_of_a_launcher_has_a_gpu_of_its_own(gpus, name):
    """All on the first one, they would share its memory and the others would idle."""
    found = []
    for rank in ("0", "1", "3"):
        gpus(4, rank)
        found.append(choose_device(name))
    assert found == [torch.device("cuda", 0), torch.device("cuda", 1), torch.device("cuda", 3)]
    gpus(4)
    assert choose_device(name) == torch.device("cuda")
    # A launcher may show each process a single GPU, its own.
    gpus(1, "3")
    assert choose_device(name) == torch.device("cuda")


def test_a_cpu_stays_a_cpu_under_a_launcher(gpus):
    gpus(0, "1")
    assert choose_device(None).type in ("cpu", "mps")
    gpus(2, "1")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("rank", ["2", "7", "-1", "x"])
def test_more_processes_than_gpus_are_refused(gpus, rank):
    gpus(2, rank)
    assert refusal(choose_device, None) == (
        f"this process is number {rank} of its machine (LOCAL_RANK), which has 2 GPUs, counted from 0; start as many "
        "processes as there are GPUs"
    )


def test_a_dtype_that_is_none_is_named():
    assert refusal(choose_dtype, "int8", CPU) == "there is no dtype 'int8'; there is float32, bfloat16, float16"


def test_evaluation_lasts_for_a_while():
    model = tiny_llama(letter_tokenizer(5), seed=1)
    model.train()
    model.model.layers[1].eval()
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_a_name_that_the_hub_does_not_have_is_refused_offline():
    code = (
        "from overopt.hf.loading import load_tokenizer\n"
        "from overopt.errors import ConfigError\n"
        "try:\n    load_tokenizer('nobody/nothing')\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert result.stdout.startswith("no tokenizer can be loaded from nobody/nothing: "), result.stderr
