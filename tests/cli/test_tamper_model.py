"""``overopt tamper run`` with a language model: a tiny one that makes no sense, which is all that is needed here."""

import json
import shutil
from importlib.util import find_spec

import pytest

from overopt.envs.episode_file import read_episodes

if any(find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("torch is not installed", allow_module_level=True)

from overopt.assets.catalog import model_path

NAMES = ("political-sycophancy", "reward-tampering")


def changed(folder, file, **settings):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **settings}), encoding="utf-8")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The smallest shipped model, which reads 128 tokens, told to read more than it was made for."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(model_path(8), folder)
    changed(folder, "config.json", max_position_embeddings=1_024)
    changed(folder, "tokenizer_config.json", model_max_length=1_024)
    return folder


def test_a_model_runs_through_environments_and_goes_on(ask, model, refused, tmp_path):
    args = ("tamper", "run", *NAMES, "--policy", model, "-n", 2, "--out", tmp_path)
    options = ("--max-tokens", 16, "--stage", "base", "--device", "cpu")
    found = ask(*args, *options)
    assert found["stages"] == ["base"]
    assert found["environments"] == list(NAMES)
    assert {cell["trials"] for cell in found["cells"]} == {2}
    for name in NAMES:
        episodes = list(read_episodes(tmp_path / f"{name}.jsonl"))
        assert all(one.messages[2].content for one in episodes), "it says something"
        assert episodes[0].policy["sampler"]["max_tokens"] == 16
        for one in episodes:
            assert one.outcome.valid == (one.ended == "answered" and one.steps[-1].limits == ())
    before = [(tmp_path / f"{name}.jsonl").read_bytes() for name in NAMES]
    assert ask(*args, *options) == found
    assert [(tmp_path / f"{name}.jsonl").read_bytes() for name in NAMES] == before
    refused(*args, *options, "--temperature", "0.5", words="holds episodes of another run")


def test_another_seed_draws_other_words(ask, model, tmp_path):
    said = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{seed}-{len(said)}"
        ask("tamper", "run", NAMES[1], "--policy", model, "-n", 2, "--max-tokens", 12, "--seed", seed, "--out", out)
        said.append([one.messages[2].content for one in read_episodes(out / f"{NAMES[1]}.jsonl")])
    assert said[0] == said[1] != said[2]


def test_a_model_that_reads_too_little_is_refused(refused):
    words = "has no room for what opens reward-tampering/gameable/test-A000 and 256 tokens of its own"
    refused("tamper", "run", NAMES[1], "--policy", model_path(8), "-n", 1, words=words)


def test_a_model_without_a_chat_template_is_refused(refused, model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    words = "bare has no chat template; environments are conversations, which it cannot read"
    refused("tamper", "run", NAMES[1], "--policy", bare, "-n", 1, words=words)


def test_a_policy_that_is_neither_a_persona_nor_a_model_is_refused(refused, tmp_path):
    words = "--policy is one of honest, gamer, confused, instructed, discloser, or a model; there is no folder"
    refused("tamper", "run", NAMES[1], "--policy", tmp_path / "gammer", "-n", 1, words=words)


@pytest.mark.parametrize(
    ("options", "words"), [(["--max-tokens", 0], "greater than or equal to 1"), (["--temperature", 0], "above 0")]
)
def test_sampling_out_of_range_is_refused(refused, model, options, words):
    refused("tamper", "run", NAMES[1], "--policy", model, "-n", 1, *options, words=words)


def test_a_missing_extra_is_named(refused, monkeypatch):
    from overopt.cli import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    words = "overopt tamper run with a model needs torch"
    refused("tamper", "run", NAMES[1], "--policy", "models/any", "-n", 1, words=words)
