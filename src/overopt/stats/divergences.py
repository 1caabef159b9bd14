"""How far a policy is from its reference, over whole responses, with errors over prompts: KL both ways, χ², Hellinger.

Axes: B responses. All arguments are log-probs of whole responses (sums over tokens, nats); every function names the
direction and whose samples it takes. Means are means over prompts of each prompt's mean, so a prompt counts once
however many responses it has, and prompts are the independent units. Nothing is clamped, dropped or made positive.

KL alone is a sum over tokens of KLs at the visited positions (``kl.exact_token_kl``). χ² and Hellinger are not: 1 + χ²
and 1 - H² of independent positions multiply, and for dependent ones there is no such rule. So there is no per-position
version of them here.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.clusters import Clusters, clusters_of, mean_of_unit_means, ratio_of_sums
from overopt.stats.estimate import Estimate, FloatArray
from overopt.stats.sampling import Direction, SamplerSettings, check_same_distribution

# Below this share of the responses, the mean of a ratio rests on a few of them: its variance is above 9 times its
# squared mean, and its standard error, made of the same few, is too small as well.
_FEW_EFFECTIVE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioTail:
    """Whether a mean of probability ratios rests on a few responses."""

    log_largest: float
    """Largest log-ratio, nats; ``nan`` without responses."""
    effective_responses: float
    """(sum r)² / sum r²: responses of equal ratio that would vary as much; ``nan`` if all ratios are 0."""
    responses: int

    @property
    def largest(self) -> float:
        """Largest ratio; ``inf`` if it overflows."""
        return math.inf if self.log_largest > 709 else math.exp(self.log_largest)

    @property
    def is_carried_by_few(self) -> bool:
        """Whether fewer than a tenth of the responses are effective: neither value nor error can then be trusted."""
        return not self.effective_responses >= _FEW_EFFECTIVE * self.responses


@dataclass(frozen=True, slots=True, kw_only=True)
class KLEstimates:
    """One KL by several estimators, nats per response."""

    direction: Direction
    k1: Estimate
    """Unbiased, light-tailed, can be negative."""
    k2: Estimate
    """Biased; close to the KL only near 0."""
    k3: Estimate
    """Unbiased if the samples' distribution covers the other one; heavy-tailed where ``tail.is_carried_by_few``.
    ``nan`` for a truncated sampler, whose k3 is too low by the mass it never draws."""
    exact: Estimate | None
    """Full-vocabulary KL along the responses, if it was given: unbiased, and the least noisy."""
    mean_ratio: Estimate
    """Of other / sampled, which is 1 if the sampled distribution covers the other; less is the mass it misses."""
    tail: RatioTail
    """Of the ratio other / sampled, which k3 averages."""
    ruled_out: float
    """Share of responses that the other distribution can never produce; above 0 the KL is infinite, and so are k1, k2
    and k3. ``nan`` without responses."""
    responses: int
    prompts: int
    """Prompts, or responses if no prompts were given; see the estimates' ``unit``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceKL:
    """KL(reference || policy) from samples of the policy, nats per response."""

    ratio: Estimate
    """Mean of r ln r, r = reference / policy."""
    bregman: Estimate
    """Mean of r ln r - r + 1, never negative: the same expectation, with less variance near 0."""
    mean_ratio: Estimate
    """Mean of r, expected to be 1. Clearly below it, the policy misses mass and the KL is really infinite."""
    tail: RatioTail
    responses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquare:
    """χ²(policy || reference) of whole responses, no unit."""

    estimate: Estimate
    """Unbiased, above -1; ``inf`` if the reference rules out a response."""
    tail: RatioTail
    """Of the ratio policy / reference."""


def kl_policy_reference(
    policy_logprob: npt.ArrayLike,
    reference_logprob: npt.ArrayLike,
    *,
    prompt: npt.ArrayLike | None = None,
    exact: npt.ArrayLike | None = None,
    sampled: SamplerSettings | None = None,
    scored: SamplerSettings | None = None,
) -> KLEstimates:
    """KL(policy || reference) of whole responses, from responses that the policy sampled.

    Parameters
    ----------
    policy_logprob, reference_logprob : (B,) float64
        Log-probs of whole responses, nats. The policy's are finite; the reference's may be -inf.
    prompt : (B,) ids, optional
        Which prompt a response answers; without it responses are taken as independent.
    exact : (B,) float64, optional
        What ``kl.exact_token_kl`` gives for the same responses.
    sampled, scored : SamplerSettings, optional
        How the responses were drawn, and the settings that ``policy_logprob`` was computed for. Give both or none.

    Returns
    -------
    KLEstimates
        Means over prompts of prompt means, with standard errors over prompts.

    Raises
    ------
    ShapeError, DataError
        Shapes differ; nan; log-probs above 0; a sample that the policy rules out; ``sampled`` differs from ``scored``.
    ConfigError
        If only one of ``sampled`` and ``scored`` is given.

    Notes
    -----
    k1, k2, k3: Schulman 2020, "Approximating KL divergence". Weighing every prompt once is unbiased for the mean over
    prompts whatever the counts; a mean over all responses would weigh prompts by how many responses they got.

    >>> found = kl_policy_reference([-1.0, -2.0, -3.0], [-2.0, -2.0, -5.0], prompt=["a", "a", "b"])
    >>> found.k1.value, found.k1.n_units
    (1.25, 2)
    """
    if (sampled is None) != (scored is None):
        raise ConfigError("give both sampled and scored settings, or neither: the check compares them")
    is_truncated = False
    if sampled is not None and scored is not None:
        check_same_distribution(sampled, scored)
        is_truncated = sampled.is_truncated
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="policy")
    exact_B = None
    if exact is not None:
        exact_B = float_array("exact", exact, "B", finite=False)
        check_same_shape("policy_logprob", policy, "exact", exact_B)
        if np.isnan(exact_B).any():
            raise DataError(f"exact holds {int(np.isnan(exact_B).sum())} nan")
    clusters = clusters_of(prompt, policy.size, row="response")
    return _kl_estimates(reference - policy, exact_B, clusters, "policy||reference", is_truncated)


def kl_reference_policy_from_reference_samples(
    policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None
) -> KLEstimates:
    """KL(reference || policy) of whole responses, from responses that the *reference* sampled.

    As ``kl_policy_reference`` with the roles exchanged; here the reference's log-probs are finite and the policy's may
    be -inf. The order of arguments is the same in the whole module.
    """
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="reference")
    clusters = clusters_of(prompt, policy.size, row="response")
    return _kl_estimates(policy - reference, None, clusters, "reference||policy", False)


def kl_reference_policy_from_policy_samples(
    policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None
) -> ImportanceKL:
    """KL(reference || policy) of whole responses, from responses that the *policy* sampled, by importance ratio.

    Unbiased only if the policy can produce all that the reference can; what it can never produce makes the KL infinite
    and leaves no trace but a mean ratio below 1. Far from the reference a few responses carry everything: prefer
    reference samples there. Arguments as in ``kl_policy_reference``.
    """
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="policy")
    log_ratio = reference - policy
    clusters = clusters_of(prompt, policy.size, row="response")
    is_finite = log_ratio > -np.inf
    finite = np.where(is_finite, log_ratio, 0.0)
    is_near = finite < 1
    near = np.where(is_near, finite, 0.0)
    with np.errstate(over="ignore"):
        ratio = np.exp(log_ratio)
        r_ln_r = np.where(is_finite, np.exp(finite) * finite, 0.0)
        # Where r is large, r ln r - r + 1 in the form that does not subtract infinities; near 1, the one with digits.
        bregman = np.where(is_near, np.exp(near) * near - np.expm1(near), np.exp(finite) * (finite - 1) + 1)
    return ImportanceKL(
        ratio=mean_of_unit_means(r_ln_r, clusters, method="importance ratio, r ln r"),
        bregman=mean_of_unit_means(np.where(is_finite, bregman, 1.0), clusters, method="importance ratio, Bregman"),
        mean_ratio=mean_of_unit_means(ratio, clusters, method="mean of reference/policy"),
        tail=ratio_tail(log_ratio),
        responses=policy.size,
    )


def chi_square_policy_reference(
    policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None
) -> ChiSquare:
    """χ²(policy || reference) = mean of policy / reference under the policy, minus 1; from policy samples.

    It bounds what KL leaves open (KL <= ln(1 + χ²)) and grows exponentially in it: beyond a KL of a few nats no
    feasible number of responses measures it, which ``tail`` shows. Arguments as in ``kl_policy_reference``.

    >>> chi_square_policy_reference([-1.0], [-2.0]).estimate.value.__round__(4)
    1.7183
    """
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="policy")
    log_ratio = policy - reference
    with np.errstate(over="ignore"):
        value = np.expm1(log_ratio)
    clusters = clusters_of(prompt, policy.size, row="response")
    return ChiSquare(
        estimate=mean_of_unit_means(value, clusters, method="mean of policy/reference - 1"), tail=ratio_tail(log_ratio)
    )


def squared_hellinger_policy_reference(
    policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None
) -> Estimate:
    """Squared Hellinger distance, 1 - mean of sqrt(reference / policy) under the policy, from policy samples.

    Within 0 (equal) and 1 (nothing in common) in expectation; symmetric in the two distributions. Unbiased whatever
    the supports, and of variance at most 1 however far they are apart, where a KL by k3 or χ² has given up. Arguments
    as in ``kl_policy_reference``.
    """
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="policy")
    with np.errstate(over="ignore"):
        value = -np.expm1(0.5 * (reference - policy))
    clusters = clusters_of(prompt, policy.size, row="response")
    return mean_of_unit_means(value, clusters, method="1 - mean of sqrt(reference/policy)")


def kl_per_token_policy_reference(
    policy_logprob: npt.ArrayLike,
    reference_logprob: npt.ArrayLike,
    n_tokens: npt.ArrayLike,
    *,
    prompt: npt.ArrayLike | None = None,
) -> Estimate:
    """k1 of all responses over their tokens, nats per *token*: not the KL of responses, and no input to sqrt(KL).

    What many logs call KL. It falls when responses grow longer while the KL of responses rises. ``n_tokens`` (B,)
    counts the tokens behind each log-prob. A ratio of sums over all responses, its error linearised over prompts.
    """
    policy, reference = _logprobs(policy_logprob, reference_logprob, sampler="policy")
    tokens = float_array("n_tokens", n_tokens, "B")
    check_same_shape("policy_logprob", policy, "n_tokens", tokens)
    if ((tokens < 0) | (tokens != np.floor(tokens))).any():
        raise DataError("n_tokens must be whole numbers of at least 0")
    clusters = clusters_of(prompt, policy.size, row="response")
    return ratio_of_sums(policy - reference, tokens, clusters, method="k1 per token, ratio of sums")


def ratio_tail(log_ratio: npt.ArrayLike) -> RatioTail:
    """How much the mean of exp(``log_ratio``), (B,), rests on its largest terms."""
    values = float_array("log_ratio", log_ratio, "B", finite=False)
    largest = float(values.max()) if values.size else math.nan
    effective = math.nan
    if largest == math.inf:
        effective = float((values == math.inf).sum())
    elif largest > -math.inf:
        effective = float(np.exp(2 * logsumexp(values) - logsumexp(2 * values)))
    return RatioTail(log_largest=largest, effective_responses=effective, responses=values.size)


def _kl_estimates(
    log_ratio: FloatArray, exact: FloatArray | None, clusters: Clusters, direction: Direction, is_truncated: bool
) -> KLEstimates:
    """``log_ratio`` is ln(other / sampled)."""
    with np.errstate(over="ignore"):
        ratio, k3 = np.exp(log_ratio), np.expm1(log_ratio) - log_ratio
    k3_method = "k3"
    if is_truncated:
        k3, k3_method = np.full_like(k3, np.nan), "k3: unknown, a truncated sampler never draws part of the reference"
    return KLEstimates(
        direction=direction,
        k1=mean_of_unit_means(-log_ratio, clusters, method="k1"),
        k2=mean_of_unit_means(0.5 * log_ratio**2, clusters, method="k2"),
        k3=mean_of_unit_means(k3, clusters, method=k3_method),
        exact=None if exact is None else mean_of_unit_means(exact, clusters, method="full-vocabulary KL of tokens"),
        mean_ratio=mean_of_unit_means(ratio, clusters, method="mean of other/sampled"),
        tail=ratio_tail(log_ratio),
        ruled_out=float((log_ratio == -np.inf).mean()) if log_ratio.size else math.nan,
        responses=log_ratio.size,
        prompts=clusters.n_units,
    )


def _logprobs(
    policy_logprob: npt.ArrayLike, reference_logprob: npt.ArrayLike, *, sampler: str
) -> tuple[FloatArray, FloatArray]:
    """Both as float64, (B,): finite for the one that sampled, numbers or -inf for the other, none above 0."""
    policy = float_array("policy_logprob", policy_logprob, "B", finite=sampler == "policy")
    reference = float_array("reference_logprob", reference_logprob, "B", finite=sampler == "reference")
    check_same_shape("policy_logprob", policy, "reference_logprob", reference)
    for name, array in (("policy_logprob", policy), ("reference_logprob", reference)):
        # Rounding may put a sure response a little above 0.
        if not (array <= 1e-3).all():
            raise DataError(f"{name} holds nan or values above 0; log-probs of responses are at most 0")
    return policy, reference
