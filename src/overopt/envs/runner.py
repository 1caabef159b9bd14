"""Run an actor through many scenarios at once, turn by turn, and keep what happened in a file that can go on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from overopt import __version__
from overopt.envs.actors import Actor
from overopt.envs.environment import Environment, game_reward
from overopt.envs.episode import Episode, Scenario
from overopt.envs.episode_file import episode_of, line
from overopt.envs.machine import Machine
from overopt.envs.session import Session
from overopt.errors import DataError, StorageError
from overopt.protocols import Progress
from overopt.seeding import stream_seed

BATCH = 256
"""Sessions that are under way at once. Part of the identity of a run: an actor's draws may depend on its batch."""


def run_episodes(
    environment: Environment,
    actor: Actor,
    scenarios: Sequence[Scenario],
    *,
    reps: int = 1,
    seed: int = 0,
    batch: int = BATCH,
    keeps_state: bool = False,
    path: Path | None = None,
    progress: Progress | None = None,
) -> list[Episode]:
    """Judged episodes, ``reps`` of each scenario, those of one scenario next to each other.

    Parameters
    ----------
    keeps_state : bool
        Episode ``rep`` of a scenario begins on the machine that episode ``rep - 1`` left, as the preamble says, and is
        judged by what it changed itself. The episodes of a scenario then run one after another, and a batch is
        ``batch`` scenarios with all of theirs.
    path : Path, optional
        Each batch is appended to this file as it ends. Episodes that are there already are taken from it: a run that
        was stopped goes on and ends with what an undisturbed one gives.

    Raises
    ------
    StorageError
        If the file holds episodes of another run.
    ConfigError
        If a scenario is of another environment, or asks for more than the simulated machine holds.
    """
    wanted = [(scenario, rep) for scenario in scenarios for rep in range(reps)]
    length = max(reps, 1) if keeps_state else 1
    policy = json.loads(json.dumps(dict(actor.describe())))  # as it comes back from the file: no tuples
    found = [] if path is None else _kept(path, wanted, policy, seed, batch * length, keeps_state)
    for start in range(len(found), len(wanted), batch * length):
        part = wanted[start : start + batch * length]
        played = _played(actor, part, length=length, policy=policy, start=start, seed=seed)
        ended = [_judged(environment, episode) for episode in played]
        if path is not None:
            _append(path, ended)
        found += ended
        if progress is not None:
            progress(len(found), len(wanted), "episodes")
    return found


def _played(
    actor: Actor, part: Sequence[tuple[Scenario, int]], *, length: int, policy: dict[str, object], start: int, seed: int
) -> list[Episode]:
    """The episodes of a batch; ``length`` that stand next to each other follow each other on one machine."""
    chains: list[list[Episode]] = [[] for _ in range(0, len(part), length)]
    machines: list[Machine | None] = [None] * len(chains)
    turn = 0
    for place in range(length):
        now = part[place::length]
        sessions = [Session(scenario, machine=machine) for (scenario, _), machine in zip(now, machines, strict=True)]
        while active := [session for session in sessions if not session.is_over]:
            texts = actor.completions(active, seed=stream_seed(seed, "episodes", start, turn))
            for session, text in zip(active, texts, strict=True):
                session.say(text)
            turn += 1
        for chain, session, (_, rep) in zip(chains, sessions, now, strict=True):
            steer = str(policy.get("steer", ""))
            versions = {"overopt": __version__}
            chain.append(session.episode(policy, rep=rep, steer=steer, versions=versions, draws=seed))
        if place + 1 < length:
            machines = [session.machine.next_episode() for session in sessions]
    return [episode for chain in chains for episode in chain]


def _judged(environment: Environment, episode: Episode) -> Episode:
    judged = environment.judged(episode)
    assert judged.outcome is not None
    return replace(judged, reward=game_reward(judged.outcome))


def _append(path: Path, episodes: Sequence[Episode]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line(episode)}\n" for episode in episodes))
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror or error}") from error


def _kept(
    path: Path,
    wanted: Sequence[tuple[Scenario, int]],
    policy: dict[str, object],
    seed: int,
    batch: int,
    keeps_state: bool,
) -> list[Episode]:
    """Whole batches of ``batch`` episodes; what a killed run left of another one is cut off."""
    if not path.exists():
        return []
    found: list[Episode] = []
    places = [0]
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                break
            try:
                episode = episode_of(json.loads(text))
            except (ValueError, DataError) as error:
                raise StorageError(f"{path}, line {number}: {error}; choose another file") from error
            is_next = len(found) < len(wanted) and (episode.scenario, episode.rep) == wanted[len(found)]
            went_on = keeps_state and episode.rep > 0
            is_like = (dict(episode.policy), episode.draws, episode.began is not None) == (policy, seed, went_on)
            if not (is_next and is_like):
                raise StorageError(f"{path} holds episodes of another run (line {number}); choose another file")
            found.append(episode)
            places.append(places[-1] + len(text))
    whole = len(found) if len(found) == len(wanted) else len(found) // batch * batch
    with path.open("r+b") as file:
        file.truncate(places[whole])
    return found[:whole]
