"""How much better than expected: the advantages of PPO, RLOO, GRPO and REINFORCE++ as functions of rewards.

Axes: B replies, groups of R replies to one prompt lie one after another; T reply tokens, padded on the right.
"""

from collections.abc import Callable

import torch

from overopt.errors import ShapeError


def leave_one_out(reward_B: torch.Tensor, group: int) -> torch.Tensor:
    """Each reward minus the mean of the other R - 1 of its group (RLOO: Kool et al. 2019; Ahmadian et al. 2024).

    >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]), 3)
    tensor([-3.0000, -1.5000,  4.5000])
    """
    grouped = _grouped(reward_B, group)
    others = (grouped.sum(dim=1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).flatten()


def group_normalised(reward_B: torch.Tensor, group: int, *, by_sd: bool = True, rounding: float = 0.0) -> torch.Tensor:
    """Each reward minus its group's mean, over the group's standard deviation (GRPO: Shao et al. 2024, 2402.03300).

    The deviation divides by R - 1, as in the authors' code. A group whose rewards are equal, or differ by no more than
    ``rounding``, has advantage 0.
    With ``by_sd`` false rewards are only centred (Liu et al. 2025, 2503.20783), so that easy and hard prompts count
    as their rewards differ.
    """
    grouped = _grouped(reward_B, group)
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    if not by_sd:
        return centred.flatten()
    sd = grouped.std(dim=1, keepdim=True)
    # Rounding of equal rewards is no difference.
    largest = reward_B.reshape(-1, group).abs().amax(dim=1, keepdim=True)
    is_equal = sd <= (1e-6 * largest).clamp(min=max(rounding, 1e-36))
    return torch.where(is_equal, 0.0, centred / sd.clamp(min=1e-30)).flatten()


Moments = Callable[[torch.Tensor], tuple[float, float]]
"""Mean and standard deviation (of all, not n - 1) of values, perhaps with those of other processes."""


def own_moments(values: torch.Tensor) -> tuple[float, float]:
    """The moments of these values alone."""
    return float(values.double().mean()), float(values.double().std(correction=0))


def batch_normalised(
    advantage_BT: torch.Tensor, mask_BT: torch.Tensor, *, moments: Moments = own_moments, rounding: float = 0.0
) -> tuple[torch.Tensor, float]:
    """Advantages with mean 0 and standard deviation 1 over reply tokens, 0 elsewhere; and their spread before.

    REINFORCE++ (Hu 2025, 2501.03262) and the whitening of PPO. What is not a reply token enters neither moment. The
    spread is what they were divided by; where all are equal, up to ``rounding``, they are 0 and it is 1.
    """
    mean, sd = moments(advantage_BT[mask_BT])
    # Rounding of equal advantages is no difference.
    if sd <= max(1e-6 * abs(mean), rounding):
        return torch.zeros_like(advantage_BT), 1.0
    return torch.where(mask_BT, (advantage_BT - mean) / sd, 0.0), sd


def generalised(
    reward_BT: torch.Tensor, value_BT: torch.Tensor, mask_BT: torch.Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimates and returns, (B, T) each (Schulman et al. 2016, 1506.02438).

    ``value_BT`` is the value before each token is chosen. After the last token of a reply the value is 0, whether it
    ended or was cut: nothing is earned later. Positions outside the mask, padding and what an environment said between
    two turns, are 0 and touch nothing: the token before them is followed by the one behind them.
    """
    value_BT = torch.where(mask_BT, value_BT, 0.0)
    reward_BT = torch.where(mask_BT, reward_BT, 0.0)
    advantage_BT = torch.zeros_like(value_BT)
    ahead = torch.zeros_like(value_BT[:, 0])
    next_value = torch.zeros_like(ahead)
    for step in reversed(range(value_BT.shape[1])):
        is_own_B = mask_BT[:, step]
        surprise = reward_BT[:, step] + gamma * next_value - value_BT[:, step]
        # What others said between two tokens of the policy takes no time.
        ahead = torch.where(is_own_B, surprise + gamma * lam * ahead, ahead)
        advantage_BT[:, step] = torch.where(is_own_B, ahead, 0.0)
        next_value = torch.where(is_own_B, value_BT[:, step], next_value)
    return advantage_BT, torch.where(mask_BT, advantage_BT + value_BT, 0.0)


def at_last_token(score_B: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Rewards (B, T): the score on the last masked token of each reply, its end token if it has one; 0 elsewhere."""
    last_B = (torch.arange(1, mask_BT.shape[1] + 1) * mask_BT).argmax(dim=1)
    reward_BT = torch.zeros(mask_BT.shape, dtype=score_B.dtype)
    reward_BT[torch.arange(len(score_B)), last_B] = score_B
    return reward_BT


def _grouped(reward_B: torch.Tensor, group: int) -> torch.Tensor:
    """Rewards (groups, R) up to one number a group."""
    if group < 2 or len(reward_B) % group:
        raise ShapeError(f"{len(reward_B)} rewards are no groups of {group}; a group has two replies at least")
    # Less the first of each group, whose rounding would else be a difference between equal rewards.
    grouped = reward_B.reshape(-1, group)
    return grouped - grouped[:, :1]
