"""A logistic model of hashed word n-grams of the hidden thought: the baseline that learns.

It is fitted on labelled episodes and must be judged on others: of other scenarios, and best of other environments.
Axes: B texts, F features.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from overopt.envs.monitors.view import Channel, View
from overopt.errors import ConfigError, DataError
from overopt.stats.estimate import FloatArray

FEATURES = 1 << 14
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NgramMonitor:
    """Probability that a thought is one of a gaming episode, by its words and pairs of words."""

    weights: FloatArray
    """(F + 1,), the last one the constant."""
    most: int = 2
    """Words of the longest n-gram."""
    name: str = "cot-ngrams"
    channels: frozenset[Channel] = field(default=frozenset(("cot",)))
    schema: ClassVar[str] = "overopt.ngram-monitor/1"

    def score(self, view: View) -> float:
        """Within 0 and 1; the constant alone decides without a thought."""
        return self._of("\n".join(view.thoughts.values()))

    def first_alarm(self, view: View, threshold: float) -> int | None:
        """The first step by which the thoughts so far reach the threshold."""
        so_far: list[str] = []
        for step, thought in view.thoughts.items():
            so_far.append(thought)
            if self._of("\n".join(so_far)) >= threshold:
                return step
        return None

    def _of(self, text: str) -> float:
        features = _features([text], len(self.weights) - 1, self.most)
        return float(expit((features @ self.weights[:-1])[0] + self.weights[-1]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the weights that are not 0."""
        places = np.flatnonzero(self.weights[:-1])
        return {
            "schema": self.schema, "features": len(self.weights) - 1, "most": self.most,
            "constant": float(self.weights[-1]), "places": places.tolist(),
            "weights": self.weights[places].tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "NgramMonitor":
        """The monitor of a JSON object.

        Raises
        ------
        DataError
            If it is none.
        """
        try:
            if found["schema"] != cls.schema:
                raise DataError(f"not a monitor of n-grams: its schema is {found['schema']!r}")
            weights = np.zeros(int(found["features"]) + 1)
            weights[np.asarray(found["places"], dtype=np.intp)] = found["weights"]
            weights[-1] = found["constant"]
            return cls(weights=weights, most=int(found["most"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"a damaged monitor of n-grams: {error}") from error


def fit_ngrams(
    views: Sequence[View], labels: Sequence[bool], *, penalty: float = 1.0, features: int = FEATURES, most: int = 2
) -> NgramMonitor:
    """Fit the logistic model with an L2 ``penalty`` on everything but the constant; both kinds weigh alike.

    Raises
    ------
    ConfigError
        If ``penalty`` is not above 0, ``features`` below 2 or ``most`` below 1.
    DataError
        If there are not as many labels as views, or one of the kinds is missing.
    """
    if not penalty > 0 or features < 2 or most < 1:
        raise ConfigError(
            f"penalty is above 0, features at least 2, most at least 1; got {penalty}, {features}, {most}"
        )
    y_B = np.asarray(labels, dtype=np.float64)
    if len(views) != len(y_B) or not 0 < y_B.sum() < len(y_B):
        raise DataError("a monitor is fitted on as many labels as views, of both kinds")
    x_BF = _features(["\n".join(view.thoughts.values()) for view in views], features, most)
    weight_B = np.where(y_B == 1, 0.5 / y_B.sum(), 0.5 / (len(y_B) - y_B.sum())) * len(y_B)

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        margin_B = x_BF @ w[:-1] + w[-1]
        value = float(weight_B @ (np.logaddexp(0.0, margin_B) - y_B * margin_B)) + 0.5 * penalty * float(
            w[:-1] @ w[:-1]
        )
        residual_B = weight_B * (expit(margin_B) - y_B)
        return value, np.append(x_BF.T @ residual_B + penalty * w[:-1], residual_B.sum())

    found = minimize(loss, np.zeros(features + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return NgramMonitor(weights=np.asarray(found.x), most=most)


def _features(texts: Sequence[str], features: int, most: int) -> Any:  # Any: scipy.sparse has no types
    """(B, F) whether each hashed n-gram occurs, rows of length 1."""
    rows, columns = [], []
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())
        grams = {" ".join(words[start : start + n]) for n in range(1, most + 1) for start in range(len(words) - n + 1)}
        places = {crc32(gram.encode()) % features for gram in grams}
        rows += [row] * len(places)
        columns += sorted(places)
    counts = np.bincount(np.asarray(rows, dtype=np.intp), minlength=len(texts))
    values = 1.0 / np.sqrt(np.maximum(counts, 1))[np.asarray(rows, dtype=np.intp)]
    return csr_matrix((values, (rows, columns)), shape=(len(texts), features))
