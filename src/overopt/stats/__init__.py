"""Arrays in, numbers out: estimators, intervals, laws and tests, with numpy and scipy alone."""
