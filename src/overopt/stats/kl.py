"""Estimators of KL(policy || reference) from log-probs of responses that the policy sampled, in nats per response.

Axes: B responses, T tokens, V vocabulary. Schulman's k1, k2, k3 by these names; their arguments are sums over the
tokens of a response: a per-token mean is not the KL of responses. Nothing is clamped: a ratio that overflows is
``inf``, not a quiet 10. The samples must come from the very distribution whose log-probs are given: same temperature,
top-p and top-k (``sampling``). One value a response here; means with errors over prompts are in ``divergences``.
"""

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import BoolArray, FloatArray


def sequence_sums(per_token: npt.ArrayLike, mask: npt.ArrayLike) -> FloatArray:
    """Sum of ``per_token`` (B, T) over the tokens where ``mask`` (B, T) is true; (B,), 0 for a row without any.

    What stands under a false mask (padding, nan, a sentinel) never enters.

    >>> sequence_sums([[-1.0, -2.0, float("nan")]], [[True, True, False]])
    array([-3.])
    """
    values = float_array("per_token", per_token, "BT", finite=False)
    keep = np.asarray(mask)
    if keep.shape != values.shape:
        raise ShapeError(f"per_token and mask must have one shape; got {values.shape} and {keep.shape}")
    return np.asarray(np.where(boolean_mask(keep), values, 0.0).sum(axis=1))


def k1(policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike) -> FloatArray:
    """ln(policy / reference) of each response, (B,): unbiased for KL(policy || reference) under policy samples.

    Single values, and means over few responses, can be negative; report the standard error, never the absolute value.
    """
    return -_log_ratio(policy_logprob, reference_logprob)


def k2(policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike) -> FloatArray:
    """Half the squared log-ratio of each response, (B,): never negative, biased as an estimate of the KL.

    Close to it only while policy and reference are: the error grows with the third moment of the log-ratio.
    """
    return np.asarray(0.5 * _log_ratio(policy_logprob, reference_logprob) ** 2)


def k3(policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike) -> FloatArray:
    """r - 1 - ln r with r = reference / policy, of each response, (B,): never negative, unbiased under policy samples.

    Unbiased if the policy can produce all that the reference can (else the mean of r is below 1, and k3 is too low by
    the reference's missing mass). Heavy-tailed far from the reference: rare responses with a huge r carry the mean.
    """
    log_ratio = _log_ratio(policy_logprob, reference_logprob)
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(log_ratio) - log_ratio)


def exact_token_kl(
    policy_logprobs: npt.ArrayLike, reference_logprobs: npt.ArrayLike, mask: npt.ArrayLike, *, tolerance: float = 1e-4
) -> FloatArray:
    """KL(policy || reference) of the next token over the whole vocabulary, summed along each response; (B,), nats.

    Its mean over responses of the policy is the KL of whole responses, as that of k1 is, without the noise of which
    token was drawn at each position (Rao-Blackwell). It keeps the noise of which positions were visited.

    Parameters
    ----------
    policy_logprobs, reference_logprobs : (B, T, V) float
        Log-probs of all tokens at each position, given what the policy drew before. -inf is a token that is never
        drawn. Rows are converted to float64 one response at a time.
    mask : (B, T) bool or 0/1
        True where a token of the response was drawn, the end token included; what stands elsewhere never enters.
    tolerance : float
        How far the log of a row's sum may be from 0. Float32 keeps 1e-5; bfloat16 does not keep 1e-2: compute the
        softmax in float32 or better.

    Returns
    -------
    (B,) float64
        Not negative up to rounding; ``inf`` where the reference rules out a token that the policy can draw; 0 for a
        response without tokens.

    Raises
    ------
    ShapeError, DataError, ConfigError
        Shapes differ; nan, +inf or a row that is no distribution under the mask; ``tolerance`` not above 0.

    Notes
    -----
    Summed as p ln(p/q) - p + q, which is the same for distributions: no term is negative, so nothing cancels, and a
    row's error of normalisation enters squared. The order matters: swapped arguments are KL(reference || policy)
    along the policy's paths, which is not the reverse KL of responses.

    >>> exact_token_kl(np.log([[[0.5, 0.5]]]), np.log([[[0.25, 0.75]]]), [[True]]).round(6)
    array([0.143841])
    """
    if not tolerance > 0:
        raise ConfigError(f"tolerance must be above 0; got {tolerance}")
    policy, reference, keep = np.asarray(policy_logprobs), np.asarray(reference_logprobs), boolean_mask(mask)
    if policy.ndim != 3 or policy.shape != reference.shape or keep.shape != policy.shape[:2]:
        raise ShapeError(
            "policy_logprobs and reference_logprobs must have one shape (B, T, V) and mask its (B, T); "
            f"got {policy.shape}, {reference.shape} and {keep.shape}"
        )
    total_B = np.zeros(policy.shape[0])
    for row in range(policy.shape[0]):
        policy_KV = _distributions("policy_logprobs", policy[row, keep[row]], tolerance, row)
        reference_KV = _distributions("reference_logprobs", reference[row, keep[row]], tolerance, row)
        total_B[row] = _full_kl(policy_KV, reference_KV).sum()
    return total_B


def boolean_mask(mask: npt.ArrayLike) -> BoolArray:
    """``mask`` as booleans; a ``DataError`` if it is neither boolean nor 0 and 1."""
    keep = np.asarray(mask)
    if keep.dtype != np.bool_:
        if not np.isin(keep, (0, 1)).all():
            raise DataError("mask must be boolean, or hold only 0 and 1")
        keep = keep.astype(np.bool_)
    return keep


def _log_ratio(policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike) -> FloatArray:
    """ln(reference / policy) of each response; the reference may have ruled a response out, the policy drew it."""
    policy = float_array("policy_logprob", policy_logprob, "B")
    reference = float_array("reference_logprob", reference_logprob, "B", finite=False)
    check_same_shape("policy_logprob", policy, "reference_logprob", reference)
    if (np.isnan(reference) | (reference == np.inf)).any():
        raise DataError("reference_logprob holds nan or +inf; log-probs are numbers or -inf")
    return reference - policy


def _distributions(name: str, logprobs_KV: npt.NDArray[np.generic], tolerance: float, row: int) -> FloatArray:
    array = np.asarray(logprobs_KV, dtype=np.float64)
    if np.isnan(array).any() or (array > tolerance).any():
        raise DataError(f"{name} of response {row} holds nan or values above 0; log-probs are at most 0")
    total = np.exp(array).sum(axis=1)
    if (np.abs(total - 1) > tolerance).any():
        worst = float(total[np.abs(total - 1).argmax()])
        raise DataError(
            f"{name} of response {row} are no distribution: a position sums to {worst:.6g}; normalise the logits "
            "(log-softmax over the whole vocabulary, in float32 or better)"
        )
    return array


def _full_kl(policy_KV: FloatArray, reference_KV: FloatArray) -> FloatArray:
    """KL of each row over the vocabulary."""
    is_possible = policy_KV > -np.inf
    log_ratio = np.zeros_like(policy_KV)
    np.subtract(policy_KV, reference_KV, out=log_ratio, where=is_possible)
    policy, reference = np.exp(policy_KV), np.exp(reference_KV)
    is_near = is_possible & (np.abs(log_ratio) < 1)
    gain = np.where(is_near, policy * np.expm1(-np.where(is_near, log_ratio, 0.0)), reference - policy)
    # A reference of 0 is infinite even where the policy's probability underflows to 0.
    cost = np.full_like(policy_KV, np.inf)
    np.multiply(policy, log_ratio, out=cost, where=log_ratio < np.inf)
    return np.asarray((cost + gain).sum(axis=1))
