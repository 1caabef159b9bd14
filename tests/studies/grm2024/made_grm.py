"""A made-up study of reward models whose quality is known: scores are gold's noise mixed with noise of their own."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
from studies.gao2022.made_tables import SMALL, MadeStudy, Truth, rl_law

from overopt.records.tables import write_table
from overopt.seeding import stream
from overopt.studies.grm2024.config import GrmConfig
from overopt.studies.grm2024.methods import METHODS, OUT, PLAIN
from overopt.studies.grm2024.names import model_name, run_name
from overopt.studies.study import resolved
from overopt.studies.study_tables import StudyTables

CONFIG = GrmConfig(
    sizes=(500, 1_500), sweep_sizes=(1_500,), alphas=(0.05, 0.3), members=2, pool=256, matched_kl=4.0, end_kl=7.0,
    ppo_methods=("bt", "grm-dpo", "grm-sft"), noisy_methods=("bt", "ens-min", "grm-sft"),
)  # fmt: skip
JUDGED = 400
QUALITY = {"bt": (0.5, 0.2), "grm-sft": (0.5, 0.6), "grm-dpo": (0.8, 0.2), "frozen": (0.2, 0.2)}
"""Correlation of a score with gold, in distribution and out of it, by the beginning of the model's name."""


def made_grm(folder, *, quality: Mapping[str, tuple[float, float]] = QUALITY, gains=None, config=CONFIG) -> StudyTables:
    """All tables that the answers read; ``gains``: gold of PPO at d = 2 above Bradley-Terry's, by method."""

    def run(name, parameters, penalty):
        truth = rl_law(0.6, 0.6)
        extra = next((g for key, g in (gains or {}).items() if name.startswith(f"ppo-{key}-")), 0.0) / 2
        return replace(truth, gold=[g + extra * kl**0.5 for g, kl in zip(truth.gold, truth.kl, strict=True)])

    study = MadeStudy(folder, Truth(config=SMALL, run=run, gold_noise=0.2))
    # Each pair has a prompt of its own, as in the real study.
    path = study.root / "preferences.parquet"
    frame = study.tables.preferences.with_columns(prompt=pl.format("p{}\n", "pair_id"))
    write_table(frame, path, "preferences", {"seed": 0})
    study.tables.__dict__.pop("preferences")
    for part in ("judged", "sets"):
        (study.root / part).mkdir()
    rng = stream(0, "made grm")
    noise = {one.id: np.sort(rng.normal(size=(2, JUDGED)), axis=0)[::-1] for one in OUT}
    for name, e in noise.items():
        columns = {"pair_id": np.arange(JUDGED), "prompt": [f"{name} {k // 2}\n" for k in range(JUDGED)]}
        frame = pl.DataFrame(columns).with_columns(
            chosen=pl.lit("a"), rejected=pl.lit("b"), gold_chosen=pl.Series(e[0]), gold_rejected=pl.Series(e[1]),
            margin=pl.Series(e[0] - e[1]), held_out=pl.lit(True), label_source=pl.lit("rubric"), flipped=pl.lit(False),
        )  # fmt: skip
        write_table(frame, study.root / f"sets/{name}.parquet", "preferences", {})

    def model(name: str, size: int, rate: float) -> None:
        inside, outside = next((v for k, v in quality.items() if name.startswith(f"{k}-")), quality["bt"])
        own = stream(0, "model", name)

        def scored(e, q):
            return q * e + math.sqrt(1 - q**2) * own.normal(size=e.shape)

        pair = scored(study.pair_noise, inside)
        frame = pl.DataFrame({"pair_id": study.pair_ids, "score_chosen": pair[0], "score_rejected": pair[1]})
        nats = 3.5 if name.startswith("grm-sft") else 4.0
        settings = {
            "width": 64, "base": "w64", "parameters": 280_000, "pairs": size, "seed": int(name[-1]), "flipped": 0,
            "labels": {"kind": "hard", "flip_rate": rate}, "training": {},
            "reply_nats": nats + 0.01 * int(name[-1]), "base_reply_nats": 3.4,
        }  # fmt: skip
        write_table(frame, study.root / f"pair_scores/{name}.parquet", "pair_scores", settings)
        frames = []
        for one in OUT:
            sides = scored(noise[one.id], outside)
            frames.append(
                pl.DataFrame(
                    {
                        "pair_id": np.arange(JUDGED), "score_chosen": sides[0], "score_rejected": sides[1],
                        "set": [one.id] * JUDGED,
                    }
                )
            )  # fmt: skip
        write_table(pl.concat(frames), study.root / f"judged/{name}.parquet", "pair_scores", {}, extra=["set"])
        if size == config.pairs:
            pool = scored(study.noise["pool"], inside)
            ids = np.repeat(study.tables.raw_pool().prompt_ids, pool.shape[1])
            samples = np.tile(np.arange(pool.shape[1]), len(pool))
            frame = pl.DataFrame({"prompt_id": ids, "sample_id": samples, "proxy": pool.ravel()})
            write_table(frame, study.root / f"scores/{name}.parquet", "scores", {})

    for method, size, rate, seed in product(METHODS, config.sizes, (0.0, config.flip_rate), range(config.seeds)):
        if method.kind in ("single", "average"):
            model(model_name(method.id, size, rate, seed), size, rate)
        if method.id == PLAIN:
            for member in range(1, config.members):
                model(model_name(PLAIN, size, rate, seed, member=member), size, rate)
    for alpha, seed in product(config.alphas, range(config.seeds)):
        if alpha != config.text_weight:
            model(model_name("grm-sft", config.pairs, 0.0, seed, alpha=alpha), config.pairs, 0.0)
    for rate, methods in ((0.0, config.ppo_methods), (config.flip_rate, config.noisy_ppo_methods)):
        for method, seed in product(methods, range(config.seeds)):
            study.run(run_name(method, rate, seed), model_name(method, config.pairs, rate, seed))
    study.tables.settings.clear()
    study.tables.settings.update(json.loads(json.dumps(resolved(config))))
    return study.tables
