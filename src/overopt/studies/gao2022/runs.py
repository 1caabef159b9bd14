"""Which runs and pools are held against each other: penalised runs and free ones, and initial policies."""

from collections.abc import Sequence
from dataclasses import dataclass

from overopt.studies.gao2022.main_proxies import free_runs, held_runs, main_proxies, reference_base
from overopt.studies.study_tables import POOL, SCORES, RunTable, StudyTables


def reference_proxy(tables: StudyTables) -> str | None:
    """The proxy of the questions that have one; ``None`` where this study did not train it."""
    base = reference_base(tables)
    if base is None:
        return None
    name = f"{base}-p{tables.settings['pairs']}-s0"
    return name if name in main_proxies(tables)[base] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalised:
    """Runs with a KL penalty beside those without one from the same seeds."""

    weight: float
    seeds: tuple[int, ...]
    held: tuple[RunTable, ...]
    """With the penalty."""
    free: tuple[RunTable, ...]
    """Without."""


def penalised_runs(tables: StudyTables, *, is_slow: bool = False) -> list[Penalised]:
    """By weight, beside free runs of the usual or the slow rate; seeds that lack one of the two are left out."""
    proxy = reference_proxy(tables)
    if proxy is None:
        return []
    free = _by_seed(free_runs(tables, proxy, is_slow=is_slow))
    found = []
    for weight, names in sorted(held_runs(tables, proxy).items()):
        held = _by_seed(names)
        seeds = tuple(seed for seed in held if seed in free)
        if seeds:
            found.append(
                Penalised(
                    weight=weight,
                    seeds=seeds,
                    held=tuple(tables.run(held[seed]) for seed in seeds),
                    free=tuple(tables.run(free[seed]) for seed in seeds),
                )
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTables:
    """Where the tables of an initial policy are."""

    model: str
    label: str
    parameters: int
    pool: str
    scores: str
    run: str
    """Name of the run against the reference proxy; it may be missing."""


def policies(tables: StudyTables) -> list[PolicyTables]:
    """The policies whose pools were scored by the reference proxy, by size."""
    proxy = reference_proxy(tables)
    if proxy is None:
        return []
    found = []
    for pool in tables.names("pools"):
        suffix = pool.removeprefix(POOL)
        scores = SCORES + suffix
        about = tables.pool_settings(pool)
        is_main = pool == POOL
        if not (is_main or about["policy"] in tables.settings["other_policies"]):
            continue
        if not tables.has(f"{scores}/{proxy}"):
            continue
        found.append(
            PolicyTables(
                model=str(about["policy"]),
                label=str(about["policy"]).rstrip("/").rpartition("/")[2],
                parameters=int(about["policy_parameters"]),
                pool=pool,
                scores=scores,
                run=f"{proxy}{suffix}-r0",
            )
        )
    return sorted(found, key=lambda policy: policy.parameters)


def several(count: int, unit: str) -> str:
    """The number with its unit.

    >>> several(1, "seed"), several(4, "seed")
    ('1 seed', '4 seeds')
    """
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _by_seed(runs: Sequence[str]) -> dict[int, str]:
    return {int(name.rpartition("-r")[2]): name for name in runs}
