"""Bradley-Terry pairs a second: ours beside TRL's ``RewardTrainer``, in one run on one machine.

    pip install trl && python bench/reward_model.py [--rounds 3]

The same pairs (a prompt of the default study with two replies, about 64 tokens a text), batches of 64, one epoch,
AdamW. Ours computes in bfloat16 with float32 weights, TRL gets its own bf16 switch; loading and tokenizing count on
both sides.
"""

import argparse
import os
import tempfile

import torch
from common import alternate, describe, rate, table
from transformers.utils import logging

from overopt.assets.catalog import model_path
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.training.reward_model import RewardTrainingConfig, train_reward_model

PAIRS = 2_048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    prompts, chosen, rejected = pairs()
    rows = []
    for width in (16, 128):
        found = alternate(
            {
                "ours": lambda width=width: rate(lambda: ours(width, prompts, chosen, rejected)),
                "trl": lambda width=width: rate(lambda: trl(width, prompts, chosen, rejected)),
            },
            rounds=options.rounds,
        )
        rows.append([f"chitchat-w{width}", found["ours"], found["trl"], f"{found['ours'] / found['trl']:.1f}×"])
    print(f"{describe()}; {PAIRS:,} pairs, batches of 64\n")
    print(table(("reward model", "ours pairs/s", "TRL pairs/s", "ratio"), rows))


def pairs() -> tuple[list[str], list[str], list[str]]:
    """Real prompts, a real reply, and the reply to another prompt."""
    rows = [row for row in exchanges(load_conversations(), "preference").rows if 60 < len(row.prompt) < 160][
        : PAIRS + 1
    ]
    # About 64 tokens a text: replies are repeated up to a length.
    replies = [(row.reply + " ") * 8 for row in rows]
    cut = [reply[:110] for reply in replies]
    return [row.prompt for row in rows[:-1]], cut[:-1], cut[1:]


def ours(width: int, prompts: list[str], chosen: list[str], rejected: list[str]) -> int:
    config = RewardTrainingConfig(epochs=1, batch=64)
    train_reward_model(model_path(width), prompts, chosen, rejected, config=config, seed=0)
    return len(prompts)


def trl(width: int, prompts: list[str], chosen: list[str], rejected: list[str]) -> int:
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    disable_progress_bars()
    data = Dataset.from_dict({"prompt": prompts, "chosen": chosen, "rejected": rejected})
    with tempfile.TemporaryDirectory() as folder:
        settings = RewardConfig(
            output_dir=folder, per_device_train_batch_size=64, num_train_epochs=1, learning_rate=1e-3, max_length=None,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), bf16=True, gradient_checkpointing=False,
        )  # fmt: skip
        model = AutoModelForSequenceClassification.from_pretrained(model_path(width), num_labels=1, dtype=torch.float32)
        trainer = RewardTrainer(
            model=model,
            args=settings,
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(model_path(width)),
        )
        trainer.train()
    return len(prompts)


if __name__ == "__main__":
    main()
