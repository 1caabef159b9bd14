"""Which Ray cluster is meant; light, since Ray itself is imported only where it is used."""

from dataclasses import dataclass

from overopt.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """A cluster that exists, or one on this machine for the time of a run."""

    address: str | None = None
    """``host:port`` of a cluster, ``auto`` for the one this machine belongs to; None to start one here and end it."""
    retries: int = 3
    """How often a stage is started again when its worker or node was lost. Failures of its own code are final."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ConfigError(f"retries must be 0 or more; got {self.retries}")
