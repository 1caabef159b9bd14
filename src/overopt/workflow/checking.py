"""Read every byte of every result in a store and say what is not as it was written."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from overopt.workflow.sealed import Damage, Stored
from overopt.workflow.store import Store

_AT_ONCE = 4
"""Results read together: a disk keeps two cores at checksums, an address far away answers late."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A result and what is wrong with it."""

    result: Stored
    damages: list[Damage]
    """Empty when all is as it was written."""


def check_results(store: Store, progress: Callable[[int, int, str], None] = lambda *_: None) -> list[Checked]:
    """Check each file of each result in ``store``, in the order of ``store.results()``.

    Parameters
    ----------
    progress
        Called with how many of how many results are done.
    """
    results = store.results()
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        futures = [pool.submit(store.damages, result) for result in results]
        for done, _ in enumerate(as_completed(futures), start=1):
            progress(done, len(futures), "results")
        return [Checked(result, future.result()) for result, future in zip(results, futures, strict=True)]
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for what has not begun
