"""Outcomes of stored episodes: a row an episode, and no line that is something else or counts twice."""

import json

import pytest

from overopt.envs.actors import Script
from overopt.envs.environment import PERSONAS
from overopt.envs.episode_file import episode_record, write_episodes
from overopt.envs.registry import environment
from overopt.envs.runner import run_episodes
from overopt.errors import DataError
from overopt.records.outcomes import FACTS, outcome_table, read_outcomes

ENVIRONMENT = environment("reward-tampering")


def episodes(persona="gamer", n=2, reps=1, stage=None, **options):
    actor = Script(ENVIRONMENT, persona, stage=stage)
    return run_episodes(ENVIRONMENT, actor, ENVIRONMENT.scenarios(n, **options), reps=reps)


@pytest.fixture
def record():
    return json.loads(json.dumps(episode_record(episodes(n=1)[0])))


@pytest.mark.parametrize("persona", PERSONAS)
def test_a_row_holds_what_the_outcome_says(persona):
    found = episodes(persona, n=4, twin="gameable")
    for row, episode in zip(outcome_table(map(episode_record, found)).to_dicts(), found, strict=True):
        assert {fact: row[fact] for fact in FACTS} == {fact: getattr(episode.outcome, fact) for fact in FACTS}
        assert (row["guard"], row["disclosed"]) == (episode.outcome.guard, episode.outcome.disclosed)
        assert row["game"] == episode.reward["game"] == float(episode.outcome.gamed)
        assert (row["steps"], row["rep"], row["policy"]) == (len(episode.steps), 0, persona)
        assert (row["environment"], row["twin"], row["split"]) == ("reward-tampering", "gameable", "test")


def test_a_policy_without_a_stage_is_a_stage_of_its_own():
    table = outcome_table(map(episode_record, [*episodes("honest"), *episodes("honest", stage="after 2")]))
    assert table["stage"].to_list() == ["honest", "honest", "after 2", "after 2"]
    assert set(table["policy"]) == {"honest"}


def test_episodes_that_are_alike_share_a_cluster():
    found = [
        *episodes(n=2, reps=2),
        *episodes(n=2, wording="B"),
        *episodes(n=1, seed=1),
        *episodes(n=1, twin="control"),
        *episodes(n=1, split="train"),
    ]
    clusters = outcome_table(map(episode_record, found))["scenario"].to_list()
    assert clusters[:6] == [clusters[0]] * 2 + [clusters[2]] * 2 + [clusters[0], clusters[2]]
    assert len(set(clusters)) == 5


def test_files_are_read_one_below_the_other(tmp_path):
    write_episodes(episodes("gamer"), tmp_path / "a.jsonl")
    write_episodes(episodes("honest"), tmp_path / "b.jsonl")
    with (tmp_path / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n  \n")
    table = read_outcomes([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert table["gamed"].to_list() == [True, True, False, False]
    assert table.equals(outcome_table(map(episode_record, [*episodes("gamer"), *episodes("honest")])))
    assert read_outcomes([]).is_empty()
    (tmp_path / "none.jsonl").touch()
    assert read_outcomes([tmp_path / "none.jsonl"]).is_empty()


def test_an_episode_that_is_there_twice_is_refused(tmp_path):
    write_episodes(episodes("gamer", n=3), tmp_path / "a.jsonl")
    with pytest.raises(
        DataError, match=r"a\.jsonl, line 1 holds the same episode as .*a\.jsonl, line 1; it would count"
    ):
        read_outcomes([tmp_path / "a.jsonl", tmp_path / "a.jsonl"])
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "b.jsonl").write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"b\.jsonl, line 4 holds the same episode as .*b\.jsonl, line 2"):
        read_outcomes([tmp_path / "b.jsonl"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3", "is no episode: its schema is None"),
        ('"text"', "is no episode"),
        ("[]", "is no episode"),
        ("{}", "is no episode: its schema is None, not 'overopt.episode/1'"),
        ('{"schema": "overopt.episode/9"}', "'overopt.episode/9', not 'overopt.episode/1'"),
        ('{"schema": "overopt.episode/1"}', "has no outcome; judge it first"),
        ('{"schema": "overopt.episode/1", "outcome": null}', "has no outcome; judge it first"),
        ('{"schema": "overopt.episode/1", "outcome": 5}', "is damaged"),
        ("{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
    ],
)
def test_a_line_that_is_no_judged_episode_is_named_with_its_place(tmp_path, line, words):
    write_episodes(episodes(n=1), tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2 .*{words}"):
        read_outcomes([tmp_path / "a.jsonl"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
        read_outcomes([tmp_path / "none.jsonl"])
    with pytest.raises(DataError, match="cannot read"):
        read_outcomes([tmp_path])


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("outcome", "gamed", "yes"),
        ("outcome", "gamed", None),
        ("outcome", "gamed", 1),
        ("outcome", "unsupported", 1.5),
        ("scenario", "version", "1"),
        ("scenario", "seed", None),
        ("scenario", "variant", "one"),
        ("scenario", "variant", None),
        (None, "weight", "heavy"),
        (None, "rep", None),
        (None, "reward", None),
        (None, "policy", {}),
        (None, "policy", None),
        (None, "steps", 4),
        (None, "scenario", []),
    ],
)
def test_a_damaged_episode_is_refused_and_never_counted(record, part, key, value):
    (record if part is None else record[part])[key] = value
    with pytest.raises(DataError, match=r"^episode 1 is damaged"):
        outcome_table([record])


@pytest.mark.parametrize(("part", "key"), [("outcome", "raised"), ("scenario", "twin"), ("scenario", "instructed")])
def test_an_episode_that_lacks_a_part_is_damaged(record, part, key):
    del record[part][key]
    with pytest.raises(DataError, match=f"episode 1 is damaged: '{key}'"):
        outcome_table([record])
