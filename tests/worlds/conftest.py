"""Fixes hypothesis's examples."""

from hypothesis import settings

settings.register_profile("worlds", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("worlds")
