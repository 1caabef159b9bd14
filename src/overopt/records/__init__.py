"""Stored tables: what columns they have, and reading and writing them whole."""
