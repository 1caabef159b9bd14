"""Run under torchrun by a test: one run shared by processes, whose parameters and logs the first one leaves."""

import atexit
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
torch.set_num_threads(1)

from torch import distributed  # noqa: E402

from optimize.letter_world import letter_policy, push  # noqa: E402
from overopt.rewards.shaping import CurrentShapers, RunningStandardise  # noqa: E402

PROMPTS = ["a", "b", "c d", "d", "b c a", "e", "a a", "b e", "c"]


def main(folder: Path) -> None:
    for name, settings in json.loads((folder / "runs.json").read_text()).items():
        measured: list[int] = []
        shaping = CurrentShapers([RunningStandardise()] if settings.pop("running", False) else [])
        result = push(
            letter_policy(), PROMPTS, measure=lambda step, policy, seen=measured: seen.append(step),
            checkpoints=folder / f"{name}-checkpoints", shaping=shaping, **settings,
        )  # fmt: skip
        index = distributed.get_rank() if distributed.is_initialized() else 0
        torch.save([p.detach() for p in result.policy.model.parameters()], folder / f"{name}-{index}.pt")
        record = {"logs": [asdict(log) for log in result.logs], "measured": measured, "shapers": repr(shaping.now)}
        (folder / f"{name}-{index}.json").write_text(json.dumps(record))


def note_end(folder: Path) -> None:
    """Leave a file that says whether the group still ran when this process had nothing more to do."""
    (folder / f"ended-{os.environ['RANK']}.json").write_text(json.dumps({"in_group": distributed.is_initialized()}))


if __name__ == "__main__":
    # Registered first, so called last.
    atexit.register(note_end, Path(sys.argv[1]))
    main(Path(sys.argv[1]))
