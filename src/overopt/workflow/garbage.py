"""What may go from a store, and what must stay because a study needs it.

A study that was run records the keys of its plan, inputs of inputs included, in ``plan.json`` in its folder:
``{"schema": "overopt.plan_keys/1", "keys": [...]}``. A result whose key is in the plan of a study that is kept always
stays, and so does one that somebody may be writing.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from overopt.errors import ConfigError, DataError
from overopt.workflow.store import Store

PLAN_FILE = "plan.json"
PLAN_SCHEMA = "overopt.plan_keys/1"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that may go from a store."""

    kind: Literal["result", "draft", "damaged"]
    name: str
    """In the store."""
    label: str
    """For people; empty if it is no result."""
    n_bytes: int
    reason: str


def read_plan_keys(study: Path) -> set[str]:
    """The keys that the study in the folder ``study`` needs.

    Raises
    ------
    DataError
        If the folder does not say, or not in the schema above.
    """
    path = study / PLAN_FILE
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "run the study there once more, which records what it needs" if study.is_dir() else "it does not exist"
        raise DataError(f"{study} holds no {PLAN_FILE}; {what}") from None
    except (OSError, ValueError):
        raise DataError(f"{path} cannot be read as JSON; run the study there once more") from None
    keys = plan.get("keys") if isinstance(plan, dict) and plan.get("schema") == PLAN_SCHEMA else None
    if not isinstance(keys, list) or not all(isinstance(key, str) and len(key) == 64 for key in keys):
        raise DataError(f"{path} does not follow the schema {PLAN_SCHEMA}; run the study there once more")
    return set(keys)


def studies_of(store: Store, keep: Iterable[Path]) -> list[Path]:
    """``keep``, and the study in whose folder the store lies: that it needs its own results goes without saying."""
    studies = list(keep)
    home = store.root.parent
    if store.address == str(store.root) and store.root.name == "store" and (home / "study.json").exists():
        studies.append(home)
    return studies


def find_garbage(
    store: Store, *, keep: Iterable[Path] = (), older_than_days: float | None = None, now: datetime | None = None
) -> list[Garbage]:
    """What may go from ``store``.

    Always drafts whose writer is gone, damaged results that were set aside, and results whose list of files cannot be
    read. Other results only when ``keep`` or ``older_than_days`` says which: those that no study of ``keep`` needs,
    those that are older, or with both, those that are both. What the study around the store needs stays in any case.

    Parameters
    ----------
    keep : iterable of Path
        Folders of studies that were run into this store.
    older_than_days : float, optional
        Age of results that may go, >= 0, counted from the start of their stage.
    now : datetime, optional
        Another time than that of the clock.

    Raises
    ------
    ConfigError
        If ``older_than_days`` is negative or not a number.
    DataError
        If a study to keep does not say what it needs.
    """
    if older_than_days is not None and not older_than_days >= 0:
        raise ConfigError(f"--older-than takes a number of days, 0 or more; got {older_than_days:g}")
    named = list(keep)
    if named or older_than_days is not None:
        studies = studies_of(store, named)
        needed = set().union(*(read_plan_keys(study) for study in studies))
    else:
        studies, needed = [], set()
    latest = None if older_than_days is None else (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    results = store.results()
    busy = store.in_progress()  # after the results: a writer that begins between the two makes something new
    found = []
    for result in results:
        if result.folder in busy:
            continue
        if result.problem:
            found.append(Garbage("damaged", result.folder, "", result.n_bytes, f"its list of files {result.problem}"))
            continue
        if result.key in needed or not (named or latest):
            continue
        reasons = []
        if studies:
            reasons.append("no study that is kept needs it")
        if latest is not None:
            if result.made is None or result.made > latest:
                continue
            reasons.append(f"made {result.made:%Y-%m-%d}")
        found.append(Garbage("result", result.folder, result.label, result.n_bytes, ", ".join(reasons)))
    why = {"draft": "its writer is gone", "damaged": "damaged and set aside"}
    return found + [Garbage(left.kind, left.name, "", left.n_bytes, why[left.kind]) for left in store.leftovers()]


def remove_garbage(store: Store, garbage: Iterable[Garbage]) -> None:
    """Delete what ``find_garbage`` found.

    Raises
    ------
    StorageError
        If something cannot be deleted; what came before it is gone.
    """
    for item in garbage:
        store.remove(item.name)
