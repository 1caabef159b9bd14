"""The best-of-n curve with bootstrap intervals, against numpy's argsort of the scores and against big integers.

Run: python bench/bon.py          both tables, about two minutes and 3 GB
     python bench/bon.py --small  the first table at a tenth of the prompts, some seconds

First table: proxy and gold of 16 values of n from one sort, with 1,000 bootstrap intervals over prompts, beside
``numpy.argsort`` of the same proxy scores, in turns, medians. The big-integer formula C(i-1, n-1) / C(N, n) is timed
on evenly spaced ranks of one pool and scaled to all of them, with C(N, n) computed once. Memory is what numpy and
Python allocate beyond the inputs at the worst moment (tracemalloc), in a run that is not timed.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from math import comb

import numpy as np

from overopt.stats.bon import best_of_n_curves, best_of_n_weights
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means, percentile_interval

POOL, PROMPTS, DRAWS, REPEATS = 12_600, 1_000, 1_000, 5
BIG_INTEGER_N, BIG_INTEGER_RANKS = 6_144, 100
GROWTH = [(10**3, 10**2), (10**3, 10**3), (10**3, 10**4), (10**4, 10**2), (10**4, 10**3), (10**4, 10**4)]
GROWTH += [(10**5, 10**2), (10**5, 10**3), (10**6, 10**2)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the best-of-n curve.")
    parser.add_argument("--small", action="store_true", help="a tenth of the prompts and no second table")
    small = parser.parse_args().small
    _against_peers(PROMPTS // 10 if small else PROMPTS)
    if not small:
        _growth()


def _against_peers(prompts: int) -> None:
    proxy, gold = _scores(prompts, POOL)
    ns = _ns(POOL)
    ours, argsort = [], []
    for _ in range(REPEATS):
        ours.append(_seconds(lambda: _intervals(proxy, gold, ns)))
        argsort.append(_seconds(lambda: np.argsort(proxy, axis=1)))
    curve_and_intervals, one_sort = statistics.median(ours), statistics.median(argsort)
    work = _work_bytes(lambda: _intervals(proxy, gold, ns))
    big_integers = _big_integer_seconds()
    weights = statistics.median(_seconds(lambda: best_of_n_weights(POOL, BIG_INTEGER_N)) for _ in range(REPEATS))
    per_prompt_and_n = curve_and_intervals / (prompts * len(ns))

    print(
        f"N = {POOL:,} samples x {prompts:,} prompts, {len(ns)} values of n, {DRAWS:,} bootstrap draws; {REPEATS} runs"
    )
    print()
    print("| what | seconds | ratio |")
    print("|---|---:|---:|")
    print(f"| ours: proxy and gold curves with intervals | {curve_and_intervals:.3f} | |")
    print(f"| numpy.argsort of the proxy scores | {one_sort:.3f} | ours takes {curve_and_intervals / one_sort:.2f} x |")
    print(f"| big integers, weights of n = {BIG_INTEGER_N:,} (scaled) | {big_integers:.1f} | |")
    print(f"| ours, the same weights | {weights:.2e} | {big_integers / weights:,.0f} x faster |")
    print(
        f"| ours, one prompt and one n, its share of sort and intervals | {per_prompt_and_n:.2e} "
        f"| {big_integers / per_prompt_and_n:,.0f} x faster |"
    )
    print()
    print(
        f"Memory: inputs of {(proxy.nbytes + gold.nbytes) / 1e6:.0f} MB (proxy and gold), {work / 1e6:.1f} MB more at "
        f"the peak; in all {(proxy.nbytes + gold.nbytes + work) / proxy.nbytes:.2f} x one matrix of scores"
    )


def _growth() -> None:
    print()
    print(
        "| N | prompts | scores | seconds | ns a score | argsort seconds | ratio | work MB | (inputs + work) / scores |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for pool, prompts in GROWTH:
        print(_growth_row(pool, prompts), flush=True)


def _growth_row(pool: int, prompts: int) -> str:
    proxy, gold = _scores(prompts, pool)
    ns = _ns(pool)
    repeats = 3 if proxy.size <= 10**7 else 1
    ours = statistics.median(_seconds(lambda: _intervals(proxy, gold, ns)) for _ in range(repeats))
    argsort = statistics.median(_seconds(lambda: np.argsort(proxy, axis=1)) for _ in range(repeats))
    work = _work_bytes(lambda: _intervals(proxy, gold, ns))
    return (
        f"| {pool:,} | {prompts:,} | {proxy.size:.0e} | {ours:.3f} | {1e9 * ours / proxy.size:.0f} "
        f"| {argsort:.3f} | {ours / argsort:.2f} | {work / 1e6:.1f} "
        f"| {(proxy.nbytes + gold.nbytes + work) / proxy.nbytes:.2f} |"
    )


def _intervals(proxy: FloatArray, gold: FloatArray, ns: list[int]) -> FloatArray:
    """Curves of proxy and gold and their intervals over prompts; (3, 2 K): mean, low, high."""
    curves = best_of_n_curves(proxy, [proxy, gold], ns)
    both_PK = np.concatenate(list(curves), axis=1)
    low, high = percentile_interval(bootstrap_means(both_PK, DRAWS, np.random.default_rng(0)), 0.95)
    return np.stack([both_PK.mean(axis=0), low, high])


def _big_integer_seconds() -> float:
    """Seconds for all weights of one n with exact integers, from evenly spaced ranks."""
    ranks = np.linspace(BIG_INTEGER_N, POOL, BIG_INTEGER_RANKS).astype(int).tolist()
    subsets = comb(POOL, BIG_INTEGER_N)
    seconds = _seconds(lambda: [comb(rank - 1, BIG_INTEGER_N - 1) / subsets for rank in ranks])
    return seconds / len(ranks) * (POOL - BIG_INTEGER_N + 1)


def _scores(prompts: int, pool: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((prompts, pool)), rng.standard_normal((prompts, pool))


def _ns(pool: int) -> list[int]:
    """Sixteen values of n from 1 to the pool, evenly spaced in the logarithm as far as integers allow."""
    return sorted(np.unique(np.geomspace(1, pool, 16).round().astype(int)).tolist())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _work_bytes(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(peak)


if __name__ == "__main__":
    main()
