"""Whether log-probabilities belong to the distribution that was sampled: temperature, top-p and top-k.

A KL is defined for the distribution that produced the samples. Log-probs of another one (a trainer's at temperature 1
for samples at 0.7 with top-p 0.9) give a number that belongs to no policy, and that can be negative.
Axes: B responses, T tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, ndtr, ndtri

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import BoolArray, Estimate, FloatArray
from overopt.stats.kl import boolean_mask

Direction = Literal["policy||reference", "reference||policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """What turns a model's logits into the distribution that tokens are drawn from."""

    temperature: float = 1.0
    """Above 0. Greedy decoding is a point mass, for which no log-prob of the model holds."""
    top_p: float = 1.0
    """Within (0, 1]: the fewest tokens whose probability reaches it are kept; 1 keeps all."""
    top_k: int | None = None
    """At least 1: as many most probable tokens are kept; ``None`` keeps all. Other engines write "all" as 0 or -1."""

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.temperature < float("inf"):
            problems.append(f"temperature must be above 0 and finite; got {self.temperature}")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p must lie within (0, 1]; got {self.top_p}")
        if self.top_k is not None and (isinstance(self.top_k, bool) or self.top_k != int(self.top_k) or self.top_k < 1):
            problems.append(f"top_k must be a whole number of at least 1, or None for all tokens; got {self.top_k}")
        if problems:
            raise ConfigError("sampler settings: " + "; ".join(problems))

    @property
    def is_truncated(self) -> bool:
        """Whether some tokens are never drawn."""
        return self.top_p < 1 or self.top_k is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingAudit:
    """Whether sampled tokens are as surprising as the distribution that they are said to come from makes them."""

    excess: Estimate
    """Mean of -ln p(token) minus the entropy, nats a token; 0 on average if the claim is true."""
    z: float
    """``excess`` over its standard error; ``nan`` if no position leaves any doubt."""
    p_value: float
    """Two-sided."""
    impossible: int
    """Tokens of probability 0 under the claim; one of them refutes it. They are not part of ``excess``."""
    responses: int
    verdict: Literal["as_claimed", "too_likely", "too_unlikely", "impossible", "undetermined"]
    """``too_likely``: drawn colder than claimed, or truncated. ``too_unlikely``: drawn hotter."""


def check_same_distribution(sampled: SamplerSettings, scored: SamplerSettings) -> None:
    """Raise a ``DataError`` unless log-probs were computed for the very distribution that was sampled."""
    differing = [name for name in ("temperature", "top_p", "top_k") if getattr(sampled, name) != getattr(scored, name)]
    if differing:
        was = ", ".join(f"{name}={getattr(sampled, name)}" for name in differing)
        now = ", ".join(f"{name}={getattr(scored, name)}" for name in differing)
        raise DataError(
            f"the responses were sampled with {was} and their log-probs computed with {now}: a KL from them belongs "
            "to no policy that was sampled and can be negative; score the samples again with the sampler's settings"
        )


def check_finite_kl(policy: SamplerSettings, reference: SamplerSettings, *, direction: Direction) -> None:
    """Raise a ``DataError`` where truncation makes the KL of this direction infinite.

    KL(a || b) needs b to allow whatever a can draw. A truncated policy against a whole reference has a finite
    KL(policy || reference) and an infinite reverse; no estimate from its own samples shows that, for what is missing is
    never drawn. Truncating both does not help, since two models keep different tokens.
    """
    if direction not in ("policy||reference", "reference||policy"):
        raise ConfigError(f"direction must be 'policy||reference' or 'reference||policy'; got {direction!r}")
    name, narrow = ("reference", reference) if direction == "policy||reference" else ("policy", policy)
    if narrow.is_truncated:
        raise DataError(
            f"KL({direction}) is infinite: the {name} is truncated (top_p={narrow.top_p}, top_k={narrow.top_k}) and "
            f"rules out tokens that the other draws; use the untruncated {name}"
        )


def sampler_logprobs(logits: npt.ArrayLike, settings: SamplerSettings) -> FloatArray:
    """Log-probs of the distribution that a sampler with ``settings`` draws from; (..., V) to (..., V), -inf if never.

    Temperature first, then top-k, then top-p over what top-k left, then normalised: the order of transformers and
    vLLM. Tokens that tie with the last kept one: all are kept by top-k, the first of them by top-p.

    >>> np.exp(sampler_logprobs(np.log([0.5, 0.3, 0.2]), SamplerSettings(top_k=2))).round(3)
    array([0.625, 0.375, 0.   ])
    """
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise DataError(f"logits need a vocabulary axis; got the shape {array.shape}")
    if np.isnan(array).any() or (array == np.inf).any() or (array.max(axis=-1) == -np.inf).any():
        raise DataError("logits must be numbers or -inf, with a finite one at each position")
    logprob = np.asarray(log_softmax(array / settings.temperature, axis=-1))
    if settings.top_k is not None and settings.top_k < array.shape[-1]:
        kth = np.partition(logprob, -settings.top_k, axis=-1)[..., -settings.top_k, None]
        logprob = np.asarray(log_softmax(np.where(logprob >= kth, logprob, -np.inf), axis=-1))
    if settings.top_p < 1:
        order = np.argsort(-logprob, axis=-1, kind="stable")
        ranked = np.exp(np.take_along_axis(logprob, order, axis=-1))
        # Kept while what came before has not reached top_p: the token that reaches it is the last.
        is_kept = np.empty(logprob.shape, dtype=np.bool_)
        np.put_along_axis(is_kept, order, np.cumsum(ranked, axis=-1) - ranked < settings.top_p, axis=-1)
        logprob = np.asarray(log_softmax(np.where(is_kept, logprob, -np.inf), axis=-1))
    return logprob


def sampling_audit(
    token_logprob: npt.ArrayLike, token_entropy: npt.ArrayLike, mask: npt.ArrayLike, *, level: float = 0.999
) -> SamplingAudit:
    """Test, from the samples alone, whether tokens were drawn from the distribution that scored them.

    Parameters
    ----------
    token_logprob : (B, T) float64
        Log-prob, in nats, of each drawn token under the claimed distribution; -inf if it rules the token out.
    token_entropy : (B, T) float64
        Exact entropy, in nats, of the claimed distribution at the same position.
    mask : (B, T) bool or 0/1
        True on the tokens that were drawn, the end token included; what stands elsewhere never enters.
    level : float
        Confidence of a verdict against the claim; high, as an audit runs often.

    Returns
    -------
    SamplingAudit
        A wrong temperature always shifts the mean, and so does truncation that went unclaimed; the test finds what is
        large against 1 / sqrt(tokens). It does not find errors that leave the mean surprise alone.

    Raises
    ------
    ShapeError, DataError, ConfigError
        Shapes differ; a log-prob above 0, nan, or a negative entropy under the mask; ``level`` outside 0..1.

    Notes
    -----
    Given what came before, -ln p(token) has the entropy as its mean. The differences are therefore martingale steps:
    uncorrelated along a response and between responses, whether or not they share a prompt, so tokens may be counted.
    z is their sum over the root of the sum of their squares, asymptotically normal under the claim.
    """
    check_level(level)
    keep = boolean_mask(mask)
    logprob = float_array("token_logprob", token_logprob, "BT", finite=False)
    entropy = float_array("token_entropy", token_entropy, "BT", finite=False)
    check_same_shape("token_logprob", logprob, "token_entropy", entropy)
    check_same_shape("token_logprob", logprob, "mask", keep.astype(np.float64))
    return _audit(logprob[keep], entropy[keep], keep, level)


def _audit(logprob: FloatArray, entropy: FloatArray, keep: BoolArray, level: float) -> SamplingAudit:
    if not (logprob <= 1e-6).all():
        raise DataError("token_logprob holds nan or values above 0 under the mask; log-probs are at most 0")
    if not ((entropy >= -1e-6) & (entropy < np.inf)).all():
        raise DataError("token_entropy holds nan, inf or negative values under the mask")
    is_possible = logprob > -np.inf
    excess = -logprob[is_possible] - entropy[is_possible]
    tokens, impossible = int(excess.size), int((~is_possible).sum())
    spread = float(np.sqrt((excess**2).sum()))
    # Rounding of log-probs near 0 is no evidence: positions without doubt have excess and spread of that order.
    z = float(excess.sum()) / spread if spread > 1e-9 * max(tokens, 1) else float("nan")
    p_value = float(2 * ndtr(-abs(z)))
    is_refuted = abs(z) > -float(ndtri((1 - level) / 2))
    verdict: Literal["as_claimed", "too_likely", "too_unlikely", "impossible", "undetermined"]
    if impossible:
        verdict = "impossible"
    elif np.isnan(z):
        verdict = "undetermined"
    elif is_refuted:
        verdict = "too_likely" if z < 0 else "too_unlikely"
    else:
        verdict = "as_claimed"
    return SamplingAudit(
        excess=Estimate(
            value=float(excess.mean()) if tokens else float("nan"),
            stderr=spread / tokens if tokens > 1 else float("nan"),
            n_units=tokens,
            unit="token",
            method="mean surprise minus entropy, martingale error",
        ),
        z=z,
        p_value=0.0 if impossible else p_value,
        impossible=impossible,
        responses=int(keep.any(axis=1).sum()),
        verdict=verdict,
    )
