"""``overopt plan``: how many prompts, pairs or episodes a question needs before anything is run."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.stats.planning_rates import RatePlan

app = typer.Typer(help="How many prompts, pairs or episodes a question needs.", no_args_is_help=True)

Level = Annotated[float, typer.Option(help="Level of the interval or of the test.")]
Power = Annotated[float, typer.Option(help="Wanted probability of success.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SCHEMA = "overopt.plan/1"


@app.command("rate")
def rate(
    bound: Annotated[float | None, typer.Option(help="Show that the rate is at most this.")] = None,
    rate: Annotated[float, typer.Option(help="What the rate is believed to be.")] = 0.0,
    half_width: Annotated[
        float | None, typer.Option(help="Or: measure the rate to plus or minus this share of itself, such as 0.3.")
    ] = None,
    against: Annotated[float | None, typer.Option(help="Or: tell the rate from this one.")] = None,
    level: Level = 0.95,
    power: Power = 0.8,
    as_json: AsJson = False,
) -> None:
    """Episodes to bound a rate, to measure it, or to tell two apart.

    Example: overopt plan rate --bound 1e-4
    """
    from overopt.stats.planning_rates import (
        episodes_for_relative_width,
        episodes_to_bound_rate,
        episodes_to_compare_rates,
    )

    given = {"--bound": bound, "--half-width": half_width, "--against": against}
    named = [name for name, value in given.items() if value is not None]
    if not named:
        raise ConfigError("plan rate needs one of --bound, --half-width and --against")
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are different questions; ask plan rate one of them at a time")
    if bound is not None:
        _show("episodes", episodes_to_bound_rate(bound, rate, level=level, power=power), as_json)
    elif half_width is not None:
        _show("episodes", episodes_for_relative_width(rate, half_width, level=level), as_json)
    elif against is not None:
        found = episodes_to_compare_rates(rate, against, level=level, power=power)
        _show("episodes of each arm", found, as_json)


@app.command("compare")
def compare(
    first: Annotated[float | None, typer.Option(help="Accuracy of one reward model.")] = None,
    second: Annotated[float | None, typer.Option(help="Accuracy of the other, on the same pairs.")] = None,
    discordance: Annotated[float | None, typer.Option(help="Share of pairs that only one gets right.")] = None,
    difference: Annotated[float | None, typer.Option(help="Or: the difference in gold at one n.")] = None,
    sd: Annotated[float | None, typer.Option(help="Sd of gold over prompts, at that n.")] = None,
    correlation: Annotated[float, typer.Option(help="Of the two proxies' gold over prompts.")] = 0.0,
    level: Level = 0.95,
    power: Power = 0.8,
    as_json: AsJson = False,
) -> None:
    """Pairs to tell two accuracies apart, or prompts to tell two proxies apart by gold.

    Example: overopt plan compare --first 0.75 --second 0.72 --discordance 0.15
    """
    from overopt.stats.planning_curves import pairs_to_separate, prompts_to_separate

    if first is not None and second is not None and difference is None and sd is None:
        found = pairs_to_separate(first, second, discordance=discordance, level=level, power=power)
        _show("pairs", found, as_json)
    elif difference is not None and sd is not None and first is None and second is None:
        found = prompts_to_separate(difference, sd, correlation=correlation, level=level, power=power)
        _show("prompts", found, as_json)
    else:
        raise ConfigError("plan compare answers one question: give --first and --second, or else --difference and --sd")


@app.command("peak")
def peak(
    alpha: Annotated[float, typer.Option(help="Expected alpha of best-of-n, in units of gold.")],
    beta: Annotated[float, typer.Option(help="Expected beta.")],
    half_width: Annotated[float, typer.Option(help="Wanted half width of the interval of d at the peak.")],
    prompt_sd: Annotated[float, typer.Option(help="Sd over prompts of the gain in gold at the peak.")] = 0.5,
    sample_sd: Annotated[float, typer.Option(help="Sd of gold within a prompt, at about equal proxy.")] = 1.0,
    pool: Annotated[int, typer.Option(min=2, help="Samples per prompt.")] = 1024,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Prompts to place the peak of a best-of-n curve, with powers of two up to the pool as n.

    Example: overopt plan peak --alpha 0.6 --beta 0.2 --half-width 0.2
    """
    from overopt.measure.bon import powers_of_two
    from overopt.measure.plain import plain
    from overopt.stats.planning_curves import prompts_to_place_peak

    plan = prompts_to_place_peak(
        half_width,
        alpha=alpha,
        beta=beta,
        pool=pool,
        ns=powers_of_two(pool)[1:],
        prompt_sd=prompt_sd,
        sample_sd=sample_sd,
        level=level,
    )
    found = plain(plan)
    assert isinstance(found, dict)
    where = "" if plan.inside else ", beyond the largest n: the law is trusted there"
    text = (
        f"{plan.prompts:,} prompts of {plan.pool:,} samples, {plan.gold_labels:,} gold labels: the peak at "
        f"d = {plan.d:.2f} ({plan.d**2:.1f} nats{where}) to ±{plan.d_half_width:.2g} in d and "
        f"±{plan.gold_half_width:.2g} in gold"
    )
    _print(found, text, plan.assumptions, as_json)


def _show(what: str, plan: "RatePlan", as_json: bool) -> None:
    found = asdict(plan)
    number = found.pop("episodes")
    # Some plans say after a colon what has to happen for their claim to hold.
    claim, _, condition = plan.achieved_is.partition(": ")
    _print(
        {"needed": number, "of": what, **found},
        f"{number:,} {what}{f' with {condition}' if condition else ''}; {claim}: {plan.achieved:.3g}",
        plan.assumptions,
        as_json,
    )


def _print(found: dict[str, Any], text: str, assumptions: str, as_json: bool) -> None:
    # Any: the values of a JSON object.
    if as_json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, **found}, indent=1, allow_nan=False) + "\n")
    else:
        sys.stdout.write(f"{text}\nAssumes {assumptions}.\n")
