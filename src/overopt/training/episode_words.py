"""Episodes as a model reads them: its own turns token by token, and what the chat template puts between them.

Kept apart from how turns are drawn and from what is learnt from them, so that the native trainer and TRL's see the same
tokens.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from overopt.envs.machine import STOP, has_command
from overopt.errors import ConfigError
from overopt.hf.encoding import context_length, encode_between, encode_prompts, encode_replies
from overopt.policies.sampler import end_tokens
from overopt.policies.turns import TextEnd
from overopt.protocols import Message


class EpisodeWords:
    """Conversations as tokens, in the template of a tokenizer.

    Parameters
    ----------
    model : PreTrainedModel
        How much it reads, and where it ends.
    tokenizer : PreTrainedTokenizerBase
        With a chat template.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.context = context_length(model)
        self.ends = frozenset(end_tokens(model, tokenizer))
        self.command_end = TextEnd(tokenizer, STOP, has_command)

    def prompt(self, conversation: Sequence[Message], name: str) -> list[int]:
        """Token ids of what opens an episode.

        Raises
        ------
        ConfigError
            If the model cannot read it.
        """
        (ids,) = encode_prompts(self.tokenizer, [conversation])
        if self.context is not None and len(ids) >= self.context:
            raise ConfigError(f"the prompt of {name} takes {len(ids)} tokens, and the model reads {self.context}")
        return ids

    def between(self, conversation: Sequence[Message]) -> list[int]:
        """Token ids of what stands between the last reply and the next."""
        return encode_between(self.tokenizer, conversation)

    def turn(self, conversation: Sequence[Message], text: str) -> list[int]:
        """Token ids of a turn as the policy would have said it: to the end of its command, or with an end token."""
        if has_command(text):
            found: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
                "input_ids"
            ]
            return found
        (ids,) = encode_replies(self.tokenizer, [conversation], [text], ends=self.ends)
        return ids
