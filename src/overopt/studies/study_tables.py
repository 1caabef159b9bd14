"""The tables of a study that has questions, read once, in gold's units, for all questions alike.

Needs no torch. Gold and proxies are recalibrated as in Gao et al. 2022, section 2.2: the base policy has mean 0, gold
has standard deviation 1 on it, and proxies are scaled by cross-entropy with soft gold labels. Axes: P prompts, N
replies of a pool, K measured steps, S training seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.bon import best_of_n_record, powers_of_two
from overopt.measure.pools import IntArray, Pool, as_matrices, mean_by_prompt
from overopt.measure.reward_models import held_out_loss, proxy_recalibration, proxy_record
from overopt.measure.rl import rl_record
from overopt.records.tables import GOLD_PARTS, read_table, settings_of
from overopt.stats.calibration import Recalibration, recalibrate_gold
from overopt.stats.estimate import Estimate, FloatArray

T = TypeVar("T")

POOL = "pool"
SCORES = "scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTable:
    """A trained proxy: what it is, and how good on held-out pairs."""

    name: str
    settings: dict[str, Any]
    """``base``, ``parameters``, ``pairs``, ``labels``, ``flipped``, ``training``, ``seed`` and more."""
    pair_scores: pl.DataFrame
    loss: Estimate
    """Held-out Bradley-Terry loss with gold's own labels, nats a pair; 0.693 is chance."""

    @property
    def parameters(self) -> int:
        """Of the trained model."""
        return int(self.settings["parameters"])

    @property
    def pairs(self) -> int:
        """It was trained on."""
        return int(self.settings["pairs"])

    @property
    def base(self) -> str:
        """Short name of the model it started from."""
        return str(self.settings["base"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """A run of RL on held-out prompts; all matrices (P, K) are means over a prompt's replies at a measured step."""

    name: str
    settings: dict[str, Any]
    """Those of its first proxy, and ``rl``, ``rl_seed``, ``reference``, ``combine`` and more."""
    steps: tuple[int, ...]
    kl_PK: FloatArray
    """Exact KL of whole replies to the base policy, nats."""
    proxy_map: Recalibration
    """From raw scores to gold's units; of an ensemble only the shift, its unit is that of its members on the base."""
    base_proxy_P: FloatArray
    """The base policy's mean on each prompt; of an ensemble as measured before the first step."""
    proxy_PK: FloatArray
    """Gain over the base policy on the same prompt, recalibrated."""
    gold_PK: FloatArray
    """The same of gold."""
    entropy_PK: FloatArray
    """Of whole replies, nats."""
    length_PK: FloatArray
    """Tokens."""
    finished_PK: FloatArray
    replies: pl.DataFrame
    """Every measured reply (kind "rl_steps"), with ``gold`` and ``proxy`` raw."""
    log: pl.DataFrame
    """Of the training batches, a row a step (kind "rl_log")."""

    @property
    def d_K(self) -> FloatArray:
        """√KL at each measured step; a KL that its noise took below 0 counts as 0."""
        return np.asarray(np.sqrt(np.clip(self.kl_PK.mean(axis=0), 0.0, None)))

    def gold_at(self, d: float) -> FloatArray:
        """Gold (P,) where the run first reaches ``d``, straight between measurements; ``nan`` where it never does."""
        return _at_first(self.d_K, d, self.gold_PK)

    def proxy_at(self, d: float) -> FloatArray:
        """The same of the proxy."""
        return _at_first(self.d_K, d, self.proxy_PK)


class StudyTables:
    """Everything below ``FOLDER/tables``.

    Raises
    ------
    DataError
        Where a table that is asked for is missing or is not what its name says.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.root = folder / "tables"
        self.settings: dict[str, Any] = header["settings"]
        self.seed: int = header["seed"]
        self._runs: dict[str, dict[str, str]] = header.get("runs", {})
        self._cache: dict[tuple[object, ...], Any] = {}

    def has(self, table: str) -> bool:
        """Whether ``tables/TABLE.parquet`` is there."""
        return (self.root / f"{table}.parquet").exists()

    def names(self, folder: str) -> list[str]:
        """Tables of a folder (``pair_scores``, ``scores``, ``rl``, …), sorted."""
        return sorted(path.stem for path in (self.root / folder).glob("*.parquet"))

    @cached_property
    def preferences(self) -> pl.DataFrame:
        """Gold-labelled pairs, held-out ones among them."""
        return read_table(self.root / "preferences.parquet", "preferences")

    @cached_property
    def gold_map(self) -> Recalibration:
        """From raw gold to standard deviations on the base policy."""
        return recalibrate_gold(self.raw_pool(POOL).columns["gold"])

    def raw_pool(self, name: str = POOL) -> Pool:
        """Matrices (P, N) of a pool: gold (raw), length, finished, entropy, logprob."""
        columns = ["gold", "length", "finished", "entropy", "policy_logprob"]
        return self._once(("pool", name), lambda: as_matrices(self.replies(name), columns))

    def replies(self, name: str = POOL) -> pl.DataFrame:
        """The replies of a pool (kind "samples"), texts and parts of gold included."""
        return self._once(("replies", name), lambda: read_table(self.root / f"pools/{name}.parquet", "samples"))

    def pool_settings(self, name: str = POOL) -> dict[str, Any]:
        """Sampler, policy, engine."""
        return settings_of(self.root / f"pools/{name}.parquet", "samples")

    def gold(self, pool: str = POOL) -> FloatArray:
        """(P, N), 0 being the base policy's mean over the main pool and 1 its standard deviation."""
        return self.gold_map.apply(self.raw_pool(pool).columns["gold"])

    @property
    def prompt_ids(self) -> IntArray:
        """(P,) of the evaluation prompts."""
        return self.raw_pool().prompt_ids

    def proxies(self) -> list[ProxyTable]:
        """All proxies, by size, pairs and name."""
        found = [self.proxy(name) for name in self.names("pair_scores")]
        return sorted(found, key=lambda proxy: (proxy.parameters, proxy.pairs, proxy.name))

    def proxy(self, name: str) -> ProxyTable:
        """One proxy."""
        return self._once(("proxy", name), lambda: self._read_proxy(name))

    def proxy_map(self, name: str) -> Recalibration:
        """From a proxy's raw score to gold's units; its zero is the base policy's mean over the main pool."""
        return self._calibration(name)[0]

    def is_calibrated(self, name: str) -> bool:
        """Whether a temperature could be fitted: a proxy at chance has none."""
        return self._calibration(name)[1]

    def raw_scores(self, name: str, table: str = SCORES, pool: str = POOL) -> FloatArray:
        """(P, N) as the proxy gave them."""
        return self._once(("raw", name, table), lambda: self._read_scores(name, table, pool))

    def scores(self, name: str, table: str = SCORES, pool: str = POOL) -> FloatArray:
        """(P, N), recalibrated."""
        return self.proxy_map(name).apply(self.raw_scores(name, table, pool))

    def proxy_record(self, name: str) -> dict[str, Any]:
        """Accuracy, correlation and calibration of a proxy, as in ``results.json``."""

        def record() -> dict[str, Any]:
            of_map, is_calibrated = self._calibration(name)
            scores = self.raw_scores(name)
            return proxy_record(
                self.proxy(name).pair_scores, self.preferences, scores, self.gold(), of_map, is_calibrated
            )

        return self._once(("record", name), record)

    def best_of_n(
        self,
        names: Sequence[str],
        *,
        table: str = SCORES,
        pool: str = POOL,
        ns: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Curve, fit and drop of best-of-n over these proxies, the seeds of one kind (see ``measure.bon``)."""

        def record() -> dict[str, Any]:
            scores_SPN = np.stack([self.scores(name, table, pool) for name in names])
            gold = self.gold(pool)
            wanted = powers_of_two(gold.shape[1]) if ns is None else list(ns)
            return best_of_n_record(scores_SPN, gold, wanted, group=f"{table}/{'+'.join(names)}", seed=self.seed)

        return self._once(("bon", tuple(names), table, pool, None if ns is None else tuple(ns)), record)

    def runs(self) -> list[str]:
        """Names of the runs that are there, in the order of the plan."""
        return [name for name in self._runs if self.has(f"rl/{name}")]

    def run(self, name: str) -> RunTable:
        """A run of RL."""
        return self._once(("run", name), lambda: self._read_run(name))

    def run_record(self, name: str) -> dict[str, Any]:
        """Curve, fit, drop and verdict of a run (see ``measure.rl``)."""

        def record() -> dict[str, Any]:
            run, where = self.run(name), self.origin(name)
            return rl_record(
                run.replies,
                prompt_ids=self.raw_pool(where["pool"]).prompt_ids,
                proxy_map=run.proxy_map,
                gold_map=self.gold_map,
                base_proxy=run.base_proxy_P,
                base_gold=self.gold(where["pool"]).mean(axis=1),
                group=name,
                seed=self.seed,
            )

        return self._once(("run_record", name), record)

    def origin(self, run: str) -> dict[str, str]:
        """Names: the ``proxy`` of a run, the ``pool`` of the policy it started from, and that pool's ``scores``.

        Raises
        ------
        DataError
            If the study has no such run.
        """
        if run not in self._runs:
            raise DataError(f"the study has no run {run}; it has {', '.join(self._runs) or 'none'}")
        found: dict[str, str] = self._runs[run]
        return found

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        if key not in self._cache:
            self._cache[key] = make()
        found: T = self._cache[key]
        return found

    def _read_proxy(self, name: str) -> ProxyTable:
        path = self.root / f"pair_scores/{name}.parquet"
        pair_scores = read_table(path, "pair_scores")
        return ProxyTable(
            name=name,
            settings=settings_of(path, "pair_scores"),
            pair_scores=pair_scores,
            loss=held_out_loss(pair_scores),
        )

    def _calibration(self, name: str) -> tuple[Recalibration, bool]:
        return self._once(
            ("map", name),
            lambda: proxy_recalibration(
                self.proxy(name).pair_scores, self.preferences, self.raw_scores(name), self.gold_map.scale
            ),
        )

    def _read_scores(self, name: str, table: str, pool: str) -> FloatArray:
        path = self.root / table / f"{name}.parquet"
        found = as_matrices(read_table(path, "scores"), ["proxy"])
        of = self.raw_pool(pool)
        if found.columns["proxy"].shape != of.columns["gold"].shape or (found.prompt_ids != of.prompt_ids).any():
            raise DataError(f"{path} does not score the samples of pools/{pool}.parquet")
        return found.columns["proxy"]

    def _read_run(self, name: str) -> RunTable:
        where = self.origin(name)
        path = self.root / f"rl/{name}.parquet"
        table = read_table(path, "rl_steps")
        steps = sorted(table["step"].unique().to_list())
        ids = self.raw_pool(where["pool"]).prompt_ids
        by_step = [table.filter(pl.col("step") == step) for step in steps]

        def matrix(column: str) -> FloatArray:
            return np.stack([mean_by_prompt(frame, column, ids) for frame in by_step], axis=1)

        settings = settings_of(path, "rl_steps")
        raw_PK = matrix("proxy")
        if settings["combine"] == "single":
            proxy_map = self.proxy_map(where["proxy"])
            base_proxy = self.scores(where["proxy"], where["scores"], where["pool"]).mean(axis=1)
        else:
            # An ensemble's score has a unit of its own: standard deviations of its members on the base policy.
            proxy_map = Recalibration(shift=float(raw_PK[:, 0].mean()))
            base_proxy = proxy_map.apply(raw_PK[:, 0])
        base_gold = self.gold(where["pool"]).mean(axis=1)
        return RunTable(
            name=name,
            settings=settings,
            steps=tuple(steps),
            kl_PK=matrix("kl"),
            proxy_map=proxy_map,
            base_proxy_P=base_proxy,
            proxy_PK=proxy_map.apply(raw_PK) - base_proxy[:, None],
            gold_PK=self.gold_map.apply(matrix("gold")) - base_gold[:, None],
            entropy_PK=matrix("entropy"),
            length_PK=matrix("length"),
            finished_PK=matrix("finished"),
            replies=table,
            log=read_table(self.root / f"logs/{name}.parquet", "rl_log"),
        )


def has_parts(replies: pl.DataFrame) -> bool:
    """Whether gold is the rubric, whose parts are known."""
    return all(column in replies.columns and replies[column].null_count() == 0 for column in GOLD_PARTS.values())


def _at_first(d_K: FloatArray, d: float, values_PK: FloatArray) -> FloatArray:
    """Values (P,) where the curve of distances first reaches ``d``, straight between the two measurements around it."""
    beyond = np.flatnonzero(d_K >= d)
    if not beyond.size:
        return np.full(len(values_PK), np.nan)
    k = int(beyond[0])
    if k == 0:
        return values_PK[:, 0]
    share = (d - d_K[k - 1]) / (d_K[k] - d_K[k - 1])
    return np.asarray(values_PK[:, k - 1] + share * (values_PK[:, k] - values_PK[:, k - 1]))
