"""Records in, records out: what a study found, computed from its stored tables by calling ``stats``."""
