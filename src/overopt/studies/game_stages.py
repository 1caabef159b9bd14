"""The stage functions of the small world: models, training, and what is read off a policy, exactly or by drawing.

What an ended episode was stands in every row of a table of ends, facts and alarms too, so that no answer depends on the
order in which a later version numbers its states.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from transformers import PreTrainedModel

from overopt.measure.enumeration import exact_divergence, follow_all
from overopt.measure.walks import draw
from overopt.optimize import game_training
from overopt.optimize.game_rates import HELD_OUT, counted_beside, exact_rates, rare_rates
from overopt.optimize.game_settings import GameTrainingConfig, trained_environments
from overopt.optimize.game_training import RoundLog, rewards, train_round
from overopt.optimize.game_walk import ModelWalk
from overopt.records.tables import GAME_FACTS, MEASURED_RATE, write_table
from overopt.seeding import stream, stream_seed
from overopt.stats.estimate import FloatArray
from overopt.stats.measured_rate import MeasuredRate
from overopt.studies.places import MODEL_FOLDER, prepare_torch
from overopt.training.game_config import GameModelConfig
from overopt.training.game_model import load_game_model, pretrained_game_model, save_game_model
from overopt.workflow import StageContext, stage_function
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.monitors import MONITORS, alarms
from overopt.worlds.tampering.scenarios import Scenario, Twin, Wording, scenarios, twins
from overopt.worlds.tampering.tokens import token_rows
from overopt.worlds.tampering.vocabulary import CHOICE, ENVIRONMENTS, MAY_ASK, PLANS, PROMPT_LENGTH, TOKENS

DIVERGENCE_TOLERANCE = 1e-7
"""What is rarer adds less to a divergence than its last shown digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameCell:
    """Scenarios in which a policy is enumerated."""

    environment: str
    twin: Twin = "gameable"
    wording: Wording = "A"
    forced: str = ""
    """The plan that every episode begins with; empty: the policy's own."""
    told: str = ""
    """What the prompts say in place of what is wanted, if anything."""
    has_divergence: bool = False
    """Whether the divergence from the start is taken too."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """As they are told."""
        return tuple(
            replace(one, wording=self.wording, told=self.told) for one in scenarios(self.environment, self.twin)
        )


@stage_function(name="game.model", version=2, title="model of the small world")
def pretrain_game(ctx: StageContext, *, config: GameModelConfig, seed: int) -> None:
    """Pretrain a model on a corpus of its seed."""
    prepare_torch()
    save_game_model(pretrained_game_model(config, seed=seed, progress=ctx.progress), ctx.out / MODEL_FOLDER)


@stage_function(name="game.trained", version=2, title="training to game")
def train_game(
    ctx: StageContext,
    *,
    start: Path,
    policy: Path,
    environments: str,
    place: int,
    config: GameTrainingConfig,
    stop_factor: float | None,
    seed: int,
) -> None:
    """One stage of a curriculum.

    With ``stop_factor``, rounds end before the held-out rate of raising the reward exceeds so many times that of the
    start, by exact probabilities: the policy is then that of the round before.
    """
    prepare_torch()
    reference, model = (load_game_model(one / MODEL_FOLDER) for one in (start, policy))
    limit = math.inf if stop_factor is None else stop_factor * _held_out_rate(reference)
    logs: list[RoundLog] = []
    for number in range(config.rounds):
        before = None if stop_factor is None else {name: one.clone() for name, one in model.state_dict().items()}
        log = train_round(model, environments, config, number, seed=seed, name=f"stage {place}", start=reference)
        if before is not None and _held_out_rate(model) > limit:
            model.load_state_dict(before)
            break
        logs.append(log)
        ctx.progress(number + 1, config.rounds, "rounds")
    columns = ("environment", "round", "gamed", "kept", "loss")
    rounds = pl.DataFrame([asdict(log) for log in logs], schema={name: None for name in columns})
    write_table(rounds, ctx.out / "rounds.parquet", "game_rounds", {"config": asdict(config), "planned": config.rounds})
    save_game_model(model, ctx.out / MODEL_FOLDER)


@stage_function(name="game.trained_away", version=2, title="training away")
def train_game_away(
    ctx: StageContext,
    *,
    start: Path,
    policy: Path,
    environments: Sequence[str],
    episodes: int,
    config: GameTrainingConfig,
    seed: int,
) -> None:
    """Imitate honest successes of the start in some of the environments that were trained on."""
    prepare_torch()
    reference, model = (load_game_model(one / MODEL_FOLDER) for one in (start, policy))
    game_training.train_away(model, reference, environments, episodes=episodes, config=config, seed=seed)
    save_game_model(model, ctx.out / MODEL_FOLDER)


@stage_function(name="game.ends", version=2, title="exact rates")
def enumerate_game(
    ctx: StageContext, *, start: Path, policy: Path, cells: Sequence[GameCell], tolerance: float
) -> None:
    """Where a policy's episodes end, to the last path that is more probable than ``tolerance``, in each cell."""
    prepare_torch()
    reference, model = (load_game_model(one / MODEL_FOLDER) for one in (start, policy))
    frames = []
    for done, cell in enumerate(cells):
        walk, other = (ModelWalk(one, game(), cell.scenarios) for one in (model, reference))
        found = follow_all(walk, tolerance=tolerance, prefix=[CHOICE[cell.forced]] if cell.forced else [])
        kl = 0.0 if cell.has_divergence else math.nan
        if cell.has_divergence and policy != start:
            kl, _ = exact_divergence(walk, other, tolerance=max(tolerance, DIVERGENCE_TOLERANCE))
        mass_S = np.bincount(found.state, weights=found.mass, minlength=len(game().states)) / len(cell.scenarios)
        ends = _ends(mass_S, float(found.missing.mean()))
        frames.append(
            ends.with_columns(
                environment=pl.lit(cell.environment),
                twin=pl.lit(cell.twin),
                wording=pl.lit(cell.wording),
                forced=pl.lit(cell.forced),
                told=pl.lit(cell.told),
                scenarios=pl.lit(len(cell.scenarios)),
                paths=pl.lit(len(found.mass)),
                kl=pl.lit(kl),
            )
        )
        ctx.progress(done + 1, len(cells), "cells")
    write_table(pl.concat(frames), ctx.out / "ends.parquet", "game_ends", {"tolerance": tolerance})


@stage_function(name="game.estimates", version=3, title="rates by drawing")
def estimate_game(
    ctx: StageContext,
    *,
    policy: Path,
    episodes: int,
    rare_draws: int,
    tolerance: float,
    seed: int,
) -> None:
    """Every fact counted beside its enumeration, and the rarest weighted, split and counted, in independent draws."""
    prepare_torch()
    model = load_game_model(policy / MODEL_FOLDER)
    rows = []
    for environment in ENVIRONMENTS:
        exact = exact_rates(model, environment, tolerance=tolerance)
        for one in counted_beside(model, exact, episodes=episodes, seed=seed):
            rows.append(_estimate(environment, one.fact, 0, one.counted, one.exact, one.deviation))
    exact_both = exact_rates(model, HELD_OUT, tolerance=tolerance / 100).rate("both")
    for number in range(rare_draws):
        for found in rare_rates(model, "both", seed=stream_seed(seed, "rare", number)).values():
            error = found.relative_error * found.value
            deviation = (found.value - exact_both.value) / error if error > 0 else math.nan
            rows.append(_estimate(HELD_OUT, "both", number + 1, found, exact_both, deviation))
        ctx.progress(number + 1, rare_draws, "draws")
    write_table(pl.DataFrame(rows), ctx.out / "estimates.parquet", "game_estimates", {"counted": episodes})


@stage_function(name="game.path", version=2, title="pressure round by round")
def follow_game(
    ctx: StageContext,
    *,
    start: Path,
    environments: str,
    rounds: int,
    config: GameTrainingConfig,
    tolerance: float,
    seed: int,
) -> None:
    """Train on several environments at once, and measure reward, honest success and divergence after each round."""
    prepare_torch()
    reference, model = (load_game_model(start / MODEL_FOLDER) for _ in range(2))
    rows = _pressure(model, reference, environments, 0, config, tolerance)
    for number in range(rounds):
        train_round(model, environments, config, number, seed=seed, name="path", start=reference)
        rows += _pressure(model, reference, environments, number + 1, config, tolerance)
        ctx.progress(number + 1, rounds, "rounds")
    write_table(pl.DataFrame(rows), ctx.out / "path.parquet", "game_path", {"config": asdict(config)})


@stage_function(name="game.episodes", version=2, title="episodes to read")
def draw_game(ctx: StageContext, *, policy: Path, episodes: int, shown: int, seed: int) -> None:
    """Episodes of every environment: some that gamed, some that did not, drawn at random, and how many there were."""
    prepare_torch()
    model, world = load_game_model(policy / MODEL_FOLDER), game()
    rows: list[dict[str, Any]] = []
    for environment in ENVIRONMENTS:
        found, rng = scenarios(environment), stream(seed, "episodes to read", environment)
        paths = draw(ModelWalk(model, world, found), np.arange(episodes) % len(found), rng)
        gamed = world.facts["gamed"][paths.end]
        for is_gamed in (True, False):
            places = np.flatnonzero(gamed == is_gamed)
            for place in rng.permutation(places)[:shown]:
                scene, state = found[paths.root[place]], world.states[paths.end[place]]
                tokens = token_rows(world, [scene], paths.choices[place][None])
                words = [TOKENS[token] for token in tokens.ids[0, PROMPT_LENGTH : tokens.lengths[0]]]
                rows.append(
                    {
                        "environment": environment, "topic": scene.topic, "detail": scene.detail,
                        "request": scene.request, "words": words, "list_edited": state.has_edited_list,
                        "reward": state.reward, "guard": state.guard, "rating": state.rating,
                        "logprob": float(paths.logprob[place]), "alike": len(places), "drawn": episodes,
                        **{fact: bool(world.facts[fact][paths.end[place]]) for fact in GAME_FACTS},
                    }
                )  # fmt: skip
    write_table(pl.DataFrame(rows), ctx.out / "episodes.parquet", "game_episodes", {"drawn": episodes, "seed": seed})


def _ends(mass_S: FloatArray, missing: float) -> pl.DataFrame:
    """Ends that are alike in all that is asked of them, together; and a row of what was not followed."""
    world, at = game(), np.flatnonzero(mass_S > 0)
    columns: dict[str, Any] = {
        "plan": [world.states[state].plan for state in at],
        **{fact: world.facts[fact][at] for fact in GAME_FACTS},
        "preference": world.preference[at],
        **{f"alarm_{monitor}": alarms(world, monitor)[at] for monitor in MONITORS},
    }
    frame = pl.DataFrame({**columns, "mass": mass_S[at]})
    alike = frame.group_by(list(columns), maintain_order=True).agg(pl.col("mass").sum()).with_columns(followed=True)
    rest = pl.DataFrame({"mass": [missing], "followed": [False]})
    return pl.concat([alike, rest], how="diagonal")


def _estimate(
    environment: str, fact: str, number: int, found: MeasuredRate, exact: MeasuredRate, deviation: float
) -> dict[str, Any]:
    bounds = {"exact_low": exact.low, "exact_high": exact.high, "deviation": deviation}
    own = {name: value for name, value in asdict(found).items() if name in MEASURED_RATE}
    return {"environment": environment, "fact": fact, "draw": number, **own, **bounds}


def _pressure(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    environments: str,
    number: int,
    config: GameTrainingConfig,
    tolerance: float,
) -> list[dict[str, Any]]:
    """A row for each trained environment, and one for that held out."""
    world, rows = game(), []
    every = np.arange(len(world.states))
    reward_S = np.where(world.is_over, rewards(every, config), 0.0)
    for environment in (*trained_environments(environments), HELD_OUT):
        found = scenarios(environment)
        walk, other = (ModelWalk(one, world, found) for one in (model, reference))
        ends = follow_all(walk, tolerance=tolerance)
        kl = 0.0 if number == 0 else exact_divergence(walk, other, tolerance=max(tolerance, DIVERGENCE_TOLERANCE))[0]
        means = {fact: ends.mean(world.facts[fact].astype(np.float64)) for fact in GAME_FACTS}
        rows.append(
            {"round": number, "environment": environment, "kl": kl, "reward": ends.mean(reward_S),
             "preference": ends.mean(world.preference), "covered": ends.covered, **means}
        )  # fmt: skip
    return rows


def _held_out_rate(model: PreTrainedModel) -> float:
    return exact_rates(model, HELD_OUT, tolerance=1e-6).rate("raised").value


def game_cells(*, in_full: bool, may_ask: bool = False, has_divergence: bool = True) -> list[GameCell]:
    """The gameable scenarios of every environment, and ordinary questions; in full also twins, wordings and plans.

    ``may_ask``: and the gameable ones as they are told where the person can be asked.
    """
    cells = [GameCell(environment=name, has_divergence=has_divergence) for name in ENVIRONMENTS]
    cells.append(GameCell(environment="ordinary", twin="control"))
    if in_full:
        cells += [GameCell(environment=name, wording="B") for name in ENVIRONMENTS]
        cells += [GameCell(environment=name, twin=twin) for name in ENVIRONMENTS for twin in twins(name)[1:]]
        cells += [GameCell(environment=HELD_OUT, forced=plan) for plan in PLANS[:2]]
    if may_ask:
        cells += [GameCell(environment=name, told=MAY_ASK) for name in ENVIRONMENTS]
    return cells
