"""Other people's formats and tools: the same scenarios and episodes as they know them; each needs its extra."""
