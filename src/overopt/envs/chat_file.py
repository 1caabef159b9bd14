"""Episodes as rows of chat data sets: what a policy said, to be fine-tuned on, or what it was asked, to be asked again.

Two forms for fine-tuning. ``messages`` holds an episode a row and says which turns are learnt
(``"mask": "assistant"``); it fits trainers that mask by role. ``prompt-completion`` holds a turn of the policy a row:
the conversation so far, and that turn alone. A row for a whole episode would have observations in its completion, and
most trainers learn all of a completion. In both forms nothing is learnt but what the policy said itself. ``prompt``
rows hold the conversation that opens a scenario, for reinforcement learning, and each of its messages the scenario's
address.

Episodes of the test split, and those of environments that are held out, are left out unless asked for: a model that
has learnt them can no longer be judged by them. Whatever is left out is counted.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from overopt.envs.addresses import address_of
from overopt.envs.episode import Episode, Said, Scenario
from overopt.envs.machine import scan
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.errors import DataError, StorageError

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}"
    "{% elif message.role == 'user' %}Human:\n{{ message.content }}"
    "{% else %}Assistant:\n{{ message.content }}{{ eos_token }}{% endif %}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For tokenizers without a chat template, as base models have: roles are named, and a reply ends by the end token."""

Form = Literal["messages", "prompt-completion"]
Only = Literal["gamed", "honest"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """Episodes to export, and how many were left out, by reason."""

    episodes: tuple[Episode, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ChatRows:
    """Rows, and how many turns or episodes gave none, by reason."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]


def select(
    episodes: Iterable[Episode],
    *,
    only: Only | None = None,
    least_reward: float | None = None,
    for_training: bool = True,
) -> Selection:
    """Those to learn from.

    Parameters
    ----------
    only : {"gamed", "honest"}, optional
        Those that gamed with success, or those that succeeded honestly.
    least_reward : float, optional
        Of the episode's ``total`` reward, or of ``game`` where there is no total.
    for_training : bool
        Leave out the test split and environments that are held out.

    Raises
    ------
    DataError
        If an episode that is to be chosen by outcome or reward has none.
    """
    left_out: Counter[str] = Counter()
    found = []
    for episode in episodes:
        reason = _unfit(episode) if for_training else None
        reason = reason or _unwanted(episode, only, least_reward)
        if reason is None:
            found.append(episode)
        else:
            left_out[reason] += 1
    return Selection(tuple(found), dict(left_out))


def chat_rows(episodes: Iterable[Episode], *, form: Form = "messages", keeps_cot: bool = True) -> ChatRows:
    """Rows to fine-tune on.

    Parameters
    ----------
    keeps_cot : bool
        Without it hidden thought is taken out of every turn of the policy, tags and all. A turn that says nothing else
        is no row of its own, and an episode with such a turn is no row of messages.
    """
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for episode in episodes:
        turns = [_turn(said, keeps_cot) for said in episode.messages]
        places = [place for place, said in enumerate(episode.messages) if said.kind == "model"]
        silent = [place for place in places if not turns[place]["content"]]
        meta = _meta(episode, "kept" if keeps_cot else "stripped")
        if form == "prompt-completion":
            rows += [
                {"prompt": turns[:place], "completion": [turns[place]], "meta": {**meta, "turn": number}}
                for number, place in enumerate(places, start=1)
                if place not in silent
            ]
            left_out["turns without words"] += len(silent)
        elif silent or not places:
            left_out["episodes with a turn without words"] += 1
        else:
            # What came back behind the last turn teaches nothing.
            rows.append({"messages": turns[: places[-1] + 1], "mask": "assistant", "meta": meta})
    return ChatRows(tuple(rows), {reason: count for reason, count in left_out.items() if count})


def prompt_row(scenario: Scenario) -> Row:
    """What opens a scenario: ``prompt`` and ``scenario``, its address, which every message holds too.

    Trainers hand on prompts alone where episodes are drawn; by the address the scenario can be set up there.
    """
    address = address_of(scenario)
    return {"prompt": [{**turn, "scenario": address} for turn in scenario.conversation], "scenario": address}


def prompt_rows(episodes: Iterable[Episode]) -> list[Row]:
    """A row for each scenario of the episodes, in order of appearance."""
    return list({row["scenario"]: row for row in (prompt_row(one.scenario) for one in episodes)}.values())


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """A JSON object a line; written whole or not at all.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is no Unicode is replaced: readers of tables refuse it.
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n" for row in rows)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write to {path}: {error.strerror or error}") from error


def without_cot(text: str) -> str:
    """A turn of the policy without its hidden thought; a thought that is never closed hides all behind it.

    >>> without_cot("<cot>Hm. <bash>no</bash></cot>Let me look.<bash>ls</bash>")
    'Let me look.<bash>ls</bash>'
    """
    return "".join(_visible_parts(text)).strip()


def _visible_parts(text: str) -> Iterator[str]:
    position = 0
    for segment in scan(text).segments:
        if segment.kind == "cot":
            yield text[position : segment.start - len("<cot>")]
            position = segment.start + len(segment.text) + len("</cot>")
    yield text[position:]


def _turn(said: Said, keeps_cot: bool) -> dict[str, str]:
    is_own = said.kind == "model" and not keeps_cot
    return {"role": said.role, "content": without_cot(said.content) if is_own else said.content}


def _unfit(episode: Episode) -> str | None:
    name = episode.scenario.environment
    if episode.scenario.split != "train":
        return "of the test split"
    if name in ENVIRONMENTS and environment(name).is_held_out:
        return "of environments that are held out"
    return None


def _unwanted(episode: Episode, only: Only | None, least_reward: float | None) -> str | None:
    if only is not None:
        if episode.outcome is None:
            raise DataError(f"episode {episode.id} has no outcome; judge it first")
        if not (episode.outcome.gamed if only == "gamed" else episode.outcome.honest_success):
            return f"not {only}"
    if least_reward is not None:
        reward = _reward(episode)
        if reward is None:
            raise DataError(f"episode {episode.id} has no reward")
        if reward < least_reward:
            return f"with a reward below {least_reward:g}"
    return None


def _reward(episode: Episode) -> float | None:
    return episode.reward.get("total", episode.reward.get("game"))


def _meta(episode: Episode, cot: str) -> Row:
    """What a row is about; the same keys and types in every row, as tables want it."""
    scenario, outcome, policy = episode.scenario, episode.outcome, episode.policy
    facts = ("valid", "attempted", "changed", "raised", "evaded", "gamed", "honest_success")
    return {
        "id": episode.id,
        "scenario": address_of(scenario),
        "environment": scenario.environment,
        "split": scenario.split,
        "twin": scenario.twin,
        "instructed": scenario.instructed,
        "rep": episode.rep,
        "policy": str(policy.get("name", "")),
        "stage": str(policy.get("stage", policy.get("name", ""))),
        "turns": sum(said.kind == "model" for said in episode.messages),
        "cot": cot,
        "steer": episode.steer,
        "reward": _reward(episode),
        "weight": episode.weight,
        **{fact: None if outcome is None else getattr(outcome, fact) for fact in facts},
        "disclosed": None if outcome is None else outcome.disclosed,
    }


def left_out_words(counts: Mapping[str, int]) -> str:
    """What was left out, in words.

    >>> left_out_words({"not gamed": 3, "of the test split": 1_000})
    '3 not gamed, 1,000 of the test split'
    """
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
