"""Gao, Schulman, Hilton 2022 (arXiv:2210.10760) as a study: every sweep, what its readers asked, what it predicted."""
