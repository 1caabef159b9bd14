"""What goes to vLLM and what comes back, with a stand-in for the package that keeps to its interface."""

import math
import sys

import pytest
from oracles import fake_vllm
from oracles.language_models import letter_tokenizer, measure_reply, next_logprobs, tiny_llama

from overopt.errors import ConfigError, DataError, MissingExtraError
from overopt.policies import vllm as vllm_module
from overopt.policies.models import HFPolicy
from overopt.policies.vllm import VLLMPolicy
from overopt.protocols import SamplerConfig

PROMPTS = ["a b", "c"]


@pytest.fixture(scope="module")
def model():
    tokenizer = letter_tokenizer(5)
    return tiny_llama(tokenizer, seed=2), tokenizer


@pytest.fixture
def policy(monkeypatch, model):
    fake_vllm.install(monkeypatch, {"tiny": model})
    return VLLMPolicy.load("tiny")


def draw(policy, prompts=PROMPTS, *, per_prompt=4, seed=0, numbers=None, **settings):
    config = SamplerConfig(**{"max_tokens": 5, **settings})
    return policy.sample(prompts, per_prompt=per_prompt, config=config, seed=seed, numbers=numbers)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 4}])
def test_records_are_those_of_the_sampled_distribution(policy, model, settings):
    for reply in draw(policy, **settings):
        ids = model[1](PROMPTS[reply.prompt])["input_ids"]
        expected = 0.0
        for token in reply.token_ids:
            expected += next_logprobs(model[0], ids, **{"temperature": 1.0, **settings})[token]
            ids = [*ids, token]
        assert reply.logprob == pytest.approx(expected, abs=1e-9)
        assert math.isnan(reply.entropy)
        assert reply.finished == (reply.token_ids[-1] == 2)


def test_replies_are_sorted_numbered_and_told_of(policy, monkeypatch):
    monkeypatch.setattr(vllm_module, "REQUESTS", 5)
    told = []
    replies = policy.sample(
        PROMPTS, per_prompt=4, config=SamplerConfig(max_tokens=3), seed=0, progress=lambda *p: told.append(p)
    )
    assert [(r.prompt, r.sample) for r in replies] == [(p, s) for p in range(2) for s in range(4)]
    assert told == [(5, 8, "replies"), (8, 8, "replies")]


def test_every_reply_has_a_seed_of_its_own(policy):
    draw(policy)
    _, parameters = policy.llm.calls[0]
    assert len({settings.seed for settings in parameters}) == 8
    assert {settings.n for settings in parameters} == {1}


def test_replies_do_not_depend_on_what_else_is_drawn(policy):
    whole = draw(policy)
    assert draw(policy) == whole
    assert [reply for reply in draw(policy, per_prompt=7) if reply.sample < 4] == whole
    (alone,) = draw(policy, PROMPTS[1:], per_prompt=1, numbers=[1])
    assert alone.token_ids == whole[4].token_ids
    assert [reply.token_ids for reply in draw(policy, seed=1)] != [reply.token_ids for reply in whole]


def test_prompts_go_as_the_token_ids_that_are_measured(policy, model):
    draw(policy, per_prompt=1)
    prompts, _ = policy.llm.calls[0]
    assert [prompt["prompt_token_ids"] for prompt in prompts] == model[1](PROMPTS)["input_ids"]


def test_stop_tokens_end_replies_and_leave_no_trace_in_their_text(policy):
    replies = draw(policy, per_prompt=40, stop=("d",), temperature=2.0)
    assert {reply.token_ids[-1] for reply in replies if reply.finished} == {2, 6}
    assert not any("d" in reply.text for reply in replies)
    assert all(reply.token_ids[-1] in (2, 6) for reply in replies if reply.finished)
    assert any(not reply.finished and len(reply.token_ids) == 5 for reply in replies)


def test_kl_is_measured_in_our_engine_from_the_token_ids(policy, model):
    reference = HFPolicy(tiny_llama(model[1], seed=3), model[1])
    replies = draw(policy)
    config = SamplerConfig(max_tokens=5)
    found = HFPolicy(*model).measure(PROMPTS, replies, reference=reference, config=config)
    for row, reply in enumerate(replies):
        ids = model[1](PROMPTS[reply.prompt])["input_ids"]
        expected = measure_reply(model[0], reference.model, ids, reply.token_ids, 1.0)
        assert float(found.kl[row]) == pytest.approx(expected.kl, abs=2e-5)


def test_log_probabilities_of_another_distribution_are_unknown(policy, model):
    """vLLM's default tells those at temperature 1, whatever was sampled."""
    raw = VLLMPolicy(fake_vllm.LLM("tiny", models={"tiny": model}))
    assert raw.describe()["logprobs_mode"] == "raw_logprobs"
    assert all(math.isnan(reply.logprob) for reply in draw(raw, temperature=0.7))
    assert all(math.isnan(reply.logprob) for reply in draw(raw, top_p=0.9))
    assert [reply.logprob for reply in draw(raw)] == [reply.logprob for reply in draw(policy)]


def test_a_reply_that_was_given_up_is_named(policy, monkeypatch):
    complete = fake_vllm.LLM._complete

    def abort(self, prompt, params):
        output = complete(self, prompt, params)
        output.finish_reason = "abort"
        return output

    monkeypatch.setattr(fake_vllm.LLM, "_complete", abort)
    with pytest.raises(DataError, match="vLLM gave up reply 0 to prompt 0: abort"):
        draw(policy)


def test_a_prompt_that_does_not_fit_is_named_not_cut(policy):
    with pytest.raises(DataError, match=r"prompt 1 takes 60 tokens, the policy has room for 59"):
        draw(policy, ["a", "b " * 59])
    with pytest.raises(ConfigError, match=r"sampler\.max_tokens is 64, but the policy reads 64 tokens"):
        draw(policy, max_tokens=64)


def test_a_model_that_vllm_cannot_load_is_named(policy):
    with pytest.raises(ConfigError, match=r"vLLM cannot load nothing: Invalid repository ID .* 'nothing'"):
        VLLMPolicy.load("nothing")


def test_it_says_what_it_is(policy):
    assert policy.describe() == {
        "engine": "vllm 0.15.0",
        "policy": "tiny",
        "dtype": "float32",
        "logprobs_mode": "processed_logprobs",
    }


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"overopt\[vllm\]"):
        VLLMPolicy.load("tiny")
