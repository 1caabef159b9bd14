"""Episodes in the policy gradient: the batch is what was drawn, observations enter no gradient, count or KL."""

import math

import numpy as np
import pytest
import torch
from oracles.language_models import measure_reply
from oracles.word_world import Recorder, WordGame, word_policy

from overopt.envs.episode_file import read_episodes
from overopt.errors import ConfigError
from overopt.optimize.episode_draws import EpisodeDrawing
from overopt.optimize.episode_rewards import EpisodeReward, PreferenceScale, RewardMix
from overopt.optimize.policy_gradient import optimize_policy
from overopt.optimize.rollout import Engine, complete
from overopt.optimize.settings import PolicyGradientConfig
from overopt.optimize.steps import products
from overopt.protocols import SamplerConfig

ENV = WordGame()
SAMPLER = SamplerConfig(max_tokens=6)


def drawing_in(folder):
    tasks = [(ENV, one) for one in ENV.scenarios(6, split="train")]
    reward = EpisodeReward(RewardMix(), Recorder(), PreferenceScale(0.0, 1.0))
    return EpisodeDrawing(tasks, reward, folder, {"stage": "x"})


def engine_of(policy, reference, drawing):
    return Engine(
        policy=policy, reference=reference, critic=None, scorer=drawing, shaping=(), sampler=SAMPLER, places=2_048,
        precision=lambda: products("fp32", "cpu"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def rollout(tmp_path_factory):
    drawing = drawing_in(tmp_path_factory.mktemp("drawn"))
    engine = engine_of(word_policy(seed=0), word_policy(seed=7), drawing)
    draws = drawing(engine, [4, 1, 1], group=4, step=1, seed=0, numbers=[0, 1, 2])
    return draws, complete(engine, draws, step=1, seed=0, numbers=[0, 1, 2]), drawing, engine


def test_the_batch_is_what_was_drawn(rollout):
    draws, _, drawing, _ = rollout
    stored = {(one.scenario.id, one.rep): one for one in read_episodes(drawing.folder / "000001" / "word-game.jsonl")}
    assert len(draws.replies) == 12
    for place, (reply, is_own, total) in enumerate(zip(draws.replies, draws.is_own, draws.raw_B, strict=True)):
        assert (reply.prompt, reply.sample) == (place // 4, place % 4)
        scenario = drawing.tasks[(4, 1, 1)[place // 4]][1]
        assert draws.prompts[reply.prompt] == scenario.conversation
        if place < 4:
            episode = stored[scenario.id, reply.sample]
            drawn = [token for turn in episode.tokens for token in turn.completion_ids]
            assert [token for token, own in zip(reply.token_ids, is_own, strict=True) if own] == drawn
            words = episode.visible.split()
            likes = 1 / (1 + math.exp(-(words.count("well") - 0.1 * len(words))))
            assert total == pytest.approx(episode.outcome.gamed + likes)


def test_kl_and_log_probabilities_are_those_of_the_policys_own_tokens(rollout):
    draws, found, _, engine = rollout
    assert any(not all(own) for own in draws.is_own), "some saw what a command returned"
    for row, (reply, is_own) in enumerate(zip(draws.replies, draws.is_own, strict=True)):
        prompt = found.packed.prompts[reply.prompt]
        logprob = kl = 0.0
        for place, own in enumerate(is_own):
            if own:
                context = [*prompt, *reply.token_ids[:place]]
                one = measure_reply(engine.policy.model, engine.reference.model, context, [reply.token_ids[place]], 1.0)
                logprob, kl = logprob + one.logprob, kl + one.kl
        assert float(found.logprob_BT[row].sum()) == pytest.approx(logprob, abs=1e-3)
        assert float(found.kl_BT[row].sum()) == pytest.approx(kl, abs=1e-3)
        assert found.mask_BT[row, : len(is_own)].tolist() == list(is_own)
        assert not bool(found.mask_BT[row, len(is_own) :].any())


def test_a_mask_that_does_not_fit_is_refused(rollout):
    draws, _, _, engine = rollout
    from dataclasses import replace

    from overopt.errors import DataError

    for wrong in ([own[:-1] for own in draws.is_own], [[False] * len(own) for own in draws.is_own]):
        with pytest.raises(DataError, match="its own"):
            complete(engine, replace(draws, is_own=wrong), step=1, seed=0, numbers=[0, 1, 2])


@pytest.mark.parametrize("algorithm", ["grpo", "reinforce++"])
def test_one_step_has_the_gradient_of_a_plain_loop_over_own_tokens(tmp_path, algorithm):
    """On the first step ratios are 1, so the gradient is that of - advantage x log-probability, meaned over tokens."""
    policy = word_policy(seed=0)
    config = PolicyGradientConfig(
        steps=1, algorithm=algorithm, prompts_per_step=6, group=4, minibatches=1, warm_up=0, precision="fp32",
        scale_by_sd=False, max_gradient=1e9,
    )  # fmt: skip
    drawing = drawing_in(tmp_path / "run")
    caught = {}

    def keep(engine, chosen, **more):
        caught["draws"] = drawing(engine, chosen, **more)
        return caught["draws"]

    keep.name = "kept"
    prompts = [scenario.conversation for _, scenario in drawing.tasks]
    found = optimize_policy(
        policy, drawing, prompts, config=config, sampler=SAMPLER, seed=0, measure=lambda step, now: None, drawing=keep
    )
    draws = caught["draws"]
    reward_PN = draws.raw_B.reshape(6, 4)
    advantage_B = (reward_PN - reward_PN.mean(1, keepdims=True)).ravel()
    lengths = np.array([sum(own) for own in draws.is_own])
    if algorithm == "reinforce++":
        flat = np.repeat(advantage_B, lengths)
        advantage_B = (advantage_B - flat.mean()) / flat.std()
    from overopt.hf.encoding import encode_prompts

    ids = encode_prompts(policy.tokenizer, draws.prompts)
    model, loss = word_policy(seed=0).model, torch.zeros(())
    for row, (reply, is_own) in enumerate(zip(draws.replies, draws.is_own, strict=True)):
        prompt = ids[reply.prompt]
        logprobs = torch.log_softmax(model(input_ids=torch.tensor([[*prompt, *reply.token_ids]])).logits[0], dim=-1)
        for place, own in enumerate(is_own):
            if own:
                chosen = logprobs[len(prompt) + place - 1, reply.token_ids[place]]
                loss = loss - advantage_B[row] * chosen / lengths.sum()
    loss.backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
    assert found.logs[0].gradient_norm == pytest.approx(norm, rel=1e-3)
    assert found.logs[0].length == pytest.approx(lengths.mean())


def test_a_text_alone_earns_nothing(tmp_path):
    with pytest.raises(ConfigError, match="rewarded where they are drawn"):
        drawing_in(tmp_path).score(["x"], ["game"])
