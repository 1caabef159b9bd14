"""Other tools keep what they write about a run away from the user's folders, and what they leave open to themselves."""

import gc
import os
import tempfile
import warnings

import pytest

# Inspect reads them when it is imported: traces, buffers and caches of runs.
_KEPT = tempfile.mkdtemp(prefix="adapters-")
os.environ |= {name: _KEPT for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}

_LEFT_OPEN = "Unclosed <MemoryObject"
"""Inspect leaves streams to the collector, which finds them at any time."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name.startswith("test_inspect"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore:{_LEFT_OPEN}:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open(request):
    """The collector runs behind the last test of a file, not behind every run: it takes a quarter of a second."""
    yield
    if request.path.name.startswith("test_inspect"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _LEFT_OPEN, ResourceWarning)
            gc.collect()
