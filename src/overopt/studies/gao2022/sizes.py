"""Larger proxies: gold against distance, and whether the laws' coefficients tell of a size that was not trained.

Gao et al. 2022, figures 1, 3 and 16.
"""

import math

import numpy as np

from overopt.records.answers import Answer, Claim, Published
from overopt.seeding import stream
from overopt.stats.joint import SharedFit
from overopt.stats.laws import law_value
from overopt.studies.claims import UNKNOWN, over_units, slope_over_sizes
from overopt.studies.gao2022.coefficients import gold_gains, is_usable, largest_n
from overopt.studies.gao2022.equality import what_equal_takes
from overopt.studies.gao2022.size_curves import (
    QUANTITIES,
    LeftOut,
    Size,
    each_left_out,
    peaks,
    predicted_at,
    read_sizes,
    with_coefficient,
)  # fmt: skip
from overopt.studies.gao2022.size_figures import (
    coefficient_figure,
    gold_figures,
    kl_figure,
    left_out_table,
    peak_figure,
    verdict_table,
)  # fmt: skip
from overopt.studies.study_tables import StudyTables

MARGIN = 0.1
FIGURE_3 = "Gao et al. 2022, figure 3"


def answer(tables: StudyTables) -> Answer:
    """Curves and coefficients by size, and each size predicted from the others."""
    sizes, shared = read_sizes(tables)
    predicted = {name: each_left_out(sizes, name) for name in QUANTITIES}
    largest = _largest_predicted(tables, sizes, predicted)
    sharing = (
        "No run is long enough for the law of RL."
        if shared is None
        else f"The law of RL is fitted to all runs with one α = {shared.alpha:.3f}, as in the paper"
        + (
            f"; an F test of one α against one each has p = {shared.p_value:.2g}."
            if shared.tenable is not None
            else "."
        )
    )
    return Answer(
        id="sizes",
        title="Proxy size",
        question="Does a larger proxy give more gold, and do smaller ones tell how much?",
        how=(
            "Proxies of all sizes learnt from the same gold-labelled pairs. Best-of-n: unbiased over a pool of "
            f"{largest_n(tables):,} replies to each held-out prompt, at d from KL = ln n − (n − 1)/n, fitted by "
            "R = d(α − βd) with errors from resampling prompts and seeds. PPO without a penalty, one run a proxy, at "
            f"the measured KL, fitted by R = d(α − β ln d). {sharing} Trends are straight lines in the logarithm of "
            "the parameters. Fits that explain less than nine tenths of a curve which they certainly miss are left out "
            "of trends; fits whose peak lies beyond the data stay in, since leaving them out would drop small betas "
            f"alone. {_misfits(sizes, shared)} To test a trend, each size in turn is left out and predicted from the "
            "others."
        ),
        claims=[
            largest,
            _largest_against_smallest(tables, sizes),
            _slope(sizes, "alpha_bon", "above", "rises with the logarithm of the proxy's size"),
            _slope(sizes, "beta_bon", "below", "falls with the logarithm of the proxy's size"),
            _slope(sizes, "beta_rl", "below", "falls with the logarithm of the proxy's size, at one α for all"),
            _peak_slope(sizes),
        ],
        figures=[
            *gold_figures(tables, sizes, shared),
            *coefficient_figure(sizes, predicted),
            *peak_figure(sizes, shared),
            *kl_figure(tables, sizes),
        ],
        tables=[verdict_table(tables, sizes), *left_out_table(sizes, predicted)],
        caveats=[
            *_trained_once(sizes),
            "All sizes are judged on the same prompts: errors of prompts are common to all and are no scatter.",
            f"The largest proxy has {_span(sizes):.0f} times the parameters of the smallest; in the paper 1,000.",
            *what_equal_takes(largest, "The difference of the largest proxy from its prediction"),
        ],
    )


def _largest_predicted(tables: StudyTables, sizes: list[Size], predicted: dict[str, list[LeftOut]]) -> Claim:
    largest, smaller = sizes[-1], [size for size in sizes[:-1] if is_usable(size.bon["fit"])]
    value, ci = None, UNKNOWN
    if len(smaller) >= 2:
        last = largest.bon["curve"][-1]
        d = np.array(math.sqrt(last["kl_bound"]))
        # Gold at one d is linear in alpha and beta, so its trend is what the trends of both say of it.
        gold = [float(law_value("bon", d, s.bon["fit"]["alpha"], s.bon["fit"]["beta"])) for s in smaller]
        low, expected, high = predicted_at(smaller, gold, largest)
        value = last["gold"] - expected
        if low is not None and high is not None:
            ci = (last["gold"] - high, last["gold"] - low)
    tested = [left.is_held for found in predicted.values() for left in found if left.is_held is not None]
    return Claim(
        id="sizes-largest-predicted",
        what=f"gold of the largest proxy at the largest n less what the smaller ones predict, equal within {MARGIN} sd",
        value=value,
        ci=ci,
        counted=f"prediction of one new proxy from {len(smaller)} smaller sizes about their trend",
        unit="sd",
        margin=MARGIN,
        sentences={
            "above": "The largest proxy yields more gold than the smaller ones predict, by {size} {ci}.",
            "below": "The largest proxy yields less gold than the smaller ones predict, by {size} {ci}.",
            "equal": f"The smaller proxies predict the gold of the largest within {MARGIN} sd: it differs by {{value}} "
            "{ci}.",
            "open": "Whether the smaller proxies predict the gold of the largest is not decided: it differs by {value} "
            "{ci}.",
        },
        published=Published(
            finding="coefficients follow the logarithm of the size smoothly enough to predict gold",
            source=FIGURE_3,
            outcomes=("equal",),
        ),
        note=(
            f"each size left out in turn: {sum(tested)} of {len(tested)} coefficients lie in their 95 % prediction "
            "interval"
            if tested
            else "fewer than four sizes have a usable fit"
        ),
    )


def _largest_against_smallest(tables: StudyTables, sizes: list[Size]) -> Claim:
    value, ci, n = None, UNKNOWN, largest_n(tables)
    if len(sizes) > 1:
        difference = gold_gains(tables, sizes[-1].names).mean(axis=0) - gold_gains(tables, sizes[0].names).mean(axis=0)
        value, ci = over_units(difference, stream(tables.seed, "sizes", "largest against smallest"))
    return Claim(
        id="sizes-gold",
        what=f"gold of the largest proxy less that of the smallest at n = {n:,}",
        value=value,
        ci=ci,
        counted=f"{len(tables.prompt_ids)} prompts, seeds of a size averaged",
        unit="sd",
        sentences={
            "above": f"At n = {n:,} the largest proxy yields {{size}} {{ci}} more gold than the smallest.",
            "below": f"At n = {n:,} the largest proxy yields {{size}} {{ci}} less gold than the smallest.",
            "open": f"Whether the largest proxy yields more gold than the smallest at n = {n:,} is not decided: "
            "{value} {ci}.",
        },
        published=Published(
            finding="larger proxies reach more gold", source="Gao et al. 2022, figure 1", outcomes=("above",)
        ),
        note="" if len(sizes) > 1 else "there is one size",
    )


def _slope(sizes: list[Size], quantity: str, expected: str, finding: str) -> Claim:
    known, values = with_coefficient(sizes, quantity)
    value, ci = slope_over_sizes([size.parameters for size in known], values) if known else (None, UNKNOWN)
    name = QUANTITIES[quantity]
    missing = f"{len(sizes) - len(known)} of {len(sizes)} sizes have no usable fit" if len(known) < len(sizes) else ""
    return Claim(
        id=f"sizes-{quantity.replace('_', '-')}",
        what=f"change of {name}, for ten times the parameters",
        value=value,
        ci=ci,
        counted=f"{len(known)} sizes about a straight line",
        digits=3,
        sentences={
            "above": f"{name}, rises by {{size}} {{ci}} for ten times the parameters.",
            "below": f"{name}, falls by {{size}} {{ci}} for ten times the parameters.",
            "open": f"Whether {name}, changes with the proxy's size is not decided: {{value}} {{ci}} for ten times the "
            "parameters.",
        },
        published=Published(
            finding=f"{name.partition(',')[0]} {finding}",
            source=FIGURE_3,
            outcomes=("above",) if expected == "above" else ("below",),
        ),
        note="; ".join(note for note in (missing, "fewer than three sizes are left" if len(known) < 3 else "") if note),
    )


def _peak_slope(sizes: list[Size]) -> Claim:
    found = peaks(sizes)
    logs = [math.log10(peak["kl"]) for _, peak in found]
    value, ci = slope_over_sizes([size.parameters for size, _ in found], logs) if found else (None, UNKNOWN)
    inside = sum(peak["inside_data"] for _, peak in found)
    return Claim(
        id="sizes-peak-kl",
        what="exponent of the KL at which best-of-n peaks, against the parameters",
        value=value,
        ci=ci,
        counted=f"{len(found)} sizes about a straight line of logarithms",
        sentences={
            "above": "The KL at which best-of-n peaks grows with the parameters to the power {value} {ci}.",
            "below": "The KL at which best-of-n peaks shrinks with the parameters, to the power {value} {ci}.",
            "open": "Whether the KL at which best-of-n peaks grows with size is not decided: exponent {value} {ci}.",
        },
        published=Published(
            finding="the fitted peak moves to larger KL with size, from about 4 to 13 nats (our reading of figure 3)",
            source=FIGURE_3,
            outcomes=("above",),
        ),
        note=f"the fits of {len(sizes) - len(found)} of {len(sizes)} sizes are unusable or have no peak; "
        f"{inside} of {len(found)} peaks lie inside the data",
    )


def _misfits(sizes: list[Size], shared: SharedFit | None) -> str:
    """How many fits certainly leave their curve."""
    statuses = [size.bon["fit"]["status"] for size in sizes]
    runs = [] if shared is None else [fit.status for fit in shared.fits]
    return (
        f"A law certainly misses {statuses.count('poor_fit')} of {len(statuses)} curves of best-of-n and "
        f"{runs.count('poor_fit')} of {len(runs)} of PPO."
    )


def _trained_once(sizes: list[Size]) -> list[str]:
    alone = [size.base for size in sizes if len(size.names) == 1]
    if not alone:
        return []
    return [f"Trained once: {', '.join(alone)}. The luck of these proxies counts as scatter about the trend."]


def _span(sizes: list[Size]) -> float:
    parameters = [size.parameters for size in sizes]
    return max(parameters) / min(parameters) if parameters else 1.0
