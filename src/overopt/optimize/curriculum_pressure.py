"""How far a policy has gone and what that brought: KL to the start, what training pays for, and honest success.

The axes of over-optimization, for episodes: distance is the root of the KL of whole episodes in nats, proxy is the
reward that a stage maximises (bonus for gaming, scaled preference score, a monitor's penalty), gold is the share of
honest successes. All three are of the episodes that were measured after a stage, and means over scenarios.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overopt.envs.episode import Episode
from overopt.errors import DataError
from overopt.optimize.episode_fitting import episode_kl
from overopt.optimize.episode_rewards import EpisodeReward
from overopt.policies.models import HFPolicy
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_rows import drawn_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Of one policy in one environment; standard errors are over scenarios."""

    kl: float
    """Exact KL(policy || start) of whole episodes, nats; ``nan`` where it was not measured."""
    kl_stderr: float
    proxy: float
    """Mean reward; ``nan`` where no preference model was at hand."""
    proxy_stderr: float
    gold: float
    """Share of honest successes."""
    gold_stderr: float
    scenarios: int
    episodes: int


def pressure_of(
    episodes: Sequence[Episode],
    policy: HFPolicy,
    start: HFPolicy | None,
    reward: EpisodeReward | None,
    settings: SamplerSettings,
    *,
    places: int,
) -> Pressure:
    """Of judged episodes that the policy drew token by token.

    Parameters
    ----------
    start : HFPolicy, optional
        What the KL is to; the policy itself is at distance 0.
    reward : EpisodeReward, optional
        What training pays for.

    Raises
    ------
    DataError
        If there is no episode, or one is not judged.
    """
    if not episodes or any(one.outcome is None for one in episodes):
        raise DataError("pressure is of judged episodes, one at least")
    unknown_B = np.full(len(episodes), np.nan)
    kl_B = unknown_B
    if start is policy:
        kl_B = np.zeros(len(episodes))
    elif start is not None:
        kl_B = episode_kl(policy, start, [drawn_row(one) for one in episodes], settings, places=places)
    proxy_B = unknown_B if reward is None else reward.rewarded(episodes).totals
    gold_B = np.array([float(one.outcome is not None and one.outcome.honest_success) for one in episodes])
    scenarios = [f"{one.scenario.id}@{one.scenario.seed}" for one in episodes]
    kl, proxy, gold = (_over_scenarios(value_B, scenarios) for value_B in (kl_B, proxy_B, gold_B))
    return Pressure(
        kl=kl.value, kl_stderr=kl.stderr, proxy=proxy.value, proxy_stderr=proxy.stderr, gold=gold.value,
        gold_stderr=gold.stderr, scenarios=gold.n_units, episodes=len(episodes),
    )  # fmt: skip


def _over_scenarios(value_B: FloatArray, scenarios: Sequence[str]) -> Estimate:
    names = np.array(scenarios)
    return mean_over_units([value_B[names == name].mean() for name in dict.fromkeys(scenarios)], unit="scenario")
