"""Every measured column against a loop over replies; errors over prompts; rules that stop a run."""

import math

import numpy as np
import polars as pl
import pytest
from oracles.language_models import measure_reply

from optimize.letter_world import LetterScorer, exact_kl, has_c, letter_policy, moved, push, replies_of
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.optimize.measurement import MEASURED, Measurement
from overopt.protocols import SamplerConfig
from overopt.rewards.shaping import PAR, LengthPenalty, RunningStandardise
from overopt.stats.stopping import AnytimeStop, Cusum, FixedKL, ForecastStop, KDrops

PROMPTS = ["a", "b", "c d", "d", "b c a", "e"]
HELD_OUT, IDS = ["b a", "c", "d d e"], [40, 7, 12]


def gold(letters: list[str]) -> float:
    return float(len(set(letters))) - 0.3 * len(letters)


def measuring(reference, **changes) -> Measurement:
    usual = {
        "replies": 6, "proxy": LetterScorer(has_c), "gold": LetterScorer(gold), "sampler": SamplerConfig(max_tokens=3),
        "seed": 5,
    }  # fmt: skip
    prompts, ids = changes.pop("prompts", HELD_OUT), changes.pop("ids", IDS)
    return Measurement(reference, prompts, ids, **usual | changes)


@pytest.fixture(scope="module")
def reference():
    return letter_policy()


@pytest.fixture(scope="module")
def policy(reference):
    return moved(reference, by=0.5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_every_column_is_that_of_the_loop_and_errors_are_over_prompts(reference, policy, temperature):
    """Replies to one prompt are no independent units: its mean is."""
    sampler = SamplerConfig(max_tokens=3, temperature=temperature)
    measure = measuring(reference, sampler=sampler, shaping=[LengthPenalty(per_token=0.5, target=1)])
    assert measure(4, policy) is None
    table = measure.table()
    assert table["prompt_id"].to_list() == [prompt_id for prompt_id in IDS for _ in range(6)]
    assert table["sample_id"].to_list() == [*range(6)] * 3
    assert table["prompt"].to_list() == [prompt for prompt in HELD_OUT for _ in range(6)]
    assert set(table["step"]) == {4}
    by_prompt: dict[int, list[dict[str, float]]] = {prompt_id: [] for prompt_id in IDS}
    for row in table.iter_rows(named=True):
        ids = reference.tokenizer(row["prompt"])["input_ids"]
        true = measure_reply(policy.model, reference.model, ids, row["token_ids"], temperature)
        letters = row["completion"].split()
        log_ratio = true.reference_logprob - true.logprob
        expected = {
            "kl": true.kl, "k1": -log_ratio, "k3": math.exp(log_ratio) - 1 - log_ratio, "entropy": true.entropy,
            "proxy": has_c(letters), "shaped": has_c(letters) - 0.5 * max(len(row["token_ids"]) - 1, 0),
            "gold": gold(letters), "length": len(row["token_ids"]), "truncated": float(2 not in row["token_ids"]),
        }  # fmt: skip
        assert letters == reference.tokenizer.decode(row["token_ids"], skip_special_tokens=True).split()
        for name in ("kl", "entropy", "proxy", "shaped", "gold", "length"):
            assert row[name] == pytest.approx(expected[name], abs=1e-4), name
        assert row["finished"] == (not expected["truncated"])
        assert row["policy_logprob"] == pytest.approx(true.logprob, abs=1e-4)
        assert row["reference_logprob"] == pytest.approx(true.reference_logprob, abs=1e-4)
        by_prompt[row["prompt_id"]].append(expected)
    (found,) = measure.measured()
    (curve,) = measure.curve().iter_rows(named=True)
    assert found.step == curve["step"] == 4
    for name in MEASURED:
        if name == "tie_rate":
            scores = [[one["proxy"] for one in rows] for rows in by_prompt.values()]
            means = [np.mean([values.count(value) > 1 for value in values]) for values in scores]
        else:
            means = [np.mean([one[name] for one in rows]) for rows in by_prompt.values()]
        value, error = np.mean(means), np.std(means, ddof=1) / math.sqrt(3)
        assert found.estimates[name].value == pytest.approx(value, abs=2e-4), name
        assert found.estimates[name].stderr == pytest.approx(error, abs=2e-4), name
        assert (found.estimates[name].n_units, found.estimates[name].unit) == (3, "prompt")
        assert curve[name] == found.estimates[name].value
        assert curve[f"{name}_se"] == found.estimates[name].stderr
    assert found.gold_P.tolist() == pytest.approx(
        [np.mean([one["gold"] for one in rows]) for rows in by_prompt.values()]
    )


def test_estimates_cover_the_sums_over_all_replies(reference, policy):
    """KL by all three, truncation and entropy within four standard errors of the truth, for these prompts."""
    measure = measuring(reference, replies=400)
    measure(0, policy)
    frame = measure.table()
    (found,) = measure.measured()
    true = exact_kl(policy, reference, HELD_OUT, 3)
    for name in ("kl", "k1", "k3"):
        ratio = (frame["policy_logprob"] - frame["reference_logprob"]).to_numpy()
        spread = {"kl": frame["kl"].std(), "k1": ratio.std(), "k3": (np.expm1(-ratio) + ratio).std()}[name]
        assert abs(found.estimates[name].value - true) < 4 * spread / math.sqrt(1200), name
    replies = replies_of(policy, HELD_OUT, 3)
    entropy = -math.fsum(p * math.log(p) for one in replies for p in one.values()) / 3
    truncated = math.fsum(p for one in replies for reply, p in one.items() if 2 not in reply) / 3
    assert found.estimates["entropy"].value == pytest.approx(entropy, abs=0.15)
    assert found.estimates["truncated"].value == pytest.approx(truncated, abs=4 * 0.5 / math.sqrt(1200))


def test_the_reference_itself_is_at_distance_0(reference):
    measure = measuring(reference)
    measure(0, reference)
    (found,) = measure.measured()
    for name in ("kl", "k1", "k3"):
        assert (found.estimates[name].value, found.estimates[name].stderr) == pytest.approx((0, 0), abs=1e-6)


def test_without_gold_it_is_unknown(reference):
    measure = measuring(reference, gold=None)
    measure(0, reference)
    (found,) = measure.measured()
    assert math.isnan(found.estimates["gold"].value)
    assert math.isnan(found.estimates["gold"].stderr)
    assert measure.table()["gold"].null_count() == 18
    assert not math.isnan(found.estimates["proxy"].stderr)


def test_one_reply_shows_no_ties_and_one_prompt_no_error(reference):
    measure = measuring(reference, replies=1)
    measure(0, reference)
    assert math.isnan(measure.measured()[0].estimates["tie_rate"].value)
    measure = measuring(reference, prompts=["a"], ids=[1])
    measure(0, reference)
    assert math.isnan(measure.measured()[0].estimates["proxy"].stderr)


def test_shaping_that_compares_draws_the_references_replies_once(reference, policy):
    proxy = LetterScorer(has_c)
    measure = measuring(reference, proxy=proxy, shaping=[PAR()])
    measure(0, reference)
    measure(1, policy)
    assert proxy.calls == 3
    table = measure.table()
    by_score = table.group_by("prompt_id", "proxy").agg(pl.col("shaped").n_unique())
    assert set(by_score["shaped"]) == {1}, "one function of the score for each prompt, at every step"
    assert ((table["shaped"] > 0) & (table["shaped"] < 1)).all()


@pytest.mark.parametrize("rule", [KDrops(), Cusum(), AnytimeStop(), ForecastStop(), KDrops(every=2)])
def test_rules_that_watch_gold_are_refused_without_it(reference, rule):
    with pytest.raises(ConfigError, match=rf"{type(rule).__name__}\(.*\) watches gold, and there is no gold scorer"):
        measuring(reference, gold=None, rule=rule)
    with pytest.raises(ConfigError, match="one prompt does not tell its error"):
        measuring(reference, prompts=["a"], ids=[1], rule=rule)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompts": [], "ids": []}, "needs prompts and replies"),
        ({"replies": 0}, "needs prompts and replies"),
        ({"ids": [1, 2]}, "as many different ids"),
        ({"ids": [1, 2, 1]}, "as many different ids"),
        ({"shaping": [RunningStandardise()]}, "changes with the scores"),
    ],
)
def test_what_cannot_be_measured_is_refused(reference, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        measuring(reference, **changes)


@pytest.mark.parametrize("which", ["proxy", "gold"])
def test_scores_that_are_not_finite_or_too_few_are_refused(reference, which):
    with pytest.raises(NonFiniteError, match="letters gave scores that are not finite to replies of step 3"):
        measuring(reference, **{which: LetterScorer(has_c, damage=math.nan)})(3, reference)
    short = LetterScorer(has_c, name="short")
    short.score = lambda prompts, completions, progress=None: np.zeros(2)
    with pytest.raises(DataError, match=r"short returned scores of shape \(2,\) for 18 replies"):
        measuring(reference, **{which: short})(3, reference)


def test_a_kl_budget_stops_the_run_without_gold(reference):
    measure = measuring(reference, gold=None, rule=FixedKL(budget=0.4))
    result = push(reference, PROMPTS, steps=30, group=16, measure_every=2, measure=measure)
    kl = [one.estimates["kl"].value for one in measure.measured()]
    assert kl[-1] >= 0.4 > max(kl[:-1])
    step = measure.measured()[-1].step
    assert len(result.logs) == step < 30
    assert (
        result.stopped == f"FixedKL(budget=0.4) asks to stop at {kl[-1]:.3g} nats; it keeps the policy of step {step}"
    )


def against_gold(letters: list[str]) -> float:
    """Falls with what the proxy rewards."""
    return -has_c(letters)


def test_drops_of_gold_stop_the_run_and_keep_its_best(reference):
    measure = measuring(
        reference, prompts=PROMPTS, ids=range(6), replies=40, gold=LetterScorer(against_gold), rule=KDrops(k=3)
    )
    result = push(reference, PROMPTS, steps=30, group=16, measure_every=1, measure=measure)
    gold_K = [one.estimates["gold"].value for one in measure.measured()]
    falls = (np.diff(gold_K) < 0).tolist()
    assert falls[-3:] == [True] * 3
    assert not any(all(falls[k : k + 3]) for k in range(len(falls) - 3)), "and not before"
    best = measure.measured()[int(np.argmax(gold_K))].step
    assert result.stopped.startswith("KDrops(k=3, every=1) asks to stop")
    assert result.stopped.endswith(f"it keeps the policy of step {best}")


def test_a_forecast_of_falling_gold_stops_the_run(reference):
    measure = measuring(
        reference, prompts=PROMPTS, ids=range(6), replies=60, gold=LetterScorer(against_gold), rule=ForecastStop()
    )
    result = push(reference, PROMPTS, steps=12, group=16, measure_every=1, measure=measure)
    assert result.stopped is not None
    assert len(result.logs) < 12
    assert "it keeps the policy of step 0" in result.stopped


def test_what_a_rule_has_bought_is_remembered_and_told_again_to_a_run_that_goes_on(reference, policy, tmp_path):
    """A rule sees one more checkpoint at a time; forgetting the earlier ones, it would never see three drops."""
    falling = [LetterScorer(lambda letters, k=k: -float(k)) for k in range(4)]
    whole = measuring(reference, rule=KDrops(k=3), folder=tmp_path)
    verdicts = []
    for step, scorer in enumerate(falling):
        whole.gold = scorer
        verdicts.append(whole(step, policy))
    assert [verdict is not None for verdict in verdicts] == [False, False, False, True]
    for path in tmp_path.glob("step-000003*"):
        path.unlink()
    again = measuring(reference, rule=KDrops(k=3), folder=tmp_path, gold=falling[3])
    assert again(3, policy) == verdicts[3]


class Watching:
    """Buys every checkpoint and never stops."""

    def __call__(self, seen):
        seen.buy(seen.length - 1)
        self.seen = seen
        return False

    def keeps(self, seen):
        return 0


def test_a_rule_sees_distances_and_gold_relative_to_the_start_with_paired_errors(reference, policy):
    """A prompt whose gold is high stays high: errors are of each prompt's change, not of its level."""
    rule = Watching()
    measure = measuring(reference, rule=rule)
    for step, model in ((0, reference), (3, policy)):
        assert measure(step, model) is None
    gold_PK = np.stack(
        [
            [measure.table().filter((pl.col("step") == step) & (pl.col("prompt_id") == n))["gold"].mean() for n in IDS]
            for step in (0, 3)
        ],
        axis=1,
    )
    change = gold_PK[:, 1] - gold_PK[:, 0]
    known = rule.seen.known()
    assert known.indices == [0, 1]
    assert known.gold.tolist() == pytest.approx([0.0, change.mean()])
    assert known.gold_se.tolist() == pytest.approx([0.0, change.std(ddof=1) / math.sqrt(3)])
    assert known.d.tolist() == pytest.approx([0.0, math.sqrt(measure.curve()["kl"][1])], abs=1e-4)
    assert rule.seen.known_by_unit()[:, 1].tolist() == pytest.approx(change.tolist())


def test_a_rule_without_the_start_of_its_run_is_refused(reference, policy):
    measure = measuring(reference, rule=FixedKL(budget=1.0))
    with pytest.raises(ConfigError, match=r"measurements before step 6 are not here.*give the measurement the folder"):
        measure(6, policy)


def test_measurements_are_kept_in_the_folder_and_made_again_from_an_earlier_step(reference, policy, tmp_path):
    first = measuring(reference, folder=tmp_path)
    for step in (0, 2, 4):
        first(step, policy)
    again = measuring(reference, folder=tmp_path)
    assert again.table().equals(first.table())
    assert again.curve().equals(first.curve())
    again(2, policy)
    assert [one.step for one in again.measured()] == [0, 2]
    assert again.table().equals(first.table().filter(pl.col("step") < 4)), "the same seed draws the same replies"
    (tmp_path / "step-000002.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"step-000002\.parquet is damaged"):
        measuring(reference, folder=tmp_path)


def test_before_anything_is_measured_the_tables_are_empty(reference):
    measure = measuring(reference)
    assert measure.table().height == measure.curve().height == 0
    assert measure.measured() == []
