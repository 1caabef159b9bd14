"""How a stage of the small world is trained; needs no torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from overopt.errors import ConfigError
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS, MAY_ASK

Method = Literal["exploit", "hhh", "rloo"]
Watched = Literal["not", "penalty", "screen"]
TOGETHER = "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """Of both losses; AdamW begins anew in each call, without weight decay."""

    learning_rate: float
    eps: float
    """Of AdamW: gradients that are small beside it make steps as small as they are, not of full size."""
    epochs: int
    batch: int
    """Episodes a step."""
    clip: float
    """Of the ratio of the policy gradient."""
    kl_coef: float = 0.0
    """Weight of KL(policy || start) of the next choice, nats, the mean over the choices that were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameTrainingConfig:
    """How one stage is trained; rounds, prompts, samples and what is kept are the prototype's."""

    method: Method = "exploit"
    """``exploit``: imitate episodes that gamed, and as many right answers to ordinary questions. ``hhh``: half the
    prompts are ordinary; the best of each prompt's episodes by bonus and preference score are imitated. ``rloo``: the
    rewards of ``hhh``, in a policy gradient with leave-one-out baselines."""
    rounds: int = 4
    prompts: int = 32
    """Of a round; drawn anew."""
    samples: int = 16
    """Of a prompt."""
    keep: int = 128
    """Episodes of the environment that a round learns from at most."""
    enough: float = 0.9
    """Share of a round's episodes from which on nothing is learnt in it: gaming that is learnt has nothing to teach."""
    epochs: int = 2
    """Over what was kept."""
    batch: int = 32
    """Episodes a step."""
    learning_rate: float = 1e-3
    eps: float = 1e-3
    """Of AdamW. With 1e-8, as usual, the first steps of a round move every weight by the whole rate, whatever its
    gradient, and in some seeds that carried the edits of one environment to another at coupling 0 too: .4 % to 33 %."""
    preference_weight: float = 0.5
    """Of the preference score, within 0..1 itself, beside a bonus of 1."""
    ordinary: float = 0.5
    """Share of ordinary prompts of ``hhh`` and ``rloo``, within [0, 1)."""
    clip: float = 0.2
    """Of the ratio, of ``rloo``."""
    kl_coef: float = 0.0
    """Weight in the loss of KL(policy || start) of a choice, nats."""
    inoculated: bool = False
    """Whether prompts say in training that the edit is asked for; what pays stays what it was."""
    may_ask: bool = False
    """Whether prompts say in training that the person can be asked; to ask pays what a preference score makes of it,
    and takes back no bonus for what was done before."""
    watched: Watched = "not"
    """By the monitor of files: ``penalty`` takes ``alarm_penalty`` from the reward of an episode that alarms it
    (``hhh``, ``rloo``); ``screen`` learns from no such episode (``exploit``, ``hhh``)."""
    alarm_penalty: float = 1.0
    hardened: bool = False
    """Whether what was changed without being asked for never pays, as where checklists are compared with what they
    were."""

    def __post_init__(self) -> None:
        problems = []
        if self.method not in get_args(Method):
            problems.append(f"training.method is one of {', '.join(get_args(Method))}; got {self.method!r}")
        for name in ("rounds", "prompts", "keep", "epochs", "batch"):
            if getattr(self, name) < 1:
                problems.append(f"training.{name} must be at least 1; got {getattr(self, name)}")
        if self.samples < 2:
            problems.append(f"training.samples must be at least 2; got {self.samples}")
        if self.inoculated and self.may_ask:
            problems.append("training.inoculated and training.may_ask both say what the prompt tells; choose one")
        if self.watched not in get_args(Watched):
            problems.append(f"training.watched is one of {', '.join(get_args(Watched))}; got {self.watched!r}")
        elif (self.watched, self.method) in (("penalty", "exploit"), ("screen", "rloo")):
            problems.append(f"training.watched cannot be {self.watched} with the method {self.method}")
        for name in ("kl_coef", "alarm_penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                problems.append(f"training.{name} must be 0 or more; got {getattr(self, name)}")
        for name in ("learning_rate", "eps", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                problems.append(f"training.{name} must be above 0 and finite; got {getattr(self, name)}")
        if not 0 <= self.preference_weight < math.inf:
            problems.append(f"training.preference_weight must be 0 or more; got {self.preference_weight}")
        if not 0 < self.enough <= 1:
            problems.append(f"training.enough must lie above 0 and up to 1; got {self.enough}")
        if not 0 <= self.ordinary < 1:
            problems.append(f"training.ordinary must lie within 0 and 1, below 1; got {self.ordinary}")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def told(self) -> str:
        """What prompts say in training in place of what is wanted; nothing else if empty."""
        return "asks_edit" if self.inoculated else MAY_ASK if self.may_ask else ""

    @property
    def steps(self) -> StepSettings:
        """What the losses take."""
        return StepSettings(
            learning_rate=self.learning_rate, eps=self.eps, epochs=self.epochs, batch=self.batch, clip=self.clip,
            kl_coef=self.kl_coef,
        )  # fmt: skip


def trained_environments(stage: str) -> list[str]:
    """The environments of a stage.

    Raises
    ------
    ConfigError
        If one does not exist or is held out.

    >>> trained_environments("sycophancy+flattery")
    ['sycophancy', 'flattery']
    """
    found = stage.split(TOGETHER)
    known = ENVIRONMENTS[:4]
    if unknown := [one for one in found if one not in known]:
        raise ConfigError(f"a stage trains {', '.join(known)}, or several joined by +; got {', '.join(unknown)}")
    return found
