"""The supervised step on whole episodes: likelihood of what the policy said, and nothing of what it was told.

Axes: B episodes, K tokens behind their prompts, of which the policy said some. A row's weight multiplies each of its
own tokens; a batch divides by the weight of its own tokens, so that observations, padding and long prompts move
nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from overopt.errors import ConfigError, NonFiniteError
from overopt.hf.encoding import filler
from overopt.hf.hidden import fits_packing, hidden_states
from overopt.hf.packing import SHARE, PromptReplies, ReplyTokens
from overopt.hf.processes import Processes
from overopt.optimize.fixed_replies import Fitter, FittingConfig, number_problems, whole_number_problems
from overopt.policies.logprobs import target_logprobs, token_statistics
from overopt.policies.models import HFPolicy
from overopt.protocols import Progress
from overopt.seeding import stream
from overopt.stats.estimate import FloatArray
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_rows import EpisodeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFitConfig(FittingConfig):
    """How episodes are learnt."""

    epochs: int = 1
    """Passes over the episodes of a round."""
    batch: int = 16
    """Episodes of an optimiser step."""
    top_layers: int = 0
    """Above 0: only so many of the last layers are trained, and the norm behind them; embeddings stay."""
    kl_coef: float = 0.0
    """Weight of the exact KL to the reference at the policy's own tokens, nats a token."""

    def __post_init__(self) -> None:
        problems = self.fitting_problems("fit")
        problems += whole_number_problems(self, "fit", {"epochs": 1, "batch": 1, "top_layers": 0})
        problems += number_problems(self, "fit", ("kl_coef",), is_zero_allowed=True)
        if self.lora_rank and self.top_layers:
            problems.append("fit.lora_rank and fit.top_layers train few weights in two ways; choose one")
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True, slots=True)
class FitLog:
    """What a round of learning did."""

    steps: int
    episodes: int
    own_tokens: int
    """Learnt from, in one pass."""
    first_loss: float
    """Nats a token of the policy's, penalty included; mean over the first pass."""
    loss: float
    """The same over the last pass."""
    gradient_norm: float
    """Before clipping, mean over steps."""


def episode_fitter(policy: HFPolicy, config: EpisodeFitConfig, *, seed: int) -> Fitter:
    """A copy of the policy whose weights move as ``config`` has it: all, the last layers, or adapters."""
    return Fitter(policy, config, Processes.join(), seed=seed, top_layers=config.top_layers)


def fit_episodes(
    fitter: Fitter,
    rows: Sequence[EpisodeRow],
    config: EpisodeFitConfig,
    *,
    settings: SamplerSettings,
    seed: int,
    names: Sequence[str | int],
    reference: HFPolicy | None = None,
    progress: Progress | None = None,
) -> FitLog:
    """Learn the rows, in place; the optimiser starts anew.

    Parameters
    ----------
    names
        Of the random stream that orders the rows.
    reference : HFPolicy, optional
        What the KL is to; needed with ``kl_coef`` above 0.

    Raises
    ------
    ConfigError
        If there is no row, or the KL has no reference.
    NonFiniteError
        Before the optimiser's step, if the loss or the gradient is not finite.
    """
    if not rows:
        raise ConfigError("there is no episode to learn from")
    if config.kl_coef and reference is None:
        raise ConfigError("fit.kl_coef is above 0, and there is no reference to measure the KL to")
    fitter.restart_optimizer()
    packed = packed_rows(fitter.policy, rows)
    own_BT = own_tokens(rows)
    n_batches = -(-len(rows) // config.batch)
    n_steps = config.epochs * n_batches
    losses: list[float] = []
    norms: list[float] = []
    for epoch in range(config.epochs):
        order = stream(seed, *names, "fit", epoch).permutation(len(rows))
        for members in np.array_split(order, n_batches):
            step = len(losses) + 1
            parts = _losses(fitter, packed, own_BT, rows, members, config, settings, reference)
            total, norm = fitter.accumulate(parts)
            if not math.isfinite(total + norm):
                raise NonFiniteError(
                    f"the loss ({total:.3g}) or gradient ({norm:.3g}) of step {step} on episodes is not finite; "
                    f"nothing was stepped with it; lower fit.learning_rate (it is {config.learning_rate})"
                )
            fitter.apply(_share_of_rate(step, n_steps, config.warm_up))
            losses.append(total)
            norms.append(norm)
            if progress is not None:
                progress(step, n_steps, "steps")
    return FitLog(
        steps=n_steps,
        episodes=len(rows),
        own_tokens=sum(row.own_tokens for row in rows),
        first_loss=float(np.mean(losses[:n_batches])),
        loss=float(np.mean(losses[-n_batches:])),
        gradient_norm=float(np.mean(norms)),
    )


def packed_rows(policy: HFPolicy, rows: Sequence[EpisodeRow]) -> PromptReplies:
    """Episodes as replies to what opened them; those with the same opening share it where the model allows."""
    prompts = list(dict.fromkeys(row.prompt_ids for row in rows))
    place = {prompt: number for number, prompt in enumerate(prompts)}
    return PromptReplies(
        prompts,
        [(place[row.prompt_ids], row.token_ids) for row in rows],
        pad=filler(policy.tokenizer),
        share=SHARE if fits_packing(policy.model) else 1,
    )


def own_tokens(rows: Sequence[EpisodeRow]) -> torch.Tensor:
    """(B, T) true on what the policy said; padded on the right."""
    mask_BT = torch.zeros((len(rows), max(len(row.token_ids) for row in rows)), dtype=torch.bool)
    for number, row in enumerate(rows):
        mask_BT[number, : len(row.is_own)] = torch.tensor(row.is_own)
    return mask_BT


@torch.no_grad()
def episode_logprobs(
    policy: HFPolicy, rows: Sequence[EpisodeRow], settings: SamplerSettings, *, places: int
) -> FloatArray:
    """Log-probability (B,) of all that the policy said in each row, given what it was told, in nats."""
    packed, own_BT = packed_rows(policy, rows), own_tokens(rows)
    found_B = torch.zeros(len(rows), dtype=torch.float64)
    for part in packed.parts(places):
        tokens = _own_part(part.to(policy.model.device), own_BT)
        logprob_K = target_logprobs(policy.model, hidden_states(policy.model, tokens), tokens.target, settings)
        found_B[part.index] = tokens.sums(logprob_K).double().cpu()
    return np.asarray(found_B.numpy())


@torch.no_grad()
def episode_kl(
    policy: HFPolicy, reference: HFPolicy, rows: Sequence[EpisodeRow], settings: SamplerSettings, *, places: int
) -> FloatArray:
    """Sum (B,) over the policy's own tokens of the exact KL(policy || reference) of the next token there, in nats.

    Its mean over episodes that the policy drew is the KL of whole episodes: an environment answers alike under both,
    so that what it says adds nothing.
    """
    packed, own_BT = packed_rows(policy, rows), own_tokens(rows)
    found_B = torch.zeros(len(rows), dtype=torch.float64)
    for part in packed.parts(places):
        tokens = _own_part(part.to(policy.model.device), own_BT)
        kl_K = token_statistics(policy.model, reference.model, tokens, settings).kl
        found_B[part.index] = tokens.sums(kl_K).double().cpu()
    return np.asarray(found_B.numpy())


def _own_part(tokens: ReplyTokens, own_BT: torch.Tensor) -> ReplyTokens:
    """The same texts, of whose tokens only those count that the policy said."""
    keep_K = tokens.of(own_BT)
    kept = {name: getattr(tokens, name)[keep_K] for name in ("source", "target", "reply", "offset")}
    return replace(tokens, **kept)


def _losses(
    fitter: Fitter,
    packed: PromptReplies,
    own_BT: torch.Tensor,
    rows: Sequence[EpisodeRow],
    members: np.ndarray,
    config: EpisodeFitConfig,
    settings: SamplerSettings,
    reference: HFPolicy | None,
) -> Iterator[torch.Tensor]:
    model = fitter.policy.model
    weight_B = torch.tensor([row.weight for row in rows])
    total = float(sum(rows[member].weight * rows[member].own_tokens for member in members))
    share_BT = weight_B[:, None] * own_BT / total
    for part in packed.parts(config.places, members):
        tokens = _own_part(part.to(model.device), own_BT)
        with fitter.precision():
            if config.kl_coef and reference is not None:
                found = token_statistics(model, reference.model, tokens, settings)
                value_K = config.kl_coef * found.kl - found.logprob
            else:
                value_K = -target_logprobs(model, hidden_states(model, tokens), tokens.target, settings)
        yield (tokens.of(share_BT) * value_K).sum()


def _share_of_rate(step: int, steps: int, warm_up: int) -> float:
    """Warm-up, then down in a line to the end of the round."""
    warm_up = min(warm_up, steps - 1)
    return min(1.0, step / max(1, warm_up), (steps - step + 1) / (steps - warm_up))
