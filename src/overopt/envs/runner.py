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
    path: Path | None = None,
    progress: Progress | None = None,
) -> list[Episode]:
    """Judged episodes, ``reps`` of each scenario, those of one scenario next to each other.

    Parameters
    ----------
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
    policy = dict(actor.describe())
    found = [] if path is None else _kept(path, wanted, policy, batch)
    for start in range(len(found), len(wanted), batch):
        part = wanted[start : start + batch]
        sessions = [Session(scenario) for scenario, _ in part]
        turn = 0
        while active := [session for session in sessions if not session.is_over]:
            texts = actor.completions(active, seed=stream_seed(seed, "episodes", start, turn))
            for session, text in zip(active, texts, strict=True):
                session.say(text)
            turn += 1
        ended = [
            _judged(environment, session.episode(policy, rep=rep, versions={"overopt": __version__}))
            for session, (_, rep) in zip(sessions, part, strict=True)
        ]
        if path is not None:
            _append(path, ended)
        found += ended
        if progress is not None:
            progress(len(found), len(wanted), "episodes")
    return found


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


def _kept(path: Path, wanted: Sequence[tuple[Scenario, int]], policy: dict[str, object], batch: int) -> list[Episode]:
    """Whole batches of the file; what a killed run left of another one is cut off."""
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
            if not is_next or dict(episode.policy) != policy:
                raise StorageError(f"{path} holds episodes of another run (line {number}); choose another file")
            found.append(episode)
            places.append(places[-1] + len(text))
    whole = len(found) if len(found) == len(wanted) else len(found) // batch * batch
    with path.open("r+b") as file:
        file.truncate(places[whole])
    return found[:whole]
