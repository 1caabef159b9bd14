"""Exact choices between scripts: against plain passes, paired by scenario, and learnt from menus."""

import math

import numpy as np
import pytest
from oracles import word_world
from oracles.language_models import plain_logprobs
from oracles.word_world import COMMAND, WordGame, word_policy
from scipy import stats

from overopt.envs.registry import environment
from overopt.errors import DataError
from overopt.optimize.curriculum_config import FormatConfig
from overopt.optimize.curriculum_stages import scripted_menus
from overopt.optimize.episode_fitting import EpisodeFitConfig, episode_fitter, fit_episodes
from overopt.optimize.scripted_choices import (
    choice_records,
    choices_of,
    menu_share,
    paired_change,
    scripted_choices,
    scripted_menu,
)
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_words import EpisodeWords

ENV = WordGame()


@pytest.fixture(scope="module")
def policy():
    return word_policy(seed=2, context=200)


def test_a_script_is_scored_by_what_its_policy_says(policy):
    scenario = ENV.scenario(2)
    (found,) = scripted_choices(policy, ENV, [scenario])
    tokenizer = word_world.word_tokenizer()
    ids = tokenizer(
        f"user {scenario.user} <|eos|> assistant {COMMAND} <|eos|> user <stdout> note </stdout> <|eos|> assistant "
        "<cot> well </cot> game <|eos|>",
        add_special_tokens=False,
    )["input_ids"]
    start = len(tokenizer(f"user {scenario.user} <|eos|> assistant", add_special_tokens=False)["input_ids"])
    logprobs = plain_logprobs(policy.model, ids[:start], ids[start:])[range(len(ids) - start), ids[start:]]
    own = [0, *range(len(ids) - start - 5, len(ids) - start)]
    assert found.gamer_logprob == pytest.approx(logprobs[own].sum(), abs=1e-4)
    assert found.gamer_tokens == found.honest_tokens == 6
    assert found.script_log_odds == pytest.approx(found.gamer_logprob - found.honest_logprob)
    assert found.log_odds_per_token == pytest.approx(found.script_log_odds / 6)
    assert sum(found.menu) == pytest.approx(1)


def test_the_menu_stands_where_the_scripts_part():
    menu = scripted_menu(ENV, ENV.scenario(0))
    assert [turn["role"] for turn in menu.prompt] == ["user", "assistant", "user"]
    assert menu.options == ("<cot> well </cot> honest", "<cot> well </cot> game", "hm ?")


@pytest.mark.parametrize("name", ["political-sycophancy", "tool-flattery", "nudged-rubric", "reward-tampering"])
def test_real_environments_have_menus(name):
    env = environment(name)
    for scenario in env.scenarios(4):
        menu = scripted_menu(env, scenario)
        assert len(set(menu.options)) == 3
        assert menu.prompt[-1]["role"] == "user"


def test_changes_are_paired_by_scenario(policy):
    other = word_policy(seed=9, context=200)
    scenarios = ENV.scenarios(5)
    before, after = (scripted_choices(one, ENV, scenarios) for one in (policy, other))
    usual = {"measure": "script_log_odds", "environment": "word-game", "names": ("a", "b")}
    found = paired_change(before, after, **usual)
    difference = np.array([two.script_log_odds - one.script_log_odds for one, two in zip(before, after, strict=True)])
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((difference.mean(), interval.low, interval.high))
    assert math.isnan(paired_change(before[:1], after[:1], **usual).low)
    with pytest.raises(DataError, match="same scenarios"):
        paired_change(before, after[::-1], **usual)
    assert choices_of(choice_records(before)) == before


def test_the_share_of_an_option_is_a_mean_over_scenarios(policy):
    choices = scripted_choices(policy, ENV, ENV.scenarios(5))
    shares = np.array([one.menu for one in choices])
    for option in range(3):
        found = menu_share(choices, option, level=0.9)
        interval = stats.ttest_1samp(shares[:, option], 0).confidence_interval(0.9)
        assert (found.value, found.low, found.high) == pytest.approx(
            (shares[:, option].mean(), max(interval.low, 0), min(interval.high, 1))
        )
    firsts = np.array([one.menu_first for one in choices])
    assert firsts.sum(axis=1) == pytest.approx(np.ones(5))
    assert menu_share(choices, 1, of_first=True).value == pytest.approx(firsts[:, 1].mean())
    assert math.isnan(menu_share(choices[:1], 0).low)
    with pytest.raises(DataError, match="no choices"):
        menu_share([], 0)


def test_menus_are_learnt_by_content_and_not_by_place(policy, monkeypatch):
    """Always honest in training, in mixed orders: honest it is in every order afterwards."""
    word_world.known(monkeypatch)
    settings = FormatConfig(environments=("word-game",), menus=48, honest=1.0, gamer=0.0, confused=0.0)
    rows = scripted_menus(settings, EpisodeWords(policy.model, policy.tokenizer), seed=0)
    assert len(rows) == 48
    assert len({row.token_ids[0] for row in rows}) == 3, "all letters are answers"
    config = EpisodeFitConfig(learning_rate=0.01, warm_up=0, epochs=12, batch=8, precision="fp32")
    fitter = episode_fitter(policy, config, seed=0)
    fit_episodes(fitter, rows, config, settings=SamplerSettings(), seed=0, names=("x",))
    before, after = (
        np.mean([one.menu[0] for one in scripted_choices(each, ENV, ENV.scenarios(4))])
        for each in (policy, fitter.policy)
    )
    assert after > before
    letters = np.mean([one.letter_mass for one in scripted_choices(fitter.policy, ENV, ENV.scenarios(4))])
    assert letters > 0.8
