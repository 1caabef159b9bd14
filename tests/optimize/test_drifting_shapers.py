"""Shapers that change with the scores of a run: what they have seen, who moves them, and that a resumed run agrees."""

import math
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from optimize.letter_world import LetterScorer, has_c, is_same, letter_policy, push, weights
from overopt.errors import ConfigError, DataError
from overopt.optimize.measurement import Measurement
from overopt.optimize.policy_gradient import _Run
from overopt.protocols import SamplerConfig
from overopt.rewards.shaping import Clip, CurrentShapers, LengthPenalty, RunningStandardise

PROMPTS = ["a", "b", "c d", "d", "b c a", "e"]
RUN = {"steps": 6, "prompts_per_step": 4, "group": 4, "minibatches": 2, "checkpoint_every": 2, "measure_every": 2}


def many_scores(letters: list[str]) -> float:
    return 3.0 * has_c(letters) - 0.7 * len(letters)


@pytest.fixture(scope="module")
def reference():
    return letter_policy()


@pytest.fixture
def rollouts(monkeypatch):
    """Every rollout of a run, as it is trained on."""
    kept = []
    update = _Run._update

    def look(self, rollout, signal, step):
        kept.append(rollout)
        return update(self, rollout, signal, step)

    monkeypatch.setattr(_Run, "_update", look)
    return kept


def running() -> CurrentShapers:
    return CurrentShapers([RunningStandardise(), LengthPenalty(per_token=0.1, target=1)])


def measuring(reference, shaping, folder=None) -> Measurement:
    return Measurement(
        reference, ["a", "b c"], [3, 8], replies=4, proxy=LetterScorer(many_scores), gold=None,
        sampler=SamplerConfig(max_tokens=2), seed=1, shaping=shaping, folder=folder,
    )  # fmt: skip


def test_rewards_are_in_units_of_all_scores_so_far(reference, rollouts):
    """The batch at hand included, and as the shapers before leave them."""
    shaping = CurrentShapers([Clip(low=-1.0, high=2.0), RunningStandardise()])
    push(reference, PROMPTS, reward=many_scores, shaping=shaping, **RUN)
    seen = np.empty(0)
    for rollout in rollouts:
        clipped = np.clip(rollout.raw_B, -1.0, 2.0)
        seen = np.concatenate([seen, clipped])
        assert rollout.shaped_B == pytest.approx((clipped - seen.mean()) / seen.std(), abs=1e-12)
    assert len(seen) == 6 * 16
    assert shaping[1].count == 6 * 16
    assert shaping[1].sd == pytest.approx(seen.std())
    assert shaping.begun[1] == RunningStandardise()


def test_a_plain_list_drifts_too_and_is_not_changed(reference):
    given = [RunningStandardise()]
    listed = push(reference, PROMPTS, reward=many_scores, shaping=given, **RUN)
    held = push(reference, PROMPTS, reward=many_scores, shaping=CurrentShapers(given), **RUN)
    assert is_same(weights(listed.policy), weights(held.policy))
    assert given == [RunningStandardise()]


def test_a_second_run_begins_where_the_first_began(reference):
    """Though it is given the object that the first has moved."""
    shaping = running()
    first, second = (push(reference, PROMPTS, reward=many_scores, shaping=shaping, **RUN) for _ in range(2))
    assert is_same(weights(first.policy), weights(second.policy))
    assert shaping[0].count == 6 * 16


def test_measuring_often_moves_no_reward(reference):
    found = []
    for every in (1, 100):
        shaping = running()
        measure = measuring(reference, shaping)
        settings = RUN | {"measure_every": every}
        result = push(reference, PROMPTS, reward=many_scores, shaping=shaping, measure=measure, **settings)
        found.append((weights(result.policy), shaping.now, len(measure.frames)))
    assert [count for _, _, count in found] == [7, 2]
    assert is_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_measurement_shapes_as_the_run_does_at_that_step(reference, rollouts):
    """And before the run has seen a score, a shaped reward is unknown."""
    shaping = running()
    measure = measuring(reference, shaping)
    push(reference, PROMPTS, reward=many_scores, shaping=shaping, measure=measure, **RUN)
    table = measure.table()
    assert table.filter(pl.col("step") == 0)["shaped"].is_nan().all()
    assert math.isnan(measure.curve()["shaped"][0])
    for step in (2, 4, 6):
        seen = np.concatenate([rollout.raw_B for rollout in rollouts[:step]])
        rows = table.filter(pl.col("step") == step)
        expected = (rows["proxy"].to_numpy() - seen.mean()) / seen.std() - 0.1 * np.maximum(
            rows["length"].to_numpy() - 1, 0
        )
        assert rows["shaped"].to_list() == pytest.approx(expected.tolist(), abs=1e-9)


def test_killed_and_resumed_is_undisturbed_bit_for_bit(reference, tmp_path):
    """With another object in the resumed run, as another process would have."""

    class Killed(BaseException):
        pass

    def dying(letters):
        if scorer.calls >= 3:
            raise Killed
        return many_scores(letters)

    whole_shaping, scorer = running(), LetterScorer(lambda letters: dying(letters))
    whole_measure = measuring(reference, whole_shaping)
    whole = push(reference, PROMPTS, reward=many_scores, shaping=whole_shaping, measure=whole_measure, **RUN)
    shaping = running()
    with pytest.raises(Killed):
        push(
            reference, PROMPTS, scorer=scorer, shaping=shaping, measure=measuring(reference, shaping, tmp_path / "m"),
            checkpoints=tmp_path / "c", **RUN,
        )  # fmt: skip
    # A run that goes on in one process may be given the object of the one that died.
    for again in (shaping, running()):
        measure = measuring(reference, again, tmp_path / "m")
        resumed = push(
            reference, PROMPTS, reward=many_scores, shaping=again, measure=measure, checkpoints=tmp_path / "c", **RUN
        )
        assert is_same(weights(whole.policy), weights(resumed.policy))
        assert [asdict(one) | {"value_error": 0} for one in whole.logs] == [
            asdict(one) | {"value_error": 0} for one in resumed.logs
        ]
        assert again.now == whole_shaping.now
        assert whole_measure.table().equals(measure.table())


def test_a_batch_that_was_not_trained_on_was_not_seen(reference, tmp_path, monkeypatch):
    """The step fails after its batch was shaped, and the run goes on from the step before."""
    whole_shaping, shaping = running(), running()
    whole = push(reference, PROMPTS, reward=many_scores, shaping=whole_shaping, **RUN)
    update = _Run._update

    def failing(self, rollout, signal, step):
        if step == 4:
            raise RuntimeError("out of memory")
        return update(self, rollout, signal, step)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_update", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            push(reference, PROMPTS, reward=many_scores, shaping=shaping, checkpoints=tmp_path, **RUN)
    assert shaping[0].count == 3 * 16
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000002", "step-000003"]
    again = running()
    resumed = push(reference, PROMPTS, reward=many_scores, shaping=again, checkpoints=tmp_path, **RUN)
    assert is_same(weights(whole.policy), weights(resumed.policy))
    assert again.now == whole_shaping.now


def test_scores_whose_squares_are_no_numbers_are_refused(reference, tmp_path):
    with pytest.raises(DataError, match="too far apart to be standardised; clip them first"):
        push(
            reference, PROMPTS, scorer=LetterScorer(has_c, damage=1e300, after=3), shaping=running(),
            checkpoints=tmp_path, **RUN,
        )  # fmt: skip
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000002", "step-000003"]


def test_a_run_with_other_shapers_does_not_go_on_from_it(reference, tmp_path):
    push(reference, PROMPTS, shaping=running(), checkpoints=tmp_path, **RUN | {"steps": 2})
    with pytest.raises(ConfigError, match=r"other settings \(shaping\)"):
        push(reference, PROMPTS, shaping=CurrentShapers([RunningStandardise()]), checkpoints=tmp_path, **RUN)


def test_a_measurement_that_would_not_see_the_drift_is_refused(reference):
    with pytest.raises(ConfigError, match=r"RunningStandardise\(.*\) changes with the scores .* one CurrentShapers"):
        measuring(reference, [RunningStandardise()])
