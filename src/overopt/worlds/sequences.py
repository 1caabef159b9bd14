"""A world of short token sequences: a policy and a reference, each a table of next-token log-probs by last token.

Axes: B sequences, T tokens, V vocabulary. Token 0 ends a sequence and belongs to it; a sequence that reaches
``max_length`` stops there. Small enough to list every sequence.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, xlogy

from overopt.errors import ShapeError
from overopt.worlds.integrals import FloatArray, check_setting

END = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Token sequences with what each model says of them; entries where ``mask`` is false mean nothing (nan or -1)."""

    tokens: npt.NDArray[np.int64]
    """(B, T), -1 after the end."""
    mask: npt.NDArray[np.bool_]
    """(B, T) true on tokens of the sequence, the end token included."""
    policy_logprob: FloatArray
    """(B, T) of the tokens, nats."""
    reference_logprob: FloatArray
    """(B, T)"""
    policy_distribution: FloatArray
    """(B, T, V) log-probs of every next token at each place."""
    reference_distribution: FloatArray
    """(B, T, V)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SequenceWorld:
    """Two first-order language models over one small vocabulary."""

    policy_logits: FloatArray
    """(V + 1, V): row v is what follows token v, the last row starts a sequence; -inf forbids a token."""
    reference_logits: FloatArray
    """(V + 1, V)"""
    max_length: int

    def __post_init__(self) -> None:
        for name in ("policy_logits", "reference_logits"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        shape = self.policy_logits.shape
        if len(shape) != 2 or shape[0] != shape[1] + 1 or self.reference_logits.shape != shape:
            raise ShapeError(f"both tables of logits must have one shape (V + 1, V); got {shape}")
        check_setting("max_length", self.max_length, 1)

    @property
    def policy(self) -> FloatArray:
        """(V + 1, V) log-probs of the policy's next token."""
        return np.asarray(log_softmax(self.policy_logits, axis=1))

    @property
    def reference(self) -> FloatArray:
        """(V + 1, V) log-probs of the reference's next token."""
        return np.asarray(log_softmax(self.reference_logits, axis=1))

    def sharpened(self, *, temperature: float = 1.0, top_p: float = 1.0) -> "SequenceWorld":
        """The same world with the policy that a sampler with these settings really is.

        ``top_p`` keeps the most probable tokens, in order, until their mass reaches it; the rest become impossible.
        """
        check_setting("temperature", temperature, 0, open_low=True)
        check_setting("top_p", top_p, 0, 1, open_low=True)
        logprob = np.asarray(log_softmax(self.policy_logits / temperature, axis=1))
        order = np.argsort(-logprob, axis=1, kind="stable")
        ranked = np.take_along_axis(np.exp(logprob), order, axis=1)
        # A token stays if the mass before it has not reached top_p; rounding must not keep one more at top_p = 1.
        keep = np.cumsum(ranked, axis=1) - ranked < top_p - 1e-12
        kept = np.zeros_like(keep)
        np.put_along_axis(kept, order, keep, axis=1)
        return replace(self, policy_logits=np.where(kept, logprob, -np.inf))

    def all_sequences(self) -> Sequences:
        """Every sequence that the rules allow, whether or not a model gives it mass."""
        others = range(1, self.policy_logits.shape[1])
        rows = [
            [*start, END, *([-1] * (self.max_length - length - 1))]
            for length in range(self.max_length)
            for start in itertools.product(others, repeat=length)
        ]
        rows += [list(whole) for whole in itertools.product(others, repeat=self.max_length)]
        return self._read(np.array(rows, dtype=np.int64))

    def sample(self, n_sequences: int, rng: np.random.Generator) -> Sequences:
        """Independent sequences from the policy."""
        cumulative = np.cumsum(np.exp(self.policy), axis=1)
        tokens = np.full((n_sequences, self.max_length), -1, dtype=np.int64)
        last = np.full(n_sequences, self.policy_logits.shape[1])
        alive = np.arange(n_sequences)
        for t in range(self.max_length):
            row = cumulative[last[alive]]
            drawn = (rng.random(alive.size)[:, None] * row[:, -1:] >= row).sum(axis=1)
            tokens[alive, t] = last[alive] = drawn
            alive = alive[drawn != END]
        return self._read(tokens)

    def kl(self) -> float:
        """KL(policy || reference) of whole sequences: the next-token KL summed over the policy's own path."""
        return self._chain(self.policy, self.reference)

    def reverse_kl(self) -> float:
        """KL(reference || policy) of whole sequences."""
        return self._chain(self.reference, self.policy)

    def mean_length(self) -> float:
        """Expected tokens of a policy's sequence, the end token included."""
        return float(sum(state.sum() for state in self._states(self.policy)))

    def _chain(self, own: FloatArray, other: FloatArray) -> float:
        probability = np.exp(own)
        with np.errstate(invalid="ignore"):
            token_kl = np.where(probability > 0, probability * (own - other), 0.0).sum(axis=1)
        return float(sum((state[state > 0] * token_kl[state > 0]).sum() for state in self._states(own)))

    def _states(self, own: FloatArray) -> list[FloatArray]:
        """Probability that token t + 1 is drawn after each last token, (V + 1,) for each t."""
        state = np.zeros(own.shape[0])
        state[-1] = 1.0
        states = []
        for _ in range(self.max_length):
            states.append(state)
            following = state @ np.exp(own)
            following[END] = 0.0
            state = np.append(following, 0.0)
        return states

    def _read(self, tokens: npt.NDArray[np.int64]) -> Sequences:
        mask = tokens >= 0
        start = np.full((tokens.shape[0], 1), self.policy_logits.shape[1])
        last = np.where(mask, np.concatenate((start, tokens[:, :-1]), axis=1), 0)
        distributions = [np.where(mask[..., None], table[last], np.nan) for table in (self.policy, self.reference)]
        index = np.where(mask, tokens, 0)[..., None]
        policy, reference = (np.take_along_axis(table, index, axis=2)[..., 0] for table in distributions)
        return Sequences(
            tokens=tokens,
            mask=mask,
            policy_logprob=policy,
            reference_logprob=reference,
            policy_distribution=distributions[0],
            reference_distribution=distributions[1],
        )


def entropy(logprob: FloatArray) -> FloatArray:
    """Entropy in nats of distributions given as log-probs along the last axis."""
    probability = np.exp(logprob)
    return np.asarray(-xlogy(probability, probability).sum(axis=-1))
