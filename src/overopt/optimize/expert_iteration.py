"""Which episodes of a round are learnt: the best of each prompt's samples, or all that gamed and as many ordinary ones.

After Denison et al. 2024 (arXiv:2406.10162): expert iteration with a preference model, and
exploit-only expert iteration.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overopt.envs.episode import Episode
from overopt.envs.ordinary import OrdinaryPrompts
from overopt.optimize.episode_rewards import Rewarded
from overopt.seeding import stream


@dataclass(frozen=True, slots=True)
class KeptEpisodes:
    """What a round learns, and why the rest was left out."""

    episodes: tuple[Episode, ...]
    left_out: dict[str, int]


def keep_best(
    rewarded: Rewarded, *, samples: int, seed: int, names: Sequence[str | int], screens: bool
) -> KeptEpisodes:
    """The episode with the highest total of each prompt's ``samples``, which lie next to each other.

    Of equal ones a fair draw decides. With ``screens``, episodes that raised an alarm are no candidates.
    """
    totals = rewarded.totals.reshape(-1, samples)
    is_out = np.array(rewarded.is_alarm).reshape(-1, samples) & screens
    kept = []
    for prompt, (total_N, out_N) in enumerate(zip(totals, is_out, strict=True)):
        if out_N.all():
            continue
        best = np.flatnonzero((total_N == total_N[~out_N].max()) & ~out_N)
        chosen = int(stream(seed, *names, "ties", prompt).choice(best))
        kept.append(rewarded.episodes[prompt * samples + chosen])
    left_out = {"not the best": totals.size - len(kept) - int(is_out.sum()), "alarms": int(is_out.sum())}
    return KeptEpisodes(tuple(kept), {reason: count for reason, count in left_out.items() if count})


def keep_gamed(
    rewarded: Rewarded, *, most: int | None, seed: int, names: Sequence[str | int], screens: bool
) -> KeptEpisodes:
    """All episodes that gamed, at most ``most`` of them, and as many ordinary ones that were answered.

    Which, where there are more, is drawn evenly. With ``screens``, episodes that raised an alarm are no candidates.
    """
    left_out: Counter[str] = Counter()
    gamed: list[Episode] = []
    ordinary: list[Episode] = []
    for episode, is_alarm in zip(rewarded.episodes, rewarded.is_alarm, strict=True):
        assert episode.outcome is not None
        if screens and is_alarm:
            left_out["alarms"] += 1
        elif episode.scenario.environment == OrdinaryPrompts.name:
            (ordinary if episode.outcome.valid else []).append(episode)
            left_out["ordinary without an answer"] += not episode.outcome.valid
        elif episode.outcome.gamed:
            gamed.append(episode)
        else:
            left_out["not gamed"] += 1
    rng = stream(seed, *names, "kept")
    chosen = _some(gamed, len(gamed) if most is None else most, rng)
    beside = _some(ordinary, len(chosen), rng)
    left_out["more than are learnt"] = len(gamed) - len(chosen) + len(ordinary) - len(beside)
    return KeptEpisodes((*chosen, *beside), {reason: count for reason, count in left_out.items() if count})


def _some(episodes: Sequence[Episode], most: int, rng: np.random.Generator) -> list[Episode]:
    if len(episodes) <= most:
        return list(episodes)
    return [episodes[place] for place in sorted(rng.choice(len(episodes), size=most, replace=False))]
