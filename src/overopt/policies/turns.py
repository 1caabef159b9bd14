"""Draw the next turn of many conversations that are held as tokens: what training on whole episodes needs.

Unlike :func:`overopt.policies.sampler.sample`, which draws whole replies to prompts, each context goes on from its own
tokens, has its own limit, and may end where a text says so (a command that is closed) instead of at an end token. Every
token comes with its log-probability under the distribution that was sampled.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from overopt.errors import ConfigError
from overopt.policies.decoding import open_session
from overopt.policies.distribution import filtered
from overopt.policies.sampler import affordable_batch, draw
from overopt.stats.sampling import SamplerSettings


@dataclass(frozen=True, slots=True)
class Drawn:
    """One turn."""

    token_ids: tuple[int, ...]
    """At least one; with the end token, if it came."""
    logprobs: tuple[float, ...]
    """Of each token, in nats."""


class TextEnd:
    """Whether a text is complete, asked after every token and answered cheaply.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Of the tokens. A closing tag may be one token or several, and may share its last one with what follows.
    mark : str
        What a complete text ends with, or just before what its last token has besides.
    is_complete : callable
        Asked of the whole text once it holds the mark.

    Notes
    -----
    Tokens are those of one turn; special tokens are no part of its text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, mark: str, is_complete: Callable[[str], bool]) -> None:
        self.tokenizer, self.mark, self.is_complete = tokenizer, mark, is_complete
        # A tokenizer spends at most one token on a byte.
        self.window = len(mark.encode()) + 1
        self._may_end: dict[int, bool] = {}

    def text(self, token_ids: Sequence[int]) -> str:
        """What the tokens say."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def __call__(self, token_ids: Sequence[int]) -> bool:
        """Whether the last of the tokens completes the text."""
        last = token_ids[-1]
        if last not in self._may_end:
            self._may_end[last] = self.mark[-1] in self.text([last])
        if not self._may_end[last] or self.mark not in self.text(token_ids[-self.window :]):
            return False
        return self.is_complete(self.text(token_ids))

    def length(self, token_ids: Sequence[int]) -> int | None:
        """Tokens up to the one that completes the text; ``None`` when it never is complete."""
        if not self.is_complete(self.text(token_ids)):
            return None
        # What is complete stays so.
        counts = range(1, len(token_ids))
        return 1 + bisect_left(counts, True, key=lambda count: self.is_complete(self.text(token_ids[:count])))


@torch.no_grad()
def draw_turns(
    model: PreTrainedModel,
    contexts: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    settings: SamplerSettings,
    ends: Collection[int],
    is_done: Callable[[Sequence[int]], bool],
    rng: np.random.Generator,
    batch: int | None = None,
) -> list[Drawn]:
    """One turn for each context, in their order.

    Parameters
    ----------
    contexts
        Token ids of the conversations so far; equal ones are read once.
    limits
        Most tokens of each turn, at least 1.
    ends
        Tokens that end a turn.
    is_done
        Asked after each token whether the turn is over, given all of its tokens.
    rng
        One uniform number is taken for every context and token up to the largest limit.

    Raises
    ------
    ConfigError
        If a limit is below 1.
    NonFiniteError
        If the model returns scores that are no distribution.
    """
    if any(limit < 1 for limit in limits):
        raise ConfigError("a turn needs room for a token")
    if not contexts:
        return []
    uniforms_BT = rng.random((len(contexts), max(limits)))
    batch = batch or affordable_batch(model, max(map(len, contexts)), max(limits), 1)
    # Long contexts beside long ones, equal ones beside each other.
    order = sorted(range(len(contexts)), key=lambda row: (len(contexts[row]), tuple(contexts[row])))
    found: dict[int, Drawn] = {}
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        part = _draw_batch(
            model, [contexts[row] for row in rows], [limits[row] for row in rows], uniforms_BT[rows], settings, ends,
            is_done,
        )  # fmt: skip
        found.update(zip(rows, part, strict=True))
    return [found[row] for row in range(len(contexts))]


def _draw_batch(
    model: PreTrainedModel,
    contexts: Sequence[Sequence[int]],
    limits: Sequence[int],
    uniforms_BT: np.ndarray,
    settings: SamplerSettings,
    ends: Collection[int],
    is_done: Callable[[Sequence[int]], bool],
) -> list[Drawn]:
    device = model.device
    wide = torch.float32 if device.type == "mps" else torch.float64
    uniform_BT = torch.from_numpy(uniforms_BT).to(device, wide)
    unique = list(dict.fromkeys(map(tuple, contexts)))
    place = {context: number for number, context in enumerate(unique)}
    session = open_session(model)
    logits_BV = session.start(unique, torch.tensor([place[tuple(context)] for context in contexts]))
    tokens: list[list[int]] = [[] for _ in contexts]
    logprobs: list[list[float]] = [[] for _ in contexts]
    alive = list(range(len(contexts)))
    for step in range(max(limits)):
        token_B, logprob_B, _ = draw(filtered(logits_BV, settings), uniform_BT[alive, step])
        for row, token, logprob in zip(alive, token_B.tolist(), logprob_B.tolist(), strict=True):
            tokens[row].append(token)
            logprobs[row].append(logprob)
        kept = [
            number
            for number, row in enumerate(alive)
            if step + 1 < limits[row] and tokens[row][-1] not in ends and not is_done(tokens[row])
        ]
        if not kept:
            break
        if len(kept) < len(alive):
            keep = torch.tensor(kept, device=device)
            session.keep(keep)
            token_B = token_B[keep]
            alive = [alive[number] for number in kept]
        logits_BV = session.step(token_B)
    return [Drawn(tuple(ids), tuple(values)) for ids, values in zip(tokens, logprobs, strict=True)]
