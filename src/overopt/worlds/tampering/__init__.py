"""A small world of gaming: five environments, a grammar of fifty tokens, writers whose habits are set by a dial.

Its policies choose among three plans and eleven actions at most, its environments are finite, and so every rate is a
finite sum. It judges estimators of rates, and it is what a transformer is trained in when a pipeline must show a rise
where there is one and none where there is none. The claim it tests is about the measurement, not about language models.
"""
