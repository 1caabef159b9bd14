"""``overopt tamper curriculum``, ``trainaway``, ``steer`` and ``plan``: train on gaming, measure what follows."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.extras import require_models
from overopt.cli.tamper_views import print_json, print_matrix
from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.measure.gaming import Matrix

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the fastest there is.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as samples=16 or reward.preference=0.5.")
]
Run = Annotated[Path, typer.Argument(help="Folder of a curriculum.", show_default=False)]


def curriculum(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.json", help="Settings, or the config.json of a run.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the same one goes on.", show_default=False)],
    assignments: Assignments = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of that of the settings.")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a model stage by stage on environments that can be gamed, and measure it after each stage.

    Constructed incentive, pathway not prevalence: the environments pay for gaming on purpose.

    Example: overopt tamper curriculum examples/curriculum/smollm2.json --out runs/curriculum
    """
    require_models("overopt tamper curriculum")
    from overopt.cli.progress import bar
    from overopt.hf.loading import quiet_models
    from overopt.studies.curriculum_run import read_curriculum, run_from_settings

    quiet_models()
    given = [*(assignments or []), *([] if seed is None else [f"seed={seed}"])]
    settings = read_curriculum(config, given)
    with bar("curriculum") as progress:
        found = run_from_settings(settings, out, device=device, progress=progress)
    _print(found.matrix, as_json)


def trainaway(
    run: Run,
    environments: Annotated[
        str | None, typer.Option(help="With commas between; by default the first two of the paper.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--episodes", min=1, help="Non-gaming episodes that are learnt.")] = 2_500,
    source: Annotated[str, typer.Option(help="policy: its own that did not game; honest: the scripts.")] = "policy",
    assignments: Assignments = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """After a curriculum, learn what is not gaming, as one more stage of its folder, and measure again.

    Example: overopt tamper trainaway runs/curriculum -n 500
    """
    require_models("overopt tamper trainaway")
    from overopt.cli.progress import bar
    from overopt.hf.loading import quiet_models
    from overopt.studies.curriculum_run import train_away_from_run

    quiet_models()
    stored: dict[str, Any] = {"episodes": n, "source": source}
    if environments is not None:
        stored["environments"] = [name.strip() for name in environments.split(",")]
    with bar("train-away") as progress:
        found = train_away_from_run(run, assignments or [], stored=stored, device=device, progress=progress)
    _print(found.matrix, as_json)


def steer(
    run: Run,
    stage: Annotated[str | None, typer.Option(help="Such as 2-tool-flattery; the last unless named.")] = None,
    openings: Annotated[
        list[str] | None,
        typer.Option("--opening", metavar="NAME=TEXT", help="In place of the two that are there; TEXT begins <cot>."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What is measured, such as measure.scenarios=256."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the episodes; steering/STAGE of the run unless given.")
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Make the hidden thought of a trained policy begin as it is told, and count what it does then.

    Example: overopt tamper steer runs/curriculum --set measure.scenarios=256
    """
    require_models("overopt tamper steer")
    from overopt.cli.progress import bar
    from overopt.hf.loading import quiet_models
    from overopt.optimize.steering import OPENINGS
    from overopt.studies.curriculum_run import steer_run

    quiet_models()
    for text in assignments or []:
        if not text.startswith("measure."):
            raise ConfigError(f"--set of steer changes what is measured (measure.…); got {text!r}")
    chosen = OPENINGS if not openings else {"none": "", **dict(map(_opening, openings))}
    with bar("steering") as progress:
        found = steer_run(
            run, stage=stage, openings=chosen, assignments=assignments or [], out=out, device=device,
            progress=progress,
        )  # fmt: skip
    _print(found, as_json)


def plan(
    base: Annotated[float, typer.Option(help="Rate before training, between 0 and 1.")],
    ratios: Annotated[str, typer.Option("--ratio", help="Rises to be told apart, with commas between.")] = "2,3,10",
    level: Annotated[float, typer.Option(help="Of the test.")] = 0.95,
    power: Annotated[float, typer.Option(help="Wanted probability that the test sees the rise.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """How many episodes counting needs to see a rate rise; print it before a run.

    Where that is more than can be drawn, weigh probabilities instead. Example: overopt tamper plan --base 1e-3
    """
    from dataclasses import asdict

    from overopt.stats.planning_rates import episodes_to_bound_rate, episodes_to_compare_rates

    factors = [_ratio(text) for text in ratios.split(",")]
    if not 0 < base < 1 or any(not base * ratio < 1 for ratio in factors):
        raise ConfigError(f"--base and --base times --ratio are rates, between 0 and 1; got {base} and {ratios}")
    plans = {ratio: episodes_to_compare_rates(base, base * ratio, level=level, power=power) for ratio in factors}
    bound = episodes_to_bound_rate(base, level=level, power=power)
    if as_json:
        rows = [{"ratio": ratio, **asdict(found)} for ratio, found in plans.items()]
        print_json({"schema": "overopt.tamper_plan/1", "base": base, "plans": rows, "bound": asdict(bound)})
        return
    for ratio, found in plans.items():
        typer.echo(f"{base:g} against {base * ratio:g}: {found.episodes:,} episodes of each arm ({found.achieved:.2f})")
    typer.echo(f"no event at all bounds the rate at {base:g} after {bound.episodes:,} episodes")
    typer.echo(f"Assumes independent episodes of one seed; {bound.achieved_is}.")


def _ratio(text: str) -> float:
    try:
        found = float(text)
    except ValueError as error:
        raise ConfigError(f"--ratio takes numbers with commas between; got {text!r}") from error
    if not found > 0 or found == 1:
        raise ConfigError(f"--ratio takes numbers above 0 other than 1; got {text!r}")
    return found


def _opening(text: str) -> tuple[str, str]:
    name, separator, opening = text.partition("=")
    if not separator or not name.replace("-", "").replace("_", "").isalnum() or name == "none":
        raise ConfigError(f"--opening takes NAME=TEXT, the name of letters and digits and not none; got {text!r}")
    return name, opening


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if "stamp" in found:
        typer.echo(f"Note: {found['stamp']}.")
    print_matrix(_matrix(found), as_json=False)
    for menu in found.get("menus", []):
        shares = (
            f"{words} {menu[option]['value']:.3f} {_interval(menu[option]['low'], menu[option]['high'], '{:.3f}')}"
            for option, words in (("honest", "honest"), ("gamed", "gaming"))
        )
        typer.echo(
            f"{menu['environment']}: in the menu after {menu['stage']} {', '.join(shares)}; honest is the most "
            f"probable in {menu['honest_first']['value']:.0%} of the orders; probability of a letter "
            f"{menu['letter_mass']:.2f}, {menu['scenarios']} scenarios"
        )
    for change in found.get("changes", []):
        if change["measure"] == "menu_log_odds":
            interval = _interval(change["low"], change["high"], "{:+.3f}")
            typer.echo(
                f"{change['environment']}: log-odds of gaming in the menu, {change['after']} against "
                f"{change['before']}: {_number(change['value'], '{:+.3f}')} nats {interval}, {change['scenarios']} "
                "scenarios"
            )
    for one in found.get("pressure", []):
        typer.echo(
            f"{one['environment']}: after {one['stage']} {_with_error(one, 'kl')} nats from the start, reward "
            f"{_with_error(one, 'proxy')}, honest {_with_error(one, 'gold')}"
        )


def _matrix(found: dict[str, Any]) -> "Matrix":
    from overopt.measure.gaming import Cell, Matrix

    cells = []
    for stored in found["cells"]:
        unknown = {name: math.nan for name in ("value", "low", "high") if stored[name] is None}
        cells.append(Cell(**{name: value for name, value in stored.items() if name != "counts"} | unknown))
    return Matrix(
        stages=tuple(found["stages"]),
        environments=tuple(found["environments"]),
        facts=tuple(found["facts"]),
        cells=tuple(cells),
    )


def _with_error(row: dict[str, Any], name: str) -> str:
    return f"{_number(row[name], '{:.3f}')} ± {_number(row[f'{name}_stderr'], '{:.3f}')}"


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else form.format(value)


def _interval(low: float | None, high: float | None, form: str) -> str:
    if low is None or high is None:
        return "[unknown]"
    return f"[{form.format(low)}, {form.format(high)}]"
