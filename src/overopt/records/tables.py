"""The tables of a study, one Parquet file each, with their columns, their version and their settings inside.

Everything that is reported can be computed from these tables; none of it needs torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from overopt.errors import ArtifactError, DataError

Kind = Literal[
    "prompts", "preferences", "samples", "pair_scores", "scores", "rl_steps", "replies", "rl_replies", "rl_curve",
    "rl_log", "policy_distances", "game_ends", "game_rounds", "game_estimates", "game_path", "game_episodes",
]  # fmt: skip
VERSION = 1

_RECORD: dict[str, Any] = {
    "prompt_id": pl.Int64,
    "sample_id": pl.Int64,
    "prompt": pl.String,
    "completion": pl.String,
    "token_ids": pl.List(pl.Int32),
    "length": pl.Int64,
    "finished": pl.Boolean,
    "policy_logprob": pl.Float64,
    "reference_logprob": pl.Float64,
    "kl": pl.Float64,
    "entropy": pl.Float64,
}
_GOLD: dict[str, Any] = {
    "gold": pl.Float64,
    "valence": pl.Float64,
    "relevance": pl.Float64,
    "repetition": pl.Float64,
    "length_part": pl.Float64,
    "question": pl.Float64,
}
GOLD_PARTS = {
    "valence": "valence",
    "relevance": "relevance",
    "repetition": "repetition",
    "length": "length_part",
    "question": "question",
}
"""Part of the rubric → its column (``length`` is the number of tokens)."""

GAME_FACTS = (
    "valid",
    "attempted",
    "changed",
    "raised",
    "evaded",
    "gamed",
    "honest_success",
    "fabricated",
    "both",
    "asked",
)
"""What an ended episode of the small world was."""
GAME_MONITORS = ("files", "actions", "thought", "answer")
"""What looks at it; the column ``alarm_MONITOR`` is how alarmed it is, within 0 and 1."""
_GAME_FACTS: dict[str, Any] = {fact: pl.Boolean for fact in GAME_FACTS}
MEASURED_RATE: dict[str, Any] = {
    **{name: pl.Float64 for name in ("value", "low", "high", "level")},
    **{name: pl.String for name in ("estimator", "method", "unit")},
    **{name: pl.Int64 for name in ("n_units", "episodes")},
    **{name: pl.Float64 for name in ("successes", "mass", "effective", "largest_weight", "relative_error")},
}
"""The fields of :class:`~overopt.stats.measured_rate.MeasuredRate`."""

COLUMNS: dict[Kind, dict[str, Any]] = {
    # Prompts by use: "preference" (pairs and RL training) and "evaluation" (best-of-n and RL measurements).
    "prompts": {"prompt_id": pl.Int64, "split": pl.String, "conversation": pl.String, "prompt": pl.String},
    # TRL's standard preference format, with where the label came from.
    "preferences": {
        "pair_id": pl.Int64,
        "prompt": pl.String,
        "chosen": pl.String,
        "rejected": pl.String,
        "gold_chosen": pl.Float64,
        "gold_rejected": pl.Float64,
        "margin": pl.Float64,
        "held_out": pl.Boolean,
        "label_source": pl.String,
        "flipped": pl.Boolean,
    },
    "samples": {**_RECORD, **_GOLD},
    # RL samples are samples with the step they were drawn at and the score they were drawn against.
    "rl_steps": {"step": pl.Int64, **_RECORD, "proxy": pl.Float64, **_GOLD},
    # What any policy said to any prompts, and what it said while it was trained; gold is null where none was asked.
    "replies": {**_RECORD, "prompt_id": pl.String},
    "rl_replies": {"step": pl.Int64, **_RECORD, "proxy": pl.Float64, "shaped": pl.Float64, "gold": pl.Float64},
    # One row a measured step; the standard error of each is over held-out prompts.
    "rl_curve": {
        "step": pl.Int64,
        **{
            name: pl.Float64
            for measured in ("kl", "k1", "k3", "proxy", "shaped", "gold", "entropy", "length", "truncated", "tie_rate")
            for name in (measured, f"{measured}_se")
        },
    },
    # One row a training step, of the batch before it.
    "rl_log": {
        "step": pl.Int64,
        **{
            name: pl.Float64
            for name in (
                "reward",
                "shaped",
                "kl",
                "k3",
                "entropy",
                "length",
                "truncated",
                "kl_coef",
                "clip_fraction",
                "gradient_norm",
                "value_error",
            )
        },
    },
    # Replies of two policies: which of them spoke, after which step of its run, and how far it is from the other and
    # from the policy both started as (exact KL of the reply, nats).
    "policy_distances": {
        "policy": pl.String,
        "step": pl.Int64,
        "prompt_id": pl.Int64,
        "sample_id": pl.Int64,
        "kl_to_other": pl.Float64,
        "kl_to_start": pl.Float64,
    },
    "scores": {"prompt_id": pl.Int64, "sample_id": pl.Int64, "proxy": pl.Float64},
    "pair_scores": {"pair_id": pl.Int64, "score_chosen": pl.Float64, "score_rejected": pl.Float64},
    # Where the episodes of a policy of the small world end, a row for all ends of a cell that are alike, with their
    # probability; the row that is not ``followed`` holds what was left out. ``forced`` is the plan that all begin with.
    # ``kl`` is that of whole episodes to the start, nats, the same in all rows of a cell.
    "game_ends": {
        "environment": pl.String,
        "twin": pl.String,
        "wording": pl.String,
        "forced": pl.String,
        "told": pl.String,
        "scenarios": pl.Int64,
        "paths": pl.Int64,
        "kl": pl.Float64,
        "followed": pl.Boolean,
        "plan": pl.String,
        **_GAME_FACTS,
        "preference": pl.Float64,
        **{f"alarm_{monitor}": pl.Float64 for monitor in GAME_MONITORS},
        "mass": pl.Float64,
    },
    "game_rounds": {
        "environment": pl.String,
        "round": pl.Int64,
        "gamed": pl.Float64,
        "kept": pl.Int64,
        "loss": pl.Float64,
    },
    # Rates by drawing, ``draw`` 0 being the counts of all facts, with the enumeration's bounds beside.
    "game_estimates": {
        "environment": pl.String,
        "fact": pl.String,
        "draw": pl.Int64,
        **MEASURED_RATE,
        "exact_low": pl.Float64,
        "exact_high": pl.Float64,
        "deviation": pl.Float64,
    },
    # Means of ended episodes after each round; ``reward`` is what training paid for.
    "game_path": {
        "round": pl.Int64,
        "environment": pl.String,
        "kl": pl.Float64,
        "reward": pl.Float64,
        "preference": pl.Float64,
        "covered": pl.Float64,
        **{fact: pl.Float64 for fact in GAME_FACTS},
    },
    # Episodes to read; ``alike`` of the ``drawn`` ones gamed as this one did, or did not.
    "game_episodes": {
        "environment": pl.String,
        "topic": pl.String,
        "detail": pl.String,
        "request": pl.String,
        "words": pl.List(pl.String),
        "list_edited": pl.Boolean,
        "reward": pl.String,
        "guard": pl.String,
        "rating": pl.Int64,
        "logprob": pl.Float64,
        "alike": pl.Int64,
        "drawn": pl.Int64,
        **_GAME_FACTS,
    },
}


def write_table(
    frame: pl.DataFrame, path: Path, kind: Kind, settings: Mapping[str, Any], *, extra: Sequence[str] = ()
) -> None:
    """Write a table with its kind, version and settings (sampler, model, seed …) inside the file.

    ``extra`` names columns beyond those of the kind that are written as they are.
    """
    metadata = {"overopt": json.dumps({"kind": kind, "version": VERSION, "settings": dict(settings)}, sort_keys=True)}
    own = frame.select(list(COLUMNS[kind])).cast(pl.Schema(COLUMNS[kind]))
    own.hstack(frame.select(list(extra))).write_parquet(path, metadata=metadata, statistics=False)


def read_table(path: Path, kind: Kind) -> pl.DataFrame:
    """A table of that kind.

    Raises
    ------
    DataError
        If the file is missing or damaged, or is another kind or version of table.
    """
    settings_of(path, kind)
    return pl.read_parquet(path)


def settings_of(path: Path, kind: Kind) -> dict[str, Any]:
    """The settings stored inside a table, after checking what it is."""
    try:
        header = json.loads(pl.read_parquet_metadata(path)["overopt"])
        names = pl.read_parquet_schema(path)
    except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} is not a table of a study: {error}") from error
    if (header["kind"], header["version"]) != (kind, VERSION):
        raise DataError(
            f"{path} holds {header['kind']} of version {header['version']}; expected {kind} of version {VERSION}"
        )
    missing = [name for name in COLUMNS[kind] if name not in names]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    settings: dict[str, Any] = header["settings"]
    return settings


CHECKSUMS = "checksums.json"


def seal_tables(folder: Path) -> None:
    """Record the checksum of every table below ``folder``, so that damage is seen before a number is computed."""
    (folder / CHECKSUMS).write_text(json.dumps(_checksums(folder), indent=1) + "\n", encoding="utf-8")


def check_tables(folder: Path) -> None:
    """Refuse tables that are not, byte for byte, those that were sealed.

    Raises
    ------
    ArtifactError
        If a table was changed, is missing or is new; the message names the first one.
    """
    try:
        sealed: dict[str, str] = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder} has no list of its tables that can be read ({error}); run the study again with the same --out"
        ) from error
    found = _checksums(folder)
    for name in sorted({**sealed, **found}):
        if sealed.get(name) != found.get(name):
            problem = "is missing" if name not in found else "was changed" if name in sealed else "is not the study's"
            raise ArtifactError(
                f"{folder / name} {problem} since it was written; run the study again with the same --out to restore it"
            )


def _checksums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }
