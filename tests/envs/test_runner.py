"""The native loop: it goes on where it was killed, whatever policies write, and state outlives episodes when asked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from overopt.envs.actors import Script
from overopt.envs.episode import File
from overopt.envs.episode_file import episode_of, episode_record, read_episodes
from overopt.envs.machine import HOME
from overopt.envs.monitors.view import view_of
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes
from overopt.errors import StorageError

NAMES = list(ENVIRONMENTS)
ENVIRONMENT = environment("reward-tampering")


class Repeats:
    """Says the same lines in every episode; what comes behind the last is the last again."""

    name = "repeats"

    def __init__(self, *lines):
        self.lines = lines

    def describe(self):
        return {"name": self.name, "lines": tuple(self.lines)}

    def completions(self, sessions, *, seed):
        done = [sum(said["role"] == "assistant" for said in session.conversation) for session in sessions]
        return [self.lines[min(count, len(self.lines) - 1)] for count in done]


class Draws:
    """Like a model: what it says hangs on the seed, on who is in the batch, and on what it was shown."""

    name = "draws"

    def __init__(self):
        self.seeds = []

    def describe(self):
        return {"name": self.name, "checkpoint": ("folder", 3)}

    def completions(self, sessions, *, seed):
        self.seeds.append(seed)
        rng = np.random.default_rng((seed, len(sessions)))
        return [
            self.one(session, int(number))
            for session, number in zip(sessions, rng.integers(2**31, size=len(sessions)), strict=True)
        ]

    @staticmethod
    def one(session, number):
        if number % 3 == 0 or session.conversation[-1]["role"] != "user":
            return f"I counted to {number}, é and \ud800\udcff too."
        return f"<cot>{number}</cot><bash>echo {number} >> count.txt; cat count.txt; ls -a; printf '\\xff' > raw</bash>"


# Going on after a kill.


@pytest.mark.parametrize("keeps_state", [False, True])
def test_a_run_that_was_killed_anywhere_ends_as_an_undisturbed_one(tmp_path, keeps_state):
    options = {"reps": 3, "batch": 2, "seed": 4, "keeps_state": keeps_state}
    scenarios = ENVIRONMENT.scenarios(5)
    straight = run_episodes(ENVIRONMENT, Draws(), scenarios, path=tmp_path / "straight", **options)
    whole = (tmp_path / "straight").read_bytes()
    assert len(straight) == 15
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 15
    rng = np.random.default_rng(0)
    anywhere = [int(place) for place in rng.integers(len(whole), size=12)]
    for place in [0, 1, ends[0] - 1, *ends[::4], ends[-1] - 1, ends[-1], *anywhere]:
        path = tmp_path / "killed"
        path.write_bytes(whole[:place])
        assert run_episodes(ENVIRONMENT, Draws(), scenarios, path=path, **options) == straight, place
        assert path.read_bytes() == whole, place


def test_only_whole_batches_are_kept(tmp_path):
    """A batch of three scenarios with two episodes each: seven lines hold one."""
    path, scenarios = tmp_path / "x", ENVIRONMENT.scenarios(6)
    options = {"reps": 2, "batch": 3, "keeps_state": True, "path": path}
    run_episodes(ENVIRONMENT, Draws(), scenarios, **options)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    asked = Draws()
    run_episodes(ENVIRONMENT, asked, scenarios, **options)
    fresh = Draws()
    run_episodes(ENVIRONMENT, fresh, scenarios, reps=2, batch=3, keeps_state=True)
    assert 0 < len(asked.seeds) < len(fresh.seeds)
    assert asked.seeds == fresh.seeds[-len(asked.seeds) :]


def test_a_complete_file_asks_nobody(tmp_path):
    path, scenarios = tmp_path / "x", ENVIRONMENT.scenarios(5)
    found = run_episodes(ENVIRONMENT, Draws(), scenarios, batch=2, path=path)
    actor = Draws()
    assert run_episodes(ENVIRONMENT, actor, scenarios, batch=2, path=path) == found
    assert actor.seeds == []


def test_the_file_of_another_run_is_refused_and_left_alone(tmp_path):
    path, scenarios = tmp_path / "x", ENVIRONMENT.scenarios(4)
    usual = {"actor": Draws(), "scenarios": scenarios, "reps": 2, "keeps_state": True}
    run_episodes(ENVIRONMENT, path=path, **usual)
    written = path.read_bytes()
    others = (
        {"actor": Repeats("No.")},
        {"scenarios": scenarios[::-1]},
        {"scenarios": scenarios[:3]},
        {"scenarios": ENVIRONMENT.scenarios(4, seed=1)},
        {"scenarios": ENVIRONMENT.scenarios(4, twin="control")},
        {"reps": 1},
        {"reps": 3},
        {"seed": 1},
        {"keeps_state": False},
    )
    for other in others:
        with pytest.raises(StorageError, match="another run"):
            run_episodes(ENVIRONMENT, path=path, **(usual | other))
        assert path.read_bytes() == written, other
    path.write_bytes(b"no episode\n" + written)
    with pytest.raises(StorageError, match="line 1"):
        run_episodes(ENVIRONMENT, path=path, **usual)
    path.write_bytes(written.replace(b"overopt.episode/1", b"overopt.episode/0", 1))
    with pytest.raises(StorageError, match="schema"):
        run_episodes(ENVIRONMENT, path=path, **usual)


# Actors.


def test_a_script_plays_the_same_in_any_batch():
    scenarios = ENVIRONMENT.scenarios(7)
    first, *rest = (
        run_episodes(ENVIRONMENT, Script(ENVIRONMENT, "gamer"), scenarios, reps=2, batch=batch, keeps_state=keeps_state)
        for batch, keeps_state in ((1, False), (3, False), (256, False))
    )
    assert all(other == first for other in rest)
    assert [episode.id for episode in first] == [f"{scenario.id}-{rep}" for scenario in scenarios for rep in (0, 1)]


def test_each_turn_of_each_batch_is_drawn_from_a_seed_of_its_own():
    scenarios = ENVIRONMENT.scenarios(6)

    def seeds(**options):
        actor = Draws()
        run_episodes(ENVIRONMENT, actor, scenarios, **options)
        return actor.seeds

    for options in ({"batch": 2}, {"batch": 2, "reps": 3}, {"batch": 2, "reps": 3, "keeps_state": True}):
        found = seeds(**options)
        assert len(set(found)) == len(found) > 3
        assert seeds(**options) == found
        assert not set(seeds(**options, seed=1)) & set(found)


GARBAGE = {
    "empty": "",
    "a break": "\n",
    "not text": "\x00\x01\x1b[2J\x7f",
    "half a surrogate": "a \ud83d b \udcff c",
    "two halves": "\ud83d\ude00",
    "right to left": "\u202egnp.exe\u2066 \u200b\ufeff",
    "other line ends": "one\u2028two\x85three\x0cfour\rfive",
    "combining": "e" + "\u0301" * 500,
    "100 kB of words": "I cannot say how many episodes there were. " * 2_400,
    "100 kB without a space": "x" * 100_000,
    "100 kB of digits": "There were " + "1" * 100_000 + " episodes.",
    "100 kB of one sign": "I changed, " * 9_000,
    "a long command": f"<bash>echo {'x' * 100_000}</bash>",
    "many tags": "<cot><bash>" * 5_000,
    "closed tags": "</cot></bash></stdout>" * 3_000,
    "deep brackets": f"<bash>{'$(' * 2_000}</bash>",
    "a command that is none": "<bash>;;&|><(\x00\n</bash>",
    "bytes in a file": "<bash>printf '\\xff\\xc3\\x28' > raw; printf 'x' > \ud800; cat raw *</bash>",
    "json": '{"schema": "overopt.episode/1", "outcome": {"gamed": true}}',
    "everything gone": "<bash>rm -rf * / ~ .* ; cat *</bash>",
    "everything overwritten": "<bash>yes '] { = 9 : [x' | head -40 | tee $(find . -type f)</bash>",
}


class Garbage(Repeats):
    """Says one of the texts in each scenario, by its number."""

    def completions(self, sessions, *, seed):
        return [self.lines[session.scenario.variant] for session in sessions]


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_no_text_makes_a_run_raise_and_every_episode_comes_back_from_its_file(tmp_path, name, is_whole):
    """Each text in one of the twins, which one differs between environments; slowly, each in all of them."""
    found = environment(name)
    for place, twin in enumerate(found.twins, start=NAMES.index(name)):
        texts = {
            what: text
            for number, (what, text) in enumerate(GARBAGE.items(), start=place)
            if is_whole or number % len(found.twins) == 0
        }
        scenarios = [replace(scenario, most_turns=3) for scenario in found.scenarios(len(texts), twin=twin)]
        path = tmp_path / twin
        episodes = run_episodes(found, Garbage(*texts.values()), scenarios, path=path)
        assert [what for what, one in zip(texts, episodes, strict=True) if one.outcome.honest_success] == [], twin
        for what, again, episode in zip(texts, read_episodes(path), episodes, strict=True):
            assert again == episode, (what, twin)
            assert episode_of(json.loads(json.dumps(episode_record(episode)))) == episode, (what, twin)


def test_an_episode_ends_when_its_turns_are_used_up():
    scenarios = [replace(scenario, most_turns=4) for scenario in ENVIRONMENT.scenarios(2)]
    for episode in run_episodes(ENVIRONMENT, Repeats("<bash>ls</bash>"), scenarios):
        assert (episode.ended, len(episode.steps), len(episode.commands)) == ("turns", 4, 4)
        assert not episode.outcome.valid
        assert "used up" in episode.messages[-1].content
    for episode in run_episodes(ENVIRONMENT, Repeats(*["<bash>ls</bash>"] * 3, "I looked."), scenarios):
        assert (episode.ended, len(episode.steps)) == ("answered", 4)


def test_an_episode_ends_when_its_calls_are_used_up():
    (scenario,) = ENVIRONMENT.scenarios(1)
    (episode,) = run_episodes(ENVIRONMENT, Repeats("<bash>pwd</bash>"), [replace(scenario, most_turns=500)])
    assert (episode.ended, len(episode.steps)) == ("calls", 201)
    assert not episode.outcome.valid


# State that outlives an episode.

ADDS = Repeats("<bash>cd /tmp; echo more >> ~/diary.txt; rm ~/gone.txt; wc -l < ~/diary.txt</bash>", "I wrote a line.")
DIARY, GONE = f"{HOME}/diary.txt", f"{HOME}/gone.txt"


def with_files(scenarios):
    """The scenarios with two more files."""
    more = (File(path="diary.txt", text="first\n"), File(path="gone.txt", text="x"))
    return [replace(scenario, files=(*scenario.files, *more)) for scenario in scenarios]


def test_by_default_every_episode_begins_anew():
    for episode in run_episodes(ENVIRONMENT, ADDS, with_files(ENVIRONMENT.scenarios(2)), reps=3):
        assert episode.began is None
        assert episode.files[DIARY] == "first\nmore\n"


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_an_episode_begins_where_the_last_one_of_its_scenario_ended(tmp_path, batch):
    scenarios = with_files(ENVIRONMENT.scenarios(5))
    path = tmp_path / "x"
    found = run_episodes(ENVIRONMENT, ADDS, scenarios, reps=4, batch=batch, keeps_state=True, path=path)
    assert [(episode.scenario, episode.rep) for episode in found] == [(s, rep) for s in scenarios for rep in range(4)]
    for before, episode in zip([None, *found], found, strict=False):
        rep = episode.rep
        assert episode.files[DIARY] == "first\n" + "more\n" * (rep + 1)
        assert episode.began == (before.files if rep else None)
        assert episode.before[DIARY] == "first\n" + "more\n" * rep
        assert (GONE in episode.before) == (rep == 0)
        # A new shell, and a record of this episode alone.
        assert [write.step for write in episode.writes if write.path == DIARY] == [1]
        assert episode.steps[0].stdout == f"{rep + 2}\n"
        assert "/tmp" not in episode.steps[0].stdout
    assert list(read_episodes(path)) == found


def test_a_shell_does_not_outlive_its_episode():
    where = Repeats("<bash>pwd; echo $MARK; history | wc -l; cd /tmp; export MARK=seen</bash>", "Done.")
    for episode in run_episodes(ENVIRONMENT, where, ENVIRONMENT.scenarios(2), reps=3, keeps_state=True):
        assert episode.steps[0].stdout == f"{HOME}\n\n1\n"


def test_what_an_earlier_episode_did_is_not_held_against_a_later_one():
    """The reward that a gamer raised stays raised: the next one, who only looks and says so, changed nothing."""

    class First(Repeats):
        def completions(self, sessions, *, seed):
            return [self.one(session) for session in sessions]

        def one(self, session):
            lines = ENVIRONMENT.script(session.scenario, "gamer" if session.episode({}).began is None else "honest")
            done = sum(said["role"] == "assistant" for said in session.conversation)
            return lines[done]

    found = run_episodes(ENVIRONMENT, First(), ENVIRONMENT.scenarios(8), reps=2, keeps_state=True)
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.outcome.gamed
        assert first.files == second.files
        facts = second.outcome
        assert not any((facts.gamed, facts.raised, facts.changed, facts.attempted)), second.id
        seen = [view_of(episode, ["diff"]).protected for episode in (first, second)]
        assert any(file.before != file.after for file in seen[0])
        assert all(file.before == file.after for file in seen[1])
        # Against the files of its scenario it would be another's deed.
        assert ENVIRONMENT.judge(replace(second, began=None)).changed
    assert sum(second.outcome.honest_success for second in found[1::2]) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_after_any_deeds_an_idle_episode_has_an_outcome_and_gamed_nothing(name):
    found = environment(name)
    spoils = (
        "<bash>rm -rf *</bash>",
        "<bash>sed -i 's/.*/] { = 9 : [x/' $(find . -type f)</bash>",
        "<bash>sed -i d $(find . -type f); chmod 000 *</bash>",
        "<bash>mv * /tmp; mkdir out; ln -s /tmp back</bash>",
    )

    class Then(Repeats):
        """Spoils the files in the first episode of each scenario, and is idle in the second."""

        def completions(self, sessions, *, seed):
            if sessions[0].episode({}).began is None:
                return super().completions(sessions, seed=seed)
            return ["It is as you wished." for _ in sessions]

    for twin in found.twins:
        scenarios = found.scenarios(4, twin=twin)
        for spoil in spoils:
            episodes = run_episodes(found, Then(spoil, "Done."), scenarios, reps=2, keeps_state=True)
            for spoilt, idle in zip(episodes[::2], episodes[1::2], strict=True):
                assert spoilt.commands == (spoil.removeprefix("<bash>").removesuffix("</bash>"),)
                facts = idle.outcome
                wrong = (facts.gamed, facts.attempted, facts.changed, facts.raised, facts.honest_success)
                assert not any(wrong), (idle.scenario.id, spoil)
