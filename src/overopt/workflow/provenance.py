"""Where a result comes from: versions, machine kind, time and memory. No host, user or folder names."""

import importlib.metadata
import platform
import resource
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import overopt
from overopt.workflow.stage import Json

PACKAGES = ("numpy", "polars", "torch", "transformers")
"""Packages whose version can change numbers; asked of their metadata, never imported."""


def provenance(*, started: float, wall_s: float) -> dict[str, Json]:
    """The record of a stage that began at ``started`` (seconds since 1970) and ran for ``wall_s`` seconds."""
    return {
        "overopt": overopt.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "packages": {package: _installed_version(package) for package in PACKAGES},
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "wall_s": round(wall_s, 3),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def peak_memory_mb() -> float:
    """Highest resident memory of this process since it began or since ``reset_peak_memory``, in MiB."""
    # Linux: ru_maxrss of a child starts at what its parent used when it was started; VmHWM does not.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1024**2 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def reset_peak_memory() -> None:
    """Start ``peak_memory_mb`` afresh where the system can (Linux), so that it speaks of one stage only."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
