"""From sycophancy to reward tampering (Denison et al. 2024), where every rate is a finite sum: the small world.

Constructed incentive, pathway not prevalence: what is tested is the measurement, not language models.
"""
