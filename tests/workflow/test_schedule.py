"""Order and needs of stages, and how long a plan takes: everything without a process."""

import pytest
import toy_stages as toy

from overopt.errors import ConfigError
from overopt.workflow import Needs, Stage, Store, run
from overopt.workflow.estimate import estimate
from overopt.workflow.schedule import Schedule, simulate
from overopt.workflow.worker import Outcome

TWO = Needs(cpus=2, gpus=1, memory_gb=8)


def stage(name, cost=1.0, parts=(), **needs):
    function = toy.join if parts else toy.write
    arguments = {"parts": list(parts)} if parts else {"text": name}
    return Stage(function, label=name, cost=cost, needs=Needs(**needs), **arguments)


def popped(schedule, free, limit=TWO):
    found = schedule.pop_ready(free, limit)
    return None if found is None else found.label


def test_needs_are_not_in_the_key():
    assert stage("a").key == stage("a", cpus=4, gpus=1).key


@pytest.mark.parametrize("needs", [{"cpus": 0}, {"gpus": -1}, {"memory_gb": -0.5}])
def test_impossible_needs_are_refused(needs):
    with pytest.raises(ConfigError, match="needs part of a core at least, and nothing below 0"):
        stage("a", **needs)


def test_the_costliest_that_fits_is_next():
    schedule = Schedule([stage("cheap"), stage("dear", 3), stage("gpu", 2, gpus=1)])
    assert popped(schedule, Needs(cpus=2, gpus=0, memory_gb=8)) == "dear"
    assert popped(schedule, Needs(cpus=1, gpus=0, memory_gb=8)) == "cheap"  # the GPU is taken, the core is not
    assert popped(schedule, Needs(cpus=1, gpus=0, memory_gb=8)) is None
    assert popped(schedule, Needs(cpus=1, gpus=1, memory_gb=8)) == "gpu"
    assert not schedule.is_waiting


def test_small_stages_do_not_keep_a_large_one_waiting():
    schedule = Schedule([stage("large", 9, cpus=2), stage("small"), stage("also small")])
    assert popped(schedule, Needs(cpus=1, gpus=1, memory_gb=8)) is None
    assert popped(schedule, TWO) == "large"


def test_a_stage_that_needs_more_than_there_is_takes_all_of_it():
    schedule = Schedule([stage("huge", cpus=64, memory_gb=1000)])
    assert popped(schedule, Needs(cpus=1, gpus=1, memory_gb=8)) is None
    assert popped(schedule, TWO) == "huge"


def test_a_stage_waits_for_all_its_inputs():
    a, b = stage("a", 2), stage("b")
    schedule = Schedule([a, b, stage("both", 9, [a, b])])
    assert [popped(schedule, TWO) for _ in range(3)] == ["a", "b", None]
    schedule.end(a, Outcome("finished", 1.0))
    assert popped(schedule, TWO) is None
    schedule.end(b, Outcome("finished", 1.0))
    assert popped(schedule, TWO) == "both"


def test_simulated_times_are_those_of_the_schedule_by_hand():
    a, b, c = stage("a", 3), stage("b", 2), stage("c", 1)
    last = stage("last", 1, [a])
    seconds = {a.key: 3.0, b.key: 2.0, c.key: 2.0, last.key: 5.0}
    plan = [a, b, c, last]
    assert simulate(plan, seconds, Needs(cpus=1, gpus=1)) == 12.0
    assert simulate(plan, seconds, Needs(cpus=2, gpus=1)) == 8.0  # a, last beside b, c
    assert simulate([], {}, TWO) == 0.0


def test_two_that_need_the_gpu_take_turns():
    one, two = stage("one", gpus=1), stage("two", gpus=1)
    assert simulate([one, two], {one.key: 3.0, two.key: 4.0}, Needs(cpus=8, gpus=1)) == 7.0


def test_an_estimate_without_results_rests_on_the_hints():
    a = stage("a", 3)
    found = estimate([stage("both", 4, [a, stage("b", 2)])], None, workers=2)
    assert (found.n_done, found.work_s, found.wall_s) == (0, 9.0, 7.0)
    assert found.rests_on == "the cost hints of the study (3 stages)"


def test_an_estimate_rests_on_what_was_made(tmp_path, monkeypatch):
    store = Store(tmp_path)
    a, b = stage("a", 2), stage("b", 3)
    run([a], store, workers=0)
    took = store.manifest(a)["provenance"]["wall_s"]
    monkeypatch.setattr("overopt.workflow.estimate._recorded_s", lambda s, _: 8.0 if s == a else None)
    found = estimate([stage("both", 10, [a, b])], store, workers=1)
    writes, joins = found.groups
    assert (writes.n_done, writes.n_missing, writes.seconds, writes.basis) == (1, 1, 12.0, "this plan")
    assert (joins.n_missing, joins.seconds, joins.basis) == (1, 40.0, "hint")  # scaled as the others of the plan are
    assert found.wall_s == 52.0
    monkeypatch.undo()
    other = estimate([stage("c", 7)], store, workers=1)
    assert other.groups[0].basis == "other settings"
    assert other.work_s == took
    assert estimate([a], store, workers=1).rests_on == "nothing: all is done"
