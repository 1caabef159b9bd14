"""Replies as rows of a table: what was said, by which distribution, how far from the reference."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from overopt.policies.logprobs import ReplyStatistics
from overopt.protocols import Prompt, Reply, prompt_text


def reply_table(
    prompts: Sequence[Prompt], prompt_ids: Sequence[object], replies: Sequence[Reply], measured: ReplyStatistics | None
) -> pl.DataFrame:
    """The columns of a sample record, in the order of ``replies``.

    Without ``measured`` the policy is its own reference: the log-probability is the sampler's and the KL 0 — or unknown
    where the engine told no log-probability.
    """
    logprob = np.array([reply.logprob for reply in replies], dtype=np.float64)
    columns = (
        {
            "policy_logprob": logprob,
            "reference_logprob": logprob,
            "kl": np.where(np.isnan(logprob), np.nan, 0.0),
            "entropy": np.array([reply.entropy for reply in replies], dtype=np.float64),
        }
        if measured is None
        else {name: getattr(measured, name).numpy() for name in measured.__slots__}
    )
    return pl.DataFrame(
        {
            "prompt_id": [prompt_ids[reply.prompt] for reply in replies],
            "sample_id": [reply.sample for reply in replies],
            "prompt": [prompt_text(prompts[reply.prompt]) for reply in replies],
            "completion": [reply.text for reply in replies],
            "token_ids": pl.Series([reply.token_ids for reply in replies], dtype=pl.List(pl.Int32)),
            "length": [len(reply.token_ids) for reply in replies],
            "finished": [reply.finished for reply in replies],
            **columns,
        }
    )
