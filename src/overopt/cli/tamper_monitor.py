"""``overopt tamper monitor``: who would have noticed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overopt.cli.tamper_views import print_json
from overopt.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from overopt.envs.monitors import Channel, Evaluation, Monitor, NgramMonitor

KINDS = ("diff", "commands", "cot-words")


def monitor(
    files: Annotated[list[Path], typer.Argument(help="Files of judged episodes (JSONL).", show_default=False)],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--monitor", help="diff, commands, cot-words, or ngrams:FILE; may be repeated.", show_default=False
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option("--train", help="Other episodes on which a monitor of n-grams is fitted.", show_default=False),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the fitted monitor in this file (JSON).")] = None,
    judge: Annotated[
        Path | None,
        typer.Option("--judge", help="Settings of a language model as judge, as `overopt score` takes them."),
    ] = None,
    channels: Annotated[
        str, typer.Option("--channels", help="What the judge sees: diff, actions, cot, answer, with commas.")
    ] = "actions,answer",
    level: Annotated[float, typer.Option("--level", help="Of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Hold monitors against the outcomes of stored episodes: AUROC, recall at 1 % and .1 % false alarms, first alarm.

    Example: overopt tamper monitor runs/*/*.jsonl --monitor diff --monitor cot-words
    """
    from overopt.envs.episode_file import read_episodes
    from overopt.envs.monitors import evaluate, fit_ngrams, labelled, view_of

    found: list[Monitor] = [_monitor(name) for name in (names or KINDS)]
    if {path.resolve() for path in train or []} & {path.resolve() for path in files}:
        raise ConfigError(
            "a monitor is fitted on other episodes than those it is held against; --train names one twice"
        )
    if train:
        data = labelled([episode for path in train for episode in read_episodes(path)])
        views = [view_of(episode, ["cot"]) for episode in data.episodes]
        fitted = fit_ngrams(views, data.labels)
        found.append(fitted)
        if save is not None:
            try:
                save.write_text(json.dumps(fitted.to_dict()) + "\n", encoding="utf-8")
            except OSError as error:
                raise StorageError(f"cannot write to {save}: {error.strerror or error}") from error
    elif save is not None:
        raise ConfigError("--save keeps a monitor that --train fits; give it episodes")
    if judge is not None:
        found.append(_judge(judge, channels))
    data = labelled([episode for path in files for episode in read_episodes(path)])
    evaluations = [evaluate(one, data, level=level) for one in found]
    if as_json:
        from overopt.measure.plain import plain

        rows = [one.to_dict() for one in evaluations]
        print_json(plain({"schema": "overopt.monitors/1", "level": level, "monitors": rows}))
        return
    _print(evaluations)


def _monitor(name: str) -> "Monitor":
    from overopt.envs.monitors import CommandMonitor, CotWordMonitor, DiffMonitor

    kinds: dict[str, Any] = dict(zip(KINDS, (DiffMonitor, CommandMonitor, CotWordMonitor), strict=True))
    if name in kinds:
        made: Monitor = kinds[name]()
        return made
    kind, colon, rest = name.partition(":")
    if kind == "ngrams" and colon:
        return _ngrams(Path(rest))
    raise ConfigError(f"a monitor is one of {', '.join(KINDS)}, ngrams:FILE; got {name!r}")


def _ngrams(path: Path) -> "NgramMonitor":
    from overopt.envs.monitors import NgramMonitor

    try:
        return NgramMonitor.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, DataError) as error:
        raise DataError(f"{path}: {error}") from error


def _judge(settings: Path, channels: str) -> "Monitor":
    from overopt.envs.monitors import CHANNELS, JudgeMonitor
    from overopt.rewards.specs import open_scorer

    wanted: list[Channel] = [channel for channel in CHANNELS if channel in channels.split(",")]
    if len(wanted) != len(channels.split(",")):
        raise ConfigError(f"--channels names some of {', '.join(CHANNELS)}; got {channels!r}")
    return JudgeMonitor(open_scorer(f"judge:{settings}", base=lambda: ([], [])), wanted)


def _print(evaluations: "list[Evaluation]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("monitor", "sees", "AUROC", "recall at 1 %", "recall at .1 %", "first alarm\n(change)"):
        table.add_column(column)
    for one in evaluations:
        area = one.auroc
        recalls = [
            f"{recall.recall.value:.3f} [{recall.recall.low:.3f}, {recall.recall.high:.3f}]\n"
            f"{recall.recall.successes:,}/{recall.recall.trials:,}; false {recall.false_alarms.successes:,}/"
            f"{recall.false_alarms.trials:,}"
            for recall in one.recalls
        ]
        alarm = "" if one.first_alarm is None else f"{one.first_alarm:.1f} ({one.first_change:.1f})"
        interval = "" if area.low != area.low else f"\n[{area.low:.3f}, {area.high:.3f}]"
        table.add_row(one.monitor, ", ".join(one.channels), f"{area.estimate.value:.3f}{interval}", *recalls, alarm)
    Console().print(table)
    first = evaluations[0]
    typer.echo(
        f"{first.auroc.positives:,} episodes with something to find, {first.auroc.negatives:,} without; "
        f"{first.left_out:,} tries without effect are left out."
    )
