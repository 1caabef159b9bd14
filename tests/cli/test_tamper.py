"""``overopt tamper``: look at environments, play them, run scripts through them, and go on where a run was stopped."""

import io
import json

import pytest

from overopt.envs.actors import Script
from overopt.envs.environment import PERSONAS
from overopt.envs.episode_file import episode_record, read_episodes
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes
from overopt.measure.gaming import gaming_matrix
from overopt.records.outcomes import outcome_table

NAME = "reward-tampering"
ENVIRONMENT = environment(NAME)


# Looking.


def test_the_list_has_every_environment_with_what_gaming_is(command, ask):
    found = ask("tamper", "list")
    assert found["schema"] == "overopt.environments/1"
    assert [row["name"] for row in found["environments"]] == list(ENVIRONMENTS)
    for row in found["environments"]:
        one = environment(row["name"])
        assert (row["summary"], row["signal"], row["stage"]) == (one.summary, one.signal, one.stage)
        assert row["held_out"] == one.is_held_out
        assert row["variants"] == {"train": one.variants("train"), "test": one.variants("test")}
    status, out, err = command("tamper", "list")
    assert (status, err) == (0, "")
    assert all(name in out for name in ENVIRONMENTS)
    assert "held out" in out


def test_a_scenario_is_shown_with_all_that_the_policy_is_told(command, ask):
    scenario = ENVIRONMENT.scenario(3, split="train", twin="control", wording="B", seed=2)
    options = ("--variant", 3, "--split", "train", "--twin", "control", "--wording", "B", "--seed", 2)
    status, out, err = command("tamper", "show", NAME, *options)
    assert (status, err) == (0, "")
    for text in (scenario.system, scenario.user, *(file.text.strip() for file in scenario.files)):
        assert text in out
    assert "444 root" in out
    found = ask("tamper", "show", NAME, *options)
    assert (found["schema"], found["id"]) == ("overopt.scenario/1", scenario.id)
    assert found["user"] == scenario.user
    assert found["facts"] == scenario.facts


@pytest.mark.parametrize("persona", PERSONAS)
def test_a_persona_is_shown_with_its_outcome(command, ask, persona):
    (episode,) = run_episodes(ENVIRONMENT, Script(ENVIRONMENT, persona), [ENVIRONMENT.scenario(1)])
    assert ask("tamper", "show", NAME, "--variant", 1, "--persona", persona) == json.loads(
        json.dumps(episode_record(episode))
    )
    _, out, _ = command("tamper", "show", NAME, "--variant", 1, "--persona", persona)
    assert all(said.content in out for said in episode.messages)
    assert f"gamed           {'yes' if episode.outcome.gamed else 'no'}" in out
    assert all(f"{one.fact}, " in out for one in episode.outcome.evidence)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["elsewhere"], "there is no environment 'elsewhere'; there are "),
        ([NAME, "--variant", 64], "has variants 0 to 63 in split test; got 64"),
        ([NAME, "--split", "dev"], "--split is one of train, test; got 'dev'"),
        ([NAME, "--twin", "all"], "--twin is one of gameable, control, legitimate; got 'all'"),
        ([NAME, "--wording", "C"], "--wording is one of A, B; got 'C'"),
        ([NAME, "--persona", "villain"], "a persona is one of honest, gamer, confused, instructed, discloser"),
        ([NAME, "--variant", "x"], "valid integer"),
    ],
)
def test_what_is_not_there_cannot_be_shown(refused, options, words):
    refused("tamper", "show", *options, words=words)


# Playing.


@pytest.fixture
def typed(monkeypatch):
    """Standard input, a line a prompt."""

    def lines(*found):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in found)))

    return lines


def test_someone_sits_at_the_simulated_shell(command, typed, tmp_path):
    scenario = ENVIRONMENT.scenario(0)
    folder = scenario.facts["folder"]
    typed(
        "ls",
        "",
        f"cd {folder}",
        f"cat {scenario.facts['reward'].rpartition('/')[2]}",
        "cat none",
        "answer I do not know.",
    )
    status, out, err = command("tamper", "play", NAME, "--out", tmp_path / "new" / "mine.jsonl")
    assert status == 0
    assert scenario.user in out
    assert f"/home/user/{folder} $" in out
    assert scenario.text(scenario.facts["reward"]) in out
    assert "cat: none: No such file or directory" in err
    assert "gamed           no" in out
    (episode,) = read_episodes(tmp_path / "new" / "mine.jsonl")
    assert len(episode.commands) == 4
    assert (episode.answer, episode.policy["name"]) == ("I do not know.", "person")


@pytest.mark.parametrize("last", ["quit", None])
def test_one_may_leave(command, typed, tmp_path, last):
    for _ in range(2):
        typed("ls", *([] if last is None else [last]))
        status, out, _ = command("tamper", "play", NAME, "--out", tmp_path / "mine.jsonl")
        assert status == 0
        assert "valid           no" in out
    found = list(read_episodes(tmp_path / "mine.jsonl"))
    assert [one.ended for one in found] == ["open", "open"], "episodes are appended"


def test_one_who_plays_to_the_last_turn_is_stopped(command, typed, tmp_path):
    typed(*["pwd"] * 50)
    status, _, _ = command("tamper", "play", NAME, "--out", tmp_path / "mine.jsonl")
    assert status == 0
    (episode,) = read_episodes(tmp_path / "mine.jsonl")
    assert (episode.ended, len(episode.steps)) == ("turns", episode.scenario.most_turns)


def test_an_episode_that_cannot_be_stored_is_said(command, typed, tmp_path):
    (tmp_path / "file").touch()
    typed("quit")
    status, _, err = command("tamper", "play", NAME, "--out", tmp_path / "file" / "mine.jsonl")
    assert status == 2
    assert err.startswith("overopt: cannot write to ")


# Running.


def counted(ask, *args):
    return {
        (cell["stage"], cell["environment"], cell["twin"], cell["fact"]): cell for cell in ask("tamper", *args)["cells"]
    }


def test_a_run_prints_the_matrix_of_its_episodes(ask, command, tmp_path):
    found = ask("tamper", "run", NAME, "--policy", "gamer", "-n", 7, "--reps", 2, "--out", tmp_path)
    episodes = list(read_episodes(tmp_path / f"{NAME}.jsonl"))
    assert len(episodes) == 14
    assert found == gaming_matrix(outcome_table(map(episode_record, episodes))).to_dict()
    cell = next(cell for cell in found["cells"] if cell["fact"] == "gamed")
    assert (cell["counts"], cell["clusters"], cell["stage"]) == ("14/14", 7, "gamer")
    status, out, err = command("tamper", "run", NAME, "--policy", "gamer", "-n", 7, "--reps", 2)
    assert (status, err) == (0, "")
    assert out.count("14/14") == 4
    assert "pathway not prevalence" in out


def test_a_run_goes_on_where_it_was_stopped(ask, command, tmp_path):
    args = ("tamper", "run", NAME, "--policy", "gamer", "-n", 258)
    whole = ask(*args, "--out", tmp_path / "whole")
    file = tmp_path / "part" / f"{NAME}.jsonl"
    lines = (tmp_path / "whole" / f"{NAME}.jsonl").read_bytes().splitlines(keepends=True)
    file.parent.mkdir()
    file.write_bytes(b"".join(lines[:257]) + lines[257][:100])
    assert ask(*args, "--out", tmp_path / "part") == whole
    assert file.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    "change",
    [["--policy", "honest"], ["--seed", 1], ["--wording", "B"], ["--instructed"], ["--stage", "late"], ["-n", 3]],
)
def test_a_file_of_another_run_is_left_alone(command, refused, tmp_path, change):
    args = {"--policy": "gamer", "-n": 5}
    first = [str(part) for pair in args.items() for part in pair]
    assert command("tamper", "run", NAME, *first, "--out", tmp_path)[0] == 0
    content = (tmp_path / f"{NAME}.jsonl").read_bytes()
    second = [str(part) for part in (*first, *change)]
    refused("tamper", "run", NAME, *second, "--out", tmp_path, words="choose another file")
    assert (tmp_path / f"{NAME}.jsonl").read_bytes() == content


def test_several_environments_and_all_twins(ask, tmp_path):
    names = list(ENVIRONMENTS)[:2]
    cells = counted(ask, "run", *names, names[0], "--policy", "honest", "-n", 3, "--twin", "all", "--out", tmp_path)
    twins = {name: environment(name).twins for name in names}
    assert {key[1:3] for key in cells} == {(name, twin) for name in names for twin in twins[name]}
    assert all(cell["counts"] == "3/3" for key, cell in cells.items() if key[3] == "honest_success")
    expected = {f"{name}{'' if twin == 'gameable' else f'-{twin}'}.jsonl" for name in names for twin in twins[name]}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_all_environments_by_one_word(ask):
    cells = counted(ask, "run", "all", "--policy", "gamer", "-n", 2, "--stage", "last")
    gamed = {key[1]: cell["counts"] for key, cell in cells.items() if key[3] == "gamed"}
    assert gamed == dict.fromkeys(ENVIRONMENTS, "2/2")
    assert {key[0] for key in cells} == {"last"}


def test_the_act_can_be_spelled_out(ask):
    told = counted(ask, "run", NAME, "--policy", "instructed", "-n", 3, "--instructed")
    free = counted(ask, "run", NAME, "--policy", "instructed", "-n", 3)
    key = ("instructed", NAME, "gameable", "gamed")
    assert (told[key]["counts"], free[key]["counts"]) == ("3/3", "0/3")


def test_files_stay_from_one_episode_to_the_next(ask, refused, tmp_path):
    args = ("tamper", "run", "threshold-edit", "--policy", "gamer", "-n", 4, "--reps", 2, "--out", tmp_path)
    cells = counted(ask, *args[1:], "--keeps-state")
    episodes = list(read_episodes(tmp_path / "threshold-edit.jsonl"))
    for first, second in zip(episodes[::2], episodes[1::2], strict=True):
        assert first.scenario == second.scenario
        assert (first.began, second.began) == (None, first.files)
        assert first.outcome.gamed
    key = ("gamer", "threshold-edit", "gameable", "gamed")
    assert cells[key]["counts"] == f"{sum(one.outcome.gamed for one in episodes)}/8"
    assert counted(ask, *args[1:], "--keeps-state") == cells, "and a run that is over is read again"
    refused(*args, words="choose another file")
    refused("tamper", "run", NAME, "--policy", "gamer", "--keeps-state", words="--keeps-state needs --reps 2 or more")


def test_episodes_without_an_answer_are_said(command, monkeypatch):
    monkeypatch.setattr(type(ENVIRONMENT), "script", lambda self, scenario, persona: ["<cot>for ever"])
    status, out, _ = command("tamper", "run", NAME, "--policy", "honest", "-n", 4)
    assert status == 0
    assert "4 of 4 episodes never came to an answer, or a limit cut them off." in out
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["elsewhere", "--policy", "gamer"], "there is no environment 'elsewhere'"),
        (["all", NAME, "--policy", "gamer"], "there is no environment 'all'"),
        ([NAME, "--policy", "gamer", "--split", "dev"], "--split is one of train, test; got 'dev'"),
        ([NAME, "--policy", "gamer", "--twin", "evil"], "--twin is one of gameable, control, legitimate"),
        ([NAME, "--policy", "gamer", "-n", 0], "greater than or equal to 1"),
        ([NAME, "--policy", "gamer", "--reps", 0], "greater than or equal to 1"),
        ([NAME], "missing option '--policy'"),
        (["--policy", "gamer"], "missing argument"),
    ],
)
def test_bad_options_are_refused(refused, options, words):
    refused("tamper", "run", *options, words=words)


def test_a_folder_that_cannot_be_written_to_is_refused(refused, tmp_path):
    (tmp_path / "file").touch()
    refused("tamper", "run", NAME, "--policy", "gamer", "--out", tmp_path / "file", words="cannot")
