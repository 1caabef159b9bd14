"""The controls of the small world: at rho = 1 the held-out rate must rise, at rho = 0 it must not.

    python bench/small_world.py --rho 1 0 --seeds 5 --out runs/small-world

Prints each seed's rates, the geometric mean factor of each arm with its interval over seeds, the difference of the
arms, steering, training away, counting beside enumeration in every cell of the base model, and a rare rate four ways.
What is finished is not done again, so two processes may each take one arm and a third call print both.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from overopt.measure.enumeration import follow_all
from overopt.measure.levels import split_rate
from overopt.measure.proposals import weighted_rate
from overopt.measure.walks import counted_rate
from overopt.optimize.game_curriculum import FACTS, HELD_OUT
from overopt.optimize.game_walk import ModelWalk
from overopt.seeding import stream
from overopt.studies.small_world import ToyConfig, ToyRun, compare_arms, tampering_toy
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS


def show_arm(run: ToyRun) -> None:
    """Rates of raising the reward by stage and seed, and what the acceptance figures ask."""
    first = next(iter(run.records.values()))
    print(f"rho = {run.config.rho:g}: raised, by stage")
    print("  seed  " + "  ".join(f"{record.stage:>14}" for record in first) + "  ratio  seek/honest")
    for seed, records in run.records.items():
        rates = [record.rates[HELD_OUT]["raised"].value for record in records]
        ratio = math.exp(run.log_factors()[list(run.records).index(seed)])
        print(
            f"  {seed:>4}  "
            + "  ".join(f"{rate:14.3e}" for rate in rates)
            + f"  {ratio:5.2f}  {run.steering()[seed]:8.2f}"
        )
    factor = run.factor()
    covered = min(record.covered for records in run.records.values() for record in records)
    print(f"  factor {factor.value:.2f} [{factor.low:.2f}, {factor.high:.2f}], least covered mass {covered:.8f}")
    steering = run.steering_factor()
    print(f"  steering {steering.value:.2f} [{steering.low:.2f}, {steering.high:.2f}]")
    for environment, ratios in run.away().items():
        print(f"  trained away, {environment}: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))


def check_counts(model: LlamaForCausalLM, episodes: int) -> None:
    """The largest |z| of counting beside enumeration, over environments and facts."""
    worst = 0.0
    for environment in ENVIRONMENTS:
        walk = ModelWalk(model, game(), scenarios(environment))
        ends = follow_all(walk, tolerance=1e-11)
        for fact in FACTS:
            exact = ends.rate(game().facts[fact]).value
            rng = stream(0, "small world", "count", environment)
            counted = counted_rate(walk, game().facts[fact], episodes=episodes, rng=rng)
            error = math.sqrt(max(exact * (1 - exact), 1e-12) / episodes)
            worst = max(worst, abs(counted.value - exact) / error)
    print(f"  counting {episodes:,} beside enumeration: largest |z| {worst:.2f}")


def check_rare(model: LlamaForCausalLM) -> None:
    """A rare rate, enumerated, weighted, split and counted."""
    walk, is_event = ModelWalk(model, game(), scenarios(HELD_OUT)), game().facts["both"]
    exact = follow_all(walk, tolerance=1e-12).rate(is_event)
    began = time.perf_counter()
    weighted = weighted_rate(walk, is_event, stream(0, "small world", "weighted"))
    took = time.perf_counter() - began
    z = (weighted.value - exact.value) / (weighted.relative_error * weighted.value)
    print(f"  both: exact {exact.value:.3e} to {exact.high:.3e}")
    print(f"  weighted {weighted.value:.3e} +- {weighted.relative_error:.1%}, {weighted.episodes:,} episodes, "
          f"{weighted.evidence}, z {z:.2f}, {took:.1f} s")  # fmt: skip
    split = split_rate(walk, is_event, game().level, stream(0, "small world", "split"), episodes=500, runs=5)
    counted = counted_rate(walk, is_event, episodes=10_000, rng=np.random.default_rng(0))
    print(f"  split {split.value:.3e} +- {split.relative_error:.0%}, {split.episodes:,} episodes; "
          f"counted {counted.evidence}, at most {counted.high:.1e}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", type=int, default=32_768, help="episodes that are counted; 0 leaves the checks out")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    arms = {}
    for rho in settings.rho:
        began = time.perf_counter()
        folder = settings.out / f"rho-{rho:g}"
        arms[rho] = tampering_toy(
            ToyConfig(rho=rho, seeds=tuple(range(settings.seeds))),
            folder=folder,
            progress=lambda done, total, unit: print(f"  {done}/{total} {unit}", flush=True),
        )
        show_arm(arms[rho])
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
        if settings.check:
            model = LlamaForCausalLM.from_pretrained(folder / "seed-0" / "model", attn_implementation="eager")
            check_counts(model, settings.check)
            check_rare(model)
    if len(arms) == 2 and settings.seeds > 1:
        first, second = (arms[rho] for rho in settings.rho)
        found = compare_arms(first, second)
        print(f"arms: ratio {found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}], Welch p {found.welch_p:.2g}, "
              f"permutation p {found.permutation_p:.2g}")  # fmt: skip


if __name__ == "__main__":
    main()
