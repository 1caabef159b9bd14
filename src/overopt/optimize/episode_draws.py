"""Whole episodes for the policy gradient: drawn token by token, rewarded, with a mask of what the policy said."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.envs.environment import Environment
from overopt.envs.episode import Episode, Scenario
from overopt.envs.runner import run_episodes
from overopt.errors import ConfigError
from overopt.optimize.episode_rewards import EpisodeReward
from overopt.optimize.rollout import Draws, Engine, sampling_precision
from overopt.protocols import Progress, Prompt, Reply
from overopt.seeding import stream_seed
from overopt.stats.estimate import FloatArray
from overopt.training.episode_actor import EpisodeActor
from overopt.training.episode_rows import drawn_row


class EpisodeDrawing:
    """A :class:`~overopt.optimize.rollout.Drawing` of episodes, which also names what is optimised.

    Parameters
    ----------
    tasks : sequence of (Environment, Scenario)
        One a prompt of the run, in the order of its prompts.
    folder : Path
        Each step's episodes are kept there, with their tokens; a step that is done again finds them.
    about : mapping
        Stored with every episode.
    """

    def __init__(
        self,
        tasks: Sequence[tuple[Environment, Scenario]],
        reward: EpisodeReward,
        folder: Path,
        about: Mapping[str, Any],
    ) -> None:
        self.tasks, self.reward, self.folder, self.about = tasks, reward, folder, about
        self.name = reward.name

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[str], *, progress: Progress | None = None
    ) -> FloatArray:
        """Refused: an episode is more than a text.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError("episodes are rewarded where they are drawn; a text alone has no outcome")

    def __call__(
        self, engine: Engine, chosen: Sequence[int], *, group: int, step: int, seed: int, numbers: Sequence[int]
    ) -> Draws:
        """``group`` episodes of each chosen scenario."""
        actor = EpisodeActor(engine.policy, engine.sampler, about={**self.about, "step": step})
        by_name: dict[str, list[int]] = {}
        for place, task in enumerate(chosen):
            by_name.setdefault(self.tasks[task][0].name, []).append(place)
        found: dict[int, list[Episode]] = {}
        for name, places in by_name.items():
            env = self.tasks[chosen[places[0]]][0]
            with sampling_precision(engine):
                episodes = run_episodes(
                    env, actor, [self.tasks[chosen[place]][1] for place in places], reps=group,
                    seed=stream_seed(seed, "rl", "episodes", step, name),
                    path=self.folder / f"{step:06d}" / f"{name}.jsonl",
                )  # fmt: skip
            for number, place in enumerate(places):
                found[place] = episodes[number * group : (number + 1) * group]
        rewarded = self.reward.rewarded([episode for place in range(len(chosen)) for episode in found[place]])
        rows = [drawn_row(episode) for episode in rewarded.episodes]
        replies = [
            Reply(place // group, place % group, list(row.token_ids), episode.visible, _is_whole(episode), math.nan,
                  math.nan)
            for place, (row, episode) in enumerate(zip(rows, rewarded.episodes, strict=True))
        ]  # fmt: skip
        prompts: list[Prompt] = [self.tasks[task][1].conversation for task in chosen]
        return Draws(prompts, replies, rewarded.totals, [row.is_own for row in rows])


def _is_whole(episode: Episode) -> bool:
    return episode.ended == "answered" and not any(step.limits for step in episode.steps)
