"""What every training loop asks before a step: which items it takes, and in which precision it multiplies."""

from contextlib import AbstractContextManager, nullcontext

import torch

from overopt.seeding import stream


def numbers_of(step: int, n_items: int, per_step: int, seed: int, *names: str) -> list[int]:
    """The items of a step, from 1: permutations one after another, each item once before any comes again."""
    start = (step - 1) * per_step
    numbers: list[int] = []
    while len(numbers) < per_step:
        epoch, place = divmod(start + len(numbers), n_items)
        order = stream(seed, *names, epoch).permutation(n_items)
        numbers += order[place : place + per_step - len(numbers)].tolist()
    return numbers


def products(precision: str, device: str) -> AbstractContextManager[object]:
    """The context that training's products run in: autocast for ``bf16``, none for ``fp32``."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
