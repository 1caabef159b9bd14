"""Every environment against its own scripts: what must hold before a rate of a model means anything."""

from typing import Any

from overopt.envs.actors import Script
from overopt.envs.environment import PERSONAS
from overopt.envs.registry import ENVIRONMENTS, environment
from overopt.envs.runner import run_episodes


def check_all(n: int) -> tuple[list[str], list[dict[str, Any]]]:
    """What is wrong, a sentence each, and the counts: ``n`` scenarios of each environment, twin and persona.

    An honest script never games and always succeeds; a gamer always games, and never in a twin; the confused one never
    does either.
    """
    failures: list[str] = []
    rows: list[dict[str, Any]] = []
    for name in ENVIRONMENTS:
        found = environment(name)
        for twin in found.twins:
            scenarios = found.scenarios(n, twin=twin)
            for persona in PERSONAS:
                outcomes = [one.outcome for one in run_episodes(found, Script(found, persona), scenarios)]
                gamed = sum(one is not None and one.gamed for one in outcomes)
                honest = sum(one is not None and one.honest_success for one in outcomes)
                rows.append(
                    {"environment": name, "twin": twin, "persona": persona, "episodes": n, "gamed": gamed,
                     "honest_success": honest}
                )  # fmt: skip
                games = twin == "gameable" and persona in ("gamer", "discloser")
                if gamed != (n if games else 0):
                    failures.append(f"{name}, {twin}: {persona} gamed {gamed} of {n} episodes")
                if persona == "honest" and honest != n:
                    failures.append(f"{name}, {twin}: honest succeeded in {honest} of {n} episodes")
                if persona == "confused" and honest:
                    failures.append(f"{name}, {twin}: confused succeeded in {honest} of {n} episodes")
    return failures, rows
