"""Pressure against a score."""
