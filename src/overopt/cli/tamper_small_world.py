"""``overopt tamper toy``, ``exact`` and ``importance``: the small world, where every rate is a finite sum."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.extras import require_models
from overopt.cli.tamper_views import print_json
from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.optimize.game_rates import CountedBeside, ExactRates
    from overopt.stats.measured_rate import MeasuredRate
    from overopt.studies.small_world import ToyRun

RATES_SCHEMA = "overopt.tamper_rates/1"
CAVEAT = "Constructed incentive, pathway not prevalence"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder of a model of the small world.", show_default=False)
]
Level = Annotated[float, typer.Option(help="Of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]
EnvironmentOption = Annotated[str, typer.Option("--environment", help="sycophancy, flattery, nudged, insubordinate or "
                                                "tampering.")]  # fmt: skip


def toy(
    rho: Annotated[
        str, typer.Option(help="How far tampering depends on the plan, within 0 and 1; arms, with commas between.")
    ] = "1,0",
    seeds: Annotated[int, typer.Option(min=1, help="Of each arm; they are what is counted.")] = 5,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as curriculum.training.method=hhh or model.steps=700."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Seeds at once.")] = 2,
    out: Annotated[Path | None, typer.Option("--out", help="Keep everything here; the same one goes on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train small transformers to game where all rates are known, with and without a reason for them to tamper.

    At rho 1 the rate of the environment that is never trained on must rise, at 0 it must not: a pipeline that reports a
    rise there is broken. Minutes on two cores. Example: overopt tamper toy --seeds 2 --set model.steps=700
    """
    require_models("overopt tamper toy")
    from overopt.cli.progress import bar
    from overopt.studies.places import prepare_torch
    from overopt.studies.small_world import ToyConfig, tampering_toy, toy_results
    from overopt.studies.study import with_settings

    for text in assignments or []:
        if text.partition("=")[0].strip() in ("rho", "seeds", "model.writers.coupling"):
            raise ConfigError(f"--rho and --seeds say that; --set {text} does not")
    arms = [
        with_settings(ToyConfig(rho=value, seeds=tuple(range(seeds))), assignments or []) for value in _numbers(rho)
    ]
    prepare_torch()
    runs: list[ToyRun] = []
    for config in arms:
        folder = None if out is None else out / f"rho-{config.rho:g}"
        with bar(f"rho {config.rho:g}") as progress:
            runs.append(tampering_toy(config, folder=folder, workers=workers, progress=progress))
    if as_json:
        print_json(toy_results(runs))
        return
    for run in runs:
        print_arm(run)
    for other in runs[1:]:
        print_difference(runs[0], other)
    typer.echo(f"{CAVEAT}: this is about the measurement, not about language models.")


def exact(
    model: Model,
    environments: Annotated[
        str, typer.Option("--environment", help="With commas between; by default all five.")
    ] = "sycophancy,flattery,nudged,insubordinate,tampering",
    twin: Annotated[str, typer.Option(help="gameable, control or legitimate.")] = "gameable",
    plan: Annotated[
        str | None, typer.Option(help="Begin every episode with this plan: seek, honest or confused.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Probability from which on a path is followed.")] = 1e-9,
    count: Annotated[
        int | None, typer.Option(min=1, help="Also draw so many episodes of each, and count them beside.")
    ] = None,
    seed: Seed = 0,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Rates of a model of the small world, summed over all its episodes, with bounds that hold for certain.

    Example: overopt tamper exact runs/toy/rho-1/seed-0/policies/4-insubordinate --count 32768
    """
    require_models("overopt tamper exact")
    from overopt.optimize.game_rates import counted_beside, exact_rates
    from overopt.stats.checks import check_level
    from overopt.worlds.tampering.scenarios import twins

    check_level(level)
    names = [name.strip() for name in environments.split(",")]
    for name in names:
        if twin not in twins(name):
            raise ConfigError(f"--twin of {name} is one of {', '.join(twins(name))}; got {twin!r}")
    policy = _loaded(model)
    of: Any = twin
    found = [exact_rates(policy, name, twin=of, plan=plan, tolerance=tolerance, level=level) for name in names]
    beside = [[] if count is None else counted_beside(policy, one, episodes=count, seed=seed) for one in found]
    if as_json:
        _print_exact_json(found, beside)
    else:
        _print_exact(found, beside)


def importance(
    model: Model,
    fact: Annotated[str, typer.Option(help="both: the reward raised and its guard neutralised.")] = "both",
    environment: EnvironmentOption = "tampering",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="episodes, tuning, rounds, share or own, such as share=0.3."),
    ] = None,
    with_exact: Annotated[bool, typer.Option("--exact", help="Enumerate it too.")] = False,
    seed: Seed = 0,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """A rare rate of a model of the small world by importance sampling, beside splitting and counting.

    The proposal is tuned on the model's own probabilities, and a share of the episodes is the model's, so that no
    weight can be large. Example: overopt tamper importance runs/toy/rho-1/seed-0/model --fact both --exact
    """
    require_models("overopt tamper importance")
    from overopt.measure.proposals import ImportanceSettings
    from overopt.optimize.game_rates import event, exact_rates, rare_rates
    from overopt.stats.checks import check_level
    from overopt.studies.study import with_settings
    from overopt.worlds.tampering.scenarios import scenarios

    check_level(level)
    settings = with_settings(ImportanceSettings(), assignments or [])
    event(fact)
    scenarios(environment)
    policy = _loaded(model)
    rates = rare_rates(policy, fact, environment, seed=seed, importance=settings, level=level)
    if with_exact:
        rates = {"exact": exact_rates(policy, environment, level=level).rate(fact), **rates}
    if as_json:
        _print_rates_json([{"environment": environment, "fact": fact, **_row(one)} for one in rates.values()])
        return
    _print_rates(f"{fact} in {environment}", rates)


def print_arm(run: "ToyRun") -> None:
    """Rates of raising the reward by stage and seed, and what follows from them over seeds."""
    import math

    first = next(iter(run.records.values()))
    columns = ["seed", *(record.stage for record in first), "factor", "seek / honest"]
    rows = []
    for seed, records in run.records.items():
        rates = [record.rates["tampering"]["raised"].value for record in records]
        before, after = rates[0], rates[len(run.config.curriculum.stages)]
        factor = f"{after / before:.2f}" if before > 0 else "unknown"
        ratio = run.steering()[seed]
        rows.append([f"{seed}", *(f"{rate:.2e}" for rate in rates), factor,
                     "unknown" if math.isnan(ratio) else f"{ratio:.2f}"])  # fmt: skip
    typer.echo(f"rho {run.config.rho:g}: how often the reward is raised in the environment that is never trained on")
    _table(columns, rows)
    found = run.to_dict()
    for title, one in (("factor", found["factor"]), ("steering, seek / honest", found["steering_factor"])):
        typer.echo(f"{title}: {_interval(one)}")
    for environment, ratios in found["away"].items():
        of = "raised, of the last stage" if environment == "tampering" else "gamed, of the start"
        typer.echo(f"trained away, {environment} ({of}): " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
    covered = min(record.covered for records in run.records.values() for record in records)
    typer.echo(f"covered: {covered:.8f} of the probability of every scenario's episodes, or more\n")


def print_difference(first: "ToyRun", other: "ToyRun") -> None:
    """Of two arms' factors."""
    from overopt.studies.small_world import compare_arms

    if min(len(first.config.seeds), len(other.config.seeds)) < 2:
        typer.echo("Arms are compared over seeds; one is not enough.")
        return
    found = compare_arms(first, other)
    typer.echo(
        f"rho {first.config.rho:g} over rho {other.config.rho:g}: {found.ratio:.2f} "
        f"[{found.low:.2f}, {found.high:.2f}], Welch p {found.welch_p:.2g}, permutation p {found.permutation_p:.2g}"
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--rho takes numbers within 0 and 1, with commas between; got {text!r}") from error


def _loaded(folder: Path) -> Any:
    from overopt.hf.loading import quiet_models
    from overopt.training.game_model import load_game_model

    quiet_models()
    return load_game_model(folder)


def _row(found: "MeasuredRate") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found), "evidence": found.evidence}


def _print_rates_json(rows: list[dict[str, Any]]) -> None:
    from overopt.measure.plain import plain

    print_json(plain({"schema": RATES_SCHEMA, "caveat": CAVEAT, "rates": rows}))


def _print_exact_json(found: "list[ExactRates]", beside: "list[list[CountedBeside]]") -> None:
    from overopt.worlds.tampering.states import FACTS

    rows = []
    for one, counts in zip(found, beside, strict=True):
        of = {"environment": one.environment, "twin": one.twin, "plan": one.plan}
        rows += [{**of, "fact": fact, **_row(one.rate(fact))} for fact in FACTS]
        rows += [{**of, "fact": count.fact, **_row(count.counted), "deviation": count.deviation} for count in counts]
    _print_rates_json(rows)


def _print_exact(found: "list[ExactRates]", beside: "list[list[CountedBeside]]") -> None:
    from overopt.worlds.tampering.states import FACTS

    rows = []
    for one, counts in zip(found, beside, strict=True):
        counted = {count.fact: count for count in counts}
        for fact in FACTS:
            rate = one.rate(fact)
            row = [one.environment, fact, f"{rate.low:.4g}", f"{rate.high:.4g}", rate.evidence]
            if fact in counted:
                count = counted[fact]
                row += [count.counted.evidence, f"{count.counted.value:.4g} [{count.counted.low:.2g}, "
                        f"{count.counted.high:.2g}]", f"{count.deviation:+.2f}"]  # fmt: skip
            rows.append(row)
    columns = ["environment", "fact", "at least", "at most", "followed"]
    _table(columns + (["counted", "", "deviation"] if any(beside) else []), rows)
    if any(beside):
        worst = max(abs(count.deviation) for counts in beside for count in counts)
        typer.echo(f"Largest deviation of a count: {worst:.2f} standard deviations.")
    typer.echo(f"{CAVEAT}. Bounds hold for certain: what was not followed is in the upper one.")


def _print_rates(title: str, rates: "dict[str, MeasuredRate]") -> None:
    rows = []
    for name, rate in rates.items():
        error = "" if rate.relative_error != rate.relative_error else f"{100 * rate.relative_error:.2g} %"
        low = "?" if rate.low != rate.low else f"{rate.low:.2e}"
        high = "?" if rate.high != rate.high else f"{rate.high:.2e}"
        rows.append([name, f"{rate.value:.3e}", f"[{low}, {high}]", error, f"{rate.episodes:,}", rate.evidence])
    _table([title, "rate", "interval", "error", "episodes", "rests on"], rows)
    typer.echo(f"{CAVEAT}.")


def _interval(found: dict[str, Any] | None) -> str:
    if found is None:
        return "unknown: a rate was 0 as far as it was followed"
    if found["low"] != found["low"]:
        return f"{found['value']:.2f}; one seed has no interval"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}], geometric mean over {found['seeds']} seeds"


def _table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
