"""Replies a second: ours beside transformers' ``generate`` (and vLLM on a GPU), in one run on one machine.

    python bench/sampling.py [--smollm2 FOLDER] [--rounds 3]

Both sides draw from the whole distribution at temperature 1, up to the same number of tokens, and stop at the end
token. ``generate`` gets the prompts left-padded, several replies to each, in batches of the same size.
"""

import argparse
import contextlib
import os

import torch
from common import alternate, describe, matrix_rate, rate, table
from transformers.utils import logging

from overopt.assets.catalog import PROMPT_TOKENS, model_path
from overopt.assets.chitchat import exchanges, load_conversations
from overopt.hf.encoding import encode_prompts, filler, left_padded
from overopt.policies.models import HFPolicy
from overopt.protocols import SamplerConfig
from overopt.training.language_model import fit_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm2", help="folder made by: overopt assets smollm2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak = matrix_rate(device)
    print(f"{describe()}; matrix products {peak / 1e9:,.0f} GFLOP/s in float32\n")
    rows = []
    for width, prompts, per_prompt, batch, length in (
        (16, 64, 32, 512, 32), (128, 64, 4, 256, 32), (128, 32, 64, 512, 32), (128, 4, 512, 1024, 32),
        (128, 32, 64, 512, 64), (224, 32, 64, 512, 32),
    ):  # fmt: skip
        policy = HFPolicy.load(model_path(width), device=device, dtype="float32")
        texts = chitchat_prompts(policy, prompts)
        rows.append(compare(policy, f"chitchat-w{width}", texts, per_prompt, batch, length, options.rounds, peak))
    if options.smollm2:
        policy = HFPolicy.load(options.smollm2, device=device, dtype="bfloat16")
        chats = [[{"role": "user", "content": text}] for text in CHATS]
        for batch in (32, 128):
            rows.append(
                compare(
                    policy, "SmolLM2-135M bf16", chats, batch // 4, batch, 48, 1, matrix_rate(device, torch.bfloat16)
                )
            )
    headers = (
        "model",
        "prompts × replies",
        "batch",
        "tokens",
        "ours replies/s",
        "generate replies/s",
        "ratio",
        "ours tokens/s",
        "of matrix rate",
    )
    print(table(headers, rows))


CHATS = (
    "Tell me about your day.",
    "What is a good name for a cat?",
    "Write a short poem about rain.",
    "Why is the sky blue?",
)


def chitchat_prompts(policy: HFPolicy, number: int) -> list[str]:
    """Prompts of the default study's evaluation split."""
    rows = exchanges(load_conversations(), "evaluation").rows[:number]
    return fit_prompts(policy.tokenizer, [row.prompt for row in rows], PROMPT_TOKENS)


def compare(
    policy: HFPolicy, name: str, prompts: list, per_prompt: int, batch: int, length: int, rounds: int, peak: float
) -> list:
    config = SamplerConfig(max_tokens=length)
    tokens: list[int] = []
    n_replies = len(prompts) * per_prompt

    def ours() -> float:
        replies = policy.sample(prompts, per_prompt=per_prompt, config=config, seed=0, batch=batch)
        tokens.append(sum(len(reply.token_ids) for reply in replies))
        return len(replies)

    found = alternate(
        {
            "ours": lambda: rate(ours),
            "generate": lambda: rate(lambda: generate(policy, prompts, per_prompt, batch, length)),
        },
        rounds=rounds,
    )
    per_second = found["ours"] * tokens[-1] / n_replies
    prompt_tokens = sum(map(len, encode_prompts(policy.tokenizer, prompts))) * found["ours"] / n_replies
    share = 2 * policy.model.num_parameters() * (per_second + prompt_tokens) / peak
    return [
        name, f"{len(prompts)} × {per_prompt}", batch, length, found["ours"], found["generate"],
        f"{found['ours'] / found['generate']:.1f}×", per_second, f"{share:.0%}",
    ]  # fmt: skip


@torch.no_grad()
def generate(policy: HFPolicy, prompts: list, per_prompt: int, batch: int, length: int) -> int:
    """The same work by transformers."""
    ids = encode_prompts(policy.tokenizer, prompts)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    at_once = max(1, batch // per_prompt)
    done = 0
    with contextlib.suppress(AttributeError):
        policy.model.generation_config.pad_token_id = filler(policy.tokenizer)
    for start in range(0, len(order), at_once):
        part = [ids[index] for index in order[start : start + at_once]]
        ids_BT, mask_BT = (x.to(policy.model.device) for x in left_padded(part, filler(policy.tokenizer)))
        for returned in split(per_prompt, batch // len(part)):
            out = policy.model.generate(
                input_ids=ids_BT, attention_mask=mask_BT, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=length, num_return_sequences=returned,
            )  # fmt: skip
            done += len(policy.tokenizer.batch_decode(out[:, ids_BT.shape[1] :], skip_special_tokens=True))
    return done


def split(total: int, most: int) -> list[int]:
    """``total`` in parts of at most ``most``."""
    return [min(most, total - start) for start in range(0, total, most)]


if __name__ == "__main__":
    main()
