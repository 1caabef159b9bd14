"""Functions that return a study: the stages of an experiment with every setting resolved."""
