"""The supervised step against plain passes over single rows; observations are in no sum, top layers alone move."""

import dataclasses

import numpy as np
import pytest
import torch
from oracles.language_models import measure_reply, plain_logprobs
from oracles.word_world import WordGame, word_policy

from overopt.envs.session import play
from overopt.errors import ConfigError
from overopt.optimize.episode_fitting import (
    EpisodeFitConfig,
    episode_fitter,
    episode_kl,
    episode_logprobs,
    fit_episodes,
)
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_rows import episode_rows
from overopt.training.episode_words import EpisodeWords

ENV = WordGame()
PLAIN = SamplerSettings()
CONFIG = EpisodeFitConfig(learning_rate=0.05, warm_up=0, epochs=1, batch=100, precision="fp32")


@pytest.fixture(scope="module")
def policy():
    return word_policy(seed=1)


@pytest.fixture(scope="module")
def rows(policy):
    episodes = [
        play(one, ENV.script(one, persona)) for one in ENV.scenarios(4) for persona in ("honest", "gamer", "confused")
    ]
    return episode_rows(episodes, EpisodeWords(policy.model, policy.tokenizer)).rows


def by_hand(model, row):
    ids = list(row.token_ids)
    logprobs = plain_logprobs(model, row.prompt_ids, ids)[range(len(ids)), ids]
    return logprobs[list(row.is_own)]


def fit(policy, rows, config=CONFIG, **more):
    fitter = episode_fitter(policy, config, seed=0)
    log = fit_episodes(fitter, rows, config, settings=PLAIN, seed=0, names=("x",), **more)
    return fitter.policy, log


def test_the_probability_of_an_episode_is_that_of_its_policys_tokens(policy, rows):
    expected = [by_hand(policy.model, row).sum() for row in rows]
    assert episode_logprobs(policy, rows, PLAIN, places=2_048) == pytest.approx(expected, abs=1e-4)
    assert episode_logprobs(policy, rows, PLAIN, places=40) == pytest.approx(expected, abs=1e-4)


def test_the_kl_of_an_episode_is_summed_over_its_policys_tokens(policy, rows):
    other = word_policy(seed=8)
    expected = []
    for row in rows:
        own = [place for place, is_own in enumerate(row.is_own) if is_own]
        expected.append(
            sum(
                measure_reply(
                    policy.model, other.model, [*row.prompt_ids, *row.token_ids[:place]], [row.token_ids[place]], 1.0
                ).kl
                for place in own
            )
        )
    assert any(not all(row.is_own) for row in rows), "some saw what a command returned"
    assert episode_kl(policy, other, rows, PLAIN, places=60) == pytest.approx(expected, abs=1e-4)
    assert episode_kl(policy, policy, rows, PLAIN, places=60) == pytest.approx(np.zeros(len(rows)), abs=1e-6)


def test_the_loss_is_the_mean_over_the_policys_own_tokens_by_weight(policy, rows):
    weighted = [dataclasses.replace(row, weight=1.0 + place) for place, row in enumerate(rows)]
    top = sum((row.weight * -by_hand(policy.model, row)).sum() for row in weighted)
    total = sum(row.weight * row.own_tokens for row in weighted)
    _, log = fit(policy, weighted)
    assert log.loss == pytest.approx(top / total, abs=1e-5)
    assert log.own_tokens == sum(row.own_tokens for row in rows)


def test_what_came_back_teaches_nothing(policy, rows):
    """The gradient of the loss is that of the policy's own tokens: other words as observations, with the context of
    every own token kept from seeing them, could not be told apart; here the last observation stands behind the last
    token of the policy, where nothing reads it."""
    row = max(rows, key=lambda one: len(one.token_ids))
    longer = dataclasses.replace(row, token_ids=(*row.token_ids, 16, 17, 18), is_own=(*row.is_own, False, False, False))
    one, other = (fit(policy, [found])[0].model for found in (row, longer))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(first, second, atol=1e-7)
    learnt = dataclasses.replace(longer, is_own=(*row.is_own, True, True, True))
    assert any(
        not torch.allclose(first, second, atol=1e-4)
        for first, second in zip(one.parameters(), fit(policy, [learnt])[0].model.parameters(), strict=True)
    )


def test_the_gradient_is_that_of_a_plain_loop(policy, rows):
    import copy

    model = copy.deepcopy(policy.model)
    total = sum(row.own_tokens for row in rows)
    loss = torch.zeros(())
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
        for place, (token, is_own) in enumerate(zip(row.token_ids, row.is_own, strict=True)):
            if is_own:
                loss = loss - logprobs[len(row.prompt_ids) + place - 1, token] / total
    loss.backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters() if p.grad is not None))
    _, log = fit(policy, rows)
    assert log.gradient_norm == pytest.approx(float(norm), rel=1e-4)


def test_learning_raises_the_probability_of_what_is_learnt(policy, rows):
    learnt, log = fit(policy, rows, dataclasses.replace(CONFIG, epochs=10))
    assert log.loss < log.first_loss
    before, after = (episode_logprobs(one, rows, PLAIN, places=2_048).sum() for one in (policy, learnt))
    assert after > before


def test_a_kl_to_the_reference_holds_the_policy(policy, rows):
    drift = []
    for coefficient in (0.0, 20.0):
        learnt, _ = fit(policy, rows, dataclasses.replace(CONFIG, epochs=10, kl_coef=coefficient), reference=policy)
        moved = [by_hand(learnt.model, row) - by_hand(policy.model, row) for row in rows]
        drift.append(float(np.abs(np.concatenate(moved)).mean()))
    assert drift[1] < 0.5 * drift[0]
    with pytest.raises(ConfigError, match="no reference"):
        fit(policy, rows, dataclasses.replace(CONFIG, kl_coef=1.0))


def test_top_layers_alone_move(policy, rows):
    learnt, _ = fit(policy, rows, dataclasses.replace(CONFIG, top_layers=1))
    moved = {
        name
        for (name, before), after in zip(policy.model.named_parameters(), learnt.model.parameters(), strict=True)
        if not torch.equal(before, after)
    }
    assert moved
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in moved), moved
    with pytest.raises(ConfigError, match="has 2 layers"):
        fit(policy, rows, dataclasses.replace(CONFIG, top_layers=3))
    with pytest.raises(ConfigError, match="choose one"):
        dataclasses.replace(CONFIG, top_layers=1, lora_rank=2)


def test_adapters_alone_move(policy, rows):
    pytest.importorskip("peft")
    learnt, log = fit(policy, rows, dataclasses.replace(CONFIG, lora_rank=2, epochs=4))
    names = [name for name, parameter in learnt.model.named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert log.loss < log.first_loss
