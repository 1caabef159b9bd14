"""Carry out a set of stages: in this process, in processes of this machine, or on a Ray cluster.

Results depend on none of it: a stage sees its inputs and parameters only, and computes with a number of threads that
is its own. Only with ``workers=0``, where everything runs in this process, in order, are they this process's threads.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from overopt.errors import ConfigError, StageError
from overopt.workflow.cluster import RayCluster
from overopt.workflow.local_pool import LocalPool
from overopt.workflow.schedule import Listener, Schedule, carry_out, event
from overopt.workflow.stage import Stage, plan
from overopt.workflow.store import Store
from overopt.workflow.worker import perform

_NAMED = 5


def run(
    stages: Iterable[Stage],
    store: Store,
    *,
    workers: int | None,
    threads: int = 1,
    cluster: RayCluster | None = None,
    events: Listener = lambda event: None,
) -> dict[str, Path]:
    """Make the results of ``stages`` and of all they need, and return their folders by key.

    Results that the store holds are verified and used; damaged ones are set aside and made again. A stage starts as
    soon as its inputs are there, the costliest first. When one fails, those that do not need it still run. A stage
    whose worker is lost is tried again: on this machine once, alone and in a fresh process; on a cluster as often as
    it says, wherever there is room.

    Parameters
    ----------
    workers : int, optional
        Cores that stages occupy at once, >= 1: as many processes, unless a stage needs several cores. 0 to run in
        this process; None for all cores of ``cluster``.
    threads : int
        Threads that each stage computes with, >= 1, or as many as it needs cores, if that is more; without effect
        when ``workers`` is 0.
    cluster : RayCluster, optional
        Where to run instead of this machine's processes.
    events
        Called in this process with everything that happens, in order.

    Raises
    ------
    StageError
        At the end, if stages failed: which, why, and where the tracebacks are.
    StorageError
        If the store cannot be written to.
    ConfigError
        If ``workers`` or ``threads`` is out of range, two functions carry one name, or there is no such cluster.
    """
    if (workers is not None and workers < 0) or threads < 1:
        raise ConfigError(f"workers must be 0 or more and threads 1 or more; got {workers} and {threads}")
    if cluster is None and workers is None:
        raise ConfigError("workers must be a number on this machine; only a cluster knows its own")
    if cluster is not None and workers == 0:
        raise ConfigError("workers must be 1 or more on a cluster, or None for all its cores; got 0")
    order = plan(stages)
    store.check_writable()
    store.clean_temporary()
    for stage in order:
        events(event("planned", stage))
    missing = [stage for stage in order if not _is_reused(stage, store, events)]
    schedule = Schedule(missing, events, lambda stage: str(store.log_path(stage)))
    if missing and cluster is not None:
        from overopt.workflow.ray_pool import RayPool

        with RayPool(store, cluster, workers, threads) as nodes:
            carry_out(schedule, nodes, store)
    elif missing and workers:
        with LocalPool(store, workers, threads) as processes:
            carry_out(schedule, processes, store)
    else:
        _carry_out_here(missing, schedule, store)
    if schedule.failures:
        raise StageError(_failure_sentence(schedule))
    return {stage.key: store.path(stage) for stage in order}


def _is_reused(stage: Stage, store: Store, events: Listener) -> bool:
    state = store.state(stage)
    if state == "missing":
        return False
    damages = store.verify(stage) if state == "damaged" else []
    if not damages:
        events(event("reused", stage, seconds=float(store.manifest(stage)["provenance"]["wall_s"])))
        return True
    more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
    store.set_aside(stage)
    message = f"damaged: {damages[0].file}{more} in {stage.label}; rebuilding ({damages[0]})"
    events(event("damaged", stage, message=message))
    return False


def _carry_out_here(missing: Sequence[Stage], schedule: Schedule, store: Store) -> None:
    for stage in missing:
        if schedule.pop(stage) is None:  # skipped
            continue
        schedule.start(stage)
        schedule.end(stage, perform(stage.task(), store, partial(schedule.progress, stage)))


def _failure_sentence(schedule: Schedule) -> str:
    sentences = list(schedule.failures.values())
    n_failed, n_skipped = len(sentences), len(schedule.skipped)
    what = f"{n_failed} stage{'s' * (n_failed > 1)} failed"
    if n_skipped:
        what += f" and {n_skipped} more did not run for want of {'its' if n_failed == 1 else 'their'} results"
    if n_failed > _NAMED:
        sentences[_NAMED:] = [f"and {n_failed - _NAMED} more"]
    return f"{what}: {'; '.join(sentences)}"
