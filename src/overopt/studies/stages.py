"""The stage functions of the studies: each reads tables and models, and writes tables and models.

A shipped model enters a key by the hash of its files, so that other weights are other stages. Torch runs on one thread
in each stage: stages run side by side, and results do not depend on how many do.
"""

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from overopt.assets.catalog import PROMPT_TOKENS, base_model, fingerprint, model_path
from overopt.assets.chitchat import Split, exchanges, load_conversations
from overopt.errors import DataError
from overopt.hf.loading import load_tokenizer, quiet_models
from overopt.optimize.measurement import Measurement
from overopt.optimize.policy_gradient import optimize_policy
from overopt.optimize.settings import PolicyGradientConfig
from overopt.optimize.trainable import merged
from overopt.policies.models import HFPolicy
from overopt.policies.tables import reply_table
from overopt.protocols import SamplerConfig
from overopt.records.tables import GOLD_PARTS, read_table, settings_of, write_table
from overopt.rewards.checkpoint import RewardModel
from overopt.rewards.rubric import GoldRubric
from overopt.rewards.shaping import Standardise
from overopt.seeding import stream, stream_seed
from overopt.training.language_model import fit_prompts
from overopt.training.reward_model import RewardTrainingConfig, save_reward_model, train_reward_model
from overopt.workflow import StageContext, stage_function

MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedModel:
    """A pretrained model of the package, named so that a change of its files is seen."""

    width: int
    files: str
    """Hash of the model's files."""

    @classmethod
    def of(cls, width: int) -> "ShippedModel":
        """The model of that width as it is shipped now."""
        return cls(width=width, files=fingerprint(width))

    @property
    def path(self) -> Path:
        """Its folder."""
        return model_path(self.width)

    def load(self) -> HFPolicy:
        """The model as a policy."""
        return HFPolicy.load(self.path, device="cpu", dtype="float32")


@stage_function(name="chitchat.prompts", version=1, title="prompts")
def choose_prompts(
    ctx: StageContext, *, policy: ShippedModel, preference_prompts: int, evaluation_prompts: int, seed: int
) -> None:
    """Draw prompts of both splits, one from each evaluation conversation, cut to the policy's prompt length."""
    _prepare_torch()
    tokenizer = load_tokenizer(policy.path)
    conversations = load_conversations()
    frames = []
    sizes: dict[Split, int] = {"preference": preference_prompts, "evaluation": evaluation_prompts}
    for split, wanted in sizes.items():
        rows = exchanges(conversations, split).rows
        order = stream(seed, "prompts", split).permutation(len(rows))
        chosen = [rows[index] for index in order]
        if split == "evaluation":
            # Prompts are the independent units of every interval: no two share a conversation.
            chosen = list({row.conversation: row for row in reversed(chosen)}.values())
        if len(chosen) < wanted:
            raise DataError(f"the {split} split has {len(chosen)} prompts to draw from; {wanted} were asked for")
        chosen = chosen[:wanted]
        texts = fit_prompts(tokenizer, [row.prompt for row in chosen], PROMPT_TOKENS)
        frames.append(
            pl.DataFrame({"split": split, "conversation": [row.conversation for row in chosen], "prompt": texts})
        )
    table = pl.concat(frames).with_row_index("prompt_id")
    write_table(table, ctx.out / "prompts.parquet", "prompts", {"seed": seed, "prompt_tokens": PROMPT_TOKENS})


@stage_function(name="chitchat.preferences", version=2, title="gold-labelled pairs")
def label_pairs(
    ctx: StageContext, *, prompts: Path, policy: ShippedModel, sampler: SamplerConfig, held_out: int, seed: int
) -> None:
    """Two replies of the policy to each preference prompt, ordered by gold; equal golds are dropped and counted.

    ``held_out`` pairs at the end are never trained on. Labels are the sign of the gold difference, as in Gao et al.
    """
    _prepare_torch()
    rows = read_table(prompts / "prompts.parquet", "prompts").filter(pl.col("split") == "preference")
    texts = rows["prompt"].to_list()
    replies = policy.load().sample(
        texts, per_prompt=2, config=sampler, seed=stream_seed(seed, "pairs"), progress=ctx.progress
    )
    gold = GoldRubric().score([texts[reply.prompt] for reply in replies], [reply.text for reply in replies])
    first, second = gold[0::2], gold[1::2]
    firsts, seconds = [r.text for r in replies[0::2]], [r.text for r in replies[1::2]]
    is_first = first > second
    table = pl.DataFrame(
        {
            "pair_id": rows["prompt_id"],
            "prompt": texts,
            "chosen": [a if wins else b for a, b, wins in zip(firsts, seconds, is_first, strict=True)],
            "rejected": [b if wins else a for a, b, wins in zip(firsts, seconds, is_first, strict=True)],
            "gold_chosen": np.maximum(first, second),
            "gold_rejected": np.minimum(first, second),
            "margin": np.abs(first - second),
            "held_out": np.arange(len(texts)) >= len(texts) - held_out,
            "label_source": GoldRubric.name,
            "flipped": False,
        }
    )
    decided = table.filter(pl.col("margin") > 0)
    settings = {
        "seed": seed,
        "sampler": asdict(sampler),
        "policy": policy.path.name,
        "policy_files": policy.files,
        "comparisons": len(table),
        "gold_ties": len(table) - len(decided),
    }
    write_table(decided, ctx.out / "preferences.parquet", "preferences", settings)


@stage_function(name="chitchat.proxy", version=1, title="proxy")
def train_proxy(
    ctx: StageContext,
    *,
    preferences: Path,
    base: ShippedModel,
    pairs: int,
    config: RewardTrainingConfig,
    seed: int,
) -> None:
    """A proxy trained on the first ``pairs`` pairs, and its scores of the held-out ones."""
    _prepare_torch()
    table = read_table(preferences / "preferences.parquet", "preferences")
    train = table.filter(~pl.col("held_out"))
    if len(train) < pairs:
        raise DataError(f"{pairs} training pairs were asked for, but gold decided only {len(train)}")
    train = train.head(pairs)
    proxy = train_reward_model(
        base.path,
        train["prompt"].to_list(),
        train["chosen"].to_list(),
        train["rejected"].to_list(),
        config=config,
        seed=stream_seed(seed, "proxy", base.width, pairs),
        progress=ctx.progress,
    )
    save_reward_model(proxy, ctx.out / MODEL_FOLDER)
    # What is scored is what was saved and what others will load.
    proxy = RewardModel.load(ctx.out / MODEL_FOLDER)
    held_out = table.filter("held_out")
    prompts = held_out["prompt"].to_list()
    scores = {
        "pair_id": held_out["pair_id"],
        "score_chosen": proxy.score(prompts, held_out["chosen"].to_list()),
        "score_rejected": proxy.score(prompts, held_out["rejected"].to_list()),
    }
    settings = {
        "width": base.width,
        "base": base.path.name,
        "base_files": base.files,
        "parameters": sum(p.numel() for p in proxy.model.parameters()),
        "pairs": pairs,
        "seed": seed,
        "training": asdict(config),
    }
    write_table(pl.DataFrame(scores), ctx.out / "pair_scores.parquet", "pair_scores", settings)


@stage_function(name="chitchat.pool", version=2, title="best-of-n pool")
def draw_pool(
    ctx: StageContext, *, prompts: Path, policy: ShippedModel, sampler: SamplerConfig, per_prompt: int, seed: int
) -> None:
    """Many replies of the base policy to each evaluation prompt, with their gold."""
    _prepare_torch()
    model = policy.load()
    rows = read_table(prompts / "prompts.parquet", "prompts").filter(pl.col("split") == "evaluation")
    texts = rows["prompt"].to_list()
    replies = model.sample(
        texts, per_prompt=per_prompt, config=sampler, seed=stream_seed(seed, "pool"), progress=ctx.progress
    )
    table = _with_gold(reply_table(texts, rows["prompt_id"].to_list(), replies, None), GoldRubric())
    settings = {
        "seed": seed,
        "sampler": asdict(sampler),
        **model.describe(),
        "policy": policy.path.name,
        "policy_files": policy.files,
        "policy_parameters": base_model(policy.width).parameters,
        "policy_held_out_nats_per_token": base_model(policy.width).reply_loss,
    }
    write_table(table, ctx.out / "pool.parquet", "samples", settings)


@stage_function(name="chitchat.scores", version=1, title="scores")
def score_pool(ctx: StageContext, *, pool: Path, proxy: Path) -> None:
    """A proxy's raw score of every reply of the pool."""
    _prepare_torch()
    table = pl.read_parquet(pool / "pool.parquet", columns=["prompt_id", "sample_id", "prompt", "completion"])
    scorer = RewardModel.load(proxy / MODEL_FOLDER)
    scores = scorer.score(table["prompt"].to_list(), table["completion"].to_list(), progress=ctx.progress)
    write_table(table.with_columns(proxy=pl.Series(scores)), ctx.out / "scores.parquet", "scores", {})


@stage_function(name="chitchat.rl", version=2, title="RL")
def run_rl(
    ctx: StageContext,
    *,
    prompts: Path,
    proxy: Path,
    policy: ShippedModel,
    sampler: SamplerConfig,
    config: PolicyGradientConfig,
    replies_per_prompt: int,
    seed: int,
) -> None:
    """Push the policy against the proxy; at each measurement, replies to every evaluation prompt are kept."""
    _prepare_torch()
    reference, scorer, gold = policy.load(), RewardModel.load(proxy / MODEL_FOLDER, device="cpu"), GoldRubric()
    table = read_table(prompts / "prompts.parquet", "prompts")
    evaluation = table.filter(pl.col("split") == "evaluation")
    pair_scores = read_table(proxy / "pair_scores.parquet", "pair_scores")
    base_scores = np.concatenate([pair_scores["score_chosen"].to_numpy(), pair_scores["score_rejected"].to_numpy()])
    measurement = Measurement(
        reference,
        evaluation["prompt"].to_list(),
        evaluation["prompt_id"].to_list(),
        replies=replies_per_prompt,
        proxy=scorer,
        gold=gold,
        sampler=sampler,
        seed=seed,
    )
    optimized = optimize_policy(
        reference,
        scorer,
        table.filter(pl.col("split") == "preference")["prompt"].to_list(),
        config=config,
        sampler=sampler,
        seed=seed,
        measure=measurement,
        # Rewards in units of the proxy's spread over replies of the base policy, fixed once and for all.
        shaping=[Standardise(mean=0.0, sd=float(base_scores.std()) or 1.0)],
        progress=ctx.progress,
    )
    measured = _with_gold(measurement.table(), gold)
    settings = {
        **settings_of(proxy / "pair_scores.parquet", "pair_scores"),
        "rl_seed": seed,
        "rl": asdict(config),
        "sampler": asdict(sampler),
        **{name: value for name, value in reference.describe().items() if name != "policy"},
        "reference": policy.path.name,
        "reference_files": policy.files,
    }
    write_table(measured, ctx.out / "rl.parquet", "rl_steps", settings)
    pl.DataFrame([asdict(log) for log in optimized.logs]).write_parquet(
        ctx.out / "training_log.parquet", statistics=False
    )
    merged(optimized.policy).save_pretrained(ctx.out / MODEL_FOLDER)
    reference.tokenizer.save_pretrained(ctx.out / MODEL_FOLDER)


def _prepare_torch() -> None:
    """One thread, whatever runs beside this stage; memory of the stage before given back; no bars among ours."""
    torch.set_num_threads(1)
    # A process works through many stages. Without these two it holds 2 GB at the end of the default study: freed
    # blocks that the C library keeps, and a compiled kernel for every shape of batch it has seen.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
    # It reports as a warning that a reward head is new, which is what training one means.
    quiet_models()


def _with_gold(table: pl.DataFrame, gold: GoldRubric) -> pl.DataFrame:
    """The replies with their gold and its parts."""
    rubric = gold.score_parts(table["prompt"].to_list(), table["completion"].to_list())
    return table.with_columns(
        gold=pl.Series(rubric.total), **{GOLD_PARTS[part]: pl.Series(values) for part, values in rubric.parts.items()}
    )
