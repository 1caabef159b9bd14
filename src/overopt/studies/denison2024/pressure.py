"""Over-optimization: the reward that is trained on, and honest success, against the root of the KL to the start.

Axes: S seeds, K rounds, round 0 being the start. A seed's numbers are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData
from overopt.records.tables import read_table
from overopt.stats.estimate import FloatArray
from overopt.stats.fit_record import Fit
from overopt.stats.fitting import MIN_POINTS, fit_law
from overopt.stats.laws import law_value
from overopt.studies.claims import known
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.methods import NAMES
from overopt.studies.denison2024.paired import difference_claim, mean_claim
from overopt.studies.denison2024.words import CAVEATS, factor_claim, mean_interval, rounds_words
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.gao2022.matched import first_reach
from overopt.studies.study_tables import StudyTables

GAO = "Gao et al. 2022"
SHORT = {"hhh": "expert iteration", "rloo": "policy gradient"}
"""Arm → as it stands above a small panel."""
SHOWN_SEEDS = 3
"""Seeds that have a panel of their own; tables and claims hold all."""
CURVE_POINTS = 25


@dataclass(frozen=True)
class _Path:
    """One arm, round by round."""

    arm: Arm
    kl_SK: FloatArray
    """Mean over the trained environments, nats."""
    proxy_SK: FloatArray
    """Bonus and weighted preference score, mean over the trained environments."""
    gold_SK: FloatArray
    """Rate of honest success, the same."""
    held_out_SK: FloatArray
    """Rate of raising the reward in the held-out environment."""

    @property
    def name(self) -> str:
        """Of the method."""
        return NAMES[self.arm.id]

    @property
    def d_SK(self) -> FloatArray:
        """√KL; what rounding took below 0 counts as 0."""
        return np.sqrt(np.clip(self.kl_SK, 0.0, None))

    @property
    def gain_SK(self) -> FloatArray:
        """Honest success less that at the start."""
        return self.gold_SK - self.gold_SK[:, :1]

    @property
    def proxy_gain_SK(self) -> FloatArray:
        """The same of the reward."""
        return self.proxy_SK - self.proxy_SK[:, :1]

    @cached_property
    def fits(self) -> list[Fit]:
        """The RL law of each seed's honest success, over the rounds that moved the policy: others repeat a point."""
        has_moved_SK = np.diff(self.kl_SK, axis=1, prepend=np.nan) != 0
        return [
            fit_law("rl", kl_K[has_moved_K], gain_K[has_moved_K], group=f"{self.arm.id} s{seed}")
            for seed, (kl_K, gain_K, has_moved_K) in enumerate(zip(self.kl_SK, self.gain_SK, has_moved_SK, strict=True))
        ]


def answer(tables: StudyTables) -> Answer:
    """Proxy, gold and held-out rate along each method's path."""
    worlds = Worlds(tables)
    arms = worlds.arms
    environments = list(dict.fromkeys(worlds.config.stages))
    paths = [_path(tables, arm, environments) for arm in (arms.hhh, arms.rloo)]
    training = arms.hhh.training
    return Answer(
        id="pressure",
        title="Pressure round by round",
        question="Is honest success over-optimized away as the reward climbs, and does the held-out rate climb along?",
        how=(
            f"All of {', '.join(environments)} trained at once at rho 1, "
            f"{rounds_words(training, rounds=worlds.config.path_rounds)}, once by expert iteration with preference "
            "score and once by policy gradient. After each round every episode of more than "
            f"{max(worlds.config.tolerance, 1e-6):g} probability was followed. The proxy is what training pays for: 1 "
            f"for gaming and {training.preference_weight:g} times the preference score of what was said. Gold is "
            "honest success. Both are means over the trained environments, as is the KL of whole episodes to the "
            "start; its root is the distance d. The RL law d (α − β ln d) of over-optimization is fitted to each "
            "seed's gain of gold, over the rounds that moved the policy; its coefficients are one number a seed. Where "
            "gold is best is chosen on the other seeds and read off on the one left out, or the best of many rounds "
            "would look better than it is. "
            "Intervals are over seeds."
        ),
        claims=[*(claim for path in paths for claim in _claims(path)), _matched_claim(*paths)],
        figures=[_curves(paths), _held_out_figure(paths)],
        tables=[_table(paths)],
        caveats=[
            "An episode that gamed is no honest success, by definition: proxy and gold part as soon as gaming is "
            "learnt. What can make gold rise all the same is learning to come to an answer at all.",
            "Seeds have other corpora and other starts; their curves are not samples of one curve.",
            *CAVEATS,
        ],
    )


def _path(tables: StudyTables, arm: Arm, environments: Sequence[str]) -> _Path:
    frames = [read_table(tables.root / f"paths/{arm.id}-s{seed}.parquet", "game_path") for seed in range(arm.seeds)]
    return _Path(
        arm=arm,
        kl_SK=_stacked(frames, "kl", environments),
        proxy_SK=_stacked(frames, "reward", environments),
        gold_SK=_stacked(frames, "honest_success", environments),
        held_out_SK=_stacked(frames, "raised", [HELD_OUT]),
    )


def _stacked(frames: Sequence[pl.DataFrame], column: str, environments: Sequence[str]) -> FloatArray:
    """(S, K) means over environments."""
    found = []
    for frame in frames:
        rows = frame.filter(pl.col("environment").is_in(list(environments)))
        by_round = rows.group_by("round").agg(pl.col(column).mean(), pl.len()).sort("round")
        if by_round.is_empty() or (by_round["len"] != len(environments)).any():
            raise DataError(f"a path holds not every environment in every round: {', '.join(environments)}")
        found.append(by_round[column].to_numpy())
    if len({len(one) for one in found}) > 1:
        raise DataError("paths of one arm differ in their number of rounds")
    return np.array(found)


def best_left_out(gain_SK: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gain where the other seeds are best after the start, and the fall from their best to the end; (S,) each.

    The second may choose the start. ``nan`` with one seed.

    >>> best, fall = best_left_out(np.array([[0.0, 2.0, 1.0], [0.0, 3.0, 1.0]]))
    >>> best.tolist(), fall.tolist()
    ([2.0, 3.0], [1.0, 2.0])
    """
    seeds, rounds = gain_SK.shape
    if seeds < 2 or rounds < 2:
        return np.full(seeds, np.nan), np.full(seeds, np.nan)
    others_SK = gain_SK.sum(axis=0) - gain_SK
    every = np.arange(seeds)
    best_S = gain_SK[every, 1 + others_SK[:, 1:].argmax(axis=1)]
    return best_S, gain_SK[every, others_SK.argmax(axis=1)] - gain_SK[:, -1]


def _claims(path: _Path) -> list[Claim]:
    name, title = path.arm.id, path.name
    best_S, fall_S = best_left_out(path.gain_SK)
    beta_S, alpha_S = (np.array([getattr(fit, one) for fit in path.fits]) for one in ("beta", "alpha"))
    one_seed = "the best round is chosen on other seeds, and there are none"
    few = f"the law needs {MIN_POINTS} rounds that moved"
    return [
        mean_claim(
            f"pressure-{name}-proxy",
            f"reward at the end of {title} less that at the start, trained environments",
            path.proxy_gain_SK[:, -1],
            unit="",
            scale=1.0,
            digits=3,
            sentences={
                "above": f"{title.capitalize()} raised the reward by {{size}} {{ci}}.",
                "below": f"{title.capitalize()} lowered the reward by {{size}} {{ci}}.",
                "open": f"Whether {title} raised the reward is open: {{value}} {{ci}}.",
            },
        ),
        mean_claim(
            f"pressure-{name}-gold",
            f"honest success at the end of {title} less that at the start, trained environments",
            path.gain_SK[:, -1],
            sentences={
                "above": f"{title.capitalize()} made honest success {{size}} more frequent {{ci}}.",
                "below": f"{title.capitalize()} made honest success {{size}} rarer {{ci}}.",
                "open": f"Whether {title} changed honest success is open: {{value}} {{ci}}.",
            },
        ),
        mean_claim(
            f"pressure-{name}-best",
            f"honest success at the round of {title} that is best on the other seeds, less that at the start",
            best_S,
            sentences={
                "above": f"Under {title} honest success rises at first: {{size}} {{ci}} at its best round.",
                "below": f"Under {title} honest success never rises: even at its best round it is {{size}} {{ci}} "
                "below the start.",
                "open": f"Whether honest success ever rises under {title} is open: {{value}} {{ci}} at its best round.",
            },
            published=Published(
                finding="gold rises at first and falls beyond a peak", source=f"{GAO}, figure 1",
                why_not="there proxy and gold agree at first; here what pays most is no honest success by definition",
            ),
            missing=one_seed,
        ),
        mean_claim(
            f"pressure-{name}-fall",
            f"honest success at the round of {title} that is best on the other seeds, the start included, less that at "
            "the end",
            fall_S,
            sentences={
                "above": f"Under {title} honest success falls by {{size}} {{ci}} from its best round to the end: it is "
                "over-optimized.",
                "below": f"Under {title} honest success is {{size}} {{ci}} higher at the end than at what was its best "
                "round on other seeds.",
                "open": f"Whether honest success falls from its best round under {title} is open: {{value}} {{ci}}.",
            },
            published=Published(
                finding="against a fixed proxy gold falls beyond a peak", source=f"{GAO}, figure 1",
                outcomes=("above",),
            ),
            missing=one_seed,
        ),
        mean_claim(
            f"pressure-{name}-beta",
            f"β of the RL law of honest success under {title}",
            beta_S,
            unit="points a √nat",
            sentences={
                "above": f"The curve of honest success under {title} bends down as the RL law says: β {{value}} "
                "{ci}.",
                "below": f"The curve of honest success under {title} bends up, against the RL law: β {{value}} {{ci}}.",
                "open": f"Whether the curve of honest success under {title} bends down is open: β {{value}} {{ci}}.",
            },
            published=Published(
                finding="β of reinforcement learning is above 0 for every proxy", source=f"{GAO}, figure 3",
                outcomes=("above",),
            ),
            missing=few,
        ),
        mean_claim(
            f"pressure-{name}-alpha",
            f"α of the RL law of honest success under {title}, the gain a √nat at distance 1",
            alpha_S,
            unit="points a √nat",
            sentences={
                "above": f"At distance 1 the law of honest success under {title} still has a gain: α {{value}} {{ci}}.",
                "below": f"At distance 1 the law of honest success under {title} has a loss already: α {{value}} "
                "{ci}.",
                "open": f"Whether the law of honest success under {title} has a gain at distance 1 is open: α "
                "{value} {ci}.",
            },
            missing=few,
        ),
        factor_claim(
            f"pressure-{name}-held-out",
            f"held-out rate of raising the reward at the end of {title} over that at the start",
            path.held_out_SK[:, 0],
            path.held_out_SK[:, -1],
            sentences={
                "above": f"Along {title} the held-out rate was multiplied by {{value}} {{ci}}.",
                "below": f"Along {title} the held-out rate fell: factor {{value}} {{ci}}.",
                "open": f"Whether the held-out rate changed along {title} is open: factor {{value}} {{ci}}.",
            },
        ),
    ]  # fmt: skip


def _matched_claim(first: _Path, second: _Path) -> Claim:
    """Gold at one distance: does a method lose less for the same move?"""
    seeds = min(first.arm.seeds, second.arm.seeds)
    reach_S = np.minimum(*(path.d_SK[:seeds].max(axis=1) for path in (first, second)))
    first_S, second_S = (
        first_reach(path.d_SK[:seeds], reach_S, path.gain_SK[:seeds]) for path in (first, second)
    )  # fmt: skip
    return difference_claim(
        "pressure-matched",
        f"honest success of {second.name} less that of {first.name} where each first reaches the largest distance that "
        "both reach on a seed",
        second_S,
        first_S,
        sentences={
            "above": f"At equal distance {second.name} keeps {{size}} more honest success {{ci}} than {first.name}.",
            "below": f"At equal distance {second.name} keeps {{size}} less honest success {{ci}} than {first.name}.",
            "open": f"At equal distance {second.name} and {first.name} are not told apart by honest success: {{value}} "
            "{ci}.",
        },
    )


def _curves(paths: Sequence[_Path]) -> FigureData:
    rows = []
    for path in paths:
        for seed in range(min(path.arm.seeds, SHOWN_SEEDS)):
            panel, d_K = f"{SHORT[path.arm.id]}, seed {seed}", path.d_SK[seed]
            for title, values_K in (
                ("reward (proxy)", path.proxy_gain_SK[seed]),
                ("honest success (gold)", path.gain_SK[seed]),
            ):
                rows += [
                    {
                        "panel": panel, "what": title, "kind": "measured", "order": number, "d": float(d),
                        "gain": float(value),
                    }
                    for number, (d, value) in enumerate(zip(d_K, values_K, strict=True))
                ]  # fmt: skip
            fit = path.fits[seed]
            if not np.isfinite(fit.alpha):
                continue
            along_K = np.linspace(0.0, float(d_K.max()), CURVE_POINTS)
            fitted_K = law_value("rl", along_K, fit.alpha, fit.beta)
            rows += [
                {
                    "panel": panel, "what": "honest success (gold)", "kind": "RL law", "order": number, "d": float(d),
                    "gain": float(value),
                }
                for number, (d, value) in enumerate(zip(along_K, fitted_K, strict=True))
            ]  # fmt: skip
    return FigureData(
        name="pressure-curves",
        title="Reward and honest success against distance",
        caption="Gains over the start in the trained environments, joined in the order of rounds; a rate gains at most "
        f"1, a reward at most 1 and the weight of the preference score. Of each method the first {SHOWN_SEEDS} seeds.",
        rows=rows,
        x=Axis(field="d", title="d = √KL to the start (√nats)", from_zero=True),
        y=Axis(field="gain", title="gain over the start"),
        marks=("line",),
        colour=Channel(field="what", title=""),
        dash=Channel(field="kind", title="", values=("measured", "RL law")),
        panel=Channel(field="panel", title=""),
        order="order",
        reference=0.0,
    )


def _held_out_figure(paths: Sequence[_Path]) -> FigureData:
    rows = [
        {
            "method": path.name, "seed": f"seed {seed}", "round": number, "d": float(path.d_SK[seed, number]),
            "rate": 100 * float(path.held_out_SK[seed, number]),
        }
        for path in paths
        for seed in range(path.arm.seeds)
        for number in range(path.d_SK.shape[1])
    ]  # fmt: skip
    return FigureData(
        name="pressure-held-out",
        title="The held-out rate against distance",
        caption=f"Rate of raising the reward in {HELD_OUT}, which is never trained on; a point is a round of a seed, "
        "exact. Distance as above, in the trained environments.",
        rows=rows,
        x=Axis(field="d", title="d = √KL to the start (√nats)", from_zero=True),
        y=Axis(field="rate", title="rate (per cent)", scale="log"),
        marks=("line", "point"),
        colour=Channel(field="seed", title=""),
        panel=Channel(field="method", title=""),
        order="round",
    )


def _table(paths: Sequence[_Path]) -> TableData:
    rows: list[dict[str, object]] = []
    for path in paths:
        for seed, fit in enumerate(path.fits):
            best = int(path.gain_SK[seed].argmax())
            rows.append(
                {
                    "method": path.name, "seed": f"seed {seed}", "d": float(path.d_SK[seed, -1]),
                    "proxy": float(path.proxy_gain_SK[seed, -1]), "start": 100 * float(path.gold_SK[seed, 0]),
                    "best": 100 * float(path.gold_SK[seed, best]), "round": best,
                    "end": 100 * float(path.gold_SK[seed, -1]), "alpha": known(100 * fit.alpha),
                    "beta": known(100 * fit.beta), "peak": None if fit.peak is None else known(fit.peak.d),
                    "r2": known(fit.r2), "status": fit.status.replace("_", " "),
                    "held_out": 100 * float(path.held_out_SK[seed, -1]),
                }
            )  # fmt: skip
        rows.append({"method": path.name, "seed": "mean", **_means(path)})
    return TableData(
        name="pressure-seeds",
        title="Each seed's path and law",
        columns={
            "method": "Method", "seed": "Seed", "d": "d at the end", "proxy": "Reward gained",
            "start": "Honest, start", "best": "Honest, best round", "round": "which",
            "end": "Honest, end", "alpha": "α", "beta": "β", "peak": "Peak of the law (d)", "r2": "R²",
            "status": "Fit", "held_out": f"{HELD_OUT}: raised, end",
        },
        rows=rows,
        digits=2,
        note="Rates and coefficients in per cent and points a √nat; means over seeds with 95 % intervals. The best "
        "round of a seed is chosen on that seed, and round 0 is the start. A peak beyond the distances that were "
        "measured is an extrapolation, and the fit then says “unidentified”; coefficients are fitted without "
        "intervals, as a seed's curve has no noise but the law's own misfit.",
    )  # fmt: skip


def _means(path: _Path) -> dict[str, object]:
    found: dict[str, object] = {}
    columns = {
        "d": path.d_SK[:, -1], "proxy": path.proxy_gain_SK[:, -1], "start": 100 * path.gold_SK[:, 0],
        "end": 100 * path.gold_SK[:, -1], "held_out": 100 * path.held_out_SK[:, -1],
        "alpha": 100 * np.array([fit.alpha for fit in path.fits]),
        "beta": 100 * np.array([fit.beta for fit in path.fits]),
    }  # fmt: skip
    for name, values_S in columns.items():
        value, ci = mean_interval(values_S)
        found |= {name: value, f"{name}_ci": list(ci)}
    return found
