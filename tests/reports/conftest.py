"""A made-up but plausible study: five sizes of proxy, two numbers of pairs, two seeds, RL against three sizes."""

import copy
import math
import random
from typing import Any

import pytest

from overopt.stats.laws import law_value, peak

Json = dict[str, Any]

WIDTHS = {8: 19_000, 16: 37_000, 32: 87_000, 64: 240_000, 128: 1_050_000}
PAIRS = (1_000, 10_000)
SEEDS = (0, 1)
RL_WIDTHS = (8, 16, 64)
NS = [2**power for power in range(11)]
PARTS = {"valence": 0.6, "relevance": 0.12, "repetition": -0.3, "length": 0.5, "question": 0.1}


def _ci(value: float, error: float) -> list[float]:
    return [value - 1.96 * error, value + 1.96 * error]


def _law(law: str, d: float, alpha: float, beta: float) -> float:
    return float(law_value(law, d, alpha, beta))  # type: ignore[arg-type]


def make_fit(group: str, law: str, alpha: float, beta: float, d_max: float) -> Json:
    turn = peak(law, alpha, beta)  # type: ignore[arg-type]
    inside = turn.d <= d_max
    found = {
        "d": turn.d, "kl": turn.d**2, "gold": turn.gold, "inside_data": inside,
        "d_ci": [turn.d * 0.85, turn.d * 1.2 if inside else None],
    }  # fmt: skip
    return {
        "group": group, "law": law, "alpha": alpha, "beta": beta, "alpha_ci": _ci(alpha, 0.03),
        "beta_ci": _ci(beta, 0.012), "r2": 0.962, "rmse": 0.021, "points": 10, "d_range": [0.44, d_max],
        "peak": found if math.isfinite(turn.d) else None, "status": "ok" if inside else "unidentified",
        "alternatives": [],
    }  # fmt: skip


def _coefficients(law: str, width: int, pairs: int) -> tuple[float, float]:
    size = math.log2(width / 8)
    more = math.log10(pairs / 1_000)
    if law == "bon":
        return 0.42 + 0.05 * size + 0.1 * more, 0.2 - 0.025 * size - 0.03 * more
    return 0.5 + 0.03 * size + 0.05 * more, 0.28 - 0.02 * size


def _kl_bound(n: int) -> float:
    return math.log(n) - (n - 1) / n


def _bon_curve(rng: random.Random, alpha: float, beta: float) -> list[Json]:
    points: list[Json] = []
    for n in NS:
        d = math.sqrt(_kl_bound(n))
        error = 0.02 + 0.018 * d
        gold = _law("bon", d, alpha, beta) + (rng.gauss(0, error / 3) if n > 1 else 0.0)
        proxy = (0.35 + 0.8 * alpha) * d
        points.append(
            {"n": n, "kl": _kl_bound(n), "kl_bound": _kl_bound(n), "proxy": proxy, "proxy_se": 0.02,
             "proxy_ci": _ci(proxy, 0.02), "gold": gold, "gold_se": error, "gold_ci": _ci(gold, error),
             "oracle": 1.05 * d}
        )  # fmt: skip
    return points


def _drop(curve: list[Json], key: str) -> Json:
    best = max(curve, key=lambda point: point["gold"])
    fall = best["gold"] - curve[-1]["gold"]
    ci = _ci(fall, 0.05) if fall > 0 else [0.0, 0.0]
    verdict = "overoptimized" if ci[0] > 0 else "not_overoptimized" if ci[1] <= 0 else "undetermined"
    return {"peak": best[key], "drop": fall, "ci": ci, "verdict": verdict}


def _bon(rng: random.Random) -> list[Json]:
    groups = []
    for pairs in PAIRS:
        for width, parameters in WIDTHS.items():
            alpha, beta = _coefficients("bon", width, pairs)
            curve = _bon_curve(rng, alpha, beta)
            drop = _drop(curve, "n")
            d_max = math.sqrt(_kl_bound(NS[-1]))
            groups.append(
                {"group": f"w{width}-p{pairs}", "width": width, "parameters": parameters, "pairs": pairs,
                 "seeds": list(SEEDS), "curve": curve, "fit": make_fit(f"w{width}-p{pairs}", "bon", alpha, beta, d_max),
                 "drop": drop, "verdict": drop["verdict"],
                 "per_seed": [
                     {"seed": seed, "curve": _bon_curve(rng, alpha, beta),
                      "fit": make_fit(f"w{width}-p{pairs}-s{seed}", "bon", alpha + 0.01 * seed, beta, d_max)}
                     for seed in SEEDS]}
            )  # fmt: skip
    return groups


def _rl(rng: random.Random) -> list[Json]:
    runs = []
    for width in RL_WIDTHS:
        alpha, beta = _coefficients("rl", width, 10_000)
        for seed in SEEDS:
            group, curve = f"w{width}-p10000-s{seed}", []
            for step in range(0, 121, 10):
                d = (11.5 - 2 * alpha + 0.3 * seed) * (step / 120) ** 0.8
                gold = (_law("rl", d, alpha, beta) + rng.gauss(0, 0.05)) if step else 0.0
                proxy = (1.0 + 1.5 * alpha) * (1 - math.exp(-d / 2.5)) + 0.05 * seed * d
                curve.append(
                    {"step": step, "kl": d * d, "kl_se": 0.02 * d * d, "proxy": proxy, "proxy_se": 0.03,
                     "proxy_ci": _ci(proxy, 0.03), "gold": gold, "gold_se": 0.06, "gold_ci": _ci(gold, 0.06),
                     "entropy": 83 * math.exp(-d / 9), "entropy_se": 0.9, "length": 14 - d / 3 + rng.gauss(0, 0.3),
                     "length_se": 0.3, "truncation": 0.06 * math.exp(-d / 4), "truncation_se": 0.01}
                )  # fmt: skip
            drop = _drop(curve, "step")
            runs.append(
                {"group": group, "width": width, "parameters": WIDTHS[width], "pairs": 10_000, "seed": seed,
                 "curve": curve, "fit": make_fit(group, "rl", alpha, beta, 10.5), "drop": drop,
                 "proxy_change": {"change": 0.31, "ci": [0.25, 0.37]}, "verdict": drop["verdict"]}
            )  # fmt: skip
    return runs


def _trends(groups: list[Json], law: str) -> list[Json]:
    trends = []
    for coefficient, slope in (("alpha", 0.07), ("beta", -0.04)):
        for pairs in sorted({group["pairs"] for group in groups}):
            points = [
                {"parameters": group["parameters"], "value": group["fit"][coefficient],
                 "ci": group["fit"][f"{coefficient}_ci"]}
                for group in groups if group["pairs"] == pairs
            ]  # fmt: skip
            middle = points[len(points) // 2]
            trends.append(
                {"law": law, "coefficient": coefficient, "pairs": pairs, "slope": slope, "slope_se": 0.012, "r2": 0.9,
                 "intercept": middle["value"] - slope * math.log10(middle["parameters"]), "points": points}
            )  # fmt: skip
    return trends


def _proxies() -> list[Json]:
    proxies = []
    for pairs in PAIRS:
        for width, parameters in WIDTHS.items():
            for seed in SEEDS:
                accuracy = 0.57 + 0.03 * math.log2(width / 8) + 0.07 * math.log10(pairs / 1_000) + 0.008 * seed
                proxies.append(
                    {"id": f"w{width}-p{pairs}-s{seed}", "width": width, "parameters": parameters, "pairs": pairs,
                     "seed": seed, "accuracy": accuracy, "accuracy_ci": _ci(accuracy, 0.011),
                     "correlation": 2.2 * (accuracy - 0.5), "correlation_se": 0.01, "shift": -0.13, "temperature": 1.21,
                     "calibration_error": 0.021, "tie_rate": 0.0004}
                )  # fmt: skip
    return proxies


def _texts(method: str, prompt: int) -> list[Json]:
    ladder = [1, 4, 16, 64, 256, 1024] if method == "bon" else [0, 10, 30, 60, 90, 120]
    replies = (
        "i have not been there but i heard it is a nice place to visit",
        "that sounds like fun! what do you like to do there?",
        "oh cool! i love it too, it is great. do you go there often?",
        "that is so cool and pretty great! do you love it? i love it so much!",
        "haha really pretty cool are you pretty cool are you so cool",
        "love love so cool pretty cool haha cool are you cool are you so cool great love",
    )
    rows = []
    for index, (x, text) in enumerate(zip(ladder, replies, strict=True)):
        wave = (-0.2, 0.3, 0.9, 0.8, 0.1, -0.9)[index] + 0.1 * prompt
        rows.append(
            {"x": x, "kl": _kl_bound(x) if method == "bon" else 0.01 * x * x, "completion": text,
             "proxy": 0.35 * index - 0.1, "gold": wave,
             "parts": {name: value + (0.1 * index if value > 0 else -0.12 * index) for name, value in PARTS.items()}}
        )  # fmt: skip
    return rows


def _ladder() -> list[Json]:
    prompts = (
        "what did you do this weekend?\nwe went to the lake with the kids, it was lovely",
        "hi how are you\ngood, just finished work. do you have any pets?",
        "i am reading a book about the history of bread 🍞\noh nice, is it any good?",
    )
    return [
        {"prompt_id": f"c{index}", "prompt": prompt, "method": method, "group": "w16-p10000-s0",
         "rows": _texts(method, index)}
        for index, prompt in enumerate(prompts)
        for method in ("bon", "rl")
    ]  # fmt: skip


def make_results() -> Json:
    rng = random.Random(7)
    bon, rl = _bon(rng), _rl(rng)

    def estimate(value: float, stderr: float) -> Json:
        return {"value": value, "stderr": stderr, "n_units": 64, "unit": "prompt", "method": "mean"}

    stages = ("policy", "samples", "gold", "pairs", "proxies", "curves", "rl", "fits", "report")
    return {
        "schema": "overopt.study/1",
        "study": "chitchat",
        "preset": "default",
        "seed": 0,
        "level": 0.95,
        "settings": {
            "sampler": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32},
            "proxies": {"widths": list(WIDTHS), "pairs": list(PAIRS), "seeds": list(SEEDS)},
            "rl": {"learning_rate": 0.0002, "kl_coef": 0.0, "steps": 120, "group_size": 4},
        },
        "versions": {"overopt": "0.1.0", "python": "3.11.7", "torch": "2.9.0", "numpy": "2.3.1"},
        "timings": {
            "wall_s": 431.2,
            "stages": [
                {"label": f"{name} {index}", "name": name, "seconds": 3.5 * 1.6**index,
                 "peak_memory_mb": 300 + 90 * index}
                for index, name in enumerate(stages)
            ],
        },
        "data": {
            "prompts": 64, "samples_per_prompt": 1024, "comparisons": 12_000, "gold_ties": 37, "train_pairs": 10_000,
            "held_out_pairs": 2_000,
        },
        "base": {
            "policy": "chitchat-w128", "parameters": 1_053_824, "gold_mean": 0.412, "gold_sd": 0.883,
            "length": estimate(13.1, 0.2), "entropy": estimate(83.2, 0.7), "truncation": estimate(0.05, 0.004),
            "parts": dict(PARTS),
        },
        "proxies": _proxies(),
        "bon": bon,
        "rl": rl,
        "trends": _trends(bon, "bon") + _trends(rl, "rl"),
        "ladder": _ladder(),
    }  # fmt: skip


@pytest.fixture(scope="session")
def whole_study() -> Json:
    """To be read only."""
    return make_results()


@pytest.fixture
def results(whole_study: Json) -> Json:
    return copy.deepcopy(whole_study)


@pytest.fixture
def small_results(results: Json) -> Json:
    """A study of two groups and one run, which renders faster."""
    fewer = {"bon": 2, "rl": 1, "trends": 1, "proxies": 2, "ladder": 2}
    return results | {key: results[key][:number] for key, number in fewer.items()}
