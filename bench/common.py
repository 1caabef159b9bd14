"""What the benchmarks share: alternating measurements, the machine's matrix-product rate, plain tables."""

import gc
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import torch

Side = TypeVar("Side", bound=Hashable)


def alternate(sides: Mapping[Side, Callable[[], float]], *, rounds: int) -> dict[Side, float]:
    """Median of what each side returns, run one after the other in each round, after one round that does not count."""
    found: dict[Side, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            gc.collect()
            value = side()
            if number:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def rate(work: Callable[[], float]) -> float:
    """What ``work`` says it did, per second."""
    started = time.perf_counter()
    done = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return done / (time.perf_counter() - started)


def matrix_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second in large matrix products, the best of five."""
    n = 1024 if device == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def product() -> float:
        for _ in range(8):
            a @ b
        return 8 * 2 * n**3

    return max(rate(product) for _ in range(6))


def describe() -> str:
    """The machine in one line."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    cells = [[f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells])
