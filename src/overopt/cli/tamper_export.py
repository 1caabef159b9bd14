"""``overopt tamper export`` and ``import``: episodes for other tools, and back."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overopt.cli.extras import require_inspect
from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.envs.episode import Episode


def export(
    files: Annotated[list[Path], typer.Argument(help="Files of episodes (JSONL).", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="inspect: a log for Inspect's viewer.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.", show_default=False)],
) -> None:
    """Write stored episodes as another tool reads them.

    Example: overopt tamper export runs/gamer/*.jsonl --to inspect --out gamer.eval
    """
    from overopt.envs.episode_file import read_episodes

    if to not in _FORMATS:
        raise ConfigError(f"--to is one of {', '.join(_FORMATS)}; got {to!r}")
    _FORMATS[to]([episode for path in files for episode in read_episodes(path)], out)


def import_log(
    log: Annotated[Path, typer.Argument(help="A log of Inspect (.eval or .json).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="File of episodes (JSONL).", show_default=False)],
) -> None:
    """Take the episodes out of a log of Inspect: of our tasks, or of an export.

    Example: overopt tamper import logs/gamer.eval --out runs/gamer.jsonl
    """
    require_inspect("overopt tamper import")
    from overopt.adapters.inspect_log import from_inspect_log
    from overopt.envs.episode_file import write_episodes

    found = from_inspect_log(log)
    write_episodes(found.episodes, out)
    typer.echo(f"{len(found.episodes):,} episodes: {out}")
    if found.left_out:
        typer.echo(f"{len(found.left_out):,} samples without an episode, such as {found.left_out[0]}", err=True)


def _inspect(episodes: "Sequence[Episode]", out: Path) -> None:
    require_inspect("overopt tamper export --to inspect")
    from overopt.adapters.inspect_log import to_inspect_log

    to_inspect_log(episodes, out)
    typer.echo(f"{len(episodes):,} episodes: {out}")


_FORMATS: "Mapping[str, Callable[[Sequence[Episode], Path], None]]" = {"inspect": _inspect}
"""Each writes the file and says what it wrote."""
