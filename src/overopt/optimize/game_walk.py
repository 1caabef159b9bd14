"""A language model as a policy of the small world: its choices, restricted to those that are open.

Axes: B paths, T tokens, A choices. Probabilities are the model's over the tokens that the grammar allows, normalised;
what they have in all is in ``Front.allowed``. Prompts and observations are the environment's, and get no probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from overopt.stats.estimate import FloatArray
from overopt.worlds.tampering.game import BoolArray, Game, IntArray
from overopt.worlds.tampering.scenarios import Scenario
from overopt.worlds.tampering.vocabulary import CHOICE_TOKENS


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Paths of one length in tokens, and what the model remembers of them."""

    state: IntArray
    """(B,)"""
    cache: DynamicCache
    log_probs: FloatArray
    """(B, A) of the next choice, nats; -inf where it is not open."""
    allowed: FloatArray
    """(B,) what the open choices have of the model's probability, before they are normalised."""


class ModelWalk:
    """The model in scenarios; implements :class:`~overopt.measure.walks.Walk`."""

    def __init__(self, model: PreTrainedModel, world: Game, found: Sequence[Scenario]) -> None:
        self.model, self.world = model.eval(), world
        self.prompts = np.array([scenario.prompt for scenario in found], dtype=np.int64)
        self.roots: IntArray = world.starts_of(found)
        self._tokens = torch.tensor(CHOICE_TOKENS)
        self._token_of = np.array(CHOICE_TOKENS)

    @property
    def is_over(self) -> BoolArray:
        """(S,) whether nothing more is chosen."""
        return self.world.is_over

    @property
    def target(self) -> IntArray:
        """(S, A) where choices lead; -1 where they are not open."""
        return self.world.target

    def begin(self, root_B: IntArray, choice_BT: IntArray) -> Front:
        """The prompts, the choices and what was answered to them."""
        state_B, columns = self.roots[root_B], [self.prompts[root_B]]
        for choice_B in choice_BT.T:
            state_B, more = self._after(state_B, choice_B)
            columns.append(more)
        return self._read(state_B, np.concatenate(columns, axis=1), DynamicCache())

    def follow(self, memory: Front, parent_B: IntArray, choice_B: IntArray) -> Front:
        """One choice on, and what is answered to it; none of the paths may be over."""
        state_B, more = self._after(memory.state[parent_B], choice_B)
        rows = torch.from_numpy(parent_B)
        cache = DynamicCache()
        for place, layer in enumerate(memory.cache.layers):
            assert isinstance(layer, DynamicLayer)
            assert layer.keys is not None
            assert layer.values is not None
            cache.update(layer.keys[rows], layer.values[rows], place)
        return self._read(state_B, more, cache)

    def log_probs(self, memory: Front) -> FloatArray:
        """(B, A) of the next choice, nats; -inf where it is not open."""
        return memory.log_probs

    def _after(self, state_B: IntArray, choice_B: IntArray) -> tuple[IntArray, IntArray]:
        """The states after choices, and (B, 1 or 2) what they add: all have an observation, or none has."""
        seen_B = self.world.seen[state_B, choice_B]
        added = [self._token_of[choice_B]]
        if (seen_B >= 0).any():
            assert (seen_B >= 0).all()
            added.append(seen_B)
        return self.world.target[state_B, choice_B], np.stack(added, axis=1)

    @torch.inference_mode()
    def _read(self, state_B: IntArray, ids_BT: IntArray, cache: DynamicCache) -> Front:
        output = self.model(input_ids=torch.from_numpy(ids_BT), past_key_values=cache, use_cache=True, logits_to_keep=1)
        log_probs_BV = torch.log_softmax(output.logits[:, 0].double(), dim=1)
        is_open = torch.from_numpy(self.world.permitted[state_B])
        open_BA = log_probs_BV[:, self._tokens].masked_fill(~is_open, -torch.inf)
        allowed_B = torch.logsumexp(open_BA, dim=1)
        return Front(state_B, cache, (open_BA - allowed_B[:, None]).numpy(), allowed_B.exp().numpy())
