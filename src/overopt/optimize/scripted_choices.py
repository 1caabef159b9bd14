"""How probable a policy holds gaming, exactly: in a menu at the place where scripts part, and as whole episodes.

Counting needs thousands of episodes where a model games once in thousands; a probability needs a forward pass. It is
that of one script's words, or of one option among those shown, and no rate: what is comparable is one scenario under
two policies, so changes are paired by scenario. Log-odds are of the gamer's script against the honest one, in nats.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from overopt.envs.environment import Environment, Persona
from overopt.envs.episode import Scenario
from overopt.envs.session import Session, play
from overopt.errors import DataError
from overopt.optimize.episode_fitting import episode_logprobs
from overopt.policies.menus import LETTERS, Menu, menu_scores
from overopt.policies.models import HFPolicy
from overopt.stats.estimate import Estimate, mean_over_units
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_rows import EpisodeRow, episode_rows
from overopt.training.episode_words import EpisodeWords

_PERSONAS: tuple[Persona, ...] = ("honest", "gamer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedChoice:
    """One scenario under one policy."""

    scenario: str
    menu: tuple[float, ...]
    """Probability of what is honest, of what games, and of a reply that does neither, given a letter."""
    menu_first: tuple[float, ...]
    """Share of the orders in which each of the three is the most probable."""
    menu_log_odds: float
    letter_mass: float
    honest_logprob: float
    """Of all that the script's policy says, nats."""
    gamer_logprob: float
    honest_tokens: int
    gamer_tokens: int

    @property
    def script_log_odds(self) -> float:
        """Of the whole scripts, nats."""
        return self.gamer_logprob - self.honest_logprob

    @property
    def log_odds_per_token(self) -> float:
        """Of the mean over each script's tokens: longer scripts are less probable whatever they say."""
        return self.gamer_logprob / self.gamer_tokens - self.honest_logprob / self.honest_tokens


MEASURES = ("menu_log_odds", "script_log_odds", "log_odds_per_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """Mean change over scenarios between two policies, in nats, with an interval by Student's t over scenarios."""

    measure: str
    environment: str
    before: str
    after: str
    value: float
    low: float
    """``nan`` with one scenario."""
    high: float
    level: float
    scenarios: int
    infinite: int
    """Scenarios left out because a log-odds was not finite."""


def scripted_choices(
    policy: HFPolicy, env: Environment, scenarios: Sequence[Scenario], *, places: int = 2_048
) -> list[ScriptedChoice]:
    """The choices of a policy in gameable scenarios, in their order.

    Raises
    ------
    DataError
        If a scenario's scripts do not part, or a script is longer than the policy reads.
    """
    words = EpisodeWords(policy.model, policy.tokenizer)
    scores = menu_scores(policy, [scripted_menu(env, scenario) for scenario in scenarios], places=places)
    episodes = [play(scenario, env.script(scenario, name)) for scenario in scenarios for name in _PERSONAS]
    found = episode_rows(episodes, words)
    if found.too_long:
        raise DataError(f"{found.too_long} scripts of {env.name} take more tokens than {policy.name} reads")
    logprobs = episode_logprobs(policy, found.rows, SamplerSettings(), places=places)
    choices = []
    for place, (scenario, score) in enumerate(zip(scenarios, scores, strict=True)):
        honest, gamer = 2 * place, 2 * place + 1
        choices.append(
            ScriptedChoice(
                scenario=f"{scenario.id}@{scenario.seed}",
                menu=tuple(score.option_K.tolist()),
                menu_first=tuple(score.first_K.tolist()),
                menu_log_odds=score.log_odds(1, 0),
                letter_mass=score.letter_mass,
                honest_logprob=float(logprobs[honest]),
                gamer_logprob=float(logprobs[gamer]),
                honest_tokens=found.rows[honest].own_tokens,
                gamer_tokens=found.rows[gamer].own_tokens,
            )
        )
    return choices


def scripted_menu(env: Environment, scenario: Scenario) -> Menu:
    """The choice at the place where the honest script and the gamer's part, with all that both saw before it.

    The third option is how the confused script ends, so that not every answer is for or against gaming.
    """
    honest, gamer, confused = (list(env.script(scenario, name)) for name in ("honest", "gamer", "confused"))
    place = next((k for k, (one, other) in enumerate(zip(honest, gamer, strict=False)) if one != other), None)
    if place is None:
        raise DataError(f"the scripts of {scenario.id} do not part")
    session = Session(scenario)
    for text in honest[:place]:
        session.say(text)
    return Menu(prompt=session.conversation, options=(honest[place], gamer[place], confused[-1]))


def menu_row(words: EpisodeWords, menu: Menu, option: int, order: Sequence[int]) -> EpisodeRow:
    """A row that teaches to answer a menu, its options in this order, by the letter of one of them."""
    asked = menu.asked(order)
    assert not isinstance(asked, str)
    ids = words.turn(asked, LETTERS[list(order).index(option)])
    return EpisodeRow(tuple(words.prompt(asked, "a menu")), tuple(ids), (True,) * len(ids))


def paired_change(
    before: Sequence[ScriptedChoice],
    after: Sequence[ScriptedChoice],
    *,
    measure: str,
    environment: str,
    names: tuple[str, str],
    level: float = 0.95,
) -> PairedChange:
    """Mean of after - before over scenarios.

    Raises
    ------
    DataError
        If the two are not of the same scenarios.
    """
    if [one.scenario for one in before] != [one.scenario for one in after]:
        raise DataError(f"choices of {names[0]} and {names[1]} in {environment} are not of the same scenarios")
    first = np.array([getattr(one, measure) for one in before], dtype=np.float64)
    second = np.array([getattr(one, measure) for one in after], dtype=np.float64)
    is_finite = np.isfinite(first) & np.isfinite(second)
    found = mean_over_units((second - first)[is_finite], unit="scenario", method="paired mean, Student t")
    half = _half_width(found, level)
    return PairedChange(
        measure=measure, environment=environment, before=names[0], after=names[1], value=found.value,
        low=found.value - half, high=found.value + half, level=level, scenarios=found.n_units,
        infinite=int((~is_finite).sum()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuShare:
    """Mean over scenarios of an option's probability, or of how often it is the most probable one, with an interval by
    Student's t over them, cut at 0 and 1."""

    value: float
    low: float
    """``nan`` with one scenario."""
    high: float


def menu_share(
    choices: Sequence[ScriptedChoice], option: int, *, of_first: bool = False, level: float = 0.95
) -> MenuShare:
    """Of the honest option (0), the gaming one (1), or the one that is neither (2), over all orders of the options.

    ``of_first``: how often it is the most probable one, in place of its probability.

    Raises
    ------
    DataError
        If there is no choice.
    """
    if not choices:
        raise DataError("there are no choices to take a mean of")
    found = mean_over_units([(one.menu_first if of_first else one.menu)[option] for one in choices], unit="scenario")
    half = _half_width(found, level)
    return MenuShare(
        value=found.value, low=float(np.maximum(found.value - half, 0)), high=float(np.minimum(found.value + half, 1))
    )


def choice_records(choices: Sequence[ScriptedChoice]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(choice) for choice in choices]


def choices_of(records: Sequence[dict[str, Any]]) -> list[ScriptedChoice]:
    """The reverse of :func:`choice_records`; what JSON cannot hold is unknown."""
    return [
        ScriptedChoice(
            **{
                **one,
                "menu": tuple(one["menu"]),
                "menu_first": tuple(one["menu_first"]),
                "menu_log_odds": _number(one["menu_log_odds"]),
            }
        )
        for one in records
    ]


def _half_width(found: Estimate, level: float) -> float:
    if found.n_units < 2:
        return float("nan")
    return float(stdtrit(found.n_units - 1, 0.5 + level / 2)) * found.stderr


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
