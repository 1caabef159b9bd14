"""The small world's own model: a transformer of some hundred thousand numbers, pretrained on what its writers wrote.

Saved and loaded in the standard formats of Hugging Face, tokenizer included: one token a word of the grammar.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from overopt.errors import ConfigError
from overopt.hf.loading import load_model, load_tokenizer
from overopt.seeding import stream
from overopt.training.game_config import GameModelConfig
from overopt.training.language_model import Architecture, PretrainConfig, TokenMatrix, pretrain
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.tokens import token_rows
from overopt.worlds.tampering.vocabulary import BOS, EOS, PAD, PROMPT_LENGTH, TOKEN_ID
from overopt.worlds.tampering.writers import Writers, written_corpus


def game_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the grammar, words divided by spaces.

    >>> game_tokenizer()("<bos> tampering topic_0")["input_ids"]
    [1, 8, 9]
    """
    tokenizer = Tokenizer(models.WordLevel(dict(TOKEN_ID), unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, padding_side="right"
    )


def corpus_tokens(writers: Writers, episodes: int, seed: int) -> TokenMatrix:
    """A corpus as rows of tokens; the reply begins with the plan."""
    corpus = written_corpus(writers, episodes, stream(seed, "small world", "corpus"))
    rows = token_rows(game(), [corpus.scenarios[index] for index in corpus.scenario], corpus.choices)
    width = int(rows.lengths.max())
    return TokenMatrix(
        ids=rows.ids[:, :width],
        lengths=rows.lengths,
        reply_starts=rows.lengths * 0 + PROMPT_LENGTH,
        is_complete=rows.lengths > 0,
    )


def pretrained_game_model(
    config: GameModelConfig, *, seed: int, progress: Callable[[int, int, str], None] | None = None
) -> LlamaForCausalLM:
    """The model of one seed: its corpus, its first weights and the order of its batches.

    Raises
    ------
    NonFiniteError
        As :func:`~overopt.training.language_model.pretrain`.
    """
    return pretrain(
        PretrainConfig(
            architecture=Architecture(
                width=config.width, layers=config.layers, heads=config.width // 16, hidden=config.width * 8 // 3
            ),
            steps=config.steps,
            batch=config.batch,
            matrix_lr=config.matrix_lr,
            embedding_lr=config.embedding_lr,
            seed=seed,
        ),
        corpus_tokens(config.writers, config.episodes, seed),
        game_tokenizer(),
        progress=progress,
    )


def save_game_model(model: PreTrainedModel, folder: Path) -> None:
    """Weights, settings and tokenizer in the standard format."""
    model.save_pretrained(folder)
    game_tokenizer().save_pretrained(folder)


def load_game_model(folder: str | Path) -> PreTrainedModel:
    """A model that speaks the small world's grammar, as it was saved; on the CPU.

    Raises
    ------
    ConfigError
        If there is no such model, or its words are not those of the grammar.
    """
    words = load_tokenizer(folder).get_vocab()
    if words != TOKEN_ID:
        raise ConfigError(
            f"{folder} holds a model of other words than the small world's {len(TOKEN_ID)}; "
            "overopt tamper toy --out makes models of it"
        )
    return load_model(AutoModelForCausalLM, folder, device=torch.device("cpu"), dtype=torch.float32)
