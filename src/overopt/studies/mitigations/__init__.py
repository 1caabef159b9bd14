"""What is said to prevent over-optimization, on the same axes: ensembles, averaged weights, shaped rewards, stopping.

Settings after Coste et al. 2023 (arXiv:2310.02743): clean labels and 25 % of them turned round; mean, worst case and
uncertainty-weighted ensembles of five; best-of-n and PPO.
"""
