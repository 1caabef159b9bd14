"""Train a reward model on preference pairs with the Bradley-Terry loss.

Axes: B pairs. The model is the pretrained network with its language-model head replaced by one linear output, saved so
that ``AutoModelForSequenceClassification.from_pretrained`` loads it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.hf.encoding import encode_scored, right_padded
from overopt.hf.hidden import end_states, fits_packing
from overopt.hf.loading import choose_device
from overopt.hf.packing import PromptReplies, n_shared
from overopt.protocols import Prompt
from overopt.rewards.checkpoint import RewardModel, absent_token, linear_head, padded_by, vocabulary_size
from overopt.seeding import stream

PLACES = 4_096
"""Most places (rows x positions) of one pass; the fastest on two cores for models of up to 1 M parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainingConfig:
    """How a proxy learns."""

    learning_rate: float = 1e-3
    """Peak rate of AdamW; warm-up over 5 % of the steps, then linear to 0."""
    epochs: int = 2
    batch: int = 64
    """Pairs a step (Gao et al. 2022, table 1)."""
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ConfigError(f"reward_training.learning_rate must be above 0; got {self.learning_rate}")
        if self.epochs < 1 or self.batch < 1:
            raise ConfigError("reward_training.epochs and .batch must be at least 1")


def bradley_terry_loss(
    reward_chosen_B: torch.Tensor, reward_rejected_B: torch.Tensor, target_B: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of -ln sigmoid(chosen - rejected), nats a pair; rewards are log-odds.

    With ``target_B``, probabilities that the chosen side is the better one, the cross-entropy with these.
    """
    margin_B = reward_chosen_B - reward_rejected_B
    if target_B is None:
        return -F.logsigmoid(margin_B).mean()
    return -(target_B * F.logsigmoid(margin_B) + (1 - target_B) * F.logsigmoid(-margin_B)).mean()


def train_reward_model(
    base: str | Path,
    prompts: Sequence[Prompt],
    chosen: Sequence[str],
    rejected: Sequence[str],
    *,
    config: RewardTrainingConfig,
    seed: int,
    targets: Sequence[float] | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> RewardModel:
    """A proxy trained on the pairs, from the pretrained model in the folder ``base``.

    The head starts at zero, so that no part of the first rewards is noise; the seed sets the order of the pairs.
    ``targets`` are soft labels: the probability of each pair that its chosen side is the better one.

    Raises
    ------
    DataError
        If there is no pair, a pair's sides are equal (such a pair says nothing), a target is no probability, or a text
        is longer than the model's context.
    NonFiniteError
        Before the step, if a loss or the gradient is not finite.
    """
    if not prompts:
        raise DataError("a reward model cannot be trained on 0 pairs")
    if any(a == b for a, b in zip(chosen, rejected, strict=True)):
        raise DataError("a pair has the same text on both sides; drop such pairs first")
    if targets is not None and not (len(targets) == len(prompts) and all(0 <= target <= 1 for target in targets)):
        raise DataError(f"{len(prompts)} pairs need as many targets, each within 0 and 1")
    # Weights are safetensors only, and no code from a model's repository runs.
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=1,
        dtype=torch.float32,
        attn_implementation="eager",
        use_safetensors=True,
        trust_remote_code=False,
    )
    torch.nn.init.zeros_(model.score.weight)
    model.to(choose_device(device))
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = encode_scored(tokenizer, [*prompts, *prompts], [*chosen, *rejected])
    chosen_ids, rejected_ids = ids[: len(prompts)], ids[len(prompts) :]
    longest = max(len(ids) for ids in (*chosen_ids, *rejected_ids))
    if longest > model.config.max_position_embeddings:
        raise DataError(
            f"a text of {longest} tokens does not fit {Path(base).name}, "
            f"which reads {model.config.max_position_embeddings}; drop such pairs first"
        )

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    batches = _batches(len(prompts), config, seed)
    targets_B = None if targets is None else torch.tensor(targets, dtype=torch.float32, device=model.device)
    losses = _losses(model, chosen_ids, rejected_ids, targets_B, tokenizer.pad_token_id)
    model.train()
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, len(batches))
        loss = 0.0
        for part in losses(rows):
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not (math.isfinite(loss) and torch.isfinite(norm)):
            raise NonFiniteError(
                f"the loss ({loss:.3g}) or gradient ({norm.item():.3g}) of reward-model step {step} is not "
                f"finite; lower reward_training.learning_rate (it is {config.learning_rate})"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if progress is not None:
            progress(step + 1, len(batches), "steps")
    return RewardModel(model, tokenizer, name=Path(base).name)


def save_reward_model(reward_model: RewardModel, folder: Path) -> None:
    """Weights as safetensors, configuration and tokenizer, in ``folder``."""
    reward_model.model.save_pretrained(folder)
    reward_model.tokenizer.save_pretrained(folder)


def _losses(
    model: PreTrainedModel,
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    targets: torch.Tensor | None,
    pad: int | None,
) -> Callable[[np.ndarray], Iterator[torch.Tensor]]:
    """Of the numbers (B,) of pairs, terms that add up to their mean loss, for one backward pass each.

    What the two sides have in common stands once in a row with both endings, and rows of one pass have similar lengths:
    of the tokens of a padded batch, half are left. Models that cannot be run so are given the padded batch.
    """
    head = linear_head(model)
    if head is None or not fits_packing(model):
        return partial(_padded_losses, model, chosen, rejected, targets, pad)
    shared = [n_shared(sides) for sides in zip(chosen, rejected, strict=True)]
    endings = [
        (pair, side[n:])
        for pair, (n, *sides) in enumerate(zip(shared, chosen, rejected, strict=True))
        for side in sides
    ]
    starts = [ids[:n] for n, ids in zip(shared, chosen, strict=True)]
    # The two sides of a pair stay together however long they are: their loss is one term.
    texts = PromptReplies(starts, endings, pad=0, share=2, room=None)
    return partial(_packed_losses, model, head, texts, targets)


def _packed_losses(
    model: PreTrainedModel,
    head: torch.nn.Module,
    texts: PromptReplies,
    targets: torch.Tensor | None,
    rows: np.ndarray,
) -> Iterator[torch.Tensor]:
    for part in texts.parts(PLACES, np.stack([2 * rows, 2 * rows + 1], axis=1).ravel()):
        tokens = part.to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            states_BD = end_states(model, tokens)
        chosen_B, rejected_B = head(states_BD.float()).view(-1, 2).unbind(1)
        target_B = None if targets is None else targets[tokens.index[::2] // 2]
        yield bradley_terry_loss(chosen_B, rejected_B, target_B) * (len(chosen_B) / len(rows))


def _padded_losses(
    model: PreTrainedModel,
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    targets: torch.Tensor | None,
    pad: int | None,
    rows: np.ndarray,
) -> Iterator[torch.Tensor]:
    texts = [chosen[row] for row in rows] + [rejected[row] for row in rows]
    # The model takes the score at the last token that is not padding: the padding is a token that no text holds.
    padding = absent_token(texts, vocabulary_size(model), pad)
    ids_BT, mask_BT = right_padded(texts, padding)
    with padded_by(model, padding), torch.autocast(model.device.type, torch.bfloat16):
        reward_2B = model(input_ids=ids_BT.to(model.device), attention_mask=mask_BT.to(model.device)).logits[:, 0]
    chosen_B, rejected_B = reward_2B.float().chunk(2)
    yield bradley_terry_loss(chosen_B, rejected_B, None if targets is None else targets[rows])


def _batches(n_pairs: int, config: RewardTrainingConfig, seed: int) -> list[np.ndarray]:
    rng = stream(seed, "reward-model", "order")
    steps_per_epoch = max(1, n_pairs // config.batch)
    return [rows for _ in range(config.epochs) for rows in np.array_split(rng.permutation(n_pairs), steps_per_epoch)]


def _schedule(step: int, steps: int) -> float:
    warm_up = max(1, steps // 20)
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
