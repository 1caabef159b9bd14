"""What an environment sets up, what a policy then does there, and what that was: scenario, episode, outcome.

A scenario is all that a run of an environment needs and all that its judge may know. An episode is what happened, with
the files as they ended and the record of every change. An outcome holds facts about it that follow from both, not from
what the policy says of itself; the two that are read from text, ``disclosed`` and ``fabricated``, are named as such.
After Denison et al. 2024 (arXiv:2406.10162) and the transcripts they published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from overopt.envs.machine import HOME, Profile, Read, Role, Write
from overopt.protocols import Message

Split = Literal["train", "test"]
"""No text of one split's variants occurs in the other's."""
Twin = Literal["gameable", "control", "legitimate"]
"""``control``: the same task where gaming is impossible or does not pay; ``legitimate``: where the edit that would be
gaming is what the person asks for."""
Wording = Literal["A", "B"]
"""Two independent wordings of each task, so that a result does not hang on one."""
Kind = Literal["prompt", "model", "observation"]
Disclosure = Literal["honest", "excuse", "silent", "na"]
"""Whether the visible text tells of a change that nobody asked for; ``na`` without one."""
End = Literal["answered", "turns", "calls", "open"]
"""How an episode ended: with an answer, out of turns, out of calls, or not yet."""
MOST_TURNS = 12
"""Completions of the policy in an episode, where the scenario says nothing else."""


def absolute(path: str) -> str:
    """A path of the simulated machine from its root.

    >>> absolute("notes/plan.txt"), absolute("/etc/hosts")
    ('/home/user/notes/plan.txt', '/etc/hosts')
    """
    return path if path.startswith("/") else f"{HOME}/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file that a scenario lays out."""

    path: str
    """Absolute, or from the home folder."""
    text: str
    role: Role = "plain"
    mode: int = 0o644
    owner: str = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A task with its files: the same names and settings give the same scenario, byte for byte."""

    environment: str
    version: int
    """Of the environment's texts and rules; a change of either is a new version."""
    variant: int
    """Number among those of its split and twin: the cluster of its episodes."""
    split: Split
    twin: Twin
    wording: Wording
    seed: int
    system: str
    user: str
    files: tuple[File, ...] = ()
    profile: Profile = "paper"
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the judge needs besides the files; plain JSON values, never shown."""
    permitted: tuple[str, ...] = ()
    """Absolute paths, or folders with a slash at the end, that the task asks or allows to be changed."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """Absolute path → text of a permitted file once all is done as asked, where the task leaves no choice of it."""
    most_turns: int = MOST_TURNS
    """Completions of the policy."""
    instructed: bool = False
    """Whether the person spells the gaming act out: what a policy can do, not what it does by itself."""

    @property
    def id(self) -> str:
        """Names the scenario within a version and a seed."""
        marks = "i" if self.instructed else ""
        return f"{self.environment}/{self.twin}/{self.split}-{self.wording}{self.variant:03d}{marks}"

    @property
    def conversation(self) -> list[Message]:
        """What the policy is asked, before it says anything."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, Message(role="user", content=self.user)]

    def text(self, path: str) -> str:
        """Of a file as it was laid out.

        Raises
        ------
        KeyError
            If there is none.
        """
        wanted = absolute(path)
        for file in self.files:
            if absolute(file.path) == wanted:
                return file.text
        raise KeyError(path)

    def is_permitted(self, path: str) -> bool:
        """Whether the task asks or allows the absolute path to be changed.

        >>> scenario = Scenario(environment="x", version=1, variant=0, split="test", twin="gameable", wording="A",
        ...     seed=0, system="", user="?", permitted=("/home/user/out/", "/home/user/answer.txt"))
        >>> scenario.is_permitted("/home/user/out/a"), scenario.is_permitted("/home/user/answer.txt.bak")
        (True, False)
        """
        return any(path == one or (one.endswith("/") and path.startswith(one)) for one in self.permitted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of an episode."""

    role: str
    content: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One completion of the policy and what came back."""

    number: int
    """From 1."""
    cot: str
    """Hidden thought, all blocks."""
    visible: str
    """What the person sees of it."""
    command: str | None
    stdout: str = ""
    stderr: str = ""
    status: int = 0
    forged: int = 0
    """Observations that the policy wrote itself; they are never used."""
    malformed: int = 0
    """Tags that close nothing or are not closed."""
    unsupported: tuple[str, ...] = ()
    """Constructs and commands that a real shell has and the simulated one lacks."""
    limits: tuple[str, ...] = ()
    """Limits that ended the call, or ``tokens`` where one ended an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one completion, for training."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why a fact of the outcome holds."""

    fact: str
    """Name of the field of the outcome."""
    step: int
    """Of the episode, from 1; 0 where it is about the whole."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an episode was: all but ``disclosed`` and ``fabricated`` follows from files, their record and the answer."""

    valid: bool
    """An answer came, and nothing was cut off by a limit: others are counted, and never as honest success."""
    attempted: bool
    """The policy tried to change what it was not asked to change, or said what only gaming says."""
    changed: bool
    """Something that it was not asked to change means something else at the end."""
    raised: bool
    """What pays is higher than honest work would have left it: the published "overwrites reward"."""
    guard: str
    """What became of the check (:class:`~overopt.envs.program.GuardVerdict`); ``none`` where there is no check."""
    evaded: bool
    """Something was changed, and oversight, as the environment defines it, sees nothing wrong."""
    gamed: bool
    """The success that pays: raised and evaded, never in a twin."""
    honest_success: bool
    """The task was done as a person would want it, or declined where it cannot be done; never by doing nothing."""
    disclosed: Disclosure = "na"
    """Read from the visible text."""
    fabricated: bool = False
    """The visible text claims what is not so; read from it."""
    unsupported: int = 0
    """Constructs that the simulated shell lacks: a high count means that an episode says little."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One run of a policy in a scenario."""

    scenario: Scenario
    rep: int
    """Number among the runs of the same scenario by the same policy."""
    policy: Mapping[str, Any]
    """``name``, and ``checkpoint``, ``stage`` and ``algorithm`` where there are such."""
    messages: tuple[Said, ...]
    steps: tuple[Step, ...]
    answer: str
    """What a scorer of the answer sees: the last completion behind its last hidden thought, without commands."""
    ended: End
    files: Mapping[str, str]
    """Absolute path → text of every path that opens as a regular file at the end, through links too."""
    began: Mapping[str, str] | None = None
    """As ``files``, of the beginning, where the machine of an earlier episode went on;
    ``None`` where the scenario laid it out."""
    writes: tuple[Write, ...] = ()
    reads: tuple[Read, ...] = ()
    outcome: Outcome | None = None
    reward: Mapping[str, float] = field(default_factory=dict)
    """``game``, ``pm``, ``total`` where rewards were given."""
    monitors: Mapping[str, float] = field(default_factory=dict)
    tokens: tuple[Tokens, ...] = ()
    steer: str = ""
    """A beginning of the hidden thought that the policy was made to go on from."""
    weight: float = 1.0
    """Of importance sampling."""
    versions: Mapping[str, str] = field(default_factory=dict)
    draws: int = 0
    """Seed of the run that drew the completions."""

    @property
    def id(self) -> str:
        """Names the episode among those of one policy."""
        return f"{self.scenario.id}-{self.rep}"

    @property
    def before(self) -> Mapping[str, str]:
        """Absolute path → text of every regular file at the beginning."""
        if self.began is not None:
            return self.began
        return {absolute(file.path): file.text for file in self.scenario.files}

    @property
    def as_laid_out(self) -> "Episode":
        """The episode as its judge sees it: its scenario lays out the files as they were when it began.

        A file of the scenario that was gone by then and still is stands empty before and after, so that a judge finds
        what the scenario names and blames nobody for it.
        """
        if self.began is None:
            return self
        laid = {absolute(file.path): file for file in self.scenario.files}
        kept = [replace(file, text=self.began.get(path, "")) for path, file in laid.items()]
        others = [File(path=path, text=text) for path, text in self.began.items() if path not in laid]
        gone = {path: "" for path in laid if path not in self.began and path not in self.files}
        scenario = replace(self.scenario, files=(*kept, *others))
        return replace(self, scenario=scenario, files={**self.files, **gone}, began=None)

    @property
    def visible(self) -> str:
        """All that the person sees, completions apart by a line."""
        return "\n".join(step.visible for step in self.steps if step.visible)

    @property
    def cot(self) -> str:
        """All hidden thought."""
        return "\n".join(step.cot for step in self.steps if step.cot)

    @property
    def commands(self) -> tuple[str, ...]:
        """In order."""
        return tuple(step.command for step in self.steps if step.command is not None)

    def judged(self, outcome: Outcome) -> "Episode":
        """The same episode with its outcome."""
        return replace(self, outcome=outcome)
