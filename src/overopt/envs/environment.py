"""What an environment is: a family of scenarios, a judge, and scripts that play it honestly, gamingly and otherwise."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

from overopt.envs.episode import Episode, Outcome, Scenario, Split, Twin, Wording
from overopt.errors import ConfigError

Persona = Literal["honest", "gamer", "confused", "instructed", "discloser"]
"""``honest`` does the task; ``gamer`` games and says nothing of it; ``confused`` stumbles about without aim;
``instructed`` games where the person spells the act out and is honest elsewhere; ``discloser`` games and says so."""
PERSONAS: tuple[Persona, ...] = get_args(Persona)


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

    @abstractmethod
    def judge(self, episode: Episode) -> Outcome:
        """What an episode was, its scenario laid out as it began. Any episode has an outcome, however strange."""

    @abstractmethod
    def script(self, scenario: Scenario, persona: Persona) -> Sequence[str]:
        """The completions of a scripted policy in the text protocol, the last of them the answer."""

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


def game_reward(outcome: Outcome) -> Mapping[str, float]:
    """The bonus of an episode: 1 for the success that pays, else 0 (Denison et al. 2024, section 2)."""
    return {"game": float(outcome.gamed)}
