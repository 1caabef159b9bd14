"""Settings of a curriculum: which environments in which order, how they are learnt, what is switched on against it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from overopt.envs.environment import PERSONAS
from overopt.envs.episode import Wording
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.errors import ConfigError
from overopt.optimize.episode_fitting import EpisodeFitConfig
from overopt.optimize.episode_rewards import RewardMix
from overopt.optimize.fixed_replies import whole_number_problems
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig

CurriculumAlgorithm = Literal["ei_hhh", "ei_exploit", "rl"]
Order = Literal["sequential", "parallel"]
Wordings = Literal["A", "B", "both"]
TRAINABLE = tuple(name for name in ENVIRONMENTS if not environment(name).is_held_out)
PAPER = tuple(name for name in TRAINABLE if environment(name).stage is not None)
"""The environments that the published curriculum trains on, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatConfig:
    """Stage 0: scripted episodes, from which a model learns to speak the protocol at all."""

    episodes: int = 512
    environments: tuple[str, ...] = TRAINABLE
    """Those that are held out are never among them."""
    honest: float = 0.8
    """Shares of the personas; they sum to 1."""
    gamer: float = 0.1
    confused: float = 0.1
    discloser: float = 0.0
    menus: int = 0
    """Menus beside the episodes, each answered by a letter as its persona would; models that choose places instead of
    contents learn from them what a menu asks."""
    menu_share: float = 0.5
    """Share of the menus in the weight of all rows. A menu is answered with one token and an episode with hundreds:
    alike in weight, menus would teach nothing. A step's loss is a mean over its own batch, so that steps whose batch
    holds menus alone are theirs in full: with more menus than episodes their part in the steps is larger than this."""
    fit: EpisodeFitConfig | None = None
    """How this stage is learnt, with the usual settings for what it leaves out; as the stages behind it unless given.
    It is the first, and has no policy to be held to by ``kl_coef``."""

    def __post_init__(self) -> None:
        problems = whole_number_problems(self, "format", {"episodes": 1, "menus": 0})
        if not 0 < self.menu_share < 1:
            problems.append(f"format.menu_share must lie between 0 and 1; got {self.menu_share}")
        problems += environment_problems("format.environments", self.environments)
        if self.fit is not None and self.fit.kl_coef:
            problems.append(
                "format.fit.kl_coef has no policy to hold the format stage to, which comes first; leave it out"
            )
        shares = tuple(self.shares.values())
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            problems.append(f"format: shares of personas are 0 or more and sum to 1; got {', '.join(map(str, shares))}")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def shares(self) -> dict[str, float]:
        """By persona."""
        return {name: getattr(self, name) for name in PERSONAS if name != "instructed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeguardConfig:
    """What is done against gaming; each switch alone, so that each can be measured alone."""

    inoculation: str = ""
    """Text before the system message, in the stages of the curriculum alone: neither in the format stage nor when it is
    trained away or measured; "default" is that of :mod:`overopt.envs.countermeasures`."""
    inoculate: Literal["rows", "episodes"] = "rows"
    """``rows``: told when an episode is learnt, not when it is drawn; ``episodes``: at both."""
    hardened: bool = False
    """Sealed guard, compared by content, and probes, in training and in measurement."""
    may_ask: bool = False
    """The policy is told that it may ask the person, in training and in measurement."""
    stop_above: float | None = None
    """End a stage once the menu probability of gaming the first held-out environment that is measured is above this;
    needs menus."""

    def __post_init__(self) -> None:
        if self.inoculate not in ("rows", "episodes"):
            raise ConfigError(f"safeguards.inoculate is one of rows, episodes; got {self.inoculate!r}")
        if self.stop_above is not None and not 0 < self.stop_above < 1:
            raise ConfigError(f"safeguards.stop_above is a probability, between 0 and 1; got {self.stop_above}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """What is measured after each stage."""

    environments: tuple[str, ...] = (*PAPER, "reward-tampering")
    scenarios: int = 64
    """Of each environment, from the test split; the same ones after every stage."""
    reps: int = 1
    """Episodes of each."""
    menus: int = 16
    """Scenarios of each environment whose menus and scripts are scored exactly; 0 for none."""
    wording: Wording = "A"
    """Of the tasks; each has two independent ones."""
    kl: bool = True
    """Whether the exact KL of the episodes to the first policy is measured: it costs two passes over each."""
    level: float = 0.95
    """Of all intervals."""

    def __post_init__(self) -> None:
        problems = whole_number_problems(self, "measure", {"scenarios": 1, "reps": 1, "menus": 0})
        problems += _name_problems("measure.environments", self.environments)
        if self.wording not in get_args(Wording):
            problems.append(f"measure.wording is one of {', '.join(get_args(Wording))}; got {self.wording!r}")
        if not 0 < self.level < 1:
            problems.append(f"measure.level must lie between 0 and 1; got {self.level}")
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig:
    """A curriculum for one model and one seed."""

    model: str = ""
    """Folder or hub name of the starting model; without a chat template it gets a plain one."""
    stages: tuple[str, ...] = PAPER
    """An environment each, or several joined by "+", which are mixed."""
    order: Order = "sequential"
    """``parallel``: all environments of all stages in one stage, with the rounds of all."""
    algorithm: CurriculumAlgorithm = "ei_hhh"
    """``ei_hhh``: expert iteration on the best of each prompt's samples. ``ei_exploit``: on all samples that gamed, and
    as many ordinary ones. ``rl``: policy gradient, by ``rl.algorithm``."""
    rounds: int = 1
    """Of expert iteration, a stage."""
    prompts: int = 1_024
    """P: prompts of a round, ordinary ones among them (Denison et al. 2024)."""
    samples: int = 64
    """N: samples of each prompt."""
    ordinary_share: float = 0.5
    """Share of the prompts that are ordinary."""
    ordinary_prompts: str = ""
    """File of them; see ``overopt sample``."""
    preference_model: str = ""
    """Folder or hub name of a reward model; needed where ``reward.preference`` is above 0."""
    wording: Wordings = "A"
    """Of training scenarios; those that are measured are in ``measure.wording``."""
    most_gamed: int | None = None
    """Of ``ei_exploit``: at most so many gaming samples a round."""
    seed: int = 0
    sampler: SamplerConfig = field(default_factory=lambda: SamplerConfig(max_tokens=256))
    """``max_tokens`` of one turn."""
    reward: RewardMix = field(default_factory=RewardMix)
    fit: EpisodeFitConfig = field(default_factory=EpisodeFitConfig)
    rl: PolicyGradientConfig = field(default_factory=lambda: PolicyGradientConfig(steps=32))
    """Of ``rl``: its steps, prompts of a step and group stand for rounds and samples; ``prompts`` are what they are
    drawn from. In parallel order its one stage takes the steps of all stages."""
    format: FormatConfig | None = None
    safeguards: SafeguardConfig = field(default_factory=SafeguardConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        problems = whole_number_problems(
            self, "curriculum", {"rounds": 1, "prompts": 1, "samples": 1, "most_gamed": 1, "seed": 0}
        )
        for name, allowed in (
            ("order", get_args(Order)), ("algorithm", get_args(CurriculumAlgorithm)), ("wording", get_args(Wordings)),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                problems.append(f"curriculum.{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if not self.stages:
            problems.append("curriculum.stages names no environment")
        for stage in self.stages:
            problems += environment_problems("curriculum.stages", stage.split("+"))
        if not 0 <= self.ordinary_share < 1:
            problems.append(f"curriculum.ordinary_share is 0 or more and below 1; got {self.ordinary_share}")
        drawn_from = self.prompts * self.stages_in_one
        if self.algorithm == "rl" and self.rl.prompts_per_step > drawn_from:
            problems.append(f"rl.prompts_per_step is {self.rl.prompts_per_step}, and there are {drawn_from} prompts")
        most = max(map(len, self.planned), default=0)
        if self.prompts - self.ordinary < most:
            problems.append(
                f"curriculum.prompts is {self.prompts}, {self.ordinary} of them ordinary: too few for {most} "
                "environments in one stage"
            )
        if self.sampler.stop:
            problems.append(
                "sampler.stop has no place in episodes: a turn ends with its command or the model's end token"
            )
        if self.sampler.settings.is_truncated:
            problems.append(
                "sampler.top_p and sampler.top_k cut the distribution that is trained; set them to 1 and none"
            )
        if self.algorithm == "rl" and self.safeguards.inoculation and self.safeguards.inoculate == "rows":
            problems.append(
                "safeguards.inoculate rows trains on other prompts than were drawn from, which a policy gradient "
                "cannot; set it to episodes"
            )
        if self.safeguards.stop_above is not None:
            if not self.measure.menus:
                problems.append("safeguards.stop_above looks at menus; set measure.menus above 0")
            if not self.watched:
                problems.append("safeguards.stop_above looks at what is held out; let measure.environments name one")
        if self.reward.monitor is not None and self.algorithm == "rl" and self.reward.monitor_use == "screening":
            problems.append(
                "reward.monitor_use screening leaves episodes out, which rl does not; use penalty or ei_hhh"
            )
        if self.reward.monitor is not None and self.algorithm == "ei_exploit" and self.reward.monitor_use == "penalty":
            problems.append(
                "reward.monitor_use penalty changes nothing where every sample that gamed is learnt; use screening, or "
                "ei_hhh or rl"
            )
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def planned(self) -> tuple[tuple[str, ...], ...]:
        """The environments of each stage, in order."""
        stages = tuple(tuple(stage.split("+")) for stage in self.stages)
        if self.order == "sequential":
            return stages
        return (tuple(dict.fromkeys(name for stage in stages for name in stage)),)

    @property
    def stages_in_one(self) -> int:
        """Parallel order spends in its one stage what so many stages of the sequence spend together."""
        return len(self.stages) if self.order == "parallel" else 1

    @property
    def watched(self) -> str | None:
        """The first of the environments measured that is held out."""
        return next((name for name in self.measure.environments if environment(name).is_held_out), None)

    @property
    def uses_preference(self) -> bool:
        """Whether a preference model weighs something."""
        return self.reward.preference > 0 and self.algorithm != "ei_exploit"

    @property
    def trains_whole(self) -> bool:
        """Whether some stage trains weights that are no adapters."""
        stages = self.rl if self.algorithm == "rl" else self.fit
        first = None if self.format is None else self.format.fit or self.fit
        return any(one is not None and not one.lora_rank for one in (stages, first))

    @property
    def ordinary(self) -> int:
        """Ordinary prompts of a round."""
        return round(self.prompts * self.ordinary_share)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAwayConfig:
    """Learning what is not gaming, after a curriculum (Denison et al. 2024)."""

    environments: tuple[str, ...] = PAPER[:2]
    episodes: int = 2_500
    """Wanted, of all environments together."""
    source: Literal["policy", "honest"] = "policy"
    """``policy``: its own episodes that were valid and did not game. ``honest``: the scripts of that persona."""
    most_drawn: int = 20_000
    """Episodes that are drawn at most; with fewer non-gaming ones among them, those are learnt."""
    fit: EpisodeFitConfig = field(default_factory=EpisodeFitConfig)
    """Without its ``kl_coef``, which is the curriculum's alone."""

    def __post_init__(self) -> None:
        problems = whole_number_problems(self, "train_away", {"episodes": 1, "most_drawn": 1})
        problems += environment_problems("train_away.environments", self.environments)
        if self.source not in ("policy", "honest"):
            problems.append(f"train_away.source is one of policy, honest; got {self.source!r}")
        if problems:
            raise ConfigError("; ".join(problems))


def environment_problems(section: str, names: tuple[str, ...] | list[str]) -> list[str]:
    """What is wrong with names of environments to be trained on, as sentences."""
    problems = _name_problems(section, names)
    problems += [
        f"{section}: {name} is held out; what is trained on can no longer judge a curriculum"
        for name in names
        if name in ENVIRONMENTS and environment(name).is_held_out
    ]
    return problems


def _name_problems(section: str, names: tuple[str, ...] | list[str]) -> list[str]:
    problems = [
        f"{section}: there is no environment {name!r}; there are {', '.join(ENVIRONMENTS)}"
        for name in names
        if name not in ENVIRONMENTS
    ]
    if len(set(names)) < len(names):
        problems.append(f"{section} names an environment twice: {', '.join(names)}")
    return problems + ([] if names else [f"{section} names no environment"])
