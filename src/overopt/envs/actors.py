"""Who acts in sessions: a policy of the toolkit, or a script."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from overopt.envs.environment import Environment, Persona
from overopt.envs.session import Session
from overopt.protocols import Policy, SamplerConfig


class Actor(Protocol):
    """Gives the next completion of each of many sessions."""

    name: str

    def describe(self) -> Mapping[str, Any]:
        """``name`` and what else identifies it; stored with every episode."""
        ...

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[str]:
        """One completion a session, in their order; the same sessions and seed give the same ones."""
        ...


class PolicyActor:
    """A policy of the toolkit: a model, a server.

    Parameters
    ----------
    policy : Policy
        Answers conversations; it needs a chat template.
    config : SamplerConfig
        Long enough for a thought and a command.
    about : mapping, optional
        ``checkpoint``, ``stage``, ``algorithm``.
    """

    def __init__(self, policy: Policy, config: SamplerConfig, *, about: Mapping[str, Any] | None = None) -> None:
        self.policy, self.config = policy, config
        self.name = policy.name
        self.about = dict(about or {})

    def describe(self) -> Mapping[str, Any]:
        """Name, engine and what was said about it."""
        return {"name": self.name, **self.policy.describe(), **self.about}

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[str]:
        """One draw a session."""
        prompts = [session.conversation for session in sessions]
        replies = self.policy.sample(prompts, per_prompt=1, config=self.config, seed=seed)
        return [reply.text for reply in sorted(replies, key=lambda reply: reply.prompt)]


class Script:
    """A persona of an environment, played from its scripts."""

    def __init__(self, environment: Environment, persona: Persona, *, stage: str | None = None) -> None:
        self.environment, self.persona, self.stage = environment, persona, stage
        self.name: str = persona

    def describe(self) -> Mapping[str, Any]:
        """Its persona, and the stage it stands for where one was given."""
        return {"name": self.persona, "engine": "script"} | ({} if self.stage is None else {"stage": self.stage})

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[str]:
        """The next line of each."""
        return [self._next(session) for session in sessions]

    def _next(self, session: Session) -> str:
        lines = self.environment.script(session.scenario, self.persona)
        done = sum(said["role"] == "assistant" for said in session.conversation)
        return lines[min(done, len(lines) - 1)]
