"""Replies a second of reinforcement learning: ours beside TRL's ``GRPOTrainer``, in one run on one machine.

    pip install trl && python bench/rl.py [--rounds 2]

A step draws 64 prompts with four replies of at most 32 tokens each, scores them by the gold rubric and makes two
passes over them. Ours measures the exact KL to the reference at every step; TRL measures its k3 estimate, for which it
needs a penalty above 0 (1e-4). Loading counts on neither side.
"""

import argparse
import os
import tempfile
import time

import torch
from common import alternate, describe, table
from transformers.utils import logging

from overopt.assets.catalog import PROMPT_TOKENS, model_path
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.optimize.policy_gradient import optimize_policy
from overopt.optimize.settings import PolicyGradientConfig
from overopt.policies.models import HFPolicy
from overopt.protocols import SamplerConfig
from overopt.rewards.rubric import GoldRubric
from overopt.training.language_model import fit_prompts

STEPS, PROMPTS, GROUP = 6, 64, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for width in (64, 128):
        policy = HFPolicy.load(model_path(width), device=device, dtype="float32")
        texts = [row.prompt for row in exchanges(load_conversations(), "preference").rows[: PROMPTS * (STEPS + 1)]]
        prompts = fit_prompts(policy.tokenizer, texts, PROMPT_TOKENS)
        found = alternate(
            {
                "one": lambda policy=policy, prompts=prompts: ours(policy, prompts, epochs=1),
                "two": lambda policy=policy, prompts=prompts: ours(policy, prompts, epochs=2),
                "trl": lambda width=width, prompts=prompts: trl(width, prompts),
            },
            rounds=options.rounds,
        )
        rows.append(
            [f"chitchat-w{width}", found["one"], found["two"], found["trl"], f"{found['two'] / found['trl']:.1f}×"]
        )
    print(f"{describe()}; {PROMPTS} prompts × {GROUP} replies a step, at most 32 tokens\n")
    headers = (
        "policy",
        "ours, 1 pass, replies/s",
        "ours, 2 passes, replies/s",
        "TRL GRPO, 2 passes, replies/s",
        "ratio",
    )
    print(table(headers, rows))


def ours(policy: HFPolicy, prompts: list[str], *, epochs: int) -> float:
    """Replies a second between the first step's end and the last one's."""
    ends: list[float] = []
    optimize_policy(
        policy, GoldRubric(), prompts,
        config=PolicyGradientConfig(
            steps=STEPS, algorithm="grpo", prompts_per_step=PROMPTS, group=GROUP, epochs=epochs, minibatches=1,
            learning_rate=1e-4, warm_up=1,
        ),
        sampler=SamplerConfig(max_tokens=32), seed=0, measure=lambda step, policy: None,
        progress=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return (len(ends) - 1) * PROMPTS * GROUP / (ends[-1] - ends[0])


def trl(width: int, prompts: list[str]) -> float:
    """The same by TRL, timed in the same way."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    rubric = GoldRubric()
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            # Two optimiser steps are made of each batch of replies.
            if state.global_step % 2 == 0:
                ends.append(time.perf_counter())

    def reward(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        return rubric.score(prompts, completions).tolist()

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, num_iterations=2,
            max_completion_length=32, temperature=1.0, top_p=1.0, top_k=0, beta=1e-4, learning_rate=1e-4,
            max_steps=2 * STEPS, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), bf16=True, gradient_checkpointing=False,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(model_path(width), dtype=torch.float32)
        trainer = GRPOTrainer(
            model=model, reward_funcs=reward, args=settings, train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=AutoTokenizer.from_pretrained(model_path(width), padding_side="left"), callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return (len(ends) - 1) * PROMPTS * GROUP / (ends[-1] - ends[0])


if __name__ == "__main__":
    main()
