"""Preference pairs as tokens, to be packed in parts that keep the two sides of a pair together.

A loss of pairs needs both log-probabilities at once. Axis: B pairs; reply 2 i is chosen and reply 2 i + 1 rejected in
pair i.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from overopt.errors import DataError
from overopt.hf.encoding import context_length, encode_prompts, encode_replies, filler
from overopt.hf.hidden import fits_packing
from overopt.hf.packing import PromptReplies, ReplyTokens
from overopt.policies.models import HFPolicy
from overopt.policies.sampler import end_tokens
from overopt.protocols import Prompt, SamplerConfig, prompt_text


@dataclass(frozen=True, slots=True)
class Pairs:
    """Preference pairs as text and as tokens."""

    prompts: Sequence[Prompt]
    completions: list[str]
    """(2 B,) chosen and rejected of the first pair, of the second, …"""
    packed: PromptReplies

    @classmethod
    def encode(
        cls,
        policy: HFPolicy,
        prompts: Sequence[Prompt],
        chosen: Sequence[str],
        rejected: Sequence[str],
        sampler: SamplerConfig,
    ) -> "Pairs":
        """Tokens of all pairs; both replies of a pair share a row where the model allows it."""
        tokenizer = policy.tokenizer
        completions = [text for pair in zip(chosen, rejected, strict=True) for text in pair]
        prompt_ids = encode_prompts(tokenizer, prompts)
        reply_ids = encode_replies(
            tokenizer,
            [prompt for prompt in prompts for _ in range(2)],
            completions,
            ends=end_tokens(policy.model, tokenizer, sampler.stop),
        )
        equal = [pair for pair in range(len(prompts)) if reply_ids[2 * pair] == reply_ids[2 * pair + 1]]
        if equal:
            raise DataError(
                f"{len(equal)} of {len(prompts)} pairs have the same completion on both sides, the first is pair "
                f"{equal[0]}; such a pair says nothing: drop them first"
            )
        lengths = [len(prompt_ids[place // 2]) + len(ids) for place, ids in enumerate(reply_ids)]
        room = context_length(policy.model)
        long = sorted({place // 2 for place, length in enumerate(lengths) if room is not None and length > room})
        if long:
            raise DataError(
                f"{len(long)} of {len(prompts)} pairs take more than the {room} tokens that {policy.name} reads, the "
                f"first is pair {long[0]}, the longest takes {max(lengths)}; drop or shorten them: nothing is cut"
            )
        share = 2 if fits_packing(policy.model) else 1
        packed = PromptReplies(
            prompt_ids, [(place // 2, ids) for place, ids in enumerate(reply_ids)], pad=filler(tokenizer), share=share
        )
        return cls(prompts, completions, packed)

    def parts(self, places: int, pairs: Sequence[int]) -> Iterator[ReplyTokens]:
        """These pairs in parts of at most ``places`` places where one pair allows it; no pair is split."""
        packed = self.packed
        rows = 1 if packed.share > 1 else 2
        widths = {}
        for pair in pairs:
            lengths = packed.lengths_B[2 * pair : 2 * pair + 2]
            widths[pair] = len(packed.prompts[pair]) + int(lengths.sum() if rows == 1 else lengths.max())
        part: list[int] = []
        for pair in sorted(pairs, key=lambda pair: (widths[pair], pair)):
            if part and rows * (len(part) + 1) * widths[pair] > places:
                yield self._whole(part)
                part = []
            part.append(pair)
        if part:
            yield self._whole(part)

    def _whole(self, pairs: Sequence[int]) -> ReplyTokens:
        members = np.array([(2 * pair, 2 * pair + 1) for pair in pairs]).ravel()
        (tokens,) = self.packed.parts(2**62, members)
        return tokens

    def digest(self) -> str:
        """Of all texts, in order."""
        digest = hashlib.sha256()
        for number, prompt in enumerate(self.prompts):
            digest.update(json.dumps([prompt_text(prompt), *self.completions[2 * number : 2 * number + 2]]).encode())
        return digest.hexdigest()
