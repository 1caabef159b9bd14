"""``overopt tamper export`` and ``import``: episodes for other tools, and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from overopt.cli.extras import require_inspect
from overopt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from overopt.envs.episode import Episode


def export(
    files: Annotated[list[Path], typer.Argument(help="Files of episodes (JSONL).", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="inspect: a log for Inspect's viewer; chat: rows to fine-tune on; trl: prompts for its trainers.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.", show_default=False)],
    only: Annotated[
        str | None, typer.Option("--only", help="gamed or honest: only episodes that succeeded in that.")
    ] = None,
    least_reward: Annotated[
        float | None, typer.Option("--least-reward", help="Only episodes that were given as much or more.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            help="Of chat: messages (an episode a row) or prompt-completion (a turn a row). [default: messages]",
            show_default=False,
        ),
    ] = None,
    keeps_cot: Annotated[
        bool, typer.Option("--cot/--no-cot", help="Of chat: keep hidden thought, or take it out.")
    ] = True,
    takes_all: Annotated[
        bool,
        typer.Option("--all", help="Of chat and trl: the test split and environments that are held out, too."),
    ] = False,
) -> None:
    """Write stored episodes as another tool reads them.

    Rows for training leave out the test split and what is held out, unless --all is given.

    Example: overopt tamper export runs/gamer/*.jsonl --to chat --only honest --all --out honest.jsonl
    """
    from overopt.envs.chat_file import Form, Only, left_out_words, select
    from overopt.envs.episode_file import read_episodes

    if to not in _FORMATS:
        raise ConfigError(f"--to is one of {', '.join(_FORMATS)}; got {to!r}")
    for name, value, allowed in (("only", only, get_args(Only)), ("form", form, get_args(Form))):
        if value is not None and value not in allowed:
            raise ConfigError(f"--{name} is one of {', '.join(allowed)}; got {value!r}")
    if to != "chat" and (form is not None or not keeps_cot):
        raise ConfigError("--form and --no-cot say how rows of --to chat are written")
    is_training = to in _TRAINING
    chosen: Any = {"only": only, "least_reward": least_reward, "for_training": is_training and not takes_all}
    found = select((episode for path in files for episode in read_episodes(path)), **chosen)
    if not found.episodes:
        hint = "; --all takes them too" if chosen["for_training"] else ""
        raise DataError(f"no episode is left to export ({left_out_words(found.left_out) or 'none was there'}){hint}")
    _FORMATS[to](found.episodes, out, _Options(form=form or "messages", keeps_cot=keeps_cot))
    if found.left_out:
        typer.echo(f"Left out: {left_out_words(found.left_out)}.", err=True)


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


@dataclass(frozen=True)
class _Options:
    form: Any  # checked
    keeps_cot: bool


def _inspect(episodes: "Sequence[Episode]", out: Path, options: _Options) -> None:
    require_inspect("overopt tamper export --to inspect")
    from overopt.adapters.inspect_log import to_inspect_log

    to_inspect_log(episodes, out)
    typer.echo(f"{len(episodes):,} episodes: {out}")


def _chat(episodes: "Sequence[Episode]", out: Path, options: _Options) -> None:
    from overopt.envs.chat_file import chat_rows, left_out_words, write_rows

    found = chat_rows(episodes, form=options.form, keeps_cot=options.keeps_cot)
    write_rows(found.rows, out)
    typer.echo(f"{len(found.rows):,} rows of {len(episodes):,} episodes: {out}")
    if found.left_out:
        typer.echo(f"Left out: {left_out_words(found.left_out)}.", err=True)


def _trl(episodes: "Sequence[Episode]", out: Path, options: _Options) -> None:
    from overopt.envs.chat_file import prompt_rows, write_rows

    rows = prompt_rows(episodes)
    write_rows(rows, out)
    typer.echo(f"{len(rows):,} scenarios of {len(episodes):,} episodes: {out}")


_FORMATS: "Mapping[str, Callable[[Sequence[Episode], Path, _Options], None]]" = {
    "inspect": _inspect,
    "chat": _chat,
    "trl": _trl,
}
"""Each writes the file and says what it wrote."""
_TRAINING = ("chat", "trl")
