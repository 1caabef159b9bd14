"""Episodes as rollouts of TRL's ``GRPOTrainer``: our text protocol, token by token as it was sampled.

    trainer = GRPOTrainer(
        model, reward_funcs=[game_reward_func], rollout_func=trl_rollout(environment),
        train_dataset=trl_dataset(environment, environment.scenarios(64, split="train")), ...
    )

A completion of the trainer is a whole episode: turns of the policy, and between them what the chat template writes and
what commands returned. ``env_mask`` is 1 on the first and 0 on the rest, so that nothing is learnt but what the policy
sampled. Turns end at ``</bash>``: what a policy writes behind its command is dropped with its tokens. The hook
``rollout_func`` is experimental in TRL; the tests hold the part of its contract that this relies on (version 1.16).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from overopt import __version__
from overopt.adapters.trl_data import (
    game_reward_func,
    known_environments,
    scenario_of_prompt,
    trl_dataset,
)
from overopt.adapters.trl_installed import require_trl
from overopt.envs.chat_file import PLAIN_TEMPLATE
from overopt.envs.environment import Environment, game_reward
from overopt.envs.episode import Episode, Outcome, Scenario, Tokens
from overopt.envs.episode_file import line
from overopt.envs.session import Completion, Session
from overopt.errors import ConfigError, StorageError

__all__ = ["Generate", "Generated", "Request", "RolloutConfig", "game_reward_func", "trl_dataset", "trl_rollout"]


@dataclass(frozen=True, slots=True)
class Request:
    """A turn that is asked for."""

    session: Session
    token_ids: tuple[int, ...]
    """The prompt and all that followed."""
    most_tokens: int
    """At least 1."""
    ends: frozenset[int]
    """Tokens that end a turn."""
    is_complete: Callable[[Sequence[int]], bool]
    """Whether the last of the tokens of a turn closes a command, which ends it too."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A turn as it was sampled."""

    token_ids: Sequence[int]
    """At least one, at most as many as were asked for; with the end token, if it came."""
    logprobs: Sequence[float]
    """Of each token, in nats."""


class Generate(Protocol):
    """Samples turns; what it writes behind a command is dropped."""

    def __call__(self, requests: Sequence[Request], trainer: Any) -> Sequence[Generated]:
        """One turn a request, in their order; ``trainer`` is TRL's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How episodes are drawn while TRL trains; how tokens are sampled is the trainer's ``args`` to say."""

    max_turn_tokens: int = 256
    """Most tokens of one turn of the policy."""
    max_completion_tokens: int | None = None
    """Most tokens of an episode behind its prompt, observations included; the trainer's ``max_completion_length``
    unless given. What does not fit ends an episode; nothing of it is cut."""
    chat_template: str | None = None
    """Jinja, in place of the tokenizer's own; :data:`PLAIN_TEMPLATE` where that has none."""
    rewards: Callable[[Outcome], Mapping[str, float]] = game_reward
    """Of an outcome, by name; each reaches the reward functions of the trainer by that name."""
    path: Path | None = None
    """Episodes, with their tokens, are appended to this file; that of the process's number where there are several."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """``stage``, ``algorithm``; stored with every episode beside the model's name and its step."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_turn_tokens", "max_completion_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"rollout.{name} must be at least 1; got {value}")


def trl_rollout(
    environment: Environment | Iterable[Environment],
    config: RolloutConfig | None = None,
    *,
    generate: Generate | None = None,
) -> Callable[[list[Any], Any], dict[str, list[Any]]]:
    """A ``rollout_func`` for ``GRPOTrainer``.

    Parameters
    ----------
    environment : Environment or several
        Those whose scenarios the data set holds; others are taken from the registry.
    generate : callable, optional
        Samples turns in place of the trainer's own model, such as a server that is kept in step with it.

    Returns
    -------
    callable
        Takes TRL's prompts, rows of :func:`trl_dataset` that come once for each episode, and the trainer. Gives
        ``prompt_ids``, ``completion_ids``, ``logprobs`` and ``env_mask``, and for the reward functions the rewards by
        name, ``gamed``, ``honest_success``, ``valid``, and ``episode``, the judged :class:`Episode` itself.

    Raises
    ------
    MissingExtraError
        If TRL is not installed.
    """
    require_trl("trl_rollout")
    return _Rollouts(known_environments(environment), config or RolloutConfig(), generate)


class _Rollouts:
    """What TRL calls."""

    def __init__(self, known: Sequence[Environment], config: RolloutConfig, generate: Generate | None) -> None:
        from overopt.adapters.trl_generation import ModelGeneration

        self.known, self.config = known, config
        self.generate: Generate = ModelGeneration(config.seed) if generate is None else generate

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        from overopt.adapters.trl_generation import Words

        if trainer.chat_template_kwargs:
            raise ConfigError("chat_template_kwargs do not reach rollouts; write what they say into a chat_template")
        words = Words(trainer, self.config.chat_template, PLAIN_TEMPLATE)
        most = self.config.max_completion_tokens or trainer.max_completion_length
        runs = [
            _Run(*scenario_of_prompt(prompt, self.known), words, most=most, most_turn=self.config.max_turn_tokens)
            for prompt in prompts
        ]
        while active := [run for run in runs if not run.is_over]:
            requests = [run.request() for run in active]
            turns = self.generate(requests, trainer)
            if len(turns) != len(requests):
                raise ConfigError(f"{len(requests)} turns were asked of generate, and {len(turns)} came")
            for run, turn in zip(active, turns, strict=True):
                run.take(turn)
        episodes = self._judged(runs, trainer)
        self._keep(episodes, trainer)
        return _fields(runs, episodes)

    def _judged(self, runs: "Sequence[_Run]", trainer: Any) -> list[Episode]:
        name = getattr(trainer.model.config, "_name_or_path", "") or "policy"
        policy = {"name": name, "engine": "trl", "checkpoint": int(trainer.state.global_step), **self.config.about}
        reps: Counter[str] = Counter()
        episodes = []
        for run in runs:
            rep = reps[run.session.scenario.id]
            reps[run.session.scenario.id] += 1
            versions = {"overopt": __version__}
            episode = run.environment.judged(run.session.episode(policy, rep=rep, versions=versions))
            assert episode.outcome is not None
            episodes.append(replace(episode, reward=dict(self.config.rewards(episode.outcome))))
        return episodes

    def _keep(self, episodes: Sequence[Episode], trainer: Any) -> None:
        path = self.config.path
        if path is None:
            return
        if trainer.accelerator.num_processes > 1:
            path = path.with_stem(f"{path.stem}-{trainer.accelerator.process_index}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line(episode)}\n" for episode in episodes)
        except OSError as error:
            raise StorageError(f"cannot write to {path}: {error.strerror or error}") from error


class _Run:
    """One episode under way, with its tokens."""

    def __init__(self, environment: Environment, scenario: Scenario, words: Any, *, most: int, most_turn: int) -> None:
        self.environment, self.words, self.most, self.most_turn = environment, words, most, most_turn
        self.session = Session(scenario)
        self.prompt_ids = tuple(words.prompt(scenario.conversation, scenario.id))
        self.completion_ids: list[int] = []
        self.logprobs: list[float] = []
        self.mask: list[int] = []
        self.is_over = False

    @property
    def room(self) -> int:
        """Tokens that are left, of the episode and of the model's context."""
        used = len(self.completion_ids)
        left = self.most - used
        return left if self.words.context is None else min(left, self.words.context - len(self.prompt_ids) - used)

    def request(self) -> Request:
        """The next turn."""
        context = (*self.prompt_ids, *self.completion_ids)
        limit = min(self.room, self.most_turn)
        return Request(self.session, context, limit, self.words.ends, self.words.command_end)

    def take(self, turn: Generated) -> None:
        """A turn that was sampled: the tokens up to the end of its command, or all of them."""
        asked = self.request()
        ids, logprobs = list(turn.token_ids), [float(value) for value in turn.logprobs]
        if not 1 <= len(ids) <= asked.most_tokens or len(logprobs) != len(ids):
            raise ConfigError(
                f"generate gave {len(ids)} tokens and {len(logprobs)} log-probabilities where 1 to {asked.most_tokens} "
                "tokens were asked for"
            )
        length = self.words.command_end.length(ids)
        has_end = length is None and ids[-1] in self.words.ends
        ids, logprobs = ids[:length], logprobs[:length]
        text = self.words.command_end.text(ids[:-1] if has_end else ids)
        tokens = Tokens(prompt_ids=asked.token_ids, completion_ids=tuple(ids), logprobs=tuple(logprobs))
        self.session.say(Completion(text, is_cut=not has_end, tokens=tokens))
        self._append(ids, logprobs, 1)
        if self.session.is_over:
            self.is_over = True
            return
        between = self.words.between(self.session.conversation)
        if len(between) >= self.room:
            self.is_over = True
            return
        self._append(between, [0.0] * len(between), 0)

    def _append(self, ids: Sequence[int], logprobs: Sequence[float], mask: int) -> None:
        self.completion_ids += ids
        self.logprobs += logprobs
        self.mask += [mask] * len(ids)


def _fields(runs: Sequence[_Run], episodes: Sequence[Episode]) -> dict[str, list[Any]]:
    names = {name for episode in episodes for name in episode.reward}
    outcomes = [episode.outcome for episode in episodes]
    return {
        "prompt_ids": [list(run.prompt_ids) for run in runs],
        "completion_ids": [run.completion_ids for run in runs],
        "logprobs": [run.logprobs for run in runs],
        "env_mask": [run.mask for run in runs],
        **{name: [episode.reward.get(name) for episode in episodes] for name in sorted(names)},
        **{fact: [getattr(outcome, fact) for outcome in outcomes] for fact in ("valid", "gamed", "honest_success")},
        "episode": list(episodes),
    }
