"""Tables over the small world whose rates are known by sums over states."""

import numpy as np

from overopt.worlds.tampering.game import FloatArray, game
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.truth import TableWalk, end_probabilities
from overopt.worlds.tampering.writers import Writers


def noisy_table(writers: Writers | None = None, noise: float = 1e-3) -> FloatArray:
    """An honest writer who, with a chance of ``noise``, does anything at all."""
    world = game()
    own = (writers or Writers()).table(is_gamer=False)
    anything = world.permitted / np.maximum(world.permitted.sum(axis=1, keepdims=True), 1)
    return (1 - noise) * own + noise * anything


def walk_in(environment: str, table: FloatArray, count: int | None = None) -> TableWalk:
    """The table in an environment's gameable scenarios."""
    world = game()
    return TableWalk(world, table, world.starts_of(scenarios(environment)[:count]))


def truth(walk: TableWalk, is_event: np.ndarray) -> float:
    """The rate of ending in a state of the event, over scenarios."""
    ends = [end_probabilities(walk.world, walk.table, int(start)) for start in walk.roots]
    return float(np.mean([end @ is_event for end in ends]))
