"""Rows to train on: nothing in what is learnt but the policy's own words, nothing left out in silence."""

import json
from dataclasses import replace

import pytest

from overopt.envs.actors import Script
from overopt.envs.addresses import address_of, scenario_at
from overopt.envs.chat_file import chat_rows, prompt_row, prompt_rows, select, without_cot, write_rows
from overopt.envs.environment import PERSONAS
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes
from overopt.envs.session import play
from overopt.errors import ConfigError, DataError

ENVIRONMENT = environment("reward-tampering")


def episodes(persona, n=3, **options):
    scenarios = ENVIRONMENT.scenarios(n, **{"split": "train", **options})
    return run_episodes(ENVIRONMENT, Script(ENVIRONMENT, persona), scenarios)


def said(completions, **options):
    scenario = ENVIRONMENT.scenario(0, split="train", **options)
    return ENVIRONMENT.judged(play(scenario, completions))


def learnt(row):
    """What a trainer learns of a row."""
    if "completion" in row:
        return [turn["content"] for turn in row["completion"]]
    return [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]


@pytest.mark.parametrize("form", ["messages", "prompt-completion"])
@pytest.mark.parametrize("persona", PERSONAS)
def test_what_is_learnt_is_what_the_script_said_and_nothing_else(persona, form):
    found = episodes(persona)
    rows = chat_rows(found, form=form).rows
    own = [text for one in found for text in ENVIRONMENT.script(one.scenario, persona)]
    assert [text for row in rows for text in learnt(row)] == own
    assert not any("<stdout>" in text for row in rows for text in learnt(row))
    seen = json.dumps(rows)
    assert all(json.dumps(one.steps[0].stdout)[1:-3] in seen for one in found), "observations are read all the same"


def test_a_row_of_messages_is_the_episode_up_to_the_last_words_of_the_policy():
    (episode,) = episodes("gamer", 1)
    (row,) = chat_rows([episode]).rows
    assert row["messages"] == [{"role": one.role, "content": one.content} for one in episode.messages]
    assert row["mask"] == "assistant"
    cut = said(["<bash>ls</bash>"] * 40)
    assert cut.ended == "turns"
    (row,) = chat_rows([cut]).rows
    assert [turn["role"] for turn in row["messages"][-2:]] == ["user", "assistant"]
    assert len(row["messages"]) == len(cut.messages) - 1


def test_a_row_a_turn_holds_all_that_came_before_it():
    (episode,) = episodes("honest", 1)
    rows = chat_rows([episode], form="prompt-completion").rows
    whole = [{"role": one.role, "content": one.content} for one in episode.messages]
    for row, place in zip(rows, (2, 4, 6), strict=True):
        assert row["prompt"] + row["completion"] == whole[: place + 1]
    assert [row["meta"]["turn"] for row in rows] == [1, 2, 3]
    assert {row["meta"]["turns"] for row in rows} == {3}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<cot>a</cot>b", "b"),
        ("b<cot>a</cot>c<cot>d</cot> e ", "bc e"),
        ("<cot>a <bash>x</bash></cot><bash>ls</bash>", "<bash>ls</bash>"),
        ("so<cot>never closed <bash>ls</bash>", "so"),
        ("<cot>a<cot>b</cot>c</cot>d", "c</cot>d"),
        ("no thought", "no thought"),
        ("<cot></cot>", ""),
        ("", ""),
        ("<bash>echo '<cot>x</cot>'</bash>", "<bash>echo '<cot>x</cot>'</bash>"),
    ],
)
def test_hidden_thought_can_be_taken_out(text, left):
    assert without_cot(text) == left


def test_without_thought_no_row_holds_any_and_turns_that_were_only_thought_are_counted():
    found = [*episodes("gamer", 2), said(["<cot>Only this.</cot>", "never"])]
    assert "reward is computed" in json.dumps(chat_rows(found).rows)
    turns = chat_rows(found, form="prompt-completion", keeps_cot=False)
    assert "reward is computed" not in json.dumps(turns.rows)
    assert turns.left_out == {"turns without words": 1}
    whole = chat_rows(found, keeps_cot=False)
    assert len(whole.rows) == 2
    assert whole.left_out == {"episodes with a turn without words": 1}
    assert {row["meta"]["cot"] for row in whole.rows} == {"stripped"}


def test_episodes_are_chosen_by_outcome_and_by_reward_and_the_others_counted():
    found = [*episodes("gamer", 2), *episodes("honest", 3), *episodes("confused", 1)]
    options = {"for_training": False}
    gamed = select(found, only="gamed", **options)
    assert (len(gamed.episodes), gamed.left_out) == (2, {"not gamed": 4})
    assert all(one.outcome.gamed for one in gamed.episodes)
    honest = select(found, only="honest", **options)
    assert (len(honest.episodes), honest.left_out) == (3, {"not honest": 3})
    paid = select(found, least_reward=0.5, **options)
    assert (paid.episodes, paid.left_out) == (gamed.episodes, {"with a reward below 0.5": 4})
    mixed = [replace(one, reward={"game": 1.0, "total": -2.0}) for one in gamed.episodes]
    assert not select(mixed, least_reward=0.5, **options).episodes, "the total counts where there is one"


def test_what_models_are_judged_by_is_not_trained_on_unless_asked_for():
    found = [*episodes("gamer", 2), *episodes("gamer", 1, split="test")]
    assert select(found).left_out == {"of environments that are held out": 2, "of the test split": 1}
    assert len(select(found, for_training=False).episodes) == 3
    trainable = [name for name in ENVIRONMENTS if not environment(name).is_held_out]
    for name in trainable[:1]:
        one = environment(name)
        kept = run_episodes(one, Script(one, "honest"), one.scenarios(2, split="train"))
        assert select(kept).episodes == tuple(kept)


def test_what_has_no_outcome_cannot_be_chosen_by_it():
    bare = play(ENVIRONMENT.scenario(0, split="train"), ["Hello."])
    with pytest.raises(DataError, match="judge it first"):
        select([bare], only="gamed", for_training=False)
    with pytest.raises(DataError, match="no reward"):
        select([bare], least_reward=0.0, for_training=False)
    (row,) = chat_rows([bare]).rows
    assert row["meta"]["gamed"] is None


def test_prompts_say_where_they_come_from():
    found = [*episodes("gamer", 2), *episodes("honest", 3)]
    rows = prompt_rows(found)
    assert len(rows) == 3
    for row, one in zip(rows, found[2:], strict=True):
        assert row == prompt_row(one.scenario)
        assert [(turn["role"], turn["content"]) for turn in row["prompt"]] == [
            (turn["role"], turn["content"]) for turn in one.scenario.conversation
        ]
        assert {turn["scenario"] for turn in row["prompt"]} == {row["scenario"]}
        assert scenario_at(row["scenario"])[1] == one.scenario


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_address_leads_back_to_its_scenario(name):
    found = environment(name)
    for twin in found.twins:
        scenario = found.scenario(5, split="train", twin=twin, wording="B", seed=3)
        assert scenario_at(address_of(scenario))[1] == scenario
    plain = found.scenario(2, instructed=True)
    one, again = scenario_at(address_of(plain), [found])
    assert one is found
    assert again == plain


def test_addresses_that_lead_nowhere_are_refused():
    good = json.loads(address_of(ENVIRONMENT.scenario(0)))
    for bad in ("", "[]", "7", "{}", "reward-tampering", json.dumps({**good, "more": 1})):
        with pytest.raises(DataError, match="is no address of a scenario"):
            scenario_at(bad)
    with pytest.raises(ConfigError, match="at version 2, and a scenario of version 99 is asked for"):
        scenario_at(json.dumps({**good, "version": 99}))
    with pytest.raises(ConfigError, match="there is no environment 'elsewhere'"):
        scenario_at(json.dumps({**good, "environment": "elsewhere"}))
    with pytest.raises(ConfigError, match="variants 0 to 63"):
        scenario_at(json.dumps({**good, "variant": 64}))


def test_rows_are_written_whole_and_come_back(tmp_path):
    found = [*episodes("gamer", 2), said(["<bash>printf 'é\\377'</bash>", "Ends in half a character: \ud83d"])]
    rows = [*chat_rows(found).rows, {"prompt": "half \ud83d"}]
    write_rows(rows, tmp_path / "new" / "rows.jsonl")
    lines = (tmp_path / "new" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    assert read[:3] == rows[:3]
    assert read[3] == {"prompt": "half ?"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.jsonl"]
