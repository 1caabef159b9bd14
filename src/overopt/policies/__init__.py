"""Load a policy, sample from it, and measure what it sampled."""
