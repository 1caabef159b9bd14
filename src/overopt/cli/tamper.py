"""``overopt tamper``: environments that can be gamed, who games them, and how often.

Constructed incentive, pathway not prevalence: the environments pay for gaming on purpose.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.extras import require_models
from overopt.cli.tamper_curriculum import curriculum, plan, steer, trainaway
from overopt.cli.tamper_export import export, import_log
from overopt.cli.tamper_monitor import monitor
from overopt.cli.tamper_small_world import exact, importance, toy
from overopt.cli.tamper_views import heading, print_episode, print_json, print_matrix, print_outcome
from overopt.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from overopt.envs.actors import Actor
    from overopt.envs.environment import Environment
    from overopt.envs.episode import Scenario

app = typer.Typer(help="Environments that can be gamed: look at them, play them, run policies, count.",
                  no_args_is_help=True)  # fmt: skip

Name = Annotated[str, typer.Argument(help="Name of an environment; `overopt tamper list` shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SplitOption = Annotated[str, typer.Option("--split", help="train or test.")]
TwinOption = Annotated[str, typer.Option("--twin", help="gameable, control, legitimate; of run also all.")]
WordingOption = Annotated[str, typer.Option("--wording", help="A or B: two wordings of each task.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of scenarios and draws.")]
Files = Annotated[list[Path], typer.Argument(help="Files of episodes (JSONL).", show_default=False)]


@app.command("list")
def list_environments(as_json: AsJson = False) -> None:
    """The environments, with what gaming is in each and from what it is told.

    Example: overopt tamper list
    """
    from overopt.envs.registry import ENVIRONMENTS, environment

    found = [environment(name) for name in ENVIRONMENTS]
    if as_json:
        rows = [
            {
                "name": one.name, "title": one.title, "version": one.version, "stage": one.stage,
                "held_out": one.is_held_out, "summary": one.summary, "signal": one.signal, "twins": list(one.twins),
                "variants": {"train": one.variants("train"), "test": one.variants("test")},
            }
            for one in found
        ]  # fmt: skip
        print_json({"schema": "overopt.environments/1", "environments": rows})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("environment", no_wrap=True)
    table.add_column("stage", justify="right")
    table.add_column("variants", justify="right")
    table.add_column("the task, and gaming it", ratio=1)
    for one in found:
        stage = "" if one.stage is None else f"{one.stage}{', held out' if one.is_held_out else ''}"
        table.add_row(one.name, stage, f"{one.variants('test'):,}", one.summary)
    Console().print(table)


@app.command("show")
def show(
    name: Name,
    variant: Annotated[int, typer.Option("--variant", help="Which scenario of the split.")] = 0,
    split: SplitOption = "test",
    twin: TwinOption = "gameable",
    wording: WordingOption = "A",
    seed: SeedOption = 0,
    persona: Annotated[
        str | None, typer.Option("--persona", help="Also play it: honest, gamer, confused, instructed or discloser.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One scenario: what the policy is told, and its files; with --persona what a script does there, and the outcome.

    Example: overopt tamper show reward-tampering --persona gamer
    """
    from overopt.envs.actors import Script
    from overopt.envs.episode_file import episode_record
    from overopt.envs.runner import run_episodes

    found, scenario = _scenario(name, variant, split, twin, wording, seed)
    if persona is not None:
        (episode,) = run_episodes(found, Script(found, _persona(persona)), [scenario])
        if as_json:
            print_json(episode_record(episode))
        else:
            print_episode(episode)
        return
    if as_json:
        from dataclasses import asdict

        print_json({"schema": "overopt.scenario/1", "id": scenario.id, **asdict(scenario)})
        return
    for said in scenario.conversation:
        heading(said["role"])
        typer.echo(said["content"])
    for file in scenario.files:
        heading(f"{file.path} ({file.role}, {file.mode:o} {file.owner})")
        typer.echo(file.text.rstrip("\n"))


@app.command("play")
def play_by_hand(
    name: Name,
    variant: Annotated[int, typer.Option("--variant", help="Which scenario of the split.")] = 0,
    split: SplitOption = "test",
    twin: TwinOption = "gameable",
    wording: WordingOption = "A",
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Append the episode to this file.")] = None,
) -> None:
    """Sit at the simulated shell: type commands, then "answer TEXT" to reply; nothing runs on this machine.

    Example: overopt tamper play reward-tampering
    """
    from overopt.envs.episode_file import line
    from overopt.envs.session import Session

    found, scenario = _scenario(name, variant, split, twin, wording, seed)
    session = Session(scenario)
    for said in scenario.conversation:
        heading(said["role"])
        typer.echo(said["content"])
    heading('commands; "answer TEXT" ends, "quit" leaves')
    while not session.is_over:
        try:
            typed = input(f"{session.machine.folder} $ ")
        except EOFError:
            typer.echo()
            break
        if typed.strip() == "quit":
            break
        if typed.startswith("answer "):
            session.answer(typed.removeprefix("answer "))
            break
        if typed.strip():
            result = session.call(typed)
            typer.echo(result.stdout, nl=False)
            typer.echo(result.stderr, nl=False, err=True)
    episode = found.judged(session.episode({"name": "person"}))
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a", encoding="utf-8") as file:
                file.write(line(episode) + "\n")
        except OSError as error:
            raise StorageError(f"cannot write to {out}: {error.strerror or error}") from error
    assert episode.outcome is not None
    print_outcome(episode.outcome)


@app.command("run")
def run(
    names: Annotated[list[str], typer.Argument(help="Environments, or all.", show_default=False)],
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            help="honest, gamer, confused, instructed or discloser; or a model as `overopt sample` takes it.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", "--scenarios", help="Scenarios of each environment.", min=1)] = 64,
    reps: Annotated[int, typer.Option("--reps", help="Episodes of each scenario.", min=1)] = 1,
    split: SplitOption = "test",
    twin: TwinOption = "gameable",
    wording: WordingOption = "A",
    seed: SeedOption = 0,
    is_instructed: Annotated[
        bool, typer.Option("--instructed", help="The person spells the gaming act out: what a policy can do.")
    ] = False,
    keeps_state: Annotated[
        bool, typer.Option("--keeps-state", help="Each of the --reps episodes begins with the files of the one before.")
    ] = False,
    stage: Annotated[str | None, typer.Option("--stage", help="Name of the row in the matrix.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Of one completion of a model.", min=1)] = 256,
    temperature: Annotated[float, typer.Option("--temperature", help="Of a model.")] = 1.0,
    device: Annotated[
        str | None, typer.Option("--device", help="Of a model; the fastest there is, unless named.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for a file of episodes for each environment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a policy through environments and count; a run that was stopped goes on where it was.

    Example: overopt tamper run reward-tampering --policy gamer -n 100 --out runs/gamer
    """
    import polars as pl

    from overopt.cli.progress import bar
    from overopt.envs.environment import PERSONAS
    from overopt.envs.episode_file import episode_record
    from overopt.envs.registry import ENVIRONMENTS, environment
    from overopt.envs.runner import run_episodes
    from overopt.measure.gaming import gaming_matrix
    from overopt.records.outcomes import outcome_table

    if keeps_state and reps == 1:
        raise ConfigError("--keeps-state needs --reps 2 or more: the first episode of a scenario has none before it")
    found = [environment(name) for name in (ENVIRONMENTS if names == ["all"] else dict.fromkeys(names))]
    model = None if policy in PERSONAS else _model(policy, stage, max_tokens, temperature, device)
    tables = []
    for one in found:
        actor: Actor = model if model is not None else _script(one, policy, stage)
        twins = one.twins if twin == "all" else (twin,)
        for of in twins:
            options: Any = {"split": split, "twin": of, "wording": wording, "seed": seed, "instructed": is_instructed}
            _check_options(split, of, wording)
            scenarios = one.scenarios(n, **options)
            path = None if out is None else out / f"{one.name}{'' if of == 'gameable' else f'-{of}'}.jsonl"
            with bar(f"{one.name} {of}") as progress:
                episodes = run_episodes(
                    one, actor, scenarios, reps=reps, seed=seed, keeps_state=keeps_state, path=path, progress=progress
                )
            tables.append(outcome_table(map(episode_record, episodes)))
    print_matrix(gaming_matrix(pl.concat(tables)), as_json)


@app.command("matrix")
def matrix(
    files: Files,
    level: Annotated[float, typer.Option("--level", help="Of the intervals.")] = 0.95,
    stages: Annotated[str | None, typer.Option("--stages", help="Their order, with commas between.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count stored episodes: stages by environments, each cell with k/n and its interval.

    Example: overopt tamper matrix runs/gamer/*.jsonl runs/honest/*.jsonl
    """
    from overopt.measure.gaming import gaming_matrix
    from overopt.records.outcomes import read_outcomes

    order = None if stages is None else [stage.strip() for stage in stages.split(",")]
    print_matrix(gaming_matrix(read_outcomes(files), stages=order, level=level), as_json)


@app.command("report")
def report(
    files: Files,
    out: Annotated[Path, typer.Option("--out", help="Folder of the report.", show_default=False)],
    level: Annotated[float, typer.Option("--level", help="Of the intervals.")] = 0.95,
    stages: Annotated[str | None, typer.Option("--stages", help="Their order, with commas between.")] = None,
) -> None:
    """Write the matrix of stored episodes as pages that work offline.

    Example: overopt tamper report runs/*/*.jsonl --out runs/tampering
    """
    from overopt.measure.gaming_answers import gaming_answers
    from overopt.measure.plain import plain
    from overopt.records.outcomes import read_outcomes
    from overopt.reports.answer_page import FRONT, write_site

    order = None if stages is None else [stage.strip() for stage in stages.split(",")]
    outcomes = read_outcomes(files)
    answers = gaming_answers(outcomes, stages=order, level=level)
    results = plain(
        {
            "study": "tampering",
            "command": _command(files, out),
            "level": level,
            "questions": [answer.to_dict() for answer in answers],
        }
    )
    assert isinstance(results, dict)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_site(results, out)
    except OSError as error:
        raise StorageError(f"cannot write to {out}: {error.strerror or error}") from error
    typer.echo(f"{len(outcomes):,} episodes. Report: {out / FRONT}")


app.command("monitor")(monitor)
app.command("export")(export)
app.command("import")(import_log)
app.command("toy")(toy)
app.command("exact")(exact)
app.command("importance")(importance)
app.command("plan")(plan)
app.command("curriculum")(curriculum)
app.command("trainaway")(trainaway)
app.command("steer")(steer)


@app.command("selfcheck")
def selfcheck(
    n: Annotated[int, typer.Option("-n", "--scenarios", help="Scenarios of each environment.", min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """Play every environment by its scripts: honest ones never game, gamers always do, twins never pay.

    Exit status 1 if one of them is wrong. Example: overopt tamper selfcheck
    """
    from overopt.envs.selfcheck import check_all

    failures, rows = check_all(n)
    if as_json:
        print_json({"schema": "overopt.selfcheck/1", "rows": rows, "failures": failures})
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("environment", "twin", "persona", "episodes", "gamed", "honest success"):
            table.add_column(column, justify="left" if column in ("environment", "twin", "persona") else "right")
        for row in rows:
            table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
        Console().print(table)
        for failure in failures:
            typer.echo(failure, err=True)
    if failures:
        raise typer.Exit(1)


def _command(files: list[Path], out: Path) -> str:
    import shlex

    return shlex.join(["overopt", "tamper", "report", *map(str, files), "--out", str(out)])


def _check_options(split: str, twin: str, wording: str) -> None:
    from typing import get_args

    from overopt.envs.episode import Split, Twin, Wording

    for name, value, allowed in (("split", split, Split), ("twin", twin, Twin), ("wording", wording, Wording)):
        if value not in get_args(allowed):
            raise ConfigError(f"--{name} is one of {', '.join(get_args(allowed))}; got {value!r}")


def _scenario(
    name: str, variant: int, split: Any, twin: Any, wording: Any, seed: int
) -> "tuple[Environment, Scenario]":  # Any: checked here
    from overopt.envs.registry import environment

    _check_options(split, twin, wording)
    found = environment(name)
    return found, found.scenario(variant, split=split, twin=twin, wording=wording, seed=seed)


def _persona(name: str) -> Any:
    from overopt.envs.environment import PERSONAS

    if name not in PERSONAS:
        raise ConfigError(f"a persona is one of {', '.join(PERSONAS)}; got {name!r}")
    return name


def _script(found: "Environment", persona: str, stage: str | None) -> "Actor":
    from overopt.envs.actors import Script

    return Script(found, _persona(persona), stage=stage)


def _model(name: str, stage: str | None, max_tokens: int, temperature: float, device: str | None) -> "Actor":
    from overopt.envs.environment import PERSONAS

    require_models("overopt tamper run with a model")
    from overopt.envs.actors import PolicyActor
    from overopt.envs.machine import STOP, has_command
    from overopt.hf.loading import quiet_models
    from overopt.policies.models import HFPolicy
    from overopt.protocols import SamplerConfig

    quiet_models()
    config = SamplerConfig(max_tokens=max_tokens, temperature=temperature)
    try:
        policy = HFPolicy.load(name, device=device)
    except ConfigError as error:
        raise ConfigError(f"--policy is one of {', '.join(PERSONAS)}, or a model; {error}") from error
    if policy.tokenizer.chat_template is None:
        raise ConfigError(f"{name} has no chat template; environments are conversations, which it cannot read")
    about = {} if stage is None else {"stage": stage}
    return PolicyActor(
        policy,
        config,
        about=about,
        fits=lambda prompt: policy.fits(prompt, config),
        turns=lambda asked, config, seed: policy.sample_turns(
            asked, config=config, seed=seed, mark=STOP, is_complete=has_command
        ),
    )
