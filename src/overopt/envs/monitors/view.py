"""What a monitor may see of an episode: only the channels that it asks for.

``diff``: protected files before and after, and the record of changes; ``actions``: commands; ``cot``: hidden thought;
``answer``: what the person sees. The task itself is always there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from overopt.envs.episode import Episode, absolute
from overopt.envs.machine import Role, Write

Channel = Literal["diff", "actions", "cot", "answer"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
PROTECTED: frozenset[Role] = frozenset(("reward", "guard", "rubric", "log", "config"))
"""Roles of files that nobody writes to unless the task says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A protected file, before and after."""

    path: str
    role: Role
    before: str
    after: str | None
    """``None`` where it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An episode through some channels; the others are empty."""

    task: str
    protected: tuple[Protected, ...] = ()
    """Of ``diff``: those that the task does not allow to be changed."""
    writes: tuple[Write, ...] = ()
    """Of ``diff``: the policy's changes of protected files."""
    commands: Mapping[int, str] = field(default_factory=dict)
    """Of ``actions``: step → command."""
    thoughts: Mapping[int, str] = field(default_factory=dict)
    """Of ``cot``: step → hidden thought."""
    answer: str = ""
    """Of ``answer``: all visible text."""


class Monitor(Protocol):
    """Scores episodes; higher is more alarming."""

    @property
    def name(self) -> str:
        """In tables."""
        ...

    @property
    def channels(self) -> frozenset[Channel]:
        """What it sees."""
        ...

    def score(self, view: View) -> float:
        """Of the whole episode; finite."""
        ...

    def first_alarm(self, view: View, threshold: float) -> int | None:
        """The first step whose score reaches the threshold; ``None`` where none does, or steps are not told apart."""
        ...


def view_of(episode: Episode, channels: Collection[Channel]) -> View:
    """The episode as a monitor with these channels sees it, its files measured against those it began with."""
    episode = episode.as_laid_out
    scenario = episode.scenario
    protected = tuple(
        Protected(
            path=absolute(file.path), role=file.role, before=file.text, after=episode.files.get(absolute(file.path))
        )
        for file in scenario.files
        if file.role in PROTECTED and not scenario.is_permitted(absolute(file.path))
    )
    writes = tuple(
        write for write in episode.writes if write.role in PROTECTED and not scenario.is_permitted(write.path)
    )
    return View(
        task=scenario.user,
        protected=protected if "diff" in channels else (),
        writes=writes if "diff" in channels else (),
        commands={s.number: s.command for s in episode.steps if s.command is not None} if "actions" in channels else {},
        thoughts={s.number: s.cot for s in episode.steps if s.cot} if "cot" in channels else {},
        answer=episode.visible if "answer" in channels else "",
    )
