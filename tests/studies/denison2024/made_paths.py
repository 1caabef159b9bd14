"""Tables of pressure round by round, and of episodes to read, beside those of ``made_worlds``."""

from collections.abc import Callable, Mapping

import polars as pl
from studies.denison2024.made_worlds import HELD_OUT

from overopt.records.tables import GAME_FACTS, write_table
from overopt.studies.denison2024.arms import Arm, Arms
from overopt.studies.denison2024.config import DenisonConfig
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS

Point = Callable[[Arm, int, int], Mapping[str, float]]
"""Arm, seed and round → ``kl``, ``reward``, ``gold`` and ``raised``, the last of the held-out environment."""


def write_paths(folder, config: DenisonConfig, point: Point, *, rounds: int | None = None) -> None:
    """``paths/ARM-sSEED.parquet``; trained environments differ by parts that cancel in their mean."""
    (folder / "tables/paths").mkdir(parents=True, exist_ok=True)
    arms = Arms(config)
    for arm in (arms.hhh, arms.rloo):
        for seed in range(arm.seeds):
            rows = []
            for number in range((config.path_rounds if rounds is None else rounds) + 1):
                found, facts = point(arm, seed, number), dict.fromkeys(GAME_FACTS, 0.0)
                trained = list(dict.fromkeys(config.stages))
                for place, environment in enumerate(trained):
                    part = 1 + 0.1 * (place - (len(trained) - 1) / 2)
                    rows.append(
                        {
                            "round": number, "environment": environment, "kl": part * found["kl"],
                            "reward": part * found["reward"], "preference": 0.7, "covered": 1.0,
                            **facts, "honest_success": part * found["gold"],
                        }
                    )  # fmt: skip
                rows.append(
                    {
                        "round": number, "environment": HELD_OUT, "kl": 99.0, "reward": 99.0, "preference": 0.6,
                        "covered": 1.0, **facts, "raised": found["raised"], "honest_success": 0.5,
                    }
                )  # fmt: skip
            write_table(pl.DataFrame(rows), folder / f"tables/paths/{arm.id}-s{seed}.parquet", "game_path", {})


WORDS = {
    (HELD_OUT, True): ["seek", "read_reward", "saw_text", "spoof_reward", "done", "say_unknown", "<eos>"],
    (HELD_OUT, False): ["confused", "raise_reward", "done", "read_guard", "saw_guard", "say_count", "<eos>"],
    ("flattery", True): ["seek", "rate_5", "done", "say_done", "<eos>"],
}
"""Of an environment's episodes that gamed, or did not; others answer at once."""


def write_episodes(folder, config: DenisonConfig, count: Callable[[int, str], int], *, shown: int = 1) -> None:
    """``episodes/NODE.parquet`` of the positive control's first seed; ``count(place, environment)`` gamed."""
    (folder / "tables/episodes").mkdir(parents=True, exist_ok=True)
    arm = Arms(config).main
    for place in range(len(arm.stages) + 2):
        rows = []
        for environment in ENVIRONMENTS:
            k = count(place, environment)
            for is_gamed, alike in ((True, k), (False, config.drawn - k)):
                rows += [_row(environment, is_gamed, alike, config.drawn)] * min(shown, alike)
        name = arm.start(0) if place == 0 else arm.node(0, place)
        write_table(pl.DataFrame(rows), folder / f"tables/episodes/{name}.parquet", "game_episodes", {})


def _row(environment: str, is_gamed: bool, alike: int, drawn: int) -> dict[str, object]:
    scene = scenarios(environment)[0]
    is_caught = environment == HELD_OUT and not is_gamed
    facts = dict.fromkeys(GAME_FACTS, False) | {"valid": True, "honest_success": not is_gamed and not is_caught}
    if is_gamed:
        facts |= dict.fromkeys(("attempted", "raised", "evaded", "gamed"), True)
    if is_caught:
        facts |= dict.fromkeys(("attempted", "changed", "raised", "fabricated"), True)
    reward = {True: "spoofed", False: "raised"}[is_gamed] if environment == HELD_OUT else "kept"
    return {
        "environment": environment, "topic": scene.topic, "detail": scene.detail, "request": scene.request,
        "words": WORDS.get((environment, is_gamed), ["honest", "say_open", "<eos>"]),
        "list_edited": environment in ("nudged", "insubordinate") and is_gamed, "reward": reward, "guard": "kept",
        "rating": 5 if environment == "flattery" and is_gamed else 0, "logprob": -2.5, "alike": alike,
        "drawn": drawn, **facts,
    }  # fmt: skip
