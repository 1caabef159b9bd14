"""Sample a policy into a table, with a summary: what ``overopt sample`` does."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overopt.errors import ConfigError
from overopt.policies.models import HFPolicy
from overopt.policies.tables import reply_table
from overopt.protocols import Policy, Progress, Prompt, SamplerConfig
from overopt.records.tables import write_table
from overopt.stats.sampling import check_finite_kl

SCHEMA = "overopt.sample/1"


def sample_to_table(
    policy: Policy,
    prompts: Sequence[Prompt],
    prompt_ids: Sequence[str],
    out: Path,
    *,
    per_prompt: int,
    config: SamplerConfig,
    seed: int,
    reference: str | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw replies into the Parquet table ``out`` (kind "replies") and say what was drawn.

    ``reference`` is a folder or hub name: then log-probabilities are computed anew under both models, in this
    package's engine, and the KL is exact. Without it the policy is its own reference.

    Raises
    ------
    ConfigError
        If a reference is asked of a policy whose weights are not here, or it has another vocabulary.
    """
    if out.suffix not in ("", ".parquet"):
        raise ConfigError(f"replies are written as Parquet: name the file {out.with_suffix('.parquet').name}")
    options = {"batch": batch} if isinstance(policy, HFPolicy) else {}
    started = time.perf_counter()
    replies = policy.sample(prompts, per_prompt=per_prompt, config=config, seed=seed, progress=progress, **options)
    seconds = time.perf_counter() - started
    measured = None
    if reference is not None:
        if not isinstance(policy, HFPolicy):
            raise ConfigError(f"a KL needs the weights of {policy.name} here: sample it with the engine hf")
        check_finite_kl(
            config.settings, type(config.settings)(temperature=config.temperature), direction="policy||reference"
        )
        dtype = str(policy.model.dtype).removeprefix("torch.")
        other = HFPolicy.load(reference, device=str(policy.model.device), dtype=dtype, stop=config.stop)
        measured = policy.measure(prompts, replies, reference=other, config=config)
    table = reply_table(prompts, prompt_ids, replies, measured)
    settings = {"seed": seed, "sampler": asdict(config), **policy.describe(), "reference": reference}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, out, "replies", settings)
    tokens = int(table["length"].sum())
    return {
        "schema": SCHEMA,
        "prompts": len(prompts),
        "replies": len(replies),
        "mean_length": float(table["length"].mean()),  # type: ignore[arg-type]
        "truncated": float((~table["finished"]).mean()),  # type: ignore[arg-type]
        "kl": None if table["kl"].is_nan().any() else float(table["kl"].mean()),  # type: ignore[arg-type]
        "entropy": float(table["entropy"].mean()),  # type: ignore[arg-type]
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        "table": str(out),
    }
