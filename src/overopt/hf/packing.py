"""Replies as rows for one forward pass: a prompt stands once for several of its replies, which do not see each other.

Axes: G rows, T positions, K reply tokens, B replies. With four replies of 15 tokens to a prompt of 30 a row holds 90
tokens in place of 180. Everything that is measured or trained is a flat list over the K reply tokens.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

SHARE = 8
"""Most replies in a row."""
ROOM = 256
"""Tokens of the replies of a row, or as many as its prompt has: attention within a row grows with its square."""

PADDING = -1
PROMPT = 0


@dataclass(frozen=True, slots=True)
class ReplyTokens:
    """Rows of prompts with their replies, padded on the right."""

    ids: torch.Tensor
    """(G, T) token ids."""
    position: torch.Tensor
    """(G, T) position of each token in its own text: every reply goes on where the prompt ends."""
    segment: torch.Tensor
    """(G, T) 0 on the prompt, i on the i-th reply of the row, -1 on padding."""
    source: torch.Tensor
    """(K,) place in the flattened (G, T) whose logits predict each reply token."""
    target: torch.Tensor
    """(K,) the reply tokens, end tokens included."""
    reply: torch.Tensor
    """(K,) which of the B replies each token belongs to."""
    offset: torch.Tensor
    """(K,) place of each token in its reply, from 0."""
    index: torch.Tensor
    """(B,) which of the replies that were packed these are."""
    end: torch.Tensor
    """(B,) place in the flattened (G, T) of each reply's last token."""

    def to(self, device: torch.device) -> "ReplyTokens":
        """The same on another device."""
        return ReplyTokens(*(getattr(self, name).to(device) for name in self.__slots__))

    @property
    def is_shared(self) -> bool:
        """Whether some row holds more than one reply."""
        return bool((self.segment > 1).any())

    def of(self, values_BT: torch.Tensor) -> torch.Tensor:
        """Of numbers (B, T) for all replies that were packed, one a token, those (K,) of the tokens here."""
        places = self.index.to(values_BT.device)[self.reply.to(values_BT.device)]
        return values_BT[places, self.offset.to(values_BT.device)].to(self.target.device)

    def put(self, values_K: torch.Tensor, into_BT: torch.Tensor) -> None:
        """The reverse of :meth:`of`."""
        places = self.index.to(into_BT.device)[self.reply.to(into_BT.device)]
        into_BT[places, self.offset.to(into_BT.device)] = values_K.to(into_BT)

    def sums(self, values_K: torch.Tensor) -> torch.Tensor:
        """Sum (B,) over each reply's tokens, in double precision where the device has it."""
        wide = torch.float32 if values_K.device.type == "mps" else torch.float64
        zeros = torch.zeros(len(self.index), dtype=wide, device=values_K.device)
        return zeros.index_add(0, self.reply, values_K.to(wide))


class PromptReplies:
    """Prompts and replies as token ids, to be packed in parts.

    Parameters
    ----------
    prompt_ids : sequence of sequences of int
        Token ids of each prompt.
    replies : sequence of (int, sequence of int)
        Which prompt each reply answers, and its token ids; a reply has one token at least.
    pad : int
        Fills masked places.
    share : int
        Most replies in a row.
    room : int, optional
        A second reply joins a row only while its replies have no more tokens than this or than their prompt: beyond
        that, attention costs more than the prompt would again. ``None``: no limit.
    """

    def __init__(
        self,
        prompt_ids: Sequence[Sequence[int]],
        replies: Sequence[tuple[int, Sequence[int]]],
        *,
        pad: int,
        share: int = SHARE,
        room: int | None = ROOM,
    ) -> None:
        self.prompts = prompt_ids
        self.prompt_B = np.array([prompt for prompt, _ in replies], dtype=np.int64)
        self.replies = [ids for _, ids in replies]
        self.lengths_B = np.array([len(ids) for ids in self.replies], dtype=np.int64)
        self.pad = pad
        self.share = share
        self.room = room

    def __len__(self) -> int:
        return len(self.replies)

    def parts(self, budget: int, members: Sequence[int] | np.ndarray | None = None) -> Iterator[ReplyTokens]:
        """The replies ``members``, or all, in parts of at most ``budget`` places (G x T) where one row allows it.

        Rows of one part have similar lengths, so that little of it is padding.
        """
        rows = self._rows(np.arange(len(self)) if members is None else np.asarray(members), budget)
        lengths = [len(self.prompts[self.prompt_B[row[0]]]) + int(self.lengths_B[row].sum()) for row in rows]
        part: list[list[int]] = []
        for place in np.argsort(lengths, kind="stable"):
            # Lengths ascend: the row that comes is the widest.
            if part and (len(part) + 1) * lengths[place] > budget:
                yield self._packed(part)
                part = []
            part.append(rows[place])
        if part:
            yield self._packed(part)

    def _rows(self, members: np.ndarray, budget: int) -> list[list[int]]:
        by_prompt: dict[int, list[int]] = {}
        for member in members.tolist():
            by_prompt.setdefault(int(self.prompt_B[member]), []).append(member)
        return [row for prompt, group in by_prompt.items() for row in self._rows_of_one(prompt, group, budget)]

    def _rows_of_one(self, prompt: int, group: Sequence[int], budget: int) -> Iterator[list[int]]:
        n_prompt = len(self.prompts[prompt])
        room = math.inf if self.room is None else min(max(self.room, n_prompt), budget - n_prompt)
        row: list[int] = []
        tokens = 0
        for member in group:
            length = int(self.lengths_B[member])
            if row and (len(row) == self.share or tokens + length > room):
                yield row
                row, tokens = [], 0
            row.append(member)
            tokens += length
        yield row

    def _packed(self, rows: Sequence[Sequence[int]]) -> ReplyTokens:
        width = max(
            len(self.prompts[self.prompt_B[row[0]]]) + sum(len(self.replies[member]) for member in row) for row in rows
        )
        ids = np.full((len(rows), width), self.pad, dtype=np.int64)
        position = np.zeros((len(rows), width), dtype=np.int64)
        segment = np.full((len(rows), width), PADDING, dtype=np.int64)
        source, target, reply, offset = [], [], [], []
        index: list[int] = []
        ends: list[int] = []
        for g, row in enumerate(rows):
            prompt = self.prompts[self.prompt_B[row[0]]]
            end = len(prompt)
            ids[g, :end], position[g, :end], segment[g, :end] = prompt, np.arange(end), PROMPT
            for number, member in enumerate(row, start=1):
                tokens = self.replies[member]
                start, end = end, end + len(tokens)
                ids[g, start:end] = tokens
                position[g, start:end] = np.arange(len(prompt), len(prompt) + len(tokens))
                segment[g, start:end] = number
                places = np.arange(start - 1, end - 1) + g * width
                places[0] = len(prompt) - 1 + g * width
                source.append(places)
                target.append(np.asarray(tokens, dtype=np.int64))
                reply.append(np.full(len(tokens), len(index)))
                offset.append(np.arange(len(tokens)))
                index.append(member)
                ends.append(g * width + end - 1)
        flat = map(np.concatenate, (source, target, reply, offset))
        return ReplyTokens(*map(torch.from_numpy, (ids, position, segment, *flat, np.array(index), np.array(ends))))


def n_shared(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts start with; at least one is left to each.

    >>> n_shared([[5, 3, 8], [5, 3, 9, 1]]), n_shared([[5, 3], [5, 3]])
    (2, 1)
    """
    most = min(map(len, texts)) - 1
    first = texts[0]
    return next((place for place in range(most) if any(text[place] != first[place] for text in texts)), most)


def attention_mask(tokens: ReplyTokens, dtype: torch.dtype) -> torch.Tensor:
    """(G, T) 1 on real tokens; of shared rows the additive mask (G, 1, T, T): a reply sees its prompt and itself."""
    if not tokens.is_shared:
        return (tokens.segment != PADDING).long()
    own = tokens.segment[:, :, None] == tokens.segment[:, None, :]
    sees = own | (tokens.segment[:, None, :] == PROMPT)
    width = tokens.ids.shape[1]
    earlier = torch.ones((width, width), dtype=torch.bool, device=tokens.ids.device).tril()
    # A row of padding sees padding: no softmax is over nothing. A product, as CPUs are slow at choosing by a mask.
    return (~(sees & earlier)).to(dtype)[:, None] * torch.finfo(dtype).min
