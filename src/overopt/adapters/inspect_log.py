"""Episodes as a log of Inspect, and back: native runs open in its viewer, runs of our tasks are judged episodes again.

A log of ours holds messages, scores and rates as a run of the task would, and each episode in the metadata of its
sample; there are no events, since there was no run. Reading gives back what was written, episode for episode. It needs
no more than the metadata, so that logs of our tasks are read the same way.
"""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import inspect_ai
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
    write_eval_log,
)
from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput

from overopt import __version__
from overopt.adapters.inspect_samples import (
    EPISODE,
    chat_message,
    cluster,
    episode_to_keep,
    kept_episode,
    printable,
    sample_id,
    sample_metadata,
)
from overopt.adapters.inspect_scorer import KEYS, SCORER, episode_score, fact_values, figures, metrics_of
from overopt.adapters.inspect_tasks import task_name
from overopt.envs.episode import Episode
from overopt.errors import DataError, OveroptError, StorageError
from overopt.protocols import Message

SUFFIXES = (".eval", ".json")
_CHUNK = 256
_UNREAD = {"events", "events_data", "attachments", "messages", "output"}


class InspectEpisodes(NamedTuple):
    """What a log holds."""

    episodes: list[Episode]
    """In the order of its samples."""
    left_out: list[str]
    """Samples without an episode, with the reason: they failed before there was one, or ran elsewhere."""


def to_inspect_log(episodes: Sequence[Episode], path: Path) -> None:
    """Write episodes as a log that Inspect's viewer and tools open; whole or not at all.

    Rates are counted where all episodes are judged and of one environment, twin and policy.

    Parameters
    ----------
    path : Path
        Ends in ``.eval``, or ``.json``.

    Raises
    ------
    DataError
        If there are no episodes.
    StorageError
        If the path ends otherwise or cannot be written to.
    """
    if not episodes:
        raise DataError("there are no episodes to write")
    if path.suffix not in SUFFIXES:
        raise StorageError(f"a log of Inspect ends in {' or '.join(SUFFIXES)}; got {path.name}")
    samples = [_sample(episode, name) for episode, name in zip(episodes, _names(episodes), strict=True)]
    log = EvalLog(
        status="success",
        eval=_spec(episodes, [str(sample.id) for sample in samples]),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=_rates(episodes)),
        samples=samples,
    )
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_eval_log(log, temporary)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def from_inspect_log(path: Path) -> InspectEpisodes:
    """The episodes of a log, of :func:`to_inspect_log` or of a run of our tasks; of an unfinished one those it has.

    Raises
    ------
    DataError
        If there is no log at the path, or a sample's episode is damaged or of another version of its environment.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        known = read_eval_log(path, header_only=True).eval.dataset.sample_ids or []
        order = {name: place for place, name in enumerate(known)}
        found = [(one.id, one.epoch) for one in read_eval_log_sample_summaries(path) if one.completed or one.error]
        found.sort(key=lambda one: (order.get(one[0], len(order)), one[1]))
        samples = [
            sample
            for start in range(0, len(found), _CHUNK)
            for sample in read_eval_log_samples_by_id(path, found[start : start + _CHUNK], exclude_fields=_UNREAD)
        ]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no log of Inspect: {error}") from error
    episodes: list[Episode] = []
    left_out: list[str] = []
    for sample in samples:
        if EPISODE not in sample.metadata:
            left_out.append(f"{sample.id}: {_why(sample)}")
            continue
        try:
            episodes.append(kept_episode(sample.metadata))
        except OveroptError as error:
            raise DataError(f"{path}, sample {sample.id}: {error}") from error
    return InspectEpisodes(episodes, left_out)


def _sample(episode: Episode, name: str) -> EvalSample:
    said = [Message(role=one.role, content=printable(one.content)) for one in episode.messages]
    messages = [chat_message(one, place) for place, one in enumerate(said)]
    prompts = sum(one.kind == "prompt" for one in episode.messages)
    model = str(episode.policy.get("name", ""))
    answer = ChatMessageAssistant(content=printable(episode.answer), id="answer", model=model, source="generate")
    return EvalSample(
        id=name,
        epoch=1,
        input=messages[:prompts],
        target="",
        messages=messages,
        output=ModelOutput(model=model, choices=[ChatCompletionChoice(message=answer, stop_reason="stop")]),
        scores=None if episode.outcome is None else {SCORER: episode_score(episode)},
        metadata={
            **sample_metadata(episode.scenario, episode.rep, episode.rep + 1),
            EPISODE: episode_to_keep(episode),
        },
        uuid=name,
    )


def _names(episodes: Sequence[Episode]) -> list[str]:
    """As in a task; with what else tells them apart where it is not one, and numbers where nothing does."""
    heads = [f"{one.scenario.environment}-{one.scenario.twin}-{one.scenario.split}" for one in episodes]
    is_one = len({*heads}) == 1
    names: list[str] = []
    seen: dict[str, int] = {}
    for head, episode in zip(heads, episodes, strict=True):
        name = (
            sample_id(episode.scenario, episode.rep) if is_one else f"{head}-{sample_id(episode.scenario, episode.rep)}"
        )
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-again{seen[name]}")
    return names


def _spec(episodes: Sequence[Episode], names: list[str]) -> EvalSpec:
    environments = list(dict.fromkeys(episode.scenario.environment for episode in episodes))
    policies = list(dict.fromkeys(str(episode.policy.get("name", "")) for episode in episodes))
    task = task_name(environments[0]) if len(environments) == 1 else "tamper"
    return EvalSpec(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=f"overopt/{task}",
        task_id=task,
        task_version=episodes[0].scenario.version if len(environments) == 1 else 0,
        dataset=EvalDataset(name=", ".join(environments), samples=len(names), sample_ids=names),
        model=policies[0] if len(policies) == 1 else "several",
        config=EvalConfig(epochs=1),
        packages={"inspect_ai": inspect_ai.__version__, "overopt": __version__},
        metadata={"source": "overopt.episode/1", "policies": policies},
    )


def _rates(episodes: Sequence[Episode]) -> list[EvalScore]:
    kinds = {(one.scenario.environment, one.scenario.version, one.scenario.twin, str(one.policy)) for one in episodes}
    values = [fact_values(one.outcome) for one in episodes if one.outcome is not None]
    if len(kinds) > 1 or len(values) < len(episodes):
        return []
    scenarios = [cluster(episode.scenario) for episode in episodes]
    return [
        EvalScore(
            name=key,
            scorer=SCORER,
            scored_samples=len(values),
            unscored_samples=0,
            metrics={
                f"overopt/{name}": EvalMetric(name=f"overopt/{name}", value=found[name]) for name in metrics_of(key)
            },
        )
        for key in KEYS
        for found in [figures(scenarios, [one[key] for one in values])]
    ]


def _why(sample: EvalSample) -> str:
    if sample.error is not None:
        return sample.error.message
    reasons = [score.explanation for score in (sample.scores or {}).values() if score.explanation]
    return reasons[0] if reasons else "no episode"
