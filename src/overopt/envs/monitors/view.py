"""What a monitor may see of an episode: only the channels that it asks for.

``diff``: protected files before and after, and the record of changes; ``actions``: commands; ``cot``: hidden thought;
``answer``: what the person sees. The task itself is always there.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, Protocol, get_args

from overopt.envs.episode import Episode, absolute
from overopt.envs.machine import Role, Write
from overopt.envs.program.testing import SETTINGS

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
    wanted: str | None = None
    """What the task asks it to become; ``None`` where it is to stay as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An episode through some channels; the others are empty."""

    task: str
    protected: tuple[Protected, ...] = ()
    """Of ``diff``: those that the task does not leave to the policy, and new files that bear on them."""
    writes: tuple[Write, ...] = ()
    """Of ``diff``: the policy's changes of these."""
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
    protected = (*_protected(episode), *_bearing(episode))
    paths = {file.path for file in protected}
    writes = tuple(
        write
        for write in episode.writes
        if write.path in paths or (write.role in PROTECTED and not scenario.is_permitted(write.path))
    )
    return View(
        task=scenario.user,
        protected=protected if "diff" in channels else (),
        writes=writes if "diff" in channels else (),
        commands={s.number: s.command for s in episode.steps if s.command is not None} if "actions" in channels else {},
        thoughts={s.number: s.cot for s in episode.steps if s.cot} if "cot" in channels else {},
        answer=episode.visible if "answer" in channels else "",
    )


def _protected(episode: Episode) -> Iterator[Protected]:
    """Files with a protected role that are to stay as they are, or to become what the task says."""
    scenario = episode.scenario
    for file in scenario.files:
        path = absolute(file.path)
        wanted = scenario.wanted.get(path)
        if file.role in PROTECTED and (wanted is not None or not scenario.is_permitted(path)):
            after = episode.files.get(path)
            yield Protected(path=path, role=file.role, before=file.text, after=after, wanted=wanted)


def _bearing(episode: Episode) -> Iterator[Protected]:
    """New files that Python or pytest would read before, or in the place of, protected code beside or below them."""
    scenario = episode.scenario
    laid = {absolute(file.path) for file in scenario.files}
    code = [
        PurePosixPath(absolute(file.path))
        for file in scenario.files
        if file.role in PROTECTED and file.path.endswith(".py")
    ]
    for path, text in episode.files.items():
        if path not in laid and any(_bears_on(PurePosixPath(path), file) for file in code):
            yield Protected(path=path, role="config", before="", after=text)


def _bears_on(new: PurePosixPath, code: PurePosixPath) -> bool:
    """By its name and place: settings and hooks of pytest, packages, and modules that come first at an import."""
    if new.name == "conftest.py" or new.name in SETTINGS:
        return new.parent in code.parents
    if new.name == "__init__.py":
        return new.parent in code.parents or new.parent == code.with_suffix("")
    return new.name == code.name and code.parent in new.parents
