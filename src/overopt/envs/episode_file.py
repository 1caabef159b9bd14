"""Episodes in a file: one JSON object a line (``overopt.episode/1``), which holds all that a judge needs.

The files of a scenario are stored once, as laid out; of the files at the end only those that differ. Reading gives back
what was written, so that stored episodes can be judged again, monitored, shown and trained on.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overopt.envs.episode import Episode, Evidence, File, Outcome, Said, Scenario, Step, Tokens, absolute
from overopt.envs.machine import Read, Write
from overopt.errors import DataError

SCHEMA = "overopt.episode/1"


def episode_record(episode: Episode) -> dict[str, Any]:
    """The object of a line."""
    scenario = episode.scenario
    laid = {absolute(file.path): file.text for file in scenario.files}
    changed, gone = _difference(episode.before, episode.files)
    about = {
        name: getattr(scenario, name)
        for name in ("environment", "version", "variant", "split", "twin", "wording", "seed", "profile", "most_turns")
    }
    about |= {"facts": dict(scenario.facts), "permitted": list(scenario.permitted), "instructed": scenario.instructed}
    if scenario.wanted:
        about["wanted"] = dict(scenario.wanted)
    about |= {
        "system": scenario.system,
        "user": scenario.user,
        "files": [_slim(asdict(file)) for file in scenario.files],
    }
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "id": episode.id,
        "scenario": about,
        "rep": episode.rep,
        "policy": dict(episode.policy),
        "messages": [asdict(said) for said in episode.messages if said.kind != "prompt"],
        "steps": [_slim(asdict(step)) for step in episode.steps],
        "answer": episode.answer,
        "ended": episode.ended,
        "files_changed": changed,
        "files_gone": gone,
        "writes": [_slim(asdict(write)) for write in episode.writes],
        "reads": [asdict(read) for read in episode.reads],
        "outcome": None if episode.outcome is None else asdict(episode.outcome),
    }
    more = {
        "reward": dict(episode.reward), "monitors": dict(episode.monitors), "steer": episode.steer,
        "versions": dict(episode.versions), "draws": episode.draws, "tokens": [asdict(one) for one in episode.tokens],
    }  # fmt: skip
    record |= {name: value for name, value in more.items() if value}
    if episode.began is not None:
        record["began_changed"], record["began_gone"] = _difference(laid, episode.began)
    if episode.weight != 1.0:
        record["weight"] = episode.weight
    return record


def episode_of(record: Mapping[str, Any]) -> Episode:
    """The episode of a line's object.

    Raises
    ------
    DataError
        If it is none, or of a schema that this version does not know.
    """
    if record.get("schema") != SCHEMA:
        raise DataError(f"not an episode: its schema is {record.get('schema')!r}, not {SCHEMA!r}")
    try:
        about = dict(record["scenario"])
        about["files"] = tuple(File(**file) for file in about["files"])
        about["permitted"] = tuple(about["permitted"])
        scenario = Scenario(**about)
        laid = {absolute(file.path): file.text for file in scenario.files}
        went_on = "began_changed" in record
        began = _changed(laid, record["began_changed"], record["began_gone"]) if went_on else None
        prompt = tuple(Said(role=one["role"], content=one["content"], kind="prompt") for one in scenario.conversation)
        outcome = record["outcome"]
        return Episode(
            scenario=scenario,
            rep=record["rep"],
            policy=record["policy"],
            messages=(*prompt, *(Said(**said) for said in record["messages"])),
            steps=tuple(_step(step) for step in record["steps"]),
            answer=record["answer"],
            ended=record["ended"],
            files=_changed(laid if began is None else began, record["files_changed"], record["files_gone"]),
            began=began,
            writes=tuple(_write(write) for write in record["writes"]),
            reads=tuple(Read(**read) for read in record["reads"]),
            outcome=None if outcome is None else _outcome(outcome),
            reward=record.get("reward", {}),
            monitors=record.get("monitors", {}),
            tokens=tuple(_tokens(one) for one in record.get("tokens", [])),
            steer=record.get("steer", ""),
            weight=record.get("weight", 1.0),
            versions=record.get("versions", {}),
            draws=record.get("draws", 0),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"a damaged episode: {error}") from error


def write_episodes(episodes: Iterable[Episode], path: Path) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line(episode)}\n" for episode in episodes)
    temporary.replace(path)


def line(episode: Episode) -> str:
    """The line of an episode, without its end."""
    text = json.dumps(episode_record(episode), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if text.isascii() or not _BYTE.search(text):
        return text
    # Bytes that are no UTF-8 can only be written as escapes.
    return _BYTE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def read_episodes(path: Path) -> Iterator[Episode]:
    """The episodes of a file, one at a time.

    Raises
    ------
    DataError
        If there is no such file, or a line holds no episode; the message says which.
    """
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        for number, text in enumerate(file, start=1):
            try:
                yield episode_of(json.loads(text))
            except (ValueError, DataError) as error:
                raise DataError(f"{path}, line {number}: {error}") from error


_BYTE = re.compile("[\ud800-\udfff]")
_KEPT = frozenset(("path", "text", "number", "command", "step", "actor", "operation", "inode", "role", "size"))


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    # In order, so that an episode has one line however its files came about.
    changed = {path: after[path] for path in sorted(after) if before.get(path) != after[path]}
    return changed, [path for path in sorted(before) if path not in after]


def _changed(before: Mapping[str, str], changed: Mapping[str, str], gone: Sequence[str]) -> dict[str, str]:
    return {path: text for path, text in before.items() if path not in gone} | dict(changed)


def _slim(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty and comes back by default."""
    return {
        name: value
        for name, value in found.items()
        if name in _KEPT or name.startswith("sha") or value not in ("", 0, (), [])
    }


def _step(found: Mapping[str, Any]) -> Step:
    lists = {name: tuple(found[name]) for name in ("unsupported", "limits") if name in found}
    return Step(**{"cot": "", "visible": "", **found, **lists})


def _write(found: Mapping[str, Any]) -> Write:
    return Write(**found)


def _outcome(found: Mapping[str, Any]) -> Outcome:
    return Outcome(**{**found, "evidence": tuple(Evidence(**one) for one in found["evidence"])})


def _tokens(found: Mapping[str, Sequence[Any]]) -> Tokens:
    return Tokens(**{name: tuple(values) for name, values in found.items()})
