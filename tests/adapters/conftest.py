"""Other tools keep what they write about a run away from the user's folders."""

import os
import tempfile

# Inspect reads them when it is imported: traces, buffers and caches of runs.
_KEPT = tempfile.mkdtemp(prefix="adapters-")
os.environ |= {name: _KEPT for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
