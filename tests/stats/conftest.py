"""Puts ``tests`` on the path, so that tests read ``from oracles import …``, and fixes hypothesis's examples."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parents[1]))

settings.register_profile("stats", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("stats")
