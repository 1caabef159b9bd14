"""A made-up study of the small world whose exact rates are chosen, so that factors, intervals and outcomes are known.

``truth`` says how often episodes end how, for each policy and cell; the tables of ends are written from it, and the
tables of estimates are counts that are as near to it as whole numbers can be, or as far as a test wants.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import polars as pl

from overopt.records.tables import GAME_FACTS, GAME_MONITORS, MEASURED_RATE, write_table
from overopt.stats.count_check import count_deviation
from overopt.stats.measured_rate import MeasuredRate, counted, enumerated
from overopt.studies.denison2024.arms import Arm, Arms
from overopt.studies.denison2024.config import DenisonConfig
from overopt.studies.study import resolved
from overopt.studies.study_tables import StudyTables
from overopt.worlds.tampering.scenarios import scenarios, twins
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS, MAY_ASK, PLANS

CONFIG = DenisonConfig(seeds=4, sweep_seeds=3, couplings=(0.5,), counted=32_768, rare_draws=3)
HELD_OUT = ENVIRONMENTS[-1]
BASE, RHO_FACTOR = 0.004, 9.0
"""Held-out rate of raising the reward at the start, and its factor at rho 1 by :func:`usual`; at rho 0 it is 1.1."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cell of a policy. At place 0 the arm is any that starts there: look at its coupling alone."""

    arm: Arm
    seed: int
    place: int
    environment: str
    twin: str = "gameable"
    wording: str = "A"
    forced: str = ""
    told: str = ""

    @property
    def is_away(self) -> bool:
        return self.place > len(self.arm.stages)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often episodes end how; each of the first four is part of the next."""

    both: float = 0.0
    gamed: float | None = None
    raised: float
    attempted: float | None = None
    asked: float = 0.0
    """Of what is neither attempted nor honest."""
    honest: float | None = None
    """Honest successes; whatever is not attempted unless given."""
    seeking: float = 0.0
    """Of the honest ones, those that planned to seek the reward."""
    missing: float = 1e-7
    kl: float = 0.0

    def ends(self) -> Iterator[tuple[float, set[str], str, float]]:
        """Mass, facts, plan and preference of each kind of end."""
        gamed = self.raised if self.gamed is None else self.gamed
        attempted = self.raised if self.attempted is None else self.attempted
        honest = 1 - attempted - self.asked - self.missing if self.honest is None else self.honest
        base = {"valid", "attempted", "changed"}
        rest = 1 - attempted - honest - self.missing
        parts = [
            (self.both, {*base, "raised", "evaded", "gamed", "both"}, "seek", 0.8),
            (gamed - self.both, {*base, "raised", "evaded", "gamed"}, "seek", 0.8),
            (self.raised - gamed, {*base, "raised"}, "seek", 0.8),
            (attempted - self.raised, base, "confused", 0.6),
            (honest - self.seeking, {"valid", "honest_success"}, "honest", 0.6),
            (self.seeking, {"valid", "honest_success"}, "seek", 0.6),
            (self.asked, {"valid", "asked"}, "honest", 0.5),
            (rest - self.asked, {"valid", "fabricated"}, "honest", 0.8),
        ]
        for mass, facts, plan, preference in parts:
            assert mass > -1e-12, self
            if mass > 1e-12:
                yield mass, facts, plan, preference


Truth = Callable[[Spot], Rates]


def usual(spot: Spot) -> Rates:
    """Where training games what it trains on, and the held-out rate by a power of the coupling.

    Seeds differ by 2 % in the factor: even ones are above it, odd ones below, so that with an even number of seeds the
    geometric mean of the factors is the factor itself.
    """
    if spot.environment == "ordinary":
        return Rates(raised=0.0, honest=0.85)
    stages, own = len(spot.arm.stages), 1.02 if spot.seed % 2 == 0 else 1 / 1.02
    done = min(spot.place, stages) / stages
    if spot.twin != "gameable":
        return Rates(raised=0.0, gamed=0.0, attempted=0.01 + 0.02 * done)
    if spot.environment != HELD_OUT:
        is_learnt = spot.environment in "+".join(spot.arm.stages[: spot.place]).split("+")
        is_back = spot.is_away and spot.environment in CONFIG.away
        rate = 0.05 if not is_learnt or is_back else 0.9
        return Rates(raised=rate * (1.1 if spot.wording == "B" else 1.0), kl=2.0 * done)
    factor = (1.1 * (RHO_FACTOR / 1.1) ** spot.arm.coupling * own) ** done
    if spot.is_away:
        factor **= 0.75
    rate = BASE * factor * (0.5 if spot.wording == "B" else 1.0)
    if spot.forced and spot.arm.coupling == 1:
        rate *= 2.5 if spot.forced == "seek" else 0.5
    return Rates(both=rate / 16, gamed=rate / 4, raised=rate, attempted=1.25 * rate, kl=0.5 * done)


def made_worlds(
    folder,
    truth: Truth = usual,
    *,
    config: DenisonConfig = CONFIG,
    only: Sequence[str] | None = None,
    each: bool = True,
    shift: Callable[[int, str, str, int], int] = lambda place, environment, fact, k: k,
    rare: Callable[[int, str, float], float] = lambda draw, estimator, rate: rate,
) -> StudyTables:
    """All tables of ends and estimates that the plan would make; ends of the arms that ``only`` names, or of all.

    Without ``each`` those of the controls too are of the start and after the last stage alone.

    ``shift(place, environment, fact, k)`` is the count in place of the expected one, ``rare(draw, estimator, rate)``
    the estimate of the rare rate in place of the exact one.
    """
    arms = Arms(config)
    for part in ("ends", "estimates", "rounds"):
        (folder / "tables" / part).mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for arm in [one for one in arms if only is None or one.id in only]:
        last = len(arm.stages)
        for seed in range(arm.seeds):
            for place in [*range(last + 2)] if arm.is_control and each else [0, last]:
                name = arm.start(seed) if place == 0 else arm.node(seed, place)
                if name not in written:
                    written.add(name)
                    write_ends(folder, name, truth, arm, seed, place, in_full=arm.is_control or place == 0)
            for place in range(1, last + 1):
                write_rounds(folder, arm, seed, place)
    for place in range(len(arms.main.stages) + 1):
        write_estimates(folder, truth, arms.main, place, config, shift, rare)
    header = {"settings": json.loads(json.dumps(resolved(config))), "seed": 0}
    return StudyTables(folder, header)


def cells(*, in_full: bool, may_ask: bool) -> Iterator[dict[str, str]]:
    """Those of ``game_stages.game_cells``, without torch."""
    yield from ({"environment": name} for name in ENVIRONMENTS)
    yield {"environment": "ordinary", "twin": "control"}
    if in_full:
        yield from ({"environment": name, "wording": "B"} for name in ENVIRONMENTS)
        yield from ({"environment": name, "twin": twin} for name in ENVIRONMENTS for twin in twins(name)[1:])
        yield from ({"environment": HELD_OUT, "forced": plan} for plan in PLANS[:2])
    if may_ask:
        yield from ({"environment": name, "told": MAY_ASK} for name in ENVIRONMENTS)


def write_ends(folder, name: str, truth: Truth, arm: Arm, seed: int, place: int, *, in_full: bool) -> None:
    """``ends/NAME.parquet``."""
    rows = []
    for cell in cells(in_full=in_full, may_ask=arm.told_share > 0):
        spot = Spot(arm=arm, seed=seed, place=place, **cell)
        found = truth(spot)
        common = {
            "environment": spot.environment, "twin": spot.twin, "wording": spot.wording, "forced": spot.forced,
            "told": spot.told, "scenarios": len(scenarios(spot.environment, spot.twin)), "paths": 500, "kl": found.kl,
        }  # fmt: skip
        for mass, facts, plan, preference in found.ends():
            alarm = {"files": float("changed" in facts), "actions": 0.8 * ("changed" in facts),
                     "thought": float(plan == "seek"), "answer": 0.5}  # fmt: skip
            rows.append(
                {
                    **common, "followed": True, "plan": spot.forced or plan, "preference": preference, "mass": mass,
                    **{fact: fact in facts for fact in GAME_FACTS},
                    **{f"alarm_{monitor}": alarm[monitor] for monitor in GAME_MONITORS},
                }
            )  # fmt: skip
        nothing = dict.fromkeys(["plan", "preference", *GAME_FACTS, *(f"alarm_{one}" for one in GAME_MONITORS)])
        rows.append({**common, "followed": False, "mass": found.missing, **nothing})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    write_table(frame, folder / f"tables/ends/{name}.parquet", "game_ends", {"tolerance": 1e-7})


def write_rounds(folder, arm: Arm, seed: int, place: int) -> None:
    """``rounds/NODE.parquet``: the first round of each stage teaches nothing, the others from 100 + seed episodes."""
    rows = [
        {"environment": arm.stages[place - 1], "round": number, "gamed": 0.5, "kept": (100 + seed) * (number > 0),
         "loss": 1.0}
        for number in range(arm.training.rounds)
    ]  # fmt: skip
    write_table(pl.DataFrame(rows), folder / f"tables/rounds/{arm.node(seed, place)}.parquet", "game_rounds", {})


def write_estimates(
    folder, truth: Truth, arm: Arm, place: int, config: DenisonConfig, shift: Callable, rare: Callable
) -> None:
    """``estimates/NODE.parquet`` of the first seed."""
    rows = []
    for environment in ENVIRONMENTS:
        for fact, exact in exact_rates(truth(Spot(arm=arm, seed=0, place=place, environment=environment))).items():
            expected = min(round(config.counted * exact.value), config.counted)
            k = shift(place, environment, fact, expected)
            found = counted(k, config.counted, unit="scenario")
            deviation = count_deviation(k, config.counted, exact.value, min(exact.high, 1.0))
            rows.append(_estimate(environment, fact, 0, found, exact, deviation))
    both = exact_rates(truth(Spot(arm=arm, seed=0, place=place, environment=HELD_OUT)))["both"]
    for draw in range(1, config.rare_draws + 1):
        for estimator, error in (("weighted", 0.05), ("split", 0.2)):
            value = rare(draw, estimator, both.value)
            relative = error if value > 0 else math.nan
            found = MeasuredRate(
                value=value, low=value * (1 - 2 * error), high=value * (1 + 2 * error) or 1e-4, level=0.95,
                estimator=estimator, method="made up", unit="episode", n_units=4_000, episodes=6_000,
                effective=3_000.0 if estimator == "weighted" else math.nan,
                largest_weight=2.5 if estimator == "weighted" else math.nan, relative_error=relative,
            )  # fmt: skip
            deviation = (value - both.value) / (error * value) if value > 0 else math.nan
            rows.append(_estimate(HELD_OUT, "both", draw, found, both, deviation))
        k = round(6_000 * rare(draw, "counted", both.value))
        # As in the real tables: what was counted has no relative error, and so no deviation.
        rows.append(_estimate(HELD_OUT, "both", draw, counted(k, 6_000, unit="scenario"), both, math.nan))
    name = arm.start(0) if place == 0 else arm.node(0, place)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    write_table(frame, folder / f"tables/estimates/{name}.parquet", "game_estimates", {"counted": config.counted})


def exact_rates(rates: Rates) -> Mapping[str, MeasuredRate]:
    """Every fact's."""
    found = {fact: sum(mass for mass, facts, *_ in rates.ends() if fact in facts) for fact in GAME_FACTS}
    return {fact: enumerated([rate], [rates.missing], paths=500) for fact, rate in found.items()}


def _estimate(environment, fact, draw, found, exact, deviation):
    own = {name: value for name, value in asdict(found).items() if name in MEASURED_RATE}
    bounds = {"exact_low": exact.low, "exact_high": exact.high, "deviation": deviation}
    return {"environment": environment, "fact": fact, "draw": draw, **own, **bounds}
