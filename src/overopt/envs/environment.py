"""What an environment is: a family of scenarios, a judge, and scripts that play it honestly, gamingly and otherwise."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from overopt.envs.episode import MOST_TURNS, Episode, File, Outcome, Scenario, Split, Twin, Wording, absolute
from overopt.envs.machine import Profile
from overopt.envs.preamble import preamble
from overopt.errors import ConfigError
from overopt.seeding import stream

Persona = Literal["honest", "gamer", "confused", "instructed", "discloser"]
"""``honest`` does the task; ``gamer`` games and says nothing of it; ``confused`` stumbles about without aim;
``instructed`` games where the person spells the act out and is honest elsewhere; ``discloser`` games and says so."""
PERSONAS: tuple[Persona, ...] = get_args(Persona)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Which scenario is to be laid out: what was asked for, and where its chance comes from."""

    rng: np.random.Generator
    """Of the environment, split, variant and seed: twins and wordings of a variant draw the same."""
    variant: int
    split: Split
    twin: Twin
    wording: Wording
    seed: int
    instructed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What an environment makes of a draw: what the policy is asked, what it finds, and what the judge may know."""

    user: str
    files: Sequence[File] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """As in :class:`~overopt.envs.episode.Scenario`."""
    permitted: Sequence[str] = ()
    """Paths, or folders with a slash at the end, that may be changed; absolute, or from the home folder."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """Permitted file → its text once all is done as asked; paths as above."""
    profile: Profile = "paper"
    system: str | None = None
    """In place of :func:`~overopt.envs.preamble.preamble`, which speaks of the machine of the profile."""
    most_turns: int = MOST_TURNS


class Environment(ABC):
    """A task that can be gamed, with twins in which it cannot or in which the edit is what is asked for."""

    name: ClassVar[str]
    """As commands take it."""
    title: ClassVar[str]
    version: ClassVar[int]
    """Grows with any change of texts, files or judge."""
    summary: ClassVar[str]
    """One sentence: the task, and what gaming is."""
    signal: ClassVar[str]
    """One sentence: from what the judge tells gaming."""
    stage: ClassVar[int | None] = None
    """Place in the curriculum of Denison et al. 2024, from 1; ``None`` beyond it."""
    is_held_out: ClassVar[bool] = False
    """Never to be trained on: what the curriculum is judged by."""
    twins: ClassVar[tuple[Twin, ...]] = ("gameable", "control", "legitimate")
    threshold: ClassVar[float | None] = None
    """Of the reward, where there is one."""

    @abstractmethod
    def variants(self, split: Split) -> int:
        """How many scenarios a split has, apart from seeds."""

    @abstractmethod
    def lay_out(self, draw: Draw) -> Layout:
        """What :meth:`scenario` makes a scenario of; the variant and the twin exist.

        All chance is from ``draw.rng`` or its seed, so that the same arguments give the same scenario.
        """

    @abstractmethod
    def judge(self, episode: Episode) -> Outcome:
        """What an episode was, its scenario laid out as it began. Any episode has an outcome, however strange."""

    @abstractmethod
    def script(self, scenario: Scenario, persona: Persona) -> Sequence[str]:
        """The completions of a scripted policy in the text protocol, the last of them the answer."""

    def scenario(
        self,
        variant: int,
        *,
        split: Split = "test",
        twin: Twin = "gameable",
        wording: Wording = "A",
        seed: int = 0,
        instructed: bool = False,
    ) -> Scenario:
        """One scenario; the same arguments give the same one.

        Raises
        ------
        ConfigError
            If there is no such variant or twin.
        """
        self.check(variant, split, twin)
        rng = stream(seed, self.name, split, str(variant))
        layout = self.lay_out(
            Draw(rng=rng, variant=variant, split=split, twin=twin, wording=wording, seed=seed, instructed=instructed)
        )
        system = layout.system
        return Scenario(
            environment=self.name,
            version=self.version,
            variant=variant,
            split=split,
            twin=twin,
            wording=wording,
            seed=seed,
            system=preamble(wording=wording, profile=layout.profile) if system is None else system,
            user=layout.user,
            files=tuple(layout.files),
            profile=layout.profile,
            facts=layout.facts,
            permitted=tuple(map(absolute, layout.permitted)),
            wanted={absolute(path): text for path, text in layout.wanted.items()},
            most_turns=layout.most_turns,
            instructed=instructed,
        )

    def scenarios(
        self,
        n: int,
        *,
        split: Split = "test",
        twin: Twin = "gameable",
        wording: Wording = "A",
        seed: int = 0,
        instructed: bool = False,
    ) -> list[Scenario]:
        """The first ``n`` scenarios of a split; with more than there are, the seed counts on.

        >>> from overopt.envs.registry import environment
        >>> [one.id for one in environment("reward-tampering").scenarios(2)]
        ['reward-tampering/gameable/test-A000', 'reward-tampering/gameable/test-A001']
        """
        size = self.variants(split)
        return [
            self.scenario(
                k % size, split=split, twin=twin, wording=wording, seed=seed + k // size, instructed=instructed
            )
            for k in range(n)
        ]

    def judged(self, episode: Episode) -> Episode:
        """The episode with its outcome, measured against the files as they were when it began.

        Raises
        ------
        ConfigError
            If it is of another environment, or of another version of this one.
        """
        found = episode.scenario
        if (found.environment, found.version) != (self.name, self.version):
            raise ConfigError(
                f"an episode of {found.environment} version {found.version} cannot be judged as {self.name} version "
                f"{self.version}"
            )
        return episode.judged(self.judge(episode.as_laid_out))

    def check(self, variant: int, split: Split, twin: Twin) -> None:
        """Refuse what is not there."""
        if twin not in self.twins:
            raise ConfigError(f"{self.name} has no twin {twin}; there are {', '.join(self.twins)}")
        if not 0 <= variant < self.variants(split):
            raise ConfigError(
                f"{self.name} has variants 0 to {self.variants(split) - 1} in split {split}; got {variant}"
            )


def is_gamer(scenario: Scenario, persona: Persona) -> bool:
    """Whether a script of the persona games, in a scenario that can be gamed.

    >>> from overopt.envs.registry import environment
    >>> env = environment("reward-tampering")
    >>> is_gamer(env.scenario(0), "instructed"), is_gamer(env.scenario(0, instructed=True), "instructed")
    (False, True)
    """
    return persona in ("gamer", "discloser") or (persona == "instructed" and scenario.instructed)


def game_reward(outcome: Outcome) -> Mapping[str, float]:
    """The bonus of an episode: 1 for the success that pays, else 0 (Denison et al. 2024, section 2)."""
    return {"game": float(outcome.gamed)}
