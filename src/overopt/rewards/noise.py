"""Labels that are wrong in a known way, and scores with noise that never changes.

Real annotators err; a proxy trained on clean gold labels looks better than it would be. Every kind of error is
recorded beside the label, so that a study knows what it put in.

Axis: B pairs, of a first and a second reply to one prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

from overopt.errors import ConfigError, NonFiniteError, ShapeError
from overopt.protocols import Progress, Prompt, Scorer
from overopt.rewards.pairs import distinct_pairs, pair_key
from overopt.seeding import stream_seed
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import BoolArray, FloatArray

LabelKind = Literal["hard", "sampled", "soft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Which reply of each pair is called the better one, and what was done to make it wrong."""

    first_wins_B: BoolArray
    """The label."""
    target_B: FloatArray
    """Probability that the first is better, to be learnt from: 1 or 0 where labels are certain."""
    flipped_B: BoolArray
    """Turned round on purpose, at the rate that was asked for."""
    tied_B: BoolArray
    """Gold scores were equal: gold has no opinion, and a hard label is a coin's. Drop or keep, but count."""
    against_gold_B: BoolArray
    """The label contradicts gold, by a flip or by a sampled choice; never where gold is tied."""


def label_pairs(
    first_B: npt.ArrayLike,
    second_B: npt.ArrayLike,
    *,
    kind: LabelKind = "hard",
    temperature: float = 1.0,
    flip_rate: float = 0.0,
    rng: np.random.Generator,
) -> Labels:
    """Labels of pairs from gold scores (B,) of their first and second replies.

    Parameters
    ----------
    kind : {"hard", "sampled", "soft"}
        ``hard``: the higher gold wins, a coin decides ties. ``sampled``: the first wins with the Bradley-Terry
        probability sigmoid((first - second) / temperature). ``soft``: that probability is the target, and the label
        is its more probable side.
    temperature : float
        In gold units, above 0; large means careless. Hard labels take none.
    flip_rate : float
        Share of labels turned round, within 0..1 (Coste et al. 2023 take .25). So many pairs are drawn without
        replacement: flip_rate x B, a broken last one by chance, so that each pair is flipped with exactly this
        probability and the count strays from its mean by less than one. A soft target is turned round too.

    Raises
    ------
    ShapeError, DataError
        If the scores do not go together or are not finite.
    ConfigError
        If a setting is out of range, or a temperature is given for hard labels.
    """
    first, second = float_array("first", first_B, "B"), float_array("second", second_B, "B")
    check_same_shape("first", first, "second", second)
    if kind not in get_args(LabelKind):
        raise ConfigError(f"labels are {', '.join(get_args(LabelKind))}; got {kind!r}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature must be a finite number above 0; got {temperature}")
    if kind == "hard" and temperature != 1:
        raise ConfigError("hard labels have no temperature; ask for sampled or soft ones")
    if not 0 <= flip_rate <= 1:
        raise ConfigError(f"flip_rate must lie within 0..1; got {flip_rate}")
    tied_B = first == second
    coin_B = rng.random(len(first))
    with np.errstate(over="ignore"):  # an infinite gap is certain
        probability_B = np.asarray(expit((first - second) / temperature))
    wins_B = coin_B < probability_B if kind == "sampled" else np.where(tied_B, coin_B < 0.5, first > second)
    flipped_B = _drawn(len(first), flip_rate, rng)
    wins_B = wins_B ^ flipped_B
    soft_B = np.where(flipped_B, 1 - probability_B, probability_B)
    return Labels(
        first_wins_B=wins_B,
        target_B=soft_B if kind == "soft" else wins_B.astype(np.float64),
        flipped_B=flipped_B,
        tied_B=tied_B,
        against_gold_B=(wins_B != (first > second)) & ~tied_B,
    )


class NoisyScorer:
    """A scorer with a fixed Gaussian error on every text, as a :class:`~overopt.protocols.Scorer`.

    The error depends on the seed, the prompt and the completion alone: the same text always gets the same one, in any
    batch, order or process. It is a wrong gold, not a careless one, and can be exploited like any proxy.

    Parameters
    ----------
    sd : float
        Standard deviation in units of the score, at least 0.
    """

    def __init__(self, scorer: Scorer, *, sd: float, seed: int) -> None:
        if not (math.isfinite(sd) and sd >= 0):
            raise ConfigError(f"sd must be a finite number of at least 0; got {sd}")
        self.scorer, self.sd, self.seed = scorer, sd, seed
        self.name = f"{scorer.name}+noise-{sd:g}"

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[str], *, progress: Progress | None = None
    ) -> FloatArray:
        """Scores (B,) of the scorer, each with its own error.

        Raises
        ------
        ShapeError, NonFiniteError
            If the scorer returns another number of scores, or one that is not finite.
        """
        scores = np.asarray(self.scorer.score(prompts, completions, progress=progress), dtype=np.float64)
        if scores.shape != (len(completions),):
            raise ShapeError(f"{self.scorer.name} returned scores of shape {scores.shape} for {len(completions)} texts")
        if not np.isfinite(scores).all():
            raise NonFiniteError(f"{self.scorer.name} returned a score that is not finite")
        return scores + self.sd * self._errors(prompts, completions)

    def _errors(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> FloatArray:
        """Standard normal errors (B,): the quantiles at points of (0, 1) that a hash of each text gives."""
        pairs = distinct_pairs(prompts, completions)
        seeds = [
            stream_seed(self.seed, "score-noise", *pair_key(prompt, completion))
            for prompt, completion in zip(pairs.prompts, pairs.completions, strict=True)
        ]
        # The upper 52 of 63 bits: with half a step added they are exact in float64 and never 0 or 1.
        places = (np.array(seeds, dtype=np.uint64) >> np.uint64(11)).astype(np.float64)
        return np.asarray(ndtri((places + 0.5) / 2**52))[pairs.place_B]


def _drawn(count: int, rate: float, rng: np.random.Generator) -> BoolArray:
    """``rate`` x ``count`` places without replacement; the fraction of the last one decides by chance."""
    wanted = rate * count
    n_drawn = int(wanted) + (rng.random() < wanted - int(wanted))
    drawn = np.zeros(count, dtype=np.bool_)
    drawn[rng.choice(count, size=n_drawn, replace=False)] = True
    return drawn
