"""Losses of preference pairs as functions of the log-probabilities of whole completions: DPO, IPO, SLiC.

Axis: B pairs. Log-probabilities are sums over a completion's tokens, its end token included, in nats. Every loss is a
convex function of one difference between chosen and rejected, in units that ``dpo_beta`` sets (Tang et al. 2024,
2402.05749): small values let the policy go far, as small weights of a KL penalty do.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

PairLoss = Literal["dpo", "ipo", "slic", "slic-hf"]


@dataclass(frozen=True, slots=True)
class PairLogprobs:
    """Log-probabilities (B,) of both completions of each pair."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor

    @property
    def own_difference(self) -> torch.Tensor:
        """ln policy(chosen) / policy(rejected)."""
        return self.chosen - self.rejected

    @property
    def difference(self) -> torch.Tensor:
        """The same less the reference's; times ``dpo_beta`` the difference of implicit rewards."""
        # Ratios first: where policy and reference agree they are exactly 0.
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)

    def per_token(self, chosen_length: torch.Tensor, rejected_length: torch.Tensor) -> "PairLogprobs":
        """Means over tokens in place of sums."""
        return PairLogprobs(
            self.chosen / chosen_length,
            self.rejected / rejected_length,
            self.reference_chosen / chosen_length,
            self.reference_rejected / rejected_length,
        )


def dpo_loss(difference_B: torch.Tensor, dpo_beta: float, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """-ln sigmoid(dpo_beta x difference), nats a pair (Rafailov et al. 2023, 2305.18290, eq. 7).

    With ``label_smoothing`` e the labels are taken to be wrong with probability e: the loss is its mean over both
    labels (cDPO, Mitchell 2023; see 2403.00409), least where sigmoid(dpo_beta x difference) is 1 - e.
    """
    reward_B = dpo_beta * difference_B
    return -(1 - label_smoothing) * F.logsigmoid(reward_B) - label_smoothing * F.logsigmoid(-reward_B)


def ipo_loss(difference_B: torch.Tensor, dpo_beta: float) -> torch.Tensor:
    """(difference - 1 / (2 dpo_beta))^2 (Azar et al. 2023, 2310.12036, eq. 17); their tau is ``dpo_beta``."""
    return (difference_B - 1 / (2 * dpo_beta)) ** 2


def slic_loss(difference_B: torch.Tensor, dpo_beta: float) -> torch.Tensor:
    """max(0, 1 - dpo_beta x difference): no gradient once the difference is 1 / dpo_beta.

    Of the difference to the reference as in Rafailov et al. 2024 (2406.02900); of the policy's own it is ``dpo_beta``
    times the hinge of SLiC-HF (Zhao et al. 2023, 2305.10425) with margin 1 / dpo_beta.
    """
    return F.relu(1 - dpo_beta * difference_B)


def pair_loss(logprobs: PairLogprobs, loss: PairLoss, dpo_beta: float, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """The loss (B,) of that name."""
    if loss == "dpo":
        return dpo_loss(logprobs.difference, dpo_beta, label_smoothing=label_smoothing)
    if loss == "ipo":
        return ipo_loss(logprobs.difference, dpo_beta)
    return slic_loss(logprobs.difference if loss == "slic" else logprobs.own_difference, dpo_beta)
