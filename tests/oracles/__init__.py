"""Slow reference code that shares nothing with the package: enumeration, fractions, textbook formulas."""
