"""Scripted replies: drawn as often as they should be, with the log-probabilities that were written down."""

import math
from collections import Counter

import pytest

from overopt.errors import ConfigError, DataError
from overopt.policies.scripted import ScriptedPolicy
from overopt.protocols import SamplerConfig, prompt_text

YES_NO = {"yes": 0.7, "no": 0.2, "maybe": 0.1, "never": 0.0}


def draw(policy, prompts, *, per_prompt=1, seed=0, **settings):
    return policy.sample(prompts, per_prompt=per_prompt, config=SamplerConfig(**settings), seed=seed)


def entropy(*probabilities):
    return -sum(p * math.log(p) for p in probabilities)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({}, {"yes": 0.7, "no": 0.2, "maybe": 0.1}),
        ({"top_k": 2}, {"yes": 7 / 9, "no": 2 / 9}),
        ({"top_p": 0.6}, {"yes": 1.0}),
        ({"temperature": 0.5}, {"yes": 0.49 / 0.54, "no": 0.04 / 0.54, "maybe": 0.01 / 0.54}),
    ],
)
def test_replies_come_as_often_as_written_at_the_samplers_settings(settings, left):
    n = 4_000
    replies = draw(ScriptedPolicy([YES_NO]), ["Well?"], per_prompt=n, **settings)
    counted = Counter(reply.text for reply in replies)
    assert set(counted) == set(left)
    for text, probability in left.items():
        assert abs(counted[text] - n * probability) <= 5 * math.sqrt(n * probability * (1 - probability))
    for reply in replies:
        assert reply.logprob == pytest.approx(math.log(left[reply.text]), abs=1e-12)
        assert reply.entropy == pytest.approx(entropy(*left.values()), abs=1e-12)
        assert reply.finished


def test_scripts_are_found_by_prompt_or_by_place():
    chat = [{"role": "user", "content": "Hi"}]
    by_prompt = ScriptedPolicy({"a": {"A": 1.0}, prompt_text(chat): {"Hello": 1.0}})
    assert [reply.text for reply in draw(by_prompt, [chat, "a", chat])] == ["Hello", "A", "Hello"]
    by_place = ScriptedPolicy([{"first": 1.0}, {"second": 1.0}])
    assert [reply.text for reply in draw(by_place, ["x", "x"])] == ["first", "second"]


def test_a_function_knows_prompt_number_and_randomness_but_no_probabilities():
    policy = ScriptedPolicy(lambda prompt, number, rng: f"{prompt}{number}{rng.integers(10**9)}")
    replies = draw(policy, ["a", "b"], per_prompt=3)
    assert [(r.prompt, r.sample, r.text[:2]) for r in replies] == [
        (0, 0, "a0"), (0, 1, "a1"), (0, 2, "a2"), (1, 0, "b0"), (1, 1, "b1"), (1, 2, "b2"),
    ]  # fmt: skip
    assert len({reply.text[2:] for reply in replies}) == 6
    assert all(math.isnan(reply.logprob) and math.isnan(reply.entropy) for reply in replies)


def test_seeds_repeat_and_more_replies_keep_the_earlier_ones():
    policy = ScriptedPolicy([YES_NO, YES_NO])
    few, many, other = (
        [(r.prompt, r.sample, r.text) for r in draw(policy, ["a", "b"], per_prompt=n, seed=seed)]
        for n, seed in ((20, 1), (40, 1), (20, 2))
    )
    assert [reply for reply in many if reply[1] < 20] == few
    assert few != other


@pytest.mark.parametrize("answers", [{"a": 0.5}, {"a": 1.5, "b": -0.5}, {}, {"a": math.nan}])
def test_what_are_no_probabilities_is_refused(answers):
    for script in ([answers], {"prompt": answers}):
        with pytest.raises(ConfigError, match="must be 0 or more and sum to 1"):
            ScriptedPolicy(script)


def test_a_prompt_without_a_script_is_named():
    with pytest.raises(DataError, match="scripted has no replies to prompt 1: 'b'"):
        draw(ScriptedPolicy({"a": {"A": 1.0}}), ["a", "b"])
    with pytest.raises(DataError, match="has replies to 1 prompts; there is no entry for prompt 1"):
        draw(ScriptedPolicy([{"A": 1.0}]), ["a", "b"])


def test_a_function_that_returns_no_text_is_named():
    with pytest.raises(DataError, match="scripted returned None for prompt 0; a reply is a text"):
        draw(ScriptedPolicy(lambda prompt, number, rng: None), ["a"])


def test_it_says_what_it_is_and_how_far_it_got():
    told = []
    policy = ScriptedPolicy([YES_NO, YES_NO], name="oracle")
    policy.sample(
        ["a", "b"], per_prompt=2, config=SamplerConfig(), seed=0, progress=lambda *progress: told.append(progress)
    )
    assert told == [(2, 4, "replies"), (4, 4, "replies")]
    assert policy.describe() == {"engine": "scripted", "policy": "oracle", "has_probabilities": True}
