"""A study's results as one offline page, as pictures and as a table for the terminal; no torch, no network."""
