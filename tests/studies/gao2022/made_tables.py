"""A made-up study whose truth is known: ``StudyTables`` reads it as it reads a real one.

The law of best-of-n is exact. Each proxy ranks replies by a u that is uniform on (0, 1), and E[gold | u] is a function
f for which the best of n has E[gold] = d (alpha - beta d), d² = ln n - (n - 1)/n. Every proxy gets its own law for the
same gold: given a reply's gold noise e, u has the density 1 + sign(e) f(u) / E|e| (Sarmanov 1966), so proxies differ
only in what they make of e. Runs of RL have the KL, gold and proxy that :class:`Truth` gives them, plus noise.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import lsq_linear
from scipy.special import ndtri

from overopt.records.tables import write_table
from overopt.seeding import stream
from overopt.stats.bon import kl_bound
from overopt.studies.gao2022.config import GaoConfig
from overopt.studies.study import resolved
from overopt.studies.study_tables import StudyTables

WIDTHS = {"w8": 18_000, "w16": 37_000, "w32": 80_000, "w64": 280_000, "w128": 900_000, "w224": 2_600_000}
GOLD_MEAN, GOLD_SD = 2.0, 1.5
"""Raw gold of the base policy, so that no answer can do without recalibration."""
PROMPT_SD = 0.5
"""Of prompts' mean gold, the noise of one reply being 1."""
UNIT = math.sqrt(1 + PROMPT_SD**2)
"""Standard deviation of gold on the base policy, in those units."""
WORDS = (
    "i", "like", "to", "talk", "about", "the", "weather", "music", "films", "books", "food", "sport", "and", "what",
    "you", "did", "today", "with", "friends",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ProxyTruth:
    """Of one proxy, in standard deviations of gold."""

    alpha: float = 0.6
    beta: float = 0.2
    confidence: float = 1.0
    """Factor on its raw scores: it moves the held-out loss and the temperature, never the order of replies."""


@dataclass(frozen=True, kw_only=True)
class RunTruth:
    """Means at the measured steps (K,), as gains over the base policy in standard deviations of gold."""

    steps: Sequence[int]
    kl: Sequence[float]
    gold: Sequence[float]
    proxy: Sequence[float]


def rl_law(alpha: float, beta: float, *, steps: Sequence[int] = tuple(range(0, 41, 4)), d_max: float = 3.0) -> RunTruth:
    """d grows in proportion to the step, gold is d (alpha - beta ln d), the proxy 0.8 d."""
    d = d_max * np.asarray(steps, dtype=np.float64) / max(steps)
    safe = np.where(d > 0, d, 1.0)
    return RunTruth(
        steps=steps, kl=(d**2).tolist(), gold=(d * (alpha - beta * np.log(safe))).tolist(), proxy=(0.8 * d).tolist()
    )


def usual_proxy(parameters: int, pairs: int, kind: str, seed: int) -> ProxyTruth:
    """Alpha grows and beta falls with ln size; fewer pairs and worse labels lower alpha. ``kind``: as in the name."""
    size = math.log10(parameters / 18_000)
    data = min(1.0, 0.6 + 0.4 * math.log10(max(pairs, 50) / 50) / math.log10(8_000 / 50))
    worse = {"sampled": 0.9, "flip10": 0.85, "flip25": 0.6}.get(kind, 1.0)
    return ProxyTruth(alpha=(0.46 + 0.04 * size) * data * worse, beta=0.17 - 0.025 * size)


def usual_run(name: str, parameters: int, penalty: float) -> RunTruth:
    """Beta falls with ln size; a penalty stops d early and changes nothing else."""
    size = math.log10(parameters / 18_000)
    return rl_law(0.45, 0.3 - 0.06 * size, d_max=3.0 / (1 + 4 * penalty))


SMALL = GaoConfig(
    comparisons=9_600, proxy_seeds=1, prompts=64, pool=256, other_pool=64, large_prompts=8, large_pool=2_048,
    fewer_pairs=(250, 1_000, 2_000), data_proxies=("chitchat-w8", "chitchat-w16", "chitchat-w32"),
    penalties=(0.15,), penalty_seeds=4, other_policies=("chitchat-w128", "chitchat-w224"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a study is made from; ``dataclasses.replace`` changes a part."""

    config: GaoConfig = field(default_factory=lambda: SMALL)
    proxy: Callable[[int, int, str, int], ProxyTruth] = usual_proxy
    """parameters, pairs, kind ("", "soft", "sampled", "flip25", "e4", "round2"), seed → truth."""
    run: Callable[[str, int, float], RunTruth] = usual_run
    """name, parameters of the proxy, penalty → truth."""
    gold_noise: float = 0.5
    """Of one reply in a run, in the base policy's noise of one reply."""
    distance: Callable[[str], tuple[float, float]] = lambda run: (1.0, 2.0)
    """Of a penalised run: mean KL to the stopped policy and to the start, nats."""
    seed_distance: float = 1.5
    """Of a penalised run: mean KL to that of the next seed, nats."""
    has_parts: bool = True
    """Whether gold is the rubric, whose parts are known; of any other gold they are null."""
    held_out: int = 960
    seed: int = 0


PARTS = ("sizes", "data", "policies", "penalties", "extrapolation", "epochs", "labels", "rounds")


def made_study(folder: Path, truth: Truth | None = None, *, parts: Sequence[str] = PARTS) -> StudyTables:
    """Write the tables of the parts that a test needs (``PARTS`` as in the plan) and open them."""
    study = MadeStudy(folder, truth or Truth())
    for part in parts:
        getattr(study, part)()
    study.save()
    return study.tables


class MadeStudy:
    """Writes tables one by one, for tests that need other ones than the plan's."""

    def __init__(self, folder: Path, truth: Truth) -> None:
        self.truth, self.config = truth, truth.config
        self.runs: dict[str, dict[str, str]] = {}
        self.header = {
            "study": "gao2022", "preset": "made", "seed": truth.seed, "settings": resolved(truth.config),
            "runs": self.runs,
        }  # fmt: skip
        self.folder = folder
        self.tables = StudyTables(folder, self.header)
        self.root = self.tables.root
        for name in ("pools", "scores", "pair_scores", "rl", "logs", "distances", "seed_distances"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.noise: dict[str, np.ndarray] = {}
        self.first_id = self.config.comparisons
        self._write_prompts()
        self._write_pairs()
        self.pool("pool", self.config.pool)

    def save(self) -> None:
        """Write ``study.json``, for readers of the folder; ``tables`` knows all without it."""
        (self.folder / "study.json").write_text(json.dumps(self.header), encoding="utf-8")

    # The parts of the plan.

    def sizes(self) -> None:
        for base in self.config.proxies:
            for number in self.config.seeds(base):
                name = self.proxy(short(base), self.config.pairs, number)
                self.run(f"{name}-r{number}", name)

    def data(self) -> None:
        for base in self.config.data_proxies:
            for pairs in self.config.fewer_pairs:
                self.proxy(short(base), pairs, 0)

    def policies(self) -> None:
        name = self.proxy(short(self.config.reference_proxy), self.config.pairs, 0)
        self.run(f"{name}-r0", name)
        for other in self.config.other_policies:
            self.pool(f"pool-{short(other)}", self.config.other_pool)
            self.scores(name, f"scores-{short(other)}", f"pool-{short(other)}")
            self.run(f"{name}-{short(other)}-r0", name, policy=other)

    def penalties(self) -> None:
        name = self.proxy(short(self.config.reference_proxy), self.config.pairs, 0)
        for number in range(self.config.penalty_seeds):
            self.run(f"{name}-r{number}", name)
            self.run(f"{name}-slow-r{number}", name)
            for penalty in self.config.penalties:
                held = self.run(f"{name}-kl{penalty:g}-r{number}", name, penalty=penalty)
                if penalty == self.config.compared_penalty:
                    self.distances(held, "distances", *self.truth.distance(held))
                    if self.config.penalty_seeds > 1:
                        self.distances(held, "seed_distances", self.truth.seed_distance, 2.0)

    def extrapolation(self) -> None:
        self.pool("pool-large", self.config.large_pool, prompts=self.config.large_prompts)
        for base in self.config.large_proxies:
            self.scores(self.proxy(short(base), self.config.pairs, 0), "scores-large", "pool-large")

    def epochs(self) -> None:
        base, few = short(self.config.reference_proxy), self.config.epochs_pairs
        for number in range(self.config.epochs_seeds):
            for pairs, epochs in ((few, 1), (few * self.config.epochs, 1), (few, self.config.epochs)):
                self.proxy(base, pairs, number, kind=f"e{epochs}", epochs=epochs, is_scored=False)

    def labels(self) -> None:
        base = short(self.config.reference_proxy)
        flips = {f"flip{round(100 * rate)}": {"kind": "hard", "flip_rate": rate} for rate in self.config.flip_rates}
        kinds = {"": HARD, "sampled": HARD | {"kind": "sampled"}, "soft": HARD | {"kind": "soft"}, **flips}
        for kind, labels in kinds.items():
            for number in range(self.config.label_seeds):
                self.proxy(base, self.config.pairs, number, kind=kind, labels=labels)

    def rounds(self) -> None:
        config, base = self.config, short(self.config.reference_proxy)
        for number in range(config.round_seeds):
            for k in range(1, config.rounds + 1):
                proxy = self.proxy(base, config.round_pairs * k, number, kind=f"round{k}")
                if k == 1:
                    self.run(f"single-s{number}", proxy)
                self.run(f"round{k}-s{number}", proxy)
            self.run(f"at-once-s{number}", self.proxy(base, config.pairs, number))

    # One table each.

    def pool(self, name: str, per_prompt: int, *, prompts: int | None = None) -> None:
        """A pool of the base policy, or of another with the same gold, with gold from a prompt's mean and noise e."""
        count = prompts or self.config.prompts
        rng = self._rng("pool", name)
        e = rng.standard_normal((count, per_prompt))
        self.noise[name] = e
        gold = GOLD_MEAN + GOLD_SD * (self._prompt_means(count)[:, None] + e)
        frame = self._replies(rng, count, per_prompt, gold.ravel(), np.zeros(e.size))
        names = {f"pool-{short(model)}": model for model in self.config.other_policies}
        policy = names.get(name, self.config.policy)
        settings = {
            "policy": policy, "policy_parameters": WIDTHS[short(policy)], "policy_held_out_nats_per_token": 3.7,
            "seed": self.truth.seed, "engine": "made", "sampler": resolved(self.config)["sampler"],
        }  # fmt: skip
        write_table(frame, self.root / f"pools/{name}.parquet", "samples", settings)

    def proxy(
        self,
        base: str,
        pairs: int,
        number: int,
        *,
        kind: str = "",
        epochs: int | None = None,
        labels: dict[str, Any] | None = None,
        is_scored: bool = True,
    ) -> str:
        """The name of a proxy, written once."""
        name = "-".join([base, f"p{pairs}", *([kind] if kind else []), f"s{number}"])
        path = self.root / f"pair_scores/{name}.parquet"
        if not path.exists():
            truth = self.truth.proxy(WIDTHS[base], pairs, kind, number)
            rng = self._rng("pairs", name)
            e = np.stack([self.pair_noise[0], self.pair_noise[1]])
            score = _scores_of(e, truth, rng)
            frame = pl.DataFrame({"pair_id": self.pair_ids, "score_chosen": score[0], "score_rejected": score[1]})
            training = resolved(self.config)["reward_training"] | ({} if epochs is None else {"epochs": epochs})
            labels = labels or HARD
            settings = {
                "width": int(base[1:]), "base": base, "parameters": WIDTHS[base], "pairs": pairs, "seed": number,
                "labels": labels, "flipped": round(labels["flip_rate"] * pairs), "training": training,
            }  # fmt: skip
            write_table(frame, path, "pair_scores", settings)
        if is_scored and not (self.root / f"scores/{name}.parquet").exists():
            self.scores(name, "scores", "pool")
        return name

    def scores(self, proxy: str, table: str, pool: str) -> None:
        """The proxy's raw scores of a pool; they differ between prompts, as real ones do."""
        path = self.root / f"{table}/{proxy}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = self.tables.proxy(proxy).settings
        kind = _kind_of(proxy)
        truth = self.truth.proxy(settings["parameters"], settings["pairs"], kind, settings["seed"])
        rng = self._rng("scores", proxy, pool)
        e = self.noise[pool]
        score = 0.3 + _scores_of(e, truth, rng) + 0.2 * self._prompt_means(len(e))[:, None]
        ids, samples = self._ids(*e.shape)
        frame = pl.DataFrame({"prompt_id": ids, "sample_id": samples, "proxy": score.ravel()})
        write_table(frame, path, "scores", {})

    def run(self, name: str, proxy: str, *, penalty: float = 0.0, policy: str | None = None) -> str:
        """A run's measured replies and its log, written once."""
        path = self.root / f"rl/{name}.parquet"
        if path.exists():
            return name
        settings = self.tables.proxy(proxy).settings
        truth = self.truth.run(name, settings["parameters"], penalty)
        count, replies = self.config.prompts, self.config.rl_replies
        pool, table = "pool", "scores"
        if policy is not None:
            pool, table = f"pool-{short(policy)}", f"scores-{short(policy)}"
        self.runs[name] = {"proxy": proxy, "pool": pool, "scores": table}
        rng = self._rng("run", name)
        proxy_map, base = self.tables.proxy_map(proxy), self.tables.raw_scores(proxy, table, pool).mean(axis=1)
        frames = []
        for k, step in enumerate(truth.steps):
            noise = self.truth.gold_noise * rng.standard_normal((count, replies))
            gold = GOLD_MEAN + GOLD_SD * (self._prompt_means(count)[:, None] + UNIT * truth.gold[k] + noise)
            spread = 0.3 * rng.standard_normal((count, replies))
            raw = base[:, None] + (truth.proxy[k] + spread) / proxy_map.temperature
            kl = truth.kl[k] * rng.gamma(20, 1 / 20, count * replies)
            frame = self._replies(rng, count, replies, gold.ravel(), kl)
            frames.append(frame.with_columns(step=pl.lit(step), proxy=pl.Series(raw.ravel())))
        rl = resolved(self.config)["rl"] | {"kl_coef": penalty, "steps": max(truth.steps)}
        rl["learning_rate"] *= self.config.slow_rate if "-slow-" in name else 1
        more = {"rl": rl, "rl_seed": name.rpartition("-")[2], "reference": policy or self.config.policy}
        more |= {"combine": "single", "coefficient": None, "proxies": 1}
        write_table(pl.concat(frames), path, "rl_steps", settings | more)
        steps = np.arange(1, max(truth.steps) + 1)
        names = ("kl", "proxy", "gold")
        at = {n: np.interp(steps, truth.steps, getattr(truth, n)) for n in names}
        log = {
            "step": steps, "reward": at["proxy"], "shaped": at["proxy"], "kl": at["kl"], "k3": at["kl"],
            "entropy": 60 - 2 * np.sqrt(at["kl"]), "length": 20.0, "truncated": 0.05, "kl_coef": penalty,
            "clip_fraction": 0.02, "gradient_norm": 1.0, "value_error": 0.5,
        }  # fmt: skip
        write_table(pl.DataFrame(log), self.root / f"logs/{name}.parquet", "rl_log", settings | more)
        return name

    def distances(self, run: str, folder: str, to_other: float, to_start: float) -> None:
        """KL between the last policy of the penalised run and another one."""
        count, replies = self.config.prompts, self.config.rl_replies
        rng = self._rng(folder, run)
        frames = []
        for policy in ("first", "second"):
            ids, samples = self._ids(count, replies)
            frames.append(
                pl.DataFrame(
                    {
                        "policy": policy, "step": self.config.rl.steps, "prompt_id": ids, "sample_id": samples,
                        "kl_to_other": to_other * rng.gamma(20, 1 / 20, count * replies),
                        "kl_to_start": to_start * rng.gamma(20, 1 / 20, count * replies),
                    }
                )
            )  # fmt: skip
        write_table(pl.concat(frames), self.root / f"{folder}/{run}.parquet", "policy_distances", {})

    # What they share.

    def _rng(self, *names: str) -> np.random.Generator:
        return stream(self.truth.seed, "made", *names)

    def _prompt_means(self, count: int) -> np.ndarray:
        """(P,) with the same spread whatever the number of prompts."""
        place = ndtri((np.arange(count) + 0.5) / count)
        order = np.random.default_rng(0).permutation(count)
        return np.asarray(PROMPT_SD * (place / place.std())[order])

    def _ids(self, count: int, replies: int) -> tuple[np.ndarray, np.ndarray]:
        return self.first_id + np.repeat(np.arange(count), replies), np.tile(np.arange(replies), count)

    def _replies(
        self, rng: np.random.Generator, count: int, replies: int, gold: np.ndarray, kl: np.ndarray
    ) -> pl.DataFrame:
        """Rows with a text, its numbers and gold; the parts of gold are valence alone."""
        ids, samples = self._ids(count, replies)
        length = rng.integers(4, 16, count * replies)
        starts = rng.integers(len(WORDS), size=count * replies)
        doubled = WORDS * 3
        texts = [" ".join(doubled[s : s + n]) for s, n in zip(starts.tolist(), length.tolist(), strict=True)]
        zero = np.zeros(count * replies)
        logprob = -3.0 * length - kl
        parts = {"valence": gold} | dict.fromkeys(("relevance", "repetition", "length_part", "question"), zero)
        if not self.truth.has_parts:
            parts = dict.fromkeys(parts, np.full(count * replies, None))
        return pl.DataFrame(
            {
                "prompt_id": ids, "sample_id": samples, "prompt": [f"prompt {i}\n" for i in ids.tolist()],
                "completion": texts, "token_ids": [[2]] * len(texts), "length": length, "finished": length < 15,
                "policy_logprob": logprob + kl, "reference_logprob": logprob, "kl": kl,
                "entropy": 60.0 - 2 * np.sqrt(kl) + rng.normal(0, 1, count * replies), "gold": gold,
                **parts,
            },
            schema_overrides={"token_ids": pl.List(pl.Int32), **dict.fromkeys(parts, pl.Float64)},
        )  # fmt: skip

    def _write_prompts(self) -> None:
        count = self.config.prompts
        ids, _ = self._ids(count, 1)
        frame = pl.DataFrame(
            {
                "prompt_id": ids, "split": "evaluation", "conversation": [f"c{i}" for i in ids.tolist()],
                "prompt": [f"prompt {i}\n" for i in ids.tolist()],
            }
        )  # fmt: skip
        write_table(frame, self.root / "prompts.parquet", "prompts", {"seed": self.truth.seed})

    def _write_pairs(self) -> None:
        """Held-out pairs alone: trained ones are asked for by nobody."""
        e = self._rng("preferences").standard_normal((2, self.truth.held_out))
        self.pair_noise = np.sort(e, axis=0)[::-1]
        self.pair_ids = self.config.comparisons - self.truth.held_out + np.arange(self.truth.held_out)
        gold = GOLD_MEAN + GOLD_SD * self.pair_noise
        frame = pl.DataFrame(
            {
                "pair_id": self.pair_ids, "prompt": "p\n", "chosen": "a", "rejected": "b", "gold_chosen": gold[0],
                "gold_rejected": gold[1], "margin": gold[0] - gold[1], "held_out": True, "label_source": "rubric",
                "flipped": False,
            }
        )  # fmt: skip
        write_table(frame, self.root / "preferences.parquet", "preferences", {"seed": self.truth.seed})


HARD: dict[str, Any] = {"kind": "hard", "flip_rate": 0.0}


def short(model: str) -> str:
    """``chitchat-w16`` → ``w16``."""
    return model.removeprefix("chitchat-")


def varied(truth: Truth | None = None, **settings: Any) -> Truth:
    """The truth with other settings of the study."""
    truth = truth or Truth()
    return replace(truth, config=replace(truth.config, **settings))


def _kind_of(proxy: str) -> str:
    parts = proxy.split("-")[2:-1]
    return parts[0] if parts else ""


_EDGES = np.concatenate([[0.0], 1 - np.geomspace(0.97, 1e-6, 160), [1.0]])  # dense near 1, where the best of many lies
_MEAN_SIZE = math.sqrt(2 / math.pi)  # E|e| of a standard normal e, which bounds f


@cache
def gold_given_rank(alpha: float, beta: float) -> np.ndarray:
    """f in units of e, constant between ``_EDGES``: the best of n has u^n as its distribution function.

    Raises
    ------
    ValueError
        If no f within the bounds follows the law to 0.01: alpha is too large, or gold falls too far.
    """
    n = 2.0 ** np.arange(0, 13)
    d = np.sqrt(np.asarray(kl_bound([int(count) for count in n])))
    target = UNIT * d * (alpha - beta * d)
    design = np.diff(_EDGES ** n[:, None], axis=1)
    smooth = 1e-3 * np.diff(np.eye(_EDGES.size - 1), axis=0)
    rows, wanted = np.concatenate([design, smooth]), np.concatenate([target, np.zeros(len(smooth))])
    found = lsq_linear(rows, wanted, bounds=(-_MEAN_SIZE, _MEAN_SIZE)).x
    if np.abs(design @ found - target).max() > 0.01:
        raise ValueError(f"no proxy has alpha {alpha} and beta {beta} here: gold given its rank is bounded")
    return np.asarray(found)


def _scores_of(e: np.ndarray, truth: ProxyTruth, rng: np.random.Generator) -> np.ndarray:
    """Raw scores in the shape of ``e``, about calibrated for labels that are gold's sign if ``confidence`` is 1."""
    f, steps = gold_given_rank(truth.alpha, truth.beta), np.diff(_EDGES)
    share = np.cumsum((f - np.sum(f * steps)) * steps) / _MEAN_SIZE
    z, bend = rng.random(e.shape), np.concatenate([[0.0], share])
    u = np.where(e > 0, np.interp(z, _EDGES + bend, _EDGES), np.interp(z, _EDGES - bend, _EDGES))
    middle = ndtri((_EDGES[1:] + _EDGES[:-1]) / 2)
    strength = float(np.clip(np.sum(f * middle * steps), 0.02, 0.9))  # correlation of e with the normal score of u
    slope = 1.2 * strength / math.sqrt(1 - strength**2)
    return np.asarray(truth.confidence * slope * ndtri(np.clip(u, 1e-9, 1 - 1e-9)))
