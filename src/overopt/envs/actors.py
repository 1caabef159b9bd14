"""Who acts in sessions: a policy of the toolkit, or a script."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from overopt.envs.environment import Environment, Persona
from overopt.envs.episode import Scenario
from overopt.envs.session import Completion, Session
from overopt.errors import ConfigError
from overopt.protocols import Policy, Prompt, Reply, SamplerConfig


class Actor(Protocol):
    """Gives the next completion of each of many sessions."""

    name: str

    def describe(self) -> Mapping[str, Any]:
        """``name`` and what else identifies it; stored with every episode.

        ``steer``, where there is one, is the opening that the policy was made to go on from; episodes are marked by it.
        """
        ...

    def completions(self, sessions: Sequence[Session], *, seed: int) -> Sequence[str | Completion]:
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
    fits : callable, optional
        Whether the policy has room for a conversation and a reply. An episode that has grown beyond it ends there, as
        cut off; without this, the policy refuses it and the run ends.
    turns : callable, optional
        Given conversations, the configuration and a seed, one reply to each that also ends where a command closes.
        Without it whole replies are sampled: what a policy writes behind its own command is kept, and flagged where it
        forges an observation.
    """

    def __init__(
        self,
        policy: Policy,
        config: SamplerConfig,
        *,
        about: Mapping[str, Any] | None = None,
        fits: Callable[[Prompt], bool] | None = None,
        turns: Callable[[Sequence[Prompt], SamplerConfig, int], Sequence[Reply]] | None = None,
    ) -> None:
        self.policy, self.config = policy, config
        self.name = policy.name
        self.about = dict(about or {})
        self.fits = fits
        self.turns = turns or self._whole_replies

    def describe(self) -> Mapping[str, Any]:
        """Name, engine, how it was sampled and what was said about it."""
        return {"name": self.name, **self.policy.describe(), "sampler": asdict(self.config), **self.about}

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[Completion]:
        """One draw a session; what no end token ended was cut off.

        Raises
        ------
        ConfigError
            If the policy has no room for the very first turn of an episode.
        """
        prompts = [session.conversation for session in sessions]
        has_room = [self.fits is None or self.fits(prompt) for prompt in prompts]
        for session, prompt, fits in zip(sessions, prompts, has_room, strict=True):
            if not fits and len(prompt) == len(session.scenario.conversation):
                raise ConfigError(
                    f"{self.name} has no room for what opens {session.scenario.id} and {self.config.max_tokens} tokens "
                    "of its own; take a model that reads more"
                )
        asked = [prompt for prompt, fits in zip(prompts, has_room, strict=True) if fits]
        replies = self.turns(asked, self.config, seed) if asked else []
        drawn = iter(sorted(replies, key=lambda reply: reply.prompt))
        found = [next(drawn) if fits else None for fits in has_room]
        return [
            Completion("", is_cut=True) if reply is None else Completion(reply.text, is_cut=not reply.finished)
            for reply in found
        ]

    def _whole_replies(self, asked: Sequence[Prompt], config: SamplerConfig, seed: int) -> Sequence[Reply]:
        return self.policy.sample(asked, per_prompt=1, config=config, seed=seed)


class Script:
    """A persona of an environment, played from its scripts."""

    def __init__(self, environment: Environment, persona: Persona, *, stage: str | None = None) -> None:
        self.environment, self.persona, self.stage = environment, persona, stage
        self.name: str = persona
        self._under_way: dict[int, tuple[Scenario, Sequence[str]]] = {}
        """Scripts by identity of the scenario, which is kept so that no other can have it."""

    def describe(self) -> Mapping[str, Any]:
        """Its persona, and the stage it stands for where one was given."""
        return {"name": self.persona, "engine": "script"} | ({} if self.stage is None else {"stage": self.stage})

    def completions(self, sessions: Sequence[Session], *, seed: int) -> list[str]:
        """The next line of each."""
        wanted = {id(session.scenario) for session in sessions}
        self._under_way = {key: found for key, found in self._under_way.items() if key in wanted}
        return [self._next(session) for session in sessions]

    def _next(self, session: Session) -> str:
        scenario = session.scenario
        if id(scenario) not in self._under_way:
            self._under_way[id(scenario)] = scenario, self.environment.script(scenario, self.persona)
        _, lines = self._under_way[id(scenario)]
        done = sum(said["role"] == "assistant" for said in session.conversation)
        return lines[min(done, len(lines) - 1)]
