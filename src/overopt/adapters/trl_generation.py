"""What rollouts in TRL need of a model: its words as tokens, and turns sampled from it as it is trained."""

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from overopt.adapters.trl_rollout import Generated, Request
from overopt.errors import ConfigError
from overopt.hf.loading import evaluating
from overopt.policies.turns import draw_turns
from overopt.seeding import stream
from overopt.stats.sampling import SamplerSettings
from overopt.training.episode_words import EpisodeWords


class Words(EpisodeWords):
    """Conversations as tokens, in the template of a trainer's tokenizer, in another, or in a plain one.

    Parameters
    ----------
    trainer
        TRL's; its tokenizer is left as it is.
    template, plain : str
        Jinja: in place of the tokenizer's own, and where that has none.
    """

    def __init__(self, trainer: Any, template: str | None, plain: str) -> None:
        own = trainer.processing_class
        # A copy that shares the vocabulary: the trainer's keeps its template.
        tokenizer: PreTrainedTokenizerBase = copy.copy(getattr(own, "tokenizer", own))
        tokenizer.chat_template = template or tokenizer.chat_template or plain
        super().__init__(trainer.model, tokenizer)


class ModelGeneration:
    """Turns sampled from the model that is trained, by this package's sampler.

    Contexts are read anew at every turn; equal ones, as those of a group's first turn, once.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._step, self._calls = -1, 0

    def __call__(self, requests: Sequence[Request], trainer: Any) -> list[Generated]:
        """One turn a request.

        Raises
        ------
        ConfigError
            If the trainer samples in a way that this does not, or shards its model over processes.
        """
        from trl.models.utils import unwrap_model_for_generation

        settings = sampler_settings(trainer)
        step = int(trainer.state.global_step)
        self._step, self._calls = step, self._calls + 1 if step == self._step else 0
        rng = stream(self.seed, "trl", step, self._calls, int(trainer.accelerator.process_index))
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
            ) as model,
            evaluating(model),
        ):
            drawn = draw_turns(
                model,
                [request.token_ids for request in requests],
                [request.most_tokens for request in requests],
                settings=settings,
                ends=requests[0].ends,
                is_done=requests[0].is_complete,
                rng=rng,
            )
        return [Generated(turn.token_ids, turn.logprobs) for turn in drawn]


def sampler_settings(trainer: Any) -> SamplerSettings:
    """How a trainer says that tokens are sampled.

    Raises
    ------
    ConfigError
        If it says something that is not sampled here.
    """
    others = {
        "use_vllm": bool(trainer.use_vllm),
        "use_transformers_continuous_batching": bool(trainer.use_transformers_continuous_batching),
        "min_p": bool(trainer.min_p),
        "repetition_penalty": trainer.repetition_penalty != 1.0,
        "generation_kwargs": bool(trainer.args.generation_kwargs),
        "fsdp": bool(getattr(trainer, "is_fsdp_enabled", False)),
    }
    if wanted := [name for name, is_set in others.items() if is_set]:
        raise ConfigError(
            f"{', '.join(wanted)}: not sampled here; hand trl_rollout a function as generate that does it"
        )
    return SamplerSettings(
        temperature=trainer.temperature,
        top_p=trainer.top_p,
        top_k=trainer.top_k if trainer.top_k and trainer.top_k > 0 else None,
    )
