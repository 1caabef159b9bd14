"""Clipped policy gradient against a proxy, with every measurement apart from the objective.

A step: sample groups of replies, score them, subtract from each reward the mean of the others of its group
(leave-one-out), and take clipped-ratio steps (Schulman et al. 2017, arXiv:1707.06347, without a value head). There is
no KL penalty, as in Gao et al. 2022 save their section 3.6. Axes: B replies, T positions.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from overopt.errors import ConfigError, NonFiniteError
from overopt.policies.logprobs import ReplyTokens, by_length, join_tokens, token_logprobs
from overopt.policies.models import encode_prompts
from overopt.policies.sampler import Reply, SamplerConfig, sample
from overopt.protocols import Scorer
from overopt.seeding import stream, stream_seed
from overopt.stats.estimate import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGradientConfig:
    """How hard the policy is pushed."""

    steps: int
    """Batches of replies."""
    prompts_per_step: int = 64
    group: int = 4
    """Replies to each prompt of a step, at least 2: the others are each one's baseline."""
    minibatches: int = 2
    """Optimiser steps made from one batch of replies."""
    learning_rate: float = 3e-4
    """AdamW, after a linear warm-up of ``warm_up`` steps."""
    warm_up: int = 5
    clip: float = 0.2
    """Probability ratios beyond 1 +- clip get no gradient (Gao et al. 2022, table 1)."""
    max_gradient: float = 1.0
    """Gradients are scaled down to this norm."""
    measure_every: int = 4
    """Steps between measurements on held-out prompts; step 0 and the last are always measured."""

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ConfigError(f"rl.group must be at least 2; got {self.group}")
        for name in ("steps", "prompts_per_step", "minibatches", "measure_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"rl.{name} must be at least 1; got {getattr(self, name)}")
        if self.minibatches > self.prompts_per_step * self.group:
            raise ConfigError(
                f"rl.minibatches is {self.minibatches}, more than the "
                f"{self.prompts_per_step * self.group} replies of a step"
            )
        if self.warm_up < 0:
            raise ConfigError(f"rl.warm_up must be 0 or more; got {self.warm_up}")
        for name in ("learning_rate", "clip", "max_gradient"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"rl.{name} must be above 0 and finite; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class StepLog:
    """One step's training batch; measured, not penalised."""

    step: int
    reward: float
    """Mean raw proxy score of the batch, in the proxy's log-odds."""
    clip_fraction: float
    """Share of tokens whose ratio left 1 +- clip, mean over the step's minibatches."""
    gradient_norm: float
    """Before clipping, mean over the step's minibatches."""


def leave_one_out_advantage(reward: FloatArray, group: int) -> FloatArray:
    """Each reward minus the mean of the other ``group`` - 1 of its group; groups lie one after another in (B,).

    >>> leave_one_out_advantage(np.array([1.0, 2.0, 6.0]), 3)
    array([-3. , -1.5,  4.5])
    """
    grouped = reward.reshape(-1, group)
    others = (grouped.sum(axis=1, keepdims=True) - grouped) / (group - 1)
    return np.asarray((grouped - others).reshape(-1))


def clipped_loss(
    logprob_BT: torch.Tensor,
    old_logprob_BT: torch.Tensor,
    advantage_B: torch.Tensor,
    is_reply_BT: torch.Tensor,
    *,
    clip: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped surrogate, summed over all reply tokens, and how many tokens were clipped.

    The caller divides by one number of tokens for the whole batch, so that a reply's length does not set its weight
    a token. Positions outside the mask enter neither sum.
    """
    ratio_BT = torch.exp(logprob_BT - old_logprob_BT)
    advantage_B1 = advantage_B[:, None]
    surrogate_BT = torch.minimum(ratio_BT * advantage_B1, ratio_BT.clamp(1 - clip, 1 + clip) * advantage_B1)
    is_clipped_BT = ((ratio_BT - 1).abs() > clip) & is_reply_BT
    return -torch.where(is_reply_BT, surrogate_BT, 0.0).sum(), is_clipped_BT.sum()


def optimize_policy(
    reference: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scorer: Scorer,
    prompts: Sequence[str],
    *,
    reward_scale: float,
    config: PolicyGradientConfig,
    sampler: SamplerConfig,
    seed: int,
    measure: Callable[[int, PreTrainedModel], None],
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[PreTrainedModel, list[StepLog]]:
    """A copy of ``reference`` pushed against ``scorer``; ``reference`` itself stays as it is.

    Parameters
    ----------
    prompts : sequence of str
        Training prompts; each step draws ``prompts_per_step`` of them without repeats.
    reward_scale : float
        Rewards are divided by it once and for all (the proxy's sd on the base policy); it does not drift.
    measure : callable
        Called with the step and the policy at step 0, every ``measure_every`` steps and at the end.

    Raises
    ------
    NonFiniteError
        Before the optimiser's step, if the loss or the gradient is not finite.
    """
    if not 0 < reward_scale < float("inf"):
        raise ConfigError(f"reward_scale must be above 0 and finite; got {reward_scale}")
    if len(prompts) < config.prompts_per_step:
        raise ConfigError(f"rl.prompts_per_step is {config.prompts_per_step}, but there are {len(prompts)} prompts")
    policy = copy.deepcopy(reference).eval()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    rng = stream(seed, "policy-gradient", "prompts")
    logs = []
    measure(0, policy)
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, step / max(1, config.warm_up))
        chosen = [prompts[i] for i in rng.choice(len(prompts), config.prompts_per_step, replace=False)]
        replies = sample(
            policy,
            tokenizer,
            chosen,
            per_prompt=config.group,
            config=sampler,
            seed=stream_seed(seed, "policy-gradient", "replies", step),
        )
        reward = scorer.score([chosen[reply.prompt] for reply in replies], [reply.text for reply in replies])
        if not np.isfinite(reward).all():
            raise NonFiniteError(
                f"{int((~np.isfinite(reward)).sum())} of {len(reward)} rewards of RL step {step} are not finite"
            )
        advantage = leave_one_out_advantage(reward / reward_scale, config.group)
        tokens = _tokens(tokenizer, chosen, replies)
        clipped, norm = _update(policy, optimizer, tokens, advantage, config, sampler, rng, step)
        logs.append(StepLog(step=step, reward=float(reward.mean()), clip_fraction=clipped, gradient_norm=norm))
        if step % config.measure_every == 0 or step == config.steps:
            measure(step, policy)
        if progress is not None:
            progress(step, config.steps, "steps")
    return policy, logs


def _update(
    policy: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    tokens: ReplyTokens,
    advantage: FloatArray,
    config: PolicyGradientConfig,
    sampler: SamplerConfig,
    rng: np.random.Generator,
    step: int,
) -> tuple[float, float]:
    """One pass over a batch of replies; the share of clipped tokens and the mean gradient norm."""
    advantage_B = torch.from_numpy(advantage).float()
    # Old log-probabilities come from the training engine, not the sampler's, so that ratios start at exactly 1.
    old_logprob_BT = torch.zeros(tokens.ids.shape)
    with torch.no_grad():
        for rows in by_length(tokens, _ROWS):
            part = tokens.rows(rows)
            old_logprob_BT[rows, : part.ids.shape[1]] = _logprobs(policy, part, sampler)
    clipped = 0
    norms = []
    for minibatch in np.array_split(rng.permutation(len(tokens)), config.minibatches):
        members = torch.from_numpy(minibatch)
        batch = tokens.rows(members)
        n_tokens = int(batch.is_reply.sum())
        total = 0.0
        for rows in by_length(batch, _ROWS):
            part = batch.rows(rows)
            loss, n_clipped = clipped_loss(
                _logprobs(policy, part, sampler),
                old_logprob_BT[members[rows], : part.ids.shape[1]],
                advantage_B[members[rows]],
                part.is_reply,
                clip=config.clip,
            )
            (loss / n_tokens).backward()
            total += float(loss.detach()) / n_tokens
            clipped += int(n_clipped)
        norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_gradient))
        if not np.isfinite(total + norm):
            raise NonFiniteError(
                f"the loss ({total:.3g}) or gradient ({norm:.3g}) of RL step {step} is not finite; "
                f"lower rl.learning_rate (it is {config.learning_rate})"
            )
        norms.append(norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return clipped / int(tokens.is_reply.sum()), float(np.mean(norms))


_ROWS = 64
"""Replies whose logits are held at once."""


def _logprobs(policy: PreTrainedModel, tokens: ReplyTokens, sampler: SamplerConfig) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return token_logprobs(policy, tokens, temperature=sampler.temperature)


def _tokens(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], replies: Sequence[Reply]) -> ReplyTokens:
    ids = encode_prompts(tokenizer, prompts)
    return join_tokens(
        [ids[reply.prompt] for reply in replies], [reply.token_ids for reply in replies], pad=tokenizer.pad_token_id
    )
