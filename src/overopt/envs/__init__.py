"""Environments that can be gamed, on a simulated machine that runs nothing on the host."""
