"""Stages as tasks of a Ray cluster.

The driver decides what starts and how often it is tried; Ray finds the node. Results go through the store, which all
nodes reach, so no node is missed for what it has finished. Nodes need the same version of overopt as the driver.
"""

import os
import pickle
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from overopt.errors import ConfigError, MissingExtraError, StageError
from overopt.workflow.address import open_store
from overopt.workflow.cluster import RayCluster
from overopt.workflow.schedule import Lost
from overopt.workflow.stage import Needs, Stage
from overopt.workflow.store import Store
from overopt.workflow.worker import (
    THREAD_VARIABLES,
    Outcome,
    Progress,
    environment,
    failed,
    pack,
    perform_packed,
    threads_of,
)

_POLL_S = 0.25
_LOOK_AT_NODES_EVERY_S = 1.0
_OBJECTS_BYTES = 100 * 2**20  # results go through the store, not through Ray
_PATIENCE_S = 300.0
"""How long a stage waits for a node that is large enough: a cluster that grows by itself takes minutes."""
_KNOCK_S = 10.0
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
_CAUSES = {
    "OutOfMemoryError": "its worker was ended by Ray for want of memory",
    "WorkerCrashedError": "its worker process was lost",
    "NodeDiedError": "its node was lost",
}

Ref = Any  # Ray's handle of a task to come; Ray is not imported here


class RayPool:
    """Tasks of a Ray cluster; leaving the block cancels what still runs and ends a cluster that was started here."""

    is_alone_again = False

    def __init__(self, store: Store, cluster: RayCluster, workers: int | None, threads: int) -> None:
        self.retries = cluster.retries
        self._store = store
        self._cluster = cluster
        self._workers = workers
        self._threads = threads
        self._ray = _import_ray()
        self._running: dict[Ref, Stage] = {}
        self._unsent: list[tuple[Stage, Outcome]] = []
        self._nodes: list[Needs] = []
        self._looked = float("-inf")
        self._stranded_since: dict[Ref, float] = {}
        self._folder: Path | None = None
        self._is_connected_here = False
        self._mailbox: Any = None  # a Ray actor has no type of its own

    def __enter__(self) -> "RayPool":
        try:
            self._connect()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        for ref in self._running:
            with suppress(Exception):  # the cluster itself may be gone
                self._ray.cancel(ref, force=True)
        self._leave()
        self._store.clean_temporary()

    def capacity(self) -> Needs:
        """The sum of all nodes that are alive, with as many cores as there shall be workers if that was said."""
        nodes = self._alive()
        cores = self._workers or sum(node.cpus for node in nodes)
        return Needs(
            cpus=max(cores, 1.0),
            gpus=sum(node.gpus for node in nodes),
            memory_gb=sum(node.memory_gb for node in nodes),
        )

    def start(self, stage: Stage, attempt: int) -> None:
        """Hand ``stage`` to Ray, which runs it where there is room."""
        try:
            payload = pack(stage.task(attempt), self._ray.cloudpickle.dumps)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._unsent.append((stage, failed(stage, self._store, error, 0.0)))
            return
        # More cores than any node has are a wish for threads; a GPU or memory that no node has is a need.
        cores = min(stage.needs.cpus, max((node.cpus for node in self._alive()), default=1.0) or 1.0)
        threads = str(threads_of(stage.needs, self._threads))
        task = self._ray.remote(_carry_out).options(
            name=stage.label,
            num_cpus=cores,
            num_gpus=stage.needs.gpus,
            memory=int(stage.needs.memory_gb * 1e9) or None,
            max_retries=0,  # they are counted and told by the schedule
            runtime_env={"env_vars": dict.fromkeys(THREAD_VARIABLES, threads)},
        )
        self._running[task.remote(payload, self._store.address, sys.path, stage.key, self._mailbox)] = stage

    def receive(self) -> Iterator[tuple[Stage, Progress | Outcome | Lost]]:
        """Wait a moment for stages that end, and yield these and what the others report."""
        if self._unsent:
            yield from self._unsent
            self._unsent.clear()
            return
        refs = list(self._running)
        ended: list[Ref] = self._ray.wait(refs, num_returns=1, timeout=_POLL_S)[0]
        if ended:
            ended = self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]
        yield from self._reported()
        for ref in ended:
            stage = self._running.pop(ref)
            yield stage, self._result(stage, ref)
        for ref in self._stranded():
            stage = self._running.pop(ref)
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=True)
            error = StageError(f"{stage.label} needs {stage.needs}, and no node of the cluster has that much")
            yield stage, failed(stage, self._store, error, 0.0)

    def dismiss_idle(self) -> None:
        """Nothing: Ray ends its idle workers by itself."""

    def _connect(self) -> None:
        ray, cluster = self._ray, self._cluster
        quietly: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}  # Any: options of several kinds
        with environment(_QUIET), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ray.is_initialized():
                if cluster.address is None:
                    raise ConfigError("this process is connected to a Ray cluster already; name it by its address")
            elif cluster.address is None:
                self._is_connected_here = True
                self._folder = Path(tempfile.mkdtemp(prefix="overopt-ray-"))
                ray.init(
                    "local",
                    num_cpus=self._workers or _cores(),
                    object_store_memory=_OBJECTS_BYTES,
                    include_dashboard=False,
                    _temp_dir=str(self._folder),
                    **quietly,
                )
            else:
                try:
                    _knock(cluster.address)
                    ray.init(cluster.address, **quietly)
                except (OSError, ValueError, RuntimeError) as error:
                    raise ConfigError(f"no Ray cluster answers at {cluster.address}: {_first_line(error)}") from error
                self._is_connected_here = True
            # No option keeps notices of lost nodes out of standard output, where results go; events tell of them.
            ray._private.worker.print_to_stdstream = lambda *message, **options: None
            self._mailbox = ray.remote(_Mailbox).options(num_cpus=0, max_restarts=-1).remote()

    def _leave(self) -> None:
        if self._mailbox is not None:
            with suppress(Exception):
                self._ray.kill(self._mailbox)
        if self._is_connected_here:
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _alive(self) -> list[Needs]:
        """What each node has."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_AT_NODES_EVERY_S:
            self._looked = now
            found = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._nodes = [
                Needs(cpus=node.get("CPU", 0.0), gpus=node.get("GPU", 0.0), memory_gb=node.get("memory", 0.0) / 1e9)
                for node in found
            ]
        return self._nodes

    def _reported(self) -> Iterator[tuple[Stage, Progress]]:
        try:
            letters: dict[str, Progress] = self._ray.get(self._mailbox.take.remote(), timeout=5.0)
        except self._ray.exceptions.RayError:  # its node was lost; it starts again elsewhere
            return
        for stage in list(self._running.values()):
            if stage.key in letters:
                yield stage, letters[stage.key]

    def _result(self, stage: Stage, ref: Ref) -> Outcome | Lost:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(ref)
        except errors.RayTaskError as error:  # outside of the stage's own code: overopt is not there, or another one
            return failed(stage, self._store, error, 0.0)
        except errors.RayError as error:
            name = type(error).__name__
            return Lost(_CAUSES.get(name, f"Ray lost it ({name}: {_first_line(error)})"))
        return outcome

    def _stranded(self) -> list[Ref]:
        """Tasks for which no node has been large enough for too long."""
        now = time.monotonic()
        patience = _PATIENCE_S if self._folder is None else 0.0  # a cluster that we started does not grow
        nodes = self._alive()
        for ref, stage in self._running.items():
            needs = Needs(cpus=0.0, gpus=stage.needs.gpus, memory_gb=stage.needs.memory_gb)
            if any(needs.fits(node) and node.cpus > 0 for node in nodes):
                self._stranded_since.pop(ref, None)
            else:
                self._stranded_since.setdefault(ref, now)
        return [ref for ref in self._running if now - self._stranded_since.get(ref, float("inf")) >= patience]


class _Mailbox:
    """Keeps the latest progress of each stage until the driver takes it."""

    def __init__(self) -> None:
        self._letters: dict[str, Progress] = {}

    def put(self, key: str, progress: Progress) -> None:
        self._letters[key] = progress

    def take(self) -> dict[str, Progress]:
        letters, self._letters = self._letters, {}
        return letters


def _carry_out(payload: bytes, address: str, path: list[str], key: str, mailbox: Any) -> Outcome:
    """What a node does; ``path`` is where the driver finds modules."""
    ray = _import_ray()
    sys.path += [folder for folder in path if folder not in sys.path and Path(folder).exists()]
    sent: list[Ref] = []

    def report(progress: Progress) -> None:
        sent[:] = [mailbox.put.remote(key, progress)]

    outcome = perform_packed(payload, open_store(address), report)
    with suppress(ray.exceptions.RayError):  # the last step is told before the end is
        ray.get(sent, timeout=5.0)
    return outcome


def _import_ray() -> ModuleType:
    try:
        with environment(_QUIET), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise MissingExtraError("a Ray cluster needs ray; run: pip install 'overopt[ray]'") from error
    module: ModuleType = ray
    return module


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise ValueError("an address is host:port, ray://host:port or auto")
    socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
