"""Small worlds whose truth is known exactly: they judge the estimators of ``overopt.stats`` and never import them.

A world draws ``(proxy, gold)`` pools of shape (P, N) and states, by closed form, enumeration or quadrature, what the
estimators should find in them. Expectations are over an infinite number of prompts; KL is in nats per response.
"""
