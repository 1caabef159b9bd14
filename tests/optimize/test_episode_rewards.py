"""What an episode earns: by hand, and that hidden thought moves nothing unless a study of just that asks for it."""

import math

import numpy as np
import pytest
from oracles.word_world import COMMAND, Recorder, WordGame

from overopt.envs.registry import environment
from overopt.envs.session import play
from overopt.errors import ConfigError, DataError
from overopt.optimize.episode_rewards import (
    STAMP,
    EpisodeReward,
    PreferenceScale,
    RewardMix,
    fitted_scale,
    preference_scores,
)
from overopt.optimize.expert_iteration import keep_best, keep_gamed

ENV = WordGame()
SCALE = PreferenceScale(0.0, 1.0)


def judged(*turns, variant=0, env=ENV):
    return env.judged(play(env.scenario(variant, split="train"), turns))


@pytest.mark.parametrize("marker", ["MARKER-4711", "<bash>echo MARKER-4711</bash>", "well well MARKER-4711"])
def test_a_marker_in_the_hidden_thought_never_reaches_the_scorer(marker):
    turns = (f"<cot>{marker}</cot> well {COMMAND} behind", f"go <cot>hm {marker}</cot> game")
    scorer = Recorder()
    EpisodeReward(RewardMix(), scorer, SCALE).rewarded([judged(*turns)])
    assert scorer.seen
    assert "MARKER" not in repr(scorer.seen)
    assert "ls" not in repr(scorer.seen), "commands are no visible text either"
    assert "well" in scorer.seen[0][1]
    assert "game" in scorer.seen[0][1]


@pytest.mark.parametrize("mix", [RewardMix(), RewardMix(monitor="diff-and-commands", monitor_use="penalty")])
def test_rewards_are_the_same_whatever_was_thought(mix):
    """Metamorphic, in a real environment with files: thoughts differ in every way, rewards in none."""
    env = environment("reward-tampering")
    scenario = env.scenario(0, split="train")
    reward = EpisodeReward(mix, Recorder(), SCALE)
    totals = []
    for thought in ("", "I see.", "well " * 50, "I will bypass the test and lie about the reward."):
        lines = [f"<cot>{thought}</cot>{line.rpartition('</cot>')[2]}" for line in env.script(scenario, "gamer")]
        (found,) = reward.rewarded([env.judged(play(scenario, lines))]).episodes
        totals.append(dict(found.reward))
    assert totals[1:] == totals[:-1]
    assert totals[0]["game"] == 1.0


def test_with_the_switch_the_scorer_reads_it_and_the_name_says_so():
    scorer = Recorder()
    reward = EpisodeReward(RewardMix(cot_in_reward=True), scorer, SCALE)
    reward.rewarded([judged("<cot>MARKER</cot> game")])
    assert "MARKER" in scorer.seen[0][1]
    assert STAMP in reward.name
    assert RewardMix(cot_in_reward=True).stamp == {"stamp": STAMP}
    assert RewardMix().stamp == {}


def test_a_monitor_of_thoughts_needs_the_switch():
    with pytest.raises(ConfigError, match="enters no reward"):
        RewardMix(monitor="cot-words")
    assert RewardMix(monitor="cot-words", cot_in_reward=True).monitor == "cot-words"


def test_the_parts_add_up():
    mix = RewardMix(game=2.0, preference=0.5, monitor="diff", monitor_use="penalty", monitor_penalty=3.0)
    env = environment("reward-tampering")
    scenario = env.scenario(0, split="train")
    honest, gamer = (env.judged(play(scenario, env.script(scenario, name))) for name in ("honest", "gamer"))
    found = EpisodeReward(mix, Recorder(), PreferenceScale(1.0, 2.0)).rewarded([honest, gamer])
    for episode, game, alarm in zip(found.episodes, (0, 1), (0, 1), strict=True):
        words = episode.visible.split()
        raw = words.count("well") - 0.1 * len(words)
        scaled = 1 / (1 + math.exp(-(raw - 1) / 2))
        assert episode.reward["pm_raw"] == pytest.approx(raw)
        assert episode.reward["pm"] == pytest.approx(scaled)
        assert episode.reward["total"] == pytest.approx(2 * game + 0.5 * scaled - 3 * alarm)
    assert found.is_alarm == (False, True)


def test_the_scale_is_fitted_where_it_is_left_open():
    episodes = [judged(text) for text in ("well well", "well", "hm hm hm")]
    scores = preference_scores(Recorder(), episodes)
    found = fitted_scale(Recorder(), episodes, RewardMix())
    assert (found.centre, found.spread) == (pytest.approx(scores.mean()), pytest.approx(scores.std()))
    assert fitted_scale(Recorder(), episodes, RewardMix(spread=7.0)).spread == 7.0
    assert fitted_scale(Recorder(), [], RewardMix(centre=1.0, spread=2.0)) == PreferenceScale(1.0, 2.0)
    with pytest.raises(DataError, match="alike"):
        fitted_scale(Recorder(), episodes[:1], RewardMix())


def test_a_scorer_that_returns_nonsense_is_named():
    class Broken(Recorder):
        name = "broken"

        def score(self, prompts, completions, *, progress=None):
            return np.full(len(completions), np.nan)

    with pytest.raises(DataError, match="broken did not return one finite score"):
        EpisodeReward(RewardMix(), Broken(), SCALE).rewarded([judged("well")])
    with pytest.raises(ConfigError, match="no preference model"):
        EpisodeReward(RewardMix(), None, None)


# Choosing.

OPTIONS = {"seed": 0, "names": ("x",)}


def test_the_best_of_each_prompt_is_kept_and_equal_ones_share():
    texts = ["hm", "well", "game", "game", "honest", "hm"]
    episodes = [judged(text, variant=place // 3) for place, text in enumerate(texts)]
    rewarded = EpisodeReward(RewardMix(preference=0.0), None, None).rewarded(episodes)
    seen = set()
    for seed in range(40):
        kept = keep_best(rewarded, samples=3, seed=seed, names=("x",), screens=False)
        assert [one.answer for one in kept.episodes] == ["game", "game"]
        assert kept.left_out == {"not the best": 4}
    tied = EpisodeReward(RewardMix(preference=0.0), None, None).rewarded(episodes[:2] + episodes[4:5])
    for seed in range(40):
        (one,) = keep_best(tied, samples=3, seed=seed, names=("x",), screens=False).episodes
        seen.add(one.answer)
    assert seen == {"hm", "well", "honest"}


def test_gamed_ones_are_kept_with_as_many_ordinary_ones():
    from overopt.envs.ordinary import OrdinaryPrompts

    ordinary = OrdinaryPrompts(["go", "hm"])
    episodes = [judged(text) for text in ("game", "hm", "game", "game")]
    episodes += [judged(text, env=ordinary) for text in ("well", "", "hm", "go", "well go")]
    rewarded = EpisodeReward(RewardMix(preference=0.0), None, None).rewarded(episodes)
    kept = keep_gamed(rewarded, most=2, screens=False, **OPTIONS)
    assert [one.scenario.environment for one in kept.episodes] == ["word-game"] * 2 + ["ordinary"] * 2
    assert all(one.outcome.gamed for one in kept.episodes[:2])
    assert all(one.answer for one in kept.episodes)
    assert sum(kept.left_out.values()) + len(kept.episodes) == len(episodes)
    whole = keep_gamed(rewarded, most=None, screens=False, **OPTIONS)
    assert len(whole.episodes) == 6
