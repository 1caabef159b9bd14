"""The native runner: scripted episodes a second, by environment, without a model.

Run: python bench/episodes.py          256 scenarios of each environment, about ten seconds
     python bench/episodes.py --small  64 of each

A rate is episodes over processor seconds of this process, in the fastest quarter of sixteen parts: an estimate of what
an idle core gives on a machine that others use too. The scenarios are made outside the measured time, and no two are
alike; what is kept between episodes (patterns that are compiled once, verdicts by content) comes from 64 others.
``honest`` and ``gamer`` are the scripts of the environments; an episode is played, judged and rewarded.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from overopt.envs.actors import Script
from overopt.envs.environment import Environment, Persona
from overopt.envs.episode import Scenario
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes

PERSONAS: tuple[Persona, ...] = ("honest", "gamer")
NUMBER, PARTS = 256, 16


def main() -> None:
    parser = argparse.ArgumentParser(description="Time scripted episodes of every environment.")
    parser.add_argument("--small", action="store_true", help="64 scenarios instead of 256")
    number = 64 if parser.parse_args().small else NUMBER
    print(
        f"| environment | scenarios/s | {' | '.join(f'{persona}, episodes/s' for persona in PERSONAS)} | calls each |"
    )
    print("|---|---:|" + "---:|" * len(PERSONAS) + "---:|")
    rates: dict[Persona, list[float]] = {persona: [] for persona in PERSONAS}
    for name in ENVIRONMENTS:
        found = environment(name)
        for persona in PERSONAS:
            run_episodes(found, Script(found, persona), found.scenarios(64))
        made, columns = 0.0, []
        calls: list[int] = []
        for seed, persona in enumerate(PERSONAS, start=1):
            started = time.process_time()
            # Seeds far apart: scenarios of one persona are not those of the other.
            scenarios = found.scenarios(number, seed=1_000 * seed)
            made += time.process_time() - started
            rate, steps = _rate(found, persona, scenarios)
            rates[persona].append(rate)
            columns.append(f"{rate:,.0f}")
            calls.append(steps)
        scenarios_per_second = number * len(PERSONAS) / made
        print(f"| {name} | {scenarios_per_second:,.0f} | {' | '.join(columns)} | {calls[0] / number:.1f} |")
    for persona, found_rates in rates.items():
        print(
            f"\n{persona}: median {statistics.median(found_rates):,.0f}, slowest {min(found_rates):,.0f}, all together "
            f"{statistics.harmonic_mean(found_rates):,.0f} episodes a second"
        )


def _rate(found: Environment, persona: Persona, scenarios: Sequence[Scenario]) -> tuple[float, int]:
    """Episodes a processor second in the fastest quarter of the parts, and how many commands all of them ran."""
    seconds, calls = [], 0
    for part in range(PARTS):
        chosen = scenarios[part::PARTS]
        started = time.process_time()
        episodes = run_episodes(found, Script(found, persona), chosen)
        seconds.append((time.process_time() - started) / len(episodes))
        calls += sum(len(episode.commands) for episode in episodes)
    return 1 / statistics.mean(sorted(seconds)[: PARTS // 4]), calls


if __name__ == "__main__":
    main()
