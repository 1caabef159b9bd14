from dataclasses import replace

import numpy as np
import pytest

from gao2022.changed_tables import change, opened_again
from gao2022.made_tables import MadeStudy, RunTruth, Truth, rl_law, varied
from overopt.studies.gao2022.entropy import _left_out_error, answer

START = 4.0
"""Entropy of the base policy, nats a token."""
STEPS = tuple(range(0, 41, 4))
WIGGLES = np.array([0, 0.5, 0.3, 0.9, 0.7, 1.4, 1.1, 1.9, 1.6, 2.4, 2.0])
"""A way through the steps that is no function of a smooth one."""
SMOOTH = np.linspace(0, 3, len(STEPS))


def settings(**more):
    few = {"proxies": ("chitchat-w8", "chitchat-w16"), "reference_proxy": "chitchat-w16", "pool": 32, "prompts": 32}
    few |= {"seeded_proxy": "chitchat-w8", "data_proxies": ("chitchat-w8",), "large_proxies": ("chitchat-w8",)}
    return varied(Truth(gold_noise=0.2), **(few | more))


def study(folder, run, lost, *, parts=("sizes", "penalties"), is_reply=False, **more):
    """Runs whose entropy is lost as ``lost(name, KL of the rows)`` says, a token or (``is_reply``) a reply."""
    truth = replace(settings(**more), run=run)
    made = MadeStudy(folder, truth)
    for part in parts:
        getattr(made, part)()
    start = 60.0 if is_reply else START

    def entropy(frame, of):
        return {"entropy": start - of if is_reply else frame["length"].to_numpy() * (START - of)}

    change(made.root / "pools/pool.parquet", "samples", lambda frame: entropy(frame, np.zeros(frame.height)))
    for path in sorted((made.root / "rl").glob("*.parquet")):
        change(path, "rl_steps", lambda frame, path=path: entropy(frame, np.asarray(lost(path.stem, frame))))
    return opened_again(made.tables)


def quadratic(x):
    return 0.8 * x - 0.2 * x**2


def run_along(d, x):
    return RunTruth(steps=STEPS, kl=(d**2).tolist(), gold=quadratic(x).tolist(), proxy=(0.5 * d).tolist())


def by_step(values):
    return lambda _, frame: np.interp(frame["step"].to_numpy(), STEPS, values)


def claims(tables):
    return {claim.id.removeprefix("entropy-"): claim for claim in answer(tables).claims}


def test_d_is_called_the_better_axis_where_gold_is_a_function_of_d(tmp_path):
    found = claims(study(tmp_path, lambda *_: run_along(SMOOTH, SMOOTH), by_step(WIGGLES)))
    assert found["fit-token"].outcome == "above"
    assert found["fit-token"].value > 2


def test_entropy_is_called_the_better_axis_where_gold_is_a_function_of_it(tmp_path):
    found = claims(study(tmp_path, lambda *_: run_along(WIGGLES, SMOOTH), by_step(SMOOTH)))
    assert found["fit-token"].outcome == "below"
    assert found["fit-token"].value < 0.5


def test_two_axes_that_are_one_line_fit_alike(tmp_path):
    tables = study(tmp_path, lambda *_: run_along(SMOOTH, SMOOTH), lambda _, frame: np.sqrt(frame["kl"].to_numpy()))
    found = claims(tables)["fit-token"]
    assert found.ci[0] < 1 < found.ci[1]
    assert found.value == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("axis", "outcome"), [("d", "above"), ("entropy", "below")])
def test_runs_with_penalties_share_the_curve_of_the_axis_that_gold_follows(tmp_path, axis, outcome):
    """With a penalty as much d loses seven tenths of the entropy."""

    def run(name, parameters, penalty):
        return run_along(SMOOTH, SMOOTH * (0.7 if penalty and axis == "entropy" else 1.0))

    def lost(name, frame):
        return np.interp(frame["step"].to_numpy(), STEPS, SMOOTH * (0.7 if "kl" in name else 1.0))

    found = claims(study(tmp_path, run, lost))["across-penalties"]
    assert found.outcome == outcome


@pytest.mark.parametrize(("share", "outcome"), [(0.8, "above"), (0.2, "below"), (-2.0, "below")])
def test_the_share_of_kl_that_is_lost_entropy_is_found(tmp_path, share, outcome):
    tables = study(
        tmp_path,
        lambda *_: run_along(SMOOTH, SMOOTH),
        lambda _, frame: share * frame["kl"].to_numpy(),
        parts=("sizes",),
        is_reply=True,
    )
    found = claims(tables)["share-of-kl"]
    assert found.outcome == outcome
    assert found.value == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("left", "outcome"), [(0.8, "above"), (0.25, "below")])
def test_entropy_at_the_peak_tells_whether_its_collapse_came_first(tmp_path, left, outcome):
    """Entropy keeps the share ``left`` from the peak's step on; gold peaks at step 20 of 40."""
    fall = rl_law(0.4, 0.4, steps=STEPS, d_max=2.0)
    d = np.sqrt(fall.kl)
    assert d[5] == pytest.approx(1)  # the peak, exp(alpha / beta - 1)
    lost = START * (1 - left) * np.minimum(np.array(STEPS) / 16, 1)
    found = claims(study(tmp_path, lambda *_: fall, by_step(lost)))["at-peak"]
    assert found.outcome == outcome
    assert found.value == pytest.approx(left, abs=0.02)
    assert found.counted.startswith("5 runs")


def test_runs_whose_gold_does_not_fall_say_nothing_of_the_peak(tmp_path):
    rising = RunTruth(steps=STEPS, kl=(SMOOTH**2).tolist(), gold=SMOOTH.tolist(), proxy=SMOOTH.tolist())
    found = claims(study(tmp_path, lambda *_: rising, by_step(SMOOTH)))["at-peak"]
    assert (found.value, found.outcome) == (None, "unknown")
    assert "0 of 5 runs" in found.note


def test_a_study_of_two_steps_and_three_prompts_answers_without_claims(tmp_path):
    short = RunTruth(steps=(0, 4), kl=(0.0, 1.0), gold=(0.0, 0.3), proxy=(0.0, 0.5))
    tables = study(
        tmp_path,
        lambda *_: short,
        by_step(SMOOTH),
        prompts=3,
        large_prompts=2,
        penalty_seeds=1,
    )
    found = answer(tables)
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    assert all(claim.note for claim in found.claims)
    assert found.figures


def test_the_three_parts_of_the_split_add_up(tmp_path):
    tables = study(tmp_path, lambda *_: run_along(SMOOTH, SMOOTH), by_step(SMOOTH), parts=("sizes",))
    rows = next(figure for figure in answer(tables).figures if figure.name == "entropy-split").rows
    for step in STEPS:
        nats = {row["part"]: row["nats"] for row in rows if row["step"] == step}
        assert nats["KL"] == pytest.approx(nats["entropy lost"] + nats["less likely under the start"])


def test_each_step_is_foretold_without_itself():
    """Oracle: one fit after another, by another solver."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-0.5, 2, 7)
    gold = quadratic(x) + rng.normal(0, 0.3, 7)
    missed = []
    for k in range(7):
        others = np.arange(7) != k
        columns = np.stack([x, x**2], axis=1)
        a, b = np.linalg.lstsq(columns[others], gold[others], rcond=None)[0]
        missed.append(a * x[k] + b * x[k] ** 2 - gold[k])
    assert _left_out_error(x, gold) == pytest.approx(np.sqrt(np.mean(np.square(missed))))
