"""Score replies with a reward model saved in Hugging Face format.

The text that is scored is the prompt, the reply and the end token, always all three; the score is read at the last
real token. Padding is on the right and masked, so that neither batch size nor order moves a score by more than
rounding; scores are float32, dropout is off, and texts that were scored before in a call are not scored again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from overopt.errors import ConfigError, DataError, NonFiniteError, ShapeError
from overopt.stats.estimate import FloatArray


class RewardModel:
    """A sequence-classification model with one output, as a :class:`~overopt.protocols.Scorer`.

    Raises
    ------
    ConfigError
        If the checkpoint has more than one output, or padding cannot be told from the end of a text.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str = "reward-model"):
        if model.config.num_labels != 1:
            raise ConfigError(f"{name} has {model.config.num_labels} outputs; a reward model has one")
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
            raise ConfigError(f"the tokenizer of {name} needs a pad token that is not its end token")
        # The model looks for the last token that is not its own pad token: it must be the one that pads here.
        model.config.pad_token_id = tokenizer.pad_token_id
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, path: str | Path) -> "RewardModel":
        """Any checkpoint that ``AutoModelForSequenceClassification`` loads, in float32."""
        model = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager"
        )
        return cls(model, AutoTokenizer.from_pretrained(path), name=Path(path).name)

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        *,
        batch: int = 256,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> FloatArray:
        """Scores (B,) in log-odds, float64 holding float32 values.

        Raises
        ------
        ShapeError
            If there are not as many prompts as completions.
        DataError
            If a text is longer than the model's context: it is never cut.
        NonFiniteError
            If a score is not finite.
        """
        if len(prompts) != len(completions):
            raise ShapeError(f"{len(prompts)} prompts do not go with {len(completions)} completions")
        pairs = list(dict.fromkeys(zip(prompts, completions, strict=True)))
        ids = encode_texts(self.tokenizer, [p for p, _ in pairs], [c for _, c in pairs])
        longest = max((len(tokens) for tokens in ids), default=0)
        if longest > self.model.config.max_position_embeddings:
            raise DataError(
                f"a text of {longest} tokens does not fit {self.name}, "
                f"which reads {self.model.config.max_position_embeddings}; shorten the prompts"
            )
        scores = np.empty(len(pairs), dtype=np.float64)
        order = np.argsort([len(tokens) for tokens in ids], kind="stable")
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            scores[rows] = self._forward([ids[row] for row in rows])
            if progress is not None:
                progress(start + len(rows), len(order), "texts")
        if not np.isfinite(scores).all():
            raise NonFiniteError(f"{self.name} returned a score that is not finite; its weights are damaged")
        place = {pair: index for index, pair in enumerate(pairs)}
        return scores[[place[pair] for pair in zip(prompts, completions, strict=True)]]

    @torch.no_grad()
    def _forward(self, ids: Sequence[Sequence[int]]) -> FloatArray:
        ids_BT, mask_BT = right_padded(ids, self.tokenizer.pad_token_id)
        return np.asarray(self.model(input_ids=ids_BT, attention_mask=mask_BT).logits[:, 0].double())


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], completions: Sequence[str]
) -> list[list[int]]:
    """Token ids of prompt, completion and end token; the two are tokenized apart, as they were when sampled."""
    heads = _encode_unique(tokenizer, prompts, special=True)
    tails = _encode_unique(tokenizer, completions, special=False)
    return [
        [*heads[prompt], *tails[completion], tokenizer.eos_token_id]
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def right_padded(ids: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) that start together, and the mask (B, T) of the real ones."""
    length = max(len(tokens) for tokens in ids)
    ids_BT = torch.tensor([[*tokens, *[pad] * (length - len(tokens))] for tokens in ids])
    mask_BT = torch.tensor([[1] * len(tokens) + [0] * (length - len(tokens)) for tokens in ids])
    return ids_BT, mask_BT


def _encode_unique(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool) -> dict[str, list[int]]:
    unique = list(dict.fromkeys(texts))
    if not unique:
        return {}
    # A reply that spells the end token is scored as the text it is.
    ids = tokenizer(unique, add_special_tokens=special, split_special_tokens=True)["input_ids"]
    return dict(zip(unique, ids, strict=True))
