"""What a policy in training is worth, on prompts it is not trained on: every number with its standard error.

Measuring is apart from penalising: raw proxy, shaped reward, gold, exact KL beside k1 and k3, entropy, length,
truncation and ties are there whatever the objective. Axes: P prompts, R replies to each. Units are prompts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.optimize.rollout import check_shaping, scores_of
from overopt.policies.models import HFPolicy
from overopt.policies.tables import reply_table
from overopt.protocols import Prompt, SamplerConfig, Scorer
from overopt.records.tables import COLUMNS, read_table, write_table
from overopt.rewards.shaping import Shaper, shape
from overopt.seeding import stream_seed
from overopt.stats.bon import tie_rate
from overopt.stats.estimate import Estimate, FloatArray, mean_over_units
from overopt.stats.kl import k1, k3
from overopt.stats.stopping import Prefix, Rule, Run

MEASURED = ("kl", "k1", "k3", "proxy", "shaped", "gold", "entropy", "length", "truncated", "tie_rate")


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement."""

    step: int
    estimates: dict[str, Estimate]
    """By name, those of ``MEASURED``; gold is ``nan`` without a gold scorer."""
    gold_P: FloatArray
    """Gold of each prompt, mean over its replies."""


class Measurement:
    """Measures a policy on held-out prompts, keeps every reply, and says when to stop.

    Parameters
    ----------
    reference : HFPolicy
        What KL is measured to.
    prompts, prompt_ids : sequences of the same length
        Held out; ids are stored with the replies, and no two prompts share one.
    replies : int
        Replies to each prompt at each measurement; with one, ties are not seen and their rate is ``nan``.
    proxy, gold : Scorer
        Gold may be ``None``: then it is ``nan`` and no rule can watch it.
    shaping : sequence of shapers
        Those of the run. Of shapers that drift, the run's own ``CurrentShapers``: a measurement reads them as they are
        and never moves them; before they have seen a score, shaped rewards are ``nan``.
    rule : Rule, optional
        Of :mod:`overopt.stats.stopping`: a fixed KL budget, drops of gold, a forecast, …
    folder : Path, optional
        Each measurement is written there at once, and read again by a run that goes on.

    Raises
    ------
    ConfigError
        If there are no prompts or replies, ids are missing or shared, a shaper drifts without the run's, or the rule
        watches gold and there is none, or too few prompts to tell its error.
    DataError
        If a measurement in ``folder`` is damaged.
    """

    def __init__(
        self,
        reference: HFPolicy,
        prompts: Sequence[Prompt],
        prompt_ids: Sequence[int],
        *,
        replies: int,
        proxy: Scorer,
        gold: Scorer | None,
        sampler: SamplerConfig,
        shaping: Sequence[Shaper] = (),
        seed: int,
        rule: Rule | None = None,
        folder: Path | None = None,
    ) -> None:
        self.reference, self.prompts, self.prompt_ids = reference, prompts, prompt_ids
        self.replies, self.proxy, self.gold, self.sampler = replies, proxy, gold, sampler
        self.shaping, self.seed, self.rule, self.folder = shaping, seed, rule, folder
        check_shaping(shaping)
        self._check()
        self._reference_PM: FloatArray | None = None
        self._judged, self._bought = 0, set[int]()
        self.frames: dict[int, pl.DataFrame] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("step-*.parquet")):
                try:
                    self.frames[int(path.stem.removeprefix("step-"))] = read_table(path, "rl_replies")
                except DataError as error:
                    raise DataError(
                        f"{path} is damaged, and its policy is gone; delete the run's folder, and the same command "
                        "makes it again"
                    ) from error

    def __call__(self, step: int, policy: HFPolicy) -> str | None:
        """Measure ``policy`` after ``step``; a reason to stop, or ``None``."""
        # A run that goes on from an earlier checkpoint measures again what came after it.
        if any(known >= step for known in self.frames):
            self.frames = {known: frame for known, frame in self.frames.items() if known < step}
            self._judged, self._bought = 0, set()
        self.frames[step] = self._frame(step, policy)
        if self.folder is not None:
            path = self.folder / f"step-{step:06d}.parquet"
            partial = path.with_suffix(".partial")
            write_table(self.frames[step], partial, "rl_replies", {"sampler": asdict(self.sampler)})
            partial.rename(path)
        return self._verdict()

    def table(self) -> pl.DataFrame:
        """All measured replies, of kind "rl_replies"."""
        empty = pl.DataFrame(schema=COLUMNS["rl_replies"])
        return pl.concat([empty, *(self.frames[step] for step in sorted(self.frames))])

    def measured(self) -> list[Measured]:
        """All measurements so far, in order."""
        return [_summary(step, self.frames[step], len(self.prompts)) for step in sorted(self.frames)]

    def curve(self) -> pl.DataFrame:
        """One row a measurement, of kind "rl_curve"."""
        rows: list[dict[str, Any]] = []
        for found in self.measured():
            row: dict[str, Any] = {"step": found.step}
            for name, estimate in found.estimates.items():
                row |= {name: estimate.value, f"{name}_se": estimate.stderr}
            rows.append(row)
        return pl.DataFrame(rows, schema=COLUMNS["rl_curve"])

    def _frame(self, step: int, policy: HFPolicy) -> pl.DataFrame:
        replies = policy.sample(
            self.prompts, per_prompt=self.replies, config=self.sampler, seed=stream_seed(self.seed, "measure", step)
        )
        found = policy.measure(self.prompts, replies, reference=self.reference, config=self.sampler)
        proxy_B = self._scores(self.proxy, replies, step)
        gold_B = [None] * len(replies) if self.gold is None else self._scores(self.gold, replies, step)
        frame = reply_table(self.prompts, self.prompt_ids, replies, found).with_columns(
            step=pl.lit(step),
            proxy=pl.Series(proxy_B),
            shaped=pl.Series(self._shaped(proxy_B, replies, step)),
            gold=pl.Series(gold_B, dtype=pl.Float64),
        )
        return frame.select(list(COLUMNS["rl_replies"])).cast(pl.Schema(COLUMNS["rl_replies"]))

    def _scores(self, scorer: Scorer, replies: Sequence[Any], step: int) -> FloatArray:
        scores = scores_of(scorer, self.prompts, replies)
        if not np.isfinite(scores).all():
            raise NonFiniteError(f"{scorer.name} gave scores that are not finite to replies of step {step}")
        return scores

    def _shaped(self, proxy_B: FloatArray, replies: Sequence[Any], step: int) -> FloatArray:
        if not self.shaping:
            return proxy_B
        if not all(shaper.is_ready for shaper in self.shaping):
            return np.full(len(proxy_B), np.nan)
        reference_B = None
        if any(shaper.needs_reference for shaper in self.shaping):
            if self._reference_PM is None:
                others = self.reference.sample(
                    self.prompts, per_prompt=self.replies, config=self.sampler,
                    seed=stream_seed(self.seed, "measure", "reference"),
                )  # fmt: skip
                self._reference_PM = self._scores(self.proxy, others, step).reshape(-1, self.replies)
            reference_B = np.asarray(self._reference_PM[[reply.prompt for reply in replies]])
        return shape(
            self.shaping,
            proxy_B,
            length_B=np.array([len(reply.token_ids) for reply in replies]),
            finished_B=np.array([reply.finished for reply in replies]),
            reference_B=reference_B,
        )

    def _check(self) -> None:
        problems = []
        if not self.prompts or self.replies < 1:
            problems.append(f"a measurement needs prompts and replies; got {len(self.prompts)} and {self.replies}")
        if len(self.prompts) != len(self.prompt_ids) or len(set(self.prompt_ids)) != len(self.prompt_ids):
            problems.append(
                f"{len(self.prompts)} held-out prompts need as many different ids; got {len(set(self.prompt_ids))}"
            )
        if self.rule is not None and (self.gold is None or len(self.prompts) < 2) and _buys_gold(self.rule):
            problems.append(
                f"{self.rule!r} watches gold, "
                + ("and there is no gold scorer" if self.gold is None else "and one prompt does not tell its error")
            )
        if problems:
            raise ConfigError("; ".join(problems))

    def _verdict(self) -> str | None:
        """What the rule says at the last measurement, having seen those before it one by one."""
        if self.rule is None:
            return None
        if min(self.frames) != 0:
            raise ConfigError(
                f"the measurements before step {min(self.frames)} are not here, and {self.rule!r} needs them: give the "
                "measurement the folder that the run began with"
            )
        found = self.measured()
        d_K = np.sqrt([max(one.estimates["kl"].value, 0.0) for one in found])
        gold_PK = np.stack([one.gold_P for one in found], axis=1)
        # A rule that buys no gold sees only that there is a table of it.
        gold_PK = np.zeros_like(gold_PK) if self.gold is None else gold_PK - gold_PK[:, :1]
        gold_K, se_K = gold_PK.mean(axis=0), np.zeros(len(found))
        if len(gold_PK) > 1:
            se_K = gold_PK.std(axis=0, ddof=1) / np.sqrt(len(gold_PK))
        run = Run(d=d_K, gold=gold_K, gold_se=se_K, true_gold=gold_K, gold_by_unit=gold_PK)
        is_stop = False
        for length in range(self._judged + 1, len(found) + 1):
            seen = Prefix(run, length, self._bought)
            is_stop = self.rule(seen)
        self._judged = len(found)
        if not is_stop:
            return None
        best = found[self.rule.keeps(seen)].step
        return f"{self.rule!r} asks to stop at {d_K[-1] ** 2:.3g} nats; it keeps the policy of step {best}"


def _buys_gold(rule: Rule) -> bool:
    """Whether a rule looks at gold, found out on a run that was made up."""
    gold_PK = np.linspace(-1.0, 1.0, 32)[:, None] * np.array([0.0, 0.1, 0.3])
    zeros = np.zeros(3)
    run = Run(d=np.array([0.0, 1.0, 2.0]), gold=zeros, gold_se=zeros + 0.1, true_gold=zeros, gold_by_unit=gold_PK)
    bought: set[int] = set()
    for length in (1, 2, 3):
        rule(Prefix(run, length, bought))
    return bool(bought)


def _summary(step: int, frame: pl.DataFrame, n_prompts: int) -> Measured:
    def by_prompt(values: FloatArray) -> FloatArray:
        return np.asarray(values, dtype=np.float64).reshape(n_prompts, -1)

    logprobs = frame["policy_logprob"].to_numpy(), frame["reference_logprob"].to_numpy()
    values = {
        "kl": frame["kl"].to_numpy(),
        "k1": k1(*logprobs),
        "k3": k3(*logprobs),
        "gold": frame["gold"].fill_null(float("nan")).to_numpy(),
        "truncated": 1.0 - frame["finished"].to_numpy(),
        **{name: frame[name].to_numpy() for name in ("proxy", "shaped", "entropy", "length")},
    }
    means = {name: by_prompt(array).mean(axis=1) for name, array in values.items()}
    proxy_PR = by_prompt(values["proxy"])
    has_pairs = proxy_PR.shape[1] > 1
    means["tie_rate"] = np.array([tie_rate(scores[None]) if has_pairs else np.nan for scores in proxy_PR])
    estimates = {name: mean_over_units(means[name], unit="prompt") for name in MEASURED}
    return Measured(step, estimates, means["gold"])
