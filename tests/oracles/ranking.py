"""Slow reference code for ranking and calibration: double loops over pairs, no shared code, no numpy."""

import math


def auroc(scores, labels):
    """Share of (good, bad) pairs in the right order, ties half; None without both kinds."""
    good = [s for s, y in zip(scores, labels, strict=True) if y]
    bad = [s for s, y in zip(scores, labels, strict=True) if not y]
    wins = [_wins(g, b) for g in good for b in bad]
    return sum(wins) / len(wins) if wins else None


def delong_stderr(scores, labels):
    """Root of the variances of the structural components over their numbers (at least two of each kind)."""
    good = [s for s, y in zip(scores, labels, strict=True) if y]
    bad = [s for s, y in zip(scores, labels, strict=True) if not y]
    of_good = [sum(_wins(g, b) for b in bad) / len(bad) for g in good]
    of_bad = [sum(_wins(g, b) for g in good) / len(good) for b in bad]
    return math.sqrt(_variance(of_good) / len(good) + _variance(of_bad) / len(bad))


def clustered_auroc_stderr(scores, labels, prompts):
    """Sums of centred structural components by prompt."""
    good = [s for s, y in zip(scores, labels, strict=True) if y]
    bad = [s for s, y in zip(scores, labels, strict=True) if not y]
    area = auroc(scores, labels)
    by_prompt = {}
    for s, y, prompt in zip(scores, labels, prompts, strict=True):
        if y:
            part = (sum(_wins(s, b) for b in bad) / len(bad) - area) / len(good)
        else:
            part = (sum(_wins(g, s) for g in good) / len(good) - area) / len(bad)
        by_prompt[prompt] = by_prompt.get(prompt, 0.0) + part
    units = len(by_prompt)
    return math.sqrt(units / (units - 1) * sum(v * v for v in by_prompt.values()))


def ratio_stderr(tops, bottoms, prompts):
    """Linearised error of sum(tops) / sum(bottoms) over prompts."""
    ratio = sum(tops) / sum(bottoms)
    residual = {}
    for top, bottom, prompt in zip(tops, bottoms, prompts, strict=True):
        residual[prompt] = residual.get(prompt, 0.0) + top - ratio * bottom
    units = len(residual)
    return math.sqrt(units / (units - 1) * sum(r * r for r in residual.values())) / abs(sum(bottoms))


def isotonic(forecasts, outcomes):
    """Increasing least-squares recalibration by the max-min formula, equal forecasts sharing one value."""
    levels = sorted(set(forecasts))
    groups = [[y for f, y in zip(forecasts, outcomes, strict=True) if f == level] for level in levels]

    def mean(a, b):
        values = [y for group in groups[a : b + 1] for y in group]
        return sum(values) / len(values)

    fitted = {
        level: max(min(mean(a, b) for b in range(i, len(groups))) for a in range(i + 1))
        for i, level in enumerate(levels)
    }
    return [fitted[f] for f in forecasts]


def _wins(a, b):
    return 1.0 if a > b else 0.5 if a == b else 0.0


def _variance(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1)
