"""Replies a second of reinforcement learning: ours beside TRL's ``GRPOTrainer``, in one run on one machine.

    pip install trl && python bench/rl.py [--rounds 2]

A step draws prompts with four replies each, scores them by the gold rubric and makes one or two passes over them. Ours
measures the exact KL to the reference at every step; TRL measures its k3 estimate, for which it needs a penalty above 0
(1e-4). Loading counts on neither side.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass

import torch
from common import alternate, describe, matrix_rate, table
from transformers.utils import logging

from overopt.assets.catalog import PROMPT_TOKENS, model_path
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.hf.encoding import encode_prompts
from overopt.optimize.policy_gradient import optimize_policy
from overopt.optimize.settings import PolicyGradientConfig
from overopt.policies.models import HFPolicy
from overopt.protocols import SamplerConfig
from overopt.rewards.rubric import GoldRubric
from overopt.training.language_model import fit_prompts

STEPS, GROUP = 6, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak = matrix_rate(device, torch.bfloat16)
    rows = []
    for width, n_prompts, length, is_compared in (
        (64, 64, 32, True), (128, 64, 32, True), (16, 64, 32, False), (224, 64, 32, False), (128, 16, 32, False),
        (128, 256, 32, False), (128, 64, 64, False),
    ):  # fmt: skip
        policy = HFPolicy.load(model_path(width), device=device, dtype="float32")
        texts = [row.prompt for row in exchanges(load_conversations(), "preference").rows[: n_prompts * (STEPS + 1)]]
        prompts = fit_prompts(policy.tokenizer, texts, PROMPT_TOKENS)
        job = Job(width=width, prompts=n_prompts, length=length)
        sides = {
            str(epochs): lambda policy=policy, prompts=prompts, job=job, epochs=epochs: ours(
                policy, prompts, job, epochs=epochs
            )
            for epochs in (1, 2)
        }
        if is_compared:
            sides["trl"] = lambda prompts=prompts, job=job: trl(prompts, job)
        found = alternate(sides, rounds=options.rounds)
        tokens = policy.sample(prompts[:64], per_prompt=GROUP, config=SamplerConfig(max_tokens=length), seed=1)
        per_reply = sum(len(reply.token_ids) for reply in tokens) / len(tokens)
        per_reply += sum(map(len, encode_prompts(policy.tokenizer, prompts))) / len(prompts) / GROUP
        # Drawing and the reference once forward, two passes forward and back; all on the whole output embedding.
        operations = (2 + 2 + 2 * 6) * policy.model.num_parameters() * per_reply * found["2"]
        rows.append(
            [
                f"chitchat-w{width}", f"{n_prompts} × {GROUP}", length, found["1"], found["2"], found.get("trl", "–"),
                f"{found['2'] / found['trl']:.1f}×" if is_compared else "–", f"{operations / peak:.0%}",
            ]
        )  # fmt: skip
    print(f"{describe()}; matrix products {peak / 1e9:,.0f} GFLOP/s in bfloat16\n")
    headers = (
        "policy", "prompts × replies", "tokens", "ours, 1 pass, replies/s", "ours, 2 passes, replies/s",
        "TRL GRPO, 2 passes, replies/s", "ratio", "of matrix rate",
    )  # fmt: skip
    print(table(headers, rows))


@dataclass(frozen=True)
class Job:
    """What both sides do."""

    width: int
    prompts: int
    """A step."""
    length: int
    """Most tokens of a reply."""


def ours(policy: HFPolicy, prompts: list[str], job: Job, *, epochs: int) -> float:
    """Replies a second between the first step's end and the last one's."""
    ends: list[float] = []
    optimize_policy(
        policy, GoldRubric(), prompts,
        config=PolicyGradientConfig(
            steps=STEPS, algorithm="grpo", prompts_per_step=job.prompts, group=GROUP, epochs=epochs, minibatches=1,
            learning_rate=1e-4, warm_up=1,
        ),
        sampler=SamplerConfig(max_tokens=job.length), seed=0, measure=lambda step, policy: None,
        progress=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return (len(ends) - 1) * job.prompts * GROUP / (ends[-1] - ends[0])


def trl(prompts: list[str], job: Job) -> float:
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
            output_dir=folder, per_device_train_batch_size=job.prompts * GROUP, num_generations=GROUP, num_iterations=2,
            max_completion_length=job.length, temperature=1.0, top_p=1.0, top_k=0, beta=1e-4, learning_rate=1e-4,
            max_steps=2 * STEPS, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), bf16=True, gradient_checkpointing=False,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(model_path(job.width), dtype=torch.float32)
        trainer = GRPOTrainer(
            model=model, reward_funcs=reward, args=settings, train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=AutoTokenizer.from_pretrained(model_path(job.width), padding_side="left"),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return (len(ends) - 1) * job.prompts * GROUP / (ends[-1] - ends[0])


if __name__ == "__main__":
    main()
