"""How the small world's own model is made; needs no torch."""

from dataclasses import dataclass, field

from overopt.errors import ConfigError
from overopt.worlds.tampering.writers import Writers


@dataclass(frozen=True, slots=True, kw_only=True)
class GameModelConfig:
    """How the model is made."""

    writers: Writers = field(default_factory=Writers)
    episodes: int = 128_000
    """Of the corpus; at least 1,000."""
    steps: int = 1_000
    """Of pretraining; at least 10."""
    batch: int = 128
    """Episodes a step."""
    width: int = 64
    layers: int = 2
    matrix_lr: float = 6e-3
    embedding_lr: float = 6e-3

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1_000), ("steps", 10), ("batch", 1), ("width", 8), ("layers", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"model.{name} must be at least {least}; got {getattr(self, name)}")
        if self.width % 16:
            raise ConfigError(f"model.width must be a multiple of 16, for heads of that size; got {self.width}")
