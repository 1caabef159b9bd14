"""Measure, predict and prevent reward over-optimization."""

__version__ = "0.1.0"
