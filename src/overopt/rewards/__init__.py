"""Scorers: the gold rubric and reward-model checkpoints."""
