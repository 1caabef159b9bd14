"""One batch of replies with all that is known of it before the policy moves: scores, log-probabilities, KL, entropy.

Axes: B replies, T reply tokens padded on the right. Everything is measured in the training engine, so that ratios of
probabilities start at 1 up to rounding, and whatever is penalised.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from overopt.errors import ConfigError, DataError
from overopt.hf.hidden import hidden_states
from overopt.hf.packing import PromptReplies
from overopt.optimize.trainable import Critic
from overopt.policies.logprobs import token_statistics
from overopt.policies.models import HFPolicy, packed_replies
from overopt.protocols import Prompt, Reply, SamplerConfig, Scorer
from overopt.rewards.shaping import CurrentShapers, Shaper, observed, shape
from overopt.seeding import stream_seed
from overopt.stats.estimate import FloatArray


@dataclass(frozen=True, slots=True)
class Rollout:
    """A batch of replies of the policy as it was."""

    prompts: Sequence[Prompt]
    replies: Sequence[Reply]
    packed: PromptReplies
    raw_B: FloatArray
    """Raw proxy scores."""
    shaped_B: FloatArray
    """What is optimised: scores after shaping."""
    shapers: Sequence[Shaper]
    """As they are once they have seen these scores; the shaped ones are by them."""
    mask_BT: torch.Tensor
    logprob_BT: torch.Tensor
    reference_logprob_BT: torch.Tensor
    kl_BT: torch.Tensor
    """Exact KL at each position, nats."""
    entropy_BT: torch.Tensor
    value_BT: torch.Tensor
    """The critic's, 0 without one."""

    @property
    def kl(self) -> float:
        """KL of whole replies, mean over the batch, nats."""
        return float(self.kl_BT.sum(1).mean())


@dataclass(frozen=True, slots=True)
class Engine:
    """What a step works with."""

    policy: HFPolicy
    reference: HFPolicy
    critic: Critic | None
    scorer: Scorer
    shaping: Sequence[Shaper]
    sampler: SamplerConfig
    places: int
    precision: Callable[[], AbstractContextManager[object]]
    """Context of the training engine's products."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Replies to some prompts and their raw scores, which may not be finite."""

    prompts: Sequence[Prompt]
    replies: Sequence[Reply]
    raw_B: FloatArray
    is_own: Sequence[Sequence[bool]] | None = None
    """Of each reply, which of its tokens the policy said; all of them unless given. In an episode the rest are what
    an environment said between two turns: nothing is learnt from them and nothing counts them."""


class Drawing(Protocol):
    """Draws and scores what a step is trained on, where that is more than replies to prompts."""

    def __call__(
        self, engine: "Engine", chosen: Sequence[int], *, group: int, step: int, seed: int, numbers: Sequence[int]
    ) -> Draws:
        """``group`` scored replies to each of the ``chosen`` prompts, by their place among all prompts.

        Those of one prompt lie one after another; ``numbers`` name the prompts' random streams.
        """
        ...


def draw(
    engine: Engine, prompts: Sequence[Prompt], *, group: int, step: int, seed: int, numbers: Sequence[int]
) -> Draws:
    """``group`` scored replies to each prompt; ``numbers`` name the prompts' random streams."""
    with sampling_precision(engine):
        replies = engine.policy.sample(
            prompts, per_prompt=group, config=engine.sampler, seed=stream_seed(seed, "rl", "replies", step),
            numbers=numbers,
        )  # fmt: skip
    return Draws(prompts, replies, scores_of(engine.scorer, prompts, replies))


def complete(
    engine: Engine,
    draws: Draws,
    *,
    step: int,
    seed: int,
    numbers: Sequence[int],
    total: Callable[[float], float] = float,
) -> Rollout:
    """The same with shaped rewards and all measurements; ``total`` sums over the processes that share the batch.

    Shapers that drift have seen the batch when they shape it. ``engine`` keeps them as they were: a batch counts only
    once it has been trained on.
    """
    prompts, replies = draws.prompts, draws.replies
    mask_BT = _own_tokens(draws)
    length_B = mask_BT.sum(1).numpy()
    finished_B = np.array([reply.finished for reply in replies])
    reference_B = _reference_rewards(engine, prompts, replies, step=step, seed=seed, numbers=numbers)
    shapers: Sequence[Shaper] = tuple(engine.shaping)
    if any(shaper.drifts for shaper in shapers):
        shapers = observed(
            shapers, draws.raw_B, length_B=length_B, finished_B=finished_B, reference_B=reference_B, total=total
        )
    shaped_B = shape(shapers, draws.raw_B, length_B=length_B, finished_B=finished_B, reference_B=reference_B)
    packed = packed_replies(engine.policy.model, engine.policy.tokenizer, prompts, replies)
    tables = (table_BT.masked_fill_(~mask_BT, 0.0) for table_BT in _measured(engine, packed))
    return Rollout(prompts, replies, packed, draws.raw_B, shaped_B, shapers, mask_BT, *tables)


def _own_tokens(draws: Draws) -> torch.Tensor:
    """(B, T) true on the tokens that the policy said."""
    lengths = [len(reply.token_ids) for reply in draws.replies]
    mask_BT = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    if draws.is_own is None:
        return mask_BT
    for row, own in enumerate(draws.is_own):
        if len(own) != lengths[row] or not any(own):
            raise DataError(f"reply {row} has {lengths[row]} tokens, of which {sum(own)} of {len(own)} are its own")
        mask_BT[row, : lengths[row]] = torch.tensor(own)
    return mask_BT


def check_shaping(shapers: Sequence[Shaper]) -> None:
    """Refuse shapers that change during a run where nothing would tell how they have changed."""
    for shaper in shapers:
        if shaper.drifts and not isinstance(shapers, CurrentShapers):
            raise ConfigError(
                f"{shaper!r} changes with the scores it has seen; give the run and its measurement one CurrentShapers "
                "that holds it, or fix its numbers on replies of the reference (Standardise)"
            )


def scores_of(scorer: Scorer, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> FloatArray:
    """Raw scores (B,) of replies.

    Raises
    ------
    DataError
        If the scorer returns another number of them.
    """
    scores = np.asarray(scorer.score([prompts[r.prompt] for r in replies], [r.text for r in replies]), dtype=np.float64)
    if scores.shape != (len(replies),):
        raise DataError(f"{scorer.name} returned scores of shape {scores.shape} for {len(replies)} replies")
    return scores


def _reference_rewards(
    engine: Engine, prompts: Sequence[Prompt], replies: Sequence[Reply], *, step: int, seed: int, numbers: Sequence[int]
) -> FloatArray | None:
    """Raw scores (B, M) of a few replies of the reference to each reply's prompt, where shaping compares with them."""
    if not any(shaper.needs_reference for shaper in engine.shaping):
        return None
    with sampling_precision(engine):
        others = engine.reference.sample(
            prompts, per_prompt=REFERENCE_REPLIES, config=engine.sampler,
            seed=stream_seed(seed, "rl", "reference", step), numbers=numbers,
        )  # fmt: skip
    score_PM = scores_of(engine.scorer, prompts, others).reshape(len(prompts), REFERENCE_REPLIES)
    return np.asarray(score_PM[[reply.prompt for reply in replies]])


REFERENCE_REPLIES = 4
"""Replies of the reference a prompt that shaping compares with (PAR, 2502.18770, uses up to ten)."""


def sampling_precision(engine: Engine) -> AbstractContextManager[object]:
    """The context in which replies are drawn: a CPU samples single tokens faster in float32, a GPU as it trains."""
    return nullcontext() if engine.policy.model.device.type == "cpu" else engine.precision()


@torch.no_grad()
def _measured(engine: Engine, packed: PromptReplies) -> tuple[torch.Tensor, ...]:
    tables = tuple(torch.zeros((len(packed), int(packed.lengths_B.max()))) for _ in range(5))
    for part in packed.parts(engine.places):
        tokens = part.to(engine.policy.model.device)
        with engine.precision():
            hidden_KD = hidden_states(engine.policy.model, tokens)
            found = token_statistics(
                engine.policy.model, engine.reference.model, tokens, engine.sampler.settings, hidden_KD=hidden_KD
            )
            values_K = torch.zeros_like(found.logprob) if engine.critic is None else engine.critic(tokens, hidden_KD)
        for table, values in zip(
            tables, (found.logprob, found.reference_logprob, found.kl, found.entropy, values_K), strict=True
        ):
            part.put(values.float().cpu(), table)
    return tables
