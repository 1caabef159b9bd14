"""What ``overopt tamper`` prints: matrices, episodes, outcomes."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from overopt.envs.episode import Episode, Outcome
    from overopt.measure.gaming import Matrix


def print_matrix(found: "Matrix", as_json: bool) -> None:
    """A row a stage, environment and twin; or JSON."""
    if as_json:
        print_json(found.to_dict())
        return
    from rich.console import Console
    from rich.table import Table

    from overopt.measure.gaming_answers import percent

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage", overflow="fold")
    table.add_column("environment", no_wrap=True)
    shown = [fact for fact in found.facts if fact != "valid"]
    for fact in shown:
        table.add_column(fact.replace("_", "\n"), no_wrap=True)
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in found.cells:
        share, _, interval = percent(cell.value, cell.low, cell.high).partition(" ")
        words = f"{cell.counts}\n{share} %\n{interval.removesuffix(' %')}" if interval else f"{cell.counts}\nunknown"
        rows.setdefault((cell.stage, cell.environment, cell.twin), {})[cell.fact] = words
    for (stage, environment, twin), cells in rows.items():
        name = environment if twin == "gameable" else f"{environment}\n({twin})"
        table.add_row(stage, name, *(cells.get(fact, "") for fact in shown))
    Console().print(table)
    valid = [cell for cell in found.cells if cell.fact == "valid" and cell.estimator == "counted"]
    lost = round(sum(cell.trials - cell.successes for cell in valid))
    if lost:
        total = sum(cell.trials for cell in valid)
        typer.echo(f"{lost:,} of {total:,} episodes never came to an answer, or a limit cut them off.")
    level = found.cells[0].level if found.cells else 0.95
    typer.echo(f"Constructed incentive, pathway not prevalence. Brackets: {100 * level:g} % intervals over scenarios.")


def print_episode(episode: "Episode") -> None:
    """All messages, then the outcome."""
    for said in episode.messages:
        heading(f"{said.role} ({said.kind})")
        typer.echo(said.content)
    assert episode.outcome is not None
    print_outcome(episode.outcome)


def print_outcome(outcome: "Outcome") -> None:
    """The facts, then why they hold."""
    heading("outcome")
    for name, value in asdict(outcome).items():
        if name != "evidence":
            typer.echo(f"{name:15} {'yes' if value is True else 'no' if value is False else value}")
    for one in outcome.evidence:
        typer.echo(f"  {one.fact}, {f'step {one.step}' if one.step else 'at the end'}: {one.detail}")


def heading(text: str) -> None:
    """A line that sets apart."""
    typer.echo(f"\n--- {text}")


def print_json(found: object) -> None:
    """Indented, with no number that JSON lacks."""
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
