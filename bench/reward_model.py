"""Bradley-Terry pairs a second: ours beside TRL's ``RewardTrainer``, in one run on one machine; what each term costs.

    pip install trl && python bench/reward_model.py [--rounds 3] [--tables peers,grm,terms]

The same pairs (a prompt of the default study with two replies), one epoch, AdamW. Ours computes in bfloat16 with
float32 weights, TRL gets its own bf16 switch; loading and tokenizing count on both sides. The second table has text
terms on, in TRL through our ``GRMTrainer``, which is its trainer with our loss. The third compares each regulariser,
head and way of training with Bradley-Terry: times as long for the same pairs, the median of rounds that take turns,
loading and tokenizing left in.
"""

import argparse
import os
import tempfile

import torch
from common import alternate, describe, matrix_rate, rate, table
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from overopt.assets.catalog import model_path
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.hf.encoding import encode_scored
from overopt.hf.loading import load_tokenizer
from overopt.training.reward_config import Bottleneck, CorpusLoss, Head, Lora, RewardTrainingConfig, TextLoss
from overopt.training.reward_model import train_reward_model

PAIRS, MOST_TOKENS = 2_048, 112
TERMS: dict[str, dict[str, object]] = {
    "Bradley-Terry": {},
    "label smoothing": {"label_smoothing": 0.1},
    "centering": {"centering": 0.01},
    "batch sum to zero": {"sum_to_zero": 0.01},
    "frozen backbone": {"frozen_backbone": True},
    "MLP head": {"head": Head(kind="mlp")},
    "bottleneck": {"bottleneck": Bottleneck()},
    "LoRA": {"lora": Lora()},
    "GRM, SFT": {"text": TextLoss(kind="sft")},
    "GRM, SFT log-sigmoid": {"text": TextLoss(kind="sft_log_sigmoid")},
    "GRM, DPO": {"text": TextLoss(kind="dpo")},
    "GRM, DPO reference-free": {"text": TextLoss(kind="dpo_reference_free")},
    "chosen texts": {"corpus": CorpusLoss(chosen_weight=0.01)},
    "corpus, 16 texts a step": {"corpus": CorpusLoss(plain_weight=0.01)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tables", default="peers,grm,terms", help="which of the three")
    parser.add_argument("--width", type=int, default=128, help="of the model of the last two tables")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tables = options.tables.split(",")
    print(f"{describe()}; {PAIRS:,} pairs")
    if "peers" in tables:
        peers(options.rounds)
    if "grm" in tables:
        text_terms(options.width, options.rounds)
    if "terms" in tables:
        terms(options.width, options.rounds)


def peers(rounds: int) -> None:
    """Ours beside TRL, by size of the model, of the batch and of the texts."""
    peak = matrix_rate("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16)
    rows = []
    for width, batch, characters in (
        (16, 64, 110), (128, 64, 110), (128, 16, 110), (128, 256, 110), (128, 64, 30), (224, 64, 110),
    ):  # fmt: skip
        prompts, chosen, rejected, tokens = pairs(characters)
        found = alternate(
            {
                name: lambda side=side, width=width, batch=batch, texts=(prompts, chosen, rejected): rate(
                    lambda: side(width, batch, *texts)
                )
                for name, side in (("ours", ours), ("trl", trl))
            },
            rounds=rounds,
        )
        # Two passes backward for one forward; embeddings are looked up, not multiplied.
        operations = 6 * body_parameters(width) * 2 * tokens * found["ours"]
        rows.append(
            [
                f"chitchat-w{width}", batch, f"{tokens:.0f}", found["ours"], found["trl"],
                f"{found['ours'] / found['trl']:.1f}×", f"{operations / peak:.0%}",
            ]
        )  # fmt: skip
    print(f"\nmatrix products {peak / 1e9:,.0f} GFLOP/s in bfloat16\n")
    print(table(("model", "batch", "tokens a text", "ours pairs/s", "TRL pairs/s", "ratio", "of matrix rate"), rows))


def text_terms(width: int, rounds: int) -> None:
    """Both sides with each text term; all take turns, so that a slow minute hits all of them."""
    prompts, chosen, rejected, tokens = pairs(110)
    texts = (prompts, chosen, rejected)
    losses: dict[str, TextLoss | None] = {"Bradley-Terry": None}
    losses |= {name: text for name, changes in TERMS.items() if isinstance(text := changes.get("text"), TextLoss)}
    sides = {
        (who, name): lambda side=side, text=text: rate(
            lambda: side(width, 64, *texts, **({"text": text} if text else {}))
        )
        for name, text in losses.items()
        for who, side in (("ours", ours), ("TRL", trl))
    }
    found = alternate(sides, rounds=rounds)
    rows = [
        [
            name, found["ours", name], found["TRL", name], f"{found['ours', name] / found['TRL', name]:.1f}×",
            f"{found['ours', name] / found['TRL', 'Bradley-Terry']:.1f}×",
        ]
        for name in losses
    ]  # fmt: skip
    print(f"\nchitchat-w{width}, batches of 64 pairs, {tokens:.0f} tokens a text\n")
    print(table(("loss", "ours pairs/s", "TRL pairs/s", "ratio", "of TRL without a text term"), rows))


def terms(width: int, rounds: int) -> None:
    """Every term beside Bradley-Terry; terms take turns, so that a slow minute hits all of them."""
    prompts, chosen, rejected, tokens = pairs(110)
    corpus = [f"{prompt}{reply}" for prompt, reply in zip(prompts, chosen, strict=True)]
    found = alternate(
        {
            name: lambda changes=changes: rate(
                lambda: ours(width, 64, prompts, chosen, rejected, plain=corpus, **changes)
            )
            for name, changes in TERMS.items()
        },
        rounds=rounds,
    )
    rows = [[name, pace, f"{found['Bradley-Terry'] / pace:.2f}×"] for name, pace in found.items()]
    print(f"\nchitchat-w{width}, batches of 64 pairs, {tokens:.0f} tokens a text\n")
    print(table(("term", "pairs/s", "time, of Bradley-Terry"), rows))


def body_parameters(width: int) -> int:
    """Parameters that are multiplied with, the output embedding left out."""
    model = AutoModelForSequenceClassification.from_pretrained(model_path(width), num_labels=1)
    return model.num_parameters() - model.get_input_embeddings().weight.numel()


def pairs(characters: int) -> tuple[list[str], list[str], list[str], float]:
    """Real prompts, a reply of that many characters, the reply to another prompt; and the mean tokens of a text."""
    rows = [row for row in exchanges(load_conversations(), "preference").rows if 60 < len(row.prompt) < 160]
    # Replies are repeated up to a length; with 110 characters a text has about 64 tokens.
    replies = [((row.reply + " ") * 8)[:characters] for row in rows]
    prompts, chosen, rejected = [row.prompt for row in rows[:-1]], replies[:-1], replies[1:]
    tokenizer = load_tokenizer(model_path(16))
    first, second = ([len(ids) for ids in encode_scored(tokenizer, prompts, side)] for side in (chosen, rejected))
    kept = [place for place in range(len(prompts)) if max(first[place], second[place]) <= MOST_TOKENS][:PAIRS]
    tokens = sum(first[place] + second[place] for place in kept) / (2 * len(kept))
    prompts, chosen, rejected = ([texts[place] for place in kept] for texts in (prompts, chosen, rejected))
    return prompts, chosen, rejected, tokens


def ours(
    width: int,
    batch: int,
    prompts: list[str],
    chosen: list[str],
    rejected: list[str],
    plain: list[str] | None = None,
    **changes: object,
) -> int:
    config = RewardTrainingConfig(epochs=1, batch=batch, **changes)
    train_reward_model(model_path(width), prompts, chosen, rejected, config=config, seed=0, corpus=plain)
    return len(prompts)


def trl(
    width: int,
    batch: int,
    prompts: list[str],
    chosen: list[str],
    rejected: list[str],
    text: TextLoss | None = None,
) -> int:
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    from overopt.adapters.trl_rewards import GRMConfig, GRMTrainer

    disable_progress_bars()
    data = Dataset.from_dict({"prompt": prompts, "chosen": chosen, "rejected": rejected})
    with tempfile.TemporaryDirectory() as folder:
        kind, trainer_kind, own = RewardConfig, RewardTrainer, {}
        if text is not None:
            kind, trainer_kind = GRMConfig, GRMTrainer
            own = {f"text_{field}": getattr(text, field) for field in ("kind", "weight", "dpo_beta", "per_token")}
        settings = kind(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=1e-3,
            max_length=None, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), bf16=True, gradient_checkpointing=False,
            **own,
        )  # fmt: skip
        model = AutoModelForSequenceClassification.from_pretrained(model_path(width), num_labels=1, dtype=torch.float32)
        trainer = trainer_kind(
            model=model,
            args=settings,
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(model_path(width)),
        )
        trainer.train()
    return len(prompts)


if __name__ == "__main__":
    main()
