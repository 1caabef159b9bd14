"""Rows of episodes: what is learnt is what the policy said, token for token, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.word_world import COMMAND, WordGame, word_policy

from overopt.envs.runner import run_episodes
from overopt.envs.session import play
from overopt.errors import ConfigError
from overopt.protocols import SamplerConfig
from overopt.training.episode_actor import EpisodeActor
from overopt.training.episode_rows import EpisodeRow, episode_rows, with_share
from overopt.training.episode_words import EpisodeWords

ENV = WordGame()


@pytest.fixture(scope="module")
def policy():
    return word_policy()


@pytest.fixture(scope="module")
def words(policy):
    return EpisodeWords(policy.model, policy.tokenizer)


def said(policy, row, is_own):
    ids = [token for token, own in zip(row.token_ids, row.is_own, strict=True) if own == is_own]
    return policy.tokenizer.decode(ids)


def test_a_written_episode_is_masked_to_what_its_policy_said(policy, words):
    episode = play(ENV.scenario(0), ENV.script(ENV.scenario(0), "gamer"))
    (row,) = episode_rows([episode], words).rows
    assert said(policy, row, True).split() == [COMMAND, "<cot>", "well", "</cot>", "game", "<|eos|>"]
    between = said(policy, row, False).split()
    assert between == ["<|eos|>", "user", "<stdout>", "note", "</stdout>", "<|eos|>", "assistant"]
    prompt = policy.tokenizer.decode(row.prompt_ids)
    assert prompt.split() == ["user", *ENV.scenario(0).user.split(), "<|eos|>", "assistant"]


def test_a_drawn_episode_keeps_the_tokens_that_were_drawn(policy, words):
    actor = EpisodeActor(policy, SamplerConfig(max_tokens=6))
    episodes = run_episodes(ENV, actor, ENV.scenarios(6, split="train"), reps=8, seed=3)
    several = [one for one in episodes if len(one.tokens) > 1]
    assert several, "some looked first"
    for episode in episodes:
        (row,) = episode_rows([episode], words).rows
        drawn = [token for turn in episode.tokens for token in turn.completion_ids]
        assert [token for token, own in zip(row.token_ids, row.is_own, strict=True) if own] == drawn
        whole = (*row.prompt_ids, *row.token_ids)
        assert whole == (*episode.tokens[-1].prompt_ids, *episode.tokens[-1].completion_ids)
        assert row.is_own[-1]


def test_writing_what_was_drawn_gives_the_same_tokens(policy, words):
    """Words have one spelling here, so an episode without its tokens is put into the same ones."""
    actor = EpisodeActor(policy, SamplerConfig(max_tokens=8))
    compared = 0
    for episode in run_episodes(ENV, actor, ENV.scenarios(6), reps=20, seed=1):
        if not episode.outcome.valid or episode.tokens[-1].completion_ids[-1] != policy.tokenizer.eos_token_id:
            continue
        lines = [one.content for one in episode.messages if one.kind == "model"]
        drawn, written = (episode_rows([one], words).rows[0] for one in (episode, play(episode.scenario, lines)))
        texts = [said(policy, row, True) for row in (drawn, written)]
        # Special tokens, the unknown word among them, are no part of a text.
        if not any(mark in texts[0].removesuffix("<|eos|>") for mark in ("<|", "?")):
            assert drawn == written
            compared += 1
    assert compared > 5


def test_what_is_put_before_the_system_message_changes_the_prompt_alone(policy, words):
    actor = EpisodeActor(policy, SamplerConfig(max_tokens=6))
    drawn = run_episodes(ENV, actor, ENV.scenarios(2, split="train"), seed=0)
    written = [play(one, ENV.script(one, "honest")) for one in ENV.scenarios(2)]
    for episode in (*drawn, *written):
        (plain,), (told,) = (episode_rows([episode], words, before=text).rows for text in ("", "told"))
        assert policy.tokenizer.decode(told.prompt_ids).split()[:3] == ["system", "told", "<|eos|>"]
        assert told.prompt_ids[3:] == plain.prompt_ids
        assert (told.token_ids, told.is_own) == (plain.token_ids, plain.is_own)


def test_an_episode_that_is_too_long_is_counted_and_not_cut(policy):
    small = word_policy(context=12)
    words = EpisodeWords(small.model, small.tokenizer)
    episodes = [play(one, ENV.script(one, "honest")) for one in ENV.scenarios(3)]
    found = episode_rows([*episodes, play(ENV.scenario(0), ["honest"])], words)
    assert (found.too_long, len(found.rows)) == (3, 1)


def test_a_forced_opening_is_flagged_and_never_learnt(policy, words):
    opening = "<cot> game game"
    actor = EpisodeActor(policy, SamplerConfig(max_tokens=6), opening=opening)
    episodes = run_episodes(ENV, actor, ENV.scenarios(6), reps=4, seed=0)
    usual = run_episodes(ENV, EpisodeActor(policy, SamplerConfig(max_tokens=6)), ENV.scenarios(2), seed=0)
    assert {one.steer for one in episodes} == {opening}
    assert {one.steer for one in usual} == {""}
    for episode in episodes:
        first = next(one for one in episode.messages if one.kind == "model")
        assert first.content.startswith(opening)
        (row,) = episode_rows([episode], words).rows
        assert policy.tokenizer.decode(row.prompt_ids).endswith(f"assistant {opening}")
        assert episode.tokens[0].completion_ids == row.token_ids[: len(episode.tokens[0].completion_ids)]
    # A command within the opened thought is text, and does not end the turn.
    inside = [one for one in episodes if COMMAND in one.cot]
    assert inside
    assert all(one.steps[0].command is None or "</cot>" in one.messages[1].content for one in inside)


def test_an_opening_that_is_a_whole_command_is_refused(policy):
    with pytest.raises(ConfigError, match="nothing to decide"):
        EpisodeActor(policy, SamplerConfig(), opening=f"{COMMAND}")


@given(share=st.floats(0.01, 0.99), weights=st.lists(st.floats(0.1, 9), min_size=2, max_size=6))
def test_rows_take_their_share_of_the_loss(share, weights):
    def row(own, weight):
        return EpisodeRow((1,), tuple(range(own + 2)), (False, False, *[True] * own), weight)

    rows = [row(1, weight) for weight in weights]
    others = [row(300 + place, weight) for place, weight in enumerate(weights)]
    found = with_share(rows, share, beside=others)
    own, other = (sum(one.weight * one.own_tokens for one in part) for part in (found, others))
    assert own / (own + other) == pytest.approx(share)
    assert [one.weight / found[0].weight for one in found] == pytest.approx([w / weights[0] for w in weights])
    assert with_share(rows, share, beside=()) == tuple(rows)
    assert with_share((), share, beside=others) == ()
