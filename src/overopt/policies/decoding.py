"""One token a step for many replies: the keys of a prompt are held once, whatever the number of its replies.

Axes: P prompts, B replies in progress, H heads, T positions of the prompts, t positions of the replies so far, d width
of a head, V vocabulary. Two sessions with one interface: :class:`SharedPrompts` runs the model with an attention of
ours, which reads prompt and reply apart and joins them in one softmax; :class:`CopiedPrompts` runs any model that has
a cache, with that cache copied for each reply. :func:`open_session` takes the first wherever it gives the numbers of
the model's own attention, and finds out by asking both.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.masking_utils import eager_mask

from overopt.errors import ConfigError
from overopt.hf.encoding import has_whole_attention, left_padded
from overopt.hf.twin import tiny_twin

PREFILL_ELEMENTS = 2**26
"""Prompts are read in parts whose (rows, T, T) masks and (rows, T, width) activations stay below this many numbers."""


class Session(Protocol):
    """Replies in progress, all of one length."""

    def start(self, prompts: Sequence[Sequence[int]], place_B: torch.Tensor) -> torch.Tensor:
        """Read the prompts; reply b goes on from prompt ``place_B[b]``, places in order. Logits (B, V) of token 1."""
        ...

    def step(self, token_B: torch.Tensor) -> torch.Tensor:
        """Append one token to each reply; logits (B, V) of the next."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these replies only; ``rows`` in order."""
        ...


def open_session(model: PreTrainedModel) -> Session:
    """The fastest session that gives this model's own numbers."""
    return SharedPrompts(model) if _shares_prompts(model) else CopiedPrompts(model)


class SharedPrompts:
    """The prompts' keys are held once; each step multiplies all queries of a prompt with them in one product."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.configs = _configs(model)

    def start(self, prompts: Sequence[Sequence[int]], place_B: torch.Tensor) -> torch.Tensor:
        device = self.model.device
        ids_PT, mask_PT = (tensor.to(device) for tensor in left_padded(prompts, 0))
        place_B = place_B.to(device)
        rows = max(1, PREFILL_ELEMENTS // (ids_PT.shape[1] * (ids_PT.shape[1] + _width(self.model))))
        caches, logits = [], []
        with _own_attention(self.configs):
            for ids, mask in zip(ids_PT.split(rows), mask_PT.split(rows), strict=True):
                caches.append(_SharedCache(self.model))
                logits.append(_prefill(self.model, ids, mask, caches[-1]))
        self.cache = caches[0]
        for index, layer in enumerate(self.cache.shared_layers):
            layer.join([cache.shared_layers[index] for cache in caches[1:]])
        self.groups = _Groups(place_B, mask_PT)
        self.position_B = mask_PT.sum(1)[place_B]
        self.cache.begin_replies(self.groups)
        return torch.cat(logits)[place_B]

    def step(self, token_B: torch.Tensor) -> torch.Tensor:
        with _own_attention(self.configs):
            logits: torch.Tensor = self.model(
                input_ids=token_B[:, None],
                position_ids=self.position_B[:, None],
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
        self.position_B = self.position_B + 1
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        self.position_B = self.position_B[rows]
        self.groups.keep(rows)
        for layer in self.cache.shared_layers:
            layer.keep(rows)


class CopiedPrompts:
    """Each reply has its own copy of everything; the model's own attention and mask."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def start(self, prompts: Sequence[Sequence[int]], place_B: torch.Tensor) -> torch.Tensor:
        device = self.model.device
        ids_PT, mask_PT = (tensor.to(device) for tensor in left_padded(prompts, 0))
        place_B = place_B.to(device)
        self.cache = DynamicCache(config=self.model.config)
        if not all(hasattr(layer, "batch_select_indices") for layer in self.cache.layers):
            raise ConfigError(
                f"{type(self.model).__name__} keeps a running state in place of keys: prompts of unlike lengths cannot "
                "be padded to one batch, so it cannot be sampled here"
            )
        logits_PV = _prefill(self.model, ids_PT, mask_PT, self.cache)
        self.cache.batch_select_indices(place_B)
        self.mask_BT = mask_PT[place_B]
        return logits_PV[place_B]

    def step(self, token_B: torch.Tensor) -> torch.Tensor:
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(self.mask_BT), 1)], dim=1)
        logits: torch.Tensor = self.model(
            input_ids=token_B[:, None],
            attention_mask=self.mask_BT,
            position_ids=self.mask_BT.sum(-1, keepdim=True) - 1,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        self.mask_BT = self.mask_BT[rows]
        self.cache.batch_select_indices(rows)


class _Groups:
    """Which replies belong to which prompt, and where they stand in a table (P, R) of R places a prompt."""

    def __init__(self, place_B: torch.Tensor, mask_PT: torch.Tensor) -> None:
        self.place_B = place_B
        self.mask_PT = mask_PT
        self._arrange()

    def keep(self, rows: torch.Tensor) -> None:
        self.place_B = self.place_B[rows]
        self._arrange()

    def _arrange(self) -> None:
        n_prompts = len(self.mask_PT)
        count_P = torch.bincount(self.place_B, minlength=n_prompts)
        self.places = int(count_P.max())
        self.is_full = bool((count_P == self.places).all())
        first_P = count_P.cumsum(0) - count_P
        rank_B = torch.arange(len(self.place_B), device=self.place_B.device) - first_P[self.place_B]
        self.slot_B = self.place_B * self.places + rank_B
        has_padding = not bool(self.mask_PT.all())
        self.bias_BT = torch.where(self.mask_PT.bool(), 0.0, -torch.inf)[self.place_B] if has_padding else None

    def spread(self, x_B: torch.Tensor) -> torch.Tensor:
        """(B, …) to (P, R, …), zeros where a prompt has fewer replies."""
        shape = (len(self.mask_PT), self.places, *x_B.shape[1:])
        if self.is_full:
            return x_B.reshape(shape)
        return x_B.new_zeros((shape[0] * shape[1], *shape[2:])).index_copy(0, self.slot_B, x_B).view(shape)

    def gather(self, x_PR: torch.Tensor) -> torch.Tensor:
        """(P, R, …) to (B, …)."""
        x = x_PR.reshape(-1, *x_PR.shape[2:])
        return x if self.is_full else x[self.slot_B]


GROWTH = 8
"""Room for a reply's keys grows by so many tokens: products over whole blocks of memory need no copies."""


class _SharedLayer(DynamicLayer):
    """Keys and values of the prompts, (P, H, T, d), and of the replies, (B, H, room, d), written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.groups: _Groups | None = None
        self.own_keys = self.own_values = torch.empty(0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.groups is None:
            if self.is_initialized:
                raise NotImplementedError("a prompt is read in one pass")
            self.lazy_initialization(key_states, value_states)
            # Half precision saves memory on a GPU; a CPU multiplies single rows faster in float32.
            wide = torch.float32 if key_states.device.type == "cpu" else key_states.dtype
            self.keys, self.values = (states.to(wide).contiguous() for states in (key_states, value_states))
            return key_states, value_states
        if self.length % GROWTH == 0:
            self._grow(key_states, value_states)
        self.own_keys[:, :, self.length] = key_states[:, :, 0]
        self.own_values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        # The attention below finds the layer on the keys that it is handed.
        key_states.shared_layer = self  # type: ignore[attr-defined]
        return key_states, value_states

    def join(self, others: "Sequence[_SharedLayer]") -> None:
        """Append the prompts of other caches."""
        if others:
            self.keys = torch.cat([layer.keys for layer in (self, *others)])  # type: ignore[misc]
            self.values = torch.cat([layer.values for layer in (self, *others)])  # type: ignore[misc]

    def get_seq_length(self, *args: object) -> int:
        return (self.keys.shape[2] if self.is_initialized and self.keys is not None else 0) + self.length

    def keep(self, rows: torch.Tensor) -> None:
        if self.length:
            self.own_keys, self.own_values = self.own_keys[rows], self.own_values[rows]

    def attend(self, query_BH1d: torch.Tensor, scaling: float, softcap: float | None) -> torch.Tensor:
        """Attention (B, 1, H, d) of one query a reply over its prompt and itself."""
        assert self.keys is not None
        assert self.values is not None
        assert self.groups is not None
        groups = self.groups
        rows, heads, _, width = query_BH1d.shape
        kv_heads, prompt_length = self.keys.shape[1:3]
        share = heads // kv_heads
        # Query heads that share a key head are further rows of one product.
        query = (query_BH1d.to(self.keys.dtype) * scaling).view(rows, kv_heads, share, width)
        spread = groups.spread(query).transpose(1, 2).flatten(2, 3)  # (P, kv, R * share, d)
        of_prompt = (spread @ self.keys.transpose(2, 3)).unflatten(2, (groups.places, share)).transpose(1, 2)
        of_own = query @ self.own_keys.transpose(2, 3)  # (B, kv, share, room)
        scores = torch.cat([groups.gather(of_prompt), of_own], dim=-1)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if groups.bias_BT is not None:
            scores[..., :prompt_length] += groups.bias_BT[:, None, None].to(scores.dtype)
        scores[..., prompt_length + self.length :] = -torch.inf
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        spread = groups.spread(weights[..., :prompt_length]).transpose(1, 2).flatten(2, 3)
        from_prompt = (spread @ self.values).unflatten(2, (groups.places, share)).transpose(1, 2)
        mixed = groups.gather(from_prompt) + weights[..., prompt_length:] @ self.own_values
        attended: torch.Tensor = mixed.reshape(rows, 1, heads, -1).to(query_BH1d.dtype)
        return attended

    def _grow(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        assert self.keys is not None
        room = self.length + GROWTH
        for name, states in (("own_keys", key_states), ("own_values", value_states)):
            rows, heads, _, width = states.shape
            # Zeros: what is not written yet is multiplied by a weight of 0.
            grown = self.keys.new_zeros((rows, heads, room, width))
            if self.length:
                grown[:, :, : self.length] = getattr(self, name)
            setattr(self, name, grown)


class _SharedCache(Cache):
    def __init__(self, model: PreTrainedModel) -> None:
        self.shared_layers = [_SharedLayer() for _ in range(model.config.get_text_config().num_hidden_layers)]
        super().__init__(layers=list(self.shared_layers))

    def begin_replies(self, groups: _Groups) -> None:
        for layer in self.shared_layers:
            layer.groups = groups


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **more: object,
) -> tuple[torch.Tensor, None]:
    unknown = sorted(name for name in _CHANGES if more.get(name) is not None)
    if unknown:
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: _SharedLayer | None = getattr(key, "shared_layer", None)
    if layer is not None:
        return layer.attend(query, scaling, softcap), None
    if softcap is not None:
        return _capped_attention(query, key, value, attention_mask, scaling, softcap), None
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return mixed.transpose(1, 2), None


_CHANGES = ("s_aux", "sinks", "sliding_window", "position_bias", "alibi", "head_mask")
"""What some models hand to their attention and what would change its result."""


def _capped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    softcap: float,
) -> torch.Tensor:
    share = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(share, dim=1) for states in (key, value))
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * (scaling / softcap))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2)


def _mask(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor | None:
    """The usual additive mask for the prompts; none for the replies, all of whose tokens are seen."""
    return None if attention_mask is None else eager_mask(attention_mask=attention_mask, **kwargs)


_NAME = "overopt_shared_prompts"
AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _mask)


def _configs(model: torch.nn.Module) -> list[PreTrainedConfig]:
    """The configurations that the parts of a model read their kind of attention from."""
    found = {id(part.config): part.config for part in model.modules() if isinstance(part, PreTrainedModel)}
    return list(found.values())


@contextmanager
def _own_attention(configs: Sequence[PreTrainedConfig]) -> Iterator[None]:
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = _NAME
    try:
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def _prefill(model: PreTrainedModel, ids_PT: torch.Tensor, mask_PT: torch.Tensor, cache: Cache) -> torch.Tensor:
    logits: torch.Tensor = model(
        input_ids=ids_PT,
        attention_mask=mask_PT,
        position_ids=(mask_PT.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits


def _width(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return 4 * int(config.hidden_size)


_SHARES: "weakref.WeakKeyDictionary[PreTrainedModel, bool]" = weakref.WeakKeyDictionary()


def _shares_prompts(model: PreTrainedModel) -> bool:
    """Whether both sessions give a tiny twin of the model the same logits; asked once."""
    if model not in _SHARES:
        twin = tiny_twin(model) if has_whole_attention(model) else None
        _SHARES[model] = twin is not None and _agrees(twin)
    return _SHARES[model]


@torch.no_grad()
def _agrees(model: PreTrainedModel) -> bool:
    """On two prompts of unequal length and two tokens, a reply leaving in between."""
    found = []
    sessions: list[Session] = [CopiedPrompts(model), SharedPrompts(model)]
    for session in sessions:
        try:
            logits = [session.start([[5, 11, 3], [7]], torch.tensor([0, 0, 1])), session.step(torch.tensor([2, 9, 4]))]
            session.keep(torch.tensor([1, 2]))
            logits.append(session.step(torch.tensor([8, 6])))
        except (TypeError, AttributeError, NotImplementedError, RuntimeError, ValueError, IndexError):
            return False
        found.append(torch.log_softmax(torch.cat(logits), dim=-1))
    return bool((found[0] - found[1]).abs().max() < 1e-3)
