"""Scorers: the gold rubric, reward-model checkpoints, ensembles, judges; label noise; shaping apart from scores."""
