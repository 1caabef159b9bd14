"""Losses of reply tokens, as weighted sums: the caller's weights say over what is averaged.

Axes: K reply tokens. Nothing but reply tokens ever gets here, so padding can enter no sum. Log-probabilities in nats.
"""

from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3", "exact"]


def clipped_surrogate(
    logprob_K: torch.Tensor,
    old_logprob_K: torch.Tensor,
    advantage_K: torch.Tensor,
    weight_K: torch.Tensor,
    *,
    clip: float,
    clip_high: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minus the clipped surrogate, and how many tokens were clipped (Schulman et al. 2017, 1707.06347, eq. 7).

    A ratio outside 1 - ``clip`` .. 1 + ``clip_high`` gets no gradient to go further, and counts as clipped.
    """
    ratio_K = torch.exp(logprob_K - old_logprob_K)
    surrogate_K = torch.minimum(ratio_K * advantage_K, ratio_K.clamp(1 - clip, 1 + clip_high) * advantage_K)
    is_clipped_K = torch.where(advantage_K > 0, ratio_K > 1 + clip_high, ratio_K < 1 - clip) & (advantage_K != 0)
    return -(weight_K * surrogate_K).sum(), is_clipped_K.sum()


def value_loss(
    value_K: torch.Tensor, old_value_K: torch.Tensor, return_K: torch.Tensor, weight_K: torch.Tensor, *, clip: float
) -> torch.Tensor:
    """Half the squared error of the values; a value that moved more than ``clip`` gets no gradient to go further."""
    near_K = old_value_K + (value_K - old_value_K).clamp(-clip, clip)
    return 0.5 * (weight_K * torch.maximum((value_K - return_K) ** 2, (near_K - return_K) ** 2)).sum()


def kl_penalty(
    logprob_K: torch.Tensor, reference_logprob_K: torch.Tensor, exact_K: torch.Tensor, estimator: KLEstimator
) -> torch.Tensor:
    """Estimates (K,) of KL(policy || reference) at each token's position, in nats.

    k1, k2, k3 after Schulman 2020, from the token that was drawn; ``exact`` is the sum over the vocabulary. Values are
    never clamped.
    """
    log_ratio_K = logprob_K - reference_logprob_K
    if estimator == "k1":
        return log_ratio_K
    if estimator == "k2":
        return 0.5 * log_ratio_K**2
    if estimator == "k3":
        return torch.expm1(-log_ratio_K) + log_ratio_K
    return exact_K
