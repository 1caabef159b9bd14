"""Estimators of KL(policy || reference) from log-probs of responses that the policy sampled, in nats per response.

Axes: B responses, T tokens. Schulman's k1, k2, k3 by these names. Arguments are sums over the tokens of a response: a
per-token mean is not the KL of responses. Nothing is clamped: a ratio that overflows is ``inf``, not a quiet 10. The
samples must come from the very distribution whose log-probs are given: same temperature, top-p and top-k.
"""

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError, ShapeError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import FloatArray


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
    if keep.dtype != np.bool_:
        if not np.isin(keep, (0, 1)).all():
            raise DataError("mask must be boolean, or hold only 0 and 1")
        keep = keep.astype(np.bool_)
    return np.asarray(np.where(keep, values, 0.0).sum(axis=1))


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


def _log_ratio(policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike) -> FloatArray:
    """ln(reference / policy) of each response; the reference may have ruled a response out, the policy drew it."""
    policy = float_array("policy_logprob", policy_logprob, "B")
    reference = float_array("reference_logprob", reference_logprob, "B", finite=False)
    check_same_shape("policy_logprob", policy, "reference_logprob", reference)
    if (np.isnan(reference) | (reference == np.inf)).any():
        raise DataError("reference_logprob holds nan or +inf; log-probs are numbers or -inf")
    return reference - policy
