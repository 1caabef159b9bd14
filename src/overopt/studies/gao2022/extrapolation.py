"""Does the law of best-of-n hold far beyond the n it was fitted on (Gao et al. 2022, figure 26 and appendix B)?

Axes: P prompts with a large pool, K values of n, A proxies.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from overopt.errors import DataError
from overopt.measure.intervals import LEVEL
from overopt.measure.ladder import best_of_n_ladder
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Published, TableData, TextLadder
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curve, kl_bound
from overopt.stats.estimate import FloatArray
from overopt.stats.law_choice import choose_law
from overopt.stats.laws import AnyLaw
from overopt.stats.least_squares import POWER_GAMMAS, CurveFit, fit_curve, point_weights
from overopt.stats.resampling import IntArray, few_units_factor
from overopt.studies.claims import UNKNOWN, Interval, known, over_units
from overopt.studies.gao2022.leaving_out import without_prompts
from overopt.studies.gao2022.text_ladders import ladders_of
from overopt.studies.study_tables import StudyTables

POOL = "pool-large"
SCORES = "scores-large"
LAWS: dict[AnyLaw, str] = {
    "bon": "d (α − β d)",
    "rl1p": "d (α − β ln(1 + d))",
    "power": "d (α − β d^γ)",
    "linear": "α d",
}
PER_FACTOR_OF_TWO = 2
"""Points of the curve; neighbours hold almost the same replies, so more would add nothing."""
MARGIN = 0.1
"""Standard deviations of gold within which an extrapolation counts as right."""
SHOWN_PROMPTS = 2
OF_RL = "the paper says this of the form for RL"


def answer(tables: StudyTables) -> Answer:
    """Fit each form up to ``fitted_up_to`` replies and hold it against gold at up to the whole pool."""
    limit = int(tables.settings["fitted_up_to"])
    curves = {name: _gains(tables, name) for name in _by_size(tables)}
    if not curves:
        raise DataError(f"{tables.root / SCORES} holds the scores of no proxy")
    ns, n_prompts = _ns(tables), len(tables.raw_pool(POOL).prompt_ids)
    kl = np.asarray(kl_bound(ns))
    study = _Study(np.stack(list(curves.values())), kl, float(kl_bound(limit)))
    rng = stream(tables.seed, "extrapolation", "prompts")
    held_out = without_prompts(study.numbers, n_prompts, rng)
    keys = study.keys()
    found = dict(zip(keys, held_out, strict=True))
    n_fitted, n_judged = int(((kl > 0) & (kl <= study.split)).sum()), int((kl > study.split).sum())
    largest, proxies = ns[-1], len(curves)
    of = f"{n_prompts} prompts, means over {proxies} {'proxies' if proxies > 1 else 'proxy'}"
    note = study.why_not() or ("" if n_prompts >= 4 else f"{n_prompts} prompts are too few for an interval")
    names = {base: tables.proxy(base).base for base in curves}
    gamma, gamma_ci = _gamma(study, n_prompts, tables.seed)
    claims = [
        Claim(
            id="extrapolation-log-minus-simple",
            what=f"error of {LAWS['rl1p']} less that of {LAWS['bon']}, both fitted on n ≤ {limit:,} and held against "
            f"gold at n up to {largest:,} (root mean square)",
            **_number(found["rl1p-bon"]),
            counted=of,
            unit="sd",
            digits=3,
            sentences={
                "above": f"Fitted on n ≤ {limit:,}, the simple form d (α − β d) foretells gold up to n = {largest:,} "
                "better than the form with ln(1 + d), by {value} {ci}.",
                "below": f"Fitted on n ≤ {limit:,}, the form with ln(1 + d) foretells gold up to n = {largest:,} "
                "better than the simple form d (α − β d), by {size} {ci}.",
                "open": f"These {n_prompts} prompts do not tell whether d (α − β d) or the form with ln(1 + d) "
                f"foretells gold up to n = {largest:,} better: {{value}} {{ci}}.",
            },
            published=Published(
                finding="d (α − β ln(1 + d)) extrapolates worse than d (α − β ln d), the form of RL",
                source="Gao et al. 2022, appendix B",
                why_not=OF_RL,
            ),
            note=note,
        ),
        Claim(
            id="extrapolation-error",
            what=f"gold that d (α − β d), fitted on n ≤ {limit:,}, foretells beyond, less what was measured there, "
            f"mean over n up to {largest:,} (equal: within {MARGIN} sd)",
            **_number(found["bon-mean"]),
            counted=of,
            unit="sd",
            margin=MARGIN,
            sentences={
                "equal": f"The law fitted on n ≤ {limit:,} is right up to n = {largest:,}, to within {MARGIN} sd of "
                "gold on average: it is off by {value} {ci}.",
                "above": f"Beyond n = {limit:,}, where it was fitted, the law promises too much: {{value}} {{ci}} on "
                "average.",
                "below": f"Beyond n = {limit:,}, where it was fitted, the law promises too little: {{size}} {{ci}} on "
                "average.",
                "open": f"Beyond n = {limit:,}, where it was fitted, the law is off by {{value}} {{ci}} on average: "
                f"too uncertain to call it right to {MARGIN} sd, or wrong.",
            },
            published=Published(
                finding="the form settled on n ≤ 1,000 still describes gold at n = 60,000",
                source="Gao et al. 2022, figure 26",
                outcomes=("equal",),
            ),
            note=note,
        ),
        Claim(
            id="extrapolation-line-minus-simple",
            what=f"error of a straight line α d less that of {LAWS['bon']}, fitted and judged alike",
            **_number(found["linear-bon"]),
            counted=of,
            unit="sd",
            digits=3,
            sentences={
                "above": "The bend of the law is worth having: a straight line is wrong by {value} {ci} more.",
                "below": "A straight line foretells better than the law, by {size} {ci}.",
                "open": "The law does not clearly foretell better than a straight line: {value} {ci}.",
            },
            note=note,
        ),
        Claim(
            id="extrapolation-gamma",
            what=f"exponent γ of d (α − β d^γ) over all n, held against the 1 of the simple form, median of {proxies}",
            value=gamma,
            ci=gamma_ci,
            counted=f"{n_prompts} prompts",
            reference=1.0,
            sentences={
                "below": "Free to choose, the exponent is smaller than that of the simple form: γ = {value} {ci}.",
                "above": "Free to choose, the exponent is larger than that of the simple form: γ = {value} {ci}.",
                "open": "The exponent cannot be told from the 1 of the simple form: γ = {value} {ci}.",
            },
            published=Published(
                finding="in d (α − β d^γ) γ comes out tiny, which is close to d (α − β ln d)",
                source="Gao et al. 2022, appendix B",
                why_not=OF_RL,
            ),
            note="" if gamma_ci[0] is not None else "gold is straight in d, or prompts are too few",
        ),
    ]
    return Answer(
        id="extrapolation",
        title="Beyond the range of the fit",
        question=f"Does the law fitted on n ≤ {limit:,} hold up to n = {largest:,}, and does another form do better?",
        how=(
            f"{n_prompts} prompts with {largest:,} replies each of the initial policy; gold of the reply that the "
            f"proxy ranks first among n, over all subsets of n replies alike. Four forms are fitted to the {n_fitted} "
            f"values of n up to {limit:,} and held against the {n_judged} beyond, {PER_FACTOR_OF_TWO} for each "
            "doubling. KL is ln n − (n − 1)/n nats, as in the paper. Points weigh as in all fits of the study. "
            f"Intervals come from leaving out prompts, one after another ({LEVEL:.0%}, by Student's t)."
        ),
        claims=claims,
        figures=[
            _curves_figure(study, ns, names, n_prompts, tables.seed, limit),
            _errors_figure(study, found, names, n_prompts, limit),
        ],
        tables=[_coefficients(study, found, names)],
        texts=_texts(tables, next(iter(curves)), ns),
        caveats=[
            f"{n_prompts} prompts only: they share their replies at all n, so curves are smooth and yet uncertain, and "
            "the intervals are wide.",
            "One training seed of each proxy.",
            "Values at neighbouring n come from the same replies; an error at one n is an error at the next.",
        ],
    )


class _Study:
    """Gains of gold (A, P, K) with the fits of any of the prompts."""

    def __init__(self, gold_APK: FloatArray, kl_K: FloatArray, split: float) -> None:
        self.gold, self.kl, self.wanted = gold_APK, kl_K, split
        self.d = np.sqrt(kl_K)
        prompts = gold_APK.shape[1]
        spread = gold_APK.std(axis=1, ddof=1) / math.sqrt(prompts) if prompts > 1 else np.full(len(kl_K), math.nan)
        self.se_AK = np.broadcast_to(spread, (len(gold_APK), len(kl_K)))
        found = choose_law(kl_K, gold_APK[0].mean(axis=0), gold_se=self.se_AK[0], kl_split=split).kl_split
        self.is_split = not math.isnan(found)
        self.split = found if self.is_split else split

    def keys(self) -> list[str]:
        """Of ``numbers``."""
        laws = [f"{law}-{kind}" for law in LAWS for kind in ("rmse", "mean")]
        single = [f"{a}/{law}" for a in range(len(self.gold)) for law in LAWS]
        return ["rl1p-bon", "linear-bon", *laws, *single]

    def numbers(self, rows: IntArray) -> FloatArray:
        """Held-out errors of those prompts, in the order of ``keys``: differences, means over proxies, each proxy."""
        rmse = np.array([self._rmse(a, rows) for a in range(len(self.gold))])
        mean = dict(zip(LAWS, rmse.mean(axis=0).tolist(), strict=True))
        values = [mean["rl1p"] - mean["bon"], mean["linear"] - mean["bon"]]
        beyond = self.kl > self.split
        for law in LAWS:
            missed = [
                self.fit(law, a, rows).value(self.d[beyond]) - self.gold[a][rows][:, beyond].mean(axis=0)
                for a in range(len(self.gold))
            ]
            values += [mean[law], float(np.mean(missed)) if beyond.any() else math.nan]
        return np.array([*values, *rmse.ravel()])

    def fit(self, law: AnyLaw, a: int, rows: IntArray | None = None, *, everywhere: bool = False) -> CurveFit:
        """To the points up to the split, or to all."""
        gold_K = (self.gold[a] if rows is None else self.gold[a, rows]).mean(axis=0)
        used = (self.kl > 0) & (everywhere | (self.kl <= self.split))
        if used.sum() < 2:
            return CurveFit(law=law, alpha=math.nan, beta=math.nan, gamma=math.nan, limit="none")
        return fit_curve(law, self.d[used], gold_K[used], point_weights(self.kl, self.se_AK[a], used))

    def why_not(self) -> str:
        """The reason why nothing could be held out, if so."""
        if not self.is_split:
            return "the pool is too small to fit on some n and judge on others"
        if self.split != self.wanted:
            return "too few n lie on one side of the split, so the lower 60% of the points were fitted"
        return ""

    def _rmse(self, a: int, rows: IntArray) -> list[float]:
        gold_K = self.gold[a, rows].mean(axis=0)
        choice = choose_law(self.kl, gold_K, gold_se=self.se_AK[a], laws=list(LAWS), kl_split=self.split)
        return [candidate.held_out_rmse for candidate in choice.candidates]


def _by_size(tables: StudyTables) -> list[str]:
    found = [tables.proxy(name) for name in tables.names(SCORES)]
    return [proxy.name for proxy in sorted(found, key=lambda proxy: (proxy.parameters, proxy.name))]


def _ns(tables: StudyTables) -> list[int]:
    """A grid of n with the limit of the fit and the pool itself."""
    pool, limit = tables.raw_pool(POOL).columns["gold"].shape[1], int(tables.settings["fitted_up_to"])
    steps = int(math.log2(pool) * PER_FACTOR_OF_TWO) + 1
    grid = {round(2 ** (k / PER_FACTOR_OF_TWO)) for k in range(steps)}
    return sorted({1, pool, *grid, *([limit] if limit < pool else [])})


def _gains(tables: StudyTables, proxy: str) -> FloatArray:
    """Gold (P, K) of best-of-n above that of one reply."""
    curve = best_of_n_curve(tables.scores(proxy, SCORES, POOL), tables.gold(POOL), _ns(tables))
    return np.asarray(curve - curve[:, :1])


def _gamma(study: _Study, n_prompts: int, seed: int, draws: int = 100) -> tuple[float | None, Interval]:
    """Median over proxies of the exponent fitted to all points; 0 stands for the limit of the rl law.

    An exponent has ends, 0 and 8, where the jackknife fails: prompts are resampled instead, and the interval of
    percentiles is widened as for few prompts, within the ends.
    """

    def median(rows: IntArray) -> float:
        gammas = [study.fit("power", a, rows, everywhere=True).gamma for a in range(len(study.gold))]
        return float(np.median(gammas))

    value = median(np.arange(n_prompts))
    if not math.isfinite(value):
        return None, UNKNOWN
    factor = few_units_factor(n_prompts, LEVEL)
    if math.isnan(factor):
        return value, UNKNOWN
    rng = stream(seed, "extrapolation", "gamma")
    drawn = np.array([median(rng.integers(n_prompts, size=n_prompts)) for _ in range(draws)])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size < draws * 0.9:
        return value, UNKNOWN
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ends = value + factor * (np.array([low, high]) - value)
    return value, (float(np.clip(ends[0], 0.0, value)), float(np.clip(ends[1], value, POWER_GAMMAS[1])))


def _number(found: tuple[float | None, Interval]) -> dict[str, Any]:
    return {"value": found[0], "ci": found[1]}


def _curves_figure(
    study: _Study, ns: list[int], names: Mapping[str, str], n_prompts: int, seed: int, limit: int
) -> FigureData:
    rows: list[dict[str, Any]] = []
    for a, (name, base) in enumerate(names.items()):
        rng = stream(seed, "extrapolation", "curve", name)
        for k, n in enumerate(ns):
            _, (low, high) = over_units(study.gold[a, :, k], rng) if k else (0.0, (0.0, 0.0))
            gold = float(study.gold[a, :, k].mean())
            rows.append(_point(base, n, study.d[k], "measured", gold, low, high))
        for law, form in LAWS.items():
            curve = study.fit(law, a).value(study.d)
            rows += [
                _point(base, n, study.d[k], form, float(curve[k]), None, None)
                for k, n in enumerate(ns)
                if math.isfinite(curve[k])
            ]
    return FigureData(
        name="extrapolation-curves",
        title="Gold of best-of-n, and the forms fitted on small n",
        caption=f"All forms were fitted on n ≤ {limit:,}, d ≤ {math.sqrt(study.split):.2f}; what lies to the right of "
        f"it was not seen. The band is the {LEVEL:.0%} interval over {n_prompts} prompts, of each point by itself; at "
        "the largest n a prompt counts by one reply.",
        rows=rows,
        x=Axis(field="d", title="d = √KL, √nats"),
        y=Axis(field="gold", title="gold above the base policy, sd"),
        marks=("line", "band"),
        low="low",
        high="high",
        colour=Channel(field="curve", title="curve", values=("measured", *LAWS.values())),
        panel=Channel(field="proxy", title="proxy", is_ordered=True, values=tuple(names.values())),
        reference=0.0,
    )


def _point(
    proxy: str, n: int, d: float, curve: str, gold: float, low: float | None, high: float | None
) -> dict[str, Any]:
    return {"proxy": proxy, "n": n, "d": float(d), "curve": curve, "gold": gold, "low": low, "high": high}


def _errors_figure(
    study: _Study,
    found: Mapping[str, tuple[float | None, Interval]],
    names: Mapping[str, str],
    n_prompts: int,
    limit: int,
) -> FigureData:
    rows = []
    for a, base in enumerate(names.values()):
        for law, form in LAWS.items():
            value, (low, high) = _size(found[f"{a}/{law}"])
            rows.append({"proxy": base, "form": form, "error": value, "low": low, "high": high})
    return FigureData(
        name="extrapolation-errors",
        title=f"How far each form is off beyond n = {limit:,}",
        caption="Root mean square of foretold less measured gold, over the n that were not fitted, with "
        f"{LEVEL:.0%} intervals over {n_prompts} prompts.",
        rows=rows,
        x=Axis(field="form", title="form"),
        y=Axis(field="error", title="error, sd of gold", from_zero=True),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="proxy", title="proxy", is_ordered=True, values=tuple(names.values())),
    )


def _coefficients(
    study: _Study, found: Mapping[str, tuple[float | None, Interval]], names: Mapping[str, str]
) -> TableData:
    rows = []
    for a, base in enumerate(names.values()):
        for law, form in LAWS.items():
            fit = study.fit(law, a)
            end = float(fit.value(study.d[-1:])[0])
            measured = float(study.gold[a, :, -1].mean())
            rows.append(
                {
                    "proxy": base,
                    "form": form,
                    **{name: known(getattr(fit, name)) for name in ("alpha", "beta", "gamma")},
                    "held_out": found[f"{a}/{law}"][0],
                    "held_out_ci": _size(found[f"{a}/{law}"])[1],
                    "foretold": known(end),
                    "measured": measured,
                }
            )
    return TableData(
        name="extrapolation-fits",
        title="Coefficients and held-out errors",
        columns={
            "proxy": "proxy",
            "form": "form",
            "alpha": "α",
            "beta": "β",
            "gamma": "γ",
            "held_out": "error beyond the fit, sd",
            "foretold": "foretold at the largest n, sd",
            "measured": "measured there, sd",
        },
        rows=rows,
        note="γ = 0 stands for the limit d (α − β ln d), with its α and β.",
    )


def _texts(tables: StudyTables, proxy: str, ns: list[int]) -> list[TextLadder]:
    """The best of 1, 4, 16 … of the first replies, for the smallest proxy."""
    shown = tables.raw_pool(POOL).prompt_ids[:SHOWN_PROMPTS]
    wanted = [n for n in ns if n & (n - 1) == 0 or n == ns[-1]]
    pool = tables.replies(POOL)
    pool = pool.filter(pool["prompt_id"].is_in(shown.tolist()))
    scores = tables.scores(proxy, SCORES, POOL)[:SHOWN_PROMPTS]
    name = tables.proxy(proxy).base
    return ladders_of(best_of_n_ladder(pool, {name: scores}, tables.gold_map, shown, wanted))


def _size(found: tuple[float | None, Interval]) -> tuple[float | None, Interval]:
    """An error is not negative, whatever a symmetric interval says."""
    value, (low, high) = found
    return value, (None if low is None else max(low, 0.0), high)
