"""What a run would do and how long it would take: the plan played through with the times of what was made before.

A stage that is to be made takes, in this order: its cost hint times the seconds that finished stages of the same
function took per unit of cost in this plan; the median of what results of the same function took under other settings;
its cost hint times the seconds per unit of cost of all finished stages of this plan, or times one second.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from overopt.errors import ArtifactError
from overopt.workflow.schedule import simulate
from overopt.workflow.stage import Needs, Stage, plan
from overopt.workflow.store import Store

Basis = Literal["done", "this plan", "other settings", "hint"]


@dataclass(frozen=True, slots=True)
class Group:
    """The stages of one function."""

    name: str
    n_done: int
    n_missing: int
    seconds: float
    """Of the missing ones, one after another."""
    basis: Basis
    """What the seconds rest on; "done" if nothing is missing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A plan and its duration, without the start of processes and what they import."""

    groups: list[Group]
    """In the order of the plan."""
    missing: list[Stage]
    seconds: dict[str, float]
    """Of each missing stage, by key."""
    workers: int
    wall_s: float
    """From start to end, with that many workers."""

    @property
    def n_done(self) -> int:
        return sum(group.n_done for group in self.groups)

    @property
    def work_s(self) -> float:
        """Seconds of all missing stages one after another."""
        return sum(self.seconds.values())

    @property
    def rests_on(self) -> str:
        """What the times are taken from, in words."""
        words = {
            "this plan": "finished stages of the same function in this plan",
            "other settings": "results of the same function under other settings",
            "hint": "the cost hints of the study",
        }
        counts = {basis: sum(group.n_missing for group in self.groups if group.basis == basis) for basis in words}
        return "; ".join(f"{words[basis]} ({n} stages)" for basis, n in counts.items() if n) or "nothing: all is done"


def estimate(stages: Iterable[Stage], store: Store | None, *, workers: int) -> Estimate:
    """The plan of ``stages`` and the time that it would take.

    Parameters
    ----------
    store : Store, optional
        Where results are looked for by their manifests; their files are not checked. None if nothing was made yet.
    workers : int
        Cores that stages occupy at once; 0 counts as one.
    """
    order = plan(stages)
    took = {stage.key: known for stage in order if (known := _recorded_s(stage, store)) is not None}
    elsewhere: dict[str, list[float]] = {}
    for result in store.results() if store is not None else []:
        if result.wall_s is not None:
            elsewhere.setdefault(result.name, []).append(result.wall_s)
    overall = _s_per_cost(order, took)
    seconds: dict[str, float] = {}
    groups = []
    for name in dict.fromkeys(stage.name for stage in order):
        members = [stage for stage in order if stage.name == name]
        missing = [stage for stage in members if stage.key not in took]
        own = _s_per_cost(members, took)
        basis: Basis = (
            "done" if not missing else "this plan" if own else "other settings" if name in elsewhere else "hint"
        )
        for stage in missing:
            if basis == "other settings":
                seconds[stage.key] = statistics.median(elsewhere[name])
            else:
                seconds[stage.key] = stage.cost * (own or overall or 1.0)
        work = sum(seconds[stage.key] for stage in missing)
        groups.append(Group(name, len(members) - len(missing), len(missing), work, basis))
    missing = [stage for stage in order if stage.key not in took]
    capacity = Needs(cpus=max(workers, 1), gpus=1.0, memory_gb=float("inf"))
    return Estimate(groups, missing, seconds, workers, simulate(missing, seconds, capacity))


def _recorded_s(stage: Stage, store: Store | None) -> float | None:
    """What the finished ``stage`` took; None if there is no result."""
    if store is None:
        return None
    try:
        return float(store.manifest(stage)["provenance"]["wall_s"])
    except ArtifactError:
        return None


def _s_per_cost(stages: Iterable[Stage], took: dict[str, float]) -> float | None:
    """Seconds that finished stages took per unit of cost; None if there are none."""
    done = [stage for stage in stages if stage.key in took]
    return sum(took[stage.key] for stage in done) / sum(stage.cost for stage in done) if done else None
