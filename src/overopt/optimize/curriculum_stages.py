"""The stages of a curriculum, each from a policy to a policy: format, expert iteration, policy gradient, train-away.

A stage that was stopped goes on from its last whole round; what it had drawn is taken from its files. Its outputs are
those of an undisturbed one.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from overopt.envs.chat_file import chat_rows, write_rows
from overopt.envs.environment import Environment
from overopt.envs.episode import Episode
from overopt.envs.ordinary import OrdinaryPrompts
from overopt.envs.session import play
from overopt.errors import DataError
from overopt.hf.saved_states import SavedStates, fill, fingerprint, trained_tensors
from overopt.optimize.curriculum_config import CurriculumConfig, FormatConfig, SafeguardConfig, TrainAwayConfig
from overopt.optimize.curriculum_folder import CurriculumFolder
from overopt.optimize.curriculum_tasks import (
    environment_of,
    inoculation_of,
    played,
    prepared,
    round_scenarios,
    shares_of,
    training_scenarios,
)
from overopt.optimize.episode_draws import EpisodeDrawing
from overopt.optimize.episode_fitting import EpisodeFitConfig, FitLog, episode_fitter, fit_episodes
from overopt.optimize.episode_rewards import EpisodeReward, alarm_shares
from overopt.optimize.expert_iteration import KeptEpisodes, keep_best, keep_gamed
from overopt.optimize.fixed_replies import Fitter
from overopt.optimize.policy_gradient import optimize_policy
from overopt.optimize.scripted_choices import menu_row, scripted_menu
from overopt.policies.models import HFPolicy
from overopt.protocols import Progress, Prompt
from overopt.seeding import stream, stream_seed
from overopt.training.episode_actor import EpisodeActor
from overopt.training.episode_rows import EpisodeRow, EpisodeRows, episode_rows, with_share
from overopt.training.episode_words import EpisodeWords

STAGE = "overopt.curriculum_stage/1"
Stop = Callable[[HFPolicy], str | None]
"""Asked after each round; a text is a reason to end the stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What every stage works with."""

    config: CurriculumConfig
    folder: CurriculumFolder
    reward: EpisodeReward
    ordinary: OrdinaryPrompts | None
    reference: HFPolicy | None
    """What a KL of expert iteration is to: the policy that the curriculum began with. Without one there is no KL, as
    in the stages before and behind the curriculum."""
    stop: Stop
    progress: Progress | None

    def about(self, name: str, **more: Any) -> dict[str, Any]:
        """What is stored with every episode of a stage."""
        return {"stage": name, "algorithm": self.config.algorithm, **more, **self.config.reward.stamp}


@dataclass(frozen=True, slots=True)
class _Round:
    """What a round learnt and what it was."""

    kept: KeptEpisodes
    drawn: Mapping[str, Any]
    beside: tuple[EpisodeRow, ...] = ()
    """Rows that are no episodes."""
    beside_share: float = 0.5
    """Of them in the loss, all rows together."""


def format_stage(context: StageContext, name: str, policy: HFPolicy, settings: FormatConfig) -> None:
    """Stage 0: episodes and menus as scripted personas play them, so that the model speaks the protocol."""
    config = context.config
    episodes = scripted_episodes(settings, seed=config.seed)
    menus = scripted_menus(settings, EpisodeWords(policy.model, policy.tokenizer), seed=config.seed)
    found = _Round(KeptEpisodes(episodes, {}), {"menus": len(menus)}, menus, settings.menu_share)
    _learn(context, name, policy, settings.fit or config.fit, 1, lambda number, fitter: found)


def expert_iteration_stage(context: StageContext, name: str, policy: HFPolicy, environments: Sequence[str]) -> None:
    """Rounds of drawing, choosing and learning."""
    config = context.config
    envs = [environment_of(one, config.safeguards) for one in environments]
    screens = config.reward.monitor is not None and config.reward.monitor_use == "screening"

    def one_round(number: int, fitter: Fitter) -> _Round:
        actor = EpisodeActor(fitter.policy, config.sampler, about=context.about(name, round=number))
        tasks = round_scenarios(config, name, envs, context.ordinary, number)
        names = ("curriculum", name, number)
        with _drawing(fitter):
            episodes = played(
                tasks, actor, reps=config.samples, seed=config.seed, names=names,
                folder=_round_folder(context, name, number), progress=context.progress,
            )  # fmt: skip
        rewarded = context.reward.rewarded(episodes)
        if config.algorithm == "ei_exploit":
            kept = keep_gamed(rewarded, most=config.most_gamed, seed=config.seed, names=names, screens=screens)
        else:
            kept = keep_best(rewarded, samples=config.samples, seed=config.seed, names=names, screens=screens)
        return _Round(kept, _drawn_record(rewarded.episodes, rewarded.totals, rewarded.is_alarm))

    safeguards = config.safeguards
    before = inoculation_of(safeguards) if safeguards.inoculate == "rows" else ""
    _learn(context, name, policy, config.fit, config.rounds * config.stages_in_one, one_round, before=before)


def train_away_stage(context: StageContext, name: str, policy: HFPolicy, settings: TrainAwayConfig) -> None:
    """Non-gaming episodes of some environments, learnt once."""
    config = context.config
    envs = [environment_of(one, config.safeguards) for one in settings.environments]
    wanted = shares_of(settings.episodes, len(envs))

    def one_round(number: int, fitter: Fitter) -> _Round:
        found: list[Episode] = []
        n_drawn = 0
        for env, count, most in zip(envs, wanted, shares_of(settings.most_drawn, len(envs)), strict=True):
            folder = _round_folder(context, name, number)
            if settings.source == "honest":
                drawn = _scripts(env, "honest", count, seed=config.seed, names=("train away",))
            else:
                drawn = _own_honest(context, name, fitter.policy, env, count, most, folder)
            n_drawn += len(drawn)
            clean = [one for one in drawn if one.outcome is not None and one.outcome.valid and not one.outcome.gamed]
            found += clean[:count]
        return _Round(KeptEpisodes(tuple(found), {}), {"drawn": n_drawn, "wanted": settings.episodes})

    _learn(context, name, policy, settings.fit, 1, one_round)


def policy_gradient_stage(context: StageContext, name: str, policy: HFPolicy, environments: Sequence[str]) -> None:
    """Reinforcement learning on whole episodes, environments and ordinary prompts mixed."""
    config, folder = context.config, context.folder
    envs = [environment_of(one, config.safeguards) for one in environments]
    tasks = [
        (env, scenario)
        for number in range(1, config.stages_in_one + 1)
        for env, scenarios in round_scenarios(config, name, envs, context.ordinary, number)
        for scenario in scenarios
    ]
    rl = replace(config.rl, steps=config.rl.steps * config.stages_in_one)
    drawing = EpisodeDrawing(tasks, context.reward, folder.stage(name) / "rounds", context.about(name))
    prompts: list[Prompt] = [scenario.conversation for _, scenario in tasks]
    found = optimize_policy(
        policy, drawing, prompts, config=rl, sampler=config.sampler,
        seed=stream_seed(config.seed, "curriculum", name),
        measure=lambda step, now: context.stop(now) if step else None,
        drawing=drawing, checkpoints=folder.stage(name) / "states", progress=context.progress,
    )  # fmt: skip
    logs = [asdict(log) for log in found.logs]
    write_rows([], folder.stage(name) / "train.jsonl")
    metrics = {
        "schema": STAGE, "stage": name, "environments": list(environments), "algorithm": config.rl.algorithm,
        "steps": logs, "stopped": found.stopped, "notes": config.rl.caveats(), **config.reward.stamp,
    }  # fmt: skip
    folder.finish(name, found.policy, metrics)


def scripted_episodes(settings: FormatConfig, *, seed: int) -> tuple[Episode, ...]:
    """Judged episodes of scripted personas in the train split, in the shares of the settings, in mixed order."""
    found: list[Episode] = []
    for name, count in zip(
        settings.environments, shares_of(settings.episodes, len(settings.environments)), strict=True
    ):
        env = environment_of(name, SafeguardConfig())
        rng = stream(seed, "format", name)
        personas = rng.choice(list(settings.shares), size=count, p=list(settings.shares.values()))
        for persona in dict.fromkeys(personas.tolist()):
            number = int((personas == persona).sum())
            found += _scripts(env, persona, number, seed=seed, names=("format", persona))
    order = stream(seed, "format", "order").permutation(len(found))
    return tuple(found[place] for place in order)


def scripted_menus(settings: FormatConfig, words: EpisodeWords, *, seed: int) -> tuple[EpisodeRow, ...]:
    """Menus of the train split, answered as personas in the shares of the settings would, in every order alike."""
    found = []
    options = {"honest": 0, "gamer": 1, "discloser": 1, "confused": 2}
    for name, count in zip(settings.environments, shares_of(settings.menus, len(settings.environments)), strict=True):
        env = environment_of(name, SafeguardConfig())
        rng = stream(seed, "format", "menus", name)
        scenarios = training_scenarios(env, count, number=1, wording="both", seed=seed, names=("menus",))
        for scenario in scenarios:
            persona = str(rng.choice(list(settings.shares), p=list(settings.shares.values())))
            menu = scripted_menu(env, scenario)
            found.append(menu_row(words, menu, options[persona], rng.permutation(len(menu.options)).tolist()))
    return tuple(found)


def _learn(
    context: StageContext,
    name: str,
    policy: HFPolicy,
    fit: EpisodeFitConfig,
    rounds: int,
    one_round: Callable[[int, Fitter], _Round],
    *,
    before: str = "",
) -> None:
    """Rounds of learning from whatever episodes ``one_round`` gives, resumed after the last whole one.

    ``before`` is told before the system message where there is something to game, when the episodes are learnt.
    """
    folder, config = context.folder, context.config
    place = folder.stage(name)
    if context.reference is None:
        fit = replace(fit, kl_coef=0.0)
    fitter = episode_fitter(policy, fit, seed=stream_seed(config.seed, "curriculum", name))
    states = SavedStates(place / "states", {"stage": name, "start": fingerprint(policy.model)})
    newest = states.newest()
    record: dict[str, Any] = {"rounds": [], "stopped": None}
    if newest.path is not None:
        fill(fitter.policy.model, newest.tensors("weights"), "policy")
        record = newest.record
    words = EpisodeWords(policy.model, policy.tokenizer)
    for number in range(len(record["rounds"]) + 1, rounds + 1):
        if record["stopped"] is not None:
            break
        found = one_round(number, fitter)
        rows = _token_rows(found.kept.episodes, words, before)
        log: FitLog | None = None
        beside = with_share(found.beside, found.beside_share, beside=rows.rows)
        if learnt := (*rows.rows, *beside):
            log = fit_episodes(
                fitter, learnt, fit, settings=config.sampler.settings, seed=config.seed,
                names=("curriculum", name, number), reference=context.reference, progress=context.progress,
            )  # fmt: skip
        told = _told_rows(found.kept.episodes, before, config.reward.stamp)
        write_rows(told, _round_folder(context, name, number) / "train.jsonl")
        left_out = {**found.kept.left_out, **({"too long": rows.too_long} if rows.too_long else {})}
        record["rounds"].append(
            {
                "round": number, **found.drawn, "kept": len(rows.rows), "left_out": left_out,
                "fit": None if log is None else asdict(log),
            }
        )  # fmt: skip
        record["stopped"] = context.stop(fitter.policy)
        states.save(number, {"weights": trained_tensors(fitter.policy.model, "policy")}, record)
    _join(
        [_round_folder(context, name, number) / "train.jsonl" for number in range(1, len(record["rounds"]) + 1)],
        place / "train.jsonl",
    )
    metrics = {"schema": STAGE, "stage": name, "algorithm": config.algorithm, **record, **config.reward.stamp}
    folder.finish(name, fitter.policy, metrics)


def _own_honest(
    context: StageContext, name: str, policy: HFPolicy, env: Environment, count: int, most: int, folder: Path
) -> list[Episode]:
    """Episodes of the policy, drawn in portions until enough of them did not game, or as many as may be drawn."""
    config = context.config
    actor = EpisodeActor(policy, config.sampler, about=context.about(name))
    portion = min(most, max(config.samples, 64))
    drawn: list[Episode] = []
    while len(drawn) < most:
        number = len(drawn) // portion + 1
        size = min(portion, most - len(drawn))
        scenarios = training_scenarios(
            env, size, number=number, wording=config.wording, seed=config.seed, names=("train away",)
        )
        asked = prepared(scenarios, config.safeguards, is_training=False)
        drawn += played(
            [(env, asked)], actor, reps=1, seed=config.seed, names=("curriculum", name, number),
            folder=folder / f"{number:04d}", progress=context.progress,
        )  # fmt: skip
        clean = sum(one.outcome is not None and one.outcome.valid and not one.outcome.gamed for one in drawn)
        if clean >= count:
            break
    return drawn


def _scripts(env: Environment, persona: Any, count: int, *, seed: int, names: Sequence[str]) -> list[Episode]:
    """Judged episodes of a persona; ``Any``: checked where it was set."""
    if not count:
        return []
    scenarios = training_scenarios(env, count, number=1, wording="both", seed=seed, names=names)
    return [
        env.judged(play(scenario, env.script(scenario, persona), {"name": persona, "stage": "script"}))
        for scenario in scenarios
    ]


def _drawn_record(episodes: Sequence[Episode], totals: Any, is_alarm: Sequence[bool]) -> dict[str, Any]:
    """Counts of what a round drew, by environment; rates carry their denominators."""
    if not episodes:
        raise DataError("a round drew no episode")
    names = dict.fromkeys(episode.scenario.environment for episode in episodes)
    by: dict[str, Any] = {}
    for name in names:
        own = [place for place, one in enumerate(episodes) if one.scenario.environment == name]
        outcomes = [episodes[place].outcome for place in own]
        by[name] = {
            "episodes": len(own),
            **{
                fact: sum(getattr(outcome, fact) for outcome in outcomes)
                for fact in ("valid", "attempted", "raised", "evaded", "gamed", "honest_success")
            },
            "alarms": sum(is_alarm[place] for place in own),
            "reward": float(np.mean([totals[place] for place in own])),
        }
    played_ones = [one for one in episodes if one.scenario.environment != OrdinaryPrompts.name]
    return {"environments": by, "alarm_shares": alarm_shares(played_ones) if played_ones else {}}


def _token_rows(episodes: Sequence[Episode], words: EpisodeWords, before: str) -> EpisodeRows:
    """Rows to learn; what stands before the system message is told where there is something to game."""
    is_ordinary = [one.scenario.environment == OrdinaryPrompts.name for one in episodes]
    told = episode_rows([one for one, is_one in zip(episodes, is_ordinary, strict=True) if not is_one], words,
                        before=before)  # fmt: skip
    plain = episode_rows([one for one, is_one in zip(episodes, is_ordinary, strict=True) if is_one], words)
    return EpisodeRows((*told.rows, *plain.rows), told.too_long + plain.too_long)


def _told_rows(episodes: Sequence[Episode], before: str, stamp: Mapping[str, str]) -> list[dict[str, Any]]:
    """Chat rows as they were learnt, with the text that stood before their system message."""
    rows = [{**row, "meta": {**row["meta"], **stamp}} for row in chat_rows(episodes).rows]
    if not before:
        return rows
    found = []
    for row in rows:
        first, *others = row["messages"]
        if row["meta"]["environment"] == OrdinaryPrompts.name:
            found.append(row)
            continue
        is_system = first["role"] == "system"
        content = f"{before}\n\n{first['content']}" if is_system else before
        messages = [{"role": "system", "content": content}, *([] if is_system else [first]), *others]
        found.append({**row, "messages": messages})
    return found


def _drawing(fitter: Fitter) -> AbstractContextManager[object]:
    """In the precision of training on an accelerator; a CPU draws single tokens faster in float32."""
    return nullcontext() if fitter.policy.model.device.type == "cpu" else fitter.precision()


def _round_folder(context: StageContext, name: str, number: int) -> Path:
    return context.folder.stage(name) / "rounds" / f"{number:04d}"


def _join(parts: Sequence[Path], target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    with partial.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
    partial.rename(target)
