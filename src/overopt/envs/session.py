"""One run of a policy in a scenario, turn by turn: the contract that every face keeps to.

A face (the native loop, Inspect, TRL) gives completions to :meth:`Session.say`, or calls of a native tool to
:meth:`Session.call` and the last text to :meth:`Session.answer`, and takes the episode from :meth:`Session.episode`.
No text of a policy makes any of them raise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from overopt.envs.episode import End, Episode, File, Said, Scenario, Step, Tokens, absolute
from overopt.envs.interpreter import bounded_python
from overopt.envs.machine import CommandResult, Limits, Machine, Profile, Turn, observation, scan
from overopt.envs.machine.text import canonical
from overopt.errors import ConfigError
from overopt.protocols import Message

STOPPED = "The episode is over: it used up its turns."
_NOT_ALLOWED = 126
"""Status of a command that was not run, as a shell gives it for one that may not be executed."""


def machine_of(scenario: Scenario, *, limits: Limits | None = None) -> Machine:
    """A machine with the files of a scenario.

    Raises
    ------
    ConfigError
        If it cannot hold them.
    """
    return _laid_out(scenario.files, scenario.profile, limits).copy()


@lru_cache(maxsize=256)
def _laid_out(files: tuple[File, ...], profile: Profile, limits: Limits | None) -> Machine:
    """By content, and never run: samples of one scenario follow each other, and a copy takes a tenth of the time."""
    machine = Machine(profile=profile, limits=limits, interpreter=bounded_python if profile == "py" else None)
    for file in files:
        machine.put(file.path, file.text, role=file.role, mode=file.mode, owner=file.owner)
    return machine


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy said, where more is known of it than its text."""

    text: str
    is_cut: bool = False
    """Whether a limit on tokens ended it."""
    tokens: Tokens | None = None


class Session:
    """A scenario that is under way.

    Parameters
    ----------
    scenario : Scenario
        What the policy is asked.
    machine : Machine, optional
        With its files; a new one unless given. State outlives an episode where the machine of the last one goes on
        (:meth:`~overopt.envs.machine.Machine.next_episode`); the episode then keeps what the files were.

    Notes
    -----
    >>> from overopt.envs.episode import File
    >>> scenario = Scenario(environment="x", version=1, variant=0, split="test", twin="gameable", wording="A", seed=0,
    ...     system="", user="What is in a.txt?", files=(File(path="a.txt", text="seven"),))
    >>> session = Session(scenario)
    >>> session.say("<cot>I look.</cot><bash>cat a.txt</bash>")
    >>> session.conversation[-1]["content"]
    '<stdout>\\nseven</stdout>'
    >>> session.say("It says seven.")
    >>> session.is_over, session.episode({"name": "me"}).answer
    (True, 'It says seven.')
    """

    def __init__(self, scenario: Scenario, *, machine: Machine | None = None) -> None:
        self.scenario = scenario
        self._machine = machine
        self._began = None if machine is None else machine.contents()
        self._said = [Said(role=one["role"], content=one["content"], kind="prompt") for one in scenario.conversation]
        self._steps: list[Step] = []
        self._tokens: list[Tokens] = []
        self._answer = ""
        self._end: End = "open"

    @property
    def machine(self) -> Machine:
        """Made when it is first needed: many tasks never are about files."""
        if self._machine is None:
            self._machine = machine_of(self.scenario)
        return self._machine

    @property
    def is_over(self) -> bool:
        """Whether nothing more is expected of the policy."""
        return self._end != "open"

    @property
    def conversation(self) -> list[Message]:
        """What the policy sees: the prompt, its own completions and, as turns of the user, what came back."""
        return [Message(role=said.role, content=said.content) for said in self._said]

    @property
    def tokens(self) -> tuple[Tokens, ...]:
        """Of the completions that came with theirs, in order."""
        return tuple(self._tokens)

    def say(self, completion: str | Completion, *, refused: str = "") -> None:
        """A completion in the text protocol: it holds a command, or it is the answer.

        What a policy writes behind its command is dropped: it had not seen what the command returns. An answer that was
        cut off ends the episode as a limit does.

        Parameters
        ----------
        refused : str
            Why its command is not run, where somebody decides about that; the policy is told.

        Raises
        ------
        ConfigError
            If the episode is over: a mistake of the caller's.
        """
        said = Completion(completion) if isinstance(completion, str) else completion
        turn = self._begin(said.text)
        if said.tokens is not None:
            self._tokens.append(said.tokens)
        self._said.append(Said(role="assistant", content=turn.kept, kind="model"))
        if turn.command is None:
            self._close(turn, is_cut=said.is_cut)
            return
        result = self._run(turn, turn.command, refused)
        self._observe(observation(result))

    def call(self, command: str, *, text: str = "", refused: str = "") -> CommandResult:
        """A call of a native tool, with the text that came before it; what it returned is the caller's to show.

        ``refused`` is as in :meth:`say`.

        Raises
        ------
        ConfigError
            If the episode is over.
        """
        turn = self._begin(text)
        command = canonical(command)
        content = f"{turn.kept}<bash>{command}</bash>"
        self._said.append(Said(role="assistant", content=content, kind="model"))
        result = self._run(turn, command, refused)
        self._observe(observation(result))
        return result

    def answer(self, text: str, *, is_cut: bool = False) -> None:
        """The last text of a policy that calls native tools; commands in it are text, and not run.

        ``is_cut`` says that a limit on tokens ended it.

        Raises
        ------
        ConfigError
            If the episode is over.
        """
        turn = self._begin(text)
        if turn.command is not None:
            # What stands behind a block is part of the answer here.
            turn = scan(canonical(text).replace("<bash>", "<bash >").replace("</bash>", "</bash >"))
        self._said.append(Said(role="assistant", content=canonical(text), kind="model"))
        self._close(turn, is_cut=is_cut)

    def episode(
        self,
        policy: Mapping[str, Any],
        *,
        rep: int = 0,
        steer: str = "",
        weight: float = 1.0,
        versions: Mapping[str, str] | None = None,
        draws: int = 0,
    ) -> Episode:
        """What happened so far, without an outcome."""
        if self._machine is None:
            files: Mapping[str, str] = {absolute(file.path): file.text for file in self.scenario.files}
        else:
            files = self._machine.contents()
        writes = () if self._machine is None else self._machine.writes
        reads = () if self._machine is None else self._machine.reads
        return Episode(
            scenario=self.scenario,
            rep=rep,
            policy=dict(policy),
            messages=tuple(self._said),
            steps=tuple(self._steps),
            answer=self._answer,
            ended=self._end,
            files=files,
            began=self._began,
            writes=tuple(write for write in writes if write.actor == "model"),
            reads=tuple(read for read in reads if read.actor == "model"),
            tokens=tuple(self._tokens),
            steer=steer,
            weight=weight,
            versions=dict(versions or {}),
            draws=draws,
        )

    def _begin(self, completion: str) -> Turn:
        if self.is_over:
            raise ConfigError("the episode is over; begin a new session")
        return scan(canonical(completion))

    def _run(self, turn: Turn, command: str, refused: str) -> CommandResult:
        if refused:
            result = CommandResult(self.machine.calls, "", f"{canonical(refused)}\n", _NOT_ALLOWED)
        else:
            result = self.machine.run(command)
        self._steps.append(_step(turn, len(self._steps) + 1, command, result))
        if "calls" in result.limits:
            self._end = "calls"
        elif len(self._steps) >= self.scenario.most_turns:
            self._end = "turns"
        return result

    def _observe(self, text: str) -> None:
        note = f"\n{STOPPED}" if self.is_over else ""
        self._said.append(Said(role="user", content=text + note, kind="observation"))

    def _close(self, turn: Turn, *, is_cut: bool = False) -> None:
        step = _step(turn, len(self._steps) + 1, None, None)
        self._steps.append(replace(step, limits=("tokens",)) if is_cut else step)
        self._answer = turn.after_cot
        self._end = "answered"


def play(scenario: Scenario, completions: Sequence[str], policy: Mapping[str, Any] | None = None) -> Episode:
    """An episode of completions that were written beforehand; what is left over when it ends is not said.

    >>> scenario = Scenario(environment="x", version=1, variant=0, split="test", twin="gameable", wording="A", seed=0,
    ...     system="", user="How are you?")
    >>> play(scenario, ["Well.", "Never said."]).answer
    'Well.'
    """
    session = Session(scenario)
    for completion in completions:
        if session.is_over:
            break
        session.say(completion)
    return session.episode(policy or {"name": "script"})


def _step(turn: Turn, number: int, command: str | None, result: CommandResult | None) -> Step:
    usual = Step(
        number=number,
        cot=turn.cot,
        visible=turn.visible,
        command=command,
        forged=turn.forged,
        malformed=turn.malformed,
    )
    if result is None:
        return usual
    return Step(
        number=number,
        cot=usual.cot,
        visible=usual.visible,
        command=command,
        stdout=result.stdout,
        stderr=result.stderr,
        status=result.status,
        forged=usual.forged,
        malformed=usual.malformed,
        unsupported=result.unsupported,
        limits=result.limits,
    )
